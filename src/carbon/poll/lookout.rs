//! One place and everything that is known of its electricity: a step of time is a method with the time in it,
//! so that days can be gone through in a test.

use super::line::{Count, Line, Returned};
use super::{CONFIGURED, Setting};
use crate::carbon::chain::{Book, Forecasts, PLANNED_BACK, Terms};
use crate::carbon::kept::Kept;
use crate::carbon::location::{Found, NOWHERE};
use crate::carbon::provider::{BOUNDS, IntensityProvider, Refusal, Wish};
use crate::http_client::{Client, ClientError, Protocol, TlsFiles};
use crate::model::grid::{Basis, Grid, Place, Series};
use crate::model::identity::Name;
use crate::model::quantity::{Nanos, Pue};
use crate::model::reading::Fault;
use crate::model::snapshot::SourceState;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A provider may need several requests for one answer: to log in, for the past, for a forecast.
const LONGEST_ANSWER: Duration = Duration::from_secs(40);

/// Providers of one place; each is asked by itself.
const MAX_LINES: usize = 16;

/// Makes providers of wishes, for a place.
pub type Open =
    Arc<dyn Fn(&[Wish], &Place) -> Vec<Result<Box<dyn IntensityProvider>, Refusal>> + Send + Sync>;

/// A provider and what it is called here.
type Named = (Name, Box<dyn IntensityProvider>);

/// A place under observation.
pub struct Lookout {
    setting: Setting,
    open: Open,
    place: Place,
    found_pue: Option<Pue>,
    found_by: Vec<SourceState>,
    is_unsure: bool,
    book: Book,
    lines: Vec<Line>,
    closed: Vec<SourceState>,
    /// Why those are closed, until it has been said: what is known at the start is asked for before.
    untold: Vec<Refusal>,
    client: Option<Client>,
}

impl Lookout {
    /// A place that is configured, or else kept; `None` if it is neither.
    #[must_use]
    pub fn restored(setting: Setting, open: Open, kept: Option<Kept>, now: Nanos) -> Option<Lookout> {
        let kept_place = kept.as_ref().map(|kept| (kept.place.clone(), kept.pue));
        let configured = setting.place().map(|place| (place, None));
        let (place, pue) = configured.or(kept_place)?;
        let book = kept.map(|kept| kept.book).unwrap_or_default();
        let mut lookout = Lookout::bare(setting, open, place, book);
        lookout.found_pue = pue;
        lookout.open_lines(now);
        Some(lookout)
    }

    /// A place that was just found.
    #[must_use]
    pub fn found(setting: Setting, open: Open, found: Found, now: Nanos) -> Lookout {
        let mut lookout = Lookout::bare(setting, open, found.place.clone(), Book::default());
        lookout.move_to(found, now);
        lookout
    }

    fn bare(setting: Setting, open: Open, place: Place, book: Book) -> Lookout {
        Lookout {
            setting,
            open,
            place,
            found_pue: None,
            found_by: Vec::new(),
            is_unsure: false,
            book,
            lines: Vec::new(),
            closed: Vec::new(),
            untold: Vec::new(),
            client: None,
        }
    }

    /// What it is to do.
    #[must_use]
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Takes up another setting, and a place if it was looked for again.
    pub fn take_up(&mut self, setting: Setting, found: Option<Found>, now: Nanos) {
        self.setting = setting;
        match (self.setting.place(), found) {
            (Some(place), _) => {
                self.place = place;
                self.found_pue = None;
                self.found_by = Vec::new();
                self.is_unsure = false;
                self.open_lines(now);
            }
            (None, Some(found)) => self.move_to(found, now),
            (None, None) => self.open_lines(now),
        }
    }

    /// The place is another one, or is confirmed. Who was not found stays where he was found before: not to
    /// be told the place is no sign of having left it.
    pub fn move_to(&mut self, found: Found, now: Nanos) {
        self.is_unsure = found.may_change();
        let before = std::mem::take(&mut self.found_by);
        let is_kept = found.is_nowhere() && self.is_found();
        if !is_kept {
            self.place = found.place;
            self.found_pue = found.pue;
        }
        self.found_by = counted_on(&before, found.sources);
        self.open_lines(now);
    }

    /// Whether the place was looked for, and found in a grid that we know.
    #[must_use]
    pub fn is_found(&self) -> bool {
        &*self.place.zone != NOWHERE && &*self.place.source != CONFIGURED
    }

    /// Whether looking for the place again may come to something else.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Opens the providers for the place, and forgets what others have said. Those that were there before
    /// go on as they were.
    fn open_lines(&mut self, now: Nanos) {
        let before = std::mem::take(&mut self.lines);
        self.closed.clear();
        self.untold.clear();
        let opened = self.opened();
        let described: Vec<String> = opened
            .iter()
            .flatten()
            .filter(|(_, one)| one.mark().is_some())
            .map(|(_, one)| plain(&**one))
            .collect();
        for provider in opened {
            match provider {
                Ok((key, provider)) => {
                    // Earlier versions kept what it said under its plain name, and where there were several of
                    // that name none can be told from the others.
                    let known = plain(&*provider);
                    if described.iter().filter(|other| **other == known).count() == 1 {
                        self.book.rename(&known, &key);
                    }
                    let mut line = Line::new(key, provider, now);
                    if let Some(before) = before.iter().find(|before| before.key == line.key) {
                        line.inherit(before, now);
                    } else if let Some(heard) = self.heard(&line.key) {
                        line.resume(heard, now);
                    }
                    self.lines.push(line);
                }
                Err(refusal) => {
                    self.closed.push(closed(self.closed.len(), &refusal));
                    self.untold.push(refusal);
                }
            }
        }
        let order: Vec<Name> = self.lines.iter().map(|line| line.key.clone()).collect();
        self.book.arrange(order);
        for line in &self.lines {
            self.book.offer(&line.key, line.offer());
        }
    }

    /// When the provider was heard last, as far as the book knows.
    fn heard(&self, provider: &Name) -> Option<Nanos> {
        let its = self.book.pages().iter().filter(|page| page.provider == *provider);
        its.flat_map(|page| page.said.samples.iter().chain(&page.forecast)).map(|sample| sample.fetched).max()
    }

    /// Those who would be asked at once are asked after `late`: a fleet starts at one moment, and a relay has
    /// many zones.
    pub fn wait(&mut self, late: Duration, now: Nanos) {
        for line in &mut self.lines {
            line.wait(late, now);
        }
    }

    /// The providers for the place, each with a name that is the same after a restart.
    fn opened(&self) -> Vec<Result<Named, Refusal>> {
        let mut names: Vec<Name> = Vec::new();
        let opened = (self.open)(&self.setting.wishes.providers, &self.place).into_iter().take(MAX_LINES);
        let named = opened.map(|provider| {
            let provider = provider?;
            let name = name(&*provider, &names);
            names.push(name.clone());
            Ok((name, provider))
        });
        named.collect()
    }

    /// When somebody is to be asked next.
    #[must_use]
    pub fn next(&self) -> Option<Nanos> {
        self.lines.iter().map(|line| line.due).min()
    }

    /// Asks everybody whose time has come, all at once, each with one question. Whether anything is worth
    /// keeping that was not said before.
    pub async fn turn(&mut self, now: Nanos) -> bool {
        for refusal in self.untold.drain(..) {
            tracing::error!("{refusal}");
        }
        if self.lines.is_empty() {
            return false;
        }
        let client = match &self.client {
            Some(client) => client.clone(),
            None => match client() {
                Ok(client) => self.client.insert(client).clone(),
                Err(error) => {
                    for line in self.lines.iter_mut().filter(|line| line.is_due(now)) {
                        line.fail(&no_client(&error), now);
                    }
                    return false;
                }
            },
        };
        let wants_forecast = self.setting.wishes.chain.forecast == Forecasts::Used;
        let order: Vec<Name> = self.lines.iter().map(|line| line.key.clone()).collect();
        let all = std::mem::take(&mut self.lines);
        let (due, mut lines): (Vec<Line>, Vec<Line>) = all.into_iter().partition(|line| line.is_due(now));
        let mut asking = JoinSet::new();
        for mut line in due {
            let ask = line.ask(now, self.book.known_until(&line.key), wants_forecast);
            let client = client.clone();
            asking.spawn(async move {
                let asked = async { timeout(LONGEST_ANSWER, line.provider().fetch(&client, ask)).await };
                let (heard, is_broken) = match unbroken(asked).await {
                    Some(Ok(heard)) => (heard, false),
                    Some(Err(_)) => (Err(too_slow(&mut line)), false),
                    None => (Err(broken(&line)), true),
                };
                Returned { line, ask, heard, is_broken }
            });
        }
        let mut has_news = false;
        let before = if asking.is_empty() { Book::default() } else { self.book.clone() };
        while let Some(returned) = asking.join_next().await {
            let Ok(Returned { mut line, ask, heard, is_broken }) = returned else { continue };
            if is_broken {
                // It may have been left half changed. This comes as often as it is asked: after growing pauses.
                let again = self.opened().into_iter().flatten().find(|(key, _)| *key == line.key);
                if let Some((_, provider)) = again {
                    line.replace(provider);
                }
            }
            match heard {
                Ok(series) => {
                    line.succeed(&ask, now);
                    // The time of the first answer is worth keeping alone: who was just heard is not asked again
                    // after a restart.
                    has_news |= line.is_first_answer();
                    // A relay tells with its answer.
                    self.book.offer(&line.key, line.offer());
                    self.book.hear(&line.key, series, now);
                }
                Err(refusal) => line.fail(&refusal, now),
            }
            lines.push(line);
        }
        lines.sort_by_key(|line| order.iter().position(|key| *key == line.key));
        self.lines = lines;
        has_news || !self.book.says_no_more_than(&before)
    }

    /// Everything that is known.
    #[must_use]
    pub fn grid(&self, now: Nanos) -> Grid {
        let terms = self.terms();
        Grid {
            place: self.place.clone(),
            plan: Arc::new(self.book.plan(now, &terms)),
            marginal: self.book.marginal(now, &terms),
            sources: self.sources(),
        }
    }

    /// What was said of the last three days and of those to come, for others; each with its rank in the chain.
    #[must_use]
    pub fn series(&self, now: Nanos) -> Vec<(u32, Series)> {
        self.book.series(now.saturating_sub(PLANNED_BACK))
    }

    /// What the charged figures are to include.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.book.basis(&self.setting.wishes.chain)
    }

    /// How often each provider was asked.
    #[must_use]
    pub fn counts(&self) -> Vec<Count> {
        self.lines.iter().map(Line::count).collect()
    }

    /// What a restart goes on with; `None` before anything is worth it.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let is_settled = self.is_found() || &*self.place.source == CONFIGURED;
        is_settled.then(|| Kept { place: self.place.clone(), pue: self.found_pue, book: self.book.clone() })
    }

    fn terms(&self) -> Terms<'_> {
        // One that was kept may be from before it was turned off.
        let found_pue = self.found_pue.filter(|_| self.setting.wishes.location.pue);
        Terms {
            zone: &self.place.zone,
            pue: self.setting.pue.or(found_pue).unwrap_or(Pue::ONE),
            choice: &self.setting.choice,
            limits: &self.setting.wishes.chain,
        }
    }

    fn sources(&self) -> Vec<SourceState> {
        let lines = self.lines.iter().map(|line| {
            let mismatch = self.book.refused(&line.key, &self.setting.wishes.chain);
            line.state(mismatch.map(|basis| basis.as_str()))
        });
        self.found_by.iter().cloned().chain(lines).chain(self.closed.iter().cloned()).collect()
    }
}

/// What a provider of a place is called if nothing else has to be said.
fn plain(provider: &dyn IntensityProvider) -> String {
    format!("{}/{}", provider.source(), provider.zone())
}

/// A name that none of the others has: what is asked decides, and only among equals the place in the list.
fn name(provider: &dyn IntensityProvider, others: &[Name]) -> Name {
    let mark = provider.mark().map(|mark| format!("~{mark}")).unwrap_or_default();
    let base = format!("{}{mark}", plain(provider));
    let is_free = |name: &str| !others.iter().any(|other| **other == *name);
    let numbered = (2..=MAX_LINES + 1).map(|number| format!("{base}#{number}"));
    let name = std::iter::once(base.clone()).chain(numbered).find(|name| is_free(name));
    name.unwrap_or(base).into()
}

/// For hosts with TLS and without. A machine without root certificates can still ask a relay of its own.
fn client() -> Result<Client, ClientError> {
    let files = TlsFiles::default();
    Client::open(Protocol::Http1, true, &files, BOUNDS).or_else(|error| {
        tracing::warn!("providers with https:// cannot be asked: {error}");
        Client::open(Protocol::Http1, false, &files, BOUNDS)
    })
}

/// The faults of looking again are added to those before.
fn counted_on(before: &[SourceState], mut sources: Vec<SourceState>) -> Vec<SourceState> {
    for source in &mut sources {
        let same = before.iter().filter(|old| (&old.source, &old.hw_id) == (&source.source, &source.hw_id));
        let mut errors: BTreeMap<Fault, u64> = source.errors.iter().copied().collect();
        for (fault, count) in same.flat_map(|old| &old.errors) {
            *errors.entry(*fault).or_default() += count;
        }
        source.errors = errors.into_iter().collect();
    }
    sources
}

fn no_client(error: &ClientError) -> Refusal {
    Refusal { fault: Fault::Untrusted, message: error.to_string(), retry_after: None }
}

fn closed(number: usize, refusal: &Refusal) -> SourceState {
    SourceState {
        source: "provider".into(),
        hw_id: if number == 0 { "".into() } else { number.to_string().as_str().into() },
        fault: Some(refusal.fault),
        last_success: None,
        errors: Vec::new(),
        detail: refusal.message.as_str().into(),
    }
}

/// `None` if the work panicked, where that does not end the program: the state of the others is worth more than
/// the trouble of one.
async fn unbroken<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(step) => step.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn broken(line: &Line) -> Refusal {
    let source = line.source();
    Refusal {
        fault: Fault::Io,
        message: format!(
            "asking {source}: its part of this program broke down (report the panic in the log)"
        ),
        retry_after: None,
    }
}

fn too_slow(line: &mut Line) -> Refusal {
    let seconds = LONGEST_ANSWER.as_secs();
    let source = line.source();
    Refusal {
        fault: Fault::Timeout,
        message: format!(
            "asking {source}: no answer within {seconds} s (see whether it is reachable from here)"
        ),
        retry_after: None,
    }
}
