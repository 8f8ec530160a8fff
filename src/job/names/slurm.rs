//! Slurm's own word on its jobs: `scontrol -o show job`, a line for each. What a user wrote stands among the
//! fields (a job's name may hold spaces and `=`), so a line is only believed where it can be read in one way.

use super::{Aside, Look, NameSource, SourceName, Wanted, Word};
use crate::clock;
use crate::job::is_in_users_hands;
use crate::model::description::{Attribute, Description};
use crate::model::identity::JobId;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// scontrol answers in some 10 ms; a controller that takes longer than this is not asked again soon.
const PATIENCE: Nanos = Nanos::from_seconds(5);

/// And what hangs in spite of being killed is left behind after this.
const LONGEST: Duration = Duration::from_secs(7);

/// An answer is no longer: 10,000 jobs of 1.5 kB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// More jobs than this are asked for all at once.
const MAX_SINGLE: usize = 3;

/// Where the program is, and whose jobs it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `scontrol`.
    pub program: PathBuf,
    /// The cluster that it asks, if it has a name.
    pub cluster: Option<String>,
}

/// Asks it.
#[derive(Debug)]
pub struct Scontrol {
    wish: Wish,
    answer: Aside<Result<String, Fault>>,
}

impl Scontrol {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(wish: Wish) -> Scontrol {
        Scontrol { wish, answer: Aside::default() }
    }
}

impl NameSource for Scontrol {
    const NAME: SourceName = SourceName::Scontrol;
    const REST: Duration = Duration::from_secs(2);
    const REFRESH: Option<Duration> = None;

    async fn look(&mut self, open: &[JobId], _: &Wanted) -> Look {
        let detail = self.wish.program.display().to_string();
        let numbers: HashMap<&str, &JobId> =
            open.iter().filter_map(|id| Some((number_of(id, self.wish.cluster.as_deref())?, id))).collect();
        // Of another cluster's jobs this one's controller knows nothing.
        let foreign = open.iter().filter(|id| number_of(id, self.wish.cluster.as_deref()).is_none());
        let mut words: Vec<(JobId, Word)> =
            foreign.map(|id| (id.clone(), Word { is_last: true, ..Word::default() })).collect();
        let questions: Vec<Vec<String>> = match numbers.len() {
            0 => Vec::new(),
            1..=MAX_SINGLE => numbers.keys().map(|number| question(&["job", number])).collect(),
            _ => vec![question(&["jobs"])],
        };
        let mut outcome = Ok(());
        for arguments in questions {
            let program = self.wish.program.clone();
            let asked = self.answer.within(LONGEST, move || ask(&program, &arguments)).await;
            match asked.and_then(|answer| answer) {
                Ok(answer) => {
                    for (number, description) in told(&answer) {
                        if let Some(id) = numbers.get(number) {
                            words.push((
                                (*id).clone(),
                                Word { description, is_last: true, ..Word::default() },
                            ));
                        }
                    }
                }
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
        }
        Look { words, outcome, detail, pods: None }
    }
}

fn question(what: &[&str]) -> Vec<String> {
    ["-o", "show"].iter().chain(what).map(|word| (*word).to_owned()).collect()
}

/// The job's number, if it is one of this cluster: `cluster.number`, `number`, or either behind a job
/// around it.
#[must_use]
pub fn number_of<'a>(id: &'a JobId, cluster: Option<&str>) -> Option<&'a str> {
    if is_in_users_hands(id) {
        return None;
    }
    let own = id.id().rsplit('/').next()?;
    let (of, number) = own.rsplit_once('.').map_or((None, own), |(of, number)| (Some(of), number));
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (of.is_none() || of == cluster)).then_some(number)
}

/// Runs a program and takes what it says, for so long and no longer.
fn ask(program: &Path, arguments: &[String]) -> Result<String, Fault> {
    let fault = |error: io::Error| Fault::from(&error);
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| fault(error.into()))?;
    let mut command = Command::new(program);
    // Nothing may be opened for writing any more, so its complaints come the same way.
    let complaints = write.try_clone().map_err(fault)?;
    command.args(arguments).stdin(Stdio::null()).stdout(write).stderr(complaints);
    let mut child = command.spawn().map_err(fault)?;
    // Our ends of the pipe.
    drop(command);
    let answer = read_until(read, clock::monotonic() + PATIENCE);
    if answer.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(fault)?;
    let answer = answer?;
    let is_answer = status.success() || answer.contains("Invalid job id");
    if is_answer {
        Ok(answer)
    } else {
        Err(if answer.contains("Unable to contact") { Fault::Unreachable } else { Fault::Io })
    }
}

fn read_until(pipe: OwnedFd, end: Nanos) -> Result<String, Fault> {
    let mut pipe = File::from(pipe);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = end.saturating_sub(clock::monotonic()).get();
        let limit = Timespec {
            tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(0),
            tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
        };
        let is_ready = poll(&mut [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)], Some(&limit));
        match is_ready {
            Ok(0) => return Err(Fault::Timeout),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return Err(Fault::Io),
        }
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Ok(count) if bytes.len() + count <= MAX_ANSWER_BYTES => bytes.extend_from_slice(&buffer[..count]),
            Ok(_) => return Err(Fault::Limit),
            Err(error) => return Err(Fault::from(&error)),
        }
    }
}

/// What is said of each job. One that is spoken of twice is not believed: a name may hold a line break.
fn told(answer: &str) -> HashMap<&str, Description> {
    let mut told: HashMap<&str, Option<Description>> = HashMap::new();
    for (number, description) in answer.lines().filter_map(parse) {
        told.entry(number).and_modify(|known| *known = None).or_insert(Some(description));
    }
    told.into_iter().filter_map(|(number, description)| Some((number, description?))).collect()
}

/// A job's number and what Slurm says of it. The fields stand in an order that all versions have:
/// `JobId [ArrayJobId ArrayTaskId | HetJobId …] JobName UserId GroupId … Account … JobState … Partition`.
/// The name is the only one before the partition that a user writes. A line in which the end of the name
/// could be in two places is not believed.
#[must_use]
pub fn parse(line: &str) -> Option<(&str, Description)> {
    let (head, rest) = line.trim_end().split_once(" JobName=")?;
    let mut description = Description::default();
    let mut fields = head.split(' ').filter_map(|field| field.split_once('='));
    let number = fields.next().filter(|(key, _)| *key == "JobId")?.1;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    for (key, value) in fields {
        match key {
            "ArrayJobId" => description.set(Attribute::SlurmArrayJobId, value),
            // Those that wait stand together, as a range.
            "ArrayTaskId" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                description.set(Attribute::SlurmArrayTaskId, value);
            }
            _ => {}
        }
    }
    let mut ends = rest.match_indices(" UserId=").filter(|(at, key)| is_user(&rest[at + key.len()..]));
    let (end, _) = ends.next()?;
    if ends.next().is_some() {
        return None;
    }
    let set = |description: &mut Description, attribute, value: &str| {
        if !matches!(value, "(null)" | "N/A" | "") {
            description.set(attribute, value);
        }
    };
    set(&mut description, Attribute::SlurmJobName, &rest[..end]);
    for field in rest[end..].split(' ').filter_map(|field| field.split_once('=')) {
        match field {
            ("UserId", user) => {
                let (name, id) = user.rsplit_once('(')?;
                set(&mut description, Attribute::UserName, name);
                set(&mut description, Attribute::UserId, id.trim_end_matches(')'));
            }
            ("Account", account) => set(&mut description, Attribute::SlurmAccount, account),
            ("Partition", partition) => {
                set(&mut description, Attribute::SlurmPartition, partition);
                break;
            }
            _ => {}
        }
    }
    Some((number, description))
}

/// `anna(1000) GroupId=…`.
fn is_user(text: &str) -> bool {
    let Some((user, rest)) = text.split_once(' ') else { return false };
    let id = user.rsplit_once('(').and_then(|(_, id)| id.strip_suffix(')'));
    let is_id = id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    is_id && rest.starts_with("GroupId=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::tests::{look, wanted};
    use crate::model::identity::JobKind;
    use proptest::prelude::*;

    const REST: &str = "UserId=anna(1000) GroupId=lab(100) MCS_label=N/A Priority=4294901757 Nice=0 \
        Account=physics QOS=(null) JobState=RUNNING Reason=None Dependency=(null) Requeue=1 TimeLimit=UNLIMITED \
        SubmitTime=2026-11-22T07:42:49 Partition=debug AllocNode:Sid=localhost:1 ReqNodeList=(null) NodeList=n1 \
        Command=/home/anna/a b Account=evil.sh WorkDir=/home/anna StdErr=/dev/null Power=";

    fn described(line: &str) -> Option<Vec<String>> {
        let (number, description) = parse(line)?;
        let of = |attribute: &Attribute| description.get(*attribute).to_owned();
        let rest = [
            Attribute::SlurmJobName,
            Attribute::SlurmAccount,
            Attribute::SlurmPartition,
            Attribute::UserName,
            Attribute::UserId,
            Attribute::SlurmArrayJobId,
            Attribute::SlurmArrayTaskId,
        ];
        Some([number.to_owned()].into_iter().chain(rest.iter().map(of)).collect())
    }

    #[test]
    fn a_line_is_read_as_slurm_wrote_it_whatever_a_user_called_the_job() {
        let usual = |number: &'static str, name: &'static str| {
            Some(vec![number, name, "physics", "debug", "anna", "1000", "", ""])
        };
        let array = |number: &'static str, name: &'static str| {
            Some(vec![number, name, "physics", "debug", "anna", "1000", "7", "3"])
        };
        for (line, expected) in [
            (format!("JobId=7 JobName=train.sh {REST}"), usual("7", "train.sh")),
            (format!("JobId=7 JobName=a name  with spaces {REST} \n"), usual("7", "a name  with spaces")),
            (format!("JobId=7 JobName=(null) {REST}"), usual("7", "")),
            (format!("JobId=7 JobName= {REST}"), usual("7", "")),
            (
                format!("JobId=7 JobName=x Account=evil Partition=evil {REST}"),
                usual("7", "x Account=evil Partition=evil"),
            ),
            (format!("JobId=7 JobName=x UserId=root(0) {REST}"), usual("7", "x UserId=root(0)")),
            (
                format!("JobId=9 ArrayJobId=7 ArrayTaskId=3 ArrayTaskThrottle=2 JobName=a {REST}"),
                array("9", "a"),
            ),
            (
                format!("JobId=7 ArrayJobId=7 ArrayTaskId=1-2,4 JobName=a {REST}"),
                Some(vec!["7", "a", "physics", "debug", "anna", "1000", "7", ""]),
            ),
            (
                format!("JobId=12 HetJobId=11 HetJobOffset=1 HetJobIdSet=11-12 JobName=h {REST}"),
                usual("12", "h"),
            ),
            (
                format!("JobId=7 JobName=n {}", REST.replace("Account=physics", "Account=(null)")),
                Some(vec!["7", "n", "", "debug", "anna", "1000", "", ""]),
            ),
            // Somebody plays: the end of the name could be in two places.
            (format!("JobId=7 JobName=x UserId=root(0) GroupId=root(0) Account=evil {REST}"), None),
            ("slurm_load_jobs error: Invalid job id specified".to_owned(), None),
            ("JobId=x JobName=y".to_owned(), None),
            ("JobId=7 JobName=y".to_owned(), None),
            (String::new(), None),
        ] {
            let expected = expected.map(|fields| fields.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(described(&line), expected, "{line}");
        }
    }

    #[test]
    fn a_job_that_is_spoken_of_twice_is_not_believed() {
        let answer = format!(
            "JobId=7 JobName=a {REST}\nJobId=8 JobName=x\nJobId=7 JobName=b {REST}\nJobId=9 JobName=c {REST}\n"
        );
        assert_eq!(told(&answer).into_keys().collect::<Vec<_>>(), ["9"]);
    }

    #[test]
    fn a_number_is_asked_for_only_where_its_cluster_is() {
        for (id, cluster, expected) in [
            ("alpha.7", Some("alpha"), Some("7")),
            ("alpha.7", Some("beta"), None),
            ("alpha.7", None, None),
            ("7", Some("alpha"), Some("7")),
            ("7", None, Some("7")),
            ("container/7", None, Some("7")),
            ("user@1000.service/7", None, None),
            ("user@1000.service/x.scope/7", None, None),
            ("slurmstepd.scope/7", None, Some("7")),
            ("user@1000.service/alpha.7", Some("alpha"), None),
            ("alpha.x", Some("alpha"), None),
            ("", None, None),
        ] {
            assert_eq!(number_of(&JobId::new(JobKind::Slurm, id), cluster), expected, "{id}");
        }
    }

    #[test]
    fn the_program_is_asked_for_few_jobs_by_number_and_for_many_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("scontrol");
        let asked = folder.path().join("asked");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}\necho complaint >&2\ncase $4 in 8) echo Invalid job id specified >&2; exit 1;; esac\n\
             for id in ${{4:-1 2 3 4 5}}; do echo \"JobId=$id JobName=job $id {REST}\"; done\n",
            asked.display()
        );
        std::fs::write(&program, script).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("made a program");
        let mut source = Scontrol::new(Wish { program, cluster: Some("a".to_owned()) });
        let names = |found: Look| {
            assert_eq!(found.outcome, Ok(()));
            let mut names: Vec<String> = found
                .words
                .iter()
                .map(|word| word.1.description.get(Attribute::SlurmJobName).to_owned())
                .collect();
            names.sort();
            names
        };
        let few = wanted(&[("slurm", "a.1"), ("slurm", "b.2"), ("slurm", "a.8")]);
        assert_eq!(names(look(&mut source, &few)), ["", "job 1"], "b's job is not this controller's");
        let many = wanted(&[("slurm", "a.1"), ("slurm", "a.2"), ("slurm", "a.3"), ("slurm", "a.9")]);
        assert_eq!(names(look(&mut source, &many)), ["job 1", "job 2", "job 3"]);
        let asked = std::fs::read_to_string(asked).expect("it was asked");
        let mut asked: Vec<&str> = asked.lines().collect();
        asked.sort_unstable();
        assert_eq!(asked, ["-o show job 1", "-o show job 8", "-o show jobs"]);
    }

    #[test]
    fn a_program_that_is_not_there_or_fails_is_a_fault() {
        let all = wanted(&[("slurm", "1")]);
        let wish = |program: &str| Wish { program: program.into(), cluster: None };
        assert_eq!(look(&mut Scontrol::new(wish("/nowhere/scontrol")), &all).outcome, Err(Fault::Missing));
        assert_eq!(look(&mut Scontrol::new(wish("/bin/false")), &all).outcome, Err(Fault::Io));
        let end = clock::monotonic() + Nanos::new(30_000_000);
        let (read, _write) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!(read_until(read, end), Err(Fault::Timeout));
    }

    proptest! {
        #[test]
        fn any_line_is_borne_and_no_name_changes_an_account(name in "\\PC{0,40}", line in "\\PC{0,80}") {
            let _ = parse(&line);
            let line = format!("JobId=7 JobName={name} {REST}");
            if let Some((_, description)) = parse(&line) {
                prop_assert_eq!(description.get(Attribute::SlurmAccount), "physics");
            }
        }
    }
}
