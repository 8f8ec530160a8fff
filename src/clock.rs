//! The only place that asks what time it is.

use crate::model::quantity::Nanos;
use crate::model::time::Moment;
use rustix::time::{ClockId, Timespec, clock_gettime};

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
    std::thread::sleep(std::time::Duration::from_nanos(duration.get()));
}

/// A machine whose clock stands before 1970 dates everything at 1970.
fn nanos(time: Timespec) -> Nanos {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    Nanos::new(seconds.saturating_mul(1_000_000_000).saturating_add(rest))
}
