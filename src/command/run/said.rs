//! What the command says while it runs: heard on a socket of its own, found in what it prints, and told on to the
//! exporter.

use super::arguments::RunArguments;
use super::child::Streams;
use super::due::{Due, Patience};
use super::output::{Pattern, Stand, pass_on, write_all};
use super::socket::Socket;
use super::{Account, Daemon};
use crate::clock;
use crate::config::place;
use crate::job::speech::{Inbox, Usage};
use crate::model::description::Description;
use crate::model::identity::JobId;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;
use crate::model::speech::{Heard, Statement};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// The exporter hears of progress this often: to tell it we must enter the command's control group.
const TELLING: Nanos = Nanos::from_seconds(5);

/// When nothing more was written for so long after the command's end, somebody else holds its output open, and may
/// live for days.
const LAST_WORDS: Nanos = Nanos::new(300_000_000);
const LOOK: Nanos = Nanos::new(1_000_000);

/// Telling it takes no longer in one tick, however slow each answer is; the last may take its deadline beside that.
const TELLING_TIME: Nanos = Nanos::new(300_000_000);

/// The ways in which a command speaks.
pub struct Said {
    job: JobId,
    socket: Option<Socket>,
    inbox: Arc<Inbox>,
    readers: Vec<(Arc<Stand>, JoinHandle<()>)>,
    // What the exporter has not heard.
    due: Due,
    told: Nanos,
    patience: Patience,
}

impl Said {
    /// Opens the socket, if that can be had.
    #[must_use]
    pub fn open(job: &JobId, id: &str) -> Said {
        let socket = Socket::open(&place::of_sockets(), id);
        let socket = socket.inspect_err(|error| tracing::debug!("no socket for the command: {error}")).ok();
        let inbox = socket.as_ref().map(|socket| Arc::clone(socket.inbox())).unwrap_or_default();
        Said {
            job: job.clone(),
            socket,
            inbox,
            readers: Vec::new(),
            due: Due::default(),
            told: Nanos::ZERO,
            patience: Patience::default(),
        }
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.socket.as_ref().map(Socket::path)
    }

    /// Listens, now that the command is there.
    ///
    /// # Errors
    /// There can be no thread for it.
    pub fn begin(&mut self, account: &Account, streams: Streams, arguments: &RunArguments) -> io::Result<()> {
        if let Some(pattern) = &arguments.progress_pattern {
            let (stdout, stderr) = streams;
            let usage = account.usage();
            if let Some(from) = stdout {
                self.readers.push(self.read(from, io::stdout(), pattern, usage.clone())?);
            }
            if let Some(from) = stderr {
                self.readers.push(self.read(from, io::stderr(), pattern, usage)?);
            }
        }
        match &mut self.socket {
            Some(socket) => socket.begin(&self.job, account.usage(), account.members()),
            None => Ok(()),
        }
    }

    fn read(
        &self,
        from: impl Read + Send + 'static,
        to: impl AsFd + Send + 'static,
        pattern: &Pattern,
        usage: Option<Usage>,
    ) -> io::Result<(Arc<Stand>, JoinHandle<()>)> {
        let (inbox, job, pattern) = (Arc::clone(&self.inbox), self.job.clone(), pattern.clone());
        let stand = Arc::new(Stand::default());
        let own = Arc::clone(&stand);
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            pass_on(
                from,
                |bytes| write_all(&to, bytes),
                &own,
                &pattern,
                |progress| {
                    // Of progress the newest has always room.
                    let said = Statement::Progress(progress);
                    let _ = inbox.leave(job.clone(), usage.clone(), clock::monotonic(), said);
                },
            );
        })?;
        Ok((stand, thread))
    }

    /// Waits until everything that the command wrote was passed on, however slow its reader is, unless
    /// `is_told_to_end`. Returns whether somebody holds its output open still.
    pub fn hear_out(&mut self, is_told_to_end: impl Fn() -> bool) -> bool {
        let stands = |readers: &[(Arc<Stand>, JoinHandle<()>)]| -> Vec<u64> {
            let open = readers.iter().filter(|(_, thread)| !thread.is_finished());
            open.map(|(stand, _)| stand.load(Ordering::SeqCst)).collect()
        };
        let mut since = clock::monotonic();
        let mut before = stands(&self.readers);
        while !before.is_empty() && !is_told_to_end() {
            clock::sleep(LOOK);
            let now = stands(&self.readers);
            if now != before || now.iter().any(|stand| stand % 2 == 1) {
                (before, since) = (now, clock::monotonic());
            } else if clock::monotonic().saturating_sub(since) >= LAST_WORDS {
                break;
            }
        }
        self.readers.clear();
        !before.is_empty()
    }

    /// What was said since the last call.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.inbox.take()
    }

    /// What is answered from now on.
    pub fn publish(&self, snapshot: impl FnOnce() -> Snapshot) {
        if let Some(socket) = &self.socket {
            socket.publish(snapshot());
        }
    }

    /// What the command calls itself.
    #[must_use]
    pub fn described(&self) -> Option<Arc<Description>> {
        self.socket.as_ref()?.described(&self.job)
    }

    /// Tells the exporter, which knows us by the control group that we are in: we enter the command's for that.
    pub fn tell_on(&mut self, heard: &[Heard], now: Nanos, daemon: Option<&Daemon>, account: &Account) {
        let (Some(daemon), Account::Group(group, _)) = (daemon, account) else { return };
        self.due.add(heard);
        let is_time = self.due.has_marks() || now.saturating_sub(self.told) >= TELLING;
        if self.due.is_empty() || !is_time {
            return;
        }
        if !self.patience.may_try(now) || group.enter().is_err() {
            self.due.settle();
            return;
        }
        self.told = now;
        let until = clock::monotonic() + TELLING_TIME;
        // One that hangs costs one deadline, not one for each of them.
        let answer = self.due.tell(|statement| daemon.say(statement), || clock::monotonic() < until);
        self.patience.note(now, answer.is_answer());
        if let Err(error) = group.leave() {
            tracing::debug!("staying in the command's control group: {error}");
        }
    }

    /// The command has ended: what is due is tried once more, however long was still to be waited.
    pub fn hurry(&mut self) {
        self.patience.hurry();
    }
}
