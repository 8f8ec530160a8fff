//! `jouleprint report`: what was used, when, by whom and on what, from a host's own store or, for a fleet,
//! from the Prometheus that scrapes it. Either becomes a [`Past`]; rows, order and formats are
//! the same for both.

pub mod amount;
pub mod arguments;
pub mod fleet;
pub mod order;
pub mod past;
pub mod period;
pub mod plain;
pub mod question;
pub mod table;
pub mod tally;

use crate::carbon::equivalents;
use crate::clock;
use crate::command::local::AskError;
use crate::job::passwd::Users;
use crate::model::history::Span;
use crate::model::quantity::Nanos;
use crate::store;
use crate::store::read::ReadError;
use arguments::{Format, ReportArguments, Selection};
use fleet::{Fleet, FleetError};
use order::{Sort, arrange};
use past::Past;
use period::PeriodError;
use question::{Filter, Key, Life, Pattern, Question, QuestionError};
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use tally::{Tally, tally};

/// The tables of the overview, and how many rows each has.
const OVERVIEW: [(Key, usize); 3] = [(Key::Day, 31), (Key::Kind, 10), (Key::Job, 10)];

/// What damages begin with, on standard error and in JSON.
const DAMAGED: &str = "damaged and left out";

/// Names in a message at the most.
const MAX_NAMED: usize = 5;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A time is wrong.
    #[error(transparent)]
    Period(#[from] PeriodError),
    /// The question has no answer.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// There is no such user here.
    #[error("--user {user:?}: this machine knows no such user (give the number)")]
    User {
        /// Who.
        user: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The exporter of this machine keeps nothing.
    #[error("this exporter keeps no store (name one with --store, or a server with --prometheus)")]
    Nowhere,
    /// The exporter of this host answers, but not as it should.
    #[error(transparent)]
    Exporter(#[from] AskError),
    /// The server does not answer.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The report cannot be written.
    #[error("writing the report: {0}")]
    Write(#[from] io::Error),
    /// It cannot be put as CSV.
    #[error("writing the report as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// It cannot be put as JSON.
    #[error("writing the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What a report is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was kept is in it.
    Whole,
    /// Something was damaged and left out.
    Damaged,
}

/// Prints a report.
///
/// # Errors
/// The question has no answer, or what it is asked of does not give one.
pub fn run(arguments: &ReportArguments) -> Result<Outcome, ReportError> {
    let selection = &arguments.selection;
    let now = clock::now().wall;
    let session = Session::new(selection, Life::All, period::last_days(now), now)?;
    let is_overview = arguments.by.is_empty() && selection.format == Format::Table;
    if !is_overview {
        let keys: &[Key] = if arguments.by.is_empty() { &[Key::Day] } else { &arguments.by };
        let question = Question::new(keys, session.filter.clone(), session.period)?;
        let mut source = Source::open(selection, now)?;
        let past = source.ask(&question)?;
        let mut tally = tally(past, &question);
        arrange(&mut tally, arguments.sort.unwrap_or(Sort::for_question(&question)), arguments.limit);
        return session.print(&title(&question), past, &question, tally);
    }
    let mut questions = Vec::new();
    for (key, limit) in OVERVIEW {
        // A filter may rule out one of the tables, by day and by job both at once.
        match Question::new(&[key], session.filter.clone(), session.period) {
            Ok(question) => questions.push((question, limit)),
            Err(error) if key == Key::Job && questions.is_empty() => return Err(error.into()),
            Err(_) => {}
        }
    }
    let mut source = Source::open(selection, now)?;
    let mut parts = Parts::default();
    for (question, limit) in &questions {
        let past = source.ask(question)?;
        let mut tally = tally(past, question);
        let sort = arguments.sort.unwrap_or(Sort::for_question(question));
        arrange(&mut tally, sort, Some(arguments.limit.unwrap_or(*limit)));
        session.add(&title(question), past, question, tally, &mut parts);
        if past.is_empty() {
            break;
        }
    }
    parts.print()
}

/// Who is asked.
pub(super) struct Source {
    fleet: Option<Fleet>,
    past: Past,
}

impl Source {
    /// Reads the store, or gets ready to ask the server.
    pub(super) fn open(selection: &Selection, now: Nanos) -> Result<Source, ReportError> {
        if let Some(url) = &selection.prometheus {
            let fleet = Fleet::open(url, selection, now)?;
            return Ok(Source { fleet: Some(fleet), past: Past::default() });
        }
        let path = selection.store.as_deref().ok_or(ReportError::Nowhere)?;
        let history = store::read(path)?;
        let shown = path.display().to_string();
        Ok(Source { fleet: None, past: Past::of_store(history, shown) })
    }

    /// What answers the question.
    pub(super) fn ask(&mut self, question: &Question) -> Result<&Past, FleetError> {
        if let Some(fleet) = &mut self.fleet {
            self.past = fleet.ask(question)?;
        }
        Ok(&self.past)
    }
}

/// What all tables of one run have in common.
pub(super) struct Session {
    pub(super) filter: Filter,
    pub(super) period: Span,
    format: Format,
    has_equivalents: bool,
    users: Users,
}

impl Session {
    pub(super) fn new(
        selection: &Selection,
        life: Life,
        default_start: Nanos,
        now: Nanos,
    ) -> Result<Session, ReportError> {
        let users = Users::read(Path::new("/etc/passwd"));
        let (since, until) = (selection.since.as_deref(), selection.until.as_deref());
        let period = period::period(since, until, now, default_start)?;
        let user = match &selection.user {
            Some(user) => Some(users.id(user).ok_or_else(|| ReportError::User { user: user.clone() })?),
            None => None,
        };
        let group = selection.group.as_deref().map(|text| match text.split_once('=') {
            Some((kind, name)) => (kind.to_owned(), Some(name.to_owned())),
            None => (text.to_owned(), None),
        });
        let filter = Filter {
            zone: selection.zone.clone(),
            user,
            user_name: user.map(|user| users.name(&user.to_string())),
            group,
            job: selection.job.as_deref().map(Pattern::new).transpose()?,
            kind: selection.kind,
            hardware: selection.hardware,
            host: selection.host.clone(),
            life,
        };
        let (format, has_equivalents) = (selection.format, !selection.no_equivalents);
        Ok(Session { filter, period, format, has_equivalents, users })
    }

    /// Prints one tally in the form that was asked for.
    pub(super) fn print(
        &self,
        title: &str,
        past: &Past,
        question: &Question,
        tally: Tally,
    ) -> Result<Outcome, ReportError> {
        self.compose(title, past, question, tally)?.print()
    }

    fn compose(
        &self,
        title: &str,
        past: &Past,
        question: &Question,
        tally: Tally,
    ) -> Result<Parts, ReportError> {
        let mut parts = Parts::default();
        if self.is_table() {
            self.add(title, past, question, tally, &mut parts);
            return Ok(parts);
        }
        let mut notes = tally.notes.clone();
        notes.extend(tally.rows.is_empty().then(|| why_empty(past)));
        if let Some((count, _)) = &tally.more {
            notes.push(format!("{count} more rows are left out by --limit"));
        }
        let damaged = past.damaged.iter().map(|damage| format!("{DAMAGED}: {damage}"));
        parts.damaged.extend(damaged);
        parts.text = match self.format {
            Format::Csv => {
                parts.asides = notes;
                plain::csv(&tally)?
            }
            Format::Json | Format::Table => {
                let notes: Vec<String> = parts.damaged.iter().chain(&notes).cloned().collect();
                let frame = plain::Frame {
                    period: self.period,
                    source: &past.source,
                    notes: &notes,
                    has_equivalents: self.has_equivalents,
                };
                plain::json(&tally, &frame)?
            }
        };
        Ok(parts)
    }

    /// Adds a table to what will be printed.
    fn add(&self, title: &str, past: &Past, question: &Question, tally: Tally, parts: &mut Parts) {
        if parts.text.is_empty() {
            parts.text = format!("{title}, {}\nfrom {}\n\n", span(self.period), past.source);
        } else {
            parts.text.push_str(&format!("\n{title}\n\n"));
        }
        let mut notes = tally.notes.clone();
        if tally.rows.is_empty() {
            notes.push(why_empty(past));
        } else {
            parts.text.push_str(&table::table(&tally, question, &self.users, terminal_width()));
            let (energy, emissions) = plain::size(&tally.total);
            let like =
                equivalents::fitting(energy, emissions, self.filter.zone.as_deref().unwrap_or_default());
            // All tables of an overview have the same total; what a filter of jobs leaves may be less.
            let like = like.filter(|_| self.has_equivalents && parts.like.is_none());
            parts.like = like.map(|like| like.describe()).or(parts.like.take());
        }
        let damaged = past.damaged.iter().map(|damage| format!("{DAMAGED}: {damage}"));
        parts.damaged.extend(damaged);
        for note in notes {
            if !parts.notes.contains(&note) {
                parts.notes.push(note);
            }
        }
    }

    /// Whether the report is for people.
    pub(super) fn is_table(&self) -> bool {
        self.format == Format::Table
    }
}

/// What is about to be printed.
#[derive(Debug, Default)]
struct Parts {
    text: String,
    /// What the total is as much as, printed below the text.
    like: Option<String>,
    /// Printed below that.
    notes: Vec<String>,
    /// Notes for standard error.
    asides: Vec<String>,
    damaged: BTreeSet<String>,
}

impl Parts {
    fn print(mut self) -> Result<Outcome, ReportError> {
        self.damaged.iter().for_each(|damage| complain(damage));
        self.asides.iter().for_each(|note| complain(&format!("note: {note}")));
        if let Some(like) = &self.like {
            self.text.push_str(&format!("\nthe total is as much as {like}\n"));
        }
        for note in &self.notes {
            self.text.push_str(&format!("note: {note}\n"));
        }
        say(&self.text)?;
        Ok(if self.damaged.is_empty() { Outcome::Whole } else { Outcome::Damaged })
    }
}

fn title(question: &Question) -> String {
    let keys: Vec<&str> = question.keys.iter().map(|key| key.as_str()).collect();
    format!("Energy and emissions by {}", keys.join(" and "))
}

fn span(period: Span) -> String {
    let until = amount::minute(period.end);
    if period.start == Nanos::ZERO {
        return format!("up to {until} UTC");
    }
    format!("{} to {until} UTC", amount::minute(period.start))
}

/// Why there are no rows, as far as what is there tells.
fn why_empty(past: &Past) -> String {
    if past.is_empty() {
        return format!(
            "{} holds nothing of this (is the exporter running, and for long enough?)",
            past.source
        );
    }
    let starts = past.sums.iter().map(|sum| sum.span.start).filter(|start| *start > Nanos::ZERO);
    let starts = starts.chain(past.jobs.iter().map(|job| job.first_seen));
    let from = starts.min().map_or(String::new(), |start| format!(" from {}", amount::minute(start)));
    let hosts = names(past.sums.iter().map(|sum| &*sum.host).chain(past.jobs.iter().map(|job| &*job.host)));
    let kinds = names(past.sums.iter().map(|sum| &*sum.group.kind));
    format!(
        "nothing fits: {} holds{from} to {} UTC, of {hosts}, in groups by {kinds}",
        past.source,
        amount::minute(past.until)
    )
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: BTreeSet<&str> = all.collect();
    let mut text: Vec<&str> = all.iter().copied().take(MAX_NAMED).collect();
    if all.len() > MAX_NAMED {
        text.push("…");
    }
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

/// How wide the terminal is; `None` where there is none.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

fn complain(line: &str) {
    // Nobody is left to be told if standard error is closed too.
    let _ = writeln!(io::stderr(), "jouleprint: {line}");
}

/// Writes to standard output. A reader that has seen enough and left is no error.
pub(super) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests;
