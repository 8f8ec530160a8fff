//! The thread that opens the library, finds the devices and gives each its worker. Opening and finding may
//! hang like everything else, so that the sampler does neither.
//!
//! It is started before the exporter gives up its rights and gives up its own share by itself: NVML opens
//! /dev/nvidia* for writing, which is all that may be written from here on. All other threads of this source
//! descend from it.

use super::clerk::Clerk;
use super::device::Found;
use super::library::{Pause, Session, on_the_bus, open};
use super::office::{Call, MAX_DEVICES, Office, State, Who};
use super::worker::Worker;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use std::path::PathBuf;
use std::sync::Arc;

/// Whether there are other devices than before is looked for this often.
const PATROL: Nanos = Nanos::from_seconds(60);

/// Who finds the devices.
pub(super) struct Foreman {
    office: Arc<Office>,
    library: Option<PathBuf>,
    sysfs: PathBuf,
    pause: Pause,
    patrol: Nanos,
    // What was there when the devices were last looked for: the driver's count, and the bus.
    count: u32,
    bus: Vec<String>,
    has_clerk: bool,
}

/// What was found in one look.
struct Roll {
    count: u32,
    found: Vec<Found>,
    // One was there that did not answer.
    is_short: bool,
}

impl Foreman {
    pub(super) fn new(office: Arc<Office>, library: Option<PathBuf>, sysfs: PathBuf) -> Foreman {
        Foreman {
            office,
            library,
            sysfs,
            pause: Pause::default(),
            patrol: Nanos::ZERO,
            count: 0,
            bus: Vec::new(),
            has_clerk: false,
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
                Call::Tick(at) => self.attend(at),
            }
            self.office.done(Who::Foreman);
        }
    }

    fn attend(&mut self, at: Nanos) {
        let state = self.office.lock();
        let session = state.session.clone();
        let is_wanted = state.seats.iter().any(|seat| seat.wants_session);
        drop(state);
        let Some(session) = session else {
            if self.pause.is_over(at) {
                self.begin(at);
            }
            return;
        };
        let has_changed = at >= self.patrol && {
            self.patrol = at + PATROL;
            self.has_changed(&session)
        };
        drop(session);
        if (is_wanted || has_changed) && self.pause.is_over(at) {
            // In step everybody else waits for us.
            if !self.office.is_in_step {
                self.office.let_readings_pass();
            }
            self.office.withdraw();
            self.begin(at);
        } else if !is_wanted && self.pause.is_over(at) {
            self.pause = Pause::default();
        }
    }

    /// Whether other devices are there than when they were last looked for.
    fn has_changed(&self, session: &Session) -> bool {
        session.nvml.device_count().is_ok_and(|count| count != self.count)
            || on_the_bus(&self.sysfs) != self.bus
    }

    /// Opens the library and finds the devices. Whatever comes of it, the next time is some time off.
    fn begin(&mut self, at: Nanos) {
        self.bus = on_the_bus(&self.sysfs);
        self.patrol = at + PATROL;
        match open(self.library.as_deref()) {
            Ok(session) => {
                let session = Arc::new(session);
                let roll = self.call_the_roll(&session);
                self.count = roll.count;
                let new = self.office.lock().enrol(roll.found);
                // The threads of new devices begin with this session.
                self.office.provide(session);
                new.into_iter().for_each(|number| self.hire(number));
                if roll.is_short || self.office.lock().seats.iter().any(|seat| seat.wants_session) {
                    self.pause.lengthen(at);
                    // Who did not answer may do so next time.
                    self.count = if roll.is_short { u32::MAX } else { self.count };
                    self.patrol = if roll.is_short { at } else { self.patrol };
                } else {
                    self.pause = Pause::default();
                }
            }
            Err(trouble) => {
                match trouble.is_absent {
                    true => self.pause.rest(at),
                    false => self.pause.lengthen(at),
                }
                let mut state = self.office.lock();
                if state.trouble.as_ref() != Some(&trouble) {
                    state.trouble = Some(trouble);
                }
            }
        }
    }

    fn call_the_roll(&self, session: &Session) -> Roll {
        let count = session.nvml.device_count().unwrap_or(0);
        let mut roll = Roll { count, found: Vec::new(), is_short: false };
        let most = u32::try_from(MAX_DEVICES).unwrap_or(u32::MAX);
        for index in 0..count.min(most) {
            let device = session.nvml.device_by_index(index);
            match device.and_then(|device| Found::look(session, &device, index)) {
                Ok(found) => roll.found.push(found),
                Err(error) => {
                    tracing::debug!(index, "a GPU that cannot be looked at: {error}");
                    roll.is_short = true;
                }
            }
        }
        roll
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

impl State {
    /// Notes who is there. New devices come at the end, and their numbers are returned.
    fn enrol(&mut self, all: Vec<Found>) -> Vec<usize> {
        let mut new = Vec::new();
        self.unreadable.clear();
        for seat in &mut self.seats {
            // Its number may be somebody else's now.
            seat.found.sight.index = None;
        }
        for found in all {
            match self.seats.iter_mut().find(|seat| seat.found.sight.gpu == found.sight.gpu) {
                Some(seat) => {
                    let sight = &mut seat.found.sight;
                    sight.index = found.sight.index;
                    sight.driver = found.sight.driver;
                    sight.nodes = found.sight.nodes;
                }
                None => match found.method {
                    Ok(method) if self.seats.len() < MAX_DEVICES => new.push(self.seat(found, method)),
                    Ok(_) => self.unreadable.push(Found { method: Err(Fault::Limit), ..found }),
                    Err(_) => self.unreadable.push(found),
                },
            }
        }
        new
    }
}
