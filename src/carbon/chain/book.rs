//! What providers have said of one place, each time's last word; bounded in time and number.

use super::{PLANNED_AHEAD, PLANNED_BACK, PROFILE_DAYS, hours};
use crate::carbon::provider::Offer;
use crate::model::grid::{Basis, Boundary, GRAIN, Quality, Sample, Series, Signal};
use crate::model::identity::{Name, bounded_name};
use crate::model::quantity::{Intensity, Nanos};
use std::collections::BTreeSet;

const DAY: Nanos = hours(24);

/// What lies further back than the first hour of the plan can look is forgotten.
const KEPT_BACK: Nanos = Nanos::new(PLANNED_BACK.get() + PROFILE_DAYS * DAY.get());

/// A clock of ours that is behind makes a slot that has begun look like one to come. What begins later than
/// this is a forecast, whatever it says.
const MAX_AHEAD_OF_US: Nanos = hours(1);

/// Figures of one kind by one provider: ten days of 5 minutes each.
const MAX_SAMPLES: usize = 10 * 288;

/// Kinds of figures: some providers, each with average, marginal and another basis.
const MAX_PAGES: usize = 32;

/// What one sample is for at the most: figures are heard anew long before that has passed, and one that ends in
/// years would be charged after everybody has fallen silent.
const LONGEST: Nanos = DAY;

/// Figures of one kind by one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Who of the user's list gave them.
    pub provider: Name,
    /// Where it stands among what that provider passes on, the first at 0: a relay has a list of its own.
    pub position: u32,
    /// What was said of times that had begun.
    pub said: Series,
    /// What was said before.
    pub forecast: Vec<Sample>,
}

/// Everything that was said of one place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Book {
    order: Vec<Name>,
    offers: Vec<(Name, Offer)>,
    pages: Vec<Page>,
}

impl Book {
    /// A book as it was kept, with the basis that relays have told; what cannot be is left out.
    #[must_use]
    pub fn of(order: Vec<Name>, told: Vec<(Name, Basis)>, pages: Vec<Page>, now: Nanos) -> Book {
        let relay = |basis| Offer::AsHeard { basis: Some(basis), ranks: Vec::new() };
        let offers = told.into_iter().filter(|(provider, _)| order.contains(provider));
        let offers = offers.map(|(provider, basis)| (provider, relay(basis))).collect();
        let mut book = Book { order, offers, ..Book::default() };
        for page in pages {
            let head = page.said.clone_head();
            for samples in [page.said.samples, page.forecast] {
                let series = Series { samples, ..head.clone() };
                book.write(&page.provider, page.position, series, now);
            }
        }
        book
    }

    /// The providers, the user's first one first.
    #[must_use]
    pub fn order(&self) -> &[Name] {
        &self.order
    }

    /// The basis that relays have told, to be kept.
    #[must_use]
    pub fn told(&self) -> Vec<(Name, Basis)> {
        let told = self.offers.iter().filter_map(|(provider, offer)| match offer {
            Offer::AsHeard { basis, .. } => Some((provider.clone(), (*basis)?)),
            Offer::Own { .. } => None,
        });
        told.collect()
    }

    /// The pages, in the order of the chain where all figures include the same.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// These are the providers from now on; what others have said is forgotten.
    pub fn arrange(&mut self, order: Vec<Name>) {
        self.order = order;
        let order = &self.order;
        self.pages.retain(|page| order.contains(&page.provider));
        self.offers.retain(|(provider, _)| order.contains(provider));
        self.sort();
    }

    /// What one provider has said is another's, who is the same under a longer name.
    pub fn rename(&mut self, known: &str, name: &Name) {
        if !self.pages.iter().any(|page| page.provider == *name) {
            let its = self.pages.iter_mut().filter(|page| *page.provider == *known);
            its.for_each(|page| page.provider = name.clone());
        }
    }

    /// This is what the provider has to say; what it said when it was asked for something else is forgotten.
    pub fn offer(&mut self, provider: &Name, offer: Offer) {
        let known = self.offers.iter().position(|(known, _)| known == provider);
        match (known, offer) {
            (None, offer) if offer == Offer::UNTOLD => {}
            // What a relay has told holds until it tells otherwise.
            (Some(index), offer) if offer == Offer::UNTOLD => match &mut self.offers[index].1 {
                Offer::Own { .. } => drop(self.offers.swap_remove(index)),
                Offer::AsHeard { ranks, .. } => ranks.clear(),
            },
            (Some(index), offer) => self.offers[index].1 = offer,
            (None, offer) => self.offers.push((provider.clone(), offer)),
        }
        let Offer::Own { average, marginal } = *self.offer_of(provider) else { return };
        self.pages.retain(|page| {
            let is_offered = match page.said.signal {
                Signal::Average => average == Some(page.said.basis),
                Signal::Marginal => marginal,
            };
            page.provider != *provider || is_offered
        });
    }

    /// What the provider has to say.
    pub(super) fn offer_of(&self, provider: &Name) -> &Offer {
        static UNTOLD: Offer = Offer::UNTOLD;
        let found = self.offers.iter().find(|(known, _)| known == provider);
        found.map_or(&UNTOLD, |(_, offer)| offer)
    }

    /// Takes down an answer. A later word on the same time replaces an earlier one, whichever came first.
    pub fn hear(&mut self, provider: &Name, answer: Vec<Series>, now: Nanos) {
        let ranks = match self.offer_of(provider) {
            Offer::AsHeard { ranks, .. } if ranks.len() == answer.len() => ranks.clone(),
            // Who does not tell says first what comes first.
            Offer::AsHeard { .. } | Offer::Own { .. } => by_source(&answer),
        };
        for (series, rank) in answer.into_iter().zip(ranks) {
            self.write(provider, rank, series, now);
        }
        self.forget(now);
    }

    /// Whether all that stands in it stood in the other one already, whenever it was heard.
    #[must_use]
    pub fn says_no_more_than(&self, before: &Book) -> bool {
        let stood = |page: &Page| {
            before.pages.iter().any(|old| {
                (&old.provider, old.position) == (&page.provider, page.position)
                    && page.said.says_no_more_than(&old.said)
                    && Sample::say_no_more_than(&page.forecast, &old.forecast)
            })
        };
        self.told() == before.told() && self.pages.iter().all(stood)
    }

    /// Up to when the provider has said how much was emitted on average; `None` if it has not.
    #[must_use]
    pub fn known_until(&self, provider: &Name) -> Option<Nanos> {
        let own = self.pages.iter().filter(|page| page.provider == *provider);
        let average = own.filter(|page| page.said.signal == Signal::Average);
        average.filter_map(|page| page.said.samples.last()).map(|sample| sample.end).max()
    }

    /// All that was said, as series without overlaps: forecasts only for times of which nothing else is known.
    /// Each with its rank for those who have this book for their provider: 0 is what is asked for first.
    #[must_use]
    pub fn series(&self, from: Nanos) -> Vec<(u32, Series)> {
        let pages = self.pages.iter().map(|page| {
            let mut samples: Vec<Sample> = page.said.samples.clone();
            for forecast in &page.forecast {
                fill(&mut samples, *forecast);
            }
            samples.retain(|sample| sample.end > from);
            (self.rank(page), Series { samples, ..page.said.clone_head() })
        });
        pages.filter(|(_, series)| !series.samples.is_empty()).collect()
    }

    /// How many come before it. The first place is the first provider's, whether or not it was heard.
    fn rank(&self, page: &Page) -> u32 {
        let alike = self.pages.iter().filter(|other| other.said.signal == page.said.signal);
        let places = alike.map(|other| self.place(other)).chain([(0, 0)]);
        let before: BTreeSet<(usize, u32)> = places.filter(|place| *place < self.place(page)).collect();
        u32::try_from(before.len()).unwrap_or(u32::MAX)
    }

    /// Of average figures a provider that has none is no first one.
    fn place(&self, page: &Page) -> (usize, u32) {
        let is_average = page.said.signal == Signal::Average;
        let counted =
            self.order.iter().filter(|provider| !is_average || self.offer_of(provider).has_average());
        (counted.take_while(|provider| **provider != page.provider).count(), page.position)
    }

    fn write(&mut self, provider: &Name, position: u32, series: Series, now: Nanos) {
        let Some(index) = self.page(provider, &series) else { return };
        self.pages[index].position = position;
        let page = &mut self.pages[index];
        for layer in [&mut page.said.samples, &mut page.forecast] {
            // Written down by a clock that was ahead, they would never be replaced.
            for sample in layer.iter_mut().filter(|sample| sample.fetched > now) {
                sample.fetched = Nanos::ZERO;
            }
        }
        let oldest = now.saturating_sub(KEPT_BACK);
        let newest = now + PLANNED_AHEAD;
        for sample in series.samples {
            let Some(mut sample) = aligned(sample, now) else { continue };
            if sample.end <= oldest || sample.start >= newest {
                continue;
            }
            sample.fetched = sample.fetched.min(now);
            if sample.start > now + MAX_AHEAD_OF_US {
                sample.quality = Quality::Forecast;
            }
            let is_forecast = sample.quality == Quality::Forecast;
            paint(if is_forecast { &mut page.forecast } else { &mut page.said.samples }, sample);
        }
        for layer in [&mut page.said.samples, &mut page.forecast] {
            let beyond = layer.len().saturating_sub(MAX_SAMPLES);
            layer.drain(..beyond);
        }
        self.pages.retain(Page::is_written);
        self.sort();
    }

    /// The page for such figures, a new one if there is room.
    fn page(&mut self, provider: &Name, series: &Series) -> Option<usize> {
        let is_its = |page: &Page| page.provider == *provider && page.said.is_like(series);
        if let Some(index) = self.pages.iter().position(is_its) {
            return Some(index);
        }
        if self.pages.len() >= MAX_PAGES {
            return None;
        }
        let head = series.clone_head();
        let said = Series { source: bounded_name(&head.source), zone: bounded_name(&head.zone), ..head };
        self.pages.push(Page { provider: provider.clone(), position: 0, said, forecast: Vec::new() });
        Some(self.pages.len() - 1)
    }

    fn forget(&mut self, now: Nanos) {
        let oldest = now.saturating_sub(KEPT_BACK);
        for page in &mut self.pages {
            page.said.samples.retain(|sample| sample.end > oldest);
            page.forecast.retain(|sample| sample.end > oldest);
        }
        self.pages.retain(Page::is_written);
    }

    /// By provider as the user has them, then as the provider has them; consumption before production.
    fn sort(&mut self) {
        let order = &self.order;
        let rank = |page: &Page| {
            let place = order.iter().position(|provider| *provider == page.provider);
            let is_production = page.said.accounting == Boundary::Production;
            (place.unwrap_or(usize::MAX), page.position, is_production, page.said.basis, page.said.signal)
        };
        self.pages.sort_by(|one, other| {
            rank(one).cmp(&rank(other)).then_with(|| one.said.zone.cmp(&other.said.zone))
        });
    }
}

impl Page {
    fn is_written(&self) -> bool {
        !self.said.samples.is_empty() || !self.forecast.is_empty()
    }

    /// What was said of this time.
    pub(super) fn said_of(&self, time: Nanos) -> Option<&Sample> {
        around(&self.said.samples, time)
    }

    /// What was forecast for it.
    pub(super) fn forecast_of(&self, time: Nanos) -> Option<&Sample> {
        around(&self.forecast, time)
    }

    /// The last that was said of a time before.
    pub(super) fn last_before(&self, time: Nanos) -> Option<&Sample> {
        let next = self.said.samples.partition_point(|sample| sample.end <= time);
        self.said.samples[..next].last()
    }

    /// The mean of the same hour over those of the days before of which something is known, if these are
    /// enough. Only days before count, so that it stays the same when more becomes known later.
    pub(super) fn profile(&self, hour: Nanos, least_days: u64) -> Option<Intensity> {
        let mut days = Vec::new();
        for day in 1..=PROFILE_DAYS {
            let Some(start) = hour.get().checked_sub(day * DAY.get()) else { break };
            let cells = (0..hours(1).get() / GRAIN.get()).map(|cell| Nanos::new(start + cell * GRAIN.get()));
            let known: Vec<u64> = cells
                .filter_map(|cell| self.said_of(cell))
                .map(|sample| u64::from(sample.intensity.as_milligrams()))
                .collect();
            days.extend(mean(&known));
        }
        let is_enough = u64::try_from(days.len()).is_ok_and(|count| count >= least_days.max(1));
        let mean = mean(&days).filter(|_| is_enough)?;
        u32::try_from(mean).ok().and_then(Intensity::from_milligrams)
    }
}

impl Series {
    fn clone_head(&self) -> Series {
        Series { source: self.source.clone(), zone: self.zone.clone(), samples: Vec::new(), ..*self }
    }

    fn is_like(&self, other: &Series) -> bool {
        let kind = |series: &Series| -> (Signal, Basis, Boundary) {
            (series.signal, series.basis, series.accounting)
        };
        kind(self) == kind(other)
            && self.source == bounded_name(&other.source)
            && self.zone == bounded_name(&other.zone)
    }
}

/// Rounded to the nearest.
fn mean(values: &[u64]) -> Option<u64> {
    let count = u64::try_from(values.len()).ok().filter(|count| *count > 0)?;
    Some((values.iter().sum::<u64>() + count / 2) / count)
}

/// The place of each series among the sources of an answer.
fn by_source(answer: &[Series]) -> Vec<u32> {
    let mut sources: Vec<&Name> = Vec::new();
    let mut places = Vec::new();
    for series in answer {
        let known = sources.iter().position(|source| **source == series.source);
        let place = known.unwrap_or(sources.len());
        if known.is_none() {
            sources.push(&series.source);
        }
        places.push(u32::try_from(place).unwrap_or(u32::MAX));
    }
    places
}

/// Of times that are no multiples of the grain only whole ones are taken, and none that lasts for long.
fn aligned(sample: Sample, now: Nanos) -> Option<Sample> {
    let floor = |time: Nanos| Nanos::new(time.get() - time.get() % GRAIN.get());
    let latest = Nanos::new(now.max(sample.start).get().saturating_add(LONGEST.get()));
    let sample = Sample { start: floor(sample.start), end: floor(sample.end.min(latest)), ..sample };
    (sample.start < sample.end).then_some(sample)
}

/// What is said of this time.
fn around(samples: &[Sample], time: Nanos) -> Option<&Sample> {
    let next = samples.partition_point(|sample| sample.start <= time);
    samples[..next].last().filter(|sample| time < sample.end)
}

/// Of two words on the same time the greater one holds: the later, of one answer the better.
fn weight(sample: &Sample) -> (Nanos, u8, Intensity) {
    let quality = match sample.quality {
        Quality::Measured => 2,
        Quality::Estimated => 1,
        Quality::Forecast | Quality::Static | Quality::Configured => 0,
    };
    (sample.fetched, quality, sample.intensity)
}

/// Puts a sample among the others; of each time that several are for the weightiest stays.
fn paint(samples: &mut Vec<Sample>, new: Sample) {
    lay(samples, new, |old| weight(old) > weight(&new));
}

/// Puts a sample where no other is.
fn fill(samples: &mut Vec<Sample>, new: Sample) {
    lay(samples, new, |_| true);
}

fn lay(samples: &mut Vec<Sample>, new: Sample, stays: impl Fn(&Sample) -> bool) {
    let first = samples.partition_point(|old| old.end <= new.start);
    let after = samples.partition_point(|old| old.start < new.end);
    let mut pieces = Vec::with_capacity(after.saturating_sub(first) + 2);
    let mut open = new.start;
    let mut tail = None;
    for old in &samples[first..after.max(first)] {
        if stays(old) {
            if open < old.start {
                pieces.push(Sample { start: open, end: old.start, ..new });
            }
            pieces.push(*old);
            open = open.max(old.end);
        } else {
            if old.start < new.start {
                pieces.push(Sample { end: new.start, ..*old });
            }
            if old.end > new.end {
                tail = Some(Sample { start: new.end, ..*old });
            }
        }
    }
    if open < new.end {
        pieces.push(Sample { start: open, ..new });
    }
    pieces.extend(tail);
    samples.splice(first..after.max(first), pieces);
}
