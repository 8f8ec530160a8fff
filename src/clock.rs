//! The only place that asks what time it is, and the only one that leaves something to chance.

use crate::model::quantity::Nanos;
use crate::model::time::Moment;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// All three clocks, read together.
#[must_use]
pub fn now() -> Moment {
    Moment {
        monotonic: nanos(clock_gettime(ClockId::Monotonic)),
        boottime: nanos(clock_gettime(ClockId::Boottime)),
        wall: nanos(clock_gettime(ClockId::Realtime)),
    }
}

/// The monotonic clock alone, for measuring how long something took.
#[must_use]
pub fn monotonic() -> Nanos {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// Blocks this thread; only for discovery, which must see a counter advance.
pub fn sleep(duration: Nanos) {
    std::thread::sleep(Duration::from_nanos(duration.get()));
}

/// A machine whose clock stands before 1970 dates everything at 1970.
fn nanos(time: Timespec) -> Nanos {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    Nanos::new(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}

/// Chance, for pauses that many machines must not make at the same time: from a seed, and the same for it
/// within one ns of a boot.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// From a name and the time.
    #[must_use]
    pub fn new(name: &str) -> Jitter {
        Jitter::from_seed(xxh3_64(name.as_bytes()) ^ now().wall.get())
    }

    /// The same for the same seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// Anything from nothing to `most`.
    pub fn within(&mut self, most: Duration) -> Duration {
        most.mul_f64((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// A number from 0 to `limit`, which is not among them; 0 if there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// The next 64 bits (splitmix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
