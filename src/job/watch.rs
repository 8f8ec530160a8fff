//! inotify on the control-group tree, so that births and deaths are seen when they happen.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What a watch is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The top of a hierarchy.
    Root(usize),
    /// A group's directory: its children.
    Group(u32),
    /// A group's `cgroup.events`: its last process left.
    Events(u32),
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A directory was made, or moved in.
    Made {
        /// In which.
        within: Target,
        /// Its name.
        name: String,
        /// It existed before, elsewhere.
        is_moved: bool,
    },
    /// A directory was removed, or moved away.
    Gone {
        /// From which.
        within: Target,
        /// Its name.
        name: String,
    },
    /// A group was filled or emptied.
    Population(u32),
    /// More happened than the kernel could keep: look at everything again.
    Lost,
}

/// The open watches.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    targets: HashMap<i32, Target>,
}

/// Enough for some thirty events a read; a storm takes more reads.
const READ_BYTES: usize = 4096;

/// A storm is cut here; what is left is read at the next call.
const MAX_EVENTS: usize = 8_192;

impl Watch {
    /// No watches yet.
    ///
    /// # Errors
    /// The kernel has no inotify left for this user.
    pub fn new() -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Watch { inotify, targets: HashMap::new() })
    }

    /// For `poll`.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Watches a directory for children, or a `cgroup.events` file for changes. Returns the watch.
    ///
    /// # Errors
    /// The path is gone, or the limit on watches is reached.
    pub fn add(&mut self, path: &Path, target: Target) -> io::Result<i32> {
        let directory = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        let flags = match target {
            Target::Root(_) => directory - WatchFlags::DONT_FOLLOW,
            Target::Group(_) => directory,
            Target::Events(_) => WatchFlags::MODIFY,
        };
        let watch = inotify::add_watch(&self.inotify, path, flags)?;
        self.targets.insert(watch, target);
        Ok(watch)
    }

    /// Forgets a watch whose directory is gone; the kernel has dropped it already.
    pub fn forget(&mut self, watch: i32) {
        self.targets.remove(&watch);
    }

    /// What happened since the last call.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut events = Vec::new();
        // What has been taken from the kernel and not looked at would be lost.
        while events.len() < MAX_EVENTS || !reader.is_buffer_empty() {
            let Ok(event) = reader.next() else { break };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                events.push(Event::Lost);
                continue;
            }
            let Some(&target) = self.targets.get(&event.wd()) else { continue };
            if let Target::Events(group) = target {
                if flags.contains(ReadFlags::MODIFY) {
                    events.push(Event::Population(group));
                }
                continue;
            }
            let name = event.file_name().and_then(|name| name.to_str().ok());
            let Some(name) = name.filter(|_| flags.contains(ReadFlags::ISDIR)) else { continue };
            let name = name.to_owned();
            if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                let is_moved = flags.contains(ReadFlags::MOVED_TO);
                events.push(Event::Made { within: target, name, is_moved });
            } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                events.push(Event::Gone { within: target, name });
            }
        }
        events
    }
}
