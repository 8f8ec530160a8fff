//! The command's output on its way through us, for the progress it prints: every byte goes on at once and
//! unchanged, and lines that match a pattern tell how far it has come.

use crate::job::speech::progress;
use crate::model::speech::Progress;
use regex_lite::Regex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of a line so much is looked at: progress stands in short lines.
const MAX_LINE: usize = 8 << 10;

/// What is read at once.
const CHUNK: usize = 64 << 10;

/// By which progress is found in a line: the groups `done` and `total`, or `percent`, or without names the first
/// two.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Named,
    Percent,
    Numbered,
}

/// What is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression.
    #[error("no regular expression: {0}")]
    Regex(String),
    /// It does not say which number is which.
    #[error(
        "write groups for what is done and what there is, as in 'step (?P<done>[0-9]+) of (?P<total>[0-9]+)' or 'epoch ([0-9]+)/([0-9]+)', or for a share, as in '(?P<percent>[0-9.]+)%'"
    )]
    Groups,
}

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let regex = Regex::new(text).map_err(|error| PatternError::Regex(error.to_string()))?;
        let has = |name: &str| regex.capture_names().any(|known| known == Some(name));
        let kind = match (has("done"), has("total"), has("percent")) {
            (true, true, _) => Kind::Named,
            (_, _, true) => Kind::Percent,
            (false, false, false) if regex.captures_len() >= 3 => Kind::Numbered,
            (_, _, false) => return Err(PatternError::Groups),
        };
        Ok(Pattern { regex, kind })
    }

    /// What the last match in a line says.
    #[must_use]
    pub fn find(&self, line: &str) -> Option<Progress> {
        let found = self.regex.captures_iter(line).last()?;
        let (done, total) = match self.kind {
            Kind::Named => (found.name("done")?.as_str(), found.name("total")?.as_str()),
            Kind::Percent => (found.name("percent")?.as_str(), "100"),
            Kind::Numbered => (found.get(1)?.as_str(), found.get(2)?.as_str()),
        };
        progress(done, total).ok()
    }
}

/// Where a reader stands: even while it waits for the command to write, odd while it passes something on.
pub type Stand = AtomicU64;

/// Passes everything on until it ends, and tells of progress.
pub fn pass_on(
    mut from: impl Read,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
    stand: &Stand,
    pattern: &Pattern,
    mut tell: impl FnMut(Progress),
) {
    let mut line = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        stand.fetch_add(1, Ordering::SeqCst);
        // The command is to meet a reader that has left as it would without us: nobody reads what it writes.
        if to(&chunk[..read]).is_err() {
            break;
        }
        let mut latest = None;
        for byte in &chunk[..read] {
            // Bars are drawn over and over in one line.
            if matches!(byte, b'\n' | b'\r') {
                latest = pattern.find(&String::from_utf8_lossy(&line)).or(latest);
                line.clear();
            } else if line.len() < MAX_LINE {
                line.push(*byte);
            }
        }
        latest.into_iter().for_each(&mut tell);
        stand.fetch_add(1, Ordering::SeqCst);
    }
    if let Some(progress) = pattern.find(&String::from_utf8_lossy(&line)) {
        tell(progress);
    }
}

/// Writes all of it, past every buffer of ours: whoever else writes there is not held up. A descriptor that does
/// not wait is waited for.
///
/// # Errors
/// Nobody reads.
pub fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::speech::STEP;

    #[test]
    fn progress_is_found_in_the_lines_that_scripts_print() {
        for (pattern, line, expected) in [
            (r"epoch ([0-9]+)/([0-9]+)", "epoch 3/100 loss 0.5", Some((3, 100))),
            (r"step (?P<done>\d+) of (?P<total>\d+)", "step 3 of 9", Some((3, 9))),
            (r"(?P<percent>[0-9.]+)%", "10%|#   | 1/10  20.5%", Some((0, 0))),
            (r"epoch (\d+)/(\d+)", "epoch 9/3", None),
            (r"epoch (\d+)/(\d+)", "nothing", None),
        ] {
            let found = Pattern::parse(pattern).expect("a pattern").find(line);
            let expected = match expected {
                Some((0, 0)) => Some(Progress { done: 20_500_000, total: 100 * STEP }),
                Some((done, total)) => Some(Progress { done: done * STEP, total: total * STEP }),
                None => None,
            };
            assert_eq!(found, expected, "{pattern} {line}");
        }
        for pattern in ["(", "epoch", "([0-9]+)", "(?P<done>[0-9]+)"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn every_byte_passes_and_bars_are_read_too() {
        let mut text = b"\xff start\n 1/9\r 2/9\r".to_vec();
        text.extend(std::iter::repeat_n(b'x', 100_000));
        text.extend_from_slice(b"\n 3/9");
        let mut passed = Vec::new();
        let mut told = Vec::new();
        let pattern = Pattern::parse(r"(\d)/(\d)").expect("a pattern");
        let stand = Stand::default();
        let to = |bytes: &[u8]| {
            passed.extend_from_slice(bytes);
            Ok(())
        };
        pass_on(&text[..], to, &stand, &pattern, |progress| told.push(progress.done / STEP));
        assert_eq!(stand.load(Ordering::SeqCst) % 2, 0, "nothing is under way");
        assert_eq!(passed, text);
        assert_eq!(told, [2, 3]);
    }
}
