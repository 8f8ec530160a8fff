//! Ticks from a file: one header line, then one tick a line, as JSON. What a bug report sends is what
//! a test replays.

use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, GroupSlot, Header, Measurement, Tick};
use std::collections::BTreeSet;
use std::io::{self, BufRead};

/// A tick of 4,096 groups takes under 1 MB; a longer line is no recording.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Bounds of what a machine can be; a recording beyond them is a mistake, or meant to hurt.
const MAX_DOMAINS: usize = 256;
const MAX_CEILING: MicroWatts = MicroWatts::from_watts(100_000);
const MAX_SLOT: u32 = 1 << 17;
const MAX_SOCKETS: usize = 1_024;
const LONGEST_TICK: Nanos = Nanos::from_seconds(3_600);

/// Why a recording could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file's own trouble.
    #[error("line {line}: {error}")]
    Io {
        /// Where.
        line: usize,
        /// What.
        error: io::Error,
    },
    /// Not a header or a tick.
    #[error("line {line}: {error}")]
    Malformed {
        /// Where.
        line: usize,
        /// What.
        error: serde_json::Error,
    },
    /// Well formed, and impossible.
    #[error("line {line}: {what}: not a recording of a machine")]
    Impossible {
        /// Where.
        line: usize,
        /// What.
        what: &'static str,
    },
    /// Nothing in it.
    #[error("the file is empty; a recording starts with a header line")]
    Empty,
    /// Of another version.
    #[error("the recording has format {found}; this program reads {}", Header::VERSION)]
    Version {
        /// What the header says.
        found: u32,
    },
    /// A line without an end.
    #[error("line {line} is longer than 16 MiB: not a recording")]
    TooLong {
        /// Where.
        line: usize,
    },
}

/// Reads a recording line by line.
#[derive(Debug)]
pub struct Recording<R> {
    /// The first line.
    pub header: Header,
    lines: R,
    line: usize,
    last: Option<Nanos>,
    living: BTreeSet<GroupSlot>,
}

impl<R: BufRead> Recording<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// There is none, or it is of another version.
    pub fn open(mut lines: R) -> Result<Recording<R>, RecordingError> {
        let text = read_line(&mut lines, 1)?.ok_or(RecordingError::Empty)?;
        let header: Header =
            serde_json::from_slice(&text).map_err(|error| RecordingError::Malformed { line: 1, error })?;
        if header.jouleprint_recording != Header::VERSION {
            return Err(RecordingError::Version { found: header.jouleprint_recording });
        }
        let is_possible = |domain: &Domain| match domain.measurement {
            Measurement::Counter { ceiling, .. } | Measurement::MeanPower { ceiling } => {
                ceiling <= MAX_CEILING
            }
        };
        if header.machine.domains.len() > MAX_DOMAINS || !header.machine.domains.iter().all(is_possible) {
            return Err(RecordingError::Impossible {
                line: 1,
                what: "more than 256 meters, or one above 100 kW",
            });
        }
        Ok(Recording { header, lines, line: 1, last: None, living: BTreeSet::new() })
    }

    /// What the sampler's own ticks always keep, and the engine relies on.
    fn check(&mut self, tick: &Tick) -> Result<(), &'static str> {
        let last = self.last.replace(tick.at.monotonic).unwrap_or(tick.at.monotonic);
        if tick.at.monotonic < last || tick.at.monotonic.saturating_sub(last) > LONGEST_TICK {
            return Err("a tick before the last, or an hour after it");
        }
        if tick.busy.len() > MAX_SOCKETS {
            return Err("more than 1024 sockets");
        }
        for birth in &tick.groups.births {
            if birth.slot.0 >= MAX_SLOT || !self.living.insert(birth.slot) {
                return Err("a group born twice, or numbered beyond 131072");
            }
        }
        for slot in &tick.groups.deaths {
            self.living.remove(slot);
        }
        Ok(())
    }

    fn next_tick(&mut self) -> Result<Option<Tick>, RecordingError> {
        self.line += 1;
        let Some(text) = read_line(&mut self.lines, self.line)? else { return Ok(None) };
        let tick: Tick = serde_json::from_slice(&text)
            .map_err(|error| RecordingError::Malformed { line: self.line, error })?;
        self.check(&tick).map_err(|what| RecordingError::Impossible { line: self.line, what })?;
        Ok(Some(tick))
    }
}

impl<R: BufRead> Iterator for Recording<R> {
    type Item = Result<Tick, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_tick().transpose()
    }
}

fn read_line(lines: &mut impl BufRead, line: usize) -> Result<Option<Vec<u8>>, RecordingError> {
    let mut text = Vec::new();
    let limit = MAX_LINE_BYTES as u64 + 1;
    let read = io::Read::take(&mut *lines, limit)
        .read_until(b'\n', &mut text)
        .map_err(|error| RecordingError::Io { line, error })?;
    if read > MAX_LINE_BYTES {
        return Err(RecordingError::TooLong { line });
    }
    Ok((read > 0).then_some(text))
}
