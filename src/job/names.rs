//! Where names of jobs come from, one file a source. They are asked in the background, about the jobs of
//! their kinds alone, and what they cannot tell is left open: no counter waits for a name.

pub mod containers;
pub mod environment;
pub mod kubelet;
pub mod owners;
pub mod pod_logs;
pub mod pod_resources;
pub mod slurm;
pub mod users;
pub mod visible;

use super::container::lxc_name;
use super::gpu::grant::{JobDevices, PodDevices};
use crate::model::description::Description;
use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::model::reading::{Fault, Hierarchy};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// A job whose name is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where it was first met.
    pub cgroup: Name,
    /// In which hierarchy.
    pub hierarchy: Hierarchy,
    /// Whose it is, where the path tells.
    pub user: Option<u32>,
}

/// All of them.
pub type Wanted = HashMap<JobId, Asked>;

/// A source of names, the most trusted first: what it says is not overruled by those behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceName {
    /// The kubelet's own list of its pods.
    Kubelet,
    /// The names of the directories with containers' logs.
    PodLogs,
    /// The kubelet's socket for device plug-ins' sake.
    PodResources,
    /// `scontrol show job`.
    Scontrol,
    /// The environment that Slurm gave a job.
    Environment,
    /// What container runtimes keep on disk.
    Containers,
    /// Users' names by their numbers.
    Users,
    /// The accelerators that jobs were told to use.
    Visible,
}

impl SourceName {
    /// The `source` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            SourceName::Kubelet => "kubelet",
            SourceName::PodLogs => "pod_logs",
            SourceName::PodResources => "podresources",
            SourceName::Scontrol => "slurm",
            SourceName::Environment => "slurm_environment",
            SourceName::Containers => "containers",
            SourceName::Users => "users",
            SourceName::Visible => "gpu_environment",
        }
    }

    /// Whether it may know something of this job.
    #[must_use]
    pub fn concerns(self, id: &JobId, asked: &Asked) -> bool {
        match self {
            SourceName::Kubelet | SourceName::PodLogs | SourceName::PodResources => id.kind() == JobKind::Pod,
            SourceName::Scontrol | SourceName::Environment => id.kind() == JobKind::Slurm,
            // LXC's containers are called by their names.
            SourceName::Containers => id.kind() == JobKind::Container && lxc_name(id.id()).is_none(),
            // A unit's path names a user or not; its processes have one.
            SourceName::Users => asked.user.is_some() || id.kind() == JobKind::Unit,
            // Slurm's jobs are asked for more at once; a process without a group is not found by one.
            SourceName::Visible => !matches!(id.kind(), JobKind::Slurm | JobKind::Process),
        }
    }

    /// Whether a job is fully described only when this has told of it.
    #[must_use]
    pub const fn is_waited_for(self) -> bool {
        match self {
            SourceName::Kubelet
            | SourceName::PodLogs
            | SourceName::Scontrol
            | SourceName::Environment
            | SourceName::Containers
            | SourceName::Users => true,
            // One knows no UIDs, the other no names.
            SourceName::PodResources | SourceName::Visible => false,
        }
    }

    /// Whether it is looked for although nothing says that it is there.
    #[must_use]
    pub const fn is_looked_for_everywhere(self) -> bool {
        matches!(
            self,
            SourceName::PodLogs | SourceName::PodResources | SourceName::Containers | SourceName::Visible
        )
    }

    /// Whether those who run the job say it, and not the job.
    #[must_use]
    pub const fn is_sure(self) -> bool {
        !matches!(self, SourceName::Environment | SourceName::Visible)
    }
}

/// What a source says of one job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// What it knows.
    pub description: Description,
    /// And what the job's user said there of his own accord.
    pub own: Description,
    /// Which accelerators it was given.
    pub devices: Option<Arc<JobDevices>>,
    /// It has nothing to add later.
    pub is_last: bool,
}

/// What came of looking.
#[derive(Debug)]
pub struct Look {
    /// What is known now; of jobs that are not among them what was known before.
    pub words: Vec<(JobId, Word)>,
    /// Whether the source could be read.
    pub outcome: Result<(), Fault>,
    /// Where it was looked, and why it failed: for people.
    pub detail: String,
    /// Which pods hold accelerators, from a source that knows.
    pub pods: Option<PodList>,
}

/// The pods that hold accelerators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodList {
    /// When it was asked for, by the monotonic clock.
    pub at: Nanos,
    /// All of them.
    pub pods: Vec<PodDevices>,
}

impl Look {
    /// Nothing, and why.
    #[must_use]
    pub fn failed(fault: Fault, detail: String) -> Look {
        Look { words: Vec::new(), outcome: Err(fault), detail, pods: None }
    }
}

/// Something that can be asked for names.
pub trait NameSource: Send + 'static {
    /// Which one it is.
    const NAME: SourceName;
    /// Between two looks at the least, whoever comes meanwhile.
    const REST: Duration;
    /// Names that change are looked at again so often.
    const REFRESH: Option<Duration>;
    /// While it does not answer it is asked ever more seldom, up to this.
    const LONGEST_TROUBLE: Duration = Duration::from_secs(120);

    /// Looks for those in `open`; what is found of others in `all` may be told too. Must not block for
    /// longer than reading a few local files takes.
    fn look(&mut self, open: &[JobId], all: &Wanted) -> impl Future<Output = Look> + Send;
}

/// Whether anybody wants to know who holds accelerators: there are some.
pub type WantsDevices = Arc<AtomicBool>;

/// What is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The directory with the directories of containers' logs.
    pub pod_logs: Option<PathBuf>,
    /// The directory with the kubelet's socket.
    pub pod_resources: Option<PathBuf>,
    /// The kubelet.
    pub kubelet: Option<kubelet::Wish>,
    /// The runtimes' places.
    pub containers: Option<containers::Places>,
    /// Slurm's own program.
    pub scontrol: Option<slurm::Wish>,
    /// Whether the environment of Slurm's jobs is looked at.
    pub environment: bool,
    /// Whether that of other jobs is, for the accelerators that it names.
    pub visible: bool,
    /// Users' names.
    pub users: users::Wish,
}

/// A question that may never be answered. One is asked at a time, on a thread of its own, and if the answer
/// does not come in time the next one is not asked before it does.
#[derive(Debug)]
pub struct Aside<T> {
    pending: Option<JoinHandle<T>>,
}

impl<T> Default for Aside<T> {
    fn default() -> Aside<T> {
        Aside { pending: None }
    }
}

impl<T: Send + 'static> Aside<T> {
    /// The answer, if it comes in time.
    ///
    /// # Errors
    /// It does not, or an earlier one has not come yet.
    pub async fn within(
        &mut self,
        patience: Duration,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        if self.pending.take_if(|pending| pending.is_finished()).is_none() && self.pending.is_some() {
            return Err(Fault::Timeout);
        }
        let mut asked = spawn_blocking(question);
        match timeout(patience, &mut asked).await {
            Ok(answer) => answer.map_err(|_| Fault::Io),
            Err(_) => {
                self.pending = Some(asked);
                Err(Fault::Timeout)
            }
        }
    }
}

/// A file of at most so many bytes.
///
/// # Errors
/// The kernel's own; `FileTooLarge`. What is no plain file is `InvalidData`.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // A pipe in the place of a file would be waited for, and so would some files of the kernel's.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Jobs by kind and id, in no particular place.
    pub(crate) fn wanted(jobs: &[(&str, &str)]) -> Wanted {
        let job = |(kind, id): &(&str, &str)| {
            let id = JobId::new(JobKind::of_label(kind).expect("a kind"), id);
            (id, Asked { cgroup: "/x".into(), hierarchy: Hierarchy::Primary, user: None })
        };
        jobs.iter().map(job).collect()
    }

    /// Looks once for all of them.
    pub(crate) fn look(source: &mut impl NameSource, all: &Wanted) -> Look {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let open: Vec<JobId> = all.keys().cloned().collect();
        let found = runtime.block_on(source.look(&open, all));
        runtime.shutdown_background();
        found
    }

    #[test]
    fn a_question_that_is_not_answered_is_not_asked_twice() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (free, held) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            let mut aside = Aside::default();
            let short = Duration::from_millis(20);
            let first = aside.within(short, move || held.recv().map_or(1, |()| 1)).await;
            assert_eq!(first, Err(Fault::Timeout));
            assert_eq!(aside.within(short, || panic!("asked twice")).await, Err(Fault::Timeout));
            free.send(()).expect("it waits");
            let pending = aside.pending.take().expect("it is remembered");
            assert_eq!(pending.await.expect("it ended"), 1);
            assert_eq!(aside.within(Duration::from_secs(20), || 2).await, Ok(2));
        });
        runtime.shutdown_background();
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x".repeat(100)).expect("written");
        assert_eq!(read_bounded(&file, 100).expect("read").len(), 100);
        assert_eq!(read_bounded(&file, 99).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_bounded(folder.path(), 9).expect_err("a folder").kind(), io::ErrorKind::InvalidData);
    }
}
