//! A device that was reset, plugged in or given to the driver later may be seen only by who starts the library
//! anew: it counts who has initialised it, and looks for devices when the first does. While other devices
//! answer this is done rarely, and so that they miss nothing: between two of their readings, when no call is
//! open, and in the same copy of the library.

use super::SOURCE;
use super::foreman::Foreman;
use super::library::{Pause, Session, driven};
use super::office::is_curable;
use crate::model::quantity::Nanos;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Whoever is missing has this long to come back by himself. Each further attempt is twice as late as the one
/// before, up to the longest: a card that is broken for good costs the others a new start an hour.
const SHORTEST: Nanos = Nanos::from_seconds(60);
const LONGEST: Nanos = Nanos::from_seconds(3_600);

/// The others have this long to be done with their readings and lists. Who takes longer delays the attempt.
const PATIENCE: Duration = Duration::from_secs(1);

/// An attempt that was delayed comes so much later.
const DELAY: Nanos = Nanos::from_seconds(60);

/// What is known of those who are missing.
#[derive(Default)]
pub(super) struct Restart {
    pause: Pause,
    // Somebody is or was missing, and the pause is that before the next attempt.
    is_awaited: bool,
    // A card is there and driven by NVIDIA's driver, and the library does not show it.
    is_one_unseen: bool,
    // Cards that the first session did not show either: they are others' (a container has some of a host's).
    strangers: Option<BTreeSet<String>>,
}

impl Foreman {
    /// Whoever is not ours now is not waited for later.
    pub(super) fn note_strangers(&mut self) {
        if self.restart.strangers.is_none() {
            self.restart.strangers = Some(self.unseen());
        }
    }

    /// Whether there are cards that the library does not show and that came after it.
    pub(super) fn look_for_the_unseen(&mut self) {
        let unseen = self.unseen();
        let strangers = self.restart.strangers.get_or_insert_default();
        // One that was taken out and put in again is looked at as a new one.
        strangers.retain(|card| self.bus.contains(card));
        self.restart.is_one_unseen = unseen.iter().any(|card| !strangers.contains(card));
    }

    fn unseen(&self) -> BTreeSet<String> {
        let cards = driven(&self.sysfs, &self.bus);
        let state = self.office.lock();
        let readable = state.seats.iter().map(|seat| &seat.found);
        let seen: BTreeSet<&str> = readable.chain(&state.unreadable).map(|found| &*found.sight.pci).collect();
        cards.into_iter().filter(|card| !seen.contains(card.as_str())).collect()
    }

    /// Starts the library anew if somebody has been missing for long enough.
    pub(super) fn attend_the_missing(&mut self, at: Nanos, session: Arc<Session>) {
        let is_one_missing = self.restart.is_one_unseen
            || self.refused.values().copied().any(is_curable)
            || self.office.lock().has_lost_one();
        let is_over = self.restart.pause.is_over(at);
        match (is_one_missing, self.restart.is_awaited) {
            (true, false) => {
                self.restart.is_awaited = true;
                self.restart.pause.lengthen_between(at, SHORTEST, LONGEST);
            }
            (true, true) if is_over => self.start_anew(at, session),
            // One that goes and comes all the time has its pauses all the same.
            (false, true) if is_over => {
                self.restart.is_awaited = false;
                self.restart.pause = Pause::default();
            }
            (true | false, _) => {}
        }
    }

    fn start_anew(&mut self, at: Nanos, session: Arc<Session>) {
        self.restart.pause.postpone(at, DELAY);
        // In step the others wait for us, and nobody is at work.
        if !self.office.is_in_step {
            self.office.let_readings_pass(PATIENCE);
        }
        let is_quiet = self.probes.open.is_empty() && self.office.wait_for_quiet(PATIENCE);
        if !is_quiet {
            return;
        }
        drop(session);
        let Some(mut session) = self.office.withdraw() else { return };
        let Some(own) = Arc::get_mut(&mut session) else {
            // Somebody has begun to hang with it in hand. It is never shut down under a call.
            return self.office.provide(session);
        };
        self.restart.pause.lengthen_between(at, SHORTEST, LONGEST);
        tracing::info!(source = SOURCE, "a GPU is missing: the driver's library is started anew");
        match own.start_anew() {
            Ok(()) => {
                self.use_session(at, &session);
                self.look_for_the_unseen();
            }
            Err(error) => {
                tracing::debug!("the driver's library does not start anew: {error}");
                drop(session);
                self.begin(at);
            }
        }
    }
}
