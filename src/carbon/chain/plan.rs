//! From a book to a plan: for each stretch of time the best figure by the order of the chain.

use super::book::{Book, Page};
use super::{Forecasts, Limits, MAX_AGE_FLOOR, OtherBasis, PLANNED_AHEAD, PLANNED_BACK, hours};
use crate::carbon::provider::Offer;
use crate::carbon::{Choice, resolve};
use crate::model::grid::{Basis, GRAIN, Plan, Quality, Sample, Signal, Step, Stretch};
use crate::model::identity::Name;
use crate::model::quantity::{Intensity, Nanos, Pue};
use crate::model::reading::Factor;
use std::sync::Arc;

const WORLD: &str = "WORLD";

/// What a plan rests on beside the book.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Where the machine stands: the `grid_zone` of every factor.
    pub zone: &'a Name,
    /// What the building adds.
    pub pue: Pue,
    /// The user's own figure, if there is one.
    pub choice: &'a Choice,
    /// What is taken when no provider has a figure.
    pub limits: &'a Limits,
}

/// A figure before it is written out; of equal ones one factor is made.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pick {
    page: usize,
    intensity: Intensity,
    quality: Quality,
    step: Step,
}

impl Book {
    /// What the figures are to include: as wished, else as those of the first provider do.
    #[must_use]
    pub fn basis(&self, limits: &Limits) -> Basis {
        let offered = || match self.offer_of(self.first()?) {
            Offer::Own { average, .. } => *average,
            Offer::AsHeard { basis: Some(basis), .. } => Some(*basis),
            Offer::AsHeard { basis: None, .. } => {
                let own = self.average().filter(|page| Some(&page.provider) == self.first());
                own.min_by_key(|page| page.position).map(|page| page.said.basis)
            }
        };
        limits.basis.or_else(offered).unwrap_or_default()
    }

    /// The first of the user's providers that can say how much is emitted on average.
    fn first(&self) -> Option<&Name> {
        self.order().iter().find(|provider| self.offer_of(provider).has_average())
    }

    /// What this provider's figures include, if all of them are passed over for it.
    #[must_use]
    pub fn refused(&self, provider: &Name, limits: &Limits) -> Option<Basis> {
        let wanted = self.basis(limits);
        let is_strict = limits.other_basis == OtherBasis::Refused;
        if let Offer::Own { average, .. } = self.offer_of(provider) {
            return average.filter(|basis| is_strict && *basis != wanted);
        }
        let mut own = self.average().filter(|page| page.provider == *provider);
        let first = own.next()?.said.basis;
        let is_refused = is_strict && first != wanted && own.all(|page| page.said.basis != wanted);
        is_refused.then_some(first)
    }

    /// What is charged when. It is the same for the same book within an hour.
    #[must_use]
    pub fn plan(&self, now: Nanos, terms: &Terms) -> Plan {
        if self.first().is_none() {
            return Plan::of(yearly(terms, terms.limits.basis, Step::Wanted));
        }
        let basis = self.basis(terms.limits);
        let otherwise = Arc::new(yearly(terms, Some(basis), Step::Table));
        let pages = self.eligible(basis, terms.limits);
        let hour = Nanos::new(now.get() - now.get() % hours(1).get());
        let (start, end) = (hour.saturating_sub(PLANNED_BACK), hour + PLANNED_AHEAD);
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut latest: Option<Pick> = None;
        let mut time = start;
        while time < end {
            let cell = Stretch { start: time, end: time + GRAIN, factor: Arc::clone(&otherwise) };
            let pick = self.pick(&pages, time, terms.limits, MAX_AGE_FLOOR);
            match (pick, stretches.last_mut()) {
                (Some(_), Some(last)) if pick == latest => last.end = cell.end,
                (Some(pick), _) => {
                    let factor = Arc::new(self.factor(pick, terms));
                    match stretches.last_mut() {
                        // Two pages may say the same.
                        Some(last) if last.end == cell.start && last.factor == factor => last.end = cell.end,
                        Some(_) | None => stretches.push(Stretch { factor, ..cell }),
                    }
                }
                (None, _) => {}
            }
            latest = pick;
            time = cell.end;
        }
        Plan { stretches, otherwise }
    }

    /// What one kWh more would emit now, where somebody says.
    #[must_use]
    pub fn marginal(&self, now: Nanos, terms: &Terms) -> Option<Stretch> {
        let all = self.pages().iter().enumerate();
        let pages: Vec<usize> =
            all.filter(|(_, page)| page.said.signal == Signal::Marginal).map(|(index, _)| index).collect();
        let time = Nanos::new(now.get() - now.get() % GRAIN.get());
        let limits = Limits { profile_days: None, ..terms.limits.clone() };
        // The next kWh's figure is another one every few minutes.
        let pick = self.pick(&pages, time, &limits, Nanos::ZERO)?;
        let page = &self.pages()[pick.page];
        let of_its_time = page.said_of(time).or_else(|| page.forecast_of(time));
        let (start, end) = of_its_time.map_or((time, time + GRAIN), |sample| (sample.start, sample.end));
        Some(Stretch { start, end, factor: Arc::new(self.factor(pick, terms)) })
    }

    fn average(&self) -> impl Iterator<Item = &Page> {
        self.pages().iter().filter(|page| page.said.signal == Signal::Average)
    }

    /// The pages that may be charged by, in the order of the chain.
    fn eligible(&self, wanted: Basis, limits: &Limits) -> Vec<usize> {
        let all = self.pages().iter().enumerate();
        let is_average = |(_, page): &(usize, &Page)| page.said.signal == Signal::Average;
        let (mut fitting, others): (Vec<_>, Vec<_>) =
            all.filter(is_average).partition(|(_, page)| page.said.basis == wanted);
        if limits.other_basis == OtherBasis::Allowed {
            fitting.extend(others);
        }
        fitting.into_iter().map(|(index, _)| index).collect()
    }

    /// The best figure for the cell that begins at `time`.
    fn pick(&self, pages: &[usize], time: Nanos, limits: &Limits, floor: Nanos) -> Option<Pick> {
        let all = || pages.iter().map(|&index| (index, &self.pages()[index]));
        let of = |page: usize, sample: &Sample, step: Step| Pick {
            page,
            intensity: sample.intensity,
            quality: sample.quality,
            step,
        };
        let said = all().find_map(|(index, page)| Some(of(index, page.said_of(time)?, self.step(page))));
        let last = || {
            all().find_map(|(index, page)| {
                let sample = page.last_before(time)?;
                let age = time.saturating_sub(sample.end);
                let is_young = age < limits.max_age(sample.end.saturating_sub(sample.start), floor);
                is_young.then(|| of(index, sample, Step::Last))
            })
        };
        let forecast = || {
            let is_used = limits.forecast == Forecasts::Used;
            let mut found =
                all().filter_map(|(index, page)| Some(of(index, page.forecast_of(time)?, Step::Forecast)));
            found.next().filter(|_| is_used)
        };
        let profile = || {
            let least = limits.profile_days?;
            let hour = Nanos::new(time.get() - time.get() % hours(1).get());
            all().find_map(|(index, page)| {
                let intensity = page.profile(hour, least)?;
                Some(Pick { page: index, intensity, quality: Quality::Estimated, step: Step::Profile })
            })
        };
        said.or_else(last).or_else(forecast).or_else(profile)
    }

    /// Whether a page is that of the first source of the first provider that has such figures.
    fn step(&self, page: &Page) -> Step {
        let is_first = self.first() == Some(&page.provider) && page.position == 0;
        if is_first { Step::Wanted } else { Step::Substitute }
    }

    fn factor(&self, pick: Pick, terms: &Terms) -> Factor {
        let series = &self.pages()[pick.page].said;
        Factor {
            zone: terms.zone.clone(),
            intensity: pick.intensity,
            pue: terms.pue,
            basis: series.basis.as_str().into(),
            accounting: series.accounting.as_str().into(),
            quality: pick.quality.as_str().into(),
            source: series.source.clone(),
            year: "".into(),
            fallback: pick.step,
        }
    }
}

/// The figure of a year: the user's own, else that of the zone, of what is around it, of the world. One that
/// includes something else than is wanted is passed over for the next, unless that is allowed, or there is none
/// that does: then the nearest is charged, and its basis is on the page.
#[must_use]
pub fn yearly(terms: &Terms, wanted: Option<Basis>, step: Step) -> Factor {
    let of = |factor: Factor, step: Step| Factor { zone: terms.zone.clone(), fallback: step, ..factor };
    let is_lax = terms.limits.other_basis == OtherBasis::Allowed;
    if let Choice::Own { basis, .. } = terms.choice
        && (is_lax || basis.is_none() || wanted.is_none() || *basis == wanted)
        && let Ok(own) = resolve(terms.choice, terms.pue)
    {
        return of(own, step);
    }
    let find = |zone: &str, basis: Option<Basis>| {
        let factor = resolve(&Choice::Zone { zone: zone.to_owned(), basis }, terms.pue).ok()?;
        // A name of the user's own, such as `my-site`, does not stand in Malaysia.
        let factor = (*factor.zone == *zone).then_some(factor)?;
        let step = match zone {
            WORLD if **terms.zone != *WORLD || matches!(terms.choice, Choice::Unknown) => Step::World,
            _ if zone != &**terms.zone => Step::Table,
            _ => step,
        };
        Some(of(factor, step))
    };
    let zones = || around(terms.zone).chain([WORLD]);
    let nearest = |zone: &str| find(zone, wanted).or_else(|| find(zone, None).filter(|_| is_lax));
    let found = zones().find_map(nearest).or_else(|| zones().find_map(|zone| find(zone, None)));
    found.expect("the table has a figure for the world; a test reads it")
}

/// A zone and what is around it by its name: `US-CAMX`, `US`.
fn around(zone: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(zone), |zone| zone.rsplit_once('-').map(|(outer, _)| outer))
}
