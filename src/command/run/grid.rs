//! What the configured providers say of the electricity while a command runs. They are asked by the exporter's
//! own task, in a thread that begins after the command. Where no provider is configured nothing of this is there.

use crate::carbon::poll::{Lookout, Open, Pace, Setting, watch};
use crate::carbon::provider;
use crate::config::Settings;
use crate::model::grid::{Grid, Plan, Step};
use crate::model::quantity::Nanos;
use crate::model::reading::Factor;
use arc_swap::ArcSwapOption;
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch as mailbox;

/// What was heard, for the next command: a file of its own, since the exporter may be of another place, and
/// knows more.
const KEPT: &str = "run-grid.json";

/// So long the first ticks wait for an answer; then they are charged by what is known.
pub const PATIENCE: Nanos = Nanos::from_seconds(3);

/// And so long at the most after the command has ended: somebody waits for the prompt.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What is known so far.
#[derive(Default)]
struct Known {
    grid: ArcSwapOption<Grid>,
    /// Why providers were left out.
    closed: Mutex<Vec<String>>,
}

/// A question under way, and those after it.
pub struct Asking {
    known: Arc<Known>,
    answered: Receiver<()>,
    is_answered: bool,
    stop: mailbox::Sender<bool>,
}

/// What is to be asked; `None` where nobody is configured.
#[must_use]
pub fn wish(settings: &Settings) -> Option<Setting> {
    // Only where the folder is: making it is not our business.
    let folder = settings.store.as_ref().filter(|folder| folder.is_dir());
    (!settings.grid.providers.is_empty()).then(|| Setting {
        choice: settings.carbon.clone(),
        pue: settings.pue,
        wishes: settings.grid.clone(),
        kept: folder.map(|folder| folder.join(KEPT)),
    })
}

impl Asking {
    /// Begins to ask. Nothing is waited for.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(setting: Setting) -> io::Result<Asking> {
        let known = Arc::new(Known::default());
        let (stop, stopped) = mailbox::channel(false);
        let (tell, answered) = channel();
        let (outlet, open) = (Arc::clone(&known), covering(Arc::clone(&known)));
        let publish = move |lookout: &Lookout, now| {
            outlet.grid.store(Some(Arc::new(lookout.grid(now))));
            // Before the first questions somebody is due.
            if lookout.next().is_none_or(|next| next > now) {
                // Nobody listens any more once the command has ended.
                let _ = tell.send(());
            }
        };
        std::thread::Builder::new().name("grid".to_owned()).spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            let (_settings, settings) = mailbox::channel(setting);
            runtime.block_on(watch(settings, open, stopped, Pace::default(), publish));
        })?;
        Ok(Asking { known, answered, is_answered: false, stop })
    }

    /// What is charged: after the first answers, or else, where nobody has patience, what was known before.
    pub fn plan(&mut self, is_patient: bool) -> Option<Arc<Plan>> {
        self.is_answered |= self.answered.try_iter().count() > 0;
        let grid = self.known.grid.load();
        grid.as_ref().filter(|_| self.is_answered || !is_patient).map(|grid| Arc::clone(&grid.plan))
    }

    /// Waits for the first answers, a little.
    pub fn wait(&mut self) {
        self.is_answered |= self.answered.recv_timeout(LAST_WAIT).is_ok();
    }

    /// What a reader should know of the figure that was used last.
    #[must_use]
    pub fn notes(&self, factor: &Factor) -> Vec<String> {
        let mut notes = self.known.closed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let grid = self.known.grid.load();
        let failed = grid.iter().flat_map(|grid| &grid.sources).filter_map(|state| {
            let fault = state.fault?;
            Some(format!("{} {}: {fault}", state.source, state.hw_id))
        });
        let mut why: Vec<String> = failed.collect();
        if why.is_empty() && !self.is_answered {
            why.push("no answer in time".to_owned());
        }
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        notes.push(match factor.fallback {
            // What the configuration or the table has looks wanted where no plan was made in time.
            Step::Wanted if factor.year.is_empty() => return notes,
            Step::Wanted | Step::Table => format!("no provider's figure: that of the year is used{why}"),
            Step::Substitute => format!("the first provider is silent: another one's figure is used{why}"),
            Step::Last => format!("the newest figure is of a time before: it is used{why}"),
            Step::Forecast => format!("no figure yet: what was forecast is used{why}"),
            Step::Profile => format!("no figure: the mean of this hour on the days before is used{why}"),
            Step::World => format!("no provider's figure: the world's of the year is used{why}"),
        });
        notes
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// Opens the providers that cover the place. Why others do not is told at the end, and not between the
/// command's own lines.
fn covering(known: Arc<Known>) -> Open {
    Arc::new(move |wishes, place| {
        let (opened, closed): (Vec<_>, Vec<_>) =
            wishes.iter().map(|wish| provider::open(wish, place)).partition(Result::is_ok);
        let closed = closed.into_iter().filter_map(Result::err).map(|refusal| refusal.message).collect();
        *known.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        opened
    })
}
