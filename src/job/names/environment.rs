//! What Slurm gave a job in its environment, and what its user put there for us. What other jobs were told
//! there to use is asked of the same thread (`visible`).
//!
//! Under Landlock a thread may not look into processes outside its own domain, whatever rights it has. So
//! the one thread that does is started before that. It gives up every capability but the two it needs and
//! does nothing but this: it is told of control groups, and answers with the values of a few variables.

use super::owners::group_below;
use super::visible::{Sighted, visible};
use super::{Asked, Look, NameSource, SourceName, Wanted, WantsDevices, Word};
use crate::job::gpu::grant::{JobDevices, Variables};
use crate::job::is_in_users_hands;
use crate::model::description::Attribute;
use crate::model::identity::JobId;
use crate::model::reading::{Fault, Hierarchy};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// An environment is not read further: the kernel's own bound for all of it is a quarter of a stack.
const MAX_BYTES: u64 = 1 << 20;

/// Of a job so many processes are looked at: the first that Slurm started has it.
const MAX_PIDS: usize = 16;

/// Groups below a job's that are looked through for processes: steps, and their tasks.
const MAX_GROUPS: usize = 64;

/// Steps and tasks stand four below.
const MAX_DEPTH: usize = 6;

/// Jobs of one question.
pub(super) const MAX_JOBS: usize = 1_024;

/// A process whose memory is locked may not be readable for long.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A value is cut after this much: 64 UUIDs of instances have less, and no name is longer.
const MAX_VALUE_BYTES: usize = 4_096;

/// A job of which one step's devices are known is looked at again so often, for other steps: some minutes.
const MAX_LOOKS: u32 = 30;

/// The variables that are looked for. The first tells whether it is the job's own environment.
pub(super) const VARIABLES: [&str; 19] = [
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_USER",
    "SLURM_JOB_UID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_CLUSTER_NAME",
    "JOULEPRINT_PROJECT",
    "JOULEPRINT_EXPERIMENT",
    "JOULEPRINT_LABELS",
    "SLURM_JOB_GPUS",
    "SLURM_STEP_ID",
    "SLURM_STEP_GPUS",
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
];

/// The values that were found, in the order of [`VARIABLES`].
pub(super) type Values = [Option<String>; VARIABLES.len()];

/// What a job's processes have: the first one's values, and the devices of all of them.
type Answer = Result<Option<(Values, JobDevices)>, Fault>;

/// Groups, and where the answers go.
pub(super) enum Question {
    /// What Slurm gave.
    Slurm {
        /// The job's number, and where its group is.
        jobs: Vec<(String, PathBuf)>,
        wants_devices: bool,
        answer: oneshot::Sender<Vec<Answer>>,
    },
    /// What jobs were told to use.
    Visible {
        groups: Vec<PathBuf>,
        /// Groups of other jobs, which are not looked into.
        others: HashSet<PathBuf>,
        answer: oneshot::Sender<Vec<Sighted>>,
    },
}

/// The thread's end for questions.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) questions: SyncSender<Question>,
    roots: Vec<(Hierarchy, PathBuf)>,
}

impl Reader {
    /// Starts the thread, which must be before rights are given up. It looks below these roots of control
    /// groups alone, and into this /proc.
    ///
    /// # Errors
    /// No more threads can be started.
    pub fn start(procfs: &Path, roots: Vec<(Hierarchy, PathBuf)>) -> std::io::Result<Reader> {
        // There are two who ask; one is read while the other one waits.
        let (questions, asked) = sync_channel(2);
        let procfs = procfs.to_owned();
        let thread = std::thread::Builder::new().name("environment".to_owned());
        thread.spawn(move || serve(&procfs, &asked))?;
        Ok(Reader { questions, roots })
    }

    /// Where the job's group is.
    pub(super) fn group(&self, asked: &Asked) -> Option<PathBuf> {
        group_below(&self.roots, asked)
    }
}

fn serve(procfs: &Path, questions: &Receiver<Question>) {
    if let Ok(now) = capabilities(None) {
        let kept = now.permitted & (CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH);
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        let _ = set_capabilities(None, sets);
    }
    // The others get it with Landlock.
    let _ = set_no_new_privs(true);
    while let Ok(question) = questions.recv() {
        match question {
            Question::Slurm { jobs, wants_devices, answer } => {
                let jobs = jobs.iter().take(MAX_JOBS);
                let of = |(number, group): &(String, PathBuf)| of_job(procfs, group, number, wants_devices);
                let _ = answer.send(jobs.map(of).collect());
            }
            Question::Visible { groups, others, answer } => {
                let _ = answer.send(visible(procfs, groups.iter().take(MAX_JOBS), &others));
            }
        }
    }
}

/// The environment of the first process that has this job's; `None` if no process has. Each step knows its
/// own devices, and the first one may not know the job's.
fn of_job(procfs: &Path, group: &Path, number: &str, wants_devices: bool) -> Answer {
    let mut refused = None;
    let mut found: Option<(Values, JobDevices)> = None;
    for pid in pids(group, &HashSet::new()) {
        match read(&procfs.join(pid.to_string()).join("environ")) {
            Ok(bytes) => {
                let values = values(&bytes);
                if values[0].as_deref() != Some(number) {
                    continue;
                }
                let more = devices(&values);
                let (_, devices) = found.get_or_insert_with(|| (values, JobDevices::default()));
                devices.add(more);
                if devices.is_whole || !wants_devices {
                    break;
                }
            }
            Err(Fault::Missing) => {}
            Err(fault) => refused = Some(fault),
        }
    }
    match (found, refused) {
        (None, Some(fault)) => Err(fault),
        (found, _) => Ok(found),
    }
}

/// What one process says of devices.
fn devices(values: &Values) -> JobDevices {
    let [.., job, step_id, step, cuda, rocr, hip, intel] = values.each_ref().map(Option::as_deref);
    JobDevices::read(Variables { job, step_id, step, cuda, amd: [rocr, hip], intel })
}

/// The first processes of a group and of those below it that are not among the others.
pub(super) fn pids(group: &Path, others: &HashSet<PathBuf>) -> Vec<u32> {
    let mut found = Vec::new();
    let mut groups = vec![(group.to_owned(), 0)];
    let mut looked = 0;
    while let Some((group, depth)) = groups.pop() {
        looked += 1;
        if looked > MAX_GROUPS || found.len() >= MAX_PIDS {
            break;
        }
        let text = read(&group.join("cgroup.procs")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // A process of another PID namespace is shown as 0.
        let numbers = text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0);
        found.extend(numbers.take(MAX_PIDS - found.len()));
        if depth < MAX_DEPTH {
            let entries = std::fs::read_dir(&group).into_iter().flatten().flatten().take(MAX_GROUPS);
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let below = below.map(|entry| entry.path()).filter(|path| !others.contains(path));
            groups.extend(below.map(|path| (path, depth + 1)));
        }
    }
    found
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        // ESRCH: it ended meanwhile.
        Err(error) if error.raw_os_error() == Some(3) => Err(Fault::Missing),
        Err(error) => Err(Fault::from(&error)),
    }
}

pub(super) fn values(environment: &[u8]) -> Values {
    let mut values = Values::default();
    for entry in environment.split(|byte| *byte == 0) {
        let Some(at) = entry.iter().position(|byte| *byte == b'=') else { continue };
        let Some(place) = VARIABLES.iter().position(|name| name.as_bytes() == &entry[..at]) else { continue };
        let value = &entry[at + 1..];
        // The first of two is what the C library would give.
        values[place].get_or_insert_with(|| {
            String::from_utf8_lossy(&value[..value.len().min(MAX_VALUE_BYTES)]).into_owned()
        });
    }
    values
}

/// What Slurm wrote, and what the user did.
fn word(values: &Values) -> Word {
    let mut word = Word { is_last: true, ..Word::default() };
    let [_, name, account, partition, user, uid, array, task, cluster, project, experiment, labels, ..] =
        values;
    for (attribute, value) in [
        (Attribute::SlurmJobName, name),
        (Attribute::SlurmAccount, account),
        (Attribute::SlurmPartition, partition),
        (Attribute::UserName, user),
        (Attribute::UserId, uid),
        (Attribute::SlurmArrayJobId, array),
        (Attribute::SlurmArrayTaskId, task),
        (Attribute::SlurmCluster, cluster),
    ] {
        word.description.set(attribute, value.as_deref().unwrap_or_default());
    }
    for (attribute, value) in [(Attribute::Project, project), (Attribute::Experiment, experiment)] {
        word.own.set(attribute, value.as_deref().unwrap_or_default());
    }
    for (key, value) in labels.as_deref().map(pairs).unwrap_or_default() {
        word.own.label(&key, &value);
    }
    word
}

/// Labels as people write them, `a=b,c=d`, or as `run` gives them to its command: a JSON object.
fn pairs(labels: &str) -> BTreeMap<String, String> {
    serde_json::from_str(labels).unwrap_or_else(|_| {
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
    })
}

/// What is known of a job that is looked at again, for the devices of other steps.
#[derive(Debug)]
struct Partly {
    // How often still.
    looks: u32,
    devices: JobDevices,
    // What the first look found: a later process says nothing new of the job.
    word: Word,
}

/// Asks the thread.
#[derive(Debug)]
pub struct Environments {
    reader: Reader,
    wants_devices: WantsDevices,
    // Jobs whose devices may not all be known.
    partly: HashMap<JobId, Partly>,
    // How the last question ended: where nothing is due, nothing is other than it was.
    outcome: Result<(), Fault>,
}

impl Environments {
    /// With a thread that runs.
    #[must_use]
    pub fn new(reader: Reader, wants_devices: WantsDevices) -> Environments {
        Environments { reader, wants_devices, partly: HashMap::new(), outcome: Ok(()) }
    }

    /// Those that are asked for, and those whose steps are not all known.
    fn due(&mut self, open: &[JobId], all: &Wanted) -> Vec<JobId> {
        self.partly.retain(|id, partly| partly.looks > 0 && all.contains_key(id));
        let mut due: Vec<JobId> = open.iter().filter(|id| !is_in_users_hands(id)).cloned().collect();
        if self.wants_devices.load(Ordering::Relaxed) {
            due.extend(self.partly.keys().filter(|id| !open.contains(id)).cloned());
        }
        due.truncate(MAX_JOBS);
        due
    }

    /// What is known of a job now: a step that has ended does not give back what is the job's.
    fn note(&mut self, id: &JobId, word: Word, devices: JobDevices) -> Word {
        let known = self.partly.remove(id);
        let (looks, mut all, word) = match known {
            Some(known) => (known.looks, known.devices, known.word),
            None => (MAX_LOOKS, JobDevices::default(), word),
        };
        all.add(devices);
        let told = (!all.is_empty()).then(|| Arc::new(all.clone()));
        let now = Word { devices: told, ..word.clone() };
        if !all.is_whole {
            self.partly.insert(id.clone(), Partly { looks: looks.saturating_sub(1), devices: all, word });
        }
        now
    }
}

impl NameSource for Environments {
    const NAME: SourceName = SourceName::Environment;
    const REST: Duration = Duration::from_secs(1);
    // For other steps; nothing is read where no accelerators are.
    const REFRESH: Option<Duration> = Some(Duration::from_secs(10));

    async fn look(&mut self, open: &[JobId], all: &Wanted) -> Look {
        let detail = "/proc/PID/environ of the jobs' processes".to_owned();
        let due = self.due(open, all);
        let jobs = due.iter().filter_map(|id| {
            let number = id.id().rsplit(['/', '.']).next()?.to_owned();
            Some((id, (number, self.reader.group(all.get(id)?)?)))
        });
        let (ids, jobs): (Vec<&JobId>, Vec<(String, PathBuf)>) = jobs.unzip();
        if jobs.is_empty() {
            return Look { words: Vec::new(), outcome: self.outcome, detail, pods: None };
        }
        let wants_devices = self.wants_devices.load(Ordering::Relaxed);
        let (give, take) = oneshot::channel();
        let question = Question::Slurm { jobs, wants_devices, answer: give };
        if self.reader.questions.try_send(question).is_err() {
            return Look::failed(Fault::Timeout, detail);
        }
        let answers = match timeout(PATIENCE, take).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) | Err(_) => return Look::failed(Fault::Timeout, detail),
        };
        let mut outcome = Ok(());
        let mut words = Vec::new();
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(Some((values, devices))) => {
                    words.push((id.clone(), self.note(id, word(&values), devices)));
                }
                // Its first process is on its way, or its last one gone.
                Ok(None) => {}
                // What is closed to us stays so, and nothing is waited for.
                Err(Fault::PermissionDenied) => {
                    outcome = Err(Fault::PermissionDenied);
                    if open.contains(id) {
                        words.push((id.clone(), Word { is_last: true, ..Word::default() }));
                    }
                }
                Err(fault) => outcome = Err(fault),
            }
        }
        self.outcome = outcome;
        Look { words, outcome, detail, pods: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::gpu::device::Device;
    use crate::job::names::tests::look;
    use crate::model::identity::JobKind;
    use proptest::prelude::*;
    use std::fs;

    const ENVIRONMENT: &[u8] =
        b"PATH=/bin\0SLURM_JOB_ID=7\0SLURM_JOB_NAME=a b=c\0SLURM_JOB_ACCOUNT=physics\0\
        SLURM_JOB_PARTITION=debug\0SLURM_JOB_USER=anna\0SLURM_JOB_UID=1000\0SLURM_ARRAY_JOB_ID=6\0\
        SLURM_ARRAY_TASK_ID=3\0SLURM_CLUSTER_NAME=probe\0SECRET=x\0JOULEPRINT_PROJECT=apollo\0\
        JOULEPRINT_LABELS=team=a, model = b,odd,=\0SLURM_JOB_ID=8\0";

    #[test]
    fn what_slurm_gave_is_apart_from_what_the_user_put_there() {
        let word = word(&values(ENVIRONMENT));
        for (attribute, expected) in [
            (Attribute::SlurmJobName, "a b=c"),
            (Attribute::SlurmAccount, "physics"),
            (Attribute::SlurmPartition, "debug"),
            (Attribute::UserName, "anna"),
            (Attribute::UserId, "1000"),
            (Attribute::SlurmArrayJobId, "6"),
            (Attribute::SlurmArrayTaskId, "3"),
            (Attribute::SlurmCluster, "probe"),
            (Attribute::Project, ""),
        ] {
            assert_eq!(word.description.get(attribute), expected, "{attribute:?}");
        }
        assert_eq!(word.own.get(Attribute::Project), "apollo");
        let labels: Vec<(&str, &str)> =
            word.own.labels().iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(labels, [("model", "b"), ("team", "a")]);
        let given = pairs("{\"team\":\"a,b=c\"}");
        assert_eq!(given, BTreeMap::from([("team".to_owned(), "a,b=c".to_owned())]));
    }

    /// A made-up job 7 with a step, whose first process is somebody else's.
    fn machine() -> (tempfile::TempDir, Reader, Wanted) {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        for (group, pids) in
            [("", ""), ("/step_0", ""), ("/step_0/user", "0\n11\n12\n"), ("/step_0/slurm", "x\n")]
        {
            let group = at(&format!("cgroup/scope/job_7{group}"));
            fs::create_dir_all(&group).expect("made");
            fs::write(group.join("cgroup.procs"), pids).expect("written");
        }
        std::os::unix::fs::symlink(at("cgroup"), at("cgroup/scope/job_7/loop")).expect("linked");
        for (pid, environment) in [("11", &b"SLURM_JOB_ID=9\0"[..]), ("12", ENVIRONMENT)] {
            fs::create_dir_all(at(&format!("proc/{pid}"))).expect("made");
            fs::write(at(&format!("proc/{pid}/environ")), environment).expect("written");
        }
        let reader = Reader::start(&at("proc"), vec![(Hierarchy::Primary, at("cgroup"))]).expect("a thread");
        let job = |id: &str, cgroup: &str| {
            let asked = Asked { cgroup: cgroup.into(), hierarchy: Hierarchy::Primary, user: None };
            (JobId::new(JobKind::Slurm, id), asked)
        };
        let all = [job("probe.7", "/scope/job_7"), job("8", "/scope/job_8"), job("9", "/../proc/11")];
        (folder, reader, all.into_iter().collect())
    }

    #[test]
    fn the_environment_is_that_of_the_job_s_own_process() {
        let (_folder, reader, all) = machine();
        let found = look(&mut Environments::new(reader, WantsDevices::default()), &all);
        assert_eq!(found.outcome, Ok(()));
        assert_eq!(found.words.len(), 1, "one has no process yet, and one no place");
        assert_eq!(&**found.words[0].0.id(), "probe.7");
        assert_eq!(found.words[0].1.description.get(Attribute::SlurmAccount), "physics");
    }

    #[test]
    fn the_devices_of_a_job_are_those_of_its_steps_until_one_knows_them_all() {
        let (folder, reader, all) = machine();
        let is_wanted = WantsDevices::new(true.into());
        let mut source = Environments::new(reader, Arc::clone(&is_wanted));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let job = JobId::new(JobKind::Slurm, "probe.7");
        let mut look = |text: &str, open: &[JobId]| {
            let text = format!("SLURM_JOB_ID=7\0SLURM_JOB_NAME=x\0{text}\0");
            fs::write(folder.path().join("proc/12/environ"), text).expect("written");
            let words = runtime.block_on(source.look(open, &all)).words;
            let devices = |(id, word): (JobId, Word)| {
                assert_eq!((&id, word.description.get(Attribute::SlurmJobName)), (&job, "x"));
                let devices = word.devices.map(|devices| JobDevices::clone(&devices)).unwrap_or_default();
                devices.given.into_iter().map(|given| given.device).collect::<Vec<_>>()
            };
            words.into_iter().map(devices).collect::<Vec<_>>()
        };
        let indices = |numbers: &[u32]| vec![numbers.iter().copied().map(Device::index).collect::<Vec<_>>()];
        assert_eq!(look("SLURM_STEP_GPUS=0", std::slice::from_ref(&job)), indices(&[0]));
        assert_eq!(look("SLURM_STEP_GPUS=2", &[]), indices(&[0, 2]), "another step, and nobody has asked");
        is_wanted.store(false, Ordering::Relaxed);
        assert!(look("SLURM_STEP_GPUS=3", &[]).is_empty(), "there are no accelerators");
        is_wanted.store(true, Ordering::Relaxed);
        assert_eq!(look("SLURM_JOB_GPUS=0-3", &[]), indices(&[0, 1, 2, 3]));
        assert!(look("SLURM_JOB_GPUS=0-3", &[]).is_empty(), "it is all known");
        runtime.shutdown_background();
    }

    #[test]
    fn a_reader_that_is_busy_is_not_waited_for() {
        let (questions, _asked) = sync_channel(0);
        let (_folder, there, all) = machine();
        let reader = Reader { questions, ..there };
        let found = look(&mut Environments::new(reader, WantsDevices::default()), &all);
        assert_eq!(found.outcome, Err(Fault::Timeout));
    }

    proptest! {
        #[test]
        fn any_environment_is_borne(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = word(&values(&bytes));
        }
    }
}
