//! Ticks from a file: one header line, then one tick a line, as JSON. What a bug report sends is what
//! a test replays.

use crate::model::reading::{Header, Tick};
use std::io::{self, BufRead};

/// A tick of 4,096 groups takes under 1 MB; a longer line is no recording.
const MAX_LINE_BYTES: usize = 16 << 20;

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
        Ok(Recording { header, lines, line: 1 })
    }

    fn next_tick(&mut self) -> Result<Option<Tick>, RecordingError> {
        self.line += 1;
        let Some(text) = read_line(&mut self.lines, self.line)? else { return Ok(None) };
        let tick = serde_json::from_slice(&text);
        tick.map(Some).map_err(|error| RecordingError::Malformed { line: self.line, error })
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
