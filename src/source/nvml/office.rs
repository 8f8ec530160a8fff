//! Where the sampler and those who may hang meet. The sampler rings once a tick; whoever sits idle answers,
//! and whoever does not in time is left alone until he returns: he is not asked again, and nothing queues.

use super::device::{Found, Method, scope};
use super::library::{Session, Trouble};
use crate::model::gpu::Sight;
use crate::model::quantity::Nanos;
use crate::model::reading::{Domain, Fault, Value};
use crate::source::cut::Scope;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Devices of a host: four times what boards have.
pub(super) const MAX_DEVICES: usize = 64;

/// All together have this long for a tick.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// Those whom a test waits for have this long, on however busy a machine.
pub(super) const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// The first enumeration has this long before the start goes on without it.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Everybody who lets go of an old session, or of the library at the end, has this long for it.
const GRACE: Duration = Duration::from_millis(300);

/// The foreman is taken to hang after so much of the sampler's time.
const HANGS_AFTER: Nanos = Nanos::from_seconds(5);

/// Whoever makes the lists and has been at it for so long hangs, and what he told before is old.
const OLD_LISTS: Nanos = Nanos::from_seconds(15);

/// The place, shared by all.
#[derive(Debug, Default)]
pub(super) struct Office {
    state: Mutex<State>,
    bell: Condvar,
    /// Nobody is left behind and nothing is read between two ticks.
    pub(super) is_in_step: bool,
}

/// What lies there.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The number of the newest tick, and its time.
    pub(super) round: u64,
    pub(super) at: Nanos,
    pub(super) is_over: bool,
    /// How many threads there are.
    pub(super) staff: usize,
    /// The library in use, and how many there were before it.
    pub(super) session: Option<Arc<Session>>,
    pub(super) session_number: u64,
    /// Why there is none.
    pub(super) trouble: Option<Trouble>,
    // The first enumeration has taken longer than the start waits for it.
    is_late: bool,
    pub(super) foreman: Turn,
    pub(super) clerk: Turn,
    pub(super) seats: Vec<Seat>,
    /// Devices that can be seen and not read.
    pub(super) unreadable: Vec<Found>,
}

/// Whose turn it was last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    /// The newest round that he has seen.
    seen: u64,
    /// He is at work since then.
    since: Option<Nanos>,
}

impl Turn {
    const fn is_idle(self) -> bool {
        self.since.is_none()
    }

    const fn has_answered(self, round: u64) -> bool {
        self.is_idle() && self.seen >= round
    }
}

/// One device's place.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) found: Found,
    pub(super) method: Method,
    pub(super) turn: Turn,
    /// The round of the last outcome.
    answered: u64,
    outcome: Result<Value, Fault>,
    /// The outcome came too late for its round, and nobody has it yet.
    is_due: bool,
    /// What the newest tick was told.
    told: Result<Value, Fault>,
    /// Its handle is worthless, and so may be the session.
    pub(super) wants_session: bool,
}

/// Whether a new start of the library may help against it. It gives no rights, and one that hangs is waited for.
pub(super) const fn is_curable(fault: Fault) -> bool {
    matches!(fault, Fault::Lost | Fault::Missing | Fault::Io)
}

/// Which of the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Foreman,
    Clerk,
    Worker(usize),
}

/// What somebody is called for.
pub(super) enum Call {
    /// A tick at this time.
    Tick(Nanos),
    /// Nothing for so long.
    Quiet,
    /// The end, or another session.
    Leave,
}

impl State {
    fn turn(&mut self, who: Who) -> &mut Turn {
        match who {
            Who::Foreman => &mut self.foreman,
            Who::Clerk => &mut self.clerk,
            Who::Worker(number) => &mut self.seats[number].turn,
        }
    }

    /// Why there is nothing to read without a session.
    fn reason(&self) -> Fault {
        self.trouble.as_ref().map_or(Fault::Timeout, |trouble| trouble.fault)
    }
}

impl Office {
    pub(super) fn new(is_in_step: bool) -> Office {
        Office { is_in_step, ..Office::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the office in hand")
    }

    /// Wakes everybody.
    pub(super) fn ring(&self) {
        self.bell.notify_all();
    }

    /// Waits until `is_done`, for so long and no longer.
    fn wait(&self, patience: Duration, mut is_done: impl FnMut(&mut State) -> bool) {
        let waited = self.bell.wait_timeout_while(self.lock(), patience, |state| !is_done(state));
        drop(waited.expect("nobody panics with the office in hand"));
    }

    /// The sampler's tick: one outcome for each seat.
    pub(super) fn round(&self, at: Nanos) -> Vec<Result<Value, Fault>> {
        let (seats, clerk) = self.lock().expected();
        let round = self.call(at);
        if self.is_in_step {
            // Who finds a device or a new library does so before it is read.
            self.wait(LONGEST_PATIENCE, |state| state.foreman.has_answered(round));
            self.wait(LONGEST_PATIENCE, |state| state.is_settled(round, |_| true, true));
        } else {
            let is_expected = |number: usize| seats.get(number).copied().unwrap_or(false);
            self.wait(PATIENCE, |state| state.is_settled(round, is_expected, clerk));
        }
        self.lock().seats.iter_mut().map(|seat| seat.tell(round)).collect()
    }

    fn call(&self, at: Nanos) -> u64 {
        let mut state = self.lock();
        state.round += 1;
        state.at = at;
        self.ring();
        state.round
    }

    /// What there is to be read: domains, and what stands around them.
    pub(super) fn meters(&self) -> (Vec<Domain>, Vec<Scope>) {
        let state = self.lock();
        state.seats.iter().map(|seat| (seat.found.domain(seat.method), scope(seat.method))).unzip()
    }

    /// What is known of all devices. Who uses one that does not answer is not known.
    pub(super) fn sights(&self) -> Vec<Sight> {
        let state = self.lock();
        let is_old = |since: Nanos| state.at.saturating_sub(since) >= OLD_LISTS;
        let has_old_lists = state.clerk.since.is_some_and(is_old);
        let readable = state.seats.iter().map(|seat| {
            let mut sight = seat.found.sight.clone();
            if let Err(fault) = seat.told {
                sight.processes = Err(fault);
            } else if has_old_lists {
                sight.processes = Err(Fault::Timeout);
            }
            sight
        });
        readable.chain(state.unreadable.iter().map(|found| found.sight.clone())).collect()
    }

    /// Why the library as a whole cannot be used.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let state = self.lock();
        let is_long = |since: Nanos| state.is_late || state.at.saturating_sub(since) >= HANGS_AFTER;
        if state.foreman.since.is_some_and(is_long) {
            let detail = "the driver does not answer (look for Xid in the kernel's log)".to_owned();
            return Some(Trouble { fault: Fault::Timeout, detail, is_absent: false });
        }
        state.trouble.clone()
    }

    /// The start waits for the first enumeration.
    pub(super) fn wait_for_the_first_look(&self) {
        let patience = if self.is_in_step { LONGEST_PATIENCE } else { FIRST_LOOK };
        let is_done = |state: &State| state.foreman.seen > 0 && state.foreman.is_idle();
        self.wait(patience, |state| is_done(state));
        let mut state = self.lock();
        state.is_late = !is_done(&state);
    }

    /// Everybody goes home; who hangs is left behind.
    pub(super) fn close(&self) {
        self.lock().is_over = true;
        self.ring();
        self.wait(GRACE, |state| state.staff == 0);
    }

    /// Waits for the next tick, or for `pace` if that comes first, or until there is nothing more to do with
    /// the session of this number. Whoever is called is at work from then on.
    pub(super) fn await_call(&self, who: Who, session: u64, pace: Option<Duration>) -> Call {
        // Without a pace the bell tells everything; that a day has passed changes nothing.
        const A_DAY: Duration = Duration::from_secs(86_400);
        let is_off = |state: &State| state.is_over || who != Who::Foreman && state.session_number != session;
        let waits = |state: &mut State| !is_off(state) && !self.has_call(state, who);
        let waited = self.bell.wait_timeout_while(self.lock(), pace.unwrap_or(A_DAY), waits);
        let (mut state, _) = waited.expect("nobody panics with the office in hand");
        if is_off(&state) {
            return Call::Leave;
        }
        let (is_called, round, at) = (self.has_call(&mut state, who), state.round, state.at);
        let turn = state.turn(who);
        turn.since = Some(at);
        if is_called {
            turn.seen = round;
            return Call::Tick(at);
        }
        Call::Quiet
    }

    fn has_call(&self, state: &mut State, who: Who) -> bool {
        let round = state.round;
        let may_go = who == Who::Foreman || !self.is_in_step || state.foreman.has_answered(round);
        may_go && state.turn(who).seen < round
    }

    /// The work of a call is done.
    pub(super) fn done(&self, who: Who) {
        let mut state = self.lock();
        state.turn(who).since = None;
        state.is_late &= who != Who::Foreman;
        drop(state);
        self.ring();
    }

    /// A worker's answer to the tick at which it began. Ticks that went by meanwhile are over.
    pub(super) fn answer(&self, number: usize, outcome: Result<Value, Fault>, wants_session: bool) {
        let mut state = self.lock();
        let round = state.round;
        let seat = &mut state.seats[number];
        seat.answered = seat.turn.seen;
        seat.outcome = outcome;
        seat.is_due = true;
        seat.wants_session = wants_session;
        seat.turn = Turn { seen: round, since: None };
        drop(state);
        self.ring();
    }

    /// The session in use, once there is one other than that of this number. Ticks without one are answered.
    pub(super) fn session(&self, who: Who, before: u64) -> Option<(u64, Arc<Session>)> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(session) = state.session.as_ref().filter(|_| state.session_number != before) {
                return Some((state.session_number, Arc::clone(session)));
            }
            if self.has_call(&mut state, who) {
                let (round, reason) = (state.round, state.reason());
                state.turn(who).seen = round;
                if let Who::Worker(number) = who {
                    state.seats[number].answered = round;
                    state.seats[number].outcome = Err(reason);
                }
                self.ring();
            }
            state = self.bell.wait(state).expect("nobody panics with the office in hand");
        }
    }

    /// Waits until this tick's readings are there: what comes next may delay or hang, and they must not.
    /// Returns the round whose readings they are.
    pub(super) fn let_readings_pass(&self, patience: Duration) -> u64 {
        let state = self.lock();
        let round = state.round;
        // Who was silent in the last tick already is not waited for.
        let expected: Vec<bool> = state.seats.iter().map(|seat| seat.answered + 1 >= round).collect();
        drop(state);
        let patience = if self.is_in_step { LONGEST_PATIENCE } else { patience };
        let is_expected = |number: usize| expected.get(number).copied().unwrap_or(false);
        self.wait(patience, |state| state.has_readings(round, is_expected));
        round
    }

    /// Takes the session away from everybody, so that the next one finds the library as if it were new.
    /// Whoever hangs may hold it still.
    pub(super) fn withdraw(&self) -> Option<Arc<Session>> {
        let mut state = self.lock();
        let session = state.session.take()?;
        state.session_number += 1;
        drop(state);
        self.ring();
        self.wait(GRACE, |_| Arc::strong_count(&session) == 1);
        Some(session)
    }

    /// Waits until nobody is at work, and tells whether that is so.
    pub(super) fn wait_for_quiet(&self, patience: Duration) -> bool {
        self.wait(patience, |state| state.is_quiet());
        self.lock().is_quiet()
    }

    /// Gives a session to everybody.
    pub(super) fn provide(&self, session: Arc<Session>) {
        let mut state = self.lock();
        state.session_number += 1;
        state.session = Some(session);
        state.trouble = None;
        drop(state);
        self.ring();
    }

    /// Somebody leaves.
    pub(super) fn leave(&self) {
        self.lock().staff -= 1;
        self.ring();
    }
}

impl Seat {
    /// What this round's tick is told: its own outcome, else once that of the round before, which came too
    /// late for it. So a device that is always slow is counted, one tick behind.
    fn tell(&mut self, round: u64) -> Result<Value, Fault> {
        let is_news = self.answered == round || self.is_due && self.answered + 1 == round;
        self.is_due = false;
        self.told = if is_news { self.outcome } else { Err(Fault::Timeout) };
        self.told
    }

    /// Why nothing else is to be asked of the device in this round.
    pub(super) fn trouble(&self, round: u64) -> Option<Fault> {
        if self.answered < round {
            return Some(Fault::Timeout);
        }
        self.outcome.err().filter(|_| self.wants_session)
    }
}

impl State {
    /// Whether there are devices and each has failed of late: none answers, and none is waited for.
    pub(super) fn has_failed_all(&self) -> bool {
        let has_failed = |seat: &Seat| seat.wants_session && seat.answered + 1 >= self.round;
        !self.seats.is_empty() && self.seats.iter().all(has_failed)
    }

    /// Whether there is a device that a new start of the library might bring back.
    pub(super) fn has_lost_one(&self) -> bool {
        let is_lost = |seat: &Seat| seat.wants_session && seat.outcome.is_err_and(is_curable);
        self.seats.iter().any(is_lost)
    }

    /// Whether nobody but the foreman is at work, and nobody has been silent of late.
    fn is_quiet(&self) -> bool {
        let is_quiet = |seat: &Seat| seat.turn.is_idle() && seat.answered + 1 >= self.round;
        self.clerk.is_idle() && self.seats.iter().all(is_quiet)
    }

    /// Whether those of whom it is expected have told their outcome of this round or a newer one.
    fn has_readings(&self, round: u64, is_expected: impl Fn(usize) -> bool) -> bool {
        let mut seats = self.seats.iter().enumerate().filter(|(number, _)| is_expected(*number));
        seats.all(|(_, seat)| seat.answered >= round)
    }

    /// Of whom an answer to the next tick is expected: who is idle, or has answered the last one and may be
    /// at a reading of his own. Seats, and the clerk.
    fn expected(&self) -> (Vec<bool>, bool) {
        let seats = self.seats.iter().map(|seat| seat.turn.is_idle() || seat.answered == self.round);
        (seats.collect(), self.clerk.is_idle())
    }

    /// Whether everybody of whom it is expected has answered. Before the first device nobody makes lists.
    fn is_settled(&self, round: u64, is_expected: impl Fn(usize) -> bool, with_clerk: bool) -> bool {
        let mut seats = self.seats.iter().enumerate().filter(|(number, _)| is_expected(*number));
        seats.all(|(_, seat)| seat.turn.has_answered(round))
            && (!with_clerk || self.seats.is_empty() || self.clerk.has_answered(round))
    }

    /// A new device, with nothing read yet.
    pub(super) fn seat(&mut self, found: Found, method: Method) -> usize {
        self.seats.push(Seat {
            found,
            method,
            turn: Turn::default(),
            answered: self.round.saturating_sub(1),
            outcome: Err(Fault::Timeout),
            is_due: false,
            told: Err(Fault::Timeout),
            wants_session: false,
        });
        self.seats.len() - 1
    }
}
