//! What may block is read by a thread of its own: a sensor behind a slow bus, a management controller,
//! a server. The sampler takes what has come since it last asked and never waits; a device that hangs
//! costs its own readings and nobody else's.

use super::PowerSource;
use super::cut::Scope;
use crate::clock;
use crate::kernel_file::Buffer;
use crate::model::gpu::Sight;
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Load, Measurement, Value};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A thread that has to end tidily, to close a session, has this long.
const GRACE: Duration = Duration::from_millis(500);

/// The first reading has this long before the first tick goes on without it.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// Reads that failed or are missing are forgiven for so many periods, and this long.
const HELD_PERIODS: u64 = 3;
const HELD_AT_LEAST: Nanos = Nanos::from_seconds(5);

/// Something that takes its time.
pub trait SlowSource: Send {
    /// What it measures; fixed at discovery.
    fn domains(&self) -> &[Domain];

    /// What the domain with this number stands around.
    fn scope(&self, _: usize) -> Scope {
        Scope::Own
    }

    /// The accelerators it reads; fixed at discovery.
    fn gpus(&self) -> &[Sight] {
        &[]
    }

    /// Reads all of them, in that order; may block for long. `at` is the monotonic time.
    fn read(&mut self, at: Nanos) -> Vec<Result<Value, Fault>>;

    /// Nothing more will be read.
    fn close(&mut self) {}
}

/// A thread that reads a [`SlowSource`] again and again.
pub struct Background {
    name: &'static str,
    period: Nanos,
    domains: Vec<Domain>,
    scopes: Vec<Scope>,
    gpus: Vec<Sight>,
    source: Option<Box<dyn SlowSource>>,
    desk: Arc<Desk>,
    is_started: bool,
}

/// What the thread leaves and the sampler takes.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    stop: Condvar,
    news: Condvar,
}

#[derive(Default)]
struct State {
    cells: Vec<Cell>,
    is_told: bool,
    has_ended: bool,
}

impl Background {
    /// Reads `source` every `period`, from the first time on that it is asked for values: threads
    /// start only after all rights that are not needed were given up.
    #[must_use]
    pub fn new(name: &'static str, period: Nanos, source: Box<dyn SlowSource>) -> Background {
        let domains = source.domains().to_vec();
        let scopes = (0..domains.len()).map(|index| source.scope(index)).collect();
        let gpus = source.gpus().to_vec();
        let cells = domains.iter().map(|domain| Cell::new(domain.measurement)).collect();
        let desk = Desk { state: Mutex::new(State { cells, ..State::default() }), ..Desk::default() };
        Background {
            name,
            period,
            domains,
            scopes,
            gpus,
            source: Some(source),
            desk: Arc::new(desk),
            is_started: false,
        }
    }

    /// Starts the thread, and gives its first reading a moment: most sensors answer at once.
    fn start(&mut self) {
        let Some(mut source) = self.source.take() else { return };
        let (desk, period) = (Arc::clone(&self.desk), self.period);
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        let started = thread.spawn(move || {
            desk.work(&mut *source, period);
            source.close();
            desk.lock().has_ended = true;
            desk.stop.notify_all();
        });
        match started {
            Ok(_) => {
                self.is_started = true;
                let is_unread = |state: &mut State| state.cells.iter().any(|cell| cell.tried.is_none());
                let _ = self.desk.news.wait_timeout_while(self.desk.lock(), FIRST_LOOK, is_unread);
            }
            Err(error) => {
                tracing::error!(source = self.name, "no thread for it: {error}");
                self.desk.lock().cells.iter_mut().for_each(|cell| cell.fault = Some(Fault::Limit));
            }
        }
    }
}

impl PowerSource for Background {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, index: usize) -> Scope {
        self.scopes[index].clone()
    }

    fn gpus(&self) -> &[Sight] {
        &self.gpus
    }

    fn read(&mut self, _: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        self.start();
        let hold = HELD_AT_LEAST + Nanos::new(self.period.get() * HELD_PERIODS);
        let now = clock::monotonic();
        values.extend(self.desk.lock().cells.iter_mut().map(|cell| cell.collect(now, hold)));
    }
}

/// A slow source that is read when it is asked: for recordings and tests, which have clocks of their own.
pub struct Foreground(pub Box<dyn SlowSource>);

impl PowerSource for Foreground {
    fn domains(&self) -> &[Domain] {
        self.0.domains()
    }

    fn scope(&self, index: usize) -> Scope {
        self.0.scope(index)
    }

    fn gpus(&self) -> &[Sight] {
        self.0.gpus()
    }

    fn read(&mut self, load: Load, _: &mut Buffer, values: &mut Vec<Result<Value, Fault>>) {
        values.extend(self.0.read(load.at));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        state.is_told = true;
        self.desk.stop.notify_all();
        if self.is_started {
            // One that hangs is left behind.
            let _ = self.desk.stop.wait_timeout_while(state, GRACE, |state| !state.has_ended);
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("neither side panics with the desk in hand")
    }

    /// Reads until told to stop. What a late reading has missed is not made up for.
    fn work(&self, source: &mut dyn SlowSource, period: Nanos) {
        loop {
            let began = clock::monotonic();
            let outcomes = source.read(began);
            let ended = clock::monotonic();
            // A value is of the middle of the time that it took.
            let at = began + Nanos::new(ended.saturating_sub(began).get() / 2);
            let mut state = self.lock();
            for (cell, outcome) in state.cells.iter_mut().zip(outcomes) {
                cell.note(at, outcome);
            }
            self.news.notify_all();
            let left = (began + period).saturating_sub(ended).get();
            let wait = Duration::from_nanos(left.max(period.get() / 10));
            let waited = self.stop.wait_timeout_while(state, wait, |state| !state.is_told);
            if waited.expect("neither side panics with the desk in hand").0.is_told {
                return;
            }
        }
    }
}

/// Looks at something that may never answer, for so long and no longer. What hangs is left behind.
///
/// # Errors
/// It did not answer in time.
pub fn within<T: Send + 'static>(
    patience: Nanos,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    all_within(patience, vec![look]).remove(0)
}

/// The same for several at a time: all of them together have so long, and one that hangs takes no other
/// along. The outcomes are in the order of the looks.
pub fn all_within<T: Send + 'static, L: FnOnce() -> T + Send + 'static>(
    patience: Nanos,
    looks: Vec<L>,
) -> Vec<Result<T, Fault>> {
    let began: Vec<_> = looks
        .into_iter()
        .map(|look| {
            let (give, take) = std::sync::mpsc::channel();
            let thread = std::thread::Builder::new().name("probe".to_owned());
            let thread = thread.spawn(move || {
                let _ = give.send(look());
            });
            thread.map(|thread| (thread, take)).map_err(|_| Fault::Limit)
        })
        .collect();
    let deadline = clock::monotonic() + patience;
    let outcomes = began.into_iter().map(|began| {
        let (thread, take) = began?;
        let left = deadline.saturating_sub(clock::monotonic());
        let seen = take.recv_timeout(Duration::from_nanos(left.get())).map_err(|_| Fault::Timeout)?;
        // It has nothing left to do, and must be gone before rights are given up.
        let _ = thread.join();
        Ok(seen)
    });
    outcomes.collect()
}

/// One domain's readings since they were last taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    last: Option<(Nanos, Value)>,
    // When it was last read, with or without success.
    tried: Option<Nanos>,
    // The integral of the power since the last collection, and the time it covers.
    integral: u128,
    covered: u64,
    fault: Option<Fault>,
    // A mean of many readings would hide one that cannot be.
    ceiling: Option<MicroWatts>,
    has_refused: bool,
}

impl Cell {
    pub(super) fn new(measurement: Measurement) -> Cell {
        let ceiling = match measurement {
            Measurement::MeanPower { ceiling } => Some(ceiling),
            Measurement::Counter { .. } => None,
        };
        Cell { ceiling, ..Cell::default() }
    }

    /// A power between two readings is taken to be their mean, if both are of one stretch.
    pub(super) fn note(&mut self, at: Nanos, outcome: Result<Value, Fault>) {
        self.tried = Some(at);
        let value = match outcome {
            Ok(value) => value,
            Err(fault) => return self.fault = Some(fault),
        };
        if let (Value::MeanPower(power), Some(ceiling)) = (value, self.ceiling)
            && power > ceiling
        {
            return self.has_refused = true;
        }
        if let (Value::MeanPower(now), Some((since, Value::MeanPower(before))), None) =
            (value, self.last, self.fault)
        {
            let elapsed = at.saturating_sub(since).get();
            self.integral += (u128::from(now.get()) + u128::from(before.get())) * u128::from(elapsed);
            self.covered += elapsed;
        }
        self.last = Some((at, value));
        self.fault = None;
    }

    /// The mean since the last collection, or the last value while it holds.
    pub(super) fn collect(&mut self, now: Nanos, hold: Nanos) -> Result<Value, Fault> {
        if std::mem::take(&mut self.has_refused) {
            // Told once; what was read beside it comes with the next collection.
            return Err(Fault::Implausible);
        }
        let (integral, covered) = (std::mem::take(&mut self.integral), std::mem::take(&mut self.covered));
        // The thread is still at its first reading, or hangs in a later one.
        if self.tried.is_none_or(|tried| now.saturating_sub(tried) > hold) {
            return Err(Fault::Timeout);
        }
        match (self.last, self.fault) {
            (Some((_, last)), None) => match last {
                Value::Counter(_) => Ok(last),
                Value::MeanPower(power) => {
                    let mean = integral.checked_div(2 * u128::from(covered));
                    let mean = mean.and_then(|mean| u64::try_from(mean).ok());
                    Ok(Value::MeanPower(mean.map_or(power, MicroWatts::new)))
                }
            },
            (_, Some(fault)) => Err(fault),
            (None, None) => Err(Fault::Timeout),
        }
    }
}

/// Watches for a device that shows one value for ever because nobody measures any more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Freshness {
    seen: Option<(u64, Nanos)>,
}

/// What a device shows beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// A time, or something else that always changes while somebody measures.
    Shown,
    /// Nothing: an idle machine in whole watts, or steps of twelve, shows the same for minutes.
    None,
}

impl Pulse {
    /// The same for so long is no measurement.
    const fn longest_same(self) -> Nanos {
        match self {
            Pulse::Shown => Nanos::from_seconds(60),
            Pulse::None => Nanos::from_seconds(900),
        }
    }
}

impl Freshness {
    /// Notes what was shown: everything in an answer that changes while somebody measures.
    ///
    /// # Errors
    /// It has been the same for a minute, or for a quarter of an hour where nothing else is shown.
    pub fn check(&mut self, shown: u64, pulse: Pulse, at: Nanos) -> Result<(), Fault> {
        match self.seen {
            Some((before, since)) if before == shown => {
                if at.saturating_sub(since) >= pulse.longest_same() {
                    Err(Fault::Stale)
                } else {
                    Ok(())
                }
            }
            Some(_) | None => {
                self.seen = Some((shown, at));
                Ok(())
            }
        }
    }
}

/// A counter that somebody else keeps in whole joules.
#[must_use]
pub const fn joules(count: u64) -> Option<Energy> {
    match count.checked_mul(1_000_000) {
        Some(micro) => Some(Energy::from_micro(micro)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::{HwType, Origin};
    use crate::model::reading::Place;
    use std::sync::mpsc::{Receiver, channel};

    fn seconds(count: u64) -> Nanos {
        Nanos::from_seconds(count)
    }

    fn watts(count: u64) -> Value {
        Value::MeanPower(MicroWatts::from_watts(count))
    }

    #[test]
    fn the_mean_since_the_last_collection_is_what_is_taken() {
        let hold = seconds(8);
        let mut cell = Cell::default();
        assert_eq!(cell.collect(seconds(0), hold), Err(Fault::Timeout), "nothing read yet");
        cell.note(seconds(1), Ok(watts(100)));
        assert_eq!(cell.collect(seconds(1), hold), Ok(watts(100)), "one reading is all there is");
        cell.note(seconds(2), Ok(watts(200)));
        cell.note(seconds(3), Ok(watts(200)));
        assert_eq!(cell.collect(seconds(3), hold), Ok(watts(175)), "150 W for 1 s, 200 W for 1 s");
        assert_eq!(cell.collect(seconds(4), hold), Ok(watts(200)), "none new: the last holds");
        assert_eq!(cell.collect(seconds(11), hold), Ok(watts(200)));
        assert_eq!(cell.collect(seconds(12), hold), Err(Fault::Timeout), "the thread hangs");
        cell.note(seconds(20), Ok(watts(100)));
        assert_eq!(cell.collect(seconds(20), hold), Ok(watts(150)), "it was only slow");
    }

    #[test]
    fn one_reading_that_cannot_be_is_told_and_is_in_no_mean() {
        let hold = seconds(8);
        let mut cell = Cell::new(Measurement::MeanPower { ceiling: MicroWatts::from_watts(1_000) });
        for (second, power) in [(1, 500), (2, 500), (3, 65_000), (4, 500), (5, 500)] {
            cell.note(seconds(second), Ok(watts(power)));
        }
        assert_eq!(cell.collect(seconds(5), hold), Err(Fault::Implausible));
        cell.note(seconds(6), Ok(watts(900)));
        assert_eq!(cell.collect(seconds(6), hold), Ok(watts(540)), "4 s of 500 W and 1 s of 700 W");
    }

    #[test]
    fn a_failed_reading_is_told_and_nothing_is_integrated_over_it() {
        let hold = seconds(8);
        let mut cell = Cell::default();
        cell.note(seconds(1), Ok(watts(100)));
        cell.note(seconds(2), Err(Fault::Io));
        assert_eq!(cell.collect(seconds(2), hold), Err(Fault::Io));
        cell.note(seconds(3), Ok(watts(900)));
        assert_eq!(cell.collect(seconds(3), hold), Ok(watts(900)));
        cell.note(seconds(4), Err(Fault::Io));
        assert_eq!(cell.collect(seconds(12), hold), Err(Fault::Io));
        assert_eq!(cell.collect(seconds(13), hold), Err(Fault::Timeout), "it failed, and then it hung");
        let mut counter = Cell::default();
        counter.note(seconds(1), Ok(Value::Counter(Energy::from_micro(7))));
        assert_eq!(counter.collect(seconds(2), hold), Ok(Value::Counter(Energy::from_micro(7))));
    }

    #[test]
    fn the_same_answer_for_a_minute_is_stale_until_it_changes() {
        let mut freshness = Freshness::default();
        for (second, shown, expected) in [
            (0, 5, Ok(())),
            (59, 5, Ok(())),
            (60, 5, Err(Fault::Stale)),
            (90, 5, Err(Fault::Stale)),
            (91, 6, Ok(())),
            (150, 6, Ok(())),
            (151, 6, Err(Fault::Stale)),
        ] {
            assert_eq!(freshness.check(shown, Pulse::Shown, seconds(second)), expected, "at {second} s");
        }
        let mut alone = Freshness::default();
        for (second, expected) in [(0, Ok(())), (60, Ok(())), (899, Ok(())), (900, Err(Fault::Stale))] {
            assert_eq!(alone.check(5, Pulse::None, seconds(second)), expected, "at {second} s");
        }
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let (end, never) = channel::<()>();
        assert_eq!(within(Nanos::new(1_000_000), move || never.recv().is_ok()), Err(Fault::Timeout));
        drop(end);
        assert_eq!(within(Nanos::from_seconds(60), || 7), Ok(7));
    }

    struct Scripted {
        domains: Vec<Domain>,
        gate: Receiver<Value>,
        closed: std::sync::mpsc::Sender<()>,
    }

    impl SlowSource for Scripted {
        fn domains(&self) -> &[Domain] {
            &self.domains
        }

        fn read(&mut self, _: Nanos) -> Vec<Result<Value, Fault>> {
            vec![self.gate.recv().map_err(|_| Fault::Unreachable)]
        }

        fn close(&mut self) {
            let _ = self.closed.send(());
        }
    }

    #[test]
    fn a_device_that_hangs_keeps_nobody_waiting_and_is_closed_at_the_end() {
        let domain = Domain {
            id: "node".into(),
            hw_type: HwType::Other,
            origin: Origin::Measured,
            gpu: "".into(),
            source: "test".into(),
            place: Place::Counted,
            socket: None,
            measurement: Measurement::MeanPower { ceiling: MicroWatts::from_watts(100) },
            floor: None,
            uncertainty_ppm: 0,
        };
        let ((give, gate), (closed, is_closed)) = (channel(), channel());
        let source = Scripted { domains: vec![domain], gate, closed };
        let mut background = Background::new("scripted", Nanos::new(1_000_000), Box::new(source));
        let mut read = || {
            let mut values = Vec::new();
            background.read(Load::default(), &mut Buffer::default(), &mut values);
            values[0]
        };
        assert_eq!(read(), Err(Fault::Timeout), "it hangs, and we are here");
        give.send(watts(50)).expect("the thread waits for it");
        while read() == Err(Fault::Timeout) {
            std::thread::yield_now();
        }
        assert_eq!(read(), Ok(watts(50)));
        drop(give);
        while read() != Err(Fault::Unreachable) {
            std::thread::yield_now();
        }
        drop(background);
        assert_eq!(is_closed.recv(), Ok(()));
    }
}
