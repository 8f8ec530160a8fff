//! One provider of one place: when it is asked next, how it fared, what is logged about it.

use crate::carbon::chain::hours;
use crate::carbon::provider::{Ask, IntensityProvider, Offer, Refusal};
use crate::clock::Jitter;
use crate::model::grid::Series;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use crate::model::snapshot::SourceState;
use std::collections::BTreeMap;
use std::time::Duration;

/// After the start of a slot a provider needs some time to have something to say about it.
const LAG: Duration = Duration::from_secs(20);

/// And the machines that ask it do so over this time, or a tenth of the pause between two questions.
const SPREAD: Duration = Duration::from_secs(120);

/// A question may come later than it is due by this part of the pause, and the next one is still in time.
const SLACK: u64 = 10;

/// Who may not ask is not asked for this long: the key will not have become right in the meantime.
const PARKED: Duration = Duration::from_secs(3_600);

/// Without a connection there is nothing that a provider would have to bear: at boot the network is late.
const NO_CONNECTION: Duration = Duration::from_secs(60);

/// However often it failed, a provider is asked again after four times the pause, or this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3_600);

/// Who says that it has nothing yet and when it will have may be asked then: a relay that was just started.
const SOONEST_AGAIN: Duration = Duration::from_secs(60);

/// No provider means more than a day by `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// How far back every answer is asked for: most revisions come within some hours.
const REVISED: Nanos = hours(6);

/// Late ones are seen by asking for all that can be restated, this often.
const ASK_ALL_EVERY: Nanos = hours(12);

/// A part of it may have been refused; then all is asked for again after this.
const ASK_ALL_AGAIN: Nanos = hours(1);

/// How far back that is; a provider is never asked for more.
const ALL: Nanos = hours(72);

/// Forecasts are made anew a few times a day; each may be another request.
const FORECAST_EVERY: Nanos = hours(1);

/// How far ahead they are asked for.
const FORECAST_AHEAD: Nanos = hours(48);

/// How often a provider was asked, and how that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The provider.
    pub source: Name,
    /// What it calls the place, with a mark where the user describes what is asked, and a number where the same is
    /// asked twice.
    pub zone: Name,
    /// Answers that could be used.
    pub answered: u64,
    /// Failures by reason.
    pub failed: Vec<(Fault, u64)>,
}

pub(super) struct Line {
    pub(super) key: Name,
    provider: Box<dyn IntensityProvider>,
    /// When to ask next, in wall time.
    pub(super) due: Nanos,
    asked: Option<Nanos>,
    asked_all: Option<Nanos>,
    asked_forecast: Option<Nanos>,
    failures: u32,
    fault: Option<Fault>,
    errors: BTreeMap<Fault, u64>,
    answered: u64,
    last_success: Option<Nanos>,
    /// What of the last answers was refused was told at such a fault.
    told: Option<Fault>,
    offset: Duration,
    jitter: Jitter,
}

impl Line {
    pub(super) fn new(key: Name, provider: Box<dyn IntensityProvider>, now: Nanos) -> Line {
        let mut jitter = Jitter::new(&key);
        let offset = LAG + jitter.within(SPREAD.min(provider.cadence() / 10));
        Line {
            key,
            provider,
            due: now,
            asked: None,
            asked_all: None,
            asked_forecast: None,
            failures: 0,
            fault: None,
            errors: BTreeMap::new(),
            answered: 0,
            last_success: None,
            told: None,
            offset,
            jitter,
        }
    }

    /// Goes on from how the same provider fared before a change of the configuration. That is no reason to
    /// ask it oftener, unless it did not answer.
    pub(super) fn inherit(&mut self, before: &Line, now: Nanos) {
        self.asked = before.asked;
        self.asked_all = before.asked_all;
        self.asked_forecast = before.asked_forecast;
        self.answered = before.answered;
        self.errors = before.errors.clone();
        self.last_success = before.last_success;
        self.fault = before.fault;
        self.failures = before.failures;
        self.told = before.told;
        if self.provider.cadence() == before.provider.cadence() {
            self.offset = before.offset;
        }
        self.due = match before.fault {
            // Its `Retry-After` is not shortened by a change of ours.
            None | Some(Fault::Limit) => before.due,
            Some(_) => now,
        };
    }

    /// Goes on after a restart from what was heard last, at `heard`.
    pub(super) fn resume(&mut self, heard: Nanos, now: Nanos) {
        self.due = (heard + nanos(self.provider.cadence())).max(now);
    }

    /// Whoever would be asked at once is asked after `late`.
    pub(super) fn wait(&mut self, late: Duration, now: Nanos) {
        if self.due <= now {
            self.due = now + nanos(late);
        }
    }

    pub(super) fn is_due(&self, now: Nanos) -> bool {
        // A clock that was set back must not keep us waiting until it is there again.
        self.due <= now || self.asked.is_some_and(|asked| asked > now)
    }

    pub(super) fn provider(&mut self) -> &mut dyn IntensityProvider {
        &mut *self.provider
    }

    /// Goes on with another one that asks the same.
    pub(super) fn replace(&mut self, provider: Box<dyn IntensityProvider>) {
        self.provider = provider;
    }

    /// What to ask for, if figures are known until `known`.
    pub(super) fn ask(&mut self, now: Nanos, known: Option<Nanos>, wants_forecast: bool) -> Ask {
        let is_old =
            |at: Option<Nanos>, every: Nanos| at.is_none_or(|at| now.saturating_sub(at) >= every || at > now);
        let oldest = now.saturating_sub(ALL);
        let from = match known {
            Some(known) if !is_old(self.asked_all, ASK_ALL_EVERY) => {
                known.min(now.saturating_sub(REVISED)).max(oldest)
            }
            Some(_) | None => oldest,
        };
        let is_ahead = wants_forecast && is_old(self.asked_forecast, FORECAST_EVERY);
        self.asked = Some(now);
        Ask { now, from, until: if is_ahead { now + FORECAST_AHEAD } else { now } }
    }

    /// An answer came, and takes the place of what was wrong before.
    pub(super) fn succeed(&mut self, ask: &Ask, now: Nanos) {
        self.answered += 1;
        self.failures = 0;
        self.last_success = Some(now);
        let missed = self.provider.missed().cloned();
        // Who says when to come again is asked for the same then.
        if !missed.as_ref().is_some_and(Refusal::wants_a_pause) {
            if ask.from <= now.saturating_sub(ALL) {
                // What a key does not open is not there for us.
                let is_whole = missed.as_ref().is_none_or(|missed| missed.fault == Fault::PermissionDenied);
                let early = if is_whole { Nanos::ZERO } else { ASK_ALL_EVERY.saturating_sub(ASK_ALL_AGAIN) };
                self.asked_all = Some(now.saturating_sub(early));
            }
            if ask.until > ask.now {
                self.asked_forecast = Some(now);
            }
        }
        if self.fault.take().is_some() {
            tracing::info!(
                source = self.provider.source(),
                zone = self.provider.zone(),
                "the provider answers again"
            );
        }
        self.due = match self.provider.comes_again() {
            Some(pause) => now + nanos(pause.max(self.provider.cadence())),
            None => self.next_slot(now),
        };
        match missed {
            Some(refusal) => self.miss(&refusal, now),
            // A part that a key does not open is asked for once a day, and told once.
            None => self.told = self.told.filter(|fault| *fault == Fault::PermissionDenied),
        }
    }

    /// Whether nobody of this name has answered before since the program started.
    pub(super) fn is_first_answer(&self) -> bool {
        self.answered == 1
    }

    /// A part was refused, and the rest was heard. That is no fault of the whole, but it is counted, and a wait
    /// that it asks for holds for all.
    fn miss(&mut self, refusal: &Refusal, now: Nanos) {
        *self.errors.entry(refusal.fault).or_default() += 1;
        if self.told.replace(refusal.fault) != Some(refusal.fault) {
            tracing::info!(
                source = self.provider.source(),
                zone = self.provider.zone(),
                "{refusal}; the rest of what it says is used"
            );
        }
        if let Some(wait) = refusal.retry_after {
            let wait = wait.min(LONGEST_WAIT);
            self.due = self.due.max(now + nanos(wait + self.jitter.within(wait / 10)));
        }
    }

    /// None came. It is said once, when it begins.
    pub(super) fn fail(&mut self, refusal: &Refusal, now: Nanos) {
        self.failures = self.failures.saturating_add(1);
        *self.errors.entry(refusal.fault).or_default() += 1;
        if self.fault.replace(refusal.fault).is_none() {
            tracing::warn!(
                source = self.provider.source(),
                zone = self.provider.zone(),
                "{refusal}; emissions go on with what is known"
            );
        } else {
            tracing::debug!(source = self.provider.source(), zone = self.provider.zone(), "{refusal}");
        }
        let pause = match (refusal.retry_after, refusal.fault) {
            (Some(pause), fault) => pause.min(LONGEST_WAIT).max(self.least_pause(fault)),
            (None, Fault::PermissionDenied) => PARKED.max(self.provider.cadence()),
            (None, fault) => {
                let longest = (self.provider.cadence() * 4).min(LONGEST_BACKOFF).max(self.provider.cadence());
                let doublings = (self.failures - 1).min(16);
                self.first_pause(fault).saturating_mul(1 << doublings).min(longest)
            }
        };
        self.due = now + nanos(pause + self.jitter.within(pause / 10));
    }

    fn first_pause(&self, fault: Fault) -> Duration {
        match fault {
            Fault::Unreachable => NO_CONNECTION.min(self.provider.cadence()),
            _ => self.provider.cadence(),
        }
    }

    /// However soon a provider wants to be asked again.
    fn least_pause(&self, fault: Fault) -> Duration {
        match fault {
            Fault::Inactive => SOONEST_AGAIN.min(self.provider.cadence()),
            Fault::PermissionDenied => PARKED.max(self.provider.cadence()),
            fault => self.first_pause(fault),
        }
    }

    /// A little after the start of a slot, and never sooner than the provider has something new. It counts from
    /// when the question was due: it is always asked somewhat later, and would else miss every other slot.
    fn next_slot(&self, now: Nanos) -> Nanos {
        let cadence = nanos(self.provider.cadence()).get().max(1);
        let offset = nanos(self.offset).get();
        // One that was kept waiting for longer is not asked twice in short order.
        let met = self.due.min(now).max(now.saturating_sub(Nanos::new(cadence / SLACK)));
        let earliest = met.get().saturating_add(cadence);
        let slots = earliest.saturating_sub(offset).div_ceil(cadence);
        Nanos::new(slots.saturating_mul(cadence).saturating_add(offset))
    }

    /// For the page. It has the same name whatever else is asked, so that its counters stay its own.
    pub(super) fn state(&self, mismatch: Option<&str>) -> SourceState {
        let zone = self.provider.zone();
        let every = self.provider.cadence().as_secs();
        let detail = match mismatch {
            Some(basis) => format!(
                "{zone}: its figures are {basis}, which are not the wanted ones (intensity_basis, grid.chain.other_basis)"
            ),
            None => format!("{zone}, asked every {every} s"),
        };
        SourceState {
            source: self.provider.source().into(),
            hw_id: self.key.clone(),
            fault: self.fault.or(mismatch.map(|_| Fault::Mismatch)),
            last_success: self.last_success,
            errors: self.errors.iter().map(|(fault, count)| (*fault, *count)).collect(),
            detail: detail.into(),
        }
    }

    pub(super) fn count(&self) -> Count {
        Count {
            source: self.provider.source().into(),
            zone: self.key.strip_prefix(self.source()).map_or("", |zone| zone.trim_start_matches('/')).into(),
            answered: self.answered,
            failed: self.errors.iter().map(|(fault, count)| (*fault, *count)).collect(),
        }
    }

    pub(super) fn offer(&self) -> Offer {
        self.provider.offer()
    }

    pub(super) fn source(&self) -> &'static str {
        self.provider.source()
    }
}

/// What is heard of one line, with the line, which was away while it was asked.
pub(super) struct Returned {
    pub(super) line: Line,
    pub(super) ask: Ask,
    pub(super) heard: Result<Vec<Series>, Refusal>,
    /// Whether the provider must be opened anew.
    pub(super) is_broken: bool,
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::new(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4))
}
