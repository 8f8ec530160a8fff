//! Whether an accumulator can be believed, and what becomes of one that steps back. Firmware is known to
//! count at a tenth of the rate, not at all, or backwards, so it is held against the power shown beside it.

use super::metrics;
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::Fault;

/// The power shown is a mean over a while and the counter is not, so they may part, in a short look, by
/// this much; the known wrong rate is a tenth.
const RATES_PERCENT: std::ops::RangeInclusive<u128> = 50..=200;

/// A counter of 32 bits.
const NARROW: u64 = 1 << 32;

/// A turn is believed if the reading before it is no older than this, a few periods: after a longer gap any
/// fall could be one, and a card that was put to sleep or reset begins anew.
const LATEST_TURN: Nanos = Nanos::from_seconds(5);

/// One that has stepped back a little is waited for so long; then it goes on from where it stands.
const LONGEST_STEP_BACK: Nanos = Nanos::from_seconds(60);

/// One look at counter and power together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When, by the monotonic clock.
    pub at: Nanos,
    /// The counter, in units of 2^-16 J.
    pub units: u64,
    /// The power shown beside it.
    pub power: Option<MicroWatts>,
}

/// What a short look at a counter shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts what the power beside it comes to.
    Sound,
    /// It advances, and there is nothing to hold it against.
    Alone,
    /// Nobody has looked.
    Untested,
    /// It has not moved.
    Still,
    /// It went down.
    Backwards,
    /// It counts this many percent of what the power beside it comes to.
    WrongRate(u64),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Sound => out.write_str("it agrees with the power shown"),
            Verdict::Alone => out.write_str("no power is shown to compare it with"),
            Verdict::Untested => out.write_str("there was no time to compare it with the power shown"),
            Verdict::Still => out.write_str("it does not advance"),
            Verdict::Backwards => out.write_str("it runs backwards"),
            Verdict::WrongRate(percent) => write!(out, "it counts {percent} % of the power shown"),
        }
    }
}

/// Compares the counter's rise with the power integrated over the same time.
#[must_use]
pub fn judge(samples: &[Sample]) -> Verdict {
    if samples.windows(2).any(|pair| pair[1].units < pair[0].units) {
        return Verdict::Backwards;
    }
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Verdict::Still };
    let Some(rise) = last.units.checked_sub(first.units).filter(|rise| *rise > 0) else {
        return Verdict::Still;
    };
    // Twice µW times ns, by trapezoids.
    let mut doubled = 0_u128;
    for pair in samples.windows(2) {
        let (Some(one), Some(other)) = (pair[0].power, pair[1].power) else { return Verdict::Alone };
        let elapsed = u128::from(pair[1].at.saturating_sub(pair[0].at).get());
        doubled += (u128::from(one.get()) + u128::from(other.get())) * elapsed;
    }
    let expected = doubled / 2_000_000_000;
    if expected == 0 {
        return Verdict::Alone;
    }
    let counted = (u128::from(rise) * 1_000_000) >> 16;
    let percent = counted * 100 / expected;
    if RATES_PERCENT.contains(&percent) {
        Verdict::Sound
    } else {
        Verdict::WrongRate(u64::try_from(percent).unwrap_or(u64::MAX))
    }
}

/// Follows a counter: over the end of a register of 32 bits, and through steps back.
#[derive(Debug, Clone, Default)]
pub struct Follower {
    // Its field has 32 bits; one of 64 never turns.
    is_narrow: bool,
    last: Option<(Nanos, u64)>,
    // Whole turns of the register.
    turned: u64,
    fell: Option<Nanos>,
}

impl Follower {
    /// For a counter whose field has 32 bits, or 64.
    #[must_use]
    pub fn new(is_narrow: bool) -> Follower {
        Follower { is_narrow, ..Follower::default() }
    }

    /// The card was put to sleep: what it shows next is held against nothing before.
    pub fn forget(&mut self) {
        *self = Follower::new(self.is_narrow);
    }

    /// The position without the turns of the register, in the same units.
    ///
    /// # Errors
    /// It has stepped back a little: what it counted twice would be charged twice.
    pub fn follow(&mut self, at: Nanos, units: u64, ceiling: MicroWatts) -> Result<u64, Fault> {
        let Some((since, last)) = self.last else {
            self.last = Some((at, units));
            return Ok(units);
        };
        if units < last {
            let turn = (NARROW + units).saturating_sub(last);
            let elapsed = at.saturating_sub(since);
            if self.is_narrow && elapsed <= LATEST_TURN && is_possible(turn, elapsed, ceiling) {
                self.turned += NARROW;
            } else if units >= last / 2 {
                let fell = *self.fell.get_or_insert(at);
                if at.saturating_sub(fell) < LONGEST_STEP_BACK {
                    return Err(Fault::Implausible);
                }
            } else {
                // Started anew, as after the driver was: the account begins there again.
                self.turned = 0;
            }
        }
        self.fell = None;
        self.last = Some((at, units));
        self.turned.checked_add(units).ok_or(Fault::OutOfRange)
    }
}

fn is_possible(units: u64, elapsed: Nanos, ceiling: MicroWatts) -> bool {
    let most = u128::from(ceiling.get()) * u128::from(elapsed.get()) / 1_000_000_000;
    metrics::energy(units).is_some_and(|energy| u128::from(energy.as_micro()) <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten samples, 50 ms apart, of a counter with this many units a second beside this power.
    fn run(units: u64, watts: u64) -> Vec<Sample> {
        let sample = |step: u64| Sample {
            at: Nanos::new(step * 50_000_000),
            units: 9_000_000_000 + units * step / 20,
            power: Some(MicroWatts::from_watts(watts)),
        };
        (0..10).map(sample).collect()
    }

    #[test]
    fn a_counter_is_held_against_the_power_shown_beside_it() {
        let watt = 65_536;
        for (units, watts, expected) in [
            (750 * watt, 750, Verdict::Sound),
            // A load that has just begun: the mean power lags.
            (750 * watt, 400, Verdict::Sound),
            (75 * watt, 750, Verdict::WrongRate(10)),
            (7_500 * watt, 750, Verdict::WrongRate(1_000)),
            (0, 750, Verdict::Still),
            (750 * watt, 0, Verdict::Alone),
        ] {
            assert_eq!(judge(&run(units, watts)), expected, "{units} at {watts} W");
        }
        let mut backwards = run(750 * watt, 750);
        backwards[0].units = 4_750_896_266 + (9 << 32);
        assert_eq!(judge(&backwards), Verdict::Backwards);
        assert_eq!(judge(&[]), Verdict::Still);
        let mut alone = run(750 * watt, 750);
        alone.iter_mut().for_each(|sample| sample.power = None);
        assert_eq!(judge(&alone), Verdict::Alone);
    }

    #[test]
    fn turns_are_added_steps_back_are_waited_for_and_a_new_start_is_one() {
        let ceiling = MicroWatts::from_watts(1_000);
        let mut follower = Follower::new(true);
        for (second, units, expected) in [
            (0, NARROW - 1_000, Ok(NARROW - 1_000)),
            (1, NARROW - 500, Ok(NARROW - 500)),
            (2, 700, Ok(NARROW + 700)),
            (3, 900, Ok(NARROW + 900)),
            // After a gap a fall is a new start, whatever it could be.
            (600, 100, Ok(100)),
        ] {
            assert_eq!(follower.follow(Nanos::from_seconds(second), units, ceiling), expected, "{second} s");
        }
        let mut follower = Follower::default();
        for (second, units, expected) in [
            (0, 4_750_896_266, Ok(4_750_896_266)),
            (1, 4_736_943_791, Err(Fault::Implausible)),
            (2, 4_740_000_000, Err(Fault::Implausible)),
            (3, 4_750_896_300, Ok(4_750_896_300)),
            // It steps back and stays there.
            (4, 4_736_943_791, Err(Fault::Implausible)),
            (63, 4_736_943_800, Err(Fault::Implausible)),
            (64, 4_736_943_900, Ok(4_736_943_900)),
            // The driver was loaded anew.
            (65, 13_107_200, Ok(13_107_200)),
        ] {
            assert_eq!(follower.follow(Nanos::from_seconds(second), units, ceiling), expected, "{second} s");
        }
        // Nor does one turn that has 64 bits, or that was asleep.
        let mut follower = Follower::default();
        assert_eq!(follower.follow(Nanos::ZERO, NARROW - 500, ceiling), Ok(NARROW - 500));
        assert_eq!(follower.follow(Nanos::from_seconds(1), 700, ceiling), Ok(700));
        let mut follower = Follower::new(true);
        assert_eq!(follower.follow(Nanos::ZERO, NARROW - 500, ceiling), Ok(NARROW - 500));
        follower.forget();
        assert_eq!(follower.follow(Nanos::from_seconds(1), 700, ceiling), Ok(700));
        // From 4,000,000,000 down to 5 would be 4.5 kJ in a second: no turn, but a new start.
        let mut follower = Follower::new(true);
        assert_eq!(follower.follow(Nanos::ZERO, 4_000_000_000, ceiling), Ok(4_000_000_000));
        assert_eq!(follower.follow(Nanos::from_seconds(1), 5, ceiling), Ok(5));
    }
}
