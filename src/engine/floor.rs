//! Learns what a device draws while nothing runs, from windows in which nothing ran. The floor only
//! divides energy to come; what has been charged stays charged.

use crate::model::quantity::{Energy, MicroWatts, Nanos};
use std::sync::Arc;

/// Long enough for a counter that updates every second, short enough to find idle stretches.
const WINDOW: Nanos = Nanos::from_seconds(10);

/// A machine that is busier than 1/50 is not idle.
const IDLE_SHARE: u64 = 50;

/// Below this many windows the quantile is a guess.
const ENOUGH_WINDOWS: u64 = 30;

/// Quarter octaves from 65 mW to 4.3 kW.
const BUCKETS: usize = 64;
const LOWEST_OCTAVE: u32 = 16;

/// The histogram of idle powers, and the window that is being filled.
#[derive(Debug, Clone)]
pub struct IdleFloor {
    // Count and sum of µW: the mean inside a bucket is far finer than its width.
    buckets: [(u64, u128); BUCKETS],
    energy: Energy,
    elapsed: Nanos,
    busy: u128,
    capacity: u128,
}

impl Default for IdleFloor {
    fn default() -> IdleFloor {
        IdleFloor {
            buckets: [(0, 0); BUCKETS],
            energy: Energy::ZERO,
            elapsed: Nanos::ZERO,
            busy: 0,
            capacity: 0,
        }
    }
}

impl IdleFloor {
    /// What earlier processes had learnt.
    #[must_use]
    pub fn from_buckets(buckets: &[(u64, u128)]) -> IdleFloor {
        let mut floor = IdleFloor::default();
        for (bucket, learnt) in floor.buckets.iter_mut().zip(buckets) {
            *bucket = *learnt;
        }
        floor
    }

    /// What was learnt.
    #[must_use]
    pub fn buckets(&self) -> Arc<[(u64, u128)]> {
        self.buckets.into()
    }

    /// Adds an interval: what the device drew, and how busy all `cpus` together were.
    pub fn observe(&mut self, energy: Energy, elapsed: Nanos, busy: Nanos, cpus: u32) {
        self.energy += energy;
        self.elapsed += elapsed;
        self.busy += u128::from(busy.get());
        self.capacity += u128::from(elapsed.get()) * u128::from(cpus);
        if self.elapsed < WINDOW {
            return;
        }
        if self.busy * u128::from(IDLE_SHARE) < self.capacity
            && let Some(power) = self.energy.mean_power(self.elapsed)
        {
            let bucket = &mut self.buckets[bucket_of(power)];
            bucket.0 += 1;
            bucket.1 += u128::from(power.get());
        }
        self.restart_window();
    }

    /// Forgets the window that is being filled: its energy is not known.
    pub fn restart_window(&mut self) {
        self.energy = Energy::ZERO;
        self.elapsed = Nanos::ZERO;
        self.busy = 0;
        self.capacity = 0;
    }

    /// The 5 % quantile, once there are enough windows.
    #[must_use]
    pub fn learnt(&self) -> Option<MicroWatts> {
        let windows: u64 = self.buckets.iter().map(|bucket| bucket.0).sum();
        if windows < ENOUGH_WINDOWS {
            return None;
        }
        let rank = windows.div_ceil(20);
        let mut below = 0;
        let bucket = self.buckets.iter().find(|bucket| {
            below += bucket.0;
            below >= rank
        });
        let (count, sum) = bucket.expect("the rank is at most the number of windows");
        Some(MicroWatts::new(u64::try_from(sum / u128::from(*count)).unwrap_or(u64::MAX)))
    }
}

fn bucket_of(power: MicroWatts) -> usize {
    let microwatts = power.get().max(1 << LOWEST_OCTAVE);
    let octave = microwatts.ilog2();
    let quarter = (microwatts >> (octave - 2)) & 3;
    let bucket = u64::from(octave - LOWEST_OCTAVE) * 4 + quarter;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(floor: &mut IdleFloor, watts: u64, busy_percent: u64) {
        let energy = Energy::from_micro(watts * 5_000_000);
        let busy = Nanos::new(busy_percent * 4 * 50_000_000);
        floor.observe(energy, Nanos::from_seconds(5), busy, 4);
    }

    #[test]
    fn the_floor_is_the_low_quantile_of_idle_windows_and_busy_ones_do_not_count() {
        let mut floor = IdleFloor::default();
        for window in 0..29 {
            for _ in 0..2 {
                tick(&mut floor, if window < 3 { 11 } else { 14 }, 1);
            }
            assert_eq!(floor.learnt(), None, "after {window} windows");
        }
        for _ in 0..200 {
            tick(&mut floor, 95, 60);
        }
        assert_eq!(floor.learnt(), None);
        for _ in 0..2 {
            tick(&mut floor, 14, 1);
        }
        let learnt = floor.learnt().expect("30 idle windows");
        assert!((learnt.as_watts() - 11.0).abs() < 0.1, "{learnt:?}");
    }

    #[test]
    fn every_power_has_a_bucket_and_buckets_rise() {
        let mut previous = 0;
        for exponent in 0..64 {
            let bucket = bucket_of(MicroWatts::new(1 << exponent));
            assert!(bucket >= previous && bucket < BUCKETS);
            previous = bucket;
        }
        assert_eq!(bucket_of(MicroWatts::new(u64::MAX)), BUCKETS - 1);
        assert_eq!(bucket_of(MicroWatts::ZERO), 0);
    }
}
