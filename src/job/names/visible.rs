//! Which accelerators jobs were told to use, by variables in the environment of their processes: those of
//! units, containers and pods that nobody gave a device in a way that can be asked for. Whoever starts a job
//! can say so, and the job itself: what is known of those who run jobs goes before it.

use super::environment::{MAX_JOBS, PATIENCE, Question, Reader, Values, pids, read, values};
use super::{Look, NameSource, SourceName, Wanted, WantsDevices, Word};
use crate::clock;
use crate::job::gpu::grant::{JobDevices, Variables};
use crate::model::identity::JobId;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A job is looked at soon after its birth, when it may still be starting, and then ever more rarely: which
/// devices it uses is hardly ever said to a process that comes after an hour.
const FIRST_PAUSE: Nanos = Nanos::from_seconds(2);
const LONGEST_PAUSE: Nanos = Nanos::from_seconds(600);

/// Entries of a /dev: a large machine's has some thousands, most of them disks.
const MAX_NODES: usize = 16_384;

/// What the processes of one group say; `None` if none could be looked at.
pub(super) type Sighted = Option<JobDevices>;

/// What the processes of each group say.
pub(super) fn visible<'a>(
    procfs: &Path,
    groups: impl Iterator<Item = &'a PathBuf>,
    others: &HashSet<PathBuf>,
) -> Vec<Sighted> {
    let host = nodes(&procfs.join("1/root/dev"));
    groups.map(|group| of_group(procfs, group, others, host.as_ref())).collect()
}

fn of_group(
    procfs: &Path,
    group: &Path,
    others: &HashSet<PathBuf>,
    host: Option<&BTreeSet<String>>,
) -> Sighted {
    let mut all = None;
    for pid in pids(group, others) {
        let process = procfs.join(pid.to_string());
        let Ok(environment) = read(&process.join("environ")) else { continue };
        let mut devices = devices(&values(&environment));
        // Whoever is shown some of the devices counts those alone.
        if devices.visible.iter().any(|given| given.device.is_numbered()) {
            let sees_all = host.is_some() && nodes(&process.join("root/dev")).as_ref() == host;
            if !sees_all {
                devices.without_numbers();
            }
        }
        all.get_or_insert_with(JobDevices::default).add(devices);
    }
    all
}

fn devices(values: &Values) -> JobDevices {
    let [.., cuda, rocr, hip, intel] = values.each_ref().map(Option::as_deref);
    JobDevices::read(Variables { cuda, amd: [rocr, hip], intel, ..Variables::default() })
}

/// The device files of accelerators in a /dev: `nvidia0`, `renderD128`.
fn nodes(folder: &Path) -> Option<BTreeSet<String>> {
    let is_node = |name: &String| {
        let number = name.strip_prefix("nvidia").or_else(|| name.strip_prefix("renderD"));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).ok()?.flatten().take(MAX_NODES);
        Some(entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_node))
    };
    let own: BTreeSet<String> = names(folder)?.collect();
    // Without graphics there is no such folder.
    let rendering = names(&folder.join("dri")).into_iter().flatten();
    Some(own.into_iter().chain(rendering).collect())
}

/// Asks the thread that reads environments.
#[derive(Debug)]
pub struct VisibleDevices {
    reader: Reader,
    wants_devices: WantsDevices,
    known: HashMap<JobId, Known>,
}

/// What is known of one job.
#[derive(Debug, Clone, Default)]
struct Known {
    due: Nanos,
    pause: Nanos,
    devices: JobDevices,
}

impl VisibleDevices {
    /// With a thread that runs.
    #[must_use]
    pub fn new(reader: Reader, wants_devices: WantsDevices) -> VisibleDevices {
        VisibleDevices { reader, wants_devices, known: HashMap::new() }
    }

    /// Those that are to be looked at now, and their groups.
    fn due(&mut self, all: &Wanted, now: Nanos) -> Vec<(JobId, PathBuf)> {
        self.known.retain(|id, _| all.contains_key(id));
        let ours = all.iter().filter(|(id, asked)| SourceName::Visible.concerns(id, asked));
        let due = ours.filter(|(id, _)| self.known.get(*id).is_none_or(|known| known.due <= now));
        let placed = due.filter_map(|(id, asked)| Some((id.clone(), self.reader.group(asked)?)));
        placed.take(MAX_JOBS).collect()
    }

    /// Notes what was seen of a job. Says so only if it is something else.
    fn note(&mut self, id: JobId, seen: Sighted, now: Nanos) -> Option<(JobId, Word)> {
        let known = self.known.entry(id.clone()).or_default();
        known.pause = Nanos::new(known.pause.get() * 2).max(FIRST_PAUSE).min(LONGEST_PAUSE);
        known.due = now + known.pause;
        let seen = seen.filter(|seen| *seen != known.devices)?;
        known.devices = seen.clone();
        Some((id, Word { devices: Some(Arc::new(seen)), ..Word::default() }))
    }
}

impl NameSource for VisibleDevices {
    const NAME: SourceName = SourceName::Visible;
    const REST: Duration = Duration::from_secs(2);
    // Who was looked at is due again; nothing is read where no accelerators are.
    const REFRESH: Option<Duration> = Some(Duration::from_secs(10));
    const LONGEST_TROUBLE: Duration = Duration::from_secs(30);

    async fn look(&mut self, _: &[JobId], all: &Wanted) -> Look {
        let detail = "CUDA_VISIBLE_DEVICES and its like in /proc/PID/environ".to_owned();
        if !self.wants_devices.load(Ordering::Relaxed) {
            return Look::failed(Fault::Missing, detail);
        }
        let now = clock::monotonic();
        let (ids, groups): (Vec<JobId>, Vec<PathBuf>) = self.due(all, now).into_iter().unzip();
        if ids.is_empty() {
            return Look { words: Vec::new(), outcome: Ok(()), detail, pods: None };
        }
        let others = all.values().filter_map(|asked| self.reader.group(asked)).collect();
        let (give, take) = oneshot::channel();
        if self.reader.questions.try_send(Question::Visible { groups, others, answer: give }).is_err() {
            return Look::failed(Fault::Timeout, detail);
        }
        let Ok(Ok(answers)) = timeout(PATIENCE, take).await else {
            return Look::failed(Fault::Timeout, detail);
        };
        let words = ids.into_iter().zip(answers).filter_map(|(id, seen)| self.note(id, seen, now));
        Look { words: words.collect(), outcome: Ok(()), detail, pods: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::Asked;
    use crate::job::names::tests::look;
    use crate::model::identity::JobKind;
    use crate::model::reading::Hierarchy;
    use std::fs;

    /// A host with two GPUs, a unit with a container inside, and what their processes have.
    struct Bench {
        folder: tempfile::TempDir,
        reader: Reader,
        all: Wanted,
    }

    impl Bench {
        fn new() -> Bench {
            let folder = tempfile::tempdir().expect("a folder");
            let at = |path: &str| folder.path().join(path);
            for (group, pids) in
                [("a.service", "10\n"), ("a.service/inner", "11\n"), ("a.service/docker-1", "12\n")]
            {
                fs::create_dir_all(at(&format!("cgroup/{group}"))).expect("made");
                fs::write(at(&format!("cgroup/{group}/cgroup.procs")), pids).expect("written");
            }
            let reader =
                Reader::start(&at("proc"), vec![(Hierarchy::Primary, at("cgroup"))]).expect("a thread");
            let job = |kind, id: &str, cgroup: &str| {
                let asked = Asked { cgroup: cgroup.into(), hierarchy: Hierarchy::Primary, user: None };
                (JobId::new(kind, id), asked)
            };
            let all = [
                job(JobKind::Unit, "a.service", "/a.service"),
                job(JobKind::Container, "1", "/a.service/docker-1"),
            ];
            let bench = Bench { folder, reader, all: all.into_iter().collect() };
            bench.run(1, "", &["nvidia0", "nvidia1", "nvidiactl", "dri/renderD128", "sda"]);
            bench
        }

        /// A process with this environment, which is shown these files.
        fn run(&self, pid: u32, environment: &str, nodes: &[&str]) {
            let place = self.folder.path().join(format!("proc/{pid}"));
            let _ = fs::remove_dir_all(&place);
            fs::create_dir_all(place.join("root/dev/dri")).expect("made");
            fs::write(place.join("environ"), environment.replace(' ', "\0")).expect("written");
            for node in nodes {
                fs::write(place.join("root/dev").join(node), "").expect("written");
            }
        }

        fn look(&self) -> Vec<(String, Vec<String>)> {
            let mut source = VisibleDevices::new(self.reader.clone(), WantsDevices::new(true.into()));
            let found = look(&mut source, &self.all);
            assert_eq!(found.outcome, Ok(()));
            let devices = |(id, word): (JobId, Word)| {
                let devices = word.devices.expect("nothing else is told");
                let words = devices.visible.iter().map(|given| format!("{:?}", given.device.of));
                (id.id().to_string(), words.collect())
            };
            let mut words: Vec<_> = found.words.into_iter().map(devices).collect();
            words.sort();
            words
        }
    }

    const ALL: &[&str] = &["nvidia0", "nvidia1", "nvidia-uvm", "dri/renderD128", "fd"];

    #[test]
    fn what_a_job_was_told_is_the_union_over_its_own_processes() {
        let bench = Bench::new();
        bench.run(10, "PATH=/bin CUDA_VISIBLE_DEVICES=GPU-aa", ALL);
        bench.run(11, "CUDA_VISIBLE_DEVICES=1 ROCR_VISIBLE_DEVICES=GPU-bb", ALL);
        bench.run(12, "CUDA_VISIBLE_DEVICES=GPU-cc,MIG-dd", &[]);
        let own = ["Uuid(\"aa\")", "Index(1)", "Uuid(\"bb\")"].map(str::to_owned).to_vec();
        let inner = ["Uuid(\"cc\")", "Any"].map(str::to_owned).to_vec();
        assert_eq!(bench.look(), [("1".to_owned(), inner), ("a.service".to_owned(), own)]);
    }

    /// `environment, device files, what is understood`
    #[test]
    fn numbers_count_only_where_all_devices_are_seen() {
        for (environment, nodes, expected) in [
            ("CUDA_VISIBLE_DEVICES=0", ALL, &["Index(0)"][..]),
            ("CUDA_VISIBLE_DEVICES=0,GPU-aa", &["nvidia1", "nvidiactl"], &["Uuid(\"aa\")"]),
            ("CUDA_VISIBLE_DEVICES=0", &[], &[]),
            ("HIP_VISIBLE_DEVICES=1", &["nvidia0", "nvidia1"], &[]),
            ("ZE_AFFINITY_MASK=0.1", ALL, &["Index(0)"]),
            ("CUDA_VISIBLE_DEVICES=0:1", &["nvidia1"], &[]),
            ("CUDA_VISIBLE_DEVICES=", ALL, &[]),
            ("CUDA_VISIBLE_DEVICES=-1", ALL, &[]),
            ("CUDA_VISIBLE_DEVICES=NoDevFiles", ALL, &[]),
            ("SLURM_JOB_GPUS=0 SLURM_STEP_GPUS=1", ALL, &[]),
        ] {
            let bench = Bench::new();
            bench.run(10, environment, nodes);
            let seen = bench.look().into_iter().find(|(id, _)| id == "a.service");
            let seen = seen.map(|(_, devices)| devices).unwrap_or_default();
            assert_eq!(seen, expected, "{environment} with {nodes:?}");
        }
    }

    #[test]
    fn a_job_is_looked_at_ever_more_rarely_and_told_of_when_it_says_something_else() {
        let bench = Bench::new();
        let id = JobId::new(JobKind::Unit, "a.service");
        let mut source = VisibleDevices::new(bench.reader.clone(), WantsDevices::default());
        assert_eq!(look(&mut source, &bench.all).outcome, Err(Fault::Missing), "there are no accelerators");
        let seen = |uuid: &str| {
            let cuda = Some(uuid);
            Some(JobDevices::read(Variables { cuda, ..Variables::default() }))
        };
        let mut looks = Vec::new();
        for second in 0..4_000 {
            let now = Nanos::from_seconds(second);
            if source.due(&bench.all, now).iter().any(|(due, _)| *due == id) {
                looks.push(second);
                let is_first = looks.len() == 1;
                assert_eq!(source.note(id.clone(), seen("GPU-aa"), now).is_some(), is_first, "at {second} s");
            }
        }
        assert_eq!(looks, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1_022, 1_622, 2_222, 2_822, 3_422]);
        let now = Nanos::from_seconds(5_000);
        assert!(source.note(id.clone(), None, now).is_none(), "it has no process that can be seen");
        assert!(source.note(id.clone(), seen("GPU-bb"), now).is_some());
        assert!(source.note(id.clone(), Some(JobDevices::default()), now).is_some(), "it says so no more");
        source.due(&Wanted::new(), now);
        assert!(source.known.is_empty());
    }
}
