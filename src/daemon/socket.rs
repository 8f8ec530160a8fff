//! The Unix socket on which jobs of this host ask and speak: HTTP and JSON, readable by everybody, since the
//! kernel says who it is that speaks.

use super::{StartError, looking};
use crate::clock;
use crate::config::Settings;
use crate::job::directory::Directory;
use crate::job::register::{Callers, MAX_BODY_BYTES, Refusal, Register, read_labels};
use crate::model::identity::JobId;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;
use crate::output::api;
use crate::sampler::wake::Wake;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Open connections at the most; beyond it new ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 128;

/// A request is some lines and a short body: whoever takes longer gives up its place to another.
const MAX_CONNECTION_LIFE: Duration = Duration::from_secs(10);

/// A tick that was asked for has this long to be published; after it the newest there is has to do.
const FRESH_WAIT: Nanos = Nanos::new(250_000_000);
/// What was read so recently is fresh: who asks twice in a row gets the same.
const FRESH: Nanos = Nanos::new(20_000_000);
const FRESH_LOOK: Duration = Duration::from_millis(1);

/// The job at the other end of a connection, or why it is not known.
type Caller = Result<JobId, Refusal>;

/// What the socket answers from.
pub(super) struct Desk {
    /// The newest snapshot.
    pub(super) latest: Arc<ArcSwapOption<Snapshot>>,
    /// Who is speaking, by the rules in force.
    pub(super) callers: ArcSwap<Callers>,
    /// What was said.
    pub(super) register: Register,
    /// For ticks between the regular ones.
    pub(super) wake: Arc<Wake>,
    // The list of one snapshot is written once, however many ask for it.
    jobs: Mutex<Option<(Arc<Snapshot>, Bytes)>>,
}

impl Desk {
    fn jobs(&self, snapshot: Arc<Snapshot>) -> Bytes {
        let mut made = self.jobs.lock().expect("writing a list does not panic");
        match &*made {
            Some((of, list)) if Arc::ptr_eq(of, &snapshot) => list.clone(),
            _ => {
                let list = Bytes::from(api::jobs(&snapshot));
                *made = Some((snapshot, list.clone()));
                list
            }
        }
    }
}

/// The socket for the jobs of this host, if it can be had: the rest works without it.
///
/// # Errors
/// There are no descriptors left, or a rule is wrong.
pub(super) fn open(
    settings: &Settings,
    latest: &Arc<ArcSwapOption<Snapshot>>,
    directory: Option<&mut Directory>,
) -> Result<Option<(Arc<Desk>, UnixListener)>, StartError> {
    let Some(path) = &settings.job_socket else { return Ok(None) };
    let listener = match bind(path) {
        Ok(listener) => listener,
        Err(error) => {
            let path = path.display();
            tracing::warn!("making {path}: {error}; jobs cannot ask or say anything (see --job.socket)");
            return Ok(None);
        }
    };
    let wake = Wake::new().map_err(|error| StartError::System { what: "making an event", error })?;
    let told = directory.map(Directory::told).unwrap_or_default();
    let desk = Desk {
        latest: Arc::clone(latest),
        callers: ArcSwap::from_pointee(looking::callers(settings)?),
        register: Register::new(told),
        wake: Arc::new(wake),
        jobs: Mutex::default(),
    };
    Ok(Some((Arc::new(desk), listener)))
}

/// Binds the socket, in place of one that an earlier process left.
///
/// # Errors
/// The folder cannot be made, or not be written to.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Made beside it and moved: there is no moment without a socket, and a process that is still
    // there keeps answering who has reached it.
    let beside = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666))?;
    std::fs::rename(&beside, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stop` says so.
pub(super) async fn serve(
    desk: Arc<Desk>,
    listener: tokio::net::UnixListener,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let told = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(told);
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(_) => {
                    // Out of descriptors, most likely: others will close theirs.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut told => return,
        };
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            attend(&desk, stream).await;
            drop(permit);
        });
    }
}

async fn attend(desk: &Arc<Desk>, stream: UnixStream) {
    // At once, while whoever has connected is likeliest to be there still.
    let credentials = stream.peer_cred().ok();
    let speaker = credentials.and_then(|peer| Some((peer.pid()?, peer.uid())));
    let caller = Arc::new(desk.callers.load().job_of(speaker));
    let service = service_fn(move |request: Request<Incoming>| {
        let (desk, caller) = (Arc::clone(desk), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(answer(&desk, &caller, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_CONNECTION_LIFE)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(MAX_CONNECTION_LIFE, connection).await;
}

async fn answer(desk: &Desk, caller: &Caller, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let wants_fresh = request.uri().query().is_some_and(|query| query.split('&').any(|key| key == "fresh=1"));
    let is_get = request.method() == Method::GET;
    match request.uri().path() {
        "/api/v1/job/labels" if request.method() == Method::PUT => {
            hear(desk, caller, request.into_body()).await
        }
        "/api/v1/job/labels" => refuse(StatusCode::METHOD_NOT_ALLOWED, "only PUT", Some("PUT")),
        "/api/v1/host" | "/api/v1/jobs" | "/api/v1/job" if !is_get => {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET", Some("GET"))
        }
        path @ ("/api/v1/host" | "/api/v1/jobs" | "/api/v1/job") => {
            let Some(snapshot) = snapshot(desk, wants_fresh).await else {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "the first reading is under way", None);
            };
            match path {
                "/api/v1/host" => found(Bytes::from(api::host(&snapshot))),
                "/api/v1/jobs" => found(desk.jobs(snapshot)),
                _ => match caller {
                    Ok(id) => own(&snapshot, id),
                    Err(refusal) => refused(refusal),
                },
            }
        }
        _ => refuse(StatusCode::NOT_FOUND, "there is nothing here (see docs/api.md)", None),
    }
}

fn own(snapshot: &Snapshot, id: &JobId) -> Response<Full<Bytes>> {
    match api::job(snapshot, id) {
        Some(body) => found(Bytes::from(body)),
        None => {
            let text =
                format!("{} {} has not been read yet; ask again in a tick", id.kind().as_str(), id.id());
            refuse(StatusCode::NOT_FOUND, &text, None)
        }
    }
}

/// Takes in the labels of the job that is speaking.
async fn hear(desk: &Desk, caller: &Caller, body: Incoming) -> Response<Full<Bytes>> {
    let job = match caller {
        Ok(job) => job,
        Err(refusal) => return refused(refusal),
    };
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        let text = format!("the body is larger than {MAX_BODY_BYTES} bytes, or broke off");
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, &text, None);
    };
    let latest = desk.latest.load();
    let is_known = |id: &JobId| {
        latest.as_ref().is_some_and(|latest| latest.totals.jobs.iter().any(|job| job.job.id == *id))
    };
    let heard = read_labels(&body.to_bytes())
        .and_then(|description| desk.register.tell(job.clone(), description, is_known));
    match heard {
        Ok(()) => {
            let body = json!({ "job_kind": job.kind().as_str(), "job_id": &**job.id() });
            found(Bytes::from(body.to_string()))
        }
        Err(refusal) => refused(&refusal),
    }
}

/// The newest snapshot; a fresh one is of a tick just before the question, or after it.
async fn snapshot(desk: &Desk, wants_fresh: bool) -> Option<Arc<Snapshot>> {
    let asked = clock::monotonic();
    let is_fresh = |latest: &Snapshot| latest.at.monotonic + FRESH >= asked;
    if wants_fresh && !desk.latest.load().as_deref().is_some_and(is_fresh) && desk.wake.ask() {
        while !desk.latest.load().as_deref().is_some_and(is_fresh)
            && clock::monotonic().saturating_sub(asked) < FRESH_WAIT
        {
            tokio::time::sleep(FRESH_LOOK).await;
        }
    }
    desk.latest.load_full()
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = match refusal {
        Refusal::Foreign | Refusal::Gone(_) => StatusCode::FORBIDDEN,
        Refusal::NoJob(_) => StatusCode::NOT_FOUND,
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::Full => StatusCode::TOO_MANY_REQUESTS,
    };
    refuse(status, &refusal.to_string(), None)
}

fn found(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, why: &str, allowed: Option<&'static str>) -> Response<Full<Bytes>> {
    let mut response = found(Bytes::from(format!("{}\n", json!({ "error": why }))));
    *response.status_mut() = status;
    if let Some(allowed) = allowed {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}
