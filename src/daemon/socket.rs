//! The Unix socket on which jobs of this host ask and speak: HTTP and JSON, readable by everybody, since the
//! kernel says who it is that speaks.

use super::{StartError, looking};
use crate::clock;
use crate::config::Settings;
use crate::job::directory::Directory;
use crate::job::register::{Callers, MAX_BODY_BYTES, Refusal, Register, Speaker, read_labels};
use crate::job::speech::{Inbox, read_mark, read_progress};
use crate::model::identity::JobId;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;
use crate::output::api::{self, Trouble};
use crate::sampler::wake::Wake;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::collections::HashMap;
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

/// Of those, one job's: what it does with them costs nobody else a place.
const MAX_CONNECTIONS_A_JOB: usize = 32;

/// A request is some lines and a short body: whoever takes longer gives up its place to another.
const MAX_CONNECTION_LIFE: Duration = Duration::from_secs(10);
const MAX_REQUEST: Duration = Duration::from_secs(2);

/// A tick that was asked for has this long to be published; after it the newest there is has to do.
const FRESH_WAIT: Nanos = Nanos::new(250_000_000);
/// What was read so recently is fresh: who asks twice in a row gets the same.
const FRESH: Nanos = Nanos::new(20_000_000);
const FRESH_LOOK: Duration = Duration::from_millis(1);

/// The job at the other end of a connection, or why it is not known.
type Caller = Result<Speaker, Refusal>;

/// Who shares a number of connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A job.
    Job(JobId),
    /// A user, for what is in no job.
    User(u32),
    /// Those of whom nothing is known.
    Foreign,
}

impl Holder {
    /// By which it is told from others.
    fn number(&self) -> u64 {
        match self {
            Holder::Job(id) => id.fingerprint(),
            Holder::User(user) => u64::from(*user),
            Holder::Foreign => u64::MAX,
        }
    }
}

/// Finds out who is at the other end, by the process's number and user.
pub(crate) type Who = Box<dyn Fn(Option<(i32, u32)>) -> Caller + Send + Sync>;

/// What the socket answers from.
pub(crate) struct Desk {
    /// The newest snapshot.
    pub(crate) latest: Arc<ArcSwapOption<Snapshot>>,
    /// Who is speaking.
    pub(crate) who: Who,
    /// What jobs call themselves.
    pub(crate) register: Register,
    /// What else they say.
    pub(crate) inbox: Arc<Inbox>,
    /// For ticks between the regular ones, where there can be any.
    pub(crate) wake: Option<Arc<Wake>>,
    /// The list of one snapshot is written once, however many ask for it.
    pub(crate) jobs: Mutex<Option<(Arc<Snapshot>, Bytes)>>,
    /// How many connections each of these has.
    pub(crate) open: Mutex<HashMap<Holder, usize>>,
}

impl Desk {
    /// Takes in a message of a job.
    fn take_in(&self, speaker: &Speaker, path: &str, body: &[u8]) -> Result<(), Refusal> {
        let Speaker { job, usage } = speaker;
        let statement = match path {
            "/api/v1/job/progress" => read_progress(body)?,
            "/api/v1/job/marks" => read_mark(body)?,
            _ => {
                let latest = self.latest.load();
                let known = || {
                    let jobs = latest.iter().flat_map(|latest| &latest.totals.jobs);
                    jobs.map(|job| job.job.id.clone()).collect()
                };
                return self.register.tell(job.clone(), read_labels(body)?, known);
            }
        };
        self.inbox.leave(job.clone(), usage.clone(), clock::monotonic(), statement)
    }

    fn take_place(&self, holder: Option<&Holder>) -> bool {
        let Some(holder) = holder else { return true };
        let mut open = self.open.lock().expect("nothing panics with it");
        let count = open.entry(holder.clone()).or_default();
        let has_place = *count < MAX_CONNECTIONS_A_JOB;
        *count += usize::from(has_place);
        has_place
    }

    fn give_place_back(&self, holder: Option<&Holder>) {
        let Some(holder) = holder else { return };
        let mut open = self.open.lock().expect("nothing panics with it");
        if let Some(count) = open.get_mut(holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(holder);
            }
        }
    }

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
) -> Result<Option<Opened>, StartError> {
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
    let callers = Arc::new(ArcSwap::from_pointee(looking::callers(settings)?));
    let desk = Desk {
        latest: Arc::clone(latest),
        who: Box::new({
            let callers = Arc::clone(&callers);
            move |peer| callers.load().speaker(peer)
        }),
        register: Register::new(directory.map(Directory::told).unwrap_or_default()),
        inbox: Arc::default(),
        wake: Some(Arc::new(wake)),
        jobs: Mutex::default(),
        open: Mutex::default(),
    };
    Ok(Some(Opened { desk: Arc::new(desk), listener, callers }))
}

/// The exporter's socket.
pub(super) struct Opened {
    /// What it answers from.
    pub(super) desk: Arc<Desk>,
    /// Where it listens.
    pub(super) listener: UnixListener,
    /// The rules in force by which it is found out who speaks.
    pub(super) callers: Arc<ArcSwap<Callers>>,
}

/// Binds the socket, in place of one that an earlier process left.
///
/// # Errors
/// The folder cannot be made, or not be written to.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
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
pub(crate) async fn serve(
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
    let peer = credentials.and_then(|peer| Some((peer.pid()?, peer.uid())));
    let caller = Arc::new((desk.who)(peer));
    let holder = match (&*caller, peer) {
        (Ok(speaker), _) => Some(Holder::Job(speaker.job.clone())),
        (Err(Refusal::Foreign), _) | (Err(_), None) => Some(Holder::Foreign),
        // An administrator, or nobody's process.
        (Err(_), Some((_, 0))) => None,
        (Err(_), Some((_, user))) => Some(Holder::User(user)),
    };
    if !desk.take_place(holder.as_ref()) {
        // Without a look at what it wants: its place is another's at once.
        let text = format!(
            "{{\"error\":\"{MAX_CONNECTIONS_A_JOB} connections of this job are open; close some\"}}\n"
        );
        let head =
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n";
        let _ = stream.try_write(format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
        return;
    }
    let who = holder.as_ref().map(Holder::number);
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, caller) = (Arc::clone(desk), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(answer(&desk, &caller, who, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(MAX_CONNECTION_LIFE, connection).await;
    desk.give_place_back(holder.as_ref());
}

/// `who` is the number of the one whose connection it is; an administrator has none.
async fn answer(
    desk: &Desk,
    caller: &Caller,
    who: Option<u64>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let is_get = request.method() == Method::GET;
    let method = match request.uri().path() {
        "/api/v1/job/labels" | "/api/v1/job/progress" => Method::PUT,
        "/api/v1/job/marks" => Method::POST,
        "/api/v1/host" | "/api/v1/jobs" | "/api/v1/job" if is_get => {
            return ask(desk, caller, who, request.uri()).await;
        }
        "/api/v1/host" | "/api/v1/jobs" | "/api/v1/job" => Method::GET,
        _ => return refuse(StatusCode::NOT_FOUND, "there is nothing here (see docs/api.md)", None),
    };
    if request.method() != method {
        let text = format!("only {method}");
        return refuse(StatusCode::METHOD_NOT_ALLOWED, &text, Some(method));
    }
    let path = request.uri().path().to_owned();
    hear(desk, caller, &path, request.into_body()).await
}

async fn ask(desk: &Desk, caller: &Caller, who: Option<u64>, address: &Uri) -> Response<Full<Bytes>> {
    let parameters = || address.query().unwrap_or_default().split('&');
    let wants_fresh = parameters().any(|key| key == "fresh=1");
    let since = parameters().find_map(|key| key.strip_prefix("since="));
    let Some(snapshot) = snapshot(desk, wants_fresh.then_some(who)).await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the first reading is under way", None);
    };
    match address.path() {
        "/api/v1/host" => found(Bytes::from(api::host(&snapshot))),
        "/api/v1/jobs" => found(desk.jobs(snapshot)),
        _ => match caller {
            Ok(speaker) => own(&snapshot, &speaker.job, since),
            Err(refusal) => refused(refusal),
        },
    }
}

fn own(snapshot: &Snapshot, id: &JobId, since: Option<&str>) -> Response<Full<Bytes>> {
    let trouble = match api::own(snapshot, id, since) {
        Ok(body) => return found(Bytes::from(body)),
        Err(trouble) => trouble,
    };
    let status = match trouble {
        Trouble::Unknown => StatusCode::NOT_FOUND,
        Trouble::Malformed => StatusCode::BAD_REQUEST,
        Trouble::Gone => StatusCode::GONE,
    };
    refuse(status, &format!("{} {}: {trouble}", id.kind().as_str(), id.id()), None)
}

/// Takes in what the job says that is speaking.
async fn hear(desk: &Desk, caller: &Caller, path: &str, body: Incoming) -> Response<Full<Bytes>> {
    let speaker = match caller {
        Ok(speaker) => speaker,
        Err(refusal) => return refused(refusal),
    };
    let body = match tokio::time::timeout(MAX_REQUEST, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let text = format!("the body is larger than {MAX_BODY_BYTES} bytes, or broke off");
            return closing(refuse(StatusCode::PAYLOAD_TOO_LARGE, &text, None));
        }
        Err(_) => {
            let text = "the body did not come within two seconds";
            return closing(refuse(StatusCode::REQUEST_TIMEOUT, text, None));
        }
    };
    match desk.take_in(speaker, path, &body) {
        Ok(()) => {
            let (job_kind, job_id) = (speaker.job.kind().as_str(), &**speaker.job.id());
            found(Bytes::from(format!("{}\n", json!({ "job_kind": job_kind, "job_id": job_id }))))
        }
        Err(refusal) => refused(&refusal),
    }
}

/// The newest snapshot; a fresh one is of a tick just before the question, or after it.
async fn snapshot(desk: &Desk, fresh_for: Option<Option<u64>>) -> Option<Arc<Snapshot>> {
    let asked = clock::monotonic();
    let is_fresh = |latest: &Snapshot| latest.at.monotonic + FRESH >= asked;
    let is_late = || !desk.latest.load().as_deref().is_some_and(is_fresh);
    let ask = |who| desk.wake.as_ref().is_some_and(|wake| wake.ask(who));
    if let Some(who) = fresh_for
        && is_late()
        && ask(who)
    {
        while is_late() && clock::monotonic().saturating_sub(asked) < FRESH_WAIT {
            tokio::time::sleep(FRESH_LOOK).await;
        }
    }
    desk.latest.load_full()
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = match refusal {
        Refusal::Foreign | Refusal::Gone(_) => StatusCode::FORBIDDEN,
        Refusal::NoJob(_) => StatusCode::NOT_FOUND,
        Refusal::Malformed(_) | Refusal::Statement { .. } => StatusCode::BAD_REQUEST,
        Refusal::Full | Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
    };
    refuse(status, &refusal.to_string(), None)
}

fn found(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The connection ends with it: what is left of the request is not read.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refuse(status: StatusCode, why: &str, allowed: Option<Method>) -> Response<Full<Bytes>> {
    let mut response = found(Bytes::from(format!("{}\n", json!({ "error": why }))));
    *response.status_mut() = status;
    if let Some(allowed) = allowed.and_then(|method| HeaderValue::from_str(method.as_str()).ok()) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}
