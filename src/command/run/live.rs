//! A line that lives while the command does. It is only there where it disturbs nobody: on a terminal, and not
//! beside a command that writes to one, unless it is asked for.

use super::arguments::RunArguments;
use super::child::is_in_foreground;
use super::meter::Meters;
use super::outcome::parts;
use super::summary;
use crate::model::quantity::Nanos;
use std::io::{self, IsTerminal, Write};

/// Where nothing says how wide it is.
const USUAL_WIDTH: u16 = 80;

/// The line.
#[derive(Debug, Default)]
pub struct Live {
    is_shown: bool,
    is_there: bool,
    before: Option<(Nanos, u128)>,
}

impl Live {
    /// Whether there is to be one depends on where standard error and standard output lead.
    #[must_use]
    pub fn new(arguments: &RunArguments) -> Live {
        let is_free = arguments.live || !io::stdout().is_terminal();
        Live { is_shown: !arguments.quiet && io::stderr().is_terminal() && is_free, ..Live::default() }
    }

    /// Writes it anew.
    pub fn show(&mut self, meters: &Meters, lasted: Nanos) {
        // In the background the terminal is somebody else's.
        if !self.is_shown || !is_in_foreground() {
            return;
        }
        let parts = parts(meters, &meters.totals());
        let energy: u128 = parts.iter().map(|part| u128::from(part.energy.as_micro())).sum();
        let emissions: u128 = parts.iter().map(super::outcome::Part::grams).sum();
        let (since, before) = self.before.replace((lasted, energy)).unwrap_or((Nanos::ZERO, 0));
        let elapsed = u128::from(lasted.saturating_sub(since).get());
        let power = (energy.saturating_sub(before) * 1_000_000_000).checked_div(elapsed).unwrap_or(0);
        let stderr = io::stderr();
        let width = rustix::termios::tcgetwinsize(&stderr).map_or(USUAL_WIDTH, |size| size.ws_col);
        let width = usize::from(if width == 0 { USUAL_WIDTH } else { width });
        let mut line = summary::live(lasted, energy, emissions, power);
        if let Some(progress) = meters.progress() {
            line.push_str(&summary::ahead(progress, meters.prediction().as_ref()));
        }
        let line: String = line.chars().take(width - 1).collect();
        let _ = write!(stderr.lock(), "\r{line}\x1b[K");
        self.is_there = true;
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_there) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
