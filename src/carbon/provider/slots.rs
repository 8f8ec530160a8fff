//! What was heard, sorted: into one series for each kind of figure, in the order of time, on the common grain,
//! without overlaps, and without what cannot be.

use super::asking::Site;
use super::figure::Odd;
use super::{Ask, Refusal};
use crate::model::grid::{Basis, Boundary, GRAIN, Quality, Sample, Series, Signal};
use crate::model::quantity::{Intensity, Nanos};
use crate::model::reading::Fault;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Of what is older nothing is kept, so nothing is taken.
const KEPT: Nanos = Nanos::from_seconds(73 * 3_600);

/// A slot that begins a little ahead is usual: providers name the hour that is about to begin.
const AHEAD: Nanos = Nanos::from_seconds(3_600);

/// A figure is asked for again long before this has passed.
const LONGEST_AHEAD: Nanos = Nanos::from_seconds(24 * 3_600);

/// Three days back and three ahead in steps of 5 min are 1,728; ten times that is no answer to our question.
const MAX_POINTS: usize = 20_000;

/// 2200-01-01: so far from the end of the clock that slots can be added to it.
const LATEST: Nanos = Nanos::from_seconds(7_258_118_400);

/// What a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// What it answers.
    pub signal: Signal,
    /// What it includes.
    pub basis: Basis,
    /// Which power stations it is about.
    pub accounting: Boundary,
}

impl About {
    /// Of every kWh on average.
    #[must_use]
    pub const fn average(basis: Basis, accounting: Boundary) -> About {
        About { signal: Signal::Average, basis, accounting }
    }
}

/// A slot as a provider gives it.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// The start.
    pub start: Nanos,
    /// The end, not included.
    pub end: Nanos,
    /// How it was made; what is ahead of now is a forecast, whatever stands here.
    pub quality: Quality,
}

/// What is heard in one round of questions.
#[derive(Debug)]
pub struct Gathering<'a> {
    site: &'a Site,
    ask: Ask,
    found: Vec<(About, Vec<Sample>)>,
    points: usize,
    odd: Option<String>,
    is_only_ahead: bool,
    missed: Option<Refusal>,
}

impl<'a> Gathering<'a> {
    /// Nothing yet.
    #[must_use]
    pub const fn new(site: &'a Site, ask: Ask) -> Gathering<'a> {
        Gathering { site, ask, found: Vec::new(), points: 0, odd: None, is_only_ahead: false, missed: None }
    }

    /// Who is asked.
    #[must_use]
    pub const fn site(&self) -> &'a Site {
        self.site
    }

    /// What is asked.
    #[must_use]
    pub const fn ask(&self) -> Ask {
        self.ask
    }

    /// Takes an answer whole, or nothing of it.
    ///
    /// # Errors
    /// What `read` finds wrong with it.
    pub fn take(
        &mut self,
        read: impl FnOnce(&Site, &mut Gathering<'a>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let known: Vec<usize> = self.found.iter().map(|(_, samples)| samples.len()).collect();
        let outcome = read(self.site, self);
        if outcome.is_err() {
            self.found.truncate(known.len());
            self.found.iter_mut().zip(known).for_each(|((_, samples), known)| samples.truncate(known));
        }
        outcome
    }

    /// A part was asked for and refused. Of several refusals that with the longest wait is kept, else one that
    /// may pass rather than a right that is lacking for one part, else the first.
    pub fn miss(&mut self, refusal: Refusal) {
        let is_graver = self.missed.as_ref().is_none_or(|known| {
            let is_passing = |refusal: &Refusal| refusal.fault != Fault::PermissionDenied;
            (known.retry_after, is_passing(known)) < (refusal.retry_after, is_passing(&refusal))
        });
        if is_graver {
            self.missed = Some(refusal);
        }
    }

    /// What was refused.
    #[must_use]
    pub const fn missed(&self) -> Option<&Refusal> {
        self.missed.as_ref()
    }

    /// Whether nothing that can be used has been heard yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Takes a figure. What no grid has is left out, and is the reason if nothing else is heard; what is too
    /// old or too far ahead is left out.
    pub fn add(&mut self, about: About, slot: Slot, figure: Result<Intensity, Odd>) {
        self.points += 1;
        let start = floor(slot.start);
        let ahead = self.ask.until.max(self.ask.now + AHEAD);
        if self.points > MAX_POINTS || slot.end <= slot.start {
            return;
        }
        if start >= ahead {
            self.is_only_ahead = true;
            return;
        }
        // A slot shorter than the grain is one whole: user files date their lines to the second.
        let end = floor(slot.end).max(start + GRAIN);
        // One that ends in years would still be charged when nobody has said anything for days.
        let end = end.min(floor(self.ask.now.max(start) + LONGEST_AHEAD));
        if end.get() <= self.ask.now.saturating_sub(KEPT).get() {
            return;
        }
        let intensity = match figure {
            Ok(intensity) => intensity,
            Err(odd) => {
                self.odd.get_or_insert_with(|| format!("its figure {odd}"));
                return;
            }
        };
        let quality = if start > self.ask.now { Quality::Forecast } else { slot.quality };
        let sample = Sample { start, end, intensity, quality, fetched: self.ask.now };
        match self.found.iter_mut().find(|(known, _)| *known == about) {
            Some((_, samples)) => samples.push(sample),
            None => self.found.push((about, vec![sample])),
        }
    }

    /// Whether a figure for this very time is among them.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let now = self.ask.now;
        self.found.iter().any(|(_, samples)| samples.iter().any(|slot| slot.start <= now && now < slot.end))
    }

    /// The series; several figures for one time leave the best made, and of equals the one said last.
    ///
    /// # Errors
    /// There is no figure that can be used: what was refused is the reason, or what is wrong with the figures.
    pub fn finish(self) -> Result<Vec<Series>, Refusal> {
        let Gathering { site, ask, found, points, odd, is_only_ahead, missed } = self;
        if points > MAX_POINTS {
            return Err(site.malformed("more than 20,000 figures (is that its address?)"));
        }
        if let Some(odd) = &odd {
            tracing::debug!(provider = site.source, zone = site.zone, "left out of an answer: {odd}");
        }
        let series: Vec<Series> = found
            .into_iter()
            .map(|(about, samples)| Series {
                source: site.source.into(),
                zone: site.zone.as_str().into(),
                signal: about.signal,
                basis: about.basis,
                accounting: about.accounting,
                samples: sorted(samples).into_iter().map(|sample| seen_at(ask.now, sample)).collect(),
            })
            .collect();
        if !series.is_empty() {
            return Ok(series);
        }
        if let Some(refusal) = missed {
            return Err(refusal);
        }
        Err(match odd {
            Some(odd) => site.refusal(Fault::OutOfRange, &format!("{odd} (see which unit it is in)")),
            None if is_only_ahead => site.refusal(
                Fault::Stale,
                "all its figures are for hours ahead (is the clock of this machine right?)",
            ),
            None if points > 0 => site.refusal(
                Fault::Stale,
                "its newest figure is older than 3 days (is the clock of this machine right?)",
            ),
            None => site.refusal(
                Fault::Missing,
                "it answers without a figure (see whether the provider works and covers the zone)",
            ),
        })
    }
}

/// The best made first; what is made worse stands only where nothing better does.
fn sorted(samples: Vec<Sample>) -> Vec<Sample> {
    let rank = |quality: Quality| match quality {
        Quality::Measured | Quality::Configured => 0,
        Quality::Estimated | Quality::Static => 1,
        Quality::Forecast => 2,
    };
    let mut kept = Vec::with_capacity(samples.len());
    for wanted in 0..=2 {
        let own = samples.iter().filter(|sample| rank(sample.quality) == wanted).copied().collect();
        alike(own).into_iter().for_each(|sample| fill(&mut kept, sample));
    }
    kept
}

/// The rest of one that runs, where a better one runs too, may be all ahead.
fn seen_at(now: Nanos, sample: Sample) -> Sample {
    Sample { quality: if sample.start > now { Quality::Forecast } else { sample.quality }, ..sample }
}

/// Puts a sample where no other is.
fn fill(kept: &mut Vec<Sample>, new: Sample) {
    let first = kept.partition_point(|old| old.end <= new.start);
    let after = kept.partition_point(|old| old.start < new.end).max(first);
    let mut pieces = Vec::with_capacity(2 * (after - first) + 1);
    let mut open = new.start;
    for old in &kept[first..after] {
        if open < old.start {
            pieces.push(Sample { start: open, end: old.start, ..new });
        }
        pieces.push(*old);
        open = open.max(old.end);
    }
    if open < new.end {
        pieces.push(Sample { start: open, ..new });
    }
    kept.splice(first..after, pieces);
}

/// Of those that are made equally well the one that begins later ends the one before.
fn alike(mut samples: Vec<Sample>) -> Vec<Sample> {
    // What was said last comes first among equals.
    samples.reverse();
    samples.sort_by_key(|sample| sample.start);
    samples.dedup_by_key(|sample| sample.start);
    let starts: Vec<Nanos> = samples.iter().skip(1).map(|sample| sample.start).collect();
    for (sample, next) in samples.iter_mut().zip(starts) {
        sample.end = sample.end.min(next);
    }
    samples
}

/// The multiple of the grain at or before it.
#[must_use]
pub fn floor(time: Nanos) -> Nanos {
    Nanos::new(time.get() - time.get() % GRAIN.get())
}

/// A time as providers write it: with an offset, or in UTC without one; none after 2199, where no provider is.
#[must_use]
pub fn instant(text: &str) -> Option<Nanos> {
    let text = text.trim();
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    u64::try_from(timestamp.as_nanosecond()).ok().map(Nanos::new).filter(|time| *time < LATEST)
}

/// A time in UTC, in this form of strftime.
#[must_use]
pub fn written(time: Nanos, form: &str) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(time.get())).unwrap_or_default();
    timestamp.to_zoned(TimeZone::UTC).strftime(form).to_string()
}

/// A length of time.
#[must_use]
pub const fn minutes(count: u64) -> Nanos {
    Nanos::from_seconds(60 * count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const NOON: u64 = 1_795_262_400;

    fn site() -> Site {
        Site { source: "file", base: String::new(), zone: "FR".to_owned(), cadence: Duration::from_secs(60) }
    }

    fn ask() -> Ask {
        let now = Nanos::from_seconds(NOON);
        Ask { now, from: Nanos::from_seconds(NOON - 86_400), until: now }
    }

    const ABOUT: About = About::average(Basis::Direct, Boundary::Production);

    #[test]
    fn a_right_that_one_part_lacks_hides_no_failure_that_passes() {
        let site = site();
        let refusal = |fault: Fault, seconds: Option<u64>| {
            let retry_after = seconds.map(Duration::from_secs);
            Refusal { retry_after, ..site.refusal(fault, "refused") }
        };
        let (lacking, passing) = (Fault::PermissionDenied, Fault::Timeout);
        for (missed, expected) in [
            ([(lacking, None), (passing, None)], passing),
            ([(passing, None), (lacking, None)], passing),
            ([(lacking, Some(60)), (passing, None)], lacking),
            ([(passing, None), (lacking, Some(60))], lacking),
            ([(Fault::Limit, None), (passing, None)], Fault::Limit),
        ] {
            let mut heard = Gathering::new(&site, ask());
            missed.into_iter().for_each(|(fault, wait)| heard.miss(refusal(fault, wait)));
            assert_eq!(heard.missed().map(|refusal| refusal.fault), Some(expected), "{missed:?}");
        }
    }

    #[test]
    fn times_are_understood_in_every_form_that_providers_write() {
        for text in [
            "2026-11-21T12:00:00.000Z",
            "2026-11-21T12:00Z",
            "2026-11-21T12:00:00+00:00",
            "2026-11-21T13:00:00+01:00",
            "2026-11-21T12:00:00",
            "2026-11-21T12",
            " 2026-11-21T12:00 ",
        ] {
            assert_eq!(instant(text), Some(Nanos::from_seconds(NOON)), "{text}");
        }
        for text in
            ["", "noon", "1969-12-31T23:59:59Z", "2026-13-01T00:00Z", "2026-11-21T25:00", "2554-07-21T00:00Z"]
        {
            assert_eq!(instant(text), None, "{text}");
        }
        assert_eq!(written(Nanos::from_seconds(NOON), "%Y%m%d%H%M"), "202611211200");
        assert_eq!(written(Nanos::new(u64::MAX), "%Y"), "2554");
    }

    #[test]
    fn the_best_figure_of_a_time_is_kept_and_none_overlaps() {
        let (site, ask) = (site(), ask());
        let mut heard = Gathering::new(&site, ask);
        let at = |seconds: u64| Nanos::from_seconds(NOON - 7_200 + seconds);
        for (start, end, grams, quality) in [
            (3_600, 7_200, 300, Quality::Forecast),
            (0, 3_600, 100, Quality::Measured),
            (0, 3_600, 101, Quality::Estimated),
            (3_600, 7_200, 301, Quality::Estimated),
            (3_600, 7_200, 302, Quality::Estimated),
            (1_800, 2_100, 0, Quality::Measured),
            // Ahead: a forecast, whatever it is said to be.
            (7_500, 7_800, 7, Quality::Measured),
            // Too far ahead, too old, upside down.
            (20_000, 20_300, 8, Quality::Forecast),
            (500, 400, 9, Quality::Measured),
        ] {
            let figure = Ok(Intensity::from_milligrams(grams * 1_000).expect("plausible"));
            heard.add(ABOUT, Slot { start: at(start), end: at(end), quality }, figure);
        }
        let series = heard.finish().expect("figures").remove(0);
        let found: Vec<_> = series
            .samples
            .iter()
            .map(|slot| {
                let seconds = |time: Nanos| time.get() / 1_000_000_000 + 7_200 - NOON;
                (seconds(slot.start), seconds(slot.end), slot.intensity.as_milligrams() / 1_000, slot.quality)
            })
            .collect();
        assert_eq!(
            found,
            [
                (0, 1_800, 100, Quality::Measured),
                (1_800, 2_100, 0, Quality::Measured),
                (2_100, 3_600, 101, Quality::Estimated),
                (3_600, 7_200, 302, Quality::Estimated),
                (7_500, 7_800, 7, Quality::Forecast),
            ]
        );
    }

    #[test]
    fn a_worse_figure_cuts_no_better_one_and_none_holds_for_years() {
        let (site, ask) = (site(), ask());
        let mut heard = Gathering::new(&site, ask);
        let at = |seconds: u64| Nanos::from_seconds(NOON - 7_200 + seconds);
        for (start, end, grams, quality) in [
            (0, 3_600, 100, Quality::Measured),
            (1_800, 2_100, 500, Quality::Estimated),
            (3_000, 100_000_000, 600, Quality::Estimated),
        ] {
            let figure = Ok(Intensity::from_milligrams(grams * 1_000).expect("plausible"));
            heard.add(ABOUT, Slot { start: at(start), end: at(end), quality }, figure);
        }
        let samples = heard.finish().expect("figures").remove(0).samples;
        let found: Vec<_> =
            samples.iter().map(|one| (one.start, one.end, one.intensity.as_milligrams())).collect();
        assert_eq!(found, [(at(0), at(3_600), 100_000), (at(3_600), at(7_200 + 86_400), 600_000)]);
    }

    #[test]
    fn nothing_to_be_used_is_a_reason() {
        let (site, ask) = (site(), ask());
        let slot = |hours: i64| {
            let start = Nanos::from_seconds(NOON.saturating_add_signed(hours * 3_600));
            Slot { start, end: start + minutes(60), quality: Quality::Measured }
        };
        let one = Ok(Intensity::from_milligrams(1).expect("plausible"));
        for (slot, figure, fault, part) in [
            (slot(0), Err(Odd::Negative), Fault::OutOfRange, "is negative"),
            (slot(0), Err(Odd::TooLarge), Fault::OutOfRange, "another unit?"),
            (slot(2), one, Fault::Stale, "hours ahead"),
            (slot(-100), one, Fault::Stale, "older than 3 days"),
        ] {
            let mut heard = Gathering::new(&site, ask);
            heard.add(ABOUT, slot, figure);
            let refusal = heard.finish().expect_err("nothing");
            assert!(refusal.fault == fault && refusal.message.contains(part), "{refusal:?}");
        }
        assert_eq!(Gathering::new(&site, ask).finish().expect_err("nothing").fault, Fault::Missing);
    }

    proptest! {
        #[test]
        fn any_slots_come_out_in_order_on_the_grain_and_apart(
            slots in prop::collection::vec((0_u64..200_000, 0_u64..20_000, 0_u32..10, 0..3), 1..60),
        ) {
            let (site, ask) = (site(), ask());
            let mut heard = Gathering::new(&site, ask);
            for (start, length, grams, quality) in slots {
                let start = Nanos::from_seconds(NOON - 100_000 + start);
                let quality = [Quality::Measured, Quality::Estimated, Quality::Forecast][usize::try_from(quality).expect("small")];
                let slot = Slot { start, end: start + Nanos::from_seconds(length), quality };
                heard.add(ABOUT, slot, Ok(Intensity::from_milligrams(grams).expect("plausible")));
            }
            let Ok(series) = heard.finish() else { return Ok(()) };
            for pair in series[0].samples.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
            for slot in &series[0].samples {
                prop_assert!(slot.start < slot.end && slot.start == floor(slot.start) && slot.end == floor(slot.end));
                prop_assert!(slot.start <= ask.now || slot.quality == Quality::Forecast);
            }
        }
    }
}
