//! `jouleprint run`: starts one command and says what it used. The command is told from the rest of the
//! machine by a control group of its own where we may make one, else by its process tree; everything else is
//! the exporter's own account keeping with one job in it.
//!
//! Nothing here may delay the command or change how it behaves: what is slow comes after its start, or is
//! left out, and what fails at the end is told and does not touch its exit code.

pub mod accelerators;
pub mod arguments;
pub mod care;
pub mod cgroup;
pub mod child;
pub mod csv;
pub mod daemon;
pub mod due;
pub mod grid;
pub mod json;
pub mod keep;
pub mod limit;
pub mod live;
pub mod meter;
pub mod outcome;
pub mod output;
pub mod said;
pub mod socket;
pub mod summary;
pub mod tree;

use crate::carbon::poll::Setting;
use crate::carbon::{self, Choice};
use crate::clock;
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings, place};
use crate::daemon::StartError;
use crate::job::passwd::Users;
use crate::kernel_file::Buffer;
use crate::model::checkpoint::Checkpoint;
use crate::model::description::Description;
use crate::model::identity::{JobId, JobKind};
use crate::model::quantity::{CpuTime, Nanos, Pue};
use crate::model::time::Moment;
use arguments::{LabelError, RunArguments, environment};
use care::{Care, NoTerminal};
use cgroup::OwnGroup;
use child::{Child, End, Signals, SpawnError};
use daemon::{Daemon, Host};
use due::Patience;
use grid::Asking;
use jiff::Timestamp;
use live::Live;
use meter::{Job, Meters};
use outcome::{Method, Outcome};
use said::Said;
use signal_hook::consts::SIGCHLD;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use tree::Tree;

/// Between two readings while the command runs.
const TICK: Nanos = Nanos::from_seconds(1);

/// An exporter is asked for its intensity this often, where it is not asked for its meters.
const FACTOR_INTERVAL: Nanos = Nanos::from_seconds(60);

/// What is used where nobody says where the machine is.
const NO_ZONE: &str = "WORLD";

/// The code to end with when we failed and not the command, as `env` and `timeout` do.
pub const OWN_FAILURE: u8 = 125;

/// The code to end with when the command was ended by us, as `timeout` does.
pub const STOPPED: u8 = 124;

/// How it all ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// As the command did.
    Followed(End),
    /// It was told to end, for what it used or was going to.
    Stopped,
}

/// Why the command was not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The machine cannot be looked at, or the settings are wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A label is wrong.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Nobody can be asked.
    #[error(transparent)]
    Terminal(#[from] NoTerminal),
    /// The kernel refuses something basic.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// There is no such command, or it cannot be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl RunError {
    /// The code to end with.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            RunError::Spawn(error) => error.shell_code(),
            RunError::Start(_) | RunError::Label(_) | RunError::Terminal(_) | RunError::System { .. } => {
                OWN_FAILURE
            }
        }
    }
}

/// Runs the command, and tells what it used. Returns how it ended.
///
/// # Errors
/// The command was not started.
pub fn run(flags: &Flags, arguments: &RunArguments) -> Result<Finish, RunError> {
    let settings = Settings::load(flags).map_err(StartError::from)?;
    let user = rustix::process::getuid().as_raw();
    let user_name = Users::read(Path::new("/etc/passwd")).name(&user.to_string());
    let description = arguments.description(user, &user_name)?;
    let mut care = Care::new(arguments)?;
    let mut measured = Measured::start(&settings, flags, description, user)?;
    let (child, started) = measured.spawn(arguments)?;
    let end =
        measured.follow(&child, started, Live::new(arguments), |measured, child, signal| match signal {
            Some(signal) => care.heed(signal, child, &measured.account),
            None => care.look(arguments, &measured.meters, child, &measured.account),
        });
    let (outcome, checkpoint) = measured.finish(arguments, started, end);
    care.look_back(arguments, &measured.meters);
    // First what nobody can hold up: a pipe may have no reader.
    if let Some(folder) = place::runs(arguments.runs.clone())
        && let Err(error) = keep::keep(&folder, &outcome, user, &checkpoint)
    {
        complain(&format!("this run is not kept: {error} (--runs.path none keeps nothing)"));
    }
    deliver(&outcome, arguments);
    Ok(if care.has_stopped() { Finish::Stopped } else { Finish::Followed(end) })
}

/// By what the command's use is told.
pub enum Account {
    /// A control group of its own, and what that showed before.
    Group(OwnGroup, CpuTime),
    /// Its process tree.
    Tree(Tree),
}

impl Account {
    fn method(&self) -> Method {
        match self {
            Account::Group(..) => Method::Cgroup,
            Account::Tree(_) => Method::ProcessTree,
        }
    }

    /// The processes that are the command's, as far as we can list them.
    fn processes(&self) -> Vec<u32> {
        match self {
            Account::Group(group, _) => group.processes(),
            Account::Tree(tree) => tree.processes(),
        }
    }

    /// Whether a process is the command's; `None` if it is there no more.
    fn has(&self, pid: u32) -> Option<bool> {
        match self {
            Account::Group(group, _) => group.has(pid),
            Account::Tree(tree) => tree.has(pid),
        }
    }
}

/// Everything around one command.
struct Measured {
    id: String,
    host: String,
    description: Description,
    account: Account,
    meters: Meters,
    daemon: Option<Daemon>,
    asked: Nanos,
    patience: Patience,
    wants_factor: bool,
    // Whom to ask once the command is there, and who is being asked.
    wish: Option<Setting>,
    asking: Option<Asking>,
    said: Said,
    signals: Signals,
    used: CpuTime,
    interval: Nanos,
    ended: Moment,
    buffer: Buffer,
    has_zone: bool,
    notes: Vec<String>,
}

impl Measured {
    fn start(
        settings: &Settings,
        flags: &Flags,
        description: Description,
        user: u32,
    ) -> Result<Measured, RunError> {
        let factor = carbon::resolve(&settings.carbon, settings.pue.unwrap_or(Pue::ONE))
            .map_err(|error| ConfigError::Flag { name: "zone", message: error.to_string() })
            .map_err(StartError::from)?;
        let now = clock::now();
        let id = id(now.wall);
        let daemon = Daemon::find(&place::job_sockets(flags.job_socket.clone()));
        let wants_factor = flags.zone.as_deref().is_none_or(str::is_empty);
        let at_start = daemon.as_ref().and_then(|daemon| daemon.host(false, wants_factor));
        let account = match OwnGroup::make(&settings.cgroupfs, &id) {
            Ok(group) => Account::Group(group, CpuTime::ZERO),
            Err(error) => {
                tracing::debug!("no control group of its own: {error}");
                Account::Tree(Tree::of_own_children())
            }
        };
        let cgroup = match &account {
            Account::Group(group, _) => Arc::clone(&group.path),
            Account::Tree(_) => "".into(),
        };
        let job = Job { id: JobId::new(JobKind::Run, &id), user, cgroup };
        let said = Said::open(&job.id, &id);
        let host = settings.host_label();
        let mut meters = Meters::open(settings, &host, job, at_start.as_ref(), factor)?;
        // An exporter that lends its intensity asks the same providers.
        let is_lent = at_start.as_ref().is_some_and(Host::is_asked_for_factor);
        let wish = grid::wish(settings).filter(|_| !is_lent);
        if wish.is_some() {
            meters.hold();
        }
        let signals =
            Signals::watch().map_err(|error| RunError::System { what: "watching for signals", error })?;
        Ok(Measured {
            id,
            host,
            description,
            account,
            meters,
            // Without an answer it is not asked again.
            daemon: daemon.filter(|_| at_start.is_some()),
            asked: now.monotonic,
            patience: Patience::default(),
            wants_factor,
            wish,
            asking: None,
            said,
            signals,
            used: CpuTime::ZERO,
            interval: settings.interval.min(TICK),
            ended: now,
            buffer: Buffer::default(),
            has_zone: settings.carbon != Choice::Unknown,
            notes: Vec::new(),
        })
    }

    /// Reads everything, and starts the command right after. It is born in its control group.
    fn spawn(&mut self, arguments: &RunArguments) -> Result<(Child, Moment), RunError> {
        let variables = environment(&self.id, &self.description, self.said.path());
        let mut is_inside = false;
        if let Account::Group(group, _) = &self.account {
            match group.enter() {
                Ok(()) => is_inside = true,
                Err(error) => {
                    tracing::debug!("no control group of its own: {error}");
                    self.account = Account::Tree(Tree::of_own_children());
                }
            }
        }
        if let (Some(daemon), true) = (&self.daemon, is_inside) {
            daemon.label(&self.description);
        }
        let host = self.host_reading(clock::monotonic(), true);
        let started = clock::now();
        self.meters.tick(started, (CpuTime::ZERO, Vec::new()), host.as_ref(), |_| Some(false));
        // The command may ask for itself at once.
        self.said.publish(|| self.meters.snapshot(started, self.interval));
        match &mut self.account {
            Account::Group(group, before) => *before = group.used(&mut self.buffer).unwrap_or_default(),
            Account::Tree(tree) => tree.begin(),
        }
        // What came before there was a command was meant for it all the same.
        let early = self.signals.take();
        let child = Child::spawn(&arguments.command, &variables, arguments.progress_pattern.is_some());
        if let Ok((child, _)) = &child {
            early.into_iter().for_each(|signal| child.send(signal));
        }
        if let (Account::Group(group, _), true) = (&self.account, is_inside)
            && let Err(error) = group.leave()
        {
            self.notes.push(format!("jouleprint stayed in the command's control group: {error}"));
        }
        let (child, streams) = child?;
        if let Err(error) = self.said.begin(&self.account, streams, arguments) {
            self.notes.push(format!("what the command says is not heard: starting a thread: {error}"));
        }
        self.asking = self.wish.take().and_then(|wish| {
            let asking = Asking::begin(wish).inspect_err(|error| {
                self.notes.push(format!("no provider is asked: starting a thread: {error}"));
            });
            asking.ok()
        });
        Ok((child, started))
    }

    /// Takes up what the providers have said; after a while what is known without them has to do.
    fn take_price(&mut self, is_patient: bool) {
        let plan = self.asking.as_mut().and_then(|asking| asking.plan(is_patient));
        if plan.is_some() || !is_patient {
            self.meters.price(plan);
        }
    }

    /// The exporter's meters, if they are ours, or now and then its intensity.
    fn host_reading(&mut self, now: Nanos, is_fresh: bool) -> Option<Host> {
        let has_meters = self.meters.are_of_daemon();
        let is_due = self.wants_factor && now.saturating_sub(self.asked) >= FACTOR_INTERVAL;
        let is_asked = (has_meters || is_due) && self.patience.may_try(now);
        let daemon = self.daemon.as_ref().filter(|_| is_asked)?;
        self.asked = now;
        let host = daemon.host(is_fresh && has_meters, self.wants_factor);
        self.patience.note(now, host.is_some());
        host
    }

    /// Ticks until the command has ended.
    fn follow(
        &mut self,
        child: &Child,
        started: Moment,
        mut live: Live,
        mut look: impl FnMut(&Measured, &Child, Option<i32>),
    ) -> End {
        let mut due = started.monotonic + self.interval;
        loop {
            for signal in self.signals.take() {
                if signal != SIGCHLD {
                    child.pass_on(signal);
                    look(self, child, Some(signal));
                } else if let Some(end) = child.attend() {
                    self.ended = clock::now();
                    live.clear();
                    return end;
                }
            }
            let now = clock::now();
            if now.monotonic >= due {
                let host = self.host_reading(now.monotonic, false);
                // A parent that blocks SIGCHLD leaves us with it blocked.
                if let Some(end) = child.attend() {
                    self.ended = clock::now();
                    live.clear();
                    return end;
                }
                self.take_price(now.since(&started) < grid::PATIENCE);
                self.tick(now, host.as_ref());
                look(self, child, None);
                live.show(&self.meters, now.since(&started));
                // What has been missed, as while we were stopped, is not made up for.
                while due <= now.monotonic {
                    due += self.interval;
                }
            }
            self.signals.wait(due);
        }
    }

    fn tick(&mut self, at: Moment, host: Option<&Host>) {
        let used = match &mut self.account {
            Account::Group(group, before) => {
                group.used(&mut self.buffer).map(|used| used.saturating_sub(*before)).unwrap_or(self.used)
            }
            Account::Tree(tree) => tree.used(),
        };
        self.used = self.used.max(used);
        let heard = self.said.heard();
        self.said.tell_on(&heard, at.monotonic, self.daemon.as_ref(), &self.account);
        let account = &self.account;
        self.meters.tick(at, (self.used, heard), host, |pid| account.has(pid));
        self.said.publish(|| self.meters.snapshot(at, self.interval));
    }

    /// The last tick, and what it all comes to.
    fn finish(&mut self, arguments: &RunArguments, started: Moment, end: End) -> (Outcome, Checkpoint) {
        let signals = &self.signals;
        let is_told_to_end = || signals.take().iter().any(|signal| *signal != SIGCHLD);
        if self.said.hear_out(is_told_to_end) {
            self.notes
                .push("its output is still open; who writes there after this finds no reader".to_owned());
        }
        // An exporter that was away may be back.
        self.patience.hurry();
        self.said.hurry();
        let host = self.host_reading(self.ended.monotonic, true);
        self.tick(self.ended, host.as_ref());
        // After the meters were read: what is drawn while we wait is nobody's.
        if self.meters.is_holding()
            && let Some(asking) = &mut self.asking
        {
            asking.wait();
        }
        self.take_price(false);
        if let Some(asking) = &self.asking {
            self.notes.extend(asking.notes(self.meters.factor()));
        }
        if self.meters.are_of_daemon() && host.is_none() {
            self.notes.push("the exporter that lent its meters is gone: energy is missing".to_owned());
        }
        // An exporter may know better.
        if !self.has_zone && &*self.meters.factor().zone == NO_ZONE {
            self.notes.push("no grid zone is set: the world's average is used (--zone)".to_owned());
        }
        let method = self.account.method();
        let living = match &mut self.account {
            Account::Group(group, _) => group.remove(),
            Account::Tree(tree) => tree.living().0,
        };
        if living > 0 {
            self.notes.push(format!("{living} of its processes live on; they are counted up to here"));
        }
        let lasted = self.ended.since(&started);
        let totals = Arc::new(self.meters.totals());
        let phases = totals.jobs.first().and_then(|job| {
            let speech = job.speech.as_ref()?;
            Some(speech.phases.at(self.ended.monotonic, &totals.amounts_of_job(0), job.cpu))
        });
        if let Some(told) = self.said.described() {
            self.description.fill(&told);
        }
        let (meters, notes) = outcome::meter_uses(&self.meters, &totals, lasted);
        self.notes.extend(notes);
        self.notes.extend(self.meters.accelerators().notes());
        let checkpoint = self.meters.checkpoint(self.ended, Arc::clone(&totals));
        let outcome = Outcome {
            id: self.id.clone(),
            command: arguments.shown_command(),
            description: self.description.clone(),
            host: self.host.clone(),
            started: started.wall,
            lasted,
            end,
            method,
            cpu: self.used,
            parts: outcome::parts(&self.meters, &totals),
            phases: phases.unwrap_or_default(),
            meters,
            factor: self.meters.factor().clone(),
            has_equivalents: !arguments.no_equivalents,
            notes: std::mem::take(&mut self.notes),
        };
        (outcome, checkpoint)
    }
}

/// The second of the start and our number: nobody else on this host has both.
fn id(start: Nanos) -> String {
    let start = Timestamp::from_nanosecond(i128::from(start.get())).unwrap_or_default();
    format!("{}-{}", start.strftime("%Y%m%dT%H%M%SZ"), std::process::id())
}

/// Tells the result to whom it was promised. What fails is told, and loses no result.
fn deliver(outcome: &Outcome, arguments: &RunArguments) {
    if let Some(path) = &arguments.json {
        // Never fails: memory takes everything.
        let text = json::json(outcome).unwrap_or_default();
        if let Err(error) = write(path, &text) {
            complain(&format!(
                "writing {}: {error}; the result is:\n{}",
                path.display(),
                String::from_utf8_lossy(&text)
            ));
        }
    }
    if let Some(path) = &arguments.csv {
        let row = csv::row(outcome);
        let written = match path == Path::new("-") {
            true => say(&[csv::header(), row.clone()].concat()).map_err(csv::CsvError::from),
            false => csv::append(path, &row),
        };
        if let Err(error) = written {
            let text = [csv::header(), row].concat();
            complain(&format!(
                "writing {}: {error}; the row is:\n{}",
                path.display(),
                String::from_utf8_lossy(&text)
            ));
        }
    }
    if !arguments.quiet {
        let _ = io::stderr().lock().write_all(summary::summary(outcome).as_bytes());
    }
}

/// Whole or not at all, where that can be had: a reader never meets half a result.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        return say(text);
    }
    let is_file = |metadata: &std::fs::Metadata| metadata.is_file();
    // What is no file of its own, as a pipe, or only points to one, as /dev/stdout does, stays what it is.
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| !is_file(&metadata)) {
        return std::fs::OpenOptions::new().append(true).open(path)?.write_all(text);
    }
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let beside = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Writes to standard output. A reader that has seen enough and left is no error.
fn say(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn complain(text: &str) {
    // Nobody is left to be told if standard error is closed too.
    let _ = writeln!(io::stderr(), "jouleprint: {}", text.trim_end());
}
