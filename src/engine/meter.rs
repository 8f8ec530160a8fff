//! Turns one domain's readings into energy: difference first, sum later. What cannot be true is
//! refused and counted, never added.

use crate::model::checkpoint::DomainPosition;
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Fault, Measurement, Value};
use crate::model::time::Moment;

/// A mean power is not taken to have held for longer than this: twelve default ticks.
const LONGEST_MEAN: Nanos = Nanos::from_seconds(60);

/// What a reading meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The first one: where the counter stands says nothing about now.
    First,
    /// This much energy since the last good reading, `elapsed` ago.
    Advanced {
        /// How much.
        energy: Energy,
        /// Over how long.
        elapsed: Nanos,
    },
    /// The same, and the reading before was a glitch: the energy is also that of the interval it seemed
    /// to have cost.
    Recovered {
        /// How much.
        energy: Energy,
        /// Over how long.
        elapsed: Nanos,
    },
    /// The same, and the counter passed the end of its range.
    Wrapped {
        /// How much.
        energy: Energy,
        /// Over how long.
        elapsed: Nanos,
    },
    /// The counter was started anew; the energy of this interval is not known.
    Reset,
    /// A claim that the hardware cannot have met.
    Implausible {
        /// What was claimed.
        claimed: Energy,
        /// Why it is not believed.
        reason: Fault,
    },
    /// So long since the last reading that wraps may have been missed: `energy` is what can be vouched for.
    Gap {
        /// At least this much.
        energy: Energy,
        /// Over how long.
        elapsed: Nanos,
    },
    /// So long since the last reading that a mean no longer holds: the energy is not known, and will not come.
    Lost {
        /// Over how long.
        elapsed: Nanos,
    },
}

/// The memory of one domain.
#[derive(Debug, Clone)]
pub struct Meter {
    measurement: Measurement,
    baseline: Option<(Moment, Energy)>,
    // Where the counter stood before a reading that could not follow from it. If the next reading
    // follows from here after all, the odd one was a glitch and nothing is lost.
    doubted: Option<(Moment, Energy)>,
    remainder: u64,
    // The baseline was read by an earlier process: what the mean was since, nobody knows.
    is_resumed: bool,
}

impl Meter {
    /// A meter that has read nothing yet.
    #[must_use]
    pub fn new(measurement: Measurement) -> Meter {
        Meter { measurement, baseline: None, doubted: None, remainder: 0, is_resumed: false }
    }

    /// Goes on from where an earlier process stopped.
    pub fn resume(&mut self, position: &DomainPosition) {
        self.baseline = position.last;
        self.doubted = position.doubted;
        self.remainder = position.remainder;
        self.is_resumed = position.last.is_some();
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> DomainPosition {
        DomainPosition {
            last: self.baseline,
            doubted: self.doubted,
            remainder: self.remainder,
            ..DomainPosition::default()
        }
    }

    /// Takes in one reading.
    pub fn read(&mut self, at: &Moment, value: Value) -> Step {
        match (self.measurement, value) {
            (Measurement::Counter { range, ceiling }, Value::Counter(total)) => {
                self.count(at, total, range, ceiling)
            }
            (Measurement::MeanPower { ceiling }, Value::MeanPower(power)) => {
                self.integrate(at, power, ceiling)
            }
            (Measurement::Counter { .. } | Measurement::MeanPower { .. }, _) => {
                Step::Implausible { claimed: Energy::ZERO, reason: Fault::Malformed }
            }
        }
    }

    fn count(&mut self, at: &Moment, total: Energy, range: Option<Energy>, ceiling: MicroWatts) -> Step {
        if range.is_some_and(|range| total > range) {
            return Step::Implausible { claimed: Energy::ZERO, reason: Fault::OutOfRange };
        }
        let Some((since, last)) = self.baseline.replace((*at, total)) else {
            return Step::First;
        };
        if let Some((since, last)) = self.doubted.take()
            && let Some(energy) = total.checked_sub(last)
            && is_possible(energy, at.since(&since), ceiling)
        {
            return Step::Recovered { energy, elapsed: at.since(&since) };
        }
        let elapsed = at.since(&since);
        if let Some(energy) = total.checked_sub(last) {
            if !is_possible(energy, elapsed, ceiling) {
                self.doubted = Some((since, last));
                return Step::Implausible { claimed: energy, reason: Fault::Implausible };
            }
            return match range {
                Some(range) if is_possible(range, elapsed, ceiling) => Step::Gap { energy, elapsed },
                _ => Step::Advanced { energy, elapsed },
            };
        }
        // A decrease larger than the ceiling allows is a driver reload, not a wrap: starting again
        // loses one interval, while a false wrap would invent up to 262 kJ. After a sleep the
        // registers may have lost their content, so that a decrease proves nothing.
        let wrapped = range.and_then(|range| range.checked_sub(last)).map(|rest| rest.saturating_add(total));
        match wrapped {
            Some(energy) if is_possible(energy, elapsed, ceiling) && !at.slept_since(&since) => {
                if range.is_some_and(|range| is_possible(range, elapsed, ceiling)) {
                    return Step::Gap { energy, elapsed };
                }
                Step::Wrapped { energy, elapsed }
            }
            _ => {
                self.doubted = Some((since, last));
                Step::Reset
            }
        }
    }

    fn integrate(&mut self, at: &Moment, power: MicroWatts, ceiling: MicroWatts) -> Step {
        let Some((since, _)) = self.baseline.replace((*at, Energy::ZERO)) else {
            return Step::First;
        };
        let elapsed = at.since(&since);
        let is_resumed = std::mem::take(&mut self.is_resumed);
        if power > ceiling {
            return Step::Implausible { claimed: power.over(elapsed, &mut 0), reason: Fault::Implausible };
        }
        if is_resumed || elapsed > LONGEST_MEAN {
            return Step::Lost { elapsed };
        }
        Step::Advanced { energy: power.over(elapsed, &mut self.remainder), elapsed }
    }
}

/// Whether `energy` can have been drawn in `elapsed` below `ceiling`.
fn is_possible(energy: Energy, elapsed: Nanos, ceiling: MicroWatts) -> bool {
    energy <= ceiling.over(elapsed, &mut 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: u64 = 262_143_328_850;

    fn at(seconds: u64) -> Moment {
        let time = Nanos::from_seconds(seconds);
        Moment { monotonic: time, boottime: time, wall: time }
    }

    fn counter(range: Option<u64>) -> Meter {
        Meter::new(Measurement::Counter {
            range: range.map(Energy::from_micro),
            ceiling: MicroWatts::from_watts(1_000),
        })
    }

    fn joules(count: u64) -> Energy {
        Energy::from_micro(count * 1_000_000)
    }

    /// Feeds `(second, µJ)` readings to a meter and returns what each meant.
    fn steps(mut meter: Meter, readings: &[(u64, u64)]) -> Vec<Step> {
        readings
            .iter()
            .map(|&(second, micro)| meter.read(&at(second), Value::Counter(Energy::from_micro(micro))))
            .collect()
    }

    fn advanced(micro: u64, seconds: u64) -> Step {
        Step::Advanced { energy: Energy::from_micro(micro), elapsed: Nanos::from_seconds(seconds) }
    }

    #[test]
    fn the_first_reading_charges_nothing() {
        assert_eq!(steps(counter(Some(RANGE)), &[(100, 9_000_000)]), [Step::First]);
    }

    #[test]
    fn a_wrap_is_counted_once_without_the_missing_raw_unit() {
        let seen = steps(counter(Some(RANGE)), &[(0, RANGE - 100), (5, 50), (10, 1_050)]);
        let wrapped = Step::Wrapped { energy: Energy::from_micro(150), elapsed: Nanos::from_seconds(5) };
        assert_eq!(seen, [Step::First, wrapped, advanced(1_000, 5)]);
    }

    #[test]
    fn a_decrease_that_would_take_50_kilowatts_is_a_reset() {
        let seen = steps(counter(Some(RANGE)), &[(0, 12_000_000_000), (5, 7), (10, 500_000_007)]);
        assert_eq!(seen, [Step::First, Step::Reset, advanced(500_000_000, 5)]);
    }

    #[test]
    fn a_decrease_without_a_known_range_is_a_reset() {
        assert_eq!(steps(counter(None), &[(0, RANGE - 1), (5, 0)]), [Step::First, Step::Reset]);
    }

    #[test]
    fn a_glitch_upwards_or_downwards_loses_nothing() {
        for odd in [0, 200_000_000_000] {
            let seen = steps(counter(Some(RANGE)), &[(0, 50_000_000_000), (5, odd), (10, 50_400_000_000)]);
            let recovered = Step::Recovered { energy: joules(400), elapsed: Nanos::from_seconds(10) };
            assert_eq!(seen[2], recovered, "after a reading of {odd}");
        }
    }

    #[test]
    fn a_jump_that_stays_is_refused_once_and_then_followed() {
        let seen = steps(counter(None), &[(0, 0), (5, 22_000_000_000_000), (10, 22_000_000_000_300)]);
        let claimed = Energy::from_micro(22_000_000_000_000);
        assert_eq!(
            seen,
            [Step::First, Step::Implausible { claimed, reason: Fault::Implausible }, advanced(300, 5)]
        );
    }

    #[test]
    fn all_ones_are_no_reading() {
        let sentinel = u64::from(u32::MAX) * 1_000;
        let seen = steps(counter(Some(RANGE)), &[(0, 100), (5, sentinel), (10, 300)]);
        assert_eq!(seen[1], Step::Implausible { claimed: Energy::ZERO, reason: Fault::OutOfRange });
        assert_eq!(seen[2], advanced(200, 10));
    }

    #[test]
    fn a_gap_in_which_wraps_may_have_been_missed_is_marked() {
        let seen = steps(counter(Some(RANGE)), &[(0, 0), (1_795, 30_811_000_000)]);
        let energy = Energy::from_micro(30_811_000_000);
        assert_eq!(seen[1], Step::Gap { energy, elapsed: Nanos::from_seconds(1_795) });
    }

    #[test]
    fn after_a_sleep_a_decrease_is_never_a_wrap() {
        let mut meter = counter(Some(RANGE));
        let mut awake = at(5);
        awake.boottime = Nanos::from_seconds(8 * 3_600);
        meter.read(&at(0), Value::Counter(Energy::from_micro(RANGE - 10)));
        assert_eq!(meter.read(&awake, Value::Counter(Energy::from_micro(10))), Step::Reset);
    }

    #[test]
    fn a_mean_power_is_integrated_over_the_real_interval_and_its_rest_is_kept() {
        let mut meter = Meter::new(Measurement::MeanPower { ceiling: MicroWatts::from_watts(100) });
        let power = Value::MeanPower(MicroWatts::new(333_333));
        let mut total = Energy::ZERO;
        for millisecond in 0..=3_000_u64 {
            let time = Nanos::new(millisecond * 1_000_000);
            let now = Moment { monotonic: time, boottime: time, wall: time };
            if let Step::Advanced { energy, .. } = meter.read(&now, power) {
                total += energy;
            }
        }
        assert_eq!(total, Energy::from_micro(999_999));
    }

    #[test]
    fn only_what_a_mean_was_while_no_process_looked_is_lost() {
        let watts = |count| Value::MeanPower(MicroWatts::from_watts(count));
        let lost = Step::Lost { elapsed: Nanos::from_seconds(5) };
        let refused = Step::Implausible { claimed: joules(5 * 200), reason: Fault::Implausible };
        // Of another boot there is no reading to go on from.
        for (last, readings) in [
            (Some(0), [(5, 50, lost), (10, 50, advanced(250_000_000, 5))]),
            (None, [(5, 50, Step::First), (10, 50, advanced(250_000_000, 5))]),
            (Some(0), [(5, 200, refused), (10, 50, advanced(250_000_000, 5))]),
        ] {
            let mut meter = Meter::new(Measurement::MeanPower { ceiling: MicroWatts::from_watts(100) });
            let last = last.map(|second| (at(second), Energy::ZERO));
            meter.resume(&DomainPosition { last, ..DomainPosition::default() });
            for (second, power, expected) in readings {
                assert_eq!(meter.read(&at(second), watts(power)), expected, "{last:?}, {second} s");
            }
        }
    }

    #[test]
    fn a_mean_power_is_not_held_for_eight_hours_nor_believed_above_the_ceiling() {
        let mut meter = Meter::new(Measurement::MeanPower { ceiling: MicroWatts::from_watts(100) });
        let power = Value::MeanPower(MicroWatts::from_watts(90));
        meter.read(&at(0), power);
        let elapsed = Nanos::from_seconds(28_800);
        assert_eq!(meter.read(&at(28_800), power), Step::Lost { elapsed });
        let absurd = Value::MeanPower(MicroWatts::from_watts(200));
        let claimed = joules(1_000);
        assert_eq!(
            meter.read(&at(28_805), absurd),
            Step::Implausible { claimed, reason: Fault::Implausible }
        );
    }
}
