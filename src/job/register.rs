//! What jobs say of themselves, over the exporter's only socket that accepts input. The kernel says which
//! process speaks, its control group says which job that is: nobody can speak for another.

use super::Resolvers;
use super::directory::Told;
use super::hierarchy::Root;
use super::speech::Usage;
use crate::kernel_file::{has_ended, read_lossy};
use crate::model::description::{Attribute, Description};
use crate::model::identity::JobId;
use arc_swap::ArcSwap;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Jobs that may have said something; as many as a page has by default, and no memory to speak of.
const MAX_TOLD: usize = 4_096;

/// Labels are short; what is longer is no label.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// Why a job is not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The process is not of our PID namespace.
    #[error(
        "which process is speaking cannot be told: it is in another PID namespace than the exporter (give the exporter the host's, or speak from outside the container)"
    )]
    Foreign,
    /// The process has ended, or its group cannot be read.
    #[error("the control group of process {0} cannot be read: it has ended, or is not on this host")]
    Gone(i32),
    /// It is in no job.
    #[error(
        "process {0} is in no job that the exporter knows: its control group belongs to nobody (see docs/jobs.md)"
    )]
    NoJob(i32),
    /// The message is none.
    #[error(
        "this is no set of labels: {0} (expected an object with project, experiment, executable, labels)"
    )]
    Malformed(String),
    /// The message is no such statement.
    #[error("{problem} (expected {expected})")]
    Statement {
        /// What is wrong.
        problem: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// More is said than a tick takes in.
    #[error("too much was said since the last tick; say it again in some seconds, and marks more seldom")]
    Busy,
    /// Too many jobs have labels.
    #[error("{MAX_TOLD} jobs have labels already; try again when some of them have ended")]
    Full,
}

/// How the speaker of a process is found out.
#[derive(Debug)]
pub struct Callers {
    procfs: PathBuf,
    roots: Vec<Root>,
    // Of each root, where the paths begin that we are shown; `None` where that is not known.
    starts: Vec<Option<String>>,
    resolvers: Resolvers,
}

/// Who is speaking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The job.
    pub job: JobId,
    /// Where its CPU time is counted, where that can be seen.
    pub usage: Option<Usage>,
}

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// In these jobs, the innermost first; in none.
    In(Vec<JobId>),
    /// Outside what we are shown of the control groups, or these cannot be read.
    Hidden,
    /// It has ended.
    Gone,
}

impl Callers {
    /// By the same rules as groups are recognised.
    #[must_use]
    pub fn new(procfs: &Path, roots: Vec<Root>, resolvers: Resolvers) -> Callers {
        let starts = roots.iter().map(|_| Some(String::new())).collect();
        Callers { procfs: procfs.to_owned(), roots, starts, resolvers }
    }

    /// The same, where the paths that we are shown begin at these places; `None` where that is not known.
    #[must_use]
    pub fn within(self, starts: Vec<Option<String>>) -> Callers {
        Callers { starts, ..self }
    }

    /// In which jobs the process with this number is. The number must be one of /proc.
    #[must_use]
    pub fn stand_of(&self, pid: u32) -> Stand {
        let groups = match read_lossy(&self.procfs.join(pid.to_string()).join("cgroup")) {
            Ok(groups) => groups,
            Err(error) if has_ended(&error) => return Stand::Gone,
            Err(_) => return Stand::Hidden,
        };
        let mut is_seen = false;
        for (root, start) in self.roots.iter().zip(&self.starts) {
            let path = root.version.path_in(&groups);
            let Some(path) = path.and_then(|path| absolute(start.as_deref(), path)) else { continue };
            is_seen = true;
            let jobs = self.resolvers.around(&path);
            // The first hierarchy is the one that charges.
            if !jobs.is_empty() {
                return Stand::In(jobs);
            }
        }
        if is_seen { Stand::In(Vec::new()) } else { Stand::Hidden }
    }

    /// The job of the process at the other end of a socket, by its number and user; the kernel gives 0, or
    /// nothing, for one that we have no number for.
    ///
    /// # Errors
    /// It is not known, or in no job.
    pub fn speaker(&self, peer: Option<(i32, u32)>) -> Result<Speaker, Refusal> {
        let pid = self.process(peer)?;
        let groups = read_lossy(&self.procfs.join(pid.to_string()).join("cgroup"));
        let groups = groups.map_err(|_| Refusal::Gone(pid))?;
        // The first hierarchy is the one that charges.
        let found = self.roots.iter().zip(&self.starts).find_map(|(root, start)| {
            let path = absolute(start.as_deref(), root.version.path_in(&groups)?)?;
            let (job, group) = self.resolvers.innermost_group(&path)?;
            let usage = below(start.as_deref(), &group)
                .map(|group| Usage { group: root.path.join(group), version: root.version });
            Some(Speaker { job, usage })
        });
        found.ok_or(Refusal::NoJob(pid))
    }

    /// The number of that process, if it is still the same.
    ///
    /// # Errors
    /// It has none, or has ended.
    pub fn process(&self, peer: Option<(i32, u32)>) -> Result<i32, Refusal> {
        let (pid, user) = peer.filter(|(pid, _)| *pid > 0).ok_or(Refusal::Foreign)?;
        // Another process may have got the number since.
        let status = read_lossy(&self.procfs.join(pid.to_string()).join("status")).unwrap_or_default();
        if effective_user(&status) == Some(user) { Ok(pid) } else { Err(Refusal::Gone(pid)) }
    }
}

/// Where a group is below the root that we are shown, if it is there.
fn below<'a>(start: Option<&str>, group: &'a str) -> Option<&'a str> {
    let rest = group.strip_prefix(start?.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
}

/// The path from the root of the hierarchy: in a private namespace `/` is where that was made, and what is
/// outside begins with `/..`.
fn absolute(start: Option<&str>, path: &str) -> Option<String> {
    let Some(start) = start else {
        return (!path.starts_with("/..")).then(|| path.to_owned());
    };
    let mut names: Vec<&str> = start.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match name {
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Some(format!("/{}", names.join("/")))
}

/// Of a process, by its /proc/PID/status: real, effective, saved and file system user.
fn effective_user(status: &str) -> Option<u32> {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

/// The message of `PUT /api/v1/job/labels`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Labels {
    project: String,
    experiment: String,
    executable: String,
    labels: BTreeMap<String, String>,
}

/// Reads labels; what is too long is cut, what are too many are left out.
///
/// # Errors
/// It is not JSON, or something else.
pub fn read_labels(body: &[u8]) -> Result<Description, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::Malformed(error.to_string());
    // A list of values would do for the fields in their order; it is no object.
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
    let labels = Labels::deserialize(Value::Object(object)).map_err(malformed)?;
    let mut description = Description::default();
    description.set(Attribute::Project, &labels.project);
    description.set(Attribute::Experiment, &labels.experiment);
    description.set(Attribute::Executable, &labels.executable);
    for (key, value) in &labels.labels {
        description.label(key, value);
    }
    Ok(description)
}

/// Where what jobs say of themselves is left: all of it, for whoever takes it next.
#[derive(Debug, Default)]
pub struct Register {
    told: Arc<ArcSwap<Told>>,
    // One writes at a time.
    writing: Mutex<()>,
}

impl Register {
    /// What is said is left here.
    #[must_use]
    pub fn new(told: Arc<ArcSwap<Told>>) -> Register {
        Register { told, writing: Mutex::default() }
    }

    /// Notes what a job says of itself, in place of what it said before. Jobs that are not `known`
    /// make room, when that is needed.
    ///
    /// # Errors
    /// There is no room.
    pub fn tell(
        &self,
        job: JobId,
        description: Description,
        known: impl FnOnce() -> HashSet<JobId>,
    ) -> Result<(), Refusal> {
        let _turn = self.writing.lock().expect("nothing panics with it");
        let all = self.told.load();
        let is_full = all.len() >= MAX_TOLD && !all.contains_key(&job);
        let known = if is_full { Some(known()) } else { None };
        let stays = |id: &JobId| known.as_ref().is_none_or(|known| known.contains(id));
        if is_full && all.keys().filter(|id| stays(id)).count() >= MAX_TOLD {
            return Err(Refusal::Full);
        }
        let description = Arc::new(description);
        // What ended meanwhile is not brought back.
        self.told.rcu(|all| {
            let mut all: Told =
                all.iter().filter(|(id, _)| stays(id)).map(|(id, it)| (id.clone(), Arc::clone(it))).collect();
            all.insert(job.clone(), Arc::clone(&description));
            all
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::hierarchy::Version;
    use crate::model::description::{MAX_LABELS, MAX_VALUE_BYTES};
    use crate::model::identity::JobKind;
    use crate::model::reading::Hierarchy;
    use std::fs;

    #[test]
    fn a_process_speaks_for_its_innermost_job_alone() {
        let proc = tempfile::tempdir().expect("a folder");
        let root = |version, hierarchy| Root { path: "/cg".into(), version, hierarchy, cpuset: None };
        let roots = vec![root(Version::V1, Hierarchy::Primary), root(Version::V2, Hierarchy::Supplement)];
        let resolvers = Resolvers::new(Vec::new(), JobKind::ALL.to_vec());
        let callers = Callers::new(proc.path(), roots, resolvers);
        for (pid, groups, expected) in [
            (10, "4:cpu,cpuacct:/slurm/uid_0/job_7/step_0/task_1\n0::/init.scope\n", Ok("7")),
            (11, "4:cpu,cpuacct:/\n0::/system.slice/a.service\n", Ok("a.service")),
            (12, "0::/system.slice/docker.service/deeper\n", Ok("docker.service")),
            (13, "4:cpuacct:/\n0::/\n", Err(Refusal::NoJob(13))),
            (14, "0::/../../system.slice/a.service\n", Err(Refusal::NoJob(14))),
            (15, "", Err(Refusal::NoJob(15))),
        ] {
            fs::create_dir(proc.path().join(pid.to_string())).expect("made");
            fs::write(proc.path().join(format!("{pid}/cgroup")), groups).expect("written");
            fs::write(proc.path().join(format!("{pid}/status")), "Name:\tx\nUid:\t7\t8\t9\t9\n")
                .expect("written");
            assert_eq!(callers.speaker(Some((pid, 7))), Err(Refusal::Gone(pid)), "somebody else's by now");
            let found = callers.speaker(Some((pid, 8)));
            let group = |found: &Speaker| found.usage.as_ref().map(|usage| usage.group.display().to_string());
            if pid == 10 {
                let group = found.as_ref().ok().and_then(group);
                assert_eq!(group.as_deref(), Some("/cg/slurm/uid_0/job_7"));
            }
            let found = found.map(|found| found.job.id().to_string());
            assert_eq!(found, expected.map(str::to_owned), "{groups}");
        }
        assert_eq!(callers.speaker(Some((99, 8))), Err(Refusal::Gone(99)));
        assert_eq!(callers.speaker(Some((0, 8))), Err(Refusal::Foreign));
        assert_eq!(callers.speaker(None), Err(Refusal::Foreign));
    }

    #[test]
    fn a_process_stands_in_all_jobs_around_it_also_seen_from_a_private_namespace() {
        const UID: &str = "7b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
        const OWN: &str = "8b2c1a90-11aa-4f0e-9c3d-5e6f70819203";
        let proc = tempfile::tempdir().expect("a folder");
        let root =
            || Root { path: "/cg".into(), version: Version::V2, hierarchy: Hierarchy::Primary, cpuset: None };
        let own = format!("/kubepods/burstable/pod{OWN}/container");
        for (start, group, expected) in [
            ("", format!("/kubepods/burstable/pod{UID}/c/jouleprint-run-1"), Some(vec!["1", UID])),
            ("", "/system.slice/a.service".to_owned(), Some(vec!["a.service"])),
            ("", "/".to_owned(), Some(vec![])),
            ("", format!("/../kubepods/pod{UID}"), None),
            (&own, format!("/../../pod{UID}/c"), Some(vec![UID])),
            (&own, "/../../../besteffort".to_owned(), Some(vec![])),
            (&own, "/".to_owned(), Some(vec![OWN])),
            (&own, "/../../../../../x".to_owned(), None),
            ("?", format!("/kubepods/burstable/pod{UID}"), Some(vec![UID])),
            ("?", format!("/../../pod{UID}/c"), None),
        ] {
            let resolvers = Resolvers::new(Vec::new(), JobKind::ALL.to_vec());
            let start_of_paths = (start != "?").then(|| start.to_owned());
            let callers = Callers::new(proc.path(), vec![root()], resolvers).within(vec![start_of_paths]);
            fs::create_dir_all(proc.path().join("7")).expect("made");
            fs::write(proc.path().join("7/cgroup"), format!("0::{group}\n")).expect("written");
            let found = callers.stand_of(7);
            let expected = expected.map_or(Stand::Hidden, |ids| {
                let kind = |id: &str| match id {
                    "1" => JobKind::Run,
                    "a.service" => JobKind::Unit,
                    _ => JobKind::Pod,
                };
                Stand::In(ids.into_iter().map(|id| JobId::new(kind(id), id)).collect())
            });
            assert_eq!(found, expected, "{start} {group}");
            assert_eq!(callers.stand_of(8), Stand::Gone);
        }
        // A name that is no text, and a file that is there and cannot be read.
        let resolvers = || Resolvers::new(Vec::new(), JobKind::ALL.to_vec());
        let callers = Callers::new(proc.path(), vec![root()], resolvers());
        fs::write(proc.path().join("7/cgroup"), b"0::/system.slice/a.service/\xff\n").expect("written");
        assert_eq!(callers.stand_of(7), Stand::In(vec![JobId::new(JobKind::Unit, "a.service")]));
        fs::create_dir_all(proc.path().join("9/cgroup")).expect("made");
        assert_eq!(callers.stand_of(9), Stand::Hidden);
        let nothing = Callers::new(proc.path(), Vec::new(), Resolvers::default());
        assert_eq!(nothing.stand_of(7), Stand::Hidden, "without control groups nothing is known");
    }

    #[test]
    fn labels_are_bounded_and_garbage_is_none() {
        let long = format!(
            "{{\"project\":\"{}\",\"labels\":{{{}}}}}",
            "p".repeat(10_000),
            (0..100).map(|key| format!("\"k{key}\":\"a\\\"\\n\"")).collect::<Vec<_>>().join(",")
        );
        let description = read_labels(long.as_bytes()).expect("labels");
        assert_eq!(description.get(Attribute::Project).len(), MAX_VALUE_BYTES);
        assert_eq!(description.labels().len(), MAX_LABELS);
        assert!(description.labels().values().all(|value| &**value == "a\"\n"));
        for body in [&b""[..], b"[]", b"{", b"{\"projekt\":\"x\"}", b"{\"project\":1}", b"\xff\xfe", b"null"]
        {
            assert!(matches!(read_labels(body), Err(Refusal::Malformed(_))), "{body:?}");
        }
    }

    #[test]
    fn when_there_is_no_room_jobs_that_are_gone_make_some() {
        let told = Register::default();
        let job = |number: usize| JobId::new(JobKind::Run, &number.to_string());
        let all = || (0..=MAX_TOLD).map(job).collect();
        for number in 0..MAX_TOLD {
            told.tell(job(number), Description::default(), all).expect("room");
        }
        assert_eq!(told.tell(job(MAX_TOLD), Description::default(), all), Err(Refusal::Full));
        told.tell(job(0), Description::default(), all).expect("it has its place");
        told.tell(job(MAX_TOLD), Description::default(), || [job(0)].into()).expect("room");
        assert_eq!(told.told.load().len(), 2);
    }
}
