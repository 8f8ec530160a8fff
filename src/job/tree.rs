//! The control groups of this host: found once, then followed by inotify (or by looking again), each
//! one's CPU account kept open and read at every tick, children before parents.

mod looking;
mod standing;

use super::account::{file_name, read_account};
use super::consumers::Sight;
use super::hierarchy::{Root, Version};
use super::processor::Topology;
use super::watch::{Event, Target, Watch};
use super::{Resolvers, user_of};
use crate::kernel_file::{Buffer, KernelFile};
use crate::model::identity::Name;
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{Attributes, Birth, Fault, GroupRole, GroupSlot, Groups, Hierarchy};
use std::collections::{BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories that are remembered; beyond it a group is only seen through its parent.
const MAX_DIRECTORIES: usize = 32_768;

/// Nested deeper than this nothing is looked for; systemd and Kubernetes need eight.
const MAX_DEPTH: usize = 32;

/// Each tick this part of the groups has its attributes read anew: all of them every half minute.
const ATTRIBUTE_TURNS: usize = 6;

/// Working groups of a supplementary hierarchy whose processes are asked at a tick where else they stand: so
/// many of the busiest, and so many of the others in turn. At 12 µs a process this is 6 ms at the most.
const ASKED_GROUPS: usize = 16;

/// Hidden groups that get another chance at a tick.
const RETRIES: usize = 64;

/// What the tree needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// /proc, for the processes of a group.
    pub procfs: PathBuf,
    /// Which CPU sits where.
    pub topology: Topology,
    /// Whether reservations are asked for.
    pub wants_reservations: bool,
    /// Accounts kept open at the most.
    pub max_groups: usize,
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    roots: Vec<Root>,
    resolvers: Resolvers,
    surroundings: Surroundings,
    watch: Option<Watch>,
    nodes: Vec<Option<Node>>,
    by_path: HashMap<(usize, Name), u32>,
    // Observed nodes in order of birth: parents before children.
    order: Vec<u32>,
    // Nodes that should be observed and found no room.
    hidden: BTreeSet<u32>,
    // Observed nodes below which one was hidden at some time since the last tick.
    crowding: BTreeSet<u32>,
    free: Vec<u32>,
    dead: Vec<u32>,
    happened: Groups,
    // A directory could not be read: the next tick looks at all of them.
    must_look: bool,
    attribute_turn: usize,
    asked_turn: usize,
    errors: HashMap<Fault, u64>,
}

#[derive(Debug)]
struct Node {
    root: usize,
    path: Name,
    parent: Option<u32>,
    role: GroupRole,
    // Inside a job, or one itself.
    is_inside_job: bool,
    account: Option<KernelFile>,
    watches: [Option<i32>; 2],
    // A child of it could not be remembered.
    is_crowded: bool,
    usage: CpuTime,
    double: Double,
}

/// Whether another hierarchy charges a group's processes.
#[derive(Debug, Default)]
struct Double {
    // As its processes stood when they were last asked.
    was: bool,
    // What the engine was told.
    is: bool,
}

impl Tree {
    /// Looks at everything once. What is found now was there before us.
    #[must_use]
    pub fn open(roots: Vec<Root>, resolvers: Resolvers, surroundings: Surroundings) -> Tree {
        let mut tree = Tree {
            watch: Watch::new().ok(),
            roots,
            resolvers,
            surroundings,
            nodes: Vec::new(),
            by_path: HashMap::new(),
            order: Vec::new(),
            hidden: BTreeSet::new(),
            crowding: BTreeSet::new(),
            free: Vec::new(),
            dead: Vec::new(),
            happened: Groups::default(),
            must_look: false,
            attribute_turn: 0,
            asked_turn: 0,
            errors: HashMap::new(),
        };
        for root in 0..tree.roots.len() {
            let path = tree.roots[root].path.clone();
            tree.watch_for(&path, Target::Root(root));
            tree.explore(root, None, false);
        }
        tree
    }

    /// For `poll`: readable when a group was born or died.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(Watch::fd)
    }

    /// Takes note of births and deaths as they happen; the next [`Tree::collect`] tells of them.
    pub fn attend(&mut self, buffer: &mut Buffer) {
        let events = self.watch.as_mut().map(Watch::drain).unwrap_or_default();
        for event in events {
            match event {
                Event::Made { within, name, is_moved } => {
                    if let Some((root, parent)) = self.locate(within) {
                        self.admit(root, parent, &name, !is_moved);
                    }
                }
                Event::Gone { within, name } => {
                    if let Some((root, parent)) = self.locate(within)
                        && let Some(&node) = self.by_path.get(&(root, self.child_path(parent, &name)))
                    {
                        self.remove(node);
                    }
                }
                Event::Population(node) => self.read_now(node, buffer),
                Event::Lost => self.look_again(),
            }
        }
    }

    /// Everything since the last call, and what each group has used by now.
    pub fn collect(&mut self, buffer: &mut Buffer) -> Groups {
        self.attend(buffer);
        if std::mem::take(&mut self.must_look) || self.watch.is_none() {
            self.look_again();
        }
        self.retry_hidden();
        self.refresh_attributes();
        self.settle_accounts(buffer);
        self.read_accounts(buffer);
        self.happened.crowded = self.crowded();
        self.free.append(&mut self.dead);
        std::mem::take(&mut self.happened)
    }

    fn read_accounts(&mut self, buffer: &mut Buffer) {
        let is_percpu = self.surroundings.topology.packages.len() > 1;
        let mut active = Vec::new();
        let mut readings = std::mem::take(&mut self.happened.readings);
        readings.reserve(self.order.len());
        for &index in self.order.iter().rev() {
            let Some(node) = self.nodes[index as usize].as_mut() else { continue };
            let Some(account) = &node.account else { continue };
            let reading = read_account(account, self.roots[node.root].version, is_percpu, index, buffer);
            match reading.map(|reading| reading.by_socket(&self.surroundings.topology)) {
                Ok(reading) => {
                    let before = std::mem::replace(&mut node.usage, reading.usage);
                    let used = reading.usage.saturating_sub(before);
                    if used != Nanos::ZERO && self.roots[node.root].hierarchy == Hierarchy::Supplement {
                        active.push((used, index));
                    }
                    readings.push(reading);
                }
                // Removed: its death is on the way.
                Err(Fault::Missing) => {}
                Err(fault) => *self.errors.entry(fault).or_default() += 1,
            }
        }
        self.happened.readings = readings;
        self.ask_where_else(active);
    }

    /// On v2 the kernel sums up what a group used on each CPU when its account is read, for everything
    /// below it in one go (kernel: css_rstat_flush). Asking the top groups first, and leaving their
    /// answer aside, spares the many below a sum of their own.
    fn settle_accounts(&self, buffer: &mut Buffer) {
        let nodes = self.order.iter().filter_map(|index| self.nodes[*index as usize].as_ref());
        for node in nodes {
            if let (None, Version::V2, Some(account)) =
                (node.parent, self.roots[node.root].version, &node.account)
            {
                let _ = account.read_start(buffer);
            }
        }
    }

    /// By which rules and in which trees groups are looked for: under the same, the same are found. Each
    /// release may recognise more than the one before.
    #[must_use]
    pub fn view(&self) -> Name {
        let roots = self.roots.iter().map(|root| {
            let place = std::fs::metadata(&root.path).map_or((0, 0), |found| (found.dev(), found.ino()));
            format!("{:?} {:?} {} {place:?}", root.version, root.hierarchy, root.path.display())
        });
        let roots: Vec<String> = roots.collect();
        format!("{} {:?} in {}", env!("CARGO_PKG_VERSION"), self.resolvers, roots.join(", ")).into()
    }

    /// Whether no group is left out, for want of room or because a directory could not be read.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.hidden.is_empty() && self.by_path.len() < MAX_DIRECTORIES && !self.must_look
    }

    /// Whether any group is a job.
    #[must_use]
    pub fn has_jobs(&self) -> bool {
        self.nodes.iter().flatten().any(|node| matches!(node.role, GroupRole::Job(_)))
    }

    /// How the tree fares.
    #[must_use]
    pub fn state(&self) -> Sight {
        let mut errors: Vec<(Fault, u64)> =
            self.errors.iter().map(|(fault, count)| (*fault, *count)).collect();
        errors.sort_unstable();
        Sight {
            is_watching: self.watch.is_some(),
            observed: self.order.len(),
            hidden: self.hidden.len(),
            errors,
        }
    }

    /// Recognises everything anew by other rules. Groups keep nothing from before: each is born
    /// again with what it has used so far behind it.
    pub fn reconfigure(&mut self, resolvers: Resolvers, wants_reservations: bool, buffer: &mut Buffer) {
        self.attend(buffer);
        self.read_accounts(buffer);
        self.resolvers = resolvers;
        self.surroundings.wants_reservations = wants_reservations;
        let top: Vec<u32> = (0..)
            .zip(&self.nodes)
            .filter_map(|(index, node)| {
                node.as_ref().is_some_and(|node| node.parent.is_none()).then_some(index)
            })
            .collect();
        for node in top {
            self.remove(node);
        }
        for root in 0..self.roots.len() {
            self.explore(root, None, false);
        }
        // Where each stands now, so that what it uses up to the next tick is its own.
        self.read_accounts(buffer);
    }

    fn locate(&self, target: Target) -> Option<(usize, Option<u32>)> {
        match target {
            Target::Root(root) => Some((root, None)),
            Target::Group(node) | Target::Events(node) => {
                let root = self.nodes.get(node as usize)?.as_ref()?.root;
                Some((root, Some(node)))
            }
        }
    }

    fn child_path(&self, parent: Option<u32>, name: &str) -> Name {
        let around = parent.and_then(|parent| self.nodes[parent as usize].as_ref());
        format!("{}/{name}", around.map_or("", |node| &node.path)).into()
    }

    fn directory(&self, root: usize, path: &str) -> PathBuf {
        self.roots[root].path.join(path.trim_start_matches('/'))
    }

    /// A directory is there: remember it, recognise it, open its account, watch it, look inside.
    fn admit(&mut self, root: usize, parent: Option<u32>, name: &str, is_new: bool) {
        let path = self.child_path(parent, name);
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        if self.by_path.contains_key(&(root, path.clone())) || names.len() > MAX_DEPTH {
            return;
        }
        if self.by_path.len() >= MAX_DIRECTORIES {
            if let Some(around) = self.observed_around(parent) {
                self.node_mut(around).is_crowded = true;
            }
            return;
        }
        let role = self.resolvers.role(&names);
        let is_job = matches!(role, GroupRole::Job(_));
        let is_around_job = parent.is_some_and(|parent| self.node(parent).is_inside_job);
        let node = Node {
            root,
            path: path.clone(),
            parent,
            role,
            is_inside_job: is_job || is_around_job,
            account: None,
            watches: [None, None],
            is_crowded: false,
            usage: CpuTime::ZERO,
            double: Double::default(),
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            u32::try_from(self.nodes.len() - 1).expect("bounded by MAX_DIRECTORIES and one tick's deaths")
        });
        self.nodes[index as usize] = Some(node);
        self.by_path.insert((root, path.clone()), index);
        let directory = self.directory(root, &path);
        let watch = self.watch_for(&directory, Target::Group(index));
        self.node_mut(index).watches[0] = watch;
        if is_job || !is_around_job {
            self.observe(index, is_new);
        }
        self.explore(root, Some(index), is_new);
    }

    /// Opens a group's account and tells of its birth.
    fn observe(&mut self, index: u32, is_new: bool) {
        if self.order.len() >= self.surroundings.max_groups || self.is_below_hidden(self.node(index).parent) {
            self.hidden.insert(index);
            return;
        }
        let node = self.node(index);
        let directory = self.directory(node.root, &node.path);
        let version = self.roots[node.root].version;
        let is_job = matches!(node.role, GroupRole::Job(_));
        let is_percpu = self.surroundings.topology.packages.len() > 1;
        let account = KernelFile::open(&directory.join(file_name(version, is_percpu)));
        if let Err(error) = &account
            && Fault::from(error) != Fault::Missing
        {
            // No descriptor is left, most likely; there will be.
            *self.errors.entry(Fault::from(error)).or_default() += 1;
            self.hidden.insert(index);
            return;
        }
        let birth = Birth {
            slot: GroupSlot(index),
            parent: self.observed_around(node.parent).map(GroupSlot),
            hierarchy: self.roots[node.root].hierarchy,
            role: node.role.clone(),
            path: node.path.clone(),
            inode: std::fs::metadata(&directory).map_or(0, |metadata| metadata.ino()),
            user: user_of(&node.path),
            is_new,
        };
        self.happened.births.push(birth);
        let Ok(account) = account else {
            // Born and gone before we looked; its parent knows what it used.
            self.happened.deaths.push(GroupSlot(index));
            return;
        };
        self.is_double_now(index);
        let attributes = self.attributes(index);
        self.order.push(index);
        self.node_mut(index).account = Some(account);
        if version == Version::V2 && is_job {
            let watch = self.watch_for(&directory.join("cgroup.events"), Target::Events(index));
            self.node_mut(index).watches[1] = watch;
        }
        if attributes != Attributes::default() {
            self.happened.attributes.push((GroupSlot(index), attributes));
        }
    }

    fn watch_for(&mut self, path: &Path, target: Target) -> Option<i32> {
        const ENOSPC: i32 = 28;
        const ENOMEM: i32 = 12;
        match self.watch.as_mut()?.add(path, target) {
            Ok(watch) => Some(watch),
            Err(error) => {
                if matches!(error.raw_os_error(), Some(ENOSPC | ENOMEM)) {
                    // Half a watch is worse than none: from now on the tree is looked at each tick.
                    self.watch = None;
                    *self.errors.entry(Fault::Limit).or_default() += 1;
                }
                None
            }
        }
    }

    /// A group is gone, and with it everything below.
    fn remove(&mut self, index: u32) {
        if self.hidden.contains(&index) {
            self.note_crowding(index);
        }
        let Some(node) = self.nodes[index as usize].take() else { return };
        let below: Vec<u32> = (0..)
            .zip(&self.nodes)
            .filter_map(|(child, node)| (node.as_ref()?.parent == Some(index)).then_some(child))
            .collect();
        for child in below {
            self.remove(child);
        }
        for watch in node.watches.into_iter().flatten() {
            if let Some(all) = self.watch.as_mut() {
                all.forget(watch);
            }
        }
        self.by_path.remove(&(node.root, node.path));
        self.hidden.remove(&index);
        if node.account.is_some() {
            self.order.retain(|other| *other != index);
            self.happened.deaths.push(GroupSlot(index));
        }
        self.dead.push(index);
    }

    /// The last process has left (or the first has come): what the group has used by now is final,
    /// and soon its account will be gone.
    fn read_now(&mut self, index: u32, buffer: &mut Buffer) {
        let Some(node) = self.nodes.get(index as usize).and_then(Option::as_ref) else { return };
        let Some(account) = &node.account else { return };
        let version = self.roots[node.root].version;
        if let Ok(reading) = read_account(account, version, false, index, buffer) {
            self.happened.readings.push(reading.by_socket(&self.surroundings.topology));
        }
    }

    fn retry_hidden(&mut self) {
        let room = self.surroundings.max_groups.saturating_sub(self.order.len()).min(RETRIES);
        let chosen: Vec<u32> = self
            .hidden
            .iter()
            .copied()
            .filter(|index| !self.is_below_hidden(self.node(*index).parent))
            .take(room)
            .collect();
        for index in chosen {
            self.note_crowding(index);
            self.hidden.remove(&index);
            self.observe(index, false);
        }
    }

    fn crowded(&mut self) -> Vec<GroupSlot> {
        let hidden: Vec<u32> = self.hidden.iter().copied().collect();
        for index in hidden {
            self.note_crowding(index);
        }
        let marked: Vec<u32> =
            self.order.iter().copied().filter(|index| self.node(*index).is_crowded).collect();
        self.crowding.extend(marked);
        std::mem::take(&mut self.crowding).into_iter().map(GroupSlot).collect()
    }

    /// The group around a hidden one cannot tell this tick's use of one child from another's.
    fn note_crowding(&mut self, hidden: u32) {
        if let Some(around) = self.observed_around(self.node(hidden).parent) {
            self.crowding.insert(around);
        }
    }

    fn observed_around(&self, mut index: Option<u32>) -> Option<u32> {
        while let Some(around) = index {
            let node = self.nodes[around as usize].as_ref()?;
            if node.account.is_some() {
                return Some(around);
            }
            index = node.parent;
        }
        None
    }

    /// A group is observed only after those around it: born first, it would never be taken off their use.
    fn is_below_hidden(&self, mut index: Option<u32>) -> bool {
        while let Some(around) = index {
            if self.hidden.contains(&around) {
                return true;
            }
            index = self.node(around).parent;
        }
        false
    }

    fn node(&self, index: u32) -> &Node {
        self.nodes[index as usize].as_ref().expect("an index is dropped with its node")
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        self.nodes[index as usize].as_mut().expect("an index is dropped with its node")
    }
}
