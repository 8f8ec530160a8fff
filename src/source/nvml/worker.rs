//! The thread of one device: it reads energy when the sampler rings, and power at its own pace. Nobody else
//! reads that device's energy, so that a device which hangs keeps one thread.

use super::device::{Identity, Method, read};
use super::library::{Pause, Session, fault};
use super::office::{Call, Office, Who};
use crate::clock;
use crate::model::quantity::Nanos;
use crate::model::reading::{Fault, Measurement, Value};
use crate::source::background::Cell;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;
use std::sync::Arc;
use std::time::Duration;

/// Where there is only power it is read this often: five times a second meets what changes within one.
const PACE: Duration = Duration::from_millis(200);

/// Ticks that follow each other closely leave no time between them: a tick reads what is older than this.
const OLD: Nanos = Nanos::new(2 * 200_000_000);

/// A power that could not be read again holds for so long.
const HOLD: Nanos = Nanos::from_seconds(5);

/// Who reads one device.
pub(super) struct Worker {
    pub(super) office: Arc<Office>,
    pub(super) number: usize,
    pub(super) identity: Identity,
    pub(super) method: Method,
    pub(super) measurement: Measurement,
}

impl Worker {
    /// Works until the end, with one session after another.
    pub(super) fn work(&self) {
        let mut cell = Cell::new(self.measurement);
        let mut before = 0;
        while let Some((number, session)) = self.office.session(Who::Worker(self.number), before) {
            self.serve(number, &session, &mut cell);
            before = number;
            // The foreman waits for everybody to let go.
            drop(session);
            self.office.ring();
        }
    }

    fn serve(&self, session_number: u64, session: &Session, cell: &mut Cell) {
        let who = Who::Worker(self.number);
        let polls = self.method != Method::Counter && !self.office.is_in_step;
        let mut reader = Reader {
            worker: self,
            session,
            device: None,
            pause: Pause::default(),
            last: Fault::Io,
            has_failed: false,
            noted: None,
        };
        loop {
            match self.office.await_call(who, session_number, polls.then_some(PACE)) {
                Call::Leave => return,
                Call::Quiet => {
                    if polls {
                        reader.note(cell);
                    }
                    self.office.done(who);
                }
                Call::Tick(at) => {
                    let outcome = match self.method {
                        Method::Counter => reader.read(at),
                        // Between ticks it is read by the clock of this thread, and a tick takes what is
                        // there: that it falls into a slow reading makes it no slower.
                        Method::Power | Method::Module if polls => {
                            let now = clock::monotonic();
                            if reader.noted.is_none_or(|noted| now.saturating_sub(noted) > OLD) {
                                reader.note(cell);
                            }
                            cell.collect(clock::monotonic(), HOLD)
                        }
                        Method::Power | Method::Module => {
                            cell.note(at, reader.read(at));
                            cell.collect(at, HOLD)
                        }
                    };
                    self.office.answer(self.number, outcome, reader.has_failed);
                }
            }
        }
    }
}

/// A device's handle while it is good, and what to do about one that is not.
struct Reader<'a> {
    worker: &'a Worker,
    session: &'a Session,
    device: Option<Device<'a>>,
    pause: Pause,
    last: Fault,
    // The last reading was none.
    has_failed: bool,
    // When a reading was last noted.
    noted: Option<Nanos>,
}

impl Reader<'_> {
    /// Reads between two ticks.
    fn note(&mut self, cell: &mut Cell) {
        let at = clock::monotonic();
        cell.note(at, self.read(at));
        self.noted = Some(clock::monotonic());
    }

    fn read(&mut self, at: Nanos) -> Result<Value, Fault> {
        let outcome = self.try_to_read(at);
        self.has_failed = outcome.is_err();
        outcome
    }

    fn try_to_read(&mut self, at: Nanos) -> Result<Value, Fault> {
        if self.device.is_none() && !self.pause.is_over(at) {
            return Err(self.last);
        }
        match self.attempt() {
            Ok(value) => {
                self.pause = Pause::default();
                Ok(value)
            }
            Err(error) => {
                tracing::debug!(number = self.worker.number, "a GPU that cannot be read: {error}");
                self.device = None;
                self.pause.lengthen(at);
                self.last = match fault(&error) {
                    // It was there: a driver that no longer knows it has lost it.
                    Fault::Missing => Fault::Lost,
                    fault => fault,
                };
                Err(self.last)
            }
        }
    }

    fn attempt(&mut self) -> Result<Value, NvmlError> {
        let device = match self.device.take() {
            Some(device) => device,
            None => self.worker.identity.find(self.session)?,
        };
        let value = read(&device, self.worker.method)?;
        self.device = Some(device);
        Ok(value)
    }
}
