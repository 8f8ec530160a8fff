//! The heart beat: wait for the tick or for a birth, read everything, step the engine, hand the outcome
//! to the keeper, which publishes it once it is on disk. One blocking thread; nothing here waits for a
//! reader or for the disk, and no reader waits for it.

pub mod keeper;
pub mod predictions;
mod pricing;
mod states;
pub mod wake;

use crate::clock;
use crate::engine::Engine;
use crate::job::consumers::{Consumers, Recognition};
use crate::job::directory::Directory;
use crate::job::gpu::{Around, Holders};
use crate::job::own::OwnProcess;
use crate::job::processor::Processors;
use crate::job::register::Callers;
use crate::job::speech::Inbox;
use crate::kernel_file::Buffer;
use crate::model::checkpoint::{Buckets, Checkpoint};
use crate::model::gpu::{Sight, Use};
use crate::model::grid::Grid;
use crate::model::identity::Name;
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::reading::{Accounting, Factor, Fault, Finding, Groups, Header, Load, Machine, Tick};
use crate::model::snapshot::{PushState, SamplerState, Snapshot, SourceState};
use crate::model::time::Moment;
use crate::source::Sources;
use arc_swap::ArcSwapOption;
use keeper::Keeper;
use predictions::Predictions;
use pricing::Pricing;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use states::{States, note};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use wake::Wake;

/// After births and deaths were attended to, the next ones wait this long, so that a storm of them
/// costs one look each 20 ms.
const STORM_PAUSE: Nanos = Nanos::new(20_000_000);

/// A tick that was asked for comes so long after the one before it at the earliest: it covers something.
const SOONEST: Nanos = Nanos::new(10_000_000);

/// So many ticks in a row without /proc/stat do not take place: a minute by default.
const MAX_BLIND_TICKS: u32 = 12;

/// Clocks that part by more than this were set, or one of them stood still; corrections by NTP are slower.
const CLOCKS_APART: Nanos = Nanos::new(100_000_000);

/// The source names of the control groups, of processes and of /proc/stat on the page.
pub const CGROUP: &str = "cgroup";
/// See [`CGROUP`].
pub const PROCESS: &str = "process";
/// See [`CGROUP`].
pub const CPU: &str = "cpu";

/// What a sampler is made of.
pub struct Parts {
    /// Joules and watts.
    pub sources: Sources,
    /// Busy time.
    pub processors: Processors,
    /// Control groups or processes, if there are any to see.
    pub consumers: Option<Consumers>,
    /// What they are called, if somebody is to find out.
    pub directory: Option<Directory>,
    /// Who holds accelerators, if somebody is to find out.
    pub holders: Option<Holders>,
    /// What was found of them.
    pub findings: Vec<Finding>,
    /// Ourselves.
    pub own: OwnProcess,
    /// The `host` label.
    pub host: Name,
    /// The processor's name for itself.
    pub cpu_model: Name,
    /// The kernel's release.
    pub kernel: Name,
    /// How to account.
    pub accounting: Accounting,
    /// The grams, while nothing better is known.
    pub factor: Factor,
    /// Where what is known of the grid is left; `None`: the above is all there is.
    pub grid: Option<Arc<ArcSwapOption<Grid>>>,
    /// The tick's length.
    pub interval: Nanos,
    /// What an earlier process left.
    pub past: Past,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Past {
    /// Where it stopped, if its counters go on.
    pub checkpoint: Option<Checkpoint>,
    /// What it had learnt about idle power, by [`crate::model::checkpoint::floor_key`].
    pub floors: Vec<(Name, Buckets)>,
    /// The next number for a job.
    pub next_number: u64,
}

/// The sampler.
pub struct Sampler {
    machine: Arc<Machine>,
    sources: Sources,
    processors: Processors,
    consumers: Option<Consumers>,
    directory: Option<Directory>,
    holders: Option<Holders>,
    own: OwnProcess,
    engine: Engine,
    accounting: Accounting,
    pricing: Pricing,
    interval: Nanos,
    states: States,
    state: SamplerState,
    last: Option<(Moment, CpuTime)>,
    clocks: Option<Moment>,
    // By what groups are looked for now, and by what those were found that the engine knows.
    rules: Name,
    view: Name,
    blind_ticks: u32,
    buffer: Buffer,
    push: Option<Arc<Mutex<PushState>>>,
    wake: Option<Arc<Wake>>,
    inbox: Option<Arc<Inbox>>,
    predictions: Predictions,
}

/// New settings for a running sampler.
pub struct Update {
    /// How to account.
    pub accounting: Accounting,
    /// The grams, while nothing better is known.
    pub factor: Factor,
    /// How to recognise jobs.
    pub recognition: Recognition,
    /// How to tell the job of a process.
    pub callers: Callers,
    /// The tick's length.
    pub interval: Nanos,
}

/// What passes between the sampler's thread and the rest: the newest of each, never a queue.
#[derive(Default)]
pub struct Mailbox {
    /// The newest snapshot.
    pub latest: Arc<ArcSwapOption<Snapshot>>,
    update: Mutex<Option<Update>>,
}

impl Mailbox {
    /// Leaves new settings for the sampler, which takes them up at its next tick.
    pub fn update(&self, update: Update) {
        *self.update.lock().expect("the sampler does not panic while it takes an update") = Some(update);
    }

    fn take_update(&self) -> Option<Update> {
        self.update.lock().expect("nobody panics while leaving an update").take()
    }
}

impl Sampler {
    /// Puts the parts together; nothing is read yet.
    #[must_use]
    pub fn new(mut parts: Parts) -> Sampler {
        let domains = parts.sources.domains();
        let machine = Machine { host: parts.host, cpu_model: parts.cpu_model, kernel: parts.kernel, domains };
        let states = States::new(&machine.domains, parts.sources.findings.iter().chain(&parts.findings));
        let rules = parts.consumers.as_ref().map(Consumers::view).unwrap_or_default();
        let engine = engine(machine, &parts.accounting, &parts.past, &rules);
        if let Some(checkpoint) = parts.past.checkpoint {
            parts.processors.resume(&checkpoint.usage.processors);
        }
        Sampler {
            machine: Arc::clone(engine.machine()),
            engine,
            sources: parts.sources,
            processors: parts.processors,
            consumers: parts.consumers,
            directory: parts.directory,
            holders: parts.holders,
            own: parts.own,
            accounting: parts.accounting,
            pricing: Pricing::new(parts.grid, parts.factor),
            interval: parts.interval,
            states,
            state: SamplerState::default(),
            last: None,
            clocks: None,
            rules,
            view: "".into(),
            blind_ticks: 0,
            buffer: Buffer::default(),
            push: None,
            wake: None,
            inbox: None,
            predictions: Predictions::default(),
        }
    }

    /// Ticks from now on whenever it is asked to, too.
    pub fn wake_by(&mut self, wake: Arc<Wake>) {
        self.wake = Some(wake);
    }

    /// Listens from now on to what jobs say of themselves.
    pub fn listen_to(&mut self, inbox: Arc<Inbox>) {
        self.inbox = Some(inbox);
    }

    /// Shows from now on how pushes fare.
    pub fn show_push(&mut self, state: Arc<Mutex<PushState>>) {
        self.push = Some(state);
    }

    /// What a recording of this sampler's ticks begins with.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            jouleprint_recording: Header::VERSION,
            machine: Machine::clone(&self.machine),
            accounting: self.accounting.clone(),
            interval: self.interval,
        }
    }

    /// Reads everything: the processors, the groups, children before parents, then the meters. `None` if
    /// the processors cannot be read: whose the energy is cannot be told without them, and the next
    /// tick will find all of it. After a minute of that the jobs are charged with everything.
    pub fn read(&mut self, at: Moment) -> Option<Tick> {
        self.watch_clocks(&at);
        let cpus = self.processors.read(&mut self.buffer);
        if let Some(state) = self.states.get_mut(CPU) {
            note(state, cpus.err(), &at);
        }
        self.blind_ticks = if cpus.is_ok() { 0 } else { self.blind_ticks.saturating_add(1) };
        if (1..=MAX_BLIND_TICKS).contains(&self.blind_ticks) {
            return None;
        }
        let cpus = cpus.unwrap_or(0);
        // Before the groups: whoever has spoken is then seen.
        let speech = self.inbox.as_ref().map(|inbox| inbox.take()).unwrap_or_default();
        let groups = match &mut self.consumers {
            Some(consumers) => consumers.collect(&mut self.buffer),
            None => Groups::default(),
        };
        self.view.clone_from(&self.rules);
        let load = self.load(&at, cpus);
        let meters = self.sources.read(load, &mut self.buffer);
        let domains = self.states.note_meters(&self.sources, &meters, &at);
        if let Some(consumers) = &self.consumers {
            let sight = consumers.state();
            let observed = u32::try_from(sight.observed).unwrap_or(u32::MAX);
            self.state.watches_cgroups = sight.is_watching;
            let source = match consumers {
                Consumers::Groups(_) => {
                    self.state.groups = observed;
                    CGROUP
                }
                Consumers::Processes(_) => {
                    self.state.processes = Some(observed);
                    PROCESS
                }
            };
            if let Some(state) = self.states.get_mut(source) {
                note(state, (sight.hidden > 0).then_some(Fault::Limit), &at);
                state.errors = sight.errors;
            }
        }
        let namings = match &mut self.directory {
            Some(directory) => directory.follow(&groups, at.monotonic),
            None => Vec::new(),
        };
        let gpus = self.holders(&groups, &at);
        let (plan, factor) = self.pricing.look(&at);
        Some(Tick {
            at,
            domains,
            gpus,
            meters,
            busy: self.processors.busy().to_vec(),
            cpus,
            groups,
            namings,
            speech,
            plan,
            factor,
        })
    }

    /// Who holds and uses each accelerator.
    fn holders(&mut self, groups: &Groups, at: &Moment) -> Vec<Use> {
        let Some(holders) = &mut self.holders else { return Vec::new() };
        let sights: Vec<&Sight> = self.sources.gpus().collect();
        let grants = self.directory.as_mut().and_then(|directory| {
            directory.want_devices(!sights.is_empty());
            (!sights.is_empty()).then(|| directory.grants())
        });
        let grants = grants.unwrap_or_default();
        let around = Around { groups, grants: &grants, consumers: self.consumers.as_ref() };
        holders.assign(&sights, &around, at)
    }

    /// One tick: read, step, and the snapshot of what is true now.
    pub fn tick(&mut self, at: Moment) -> Snapshot {
        let began = clock::monotonic();
        if let Some(tick) = self.read(at) {
            for tick in self.pricing.settle(tick) {
                self.step(&tick);
            }
        }
        self.state.observe(clock::monotonic().saturating_sub(began));
        self.snapshot(at)
    }

    /// Accounts for what was read.
    pub fn step(&mut self, tick: &Tick) {
        self.engine.step(tick);
        if tick.domains.is_some() {
            self.machine = Arc::clone(self.engine.machine());
        }
    }

    /// The state after the last tick.
    #[must_use]
    pub fn snapshot(&mut self, at: Moment) -> Snapshot {
        let mut sources: Vec<SourceState> = self.states.all().cloned().collect();
        sources.extend(self.directory.as_ref().map(Directory::sources).unwrap_or_default());
        sources.extend(self.holders.as_ref().map(Holders::states).unwrap_or_default());
        sources.extend(self.pricing.grid().iter().flat_map(|grid| grid.sources.iter().cloned()));
        let totals = Arc::new(self.engine.totals());
        let plan = self.pricing.grid().map(|grid| &*grid.plan);
        self.predictions.look(&totals, &at, plan, self.pricing.factor());
        Snapshot {
            at,
            interval: self.interval,
            machine: Arc::clone(&self.machine),
            totals,
            factor: Arc::clone(self.pricing.factor()),
            grid: self.pricing.grid().cloned(),
            sources,
            gpus: states::gpus(&self.sources),
            predictions: Arc::clone(&self.predictions.all),
            sampler: self.state.clone(),
            store: None,
            push: self.push.as_ref().map(|state| state.lock().expect("nothing panics with it").clone()),
            process: self.own.read(&mut self.buffer),
        }
    }

    /// Everything that must outlive the process, after the tick that gave `snapshot`.
    #[must_use]
    pub fn checkpoint(&self, snapshot: &Snapshot) -> Checkpoint {
        let saw_all = self.consumers.as_ref().is_some_and(Consumers::sees_all);
        let view = (Arc::clone(&self.view), saw_all);
        self.engine.checkpoint(snapshot.at, Arc::clone(&snapshot.totals), self.processors.position(), view)
    }

    /// Everything up to this monotonic time is on disk.
    pub fn committed(&mut self, through: Nanos) {
        self.engine.committed(through);
    }

    /// Takes up new settings. Counters stay; groups are recognised anew.
    pub fn reconfigure(&mut self, update: Update) {
        self.engine.reconfigure(update.accounting.clone());
        self.accounting = update.accounting;
        self.pricing.fall_back_to(update.factor);
        self.interval = update.interval;
        if let Some(holders) = &mut self.holders {
            holders.recognise(update.callers);
        }
        if let Some(consumers) = &mut self.consumers {
            consumers.reconfigure(update.recognition, &mut self.buffer);
            self.rules = consumers.view();
        }
    }

    /// Ticks until `stop` becomes readable; then once more, so that nothing up to the end is missing.
    pub fn run(&mut self, mailbox: &Mailbox, keeper: Keeper, stop: &OwnedFd) {
        let mut due = clock::monotonic();
        loop {
            self.committed(keeper.committed_through());
            let snapshot = self.tick(clock::now());
            if !self.pricing.is_waiting() {
                let checkpoint = self.checkpoint(&snapshot);
                keeper.take(snapshot, checkpoint);
            }
            if let Some(update) = mailbox.take_update() {
                self.reconfigure(update);
            }
            // One that was asked for comes between two that are due, and moves neither.
            if clock::monotonic() >= due {
                due = self.next(due);
            }
            if self.wait(due, stop) {
                self.pricing.stop_waiting();
                let snapshot = self.tick(clock::now());
                let checkpoint = self.checkpoint(&snapshot);
                return keeper.close(snapshot, checkpoint);
            }
        }
    }

    /// Hands over each tick as it was read, until `take` has enough or `stop` becomes readable. Nothing is
    /// accounted for.
    pub fn record(&mut self, stop: &OwnedFd, mut take: impl FnMut(Tick) -> bool) {
        let mut due = clock::monotonic();
        loop {
            if self.read(clock::now()).is_some_and(|tick| !take(tick)) {
                return;
            }
            due = self.next(due);
            if self.wait(due, stop) {
                return;
            }
        }
    }

    /// When the next tick is due; those that have been missed do not take place.
    fn next(&mut self, due: Nanos) -> Nanos {
        let mut due = due + self.interval;
        let now = clock::monotonic();
        while due < now {
            due += self.interval;
            self.state.skipped += 1;
        }
        due
    }

    /// Waits until `due`, attending to births and deaths. Returns whether it is time to stop.
    fn wait(&mut self, due: Nanos, stop: &OwnedFd) -> bool {
        let mut quiet_until = Nanos::ZERO;
        let soonest = clock::monotonic() + SOONEST;
        let mut due = due;
        loop {
            let now = clock::monotonic();
            if now >= due {
                return false;
            }
            let is_quiet = now < quiet_until;
            let until = if is_quiet { quiet_until.min(due) } else { due };
            let births = self.consumers.as_ref().and_then(Consumers::fd).filter(|_| !is_quiet);
            let wake = self.wake.as_ref().map(|wake| wake.fd());
            let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
            fds.extend(
                [births, wake].into_iter().flatten().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
            );
            let left = until.saturating_sub(now).get();
            let timeout = Timespec {
                tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
            };
            // EINTR: look at the clock again.
            let _ = poll(&mut fds, Some(&timeout));
            let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
            if events.next() == Some(true) {
                return true;
            }
            let has_births = births.is_some() && events.next() == Some(true);
            let is_asked = wake.is_some() && events.next() == Some(true);
            if is_asked && let Some(wake) = &self.wake {
                wake.clear();
                due = due.min(soonest);
            }
            if has_births && let Some(consumers) = &mut self.consumers {
                consumers.attend(&mut self.buffer);
                quiet_until = clock::monotonic() + STORM_PAUSE;
            }
        }
    }

    /// Notes what the clocks did since the last tick that intervals must not see.
    fn watch_clocks(&mut self, at: &Moment) {
        let Some(before) = self.clocks.replace(*at) else { return };
        let passed = at.boottime.saturating_sub(before.boottime);
        let expected = before.wall + passed;
        let step = at.wall.saturating_sub(expected) + expected.saturating_sub(at.wall);
        if step > CLOCKS_APART {
            self.state.clock_steps += 1;
            tracing::warn!(seconds = step.as_seconds(), "the wall clock was set; intervals are not affected");
        }
        let slept = passed.saturating_sub(at.since(&before));
        if slept > CLOCKS_APART {
            self.state.suspended += slept;
            tracing::info!(seconds = slept.as_seconds(), "the machine slept");
        }
    }

    /// How busy the machine was since the last tick.
    fn load(&mut self, at: &Moment, cpus: u32) -> Load {
        let busy: CpuTime = self.processors.busy().iter().fold(CpuTime::ZERO, |sum, busy| sum + *busy);
        let Some((since, before)) = self.last.replace((*at, busy)) else {
            return Load { at: at.monotonic, busy_ppm: 0 };
        };
        let capacity = u128::from(at.since(&since).get()) * u128::from(cpus);
        let used = u128::from(busy.saturating_sub(before).get());
        let ppm = (used * 1_000_000).checked_div(capacity).unwrap_or(0).min(1_000_000);
        Load { at: at.monotonic, busy_ppm: u32::try_from(ppm).expect("at most a million") }
    }
}

/// An engine that goes on where an earlier one stopped, if it may.
fn engine(machine: Machine, accounting: &Accounting, past: &Past, view: &Name) -> Engine {
    let mut engine = match &past.checkpoint {
        Some(checkpoint) => {
            let usage = &checkpoint.usage;
            // Of another boot nothing is known: what the groups have used since it began is not of our time.
            let knew_all =
                checkpoint.is_of_this_boot() && usage.is_complete && !view.is_empty() && usage.view == *view;
            Engine::resume(&machine, accounting.clone(), checkpoint, knew_all)
        }
        None => Engine::new(Arc::new(machine), accounting.clone()),
    };
    engine.learn(&past.floors);
    engine.number_from(past.next_number);
    engine
}

/// A pipe whose write end, when dropped, tells the sampler to stop.
///
/// # Errors
/// The process has no descriptors left.
pub fn stop_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((read, write))
}
