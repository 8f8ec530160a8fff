//! A tick between the regular ones, for somebody who wants to know what was used up to now: a command that
//! has just ended. A scrape never asks for one.

use crate::clock;
use crate::model::quantity::Nanos;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// Ticks that may be asked for at once, and how often one more: whoever asks all the time costs one tick a
/// second, not one each 10 ms.
const MAX_ASKED: u64 = 20;
const ANOTHER: Nanos = Nanos::from_seconds(1);

/// Asks the sampler for a tick. Shared by the sampler and everybody who may ask.
#[derive(Debug)]
pub struct Wake {
    event: OwnedFd,
    left: Mutex<Left>,
}

/// How many ticks may still be asked for.
#[derive(Debug)]
struct Left {
    count: u64,
    since: Nanos,
}

impl Wake {
    /// Nobody has asked yet.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new() -> io::Result<Wake> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let left = Mutex::new(Left { count: MAX_ASKED, since: clock::monotonic() });
        Ok(Wake { event, left })
    }

    /// Asks for a tick. Returns whether there will be one, before long.
    pub fn ask(&self) -> bool {
        let mut left = self.left.lock().expect("nothing panics with it");
        if !left.take(clock::monotonic()) {
            return false;
        }
        // A count that is full asks for a tick too.
        let _ = write(&self.event, &1_u64.to_ne_bytes());
        true
    }

    /// For `poll`: readable when somebody has asked.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// All who have asked get the same tick.
    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        // Nobody has asked since: just as well.
        let _ = read(&self.event, &mut count);
    }
}

impl Left {
    fn take(&mut self, now: Nanos) -> bool {
        let more = now.saturating_sub(self.since).get() / ANOTHER.get();
        self.count = (self.count + more).min(MAX_ASKED);
        self.since += Nanos::new(more * ANOTHER.get());
        let has_one = self.count > 0;
        self.count = self.count.saturating_sub(1);
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_all_the_time_gets_one_tick_a_second() {
        let mut left = Left { count: MAX_ASKED, since: Nanos::ZERO };
        let given = (0..60_000).filter(|milliseconds| left.take(Nanos::new(milliseconds * 1_000_000)));
        assert_eq!(given.count(), 20 + 59);
        assert!(left.take(Nanos::from_seconds(3_600)));
        assert_eq!(left.count, MAX_ASKED - 1);
    }
}
