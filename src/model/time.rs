//! Points in time. Intervals come from the monotonic clock alone; the wall clock only dates things.

use super::quantity::Nanos;
use serde::{Deserialize, Serialize};

/// One reading of the machine's clocks, taken together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, ns since boot without suspend: what intervals are made of.
    pub monotonic: Nanos,
    /// `CLOCK_BOOTTIME`, ns since boot with suspend: it runs ahead of the above while suspended.
    pub boottime: Nanos,
    /// `CLOCK_REALTIME`, ns since 1970: what dates are made of. It may jump.
    pub wall: Nanos,
}

impl Moment {
    /// The time that passed since `earlier`, suspend not counted.
    #[must_use]
    pub const fn since(&self, earlier: &Moment) -> Nanos {
        self.monotonic.saturating_sub(earlier.monotonic)
    }

    /// Whether the machine slept between `earlier` and now: the clocks part by more than the
    /// few µs that lie between reading one and the other.
    #[must_use]
    pub const fn slept_since(&self, earlier: &Moment) -> bool {
        const APART: u64 = 100_000_000;
        let awake = self.monotonic.get().saturating_sub(earlier.monotonic.get());
        let passed = self.boottime.get().saturating_sub(earlier.boottime.get());
        passed.saturating_sub(awake) > APART
    }
}
