//! `jouleprint jobs`: what each job draws now, if an exporter is there to ask; else, or if records are asked
//! for, one line for each job that was seen, the newest first.

pub mod live;

use super::report::arguments::JobsArguments;
use super::report::order::{Sort, arrange};
use super::report::question::{Key, Life, Question};
use super::report::tally::records;
use super::report::{Outcome, ReportError, Session, Source};
use crate::clock;
use crate::command::report::period::last_days;
use crate::model::description::Attribute;
use crate::model::quantity::Nanos;
use live::Asked;
use std::path::PathBuf;

/// Lines that fit a screen or two.
const MAX_LINES: usize = 50;

/// Prints the jobs.
///
/// # Errors
/// The question has no answer, or what it is asked of does not give one.
pub fn run(arguments: &JobsArguments, sockets: Vec<PathBuf>) -> Result<Outcome, ReportError> {
    if arguments.is_of_now {
        let asked = Asked { sockets, limit: arguments.limit, watch: arguments.watch };
        if let Some(()) = live::run(&asked)? {
            return Ok(Outcome::Whole);
        }
    }
    let selection = &arguments.selection;
    let now = clock::now().wall;
    let life = match (arguments.live, arguments.ended) {
        (true, _) => Life::Live,
        (false, true) => Life::Ended,
        (false, false) => Life::All,
    };
    // A store holds as many jobs as it keeps; a server may hold years of them.
    let start = if selection.prometheus.is_some() { last_days(now) } else { Nanos::ZERO };
    let session = Session::new(selection, life, start, now)?;
    let question = if selection.runs {
        let known = [Attribute::Project, Attribute::Experiment, Attribute::Executable].map(Key::Attribute);
        let keys: Vec<Key> = [Key::Job].into_iter().chain(known).collect();
        Question::new(&keys, session.filter.clone(), session.period)?
    } else {
        Question::of_jobs(session.filter.clone(), session.period)?
    };
    let mut source = Source::open(selection, now)?;
    let past = source.ask(&question)?;
    let mut jobs = records(past, &question);
    let limit = arguments.limit.or(session.is_table().then_some(MAX_LINES));
    arrange(&mut jobs, arguments.sort.unwrap_or(Sort::Time), limit);
    if let (Some((count, _)), None, true) = (&jobs.more, arguments.limit, session.is_table()) {
        jobs.notes.push(format!("{count} more jobs are not listed (--limit N lists more of them)"));
    }
    session.print("Jobs", past, &question, jobs)
}
