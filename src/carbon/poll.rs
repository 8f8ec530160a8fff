//! The task that asks: where the machine stands, once; what its electricity emits, as often as each provider
//! has something new. What it knows goes whole into a mailbox whenever that has changed, and into a file.

mod line;
mod lookout;
mod search;
#[cfg(test)]
mod tests;

pub use line::Count;
pub use lookout::{Lookout, Open};

use super::kept::{self, Kept};
use super::location::{self, Found, NOWHERE, locate, seek};
use super::provider;
use super::{Choice, Wishes, resolve};
use crate::clock::{self, Jitter};
use crate::model::grid::{GRAIN, Grid, Place};
use crate::model::quantity::{Nanos, Pue};
use arc_swap::ArcSwapOption;
use search::Search;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Emissions wait this long for a place, and are charged by the world's figure if there is none then.
const SETTLE: Duration = Duration::from_secs(30);

/// The nodes of a fleet are started at one moment; their first questions come over this time.
const LATEST: Duration = Duration::from_secs(2);

/// The file is written no oftener: a relay may be heard every minute.
const WRITE_EVERY: Nanos = Nanos::from_seconds(60);

/// What the task is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What the user says about the electricity.
    pub choice: Choice,
    /// What the user says the building adds, if he does.
    pub pue: Option<Pue>,
    /// Where to look, whom to ask, what to do without an answer.
    pub wishes: Wishes,
    /// The file in which everything is kept; `None` without a store.
    pub kept: Option<PathBuf>,
}

impl Setting {
    /// The place that the user names.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match &self.choice {
            Choice::Unknown => None,
            Choice::Zone { .. } | Choice::Own { .. } => {
                let factor = resolve(&self.choice, self.pue.unwrap_or(Pue::ONE)).ok()?;
                Some(Place {
                    zone: factor.zone,
                    source: CONFIGURED.into(),
                    cloud: "".into(),
                    region: "".into(),
                })
            }
        }
    }

    /// What was kept, unless it is of another place than the one that is configured, or of one that was
    /// configured and is no more.
    fn restore(&self, now: Nanos) -> Result<Option<Kept>, String> {
        let Some(path) = &self.kept else { return Ok(None) };
        let kept = kept::read(path, now)?;
        Ok(kept.filter(|kept| match self.place() {
            Some(place) => place.zone == kept.place.zone,
            None => &*kept.place.source != CONFIGURED && &*kept.place.zone != NOWHERE,
        }))
    }
}

/// What is known without asking anybody: `None` if the place is neither configured nor kept.
#[must_use]
pub fn at_start(setting: &Setting, now: Nanos) -> Option<Grid> {
    let kept = setting.restore(now).unwrap_or_else(|warning| {
        tracing::warn!("{warning}");
        None
    });
    Some(Lookout::restored(setting.clone(), open(), kept, now)?.grid(now))
}

/// Asks until it is told to stop, or until nobody is left who could tell it.
pub async fn run(
    settings: watch::Receiver<Setting>,
    outlet: Arc<ArcSwapOption<Grid>>,
    stop: watch::Receiver<bool>,
) {
    let pace = Pace { late: Jitter::new("grid").within(LATEST), ..Pace::default() };
    watch(settings, open(), stop, pace, move |lookout, now| {
        let grid = lookout.grid(now);
        if outlet.load().as_deref() != Some(&grid) {
            outlet.store(Some(Arc::new(grid)));
        }
    })
    .await;
}

/// Asks until it is told to stop; `publish` is called after everything that may have changed something.
pub async fn watch(
    mut settings: watch::Receiver<Setting>,
    open: Open,
    mut stop: watch::Receiver<bool>,
    pace: Pace,
    mut publish: impl FnMut(&Lookout, Nanos) + Send,
) {
    let setting = settings.borrow_and_update().clone();
    let watching = async {
        let mut lookout = settled(setting, &open, &mut publish).await;
        lookout.wait(pace.late, clock::now().wall);
        let mut search = Search::new(pace.look_again);
        let mut file = Writing { is_due: is_worth_keeping(&lookout), ..Writing::default() };
        loop {
            publish(&lookout, clock::now().wall);
            if lookout.turn(clock::now().wall).await {
                file.is_due = true;
            }
            let now = clock::now().wall;
            publish(&lookout, now);
            file.begin(&lookout, now);
            search.begin(&lookout);
            tokio::select! {
                () = sleep(pause(lookout.next(), clock::now().wall)) => {}
                () = file.ended() => {}
                found = search.ended() => {
                    let was_found = lookout.is_found();
                    lookout.move_to(found, clock::now().wall);
                    if lookout.is_found() && !was_found {
                        let place = lookout.place();
                        tracing::info!(zone = &*place.zone, source = &*place.source, "the place is found");
                        file.is_due = true;
                    }
                }
                changed = settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let setting = settings.borrow_and_update().clone();
                    search = Search::new(pace.look_again);
                    take_up(&mut lookout, setting).await;
                    lookout.wait(pace.late, clock::now().wall);
                    file.is_due |= is_worth_keeping(&lookout);
                }
            }
        }
    };
    tokio::select! {
        () = watching => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn open() -> Open {
    Arc::new(|wishes, place| wishes.iter().map(|wish| provider::open(wish, place)).collect())
}

/// Sees to it that there is a place. One that was kept is in force while another is looked for.
async fn settled(
    setting: Setting,
    open: &Open,
    publish: &mut (impl FnMut(&Lookout, Nanos) + Send),
) -> Lookout {
    let now = clock::now().wall;
    // What is wrong with it has been said by `at_start`, if anybody asked that.
    let kept = setting.restore(now).unwrap_or_default();
    let is_configured = setting.place().is_some();
    let restored = Lookout::restored(setting.clone(), Arc::clone(open), kept, now);
    match restored {
        Some(lookout) if is_configured => lookout,
        Some(mut lookout) => {
            publish(&lookout, now);
            let found = look(&setting.wishes.location).await;
            lookout.move_to(found, clock::now().wall);
            lookout
        }
        None => {
            let found = look(&setting.wishes.location).await;
            Lookout::found(setting, Arc::clone(open), found, clock::now().wall)
        }
    }
}

/// What the place's source is called if nothing had to be found.
const CONFIGURED: &str = "config";

/// A place that was found is kept before any provider is heard: the next start may find nobody to ask.
fn is_worth_keeping(lookout: &Lookout) -> bool {
    lookout.place().source.as_ref() != CONFIGURED
}

async fn look(wish: &location::Wish) -> Found {
    timeout(SETTLE, locate(wish)).await.unwrap_or_else(|_| {
        let found = Found::too_late(SETTLE);
        found.warn();
        found
    })
}

/// Takes up another setting. The place is looked for again if nobody has found it, or if it is to be looked
/// for in another way.
async fn take_up(lookout: &mut Lookout, setting: Setting) {
    let before = lookout.setting();
    let is_open = setting.place().is_none();
    let looks_elsewhere = before.place().is_some()
        || before.wishes.location != setting.wishes.location
        || lookout.is_unsure()
        || !lookout.is_found();
    let found = if is_open && looks_elsewhere { Some(look(&setting.wishes.location).await) } else { None };
    lookout.take_up(setting, found, clock::now().wall);
}

/// Until the next question, or until something passes that needs none: a marginal figure, a plan's hour.
fn pause(next: Option<Nanos>, now: Nanos) -> Duration {
    let longest = Duration::from_nanos(GRAIN.get());
    // Never no pause at all, whatever a provider says: the rest of the program has the same thread.
    const SHORTEST: Duration = Duration::from_millis(200);
    let next = next.map_or(longest, |next| Duration::from_nanos(next.saturating_sub(now).get()));
    next.clamp(SHORTEST, longest)
}

/// When the task does what it need not do at once.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// After a start or a change the first questions come this late.
    pub late: Duration,
    /// The place is looked for again after this, then after twice as long.
    pub look_again: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { late: Duration::ZERO, look_again: Duration::from_secs(60) }
    }
}

/// The file's part. A disk may hang: providers are asked meanwhile, and nothing else is written.
#[derive(Debug, Default)]
struct Writing {
    open: Option<(String, JoinHandle<std::io::Result<()>>)>,
    is_due: bool,
    written: Option<Nanos>,
    is_failing: bool,
}

impl Writing {
    /// Writes if it is time.
    fn begin(&mut self, lookout: &Lookout, now: Nanos) {
        let is_early = self.written.is_some_and(|at| now >= at && now.saturating_sub(at) < WRITE_EVERY);
        if !self.is_due || is_early || self.open.is_some() {
            return;
        }
        self.written = Some(now);
        let Some((path, kept)) = lookout.setting().kept.clone().zip(lookout.kept()) else { return };
        self.is_due = false;
        let name = path.display().to_string();
        self.open = Some((name, tokio::task::spawn_blocking(move || kept::write(&path, &kept))));
    }

    /// Waits for what is being written; for ever if nothing is.
    async fn ended(&mut self) {
        let Some((name, writing)) = &mut self.open else { return std::future::pending().await };
        let result = writing.await;
        if let Ok(Err(error)) = &result
            && !self.is_failing
        {
            tracing::warn!(
                "keeping what providers say: writing {name}: {error} (is there room, and may we write there?)"
            );
        }
        self.is_failing = !matches!(result, Ok(Ok(())));
        self.is_due |= self.is_failing;
        self.open = None;
    }
}
