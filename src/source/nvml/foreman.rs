//! The thread that opens the library, finds the devices and gives each its worker. Opening and finding may
//! hang like everything else, so that the sampler does neither.
//!
//! It is started before the exporter gives up its rights and gives up its own share by itself: NVML opens
//! /dev/nvidia* for writing, which is all that may be written from here on. All other threads of this source
//! descend from it.

use super::clerk::Clerk;
use super::device::Found;
use super::library::{Pause, Session, Trouble, fault, on_the_bus, open};
use super::office::{Call, LONGEST_PATIENCE, MAX_DEVICES, Office, PATIENCE, State, Who};
use super::restart::Restart;
use super::worker::Worker;
use crate::clock;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use nvml_wrapper::error::NvmlError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Whether there are other devices than before is looked for this often.
const PATROL: Nanos = Nanos::from_seconds(60);

/// Devices that are looked at for the first time have this long together. Who takes longer is taken up when
/// he answers; the start waits for more than this.
const FIRST_SIGHT: Duration = Duration::from_secs(2);

/// Who finds the devices.
pub(super) struct Foreman {
    pub(super) office: Arc<Office>,
    library: Option<PathBuf>,
    pub(super) sysfs: PathBuf,
    // Before the library is opened again.
    pause: Pause,
    patrol: Nanos,
    // What was there when the devices were last looked for: the driver's count, and the bus.
    pub(super) count: u32,
    pub(super) bus: Vec<String>,
    has_clerk: bool,
    pub(super) probes: Probes,
    // The numbers of those that did not let themselves be looked at, and the pause before the next attempt.
    pub(super) refused: BTreeMap<u32, Fault>,
    refusals: Pause,
    pub(super) restart: Restart,
}

/// Looks at devices, each on a thread of its own: one that hangs keeps no other from being found.
pub(super) struct Probes {
    give: Sender<Probed>,
    take: Receiver<Probed>,
    // The numbers of those that have not answered.
    pub(super) open: BTreeSet<u32>,
}

/// A device's number, and what was seen.
type Probed = (u32, Result<Found, NvmlError>);

impl Foreman {
    pub(super) fn new(office: Arc<Office>, library: Option<PathBuf>, sysfs: PathBuf) -> Foreman {
        let (give, take) = channel();
        Foreman {
            office,
            library,
            sysfs,
            pause: Pause::default(),
            patrol: Nanos::ZERO,
            count: 0,
            bus: Vec::new(),
            has_clerk: false,
            probes: Probes { give, take, open: BTreeSet::new() },
            refused: BTreeMap::new(),
            refusals: Pause::default(),
            restart: Restart::default(),
        }
    }

    /// Works until the end; the first time at once.
    pub(super) fn work(&mut self) {
        loop {
            match self.office.await_call(Who::Foreman, 0, None) {
                Call::Leave => {
                    // Whoever lets go last shuts the library down; it may hang, and not with the office in hand.
                    let session = self.office.lock().session.take();
                    drop(session);
                    return;
                }
                Call::Quiet => {}
                Call::Tick(at) => {
                    self.attend(at);
                    self.tell_who_hangs();
                }
            }
            self.office.done(Who::Foreman);
        }
    }

    fn attend(&mut self, at: Nanos) {
        while let Ok(probed) = self.probes.take.try_recv() {
            self.take_in(probed);
        }
        let session = self.office.lock().session.clone();
        let Some(session) = session else {
            if self.pause.is_over(at) {
                self.begin(at);
            }
            return;
        };
        if self.is_useless() {
            if self.pause.is_over(at) {
                drop(session);
                self.begin_again(at);
            }
            return;
        }
        if self.pause.is_over(at) {
            self.pause = Pause::default();
        }
        self.go_round(at, &session);
        self.attend_the_missing(at, session);
    }

    /// Whether nobody can use the session. While one device answers it is kept, for the next one may be
    /// refused to all; and while one hangs, its thread holds the session and no new one comes of it.
    fn is_useless(&self) -> bool {
        self.probes.open.is_empty() && self.office.lock().has_failed_all()
    }

    fn begin_again(&mut self, at: Nanos) {
        // In step everybody else waits for us.
        if !self.office.is_in_step {
            self.office.let_readings_pass(PATIENCE);
            if !self.is_useless() {
                return;
            }
        }
        drop(self.office.withdraw());
        self.begin(at);
    }

    /// Looks for other devices now and then, in the session that there is.
    fn go_round(&mut self, at: Nanos, session: &Arc<Session>) {
        if at >= self.patrol {
            self.patrol = at + PATROL;
            let count = session.nvml.device_count().unwrap_or(self.count);
            let bus = on_the_bus(&self.sysfs);
            let is_as_before = count == self.count && bus == self.bus;
            (self.count, self.bus) = (count, bus);
            if !is_as_before {
                self.call_the_roll(at, session);
            }
            self.look_for_the_unseen();
            if !is_as_before {
                return;
            }
        }
        if !self.refused.is_empty() && self.refusals.is_over(at) {
            let again = std::mem::take(&mut self.refused);
            self.look_at(at, session, again.into_keys().collect());
        }
    }

    /// Opens the library and finds the devices. Whatever comes of it, the next time is some time off.
    pub(super) fn begin(&mut self, at: Nanos) {
        self.bus = on_the_bus(&self.sysfs);
        self.patrol = at + PATROL;
        match open(self.library.as_deref()) {
            Ok(session) => {
                let session = Arc::new(session);
                self.use_session(at, &session);
                self.note_strangers();
                // Those of before have not answered yet.
                match self.office.lock().has_failed_all() {
                    true => self.pause.lengthen(at),
                    false => self.pause = Pause::default(),
                }
            }
            Err(trouble) => {
                match trouble.is_absent {
                    true => self.pause.rest(at),
                    false => self.pause.lengthen(at),
                }
                let trouble = trouble.beside(&self.bus);
                let mut state = self.office.lock();
                if state.trouble.as_ref() != Some(&trouble) {
                    state.trouble = Some(trouble);
                }
            }
        }
    }

    /// Gives a new session to everybody, and looks whom it shows.
    pub(super) fn use_session(&mut self, at: Nanos, session: &Arc<Session>) {
        self.office.provide(Arc::clone(session));
        self.count = session.nvml.device_count().unwrap_or(0);
        self.call_the_roll(at, session);
    }

    /// Looks at everybody.
    fn call_the_roll(&mut self, at: Nanos, session: &Arc<Session>) {
        let most = u32::try_from(MAX_DEVICES).unwrap_or(u32::MAX);
        self.refused.clear();
        self.refusals = Pause::default();
        let seen = self.look_at(at, session, (0..self.count.min(most)).collect());
        self.office.lock().miss_all_but(&seen, &self.probes.open);
    }

    /// Looks at the devices with these numbers, and takes them up in that order; who has not answered by the
    /// end of the patience is taken up later. Returns who was there.
    fn look_at(&mut self, at: Nanos, session: &Arc<Session>, numbers: BTreeSet<u32>) -> Vec<Name> {
        let asked: Vec<u32> =
            numbers.into_iter().filter(|number| self.probes.begin(&self.office, session, *number)).collect();
        let mut waited = self.probes.wait(&asked, self.office.is_in_step);
        let mut seen = Vec::new();
        for number in asked {
            if let Some(outcome) = waited.remove(&number) {
                seen.extend(self.take_in((number, outcome)));
            }
        }
        // Who answers late, of an earlier look.
        for probed in waited {
            seen.extend(self.take_in(probed));
        }
        match self.refused.is_empty() {
            true => self.refusals = Pause::default(),
            false => self.refusals.lengthen(at),
        }
        seen
    }

    /// A device that has not let itself be looked at has no meter yet that could say so.
    fn tell_who_hangs(&self) {
        let mut state = self.office.lock();
        if state.session.is_none() {
            return;
        }
        let numbers: Vec<String> = self.probes.open.iter().map(u32::to_string).collect();
        let trouble = (!numbers.is_empty()).then(|| Trouble {
            fault: Fault::Timeout,
            detail: format!(
                "the driver does not answer for GPU {} (look for Xid in the kernel's log)",
                numbers.join(", ")
            ),
            is_absent: false,
        });
        if state.trouble != trouble {
            state.trouble = trouble;
        }
    }

    /// A device that was looked at. Returns its name.
    fn take_in(&mut self, (number, outcome): Probed) -> Option<Name> {
        self.probes.open.remove(&number);
        match outcome {
            Ok(found) => {
                let name = found.sight.gpu.clone();
                let new = self.office.lock().enrol(found);
                new.into_iter().for_each(|seat| self.hire(seat));
                Some(name)
            }
            Err(error) => {
                tracing::debug!(number, "a GPU that cannot be looked at: {error}");
                self.refused.insert(number, fault(&error));
                None
            }
        }
    }

    /// A thread for a new device, and for the first one somebody who makes lists of all.
    fn hire(&mut self, number: usize) {
        let state = self.office.lock();
        let seat = &state.seats[number];
        let worker = Worker {
            office: Arc::clone(&self.office),
            number,
            identity: seat.found.identity.clone(),
            method: seat.method,
            measurement: seat.found.domain(seat.method).measurement,
        };
        drop(state);
        start(&self.office, &format!("nvml-{number}"), move || worker.work());
        if !std::mem::replace(&mut self.has_clerk, true) {
            let mut clerk = Clerk::new(Arc::clone(&self.office));
            start(&self.office, "nvml-lists", move || clerk.work());
        }
    }
}

/// Starts a thread that says when it leaves.
pub(super) fn start(office: &Arc<Office>, name: &str, work: impl FnOnce() + Send + 'static) {
    office.lock().staff += 1;
    let own = Arc::clone(office);
    let thread = std::thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || {
        work();
        own.leave();
    });
    if let Err(error) = started {
        tracing::error!(source = super::SOURCE, "no thread for {name}: {error}");
        office.leave();
    }
}

impl Probes {
    /// Begins to look at one, unless it is being looked at.
    fn begin(&mut self, office: &Arc<Office>, session: &Arc<Session>, number: u32) -> bool {
        let (give, session) = (self.give.clone(), Arc::clone(session));
        if !self.open.insert(number) {
            return false;
        }
        start(office, &format!("nvml-look-{number}"), move || {
            let device = session.nvml.device_by_index(number);
            let outcome = device.and_then(|device| Found::look(&session, &device, number));
            // The session is let go of before anybody hears of it.
            drop(session);
            let _ = give.send((number, outcome));
        });
        true
    }

    /// What is seen of these while there is patience, and of whoever else answers meanwhile.
    fn wait(&self, asked: &[u32], is_in_step: bool) -> BTreeMap<u32, Result<Found, NvmlError>> {
        let patience = if is_in_step { LONGEST_PATIENCE } else { FIRST_SIGHT };
        let end = clock::monotonic() + Nanos::new(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        let mut seen = BTreeMap::new();
        while !asked.iter().all(|number| seen.contains_key(number)) {
            let left = Duration::from_nanos(end.saturating_sub(clock::monotonic()).get());
            let Ok((number, outcome)) = self.take.recv_timeout(left) else { break };
            seen.insert(number, outcome);
        }
        seen
    }
}

impl State {
    /// Notes who is there. A new device comes at the end, and its number is returned.
    fn enrol(&mut self, found: Found) -> Option<usize> {
        let name = &found.sight.gpu;
        self.unreadable.retain(|other| other.sight.gpu != *name);
        // Its number may have been somebody else's.
        for seat in self.seats.iter_mut().filter(|seat| seat.found.sight.index == found.sight.index) {
            seat.found.sight.index = None;
        }
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.found.sight.gpu == *name) {
            let sight = &mut seat.found.sight;
            sight.index = found.sight.index;
            sight.driver = found.sight.driver;
            sight.nodes = found.sight.nodes;
            return None;
        }
        match found.method {
            Ok(method) if self.seats.len() < MAX_DEVICES => return Some(self.seat(found, method)),
            Ok(_) => self.unreadable.push(Found { method: Err(Fault::Limit), ..found }),
            Err(_) => self.unreadable.push(found),
        }
        None
    }

    /// Whoever was not seen has no number any more, unless he is still being looked at.
    fn miss_all_but(&mut self, seen: &[Name], open: &BTreeSet<u32>) {
        let is_missed = |found: &Found| {
            let is_open = found.sight.index.is_some_and(|index| open.contains(&index));
            !is_open && !seen.contains(&found.sight.gpu)
        };
        for seat in self.seats.iter_mut().filter(|seat| is_missed(&seat.found)) {
            seat.found.sight.index = None;
        }
        self.unreadable.retain(|found| !is_missed(found));
    }
}
