//! Serves a fleet until it is told to stop: one thread for the ticks, the house's server for the pages.

use super::fleet::Fleet;
use crate::config::flags::Flags;
use crate::daemon::{Signals, StartError, Told, listen};
use crate::output::access::Access;
use crate::output::fleet::{FleetSite, targets};
use crate::output::http::serve;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::task::JoinSet;

/// Unless told otherwise: for this machine alone.
const ADDRESS: &str = "127.0.0.1:14410";

/// All connections have this long to end.
const GRACE: Duration = Duration::from_millis(1_500);

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No port, no certificate, no signals.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The list of targets cannot be written.
    #[error("writing {path}: {error} (see --sd-file)")]
    Targets {
        /// Where to.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// No thread for the ticks.
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

/// Serves `fleet`; the list of targets goes to `sd_file` too.
///
/// # Errors
/// It could not start.
pub fn run(flags: &Flags, fleet: Fleet, sd_file: Option<&Path>) -> Result<(), ServeError> {
    let access = Arc::new(Access::load(flags.web_config.as_deref()).map_err(StartError::Access)?);
    let system = |what| move |error| ServeError::Start(StartError::System { what, error });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("starting the runtime"))?;
    let signals = {
        let _inside = runtime.enter();
        Signals::watch()?
    };
    let usual = [ADDRESS.to_owned()];
    let addresses = if flags.listen_addresses.is_empty() { &usual[..] } else { &flags.listen_addresses };
    let listeners = listen(addresses)?;
    let names = fleet.names();
    let address = listeners.first().and_then(|listener| listener.local_addr().ok());
    if let (Some(path), Some(address)) = (sd_file, address) {
        let written = std::fs::write(path, targets(&names, &address.to_string()));
        written.map_err(|error| ServeError::Targets { path: path.display().to_string(), error })?;
    }
    tracing::info!(hosts = fleet.len(), address = ?address, "serving a made-up fleet");
    let fleet = Arc::new(fleet);
    let (stop, stopped) = mpsc::channel();
    let ticking = Arc::clone(&fleet);
    let ticker = std::thread::Builder::new()
        .name("ticks".to_owned())
        .spawn(move || ticking.run(&stopped))
        .map_err(ServeError::Thread)?;
    let (found, told) = (Arc::clone(&fleet), fleet);
    let site = FleetSite::new(
        names,
        Box::new(move |host| found.page(host)),
        Box::new(move || serde_json::to_vec(&told.truth()).expect("writing to memory does not fail")),
    );
    let served = runtime.block_on(serve_until_told(Arc::new(site), access, listeners, signals));
    runtime.shutdown_background();
    drop(stop);
    let _ = ticker.join();
    Ok(served?)
}

async fn serve_until_told(
    site: Arc<FleetSite>,
    access: Arc<Access>,
    listeners: Vec<TcpListener>,
    mut signals: Signals,
) -> Result<(), StartError> {
    let system = |error| StartError::System { what: "preparing a listener", error };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut tasks = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true).map_err(system)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(system)?;
        tasks.spawn(serve(Arc::clone(&site), Arc::clone(&access), listener, stopped.clone()));
    }
    // There is no configuration to be read anew.
    while matches!(signals.next().await, Told::Reload) {}
    tracing::info!("stopping");
    let _ = stop.send(true);
    let _ = tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}
