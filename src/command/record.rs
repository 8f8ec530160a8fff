//! `jouleprint record`: the ticks of this machine into a file, for `replay`, a bug report or a golden host.

pub mod anonymous;

use crate::clock;
use crate::config::Settings;
use crate::config::flags::Flags;
use crate::confine::confine;
use crate::daemon::{self, StartError};
use crate::sampler::{Parts, Past, Sampler, stop_pipe};
use anonymous::Anonymous;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is recorded, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct RecordArguments {
    /// Where to: a file that does not exist yet, or - for standard output
    pub file: PathBuf,
    /// End after this many ticks [default: record until it is ended, by Ctrl-C or otherwise]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub ticks: Option<u64>,
    /// Leave out the names of the host, its jobs, control groups and users, the grid zone and the date
    #[arg(long)]
    pub anonymous: bool,
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The machine cannot be looked at.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The file cannot be written.
    #[error("writing {path}: {error}{}", hint(error))]
    Write {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => " (choose another name: a recording is not written over)",
        _ => "",
    }
}

/// Records until enough ticks are in the file. A line is written whole, so that the file is a recording
/// whenever it is ended.
///
/// # Errors
/// The machine cannot be looked at, or the file cannot be written.
pub fn run(flags: &Flags, arguments: &RecordArguments) -> Result<(), RecordError> {
    let settings = Settings::load(flags).map_err(StartError::from)?;
    let path = arguments.file.display().to_string();
    let failed = |error| RecordError::Write { path: path.clone(), error };
    // What the machine is like comes before the file: without it there is nothing to write.
    let parts = daemon::parts(&settings)?;
    let mut sampler = Sampler::new(Parts { past: Past::default(), ..parts });
    let mut output: Box<dyn Write> = if arguments.file == Path::new("-") {
        Box::new(io::stdout())
    } else {
        Box::new(OpenOptions::new().write(true).create_new(true).open(&arguments.file).map_err(failed)?)
    };
    let _ = confine(&[]);
    let (stop, _end) = stop_pipe().map_err(|error| StartError::System { what: "making a pipe", error })?;
    let mut anonymous = arguments.anonymous.then(|| Anonymous::new(clock::now()));
    let mut header = sampler.header();
    if let Some(anonymous) = &mut anonymous {
        anonymous.header(&mut header);
    }
    write_line(&mut output, &header).map_err(failed)?;
    let seconds = settings.interval.as_seconds();
    tracing::info!(file = path, every_seconds = seconds, "recording; Ctrl-C ends it");
    let mut left = arguments.ticks;
    let mut outcome = Ok(());
    sampler.record(&stop, |tick| {
        let mut tick = tick;
        if let Some(anonymous) = &mut anonymous {
            anonymous.tick(&mut tick);
        }
        outcome = write_line(&mut output, &tick);
        left = left.map(|left| left - 1);
        outcome.is_ok() && left != Some(0)
    });
    outcome.map_err(failed)
}

fn write_line(output: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}
