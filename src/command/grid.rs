//! `jouleprint grid`: asks the providers once for a fleet, and serves what they say to its nodes.
//!
//! A zone has a lookout, which is the one that a node has for itself, and publishes to one site. Only the
//! zones of the configuration are served: nobody can make a relay spend a key on the world.

use crate::carbon::poll::{Lookout, Open, Pace, Setting, watch};
use crate::carbon::{Choice, Wishes, location, provider};
use crate::clock;
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings};
use crate::confine::confine;
use crate::daemon::{Signals, StartError, Told, listen};
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use crate::output::access::Access;
use crate::output::http::serve;
use crate::output::relay::{Asked, RelaySite, Said, Zone};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as mailbox;
use tokio::task::JoinSet;

/// All connections have this long to end.
const GRACE: Duration = Duration::from_millis(1_500);

/// At the start each zone asks this long after the one before: all have the same providers, and one key.
const APART: Duration = Duration::from_millis(250);

/// Runs the relay until it is told to stop.
///
/// # Errors
/// It could not start.
pub fn run(flags: &Flags) -> Result<(), StartError> {
    let settings = load(flags)?;
    let access = Arc::new(Access::load(settings.web_config.as_deref())?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::System { what: "starting the runtime", error })?;
    let signals = {
        let _inside = runtime.enter();
        Signals::watch()?
    };
    let addresses =
        if flags.listen_addresses.is_empty() { &settings.relay.listen } else { &flags.listen_addresses };
    let listeners = listen(addresses)?;
    let folder = settings.store.as_deref().and_then(usable);
    let confinement = confine(&folder.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let addresses: Vec<SocketAddr> =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        addresses = ?addresses,
        zones = settings.relay.zones.join(", "),
        capabilities = confinement.capabilities,
        files = confinement.files,
        "starting the relay"
    );
    let served = runtime.block_on(serve_until_told(flags, &settings, folder, signals, access, listeners));
    runtime.shutdown_background();
    served
}

/// The settings, which must say what to serve and whom to ask.
fn load(flags: &Flags) -> Result<Settings, ConfigError> {
    let settings = Settings::load(flags)?;
    let missing = |name, message: &str| ConfigError::Flag { name, message: message.to_owned() };
    if settings.relay.zones.is_empty() {
        let message =
            "there is no zone to serve (write `grid: {relay: {zones: [FR, DE]}}` into --config.file)";
        return Err(missing("grid.relay.zones", message));
    }
    if settings.grid.providers.is_empty() {
        let message = "there is nobody to ask (write `grid: {providers: [{name: …}]}` into --config.file)";
        return Err(missing("grid.providers", message));
    }
    check(&settings)?;
    for (zone, setting) in zones(&settings, None) {
        if setting.wishes.providers.is_empty() {
            let message = format!(
                "nobody is to be asked for {zone}: every provider has another zone (leave its zone out)"
            );
            return Err(missing("grid.relay.zones", &message));
        }
    }
    Ok(settings)
}

/// Whether everybody who is configured is asked for a zone of the relay, where there is one.
///
/// # Errors
/// A provider has a zone of its own that is none of the relay's; the first one.
pub fn check(settings: &Settings) -> Result<(), ConfigError> {
    let zones = &settings.relay.zones;
    let is_served = |wanted: &str| zones.iter().any(|zone| zone.eq_ignore_ascii_case(wanted));
    let mut wishes = (1..).zip(&settings.grid.providers);
    let unused = wishes.find_map(|(number, wish)| {
        let zone = wish.zone.as_deref().filter(|zone| !zones.is_empty() && !is_served(zone))?;
        Some((number, wish.kind.name(), zone))
    });
    let Some((number, name, zone)) = unused else { return Ok(()) };
    let message = format!(
        "provider {number}, {name}, would never be asked: its zone {zone} is none of grid.relay.zones, {} (name it as the \
         relay does, or leave it out: then it is asked for each of them)",
        zones.join(", ")
    );
    Err(ConfigError::Flag { name: "grid.providers", message })
}

/// The folder for what is kept, made if need be.
fn usable(folder: &Path) -> Option<PathBuf> {
    match std::fs::create_dir_all(folder) {
        Ok(()) => Some(folder.to_owned()),
        Err(error) => {
            let folder = folder.display();
            tracing::warn!("nothing is kept over a restart: making {folder}: {error} (see --store.path)");
            None
        }
    }
}

/// What the lookout of each zone is to do.
fn zones(settings: &Settings, folder: Option<&Path>) -> BTreeMap<Name, Setting> {
    let of = |zone: &String| {
        let is_its = |wish: &&provider::Wish| {
            wish.zone.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(zone))
        };
        let providers = settings.grid.providers.iter().filter(is_its).cloned().collect();
        let setting = Setting {
            choice: Choice::Zone { zone: zone.clone(), basis: None },
            pue: None,
            wishes: Wishes {
                location: location::Wish::default(),
                providers,
                chain: settings.grid.chain.clone(),
            },
            kept: folder.map(|folder| folder.join(format!("relay-{zone}.json"))),
        };
        (Name::from(zone.as_str()), setting)
    };
    settings.relay.zones.iter().map(of).collect()
}

/// Opens the providers that cover a place. One that does not is none of its, unless nobody does.
fn covering() -> Open {
    Arc::new(|wishes, place| {
        let opened: Vec<_> = wishes.iter().map(|wish| provider::open(wish, place)).collect();
        let has_one = opened.iter().any(Result::is_ok);
        let is_its = |opened: &Result<_, provider::Refusal>| {
            !has_one || !opened.as_ref().is_err_and(|refusal| refusal.fault == Fault::Unsupported)
        };
        opened.into_iter().filter(is_its).collect()
    })
}

/// What a lookout knows, for the site.
#[must_use]
pub fn zone(lookout: &Lookout, now: Nanos) -> Zone {
    let asked = lookout.counts().into_iter().map(|count| Asked {
        source: count.source,
        zone: count.zone,
        answered: count.answered,
        failed: count.failed,
    });
    Zone {
        grid: lookout.grid(now),
        basis: lookout.basis(),
        series: lookout.series(now).into_iter().map(|(rank, series)| Said { rank, series }).collect(),
        asked: asked.collect(),
        next: lookout.next(),
    }
}

async fn serve_until_told(
    flags: &Flags,
    settings: &Settings,
    folder: Option<PathBuf>,
    mut signals: Signals,
    access: Arc<Access>,
    listeners: Vec<TcpListener>,
) -> Result<(), StartError> {
    let system = |what| move |error| StartError::System { what, error };
    let zones_now = zones(settings, folder.as_deref());
    let names: Vec<Name> = zones_now.keys().cloned().collect();
    let site = Arc::new(RelaySite::new(&names, settings.telemetry_path.clone(), clock::now().wall));
    let (stop, stopped) = mailbox::channel(false);
    let mut tasks = JoinSet::new();
    let mut settings_of = BTreeMap::new();
    for (late, (name, setting)) in (0_u32..).map(|index| APART * index).zip(zones_now) {
        let (sender, receiver) = mailbox::channel(setting);
        settings_of.insert(name.clone(), sender);
        let site = Arc::clone(&site);
        let publish = move |lookout: &Lookout, now| site.publish(&name, zone(lookout, now));
        let pace = Pace { late, ..Pace::default() };
        tasks.spawn(watch(receiver, covering(), stopped.clone(), pace, publish));
    }
    for listener in listeners {
        listener.set_nonblocking(true).map_err(system("preparing a listener"))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(system("preparing a listener"))?;
        tasks.spawn(serve(Arc::clone(&site), Arc::clone(&access), listener, stopped.clone()));
    }
    loop {
        match signals.next().await {
            Told::Stop => break,
            Told::Reload => reload(flags, settings, folder.as_deref(), &settings_of),
        }
    }
    tracing::info!("stopping");
    let _ = stop.send(true);
    let _ = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

/// Takes up the file anew, or keeps what is in force and says why.
fn reload(
    flags: &Flags,
    started_with: &Settings,
    folder: Option<&Path>,
    settings_of: &BTreeMap<Name, mailbox::Sender<Setting>>,
) {
    match load(flags) {
        Ok(settings) => {
            for (name, setting) in zones(&settings, folder) {
                if let Some(sender) = settings_of.get(&name) {
                    sender.send_replace(setting);
                }
            }
            tracing::info!("configuration taken up");
            let needs_restart = settings.relay != started_with.relay
                || settings.telemetry_path != started_with.telemetry_path
                || settings.web_config != started_with.web_config
                || settings.store != started_with.store;
            if needs_restart {
                tracing::warn!(
                    "zones, addresses, the store's path and web settings take effect at the next start only"
                );
            }
        }
        Err(error) => tracing::error!("the old configuration stays in force: {error}"),
    }
}
