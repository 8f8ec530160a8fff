//! A tick between the regular ones, for somebody who wants to know what was used up to now: a command that
//! has just ended. A scrape never asks for one.

use crate::clock;
use crate::model::quantity::Nanos;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

/// Ticks that may be asked for at once, and how often one more: whoever asks all the time costs one tick a
/// second, not one each 10 ms.
const ALL: Allowance = Allowance { most: 20, another: Nanos::from_seconds(1) };

/// What one of those who ask may have of that: some are left for others.
const EACH: Allowance = Allowance { most: 8, another: Nanos::from_seconds(2) };

/// So many are told apart. Beyond it those are forgotten who have not asked for long, or all.
const MAX_ASKING: usize = 1_024;

/// Asks the sampler for a tick. Shared by the sampler and everybody who may ask.
#[derive(Debug)]
pub struct Wake {
    event: OwnedFd,
    left: Mutex<Ledger>,
}

/// How many ticks may be asked for at once, and how often one more.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    most: u64,
    another: Nanos,
}

/// What is left of them: of all, and of each who has asked.
#[derive(Debug)]
struct Ledger {
    all: Left,
    each: HashMap<u64, Left>,
}

/// How many ticks may still be asked for.
#[derive(Debug, Clone, Copy)]
struct Left {
    allowance: Allowance,
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
        let all = Left::new(ALL, clock::monotonic());
        Ok(Wake { event, left: Mutex::new(Ledger { all, each: HashMap::new() }) })
    }

    /// Asks for a tick; `who` asks is a number of its own, or an administrator. Returns whether there will be one,
    /// before long.
    pub fn ask(&self, who: Option<u64>) -> bool {
        let mut left = self.left.lock().expect("nothing panics with it");
        if !left.take(who, clock::monotonic()) {
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

impl Ledger {
    fn take(&mut self, who: Option<u64>, now: Nanos) -> bool {
        let Some(who) = who else { return self.all.take(now) };
        if self.each.len() >= MAX_ASKING && !self.each.contains_key(&who) {
            self.each.retain(|_, left| !left.is_whole(now));
            if self.each.len() >= MAX_ASKING {
                self.each.clear();
            }
        }
        self.each.entry(who).or_insert_with(|| Left::new(EACH, now)).take(now) && self.all.take(now)
    }
}

impl Left {
    fn new(allowance: Allowance, now: Nanos) -> Left {
        Left { allowance, count: allowance.most, since: now }
    }

    fn fill(&mut self, now: Nanos) {
        let another = self.allowance.another.get();
        let more = now.saturating_sub(self.since).get() / another;
        self.count = self.count.saturating_add(more).min(self.allowance.most);
        self.since += Nanos::new(more * another);
    }

    fn is_whole(mut self, now: Nanos) -> bool {
        self.fill(now);
        self.count == self.allowance.most
    }

    fn take(&mut self, now: Nanos) -> bool {
        self.fill(now);
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
        let mut left = Left::new(ALL, Nanos::ZERO);
        let given = (0..60_000).filter(|milliseconds| left.take(Nanos::new(milliseconds * 1_000_000)));
        assert_eq!(given.count(), 20 + 59);
        assert!(left.take(Nanos::from_seconds(3_600)));
        assert_eq!(left.count, ALL.most - 1);
    }

    #[test]
    fn who_asks_all_the_time_leaves_some_for_others() {
        let mut ledger = Ledger { all: Left::new(ALL, Nanos::ZERO), each: HashMap::new() };
        let mut given = [0, 0];
        for milliseconds in 0..60_000 {
            let now = Nanos::new(milliseconds * 1_000_000);
            given[0] += u64::from(ledger.take(Some(1), now));
            // Another asks twice in ten seconds, as a command does that begins and ends.
            if milliseconds % 5_000 == 4_999 {
                given[1] += u64::from(ledger.take(Some(2), now));
            }
        }
        assert_eq!(given, [8 + 29, 12]);
        // However many there are, little is kept of them.
        let now = Nanos::from_seconds(60);
        for who in 0..5_000 {
            ledger.take(Some(who), now);
        }
        assert!(ledger.each.len() <= MAX_ASKING);
    }
}
