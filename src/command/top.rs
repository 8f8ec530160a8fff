//! `jouleprint top`: the jobs of this host by power, as long as somebody watches. Keys and answers go into a
//! [`view::View`], which is drawn after each; only `terminal` knows that there is a terminal, and without one
//! there is one listing.

pub mod details;
pub mod draw;
pub mod history;
pub mod layout;
pub mod plain;
pub mod terminal;
pub mod text;
pub mod view;

use super::local::{AskError, Local};
use super::now::Now;
use super::report::say;
use std::io;
use std::path::PathBuf;

/// What this terminal can do, as the environment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// It moves its cursor.
    pub is_screen: bool,
    /// Colours are welcome.
    pub has_colours: bool,
}

/// Why nothing is shown, or no more.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// Nobody is there to ask.
    #[error("{0} (start `jouleprint`, or name the socket of one that runs with --job.socket)")]
    Nobody(AskError),
    /// Somebody is, and does not answer as it should.
    #[error(transparent)]
    Exporter(AskError),
    /// The terminal fails, or what takes its place, or there are no descriptors left.
    #[error("using the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl From<AskError> for TopError {
    fn from(error: AskError) -> TopError {
        match error {
            AskError::Nobody { .. } => TopError::Nobody(error),
            AskError::Broken { .. } | AskError::Refused { .. } => TopError::Exporter(error),
        }
    }
}

/// Shows the jobs until it is told to stop; without a terminal, once.
///
/// # Errors
/// No exporter answers, or there is nothing to write to.
pub fn run(sockets: Vec<PathBuf>, abilities: Abilities) -> Result<(), TopError> {
    let exporter = Local::new(sockets)?;
    let now = Now::ask(&exporter)?;
    if abilities.is_screen && terminal::is_there() {
        return Ok(terminal::watch(exporter, now, abilities.has_colours)?);
    }
    Ok(say(&plain::text(&now, super::report::terminal_width()))?)
}
