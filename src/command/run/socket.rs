//! The socket on which a command's processes ask and speak while it runs, as the exporter's does it for every job:
//! the same answers from our own accounts. It is there before the command is, and goes with it.

use super::Account;
use crate::daemon::socket::{Desk, bind, serve};
use crate::job::directory::Told;
use crate::job::register::{Callers, Refusal, Register, Speaker};
use crate::job::speech::{Inbox, Usage};
use crate::model::description::Description;
use crate::model::identity::JobId;
use crate::model::snapshot::Snapshot;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;

/// The command may run as another user than we: who may speak the kernel says, not the folder.
const MODE: u32 = 0o711;

const SOCKET: &str = "job.sock";

/// What its folder is called, before the run's id.
const FOLDER: &str = "jouleprint-";

/// Folders that are looked at for what killed runs have left; there are some few.
const MAX_LEFT: usize = 1_000;

/// The socket, and what was said there.
pub struct Socket {
    folder: PathBuf,
    path: PathBuf,
    listener: Option<UnixListener>,
    latest: Arc<ArcSwapOption<Snapshot>>,
    inbox: Arc<Inbox>,
    told: Arc<ArcSwap<Told>>,
    serving: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

/// Whether a process is the command's; `None` if it is there no more.
pub type Members = Box<dyn Fn(u32) -> Option<bool> + Send + Sync>;

impl Socket {
    /// Listens in a folder of its own below `place`.
    ///
    /// # Errors
    /// It cannot be made there.
    pub fn open(place: &Path, id: &str) -> io::Result<Socket> {
        sweep(place);
        let folder = place.join(format!("{FOLDER}{id}"));
        // It must not be there yet: in a folder for everybody it may be somebody else's.
        std::fs::DirBuilder::new().mode(MODE).create(&folder)?;
        let path = folder.join(SOCKET);
        let listener = bind(&path).inspect_err(|_| drop(std::fs::remove_dir(&folder)))?;
        Ok(Socket {
            folder,
            path,
            listener: Some(listener),
            latest: Arc::default(),
            inbox: Arc::default(),
            told: Arc::default(),
            serving: None,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers from now on, in a thread of its own. Whoever came before waits in the kernel's queue.
    ///
    /// # Errors
    /// There can be no such thread.
    pub fn begin(&mut self, job: &JobId, usage: Option<Usage>, members: Members) -> io::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let callers = Callers::new(Path::new("/proc"), Vec::new(), crate::job::Resolvers::default());
        let job = job.clone();
        let desk = Desk {
            latest: Arc::clone(&self.latest),
            who: Box::new(move |peer| {
                let pid = callers.process(peer)?;
                match members(pid.unsigned_abs()) {
                    Some(true) => Ok(Speaker { job: job.clone(), usage: usage.clone() }),
                    Some(false) => Err(Refusal::NoJob(pid)),
                    None => Err(Refusal::Gone(pid)),
                }
            }),
            register: Register::new(Arc::clone(&self.told)),
            inbox: Arc::clone(&self.inbox),
            wake: None,
            jobs: std::sync::Mutex::default(),
            open: std::sync::Mutex::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("socket".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::UnixListener::from_std(listener) {
                    serve(Arc::new(desk), listener, stopped).await;
                }
            });
        })?;
        self.serving = Some((stop, thread));
        Ok(())
    }

    /// What is answered from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.latest.store(Some(Arc::new(snapshot)));
    }

    /// Where more may be left of what the command says.
    #[must_use]
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// What the command calls itself.
    #[must_use]
    pub fn described(&self, job: &JobId) -> Option<Arc<Description>> {
        self.told.load().get(job).cloned()
    }
}

/// Removes what runs left that were killed: their number is at the end of their id.
fn sweep(place: &Path) {
    let own = rustix::process::getuid().as_raw();
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten().take(MAX_LEFT) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(FOLDER).and_then(|id| id.rsplit_once('-')?.1.parse::<u32>().ok());
        let is_gone = pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if is_gone && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own) {
            let _ = std::fs::remove_file(entry.path().join(SOCKET));
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.serving.take() {
            let _ = stop.send(true);
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

impl Account {
    /// By what a process is known as the command's, for another thread.
    #[must_use]
    pub fn members(&self) -> Members {
        match self {
            Account::Group(group, _) => Box::new(group.members()),
            Account::Tree(tree) => {
                let tree = tree.clone();
                Box::new(move |pid| tree.has(pid))
            }
        }
    }

    /// Where its CPU time is counted.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Account::Group(group, _) => Some(group.usage()),
            Account::Tree(_) => None,
        }
    }
}
