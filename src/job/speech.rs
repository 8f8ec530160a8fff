//! What jobs say of how far they have come and what they are at: read from the message, left in a bounded list,
//! and taken out of it at the next tick.

use super::account::{file_name, read_account};
use super::hierarchy::Version;
use super::register::Refusal;
use crate::kernel_file::{Buffer, KernelFile};
use crate::model::description::MAX_VALUE_BYTES;
use crate::model::identity::{JobId, Name};
use crate::model::quantity::{CpuTime, Nanos, parse_decimal};
use crate::model::speech::{Heard, Progress, STEP, Said, Statement};
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

/// Marks of one job between two ticks; a loop that marks each of its steps says its progress instead.
const MAX_SAID: usize = 64;

/// With the ends of what is open, for which there is room beyond that: what is refused stays open. One more place is
/// that of the newest progress.
const MAX_WITH_ENDS: usize = 2 * MAX_SAID;

/// Jobs that say something between two ticks.
const MAX_JOBS: usize = 4_096;

/// More steps than anything has: their millionths fit 64 bits.
const MAX_STEPS: u64 = 1_000_000_000_000;

/// Of a step so many decimals count.
const PLACES: u32 = 6;
const _: () = assert!(STEP == 10_u64.pow(PLACES), "millionths");

/// The file in which a job's CPU time is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The directory of the job's group.
    pub group: PathBuf,
    /// How it counts.
    pub version: Version,
}

impl Usage {
    /// What it shows now.
    #[must_use]
    pub fn read(&self) -> Option<CpuTime> {
        let file = KernelFile::open(&self.group.join(file_name(self.version, false))).ok()?;
        let read = read_account(&file, self.version, false, 0, &mut Buffer::default());
        read.ok().map(|reading| reading.usage())
    }
}

/// The message of `PUT /api/v1/job/progress`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressMessage {
    done: Number,
    total: Number,
}

/// The message of `POST /api/v1/job/marks`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkMessage {
    phase: String,
    mark: Mark,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Begin,
    End,
}

/// Reads how far a job has come.
///
/// # Errors
/// It is something else, or cannot be.
pub fn read_progress(body: &[u8]) -> Result<Statement, Refusal> {
    const EXPECTED: &str = "{\"done\": 3, \"total\": 100}";
    let message: ProgressMessage = read(body, EXPECTED)?;
    progress(&message.done.to_string(), &message.total.to_string())
        .map(Statement::Progress)
        .map_err(|problem| Refusal::Statement { problem, expected: EXPECTED })
}

/// The same from two numbers as people write them.
///
/// # Errors
/// They are none, or cannot be.
pub fn progress(done: &str, total: &str) -> Result<Progress, String> {
    let (done, total) = (steps("done", done)?, steps("total", total)?);
    match (total, done <= total) {
        (0, _) => Err("total is 0".to_owned()),
        (_, false) => Err("more is done than there is".to_owned()),
        (_, true) => Ok(Progress { done, total }),
    }
}

/// A number of steps in millionths.
fn steps(what: &str, text: &str) -> Result<u64, String> {
    let wrong = || format!("{what} is {text}, not a number of steps from 0 to {MAX_STEPS}");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.0..=MAX_STEPS as f64).contains(&number) {
        return Err(wrong());
    }
    // So many whole steps, and their millionths, fit a float's digits as people write them.
    parse_decimal(&format!("{number:.6}"), PLACES).map_err(|_| wrong())
}

/// Reads a beginning or an end.
///
/// # Errors
/// It is something else.
pub fn read_mark(body: &[u8]) -> Result<Statement, Refusal> {
    const EXPECTED: &str = "{\"phase\": \"train\", \"mark\": \"begin\"}, or \"end\"";
    let message: MarkMessage = read(body, EXPECTED)?;
    let refuse = |problem: &str| Refusal::Statement { problem: problem.to_owned(), expected: EXPECTED };
    if message.phase.is_empty() || message.phase.len() > MAX_VALUE_BYTES {
        return Err(refuse("the name of a phase has 1 to 200 bytes"));
    }
    if message.phase.chars().any(char::is_control) {
        return Err(refuse("the name of a phase has no control characters"));
    }
    let name = Name::from(message.phase);
    Ok(match message.mark {
        Mark::Begin => Statement::Begin(name),
        Mark::End => Statement::End(name),
    })
}

fn read<T: for<'a> Deserialize<'a>>(body: &[u8], expected: &'static str) -> Result<T, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::Statement { problem: error.to_string(), expected };
    // A list of values would do for the fields in their order; it is no object.
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
    T::deserialize(Value::Object(object)).map_err(malformed)
}

/// What was said since the last tick.
#[derive(Debug, Default)]
pub struct Inbox {
    jobs: Mutex<HashMap<JobId, Entry>>,
}

#[derive(Debug)]
struct Entry {
    said: Vec<Said>,
    usage: Option<Usage>,
}

impl Entry {
    /// Whether something of this name may be open: what was begun since the last tick, and one from before it. Who
    /// ends what was refused takes no room from the others.
    fn has_room_to_end(&self, name: &Name) -> bool {
        let count = |mark: &Statement| self.said.iter().filter(|said| said.statement == *mark).count();
        let is_open = count(&Statement::End(name.clone())) <= count(&Statement::Begin(name.clone()));
        is_open && self.said.len() < MAX_WITH_ENDS
    }
}

impl Inbox {
    /// Leaves what a job says at this time. Of its progress only the newest is kept.
    ///
    /// # Errors
    /// There is no room before the next tick.
    pub fn leave(
        &self,
        job: JobId,
        usage: Option<Usage>,
        at: Nanos,
        statement: Statement,
    ) -> Result<(), Refusal> {
        let cpu = usage.as_ref().and_then(Usage::read);
        let mut jobs = self.jobs.lock().expect("nothing panics with it");
        if jobs.len() >= MAX_JOBS && !jobs.contains_key(&job) {
            return Err(Refusal::Busy);
        }
        let entry = jobs.entry(job).or_insert_with(|| Entry { said: Vec::new(), usage });
        // Two connections may be served in another order than their files were read in.
        let at = entry.said.last().map_or(at, |last| at.max(last.at));
        let cpu = cpu.max(entry.said.last().and_then(|last| last.cpu).filter(|_| cpu.is_some()));
        let said = Said { at, cpu, statement };
        let is_progress = |said: &Said| matches!(said.statement, Statement::Progress(_));
        let is_full = entry.said.len() >= MAX_SAID;
        match &said.statement {
            Statement::Progress(_) => {
                let last = entry.said.iter().rposition(is_progress);
                if let Some(last) = last.filter(|last| is_full || last + 1 == entry.said.len()) {
                    entry.said.remove(last);
                }
            }
            Statement::End(name) if is_full && entry.has_room_to_end(name) => {}
            Statement::Begin(_) | Statement::End(_) if is_full => return Err(Refusal::Busy),
            Statement::Begin(_) | Statement::End(_) => {}
        }
        entry.said.push(said);
        Ok(())
    }

    /// Takes everything out, in the order of the jobs' ids.
    #[must_use]
    pub fn take(&self) -> Vec<Heard> {
        let jobs = std::mem::take(&mut *self.jobs.lock().expect("nothing panics with it"));
        let heard = |(id, entry): (JobId, Entry)| {
            let has_all = entry.said.iter().all(|said| said.cpu.is_some());
            let cpu = entry.usage.filter(|_| has_all).and_then(|usage| usage.read());
            Heard { id, said: entry.said, cpu }
        };
        let mut heard: Vec<Heard> = jobs.into_iter().map(heard).collect();
        heard.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::JobKind;

    fn job(number: usize) -> JobId {
        JobId::new(JobKind::Run, &number.to_string())
    }

    fn leave(inbox: &Inbox, number: usize, at: u64, statement: Statement) -> Result<(), Refusal> {
        inbox.leave(job(number), None, Nanos::new(at), statement)
    }

    #[test]
    fn progress_is_read_as_people_write_it_and_never_more_than_all() {
        for (body, expected) in [
            (r#"{"done": 3, "total": 100}"#, Some((3_000_000, 100_000_000))),
            (r#"{"done": 0.25, "total": 1}"#, Some((250_000, 1_000_000))),
            (r#"{"done": 1e3, "total": 1000}"#, Some((1_000_000_000, 1_000_000_000))),
            (r#"{"done": 0, "total": 1000000000000}"#, Some((0, 1_000_000_000_000_000_000))),
            (r#"{"done": 0, "total": 1000000000001}"#, None),
            (r#"{"done": 2, "total": 1}"#, None),
            (r#"{"done": 0, "total": 0}"#, None),
            (r#"{"done": -1, "total": 1}"#, None),
            (r#"{"done": "1", "total": 1}"#, None),
            (r#"{"done": 1}"#, None),
            (r#"{"done": 1, "total": 1, "x": 1}"#, None),
            ("[1, 2]", None),
            ("", None),
            ("\u{0}", None),
        ] {
            let read = read_progress(body.as_bytes());
            let progress = expected.map(|(done, total)| Statement::Progress(Progress { done, total }));
            assert_eq!(read.as_ref().ok(), progress.as_ref(), "{body}");
            assert!(read.is_ok() || matches!(read, Err(Refusal::Statement { .. })), "{body}");
        }
    }

    #[test]
    fn a_mark_has_a_name_and_a_side() {
        let begin = Statement::Begin("a \"b\" é".into());
        assert_eq!(read_mark(r#"{"phase": "a \"b\" é", "mark": "begin"}"#.as_bytes()), Ok(begin));
        assert_eq!(read_mark(br#"{"phase": "x", "mark": "end"}"#), Ok(Statement::End("x".into())));
        let long = format!(r#"{{"phase": "{}", "mark": "end"}}"#, "x".repeat(201));
        for body in ["{}", r#"{"phase": "", "mark": "end"}"#, r#"{"phase": "x", "mark": "stop"}"#, &long] {
            assert!(matches!(read_mark(body.as_bytes()), Err(Refusal::Statement { .. })), "{body}");
        }
        assert!(read_mark(br#"{"phase": "a\u001b[2J", "mark": "end"}"#).is_err());
    }

    #[test]
    fn of_progress_the_newest_is_kept_and_marks_are_bounded() {
        let inbox = Inbox::default();
        let progress = |done| Statement::Progress(Progress { done, total: 10_000 });
        for done in 0..10_000 {
            leave(&inbox, 1, done, progress(done)).expect("room");
        }
        leave(&inbox, 1, 5, Statement::Begin("late".into())).expect("room");
        let heard = inbox.take();
        assert_eq!(heard[0].said.len(), 2);
        assert_eq!(heard[0].said[0].statement, progress(9_999));
        assert_eq!(heard[0].said[1].at, Nanos::new(9_999), "time does not go back");
        assert!(inbox.take().is_empty());
        for _ in 0..MAX_SAID {
            leave(&inbox, 1, 1, Statement::Begin("x".into())).expect("room");
        }
        assert_eq!(leave(&inbox, 1, 1, Statement::Begin("x".into())), Err(Refusal::Busy));
        for number in 2..=MAX_JOBS {
            leave(&inbox, number, 1, progress(1)).expect("room");
        }
        assert_eq!(leave(&inbox, MAX_JOBS + 1, 1, progress(1)), Err(Refusal::Busy));
        assert_eq!(inbox.take().len(), MAX_JOBS);
        leave(&inbox, MAX_JOBS + 1, 1, progress(1)).expect("room again");
    }

    #[test]
    fn the_end_of_what_is_open_and_the_newest_progress_have_room_when_there_is_no_other() {
        let inbox = Inbox::default();
        let begin = |name: &str| leave(&inbox, 1, 1, Statement::Begin(name.into()));
        let end = |name: &str| leave(&inbox, 1, 1, Statement::End(name.into()));
        let progress = |done| leave(&inbox, 1, 1, Statement::Progress(Progress { done, total: 1_000 }));
        for _ in 0..31 {
            begin("step").expect("room");
            end("step").expect("room");
        }
        begin("outer").expect("room");
        begin("last").expect("room");
        assert_eq!(begin("step"), Err(Refusal::Busy));
        for name in ["last", "outer", "of an earlier tick"] {
            end(name).expect("it may be open");
        }
        // Its beginnings were refused.
        let refused = (0..100).filter(|_| end("step").is_err()).count();
        assert_eq!(refused, 99);
        for done in 0..100 {
            progress(done).expect("room for the newest");
        }
        for number in 0..1_000 {
            let _ = end(&number.to_string());
        }
        progress(500).expect("room for the newest");
        let said = &inbox.take()[0].said;
        assert_eq!(said.len(), MAX_WITH_ENDS);
        assert_eq!(
            said[MAX_WITH_ENDS - 1].statement,
            Statement::Progress(Progress { done: 500, total: 1_000 })
        );
        // Full of ends: the first word of progress still has its place.
        for number in 0..1_000 {
            let _ = end(&number.to_string());
        }
        progress(1).expect("room");
        assert!(inbox.take()[0].said.len() <= MAX_WITH_ENDS + 1);
    }

    #[test]
    fn what_a_group_shows_is_read_when_it_is_said_and_at_the_tick() {
        let group = tempfile::tempdir().expect("a folder");
        let write = |usage: u64| {
            std::fs::write(group.path().join("cpu.stat"), format!("usage_usec {usage}\n")).expect("written");
        };
        let usage = Usage { group: group.path().to_owned(), version: Version::V2 };
        let inbox = Inbox::default();
        write(5);
        inbox.leave(job(1), Some(usage.clone()), Nanos::new(1), Statement::Begin("x".into())).expect("room");
        write(9);
        let heard = inbox.take();
        let cpu = (heard[0].said[0].cpu, heard[0].cpu);
        assert_eq!(cpu, (Some(CpuTime::new(5_000)), Some(CpuTime::new(9_000))));
        let gone = Usage { group: group.path().join("gone"), ..usage };
        inbox.leave(job(1), Some(gone), Nanos::new(1), Statement::Begin("x".into())).expect("room");
        assert_eq!((inbox.take()[0].said[0].cpu, heard.len()), (None, 1));
    }
}
