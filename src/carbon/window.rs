//! When to run something that takes so many hours: the cleanest window ahead, by prefix sums over slots.
//!
//! What a window costs, as a function of its start, changes its slope only where its start or its end passes
//! from one slot into the next: the best start is one of these, and all is whole numbers. Times are UTC
//! throughout, so no clock change is in between.

use crate::model::grid::{Basis, Boundary, Quality, Sample, Series, Signal};
use crate::model::quantity::Nanos;

/// A window, and the sum of intensity over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its start, in ns since 1970.
    pub start: Nanos,
    /// Its end.
    pub end: Nanos,
    /// Milligrams per kWh times ns.
    sum: u128,
}

impl Window {
    /// The mean intensity in mg/kWh, half up: what a steady power is charged on the whole.
    #[must_use]
    pub fn mean_milligrams(&self) -> u128 {
        let length = u128::from(self.end.saturating_sub(self.start).get());
        (self.sum + length / 2).checked_div(length).unwrap_or(0)
    }

    /// What an energy in µJ that is spread evenly over it emits, in ng, half up.
    #[must_use]
    pub fn emissions(&self, energy: u128) -> u128 {
        // Nine digits more than mg/kWh, so that nothing is lost that shows: 10^22 µJ still fit.
        const FINER: u128 = 1_000_000_000;
        const MICROJOULE_MILLIGRAMS_PER_NANOGRAM: u128 = 3_600_000;
        let length = u128::from(self.end.saturating_sub(self.start).get());
        let mean = (self.sum * FINER).checked_div(length).unwrap_or(0);
        let whole = MICROJOULE_MILLIGRAMS_PER_NANOGRAM * FINER;
        (energy * mean + whole / 2) / whole
    }

    /// What is saved against another window of the same length, in ppm of it; negative if it costs more.
    /// Where the other costs nothing there is nothing to save.
    #[must_use]
    pub fn saving_ppm(&self, against: &Window) -> i64 {
        let part = |more: u128, less: u128| {
            let ppm = ((more - less) * 1_000_000).checked_div(against.sum).unwrap_or(0);
            i64::try_from(ppm).unwrap_or(i64::MAX)
        };
        match against.sum >= self.sum {
            true => part(against.sum, self.sum),
            false => -part(self.sum, against.sum),
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// The earliest start: now.
    pub from: Nanos,
    /// The latest end.
    pub until: Nanos,
    /// How long it takes.
    pub length: Nanos,
}

/// What is advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The cleanest window; of equals the earliest.
    pub best: Window,
    /// The window that starts now, where everything about it is known.
    pub now: Option<Window>,
    /// The end of what is known without a gap from the best window's start on.
    pub known_until: Nanos,
}

/// Samples as sums: at each bound of a slot, how much of the time before is known, and what it costs.
struct Sums {
    bounds: Vec<Nanos>,
    costs: Vec<u128>,
    known: Vec<u128>,
}

impl Sums {
    /// Samples in the order of time; what overlaps an earlier one counts only from that one's end on.
    fn new(samples: &[Sample]) -> Sums {
        let mut sums = Sums { bounds: Vec::new(), costs: Vec::new(), known: Vec::new() };
        let (mut cost, mut known) = (0_u128, 0_u128);
        for sample in samples {
            let last = sums.bounds.last().copied().unwrap_or(Nanos::ZERO);
            let start = sample.start.max(last);
            if sample.end <= start {
                continue;
            }
            sums.push(start, cost, known);
            let length = u128::from(sample.end.saturating_sub(start).get());
            cost += length * u128::from(sample.intensity.as_milligrams());
            known += length;
            sums.push(sample.end, cost, known);
        }
        sums
    }

    fn push(&mut self, bound: Nanos, cost: u128, known: u128) {
        if self.bounds.last() != Some(&bound) {
            self.bounds.push(bound);
            self.costs.push(cost);
            self.known.push(known);
        }
    }

    /// What everything before this time costs, and how much of it is known.
    fn at(&self, time: Nanos) -> (u128, u128) {
        let after = self.bounds.partition_point(|bound| *bound <= time);
        let Some(before) = after.checked_sub(1) else { return (0, 0) };
        let (cost, known) = (self.costs[before], self.known[before]);
        if after == self.bounds.len() {
            return (cost, known);
        }
        // Between two bounds the intensity is the same, or nothing is known.
        let (next_cost, next_known) = (self.costs[after], self.known[after]);
        let whole = u128::from(self.bounds[after].saturating_sub(self.bounds[before]).get());
        let part = u128::from(time.saturating_sub(self.bounds[before]).get());
        (cost + (next_cost - cost) / whole * part, known + (next_known - known) / whole * part)
    }

    /// The window from `start`, if everything about it is known.
    fn window(&self, start: Nanos, length: Nanos) -> Option<Window> {
        let end = Nanos::new(start.get().checked_add(length.get())?);
        let (before, after) = (self.at(start), self.at(end));
        let is_known = after.1 - before.1 == u128::from(length.get());
        is_known.then(|| Window { start, end, sum: after.0 - before.0 })
    }

    /// How far all is known from here on.
    fn known_until(&self, from: Nanos) -> Nanos {
        let origin = self.at(from).1;
        let is_known = |(bound, known): (&Nanos, &u128)| {
            known.checked_sub(origin) == Some(u128::from(bound.saturating_sub(from).get()))
        };
        let later = self.bounds.iter().zip(&self.known).filter(|(bound, _)| **bound > from);
        later.take_while(|pair| is_known(*pair)).last().map_or(from, |(bound, _)| *bound)
    }
}

/// The cleanest window; `None` where none is known from its start to its end.
#[must_use]
pub fn cleanest(samples: &[Sample], search: Search) -> Option<Advice> {
    let Search { from, until, length } = search;
    let latest = Nanos::new(until.get().checked_sub(length.get()).filter(|latest| *latest >= from.get())?);
    let sums = Sums::new(samples);
    let ends = sums.bounds.iter().map(|bound| bound.saturating_sub(length));
    let mut starts: Vec<Nanos> = sums.bounds.iter().copied().chain(ends).chain([from, latest]).collect();
    starts.retain(|start| (from..=latest).contains(start));
    starts.sort_unstable();
    starts.dedup();
    let windows = starts.into_iter().filter_map(|start| sums.window(start, length));
    // Of equals `min_by_key` takes the first.
    let best = windows.min_by_key(|window| window.sum)?;
    Some(Advice { best, now: sums.window(from, length), known_until: sums.known_until(best.start) })
}

/// The samples of each kind with this signal that knows anything after `now`, in the order of their first
/// series. A kind may be several of one provider: the past and a forecast, for instance.
pub fn kinds_ahead(
    series: &[Series],
    signal: Signal,
    now: Nanos,
) -> impl Iterator<Item = (&Series, Vec<Sample>)> {
    type Kind<'a> = (&'a str, &'a str, Signal, Basis, Boundary);
    fn kind(series: &Series) -> Kind<'_> {
        (&series.source, &series.zone, series.signal, series.basis, series.accounting)
    }
    let firsts = series.iter().enumerate().filter(move |(at, head)| {
        head.signal == signal && !series[..*at].iter().any(|before| kind(before) == kind(head))
    });
    let gathered = firsts.map(|(at, head)| {
        let same = series[at..].iter().filter(|other| kind(other) == kind(head));
        let mut samples: Vec<Sample> = same.flat_map(|series| series.samples.iter().copied()).collect();
        // What was measured goes before what was forecast for the same time.
        samples.sort_by_key(|sample| (sample.start, sample.quality == Quality::Forecast, sample.end));
        (head, samples)
    });
    gathered.filter(move |(_, samples)| samples.iter().any(|sample| sample.end > now))
}

/// The advice of the first kind that knows a whole window.
#[must_use]
pub fn advise(series: &[Series], signal: Signal, search: Search) -> Option<(&Series, Advice)> {
    kinds_ahead(series, signal, search.from)
        .find_map(|(head, samples)| Some((head, cleanest(&samples, search)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Intensity;
    use proptest::prelude::*;

    fn sample(start: u64, end: u64, milligrams: u32) -> Sample {
        Sample {
            start: Nanos::new(start),
            end: Nanos::new(end),
            intensity: Intensity::from_milligrams(milligrams).expect("plausible"),
            quality: Quality::Forecast,
            fetched: Nanos::ZERO,
        }
    }

    fn hours(figures: &[u32]) -> Vec<Sample> {
        let hour = Nanos::from_seconds(3_600).get();
        (0_u64..)
            .zip(figures)
            .map(|(at, figure)| sample(at * hour, (at + 1) * hour, figure * 1_000))
            .collect()
    }

    /// In half hours.
    fn search(from: u64, until: u64, length: u64) -> Search {
        let at = |halves: u64| Nanos::from_seconds(halves * 1_800);
        Search { from: at(from), until: at(until), length: at(length) }
    }

    #[test]
    fn the_cleanest_window_is_found_and_compared_with_now() {
        let day = hours(&[300, 200, 100, 100, 400, 50, 600]);
        let seconds = |time: Nanos| time.get() / 1_000_000_000;
        for (asked, start, mean, saving) in [
            // Two whole slots.
            (search(0, 14, 4), 7_200, 100_000, Some(600_000)),
            // One of an hour is the 50 at 5.
            (search(0, 14, 2), 18_000, 50_000, Some(833_333)),
            // It has to end before that.
            (search(0, 11, 2), 7_200, 100_000, Some(666_666)),
            // Partial slots: from 1:30, 2.5 h are half an hour of 200 and two of 100.
            (search(3, 14, 5), 5_400, 120_000, Some(0)),
            // Now is the best already.
            (search(4, 14, 4), 7_200, 100_000, Some(0)),
            // Only one window fits.
            (search(0, 14, 14), 0, 250_000, Some(0)),
        ] {
            let advice = cleanest(&day, asked).expect("known");
            assert_eq!(
                (seconds(advice.best.start), advice.best.mean_milligrams()),
                (start, mean),
                "{asked:?}"
            );
            let saved = advice.now.map(|now| advice.best.saving_ppm(&now));
            assert_eq!(saved, saving, "{asked:?}");
        }
    }

    #[test]
    fn of_equals_the_earliest_and_nothing_is_made_up() {
        let flat = hours(&[100; 10]);
        assert_eq!(cleanest(&flat, search(1, 20, 4)).expect("known").best.start.as_seconds(), 1_800.0);
        for (samples, asked) in [
            (Vec::new(), search(0, 48, 2)),
            // Longer than the time that there is.
            (flat.clone(), search(0, 6, 8)),
            // The forecast ends before the window could.
            (flat.clone(), search(19, 48, 4)),
            // A gap in each window.
            (vec![flat[0], flat[2], flat[4]], search(0, 10, 4)),
        ] {
            assert_eq!(cleanest(&samples, asked), None, "{asked:?}");
        }
        // With a gap now, what comes after it is still known, and nothing is compared.
        let later = cleanest(&flat[3..], search(0, 20, 4)).expect("known");
        assert_eq!((later.best.start.as_seconds(), later.now), (10_800.0, None));
        assert_eq!(later.known_until.as_seconds(), 36_000.0);
    }

    #[test]
    fn zero_costs_nothing_and_saves_everything() {
        let day = hours(&[0, 0, 500, 0]);
        let advice = cleanest(&day, search(0, 8, 2)).expect("known");
        assert_eq!((advice.best.start, advice.best.mean_milligrams()), (Nanos::ZERO, 0));
        assert_eq!(advice.best.saving_ppm(&advice.now.expect("known")), 0, "nothing of nothing");
        let late = cleanest(&day, search(4, 8, 2)).expect("known");
        assert_eq!(late.best.saving_ppm(&late.now.expect("known")), 1_000_000);
        assert!(late.now.expect("known").saving_ppm(&late.best) == 0, "against nothing");
    }

    #[test]
    fn the_first_kind_that_looks_ahead_is_taken_whole() {
        let series = |source: &str, signal, basis, samples: Vec<Sample>| Series {
            source: source.into(),
            zone: "FR".into(),
            signal,
            basis,
            accounting: Boundary::Production,
            samples,
        };
        let (average, marginal) = (Signal::Average, Signal::Marginal);
        let all = [
            series("past", average, Basis::Direct, vec![sample(0, 10, 1)]),
            series("both", average, Basis::Lifecycle, vec![sample(20, 30, 2)]),
            series("both", marginal, Basis::Lifecycle, vec![sample(20, 30, 9)]),
            series("both", average, Basis::Lifecycle, vec![sample(10, 20, 3)]),
            series("both", average, Basis::Direct, vec![sample(30, 40, 4)]),
        ];
        let kinds: Vec<(&str, Basis, Vec<u32>)> = kinds_ahead(&all, average, Nanos::new(15))
            .map(|(head, samples)| {
                let figures = samples.iter().map(|sample| sample.intensity.as_milligrams()).collect();
                (&*head.source, head.basis, figures)
            })
            .collect();
        assert_eq!(kinds, [("both", Basis::Lifecycle, vec![3, 2]), ("both", Basis::Direct, vec![4])]);
        assert_eq!(kinds_ahead(&all, marginal, Nanos::new(35)).count(), 0);
        // Of which the first knows too little of what is asked for.
        let search = Search { from: Nanos::new(15), until: Nanos::new(40), length: Nanos::new(10) };
        let found =
            |search| advise(&all, average, search).map(|(head, advice)| (head.basis, advice.best.start));
        assert_eq!(found(search), Some((Basis::Lifecycle, Nanos::new(20))));
        let late = Search { from: Nanos::new(21), ..search };
        assert_eq!(found(late), Some((Basis::Direct, Nanos::new(30))));
        assert_eq!(found(Search { length: Nanos::new(19), ..search }), None);
    }

    proptest! {
        /// Against every start there is, nanosecond by nanosecond.
        #[test]
        fn no_other_start_is_better(
            slots in prop::collection::vec((0_u64..4, 0_u64..12, 0_u32..6), 0..8),
            from in 0_u64..20,
            within in 1_u64..60,
            length in 1_u64..25,
        ) {
            let mut at = 0_u64;
            let mut samples = Vec::new();
            for (gap, long, figure) in slots {
                // Some slots overlap those before them.
                let start = if gap == 3 { u64::saturating_sub(at, 2) } else { at + gap };
                samples.push(sample(start, start + long, figure));
                at = at.max(start + long);
            }
            samples.sort_by_key(|sample| sample.start);
            let figure_at = |time: u64| {
                let mut end = 0;
                samples.iter().find_map(|sample| {
                    let start = sample.start.get().max(end);
                    let is_in = (start..sample.end.get()).contains(&time);
                    end = end.max(sample.end.get());
                    is_in.then(|| u128::from(sample.intensity.as_milligrams()))
                })
            };
            let cost = |start: u64| (start..start + length).map(figure_at).sum::<Option<u128>>();
            let until = from + within;
            let starts = (from..=until).take_while(|start| start + length <= until);
            let expected = starts.filter_map(|start| Some((cost(start)?, start))).min();
            let asked = Search { from: Nanos::new(from), until: Nanos::new(until), length: Nanos::new(length) };
            let found = cleanest(&samples, asked);
            prop_assert_eq!(found.map(|advice| (advice.best.sum, advice.best.start.get())), expected);
            if let Some(advice) = found {
                prop_assert_eq!(advice.now.map(|now| now.sum), cost(from));
            }
        }
    }
}
