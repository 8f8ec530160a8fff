//! The HTTP side. A page is made at most once for each snapshot, format and encoding, by its first
//! reader; everybody after gets the same bytes.

use super::access::{Access, Rules};
use super::api;
use super::catalogue::HTTP_REQUESTS;
use super::negotiate;
use super::page;
use super::prometheus::{Format, render};
use crate::clock;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderName, VARY, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Open connections at the most; beyond it new ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// A client has this long to send its request, the pause since the last one included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);

/// A client that takes its page byte by byte gives up its place after this; the others connect anew.
const MAX_CONNECTION_LIFE: Duration = Duration::from_secs(3_600);

/// And this long for its half of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Passwords are checked one at a time: wrong ones must not take the machine that is measured.
static VERIFICATIONS: Semaphore = Semaphore::const_new(1);

/// Requests are lines and headers only; Prometheus sends under 1 kB.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Pages leave in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// A snapshot older than this many ticks means that the sampler hangs.
const READY_TICKS: u64 = 3;

/// Answers requests: a node's site, or a relay's.
pub trait Answers: Send + Sync {
    /// Answers one request of somebody who may ask.
    fn answer_to(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Answer>;

    /// The answer to somebody who did not say who they are.
    fn refuse(&self) -> Response<Answer>;
}

/// What the server answers from.
pub struct Site {
    latest: Arc<ArcSwapOption<Snapshot>>,
    telemetry_path: String,
    max_requests: usize,
    open_requests: Arc<AtomicUsize>,
    pages: Mutex<Pages>,
    requests: Requests,
}

/// How many requests were answered how: the lines of the page that are not made from a state.
pub(super) struct Requests {
    registry: Registry,
    by_code: Family<CodeLabel, Counter>,
}

impl Default for Requests {
    fn default() -> Requests {
        let mut registry = Registry::default();
        let by_code = Family::<CodeLabel, Counter>::default();
        registry.register(HTTP_REQUESTS.0, HTTP_REQUESTS.1, by_code.clone());
        Requests { registry, by_code }
    }
}

impl Requests {
    pub(super) fn count(&self, response: &Response<Answer>) {
        self.by_code.get_or_create(&CodeLabel { code: response.status().as_u16() }).inc();
    }

    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

/// The pages of one snapshot, and the room they were written in.
#[derive(Default)]
struct Pages {
    of: Option<Arc<Snapshot>>,
    // By format, then plain and gzip.
    made: [[Option<Bytes>; 2]; 2],
    text: Vec<u8>,
}

/// A body that is handed out piece by piece, so that a page counts as open until its reader, however
/// slow, has taken it.
#[derive(Default)]
pub struct Answer {
    rest: Bytes,
    open: Option<OpenRequest>,
}

/// One of the pages that are being sent.
struct OpenRequest(Arc<AtomicUsize>);

impl Answer {
    pub(super) fn of(body: Bytes) -> Answer {
        Answer { rest: body, open: None }
    }

    /// The next piece; after the last one the page is no longer open.
    pub fn take_piece(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.open = None;
            return None;
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Some(self.rest.split_to(length))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.take_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl OpenRequest {
    /// `None` if `limit` are open already; a limit of 0 is none.
    fn new(open: &Arc<AtomicUsize>, limit: usize) -> Option<OpenRequest> {
        let before = open.fetch_add(1, Ordering::Relaxed);
        let request = OpenRequest(Arc::clone(open));
        (limit == 0 || before < limit).then_some(request)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Site {
    /// Answers from `latest`; at most `max_requests` pages are made or sent at a time (0: no bound).
    #[must_use]
    pub fn new(latest: Arc<ArcSwapOption<Snapshot>>, telemetry_path: String, max_requests: usize) -> Site {
        Site {
            latest,
            telemetry_path,
            max_requests,
            open_requests: Arc::default(),
            pages: Mutex::default(),
            requests: Requests::default(),
        }
    }

    /// Answers one request.
    pub fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Answer> {
        let response = if let Some(refusal) = wrong_method(method) {
            refusal
        } else if path == self.telemetry_path {
            self.metrics(headers)
        } else {
            match path {
                "/" => self.landing(),
                "/-/healthy" => plain(StatusCode::OK, "healthy\n"),
                "/-/ready" => self.ready(clock::monotonic()),
                "/api/v1/jobs" => self.api(api::jobs),
                "/api/v1/host" => self.api(api::host),
                _ => plain(StatusCode::NOT_FOUND, "not found\n"),
            }
        };
        self.requests.count(&response);
        without_body(method, response)
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Answer> {
        let Some(snapshot) = self.latest.load_full() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the first reading is under way\n");
        };
        let Some(open) = OpenRequest::new(&self.open_requests, self.max_requests) else {
            let text = "too many requests at a time (--web.max-requests)\n";
            return plain(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        let format = negotiate::format(joined(headers, ACCEPT).as_deref());
        let is_gzip = negotiate::accepts_gzip(joined(headers, ACCEPT_ENCODING).as_deref());
        let body = self.page(snapshot, format, is_gzip);
        let mut response = Response::new(Answer { rest: body, open: Some(open) });
        let head = response.headers_mut();
        head.insert(CONTENT_TYPE, format.content_type().parse().expect("a header value"));
        head.insert(VARY, "Accept, Accept-Encoding".parse().expect("a header value"));
        if is_gzip {
            head.insert(CONTENT_ENCODING, "gzip".parse().expect("a header value"));
        }
        response
    }

    /// What programs read of the newest snapshot.
    fn api(&self, write: fn(&Snapshot) -> Vec<u8>) -> Response<Answer> {
        let Some(snapshot) = self.latest.load_full() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the first reading is under way\n");
        };
        let Some(open) = OpenRequest::new(&self.open_requests, self.max_requests) else {
            let text = "too many requests at a time (--web.max-requests)\n";
            return plain(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        let mut response = Response::new(Answer { rest: Bytes::from(write(&snapshot)), open: Some(open) });
        response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a header value"));
        response
    }

    /// The bytes of a page.
    fn page(&self, snapshot: Arc<Snapshot>, format: Format, is_gzip: bool) -> Bytes {
        let mut pages = self.pages.lock().expect("rendering does not panic");
        let pages = &mut *pages;
        if !pages.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &snapshot)) {
            pages.of = Some(Arc::clone(&snapshot));
            pages.made = Default::default();
        }
        if let Some(body) = &pages.made[format as usize][usize::from(is_gzip)] {
            return body.clone();
        }
        render(&snapshot, format, &self.requests.lines(), &mut pages.text);
        let body = if is_gzip { compress(&pages.text) } else { Bytes::copy_from_slice(&pages.text) };
        pages.made[format as usize][usize::from(is_gzip)] = Some(body.clone());
        body
    }

    fn landing(&self) -> Response<Answer> {
        let html = page::landing(self.latest.load().as_deref(), &self.telemetry_path);
        let mut response = Response::new(Answer::of(Bytes::from(html)));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, "text/html; charset=utf-8".parse().expect("a header value"));
        response
    }

    fn ready(&self, now: Nanos) -> Response<Answer> {
        match self.latest.load().as_deref() {
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: the first reading is under way\n"),
            Some(snapshot) => {
                let age = now.saturating_sub(snapshot.at.monotonic);
                if age.get() > snapshot.interval.get() * READY_TICKS {
                    let text = format!("not ready: the last reading is {:.0} s old\n", age.as_seconds());
                    plain(StatusCode::SERVICE_UNAVAILABLE, &text)
                } else {
                    plain(StatusCode::OK, "ready\n")
                }
            }
        }
    }
}

impl Answers for Site {
    fn answer_to(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Answer> {
        self.answer(method, uri.path(), headers)
    }

    fn refuse(&self) -> Response<Answer> {
        let response = unknown_caller();
        self.requests.count(&response);
        response
    }
}

/// The answer to what only asks for a head: its length, and no body.
pub(super) fn without_body(method: &Method, mut response: Response<Answer>) -> Response<Answer> {
    if *method == Method::HEAD {
        let length = response.body().rest.len();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        *response.body_mut() = Answer::default();
    }
    response
}

/// The answer to what is neither GET nor HEAD.
pub(super) fn wrong_method(method: &Method) -> Option<Response<Answer>> {
    if *method == Method::GET || *method == Method::HEAD {
        return None;
    }
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    response.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("a header value"));
    Some(response)
}

pub(super) fn unknown_caller() -> Response<Answer> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
    let challenge = "Basic realm=\"jouleprint\"".parse().expect("a header value");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// All values of a header that may come in several lines.
pub(super) fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::of(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, "text/plain; charset=utf-8".parse().expect("a header value"));
    response
}

/// Level 1: level 6 takes six times as long for half the bytes.
pub(super) fn compress(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 6 + 64), Compression::new(1));
    encoder.write_all(text).expect("writing to memory does not fail");
    Bytes::from(encoder.finish().expect("writing to memory does not fail"))
}

/// Serves on a listener until `stop` says so; then lets open requests end.
pub async fn serve<S: Answers + 'static>(
    site: Arc<S>,
    access: Arc<Access>,
    listener: TcpListener,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit.expect("the semaphore is never closed"),
            () = told(&mut stop) => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of descriptors, most likely: others will close theirs.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = told(&mut stop) => break,
        };
        let (site, access, watcher) = (Arc::clone(&site), Arc::clone(&access), graceful.watcher());
        tokio::spawn(async move {
            // A client that goes away in the middle is its own affair.
            match access.rules().tls.clone() {
                None => attend(stream, site, access, watcher).await,
                Some(tls) => {
                    let handshake = TlsAcceptor::from(tls).accept(stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                        attend(stream, site, access, watcher).await;
                    }
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    if let Some(graceful) = Arc::into_inner(graceful) {
        graceful.shutdown().await;
    }
}

/// Answers the requests of one connection.
async fn attend(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Arc<impl Answers + 'static>,
    access: Arc<Access>,
    watcher: Watcher,
) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (site, rules) = (Arc::clone(&site), access.rules());
        async move {
            let mut response = if is_admitted(&rules, request.headers()).await {
                site.answer_to(request.method(), request.uri(), request.headers())
            } else {
                site.refuse()
            };
            response.headers_mut().extend(rules.headers.iter().cloned());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(MAX_CONNECTION_LIFE, watcher.watch(connection)).await;
}

/// Whether the request says who it is from, where that is asked for.
async fn is_admitted(rules: &Arc<Rules>, headers: &HeaderMap) -> bool {
    if !rules.has_users() {
        return true;
    }
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(authorization) = header.map(str::to_owned) else { return false };
    if rules.is_verified(&authorization) {
        return true;
    }
    // bcrypt takes its time on purpose; scrapes must not wait for it.
    let rules = Arc::clone(rules);
    let Ok(_turn) = VERIFICATIONS.acquire().await else { return false };
    tokio::task::spawn_blocking(move || rules.verify(&authorization)).await.unwrap_or(false)
}

async fn told(stop: &mut tokio::sync::watch::Receiver<bool>) {
    // A sender that is gone says stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
