//! The grams of what is predicted: what is left, spread evenly over the time that is left, by the figures that are
//! forecast for it; else by the one in force.

use super::{Outlook, rounded};
use crate::engine::split::split;
use crate::model::grid::{Plan, Step, Stretch};
use crate::model::quantity::{Emissions, EmissionsRemainder, Energy, Intensity, Nanos, emissions_of};
use crate::model::reading::Factor;
use crate::model::speech::{Ahead, Prediction};

const DAY: u64 = 86_400_000_000_000;

/// 320 GWh: at any intensity and PUE the grams of it fit 64 bits, and no machine uses more.
const MOST_ENERGY: u64 = 1 << 60;

/// By what share forecasts are off, one deviation: 7 to 10 % in what is published of Great Britain, Germany and 13 grids
/// together. The hours of a day are taken to be off together, different days are not.
const FORECAST_ERROR: f64 = 0.08;

/// And beyond the forecast: what a model errs by on grids that it was not made for (16 % over 214 of them). All of that
/// time is taken to be off together, for a week of wind is.
const ERROR_BEYOND: f64 = 0.16;

/// Deviations from the middle to the first and the last tenth.
const TENTH: f64 = 1.281_55;

/// The outlook with its grams, at a wall time at which this much had been used and emitted, and this much time had
/// passed since the job was first seen.
///
/// Beyond the last stretch of the plan the mean of the plan's last day is taken, not the yearly figure: it is of the
/// same season, source and kind, and has every hour of a day once. By the figure in force alone the quantiles of the
/// grams are only as far apart as those of the energy.
#[must_use]
pub fn priced(
    outlook: Outlook,
    (used, emitted, elapsed): (Energy, Emissions, Nanos),
    wall: Nanos,
    plan: Option<&Plan>,
    factor: &Factor,
) -> Prediction {
    let energy = outlook.energy.map(|energy| energy.max(used));
    let duration = outlook.duration.map(|duration| duration.max(elapsed));
    let end = |index: usize| {
        let left = duration[index].saturating_sub(elapsed);
        Nanos::new(wall.get().saturating_add(left.get()))
    };
    let left = energy.map(|energy| {
        let left = energy.as_micro().saturating_sub(used.as_micro());
        Energy::from_micro(left.min(MOST_ENERGY))
    });
    let plan = plan.filter(|plan| has_forecast(plan, wall, end(1)));
    let (ahead, [low, middle, high]) = match plan {
        Some(plan) => {
            let bills = [0, 1, 2].map(|index| Bill::of(left[index], (wall, end(index)), plan));
            let off = TENTH * bills[1].error();
            let [low, middle, high] = bills.map(|bill| bill.nanograms());
            let below = rounded(off.hypot(middle.saturating_sub(low) as f64));
            let above = rounded(off.hypot(high.saturating_sub(middle) as f64));
            (Ahead::Forecast, [middle.saturating_sub(below), middle, middle.saturating_add(above)])
        }
        None => (Ahead::InForce, left.map(|left| nanograms(left, factor))),
    };
    let whole = |more: u64| Emissions::from_nano(emitted.as_nano().saturating_add(more));
    Prediction {
        blocks: outlook.blocks,
        energy,
        duration,
        emissions: [whole(low), whole(middle), whole(high)],
        intensity: ahead,
    }
}

/// Whether somebody has said what comes after the figure in force, before this end.
fn has_forecast(plan: &Plan, wall: Nanos, end: Nanos) -> bool {
    let is_said = |stretch: &Stretch| match stretch.factor.fallback {
        Step::Wanted | Step::Substitute | Step::Forecast | Step::Profile => true,
        // What was last heard is the figure in force, however long it is taken.
        Step::Last | Step::Table | Step::World => false,
    };
    let is_ahead = |stretch: &Stretch| wall < stretch.start && stretch.start < end;
    plan.stretches.iter().any(|stretch| is_ahead(stretch) && is_said(stretch))
}

fn nanograms(energy: Energy, factor: &Factor) -> u64 {
    emissions_of(energy, factor.intensity, factor.pue, &mut EmissionsRemainder::default()).as_nano()
}

/// The grams of an energy that is spread over a time.
#[derive(Debug, Default)]
struct Bill {
    /// In ng, by the days that begin with the time.
    days: Vec<u64>,
    /// After the last stretch.
    beyond: u64,
}

impl Bill {
    fn of(energy: Energy, (begin, end): (Nanos, Nanos), plan: &Plan) -> Bill {
        let last = plan.stretches.last().map_or(begin, |stretch| stretch.end.clamp(begin, end));
        let mut pieces: Vec<(Nanos, u64, &Factor)> = Vec::new();
        let mut time = begin;
        for stretch in plan.stretches.iter().filter(|stretch| stretch.end > begin && stretch.start < end) {
            let (start, stop) = (stretch.start.max(time), stretch.end.min(end));
            // Where the plan has a hole, it is charged by what is in force then.
            for (from, to, factor) in [(time, start, &plan.otherwise), (start, stop, &stretch.factor)] {
                if from < to {
                    pieces.push((from, to.saturating_sub(from).get(), factor));
                }
            }
            time = time.max(stop);
        }
        let beyond = last_day(plan);
        let left = end.saturating_sub(last).get();
        if left > 0 || pieces.is_empty() {
            // With no time left at all, what is left is used at once.
            pieces.push((last, left.max(1), beyond.as_ref().unwrap_or(&plan.otherwise)));
        }
        let weights = pieces.iter().map(|piece| piece.1).zip(0..);
        let parts = split(energy.as_micro(), weights).unwrap_or_default();
        let mut bill = Bill::default();
        for ((start, _, factor), part) in pieces.iter().zip(parts) {
            let grams = nanograms(Energy::from_micro(part), factor);
            if *start >= last {
                bill.beyond += grams;
                continue;
            }
            // A plan reaches three days ahead.
            let day = usize::try_from(start.saturating_sub(begin).get() / DAY).unwrap_or(0).min(7);
            if bill.days.len() <= day {
                bill.days.resize(day + 1, 0);
            }
            bill.days[day] += grams;
        }
        bill
    }

    fn nanograms(&self) -> u64 {
        self.days.iter().sum::<u64>() + self.beyond
    }

    /// By how much it is off, one deviation, in ng.
    fn error(&self) -> f64 {
        let days = self.days.iter().map(|grams| *grams as f64 * FORECAST_ERROR);
        days.fold(self.beyond as f64 * ERROR_BEYOND, f64::hypot)
    }
}

/// The mean over the day that ends with the plan's last stretch, as far as it has figures.
fn last_day(plan: &Plan) -> Option<Factor> {
    let last = plan.stretches.last()?;
    let begin = last.end.saturating_sub(Nanos::new(DAY));
    let (mut sum, mut time) = (0_u128, 0_u128);
    for stretch in &plan.stretches {
        let length = u128::from(stretch.end.saturating_sub(stretch.start.max(begin)).get());
        sum += length * u128::from(stretch.factor.intensity.as_milligrams());
        time += length;
    }
    let mean = u32::try_from(sum.checked_div(time)?).ok().and_then(Intensity::from_milligrams)?;
    Some(Factor { intensity: mean, ..(*last.factor).clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Pue;
    use proptest::prelude::*;
    use std::sync::Arc;

    const HOUR: Nanos = Nanos::from_seconds(3_600);
    const NOON: Nanos = Nanos::from_seconds(1_795_348_800);

    fn factor(grams: &str, fallback: Step) -> Factor {
        Factor {
            zone: "FR".into(),
            intensity: Intensity::parse_grams(grams).expect("valid"),
            pue: Pue::ONE,
            basis: "lifecycle".into(),
            accounting: "consumption".into(),
            quality: "forecast".into(),
            source: "made_up".into(),
            year: "".into(),
            fallback,
        }
    }

    /// From noon on, so many hours each.
    fn plan(stretches: &[(u64, &str, Step)]) -> Plan {
        let mut start = NOON;
        let stretches = stretches.iter().map(|&(hours, grams, fallback)| {
            let end = start + Nanos::new(HOUR.get() * hours);
            let stretch = Stretch { start, end, factor: Arc::new(factor(grams, fallback)) };
            start = end;
            stretch
        });
        Plan { stretches: stretches.collect(), otherwise: Arc::new(factor("900", Step::Table)) }
    }

    /// Half an hour and 1 kWh are gone; so many kWh and hours are the whole.
    fn outlook(kilowatt_hours: [u64; 3], hours: [u64; 3]) -> Outlook {
        Outlook {
            blocks: 9,
            energy: kilowatt_hours.map(|amount| Energy::from_micro(amount * 3_600_000_000_000)),
            duration: hours.map(|hours| Nanos::new(HOUR.get() * hours + HOUR.get() / 2)),
        }
    }

    fn so_far() -> (Energy, Emissions, Nanos) {
        let kilowatt_hour = Energy::from_micro(3_600_000_000_000);
        (kilowatt_hour, Emissions::from_nano(7_000_000_000), Nanos::from_seconds(1_800))
    }

    fn grams(prediction: &Prediction) -> [f64; 3] {
        prediction.emissions.map(|emissions| (emissions.as_nano() as f64 / 1e6).round() / 1e3)
    }

    #[test]
    fn what_is_left_is_charged_by_the_hours_it_falls_into() {
        let wanted = (1, "100", Step::Wanted);
        let day = (24, "300", Step::Forecast);
        for (name, stretches, hours, expected, ahead) in [
            ("no plan's stretches", vec![], 2, 7.0 + 2.0 * 50.0, Ahead::InForce),
            ("within the hour in force", vec![wanted, day], 1, 7.0 + 2.0 * 50.0, Ahead::InForce),
            ("half in the next", vec![wanted, day], 2, 7.0 + 100.0 + 300.0, Ahead::Forecast),
            ("three in the next", vec![wanted, day], 4, 7.0 + 2.0 * 250.0, Ahead::Forecast),
            ("the last one goes on", vec![wanted, (6, "200", Step::Last)], 4, 7.0 + 100.0, Ahead::InForce),
            (
                "the mean of a day ago",
                vec![wanted, (3, "80", Step::Profile)],
                4,
                7.0 + 170.0,
                Ahead::Forecast,
            ),
            // 48 hours: 1 at 100, 24 at 300, 23 at their last day's mean, which is the 24 at 300.
            ("beyond it", vec![wanted, day], 48, 7.0 + 2.0 * (100.0 + 47.0 * 300.0) / 48.0, Ahead::Forecast),
            // 8 hours: 1 at 100, 3 at 500, and 4 at (100 + 3 · 500) / 4.
            ("beyond some", vec![wanted, (3, "500", Step::Forecast)], 8, 7.0 + 800.0, Ahead::Forecast),
        ] {
            let plan = plan(&stretches);
            let prediction =
                priced(outlook([3; 3], [hours; 3]), so_far(), NOON, Some(&plan), &factor("50", Step::Wanted));
            assert_eq!(prediction.intensity, ahead, "{name}");
            assert!((grams(&prediction)[1] - expected).abs() < 0.002, "{name}: {:?}", grams(&prediction));
        }
        let prediction = priced(outlook([3; 3], [5; 3]), so_far(), NOON, None, &factor("50", Step::Wanted));
        assert_eq!((grams(&prediction), prediction.intensity), ([107.0; 3], Ahead::InForce));
        assert_eq!(prediction.blocks, 9);
    }

    #[test]
    fn a_hole_in_the_plan_is_charged_as_it_will_be() {
        let mut plan = plan(&[(1, "100", Step::Wanted), (1, "1", Step::Last), (2, "300", Step::Forecast)]);
        plan.stretches.remove(1);
        let prediction =
            priced(outlook([5; 3], [4; 3]), so_far(), NOON, Some(&plan), &factor("50", Step::Wanted));
        assert_eq!(grams(&prediction)[1], 7.0 + 100.0 + 900.0 + 600.0);
    }

    #[test]
    fn a_forecast_is_as_unsure_as_forecasts_are() {
        let forecast = |hours: u64| vec![(hours, "100", Step::Wanted), (70, "100", Step::Forecast)];
        let width = |energy: [u64; 3], hours: u64, stretches: &[(u64, &str, Step)]| {
            let plan = plan(stretches);
            let outlook = outlook(energy, [hours; 3]);
            let [low, middle, high] =
                grams(&priced(outlook, so_far(), NOON, Some(&plan), &factor("100", Step::Wanted)));
            assert_eq!(middle, 7.0 + (energy[1] - 1) as f64 * 100.0);
            [middle - low, high - middle].map(|side| side.round())
        };
        // 10.25 % of 10 kg where the energy is sure.
        assert_eq!(width([101; 3], 20, &forecast(1)), [1_025.0; 2]);
        // Over two days the errors are independent: less by √2.
        assert_eq!(width([101; 3], 48, &forecast(24)), [725.0; 2]);
        // Beyond the forecast, twice as much and all together.
        assert_eq!(width([101; 3], 71 * 1_000, &forecast(1)), [2_048.0; 2]);
        // Beside what is unsure about the energy: √(1025² + 2000²).
        assert_eq!(width([81, 101, 121], 20, &forecast(1)), [2_247.0; 2]);
        // By the figure in force there is nothing else.
        assert_eq!(width([81, 101, 121], 20, &[]), [2_000.0; 2]);
    }

    #[test]
    fn what_was_used_since_the_last_point_counts() {
        let outlook = outlook([1, 2, 5], [0, 1, 3]);
        let used = Energy::from_micro(3 * 3_600_000_000_000);
        let so_far = (used, Emissions::from_nano(9), Nanos::from_seconds(7_200));
        let prediction = priced(outlook, so_far, NOON, None, &factor("100", Step::Wanted));
        assert_eq!(prediction.energy, [used, used, outlook.energy[2]]);
        assert_eq!(prediction.duration[..2], [Nanos::from_seconds(7_200); 2]);
        assert_eq!(prediction.emissions.map(|grams| grams.as_nano()), [9, 9, 200_000_000_009]);
    }

    fn any_amount() -> impl Strategy<Value = u64> {
        prop_oneof![0..1_000_000_u64, any::<u64>(), Just(u64::MAX)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_predicted_the_grams_are_in_order_and_not_below_what_was_emitted(
            mut energy in [any_amount(), any_amount(), any_amount()],
            mut duration in [any_amount(), any_amount(), any_amount()],
            so_far in (any_amount(), any_amount(), any_amount()),
            wall in any_amount(),
            hours in proptest::collection::vec((1..30_u64, 0..4_u8), 0..6),
        ) {
            energy.sort_unstable();
            duration.sort_unstable();
            let outlook = Outlook {
                blocks: 4,
                energy: energy.map(Energy::from_micro),
                duration: duration.map(Nanos::new),
            };
            let stretches: Vec<(u64, &str, Step)> = hours
                .into_iter()
                .map(|(hours, kind)| match kind {
                    0 => (hours, "5000", Step::Wanted),
                    1 => (hours, "0", Step::Forecast),
                    2 => (hours, "333", Step::Last),
                    _ => (hours, "20", Step::Profile),
                })
                .collect();
            let (used, emitted) = (Energy::from_micro(so_far.0), Emissions::from_nano(so_far.1));
            let wall = if wall % 2 == 0 { NOON } else { Nanos::new(wall) };
            let of = (used, emitted, Nanos::new(so_far.2));
            let most = Factor { pue: Pue::parse("10").expect("valid"), ..factor("5000", Step::Wanted) };
            let prediction = priced(outlook, of, wall, Some(&plan(&stretches)), &most);
            prop_assert!(prediction.energy.is_sorted() && prediction.energy[0] >= used);
            prop_assert!(prediction.duration.is_sorted() && prediction.duration[0].get() >= so_far.2);
            prop_assert!(prediction.emissions.is_sorted() && prediction.emissions[0] >= emitted);
        }
    }
}
