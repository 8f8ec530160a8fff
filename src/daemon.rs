//! Wiring: what is opened in which order, who runs on which thread, and how it all ends.
//!
//! The store, sockets and sources are opened first and everything that can fail fails there. Then all
//! rights but reading, and writing the store, are given up, and only then threads start: the sampler has
//! one, the store has one, names have one, the HTTP side this one. Those that look into processes for
//! Slurm's sake and into NVIDIA's driver could not do so afterwards, and start before.

mod grid;
mod keeping;
mod looking;
mod naming;
pub(crate) mod roots;
pub(crate) mod socket;

use crate::carbon;
use crate::clock;
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings, socket_addresses};
use crate::confine::{confine, confine_to_devices};
use crate::http_client::{ClientError, bare};
use crate::job::own::OwnProcess;
use crate::job::processor::{Processors, Topology};
use crate::job::register::Callers;
use crate::model::quantity::{Nanos, Pue};
use crate::model::reading::{Accounting, Factor, Fault, Finding};
use crate::output::access::{Access, AccessError};
use crate::output::http::{Site, serve};
use crate::output::otlp::Push;
use crate::output::otlp::attributes::Machine;
use crate::sampler::keeper::{Keeper, LONGEST_WAIT};
use crate::sampler::{CPU, Mailbox, Parts, Past, Sampler, Update, stop_pipe};
use crate::source::Sources;
use crate::source::hardware::Hardware;
use crate::source::nvml::Confinement;
use crate::store::OpenError;
use crate::store::lock::LockError;
use arc_swap::ArcSwap;
use grid::GridDesk;
use keeping::Keeping;
use socket::Opened;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Descriptors that are not for control groups or processes: meters, sockets, connections.
const OTHER_FDS: u64 = 512;

/// Accounts kept open at the most, however many descriptors there are.
const MAX_OPEN: usize = 16_384;

/// All connections have this long to end.
const GRACE: Duration = Duration::from_millis(1_200);

/// The last push begins when the last tick is kept, and takes what is left of this.
const LAST_PUSH: Duration = Duration::from_millis(1_500);

/// Since it was told to stop everything has this long, the last tick and its commit among it, whose end is
/// looked for this often. A disk needs most of it that takes 0.3 s for each of the three waits of a close.
const STOP: Nanos = Nanos::new(1_800_000_000);
const LAST_TICK_LOOK: Nanos = Nanos::new(2_000_000);

/// Why the exporter did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The web configuration is wrong.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A port is taken, or not ours to take.
    #[error("listening on {address}: {error} ({})", hint(error))]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        error: std::io::Error,
    },
    /// /proc/stat cannot be read.
    #[error("reading {path}: {error} (is it a proc filesystem? see --path.procfs)")]
    Processors {
        /// Which file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// A part of the host could be changed through a mount that is there to be read.
    #[error(transparent)]
    Writable(#[from] roots::Writable),
    /// The store is not for this version.
    #[error(transparent)]
    Store(OpenError),
    /// Another process has the store and does not let go.
    #[error(transparent)]
    StoreInUse(LockError),
    /// The push has certificates that cannot be used.
    #[error("otlp: {0}")]
    Push(ClientError),
    /// The kernel refuses something basic.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program has it; choose one with --web.listen-address",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "choose one with --web.listen-address",
    }
}

/// Runs the exporter until it is told to stop.
///
/// # Errors
/// It could not start.
pub fn run(flags: &Flags) -> Result<(), StartError> {
    let mut settings = Settings::load(flags)?;
    settings.hardware.nvml.confinement = Confinement(confine_to_devices);
    roots::check(&settings)?;
    let access = Arc::new(Access::load(settings.web_config.as_deref())?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System { what: "starting the runtime", error })?;
    // As the first process of a container we are not ended by a signal that nobody waits for.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::watch()?
    };
    // Another process that has the store has our port too.
    let Some((keeping, past)) = runtime.block_on(keeping::open(&settings, &mut signals))? else {
        return Ok(());
    };
    let listeners = listen(&settings.listen)?;
    let grid = GridDesk::open(&settings, &keeping);
    let mut parts = Parts { past, grid: Some(Arc::clone(&grid.outlet)), ..parts(&settings)? };
    let mailbox = Arc::new(Mailbox::default());
    let desk = socket::open(&settings, &mailbox.latest, parts.directory.as_mut())?;
    let mut sampler = Sampler::new(parts);
    if let Some(Opened { desk, .. }) = &desk {
        desk.wake.iter().for_each(|wake| sampler.wake_by(Arc::clone(wake)));
        sampler.listen_to(Arc::clone(&desk.inbox));
    }
    let mut push = open_push(&settings, &keeping)?;
    if let Some(push) = &push {
        sampler.show_push(push.state());
    }
    announce(&listeners);
    let confinement = confine(&keeping.folders(&settings));
    tracing::info!(
        capabilities = confinement.capabilities,
        files = confinement.files,
        "gave up all rights but reading, and writing the store"
    );

    let (stop_sampler, stop) =
        stop_pipe().map_err(|error| StartError::System { what: "making a pipe", error })?;
    let latest = Arc::clone(&mailbox.latest);
    let keeper = match keeping {
        Keeping::Store(store, state) => Keeper::start(latest, *store, state, LONGEST_WAIT)
            .map_err(|error| StartError::System { what: "starting the store's thread", error })?,
        Keeping::Nothing(state) => Keeper::without_store(latest, state),
    };
    if let Some(push) = push.as_mut().filter(|push| push.keeps()) {
        push.tell(Box::new(keeper.acknowledgements()));
    }
    let thread = std::thread::Builder::new().name("sampler".to_owned()).spawn({
        let mailbox = Arc::clone(&mailbox);
        move || sampler.run(&mailbox, keeper, &stop_sampler)
    });
    let thread = thread.map_err(|error| StartError::System { what: "starting the sampler", error })?;

    let outlets = Outlets { access, listeners, desk, push, grid };
    let serving = serve_until_told(flags, &settings, signals, outlets, &mailbox, stop);
    let served = runtime.block_on(serving);
    // The sampler ends its wait at once; a driver or a disk that hangs is left behind.
    let told = served.as_ref().map_or_else(|_| clock::monotonic(), |told| *told);
    while !thread.is_finished() && clock::monotonic().saturating_sub(told) < STOP {
        clock::sleep(LAST_TICK_LOOK);
    }
    // Hashes that are still being computed would keep the process alive for as long as they take.
    runtime.shutdown_background();
    served.map(|_| ())
}

/// Everything the sampler needs, opened.
///
/// # Errors
/// /proc/stat cannot be read; all else is optional.
pub fn parts(settings: &Settings) -> Result<Parts, StartError> {
    let own = OwnProcess::open();
    let topology = Topology::read(&settings.sysfs);
    let processors = Processors::open(&settings.procfs, topology.clone()).map_err(|error| {
        StartError::Processors { path: settings.procfs.join("stat").display().to_string(), error }
    })?;
    let hardware = Hardware::read(&settings.procfs, &settings.sysfs, topology.sockets());
    let sources = Sources::discover(&settings.sysfs, &hardware, &settings.hardware, |package| {
        topology.socket_of_package(package)
    });
    let stat = settings.procfs.join("stat").display().to_string();
    let mut findings = vec![finding(CPU, None, &stat)];
    let max_open = usize::try_from(own.max_fds().saturating_sub(OTHER_FDS)).unwrap_or(usize::MAX);
    let max_open = max_open.clamp(64, MAX_OPEN);
    let (consumers, found) = looking::consumers(settings, topology, max_open)?;
    findings.push(found);
    Ok(Parts {
        sources,
        processors,
        consumers,
        findings,
        own,
        host: settings.host_label().as_str().into(),
        cpu_model: hardware.model_name.as_str().into(),
        kernel: sysinfo::System::kernel_version().unwrap_or_default().as_str().into(),
        accounting: accounting(settings),
        factor: factor(settings)?,
        grid: None,
        interval: settings.interval,
        holders: Some(looking::holders(settings)?),
        directory: (!settings.hardware.has_no_threads).then(|| naming::directory(settings)),
        past: Past::default(),
    })
}

fn finding(source: &str, fault: Option<Fault>, detail: &str) -> Finding {
    Finding { source: source.into(), hw_id: "".into(), fault, detail: detail.into() }
}

fn accounting(settings: &Settings) -> Accounting {
    Accounting {
        idle: settings.idle,
        retention: settings.retention(),
        max_jobs: settings.jobs.max,
        floors: settings.floors.iter().map(|(id, power)| (id.as_str().into(), *power)).collect(),
        group_kinds: settings.grouping.names(),
        group_hold: settings.group_hold(),
    }
}

fn factor(settings: &Settings) -> Result<Factor, ConfigError> {
    carbon::resolve(&settings.carbon, settings.pue.unwrap_or(Pue::ONE))
        .map_err(|error| ConfigError::Flag { name: "zone", message: error.to_string() })
}

fn update(settings: &Settings, started_with: &Settings) -> Result<Update, ConfigError> {
    // Jobs that have been grouped stay so.
    let group_kinds = started_with.grouping.names();
    Ok(Update {
        accounting: Accounting { group_kinds, ..accounting(settings) },
        factor: factor(settings)?,
        recognition: looking::recognition(settings, started_with)?,
        callers: looking::callers(settings)?,
        interval: settings.interval,
    })
}

/// Binds every address before anything else is started.
pub(crate) fn listen(addresses: &[String]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for text in addresses {
        let candidates = socket_addresses(text)?;
        let mut refused = None;
        let bound = candidates.iter().find_map(|address| match TcpListener::bind(address) {
            Ok(listener) => Some(listener),
            Err(error) => {
                // A taken port is taken on IPv4 too; only a machine without IPv6 is tried again.
                let is_final = error.kind() == std::io::ErrorKind::AddrInUse;
                if refused.is_none() || is_final {
                    refused = Some((*address, error));
                }
                None
            }
        });
        match (bound, refused) {
            (Some(_), Some((address, error))) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(StartError::Listen { address: address.to_string(), error });
            }
            (Some(listener), _) => listeners.push(listener),
            (None, Some((address, error))) => {
                return Err(StartError::Listen { address: address.to_string(), error });
            }
            (None, None) => {}
        }
    }
    Ok(listeners)
}

fn announce(listeners: &[TcpListener]) {
    let addresses: Vec<SocketAddr> =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        addresses = ?addresses,
        kernel = sysinfo::System::kernel_version().unwrap_or_default(),
        "starting"
    );
}

/// The push, if there is to be one, with its certificates read.
fn open_push(settings: &Settings, keeping: &Keeping) -> Result<Option<Push>, StartError> {
    let Some(wishes) = &settings.otlp else { return Ok(None) };
    let id = keeping::identity(settings).machine.to_string();
    let machine = Machine { id, name: settings.host_label() };
    let kept = keeping.pushed();
    tracing::info!(
        endpoint = bare(&wishes.endpoint),
        protocol = wishes.transport.as_str(),
        temporality = wishes.temporality.as_str(),
        interval = ?wishes.interval,
        "pushing over OTLP"
    );
    Push::open(wishes, &machine, kept).map(Some).map_err(StartError::Push)
}

/// Where snapshots go.
struct Outlets {
    access: Arc<Access>,
    listeners: Vec<TcpListener>,
    desk: Option<Opened>,
    push: Option<Push>,
    grid: GridDesk,
}

/// Serves pages until a signal says that it is time to stop, and returns when that was.
async fn serve_until_told(
    flags: &Flags,
    settings: &Settings,
    mut signals: Signals,
    outlets: Outlets,
    mailbox: &Arc<Mailbox>,
    stop_sampler: OwnedFd,
) -> Result<Nanos, StartError> {
    let system = |what| move |error| StartError::System { what, error };
    let site = Site::new(Arc::clone(&mailbox.latest), settings.telemetry_path.clone(), settings.max_requests);
    let site = Arc::new(site);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    for listener in outlets.listeners {
        listener.set_nonblocking(true).map_err(system("preparing a listener"))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(system("preparing a listener"))?;
        servers.spawn(serve(Arc::clone(&site), Arc::clone(&outlets.access), listener, stopped.clone()));
    }
    let wake = outlets.desk.as_ref().and_then(|opened| opened.desk.wake.clone());
    servers.spawn(outlets.grid.asking(stopped.clone(), wake));
    let callers = outlets.desk.as_ref().map(|opened| Arc::clone(&opened.callers));
    if let Some(Opened { desk, listener, .. }) = outlets.desk {
        let listener =
            tokio::net::UnixListener::from_std(listener).map_err(system("preparing a listener"))?;
        servers.spawn(socket::serve(desk, listener, stopped.clone()));
    }
    let (stop_push, stopped) = tokio::sync::watch::channel(None);
    let latest = Arc::clone(&mailbox.latest);
    let pushing = outlets.push.map(|push| tokio::spawn(push.run(latest, stopped)));
    loop {
        match signals.next().await {
            Told::Stop => break,
            Told::Reload => reload(flags, settings, mailbox, callers.as_deref(), &outlets.grid),
        }
    }
    let told = clock::monotonic();
    tracing::info!("stopping");
    // The last tick is taken and kept while the last pages leave.
    drop(stop_sampler);
    let _ = stop.send(true);
    let _ = stop_push.send(Some(told));
    let pages = tokio::time::timeout(GRACE, async { while servers.join_next().await.is_some() {} });
    let pushed = async {
        if let Some(pushing) = pushing {
            let _ = tokio::time::timeout(LAST_PUSH, pushing).await;
        }
    };
    let _ = tokio::join!(pages, pushed);
    Ok(told)
}

/// The signals that mean something.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal means.
pub(crate) enum Told {
    /// It is time to end.
    Stop,
    /// The configuration is to be read anew.
    Reload,
}

impl Signals {
    pub(crate) fn watch() -> Result<Signals, StartError> {
        let watch = |kind, what| signal(kind).map_err(|error| StartError::System { what, error });
        Ok(Signals {
            terminate: watch(SignalKind::terminate(), "watching for SIGTERM")?,
            interrupt: watch(SignalKind::interrupt(), "watching for SIGINT")?,
            hangup: watch(SignalKind::hangup(), "watching for SIGHUP")?,
        })
    }
}

impl Signals {
    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Told {
        let Signals { terminate, interrupt, hangup } = self;
        tokio::select! {
            () = told(terminate) => Told::Stop,
            () = told(interrupt) => Told::Stop,
            () = told(hangup) => Told::Reload,
        }
    }

    /// Waits for one that means the end.
    async fn stop(&mut self) {
        tokio::select! {
            () = told(&mut self.terminate) => {}
            () = told(&mut self.interrupt) => {}
        }
    }
}

async fn told(signal: &mut Signal) {
    let _ = signal.recv().await;
}

/// Takes up the file anew, or keeps what is in force and says why.
fn reload(
    flags: &Flags,
    started_with: &Settings,
    mailbox: &Mailbox,
    callers: Option<&ArcSwap<Callers>>,
    grid: &GridDesk,
) {
    let loaded = Settings::load(flags).and_then(|settings| Ok((update(&settings, started_with)?, settings)));
    match loaded {
        Ok((update, settings)) => {
            let needs_restart = settings.listen != started_with.listen
                || settings.telemetry_path != started_with.telemetry_path
                || settings.max_requests != started_with.max_requests
                || settings.web_config != started_with.web_config
                || settings.sysfs != started_with.sysfs
                || settings.procfs != started_with.procfs
                || settings.cgroupfs != started_with.cgroupfs
                || settings.hardware != started_with.hardware
                || settings.host != started_with.host
                || settings.jobs.are_processes() != started_with.jobs.are_processes()
                || settings.jobs.sidecar != started_with.jobs.sidecar
                || settings.jobs.pod_uid != started_with.jobs.pod_uid
                || settings.jobs.names != started_with.jobs.names
                || settings.grouping != started_with.grouping
                || settings.store != started_with.store
                || settings.runtime != started_with.runtime
                || settings.job_socket != started_with.job_socket
                || settings.otlp != started_with.otlp;
            grid.take_up(&settings);
            mailbox.update(update);
            if let Some((known, callers)) = callers.zip(looking::callers(&settings).ok()) {
                known.store(Arc::new(callers));
            }
            tracing::info!("configuration taken up, counters kept");
            if needs_restart {
                tracing::warn!(
                    "host, path, store, socket, hardware, otlp and web settings, groups, where names come from, and who is a job as a sidecar or by process, take effect at the next start only"
                );
            }
        }
        Err(error) => tracing::error!("the old configuration stays in force: {error}"),
    }
}
