//! A kubelet as its neighbours see it: HTTPS with a token and a list of pods, PodResources on a Unix socket,
//! and directories of logs. It can hang, refuse, end, and come back.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jouleprint::job::names::pod_resources::{ContainerResources, ListPodResources, PodResources, SOCKET};
use prost::Message;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(600);

/// What it does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    Hangs,
}

struct State {
    pods: Vec<Value>,
    mood: Mood,
    token: String,
    asked: u64,
}

/// The kubelet; its files outlive its end.
pub(crate) struct Kubelet {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    tls: Arc<ServerConfig>,
    state: Arc<Mutex<State>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Kubelet {
    /// With a certificate of its own authority, and no pods.
    pub(crate) fn start(address: SocketAddr) -> Kubelet {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), own.cert.pem()).expect("written");
        for name in ["pods", "pod-resources"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let tls = ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::ring::default_provider(),
        ));
        let tls = tls.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let tls = tls.with_single_cert(vec![own.cert.der().clone()], key).expect("they fit");
        let state = State { pods: Vec::new(), mood: Mood::Answers, token: String::new(), asked: 0 };
        let state = Arc::new(Mutex::new(state));
        let mut kubelet = Kubelet { folder, address, tls: Arc::new(tls), state, running: None };
        kubelet.rotate("first");
        kubelet.revive();
        kubelet
    }

    /// The lines of a configuration that lead here.
    pub(crate) fn config(&self) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        format!(
            "  kubernetes: {{logs: {}, pod_resources: {}, kubelet: 'https://localhost:{}', token: {}, ca: {}}}\n",
            at("pods"),
            at("pod-resources"),
            self.address.port(),
            at("token"),
            at("ca.pem")
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another token is right from now on.
    pub(crate) fn rotate(&mut self, token: &str) {
        fs::write(self.path("token"), token).expect("written");
        self.state.lock().expect("nothing panics with it").token = format!("Bearer {token}");
    }

    /// A pod is there: on the list, and with its directory of logs.
    pub(crate) fn run(&self, pod: &Value) {
        self.log(pod);
        self.state.lock().expect("nothing panics with it").pods.push(pod.clone());
    }

    /// Its directory alone.
    pub(crate) fn log(&self, pod: &Value) {
        let word = |key: &str| pod["metadata"][key].as_str().expect("a word").to_owned();
        let folder = format!("pods/{}_{}_{}/c", word("namespace"), word("name"), word("uid"));
        fs::create_dir_all(self.path(&folder)).expect("made");
    }

    /// Changes the list.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Vec<Value>)) {
        edit(&mut self.state.lock().expect("nothing panics with it").pods);
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state.lock().expect("nothing panics with it").mood = mood;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.state.lock().expect("nothing panics with it").asked
    }

    /// Ends: nobody listens any more.
    pub(crate) fn die(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().expect("it does not panic");
        }
    }

    /// Starts again in the same places.
    pub(crate) fn revive(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (state, tls, address) = (Arc::clone(&self.state), Arc::clone(&self.tls), self.address);
        let socket = self.path("pod-resources").join(SOCKET);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let _ = fs::remove_file(&socket);
                let unix = UnixListener::bind(&socket).expect("a socket");
                let tcp = TcpListener::bind(address).await.expect("a port");
                tokio::spawn(serve_resources(unix, Arc::clone(&state)));
                tokio::spawn(serve_pods(tcp, TlsAcceptor::from(tls), state));
                let _ = stopped.await;
            });
            runtime.shutdown_background();
        });
        self.running = Some((stop, thread));
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.die();
    }
}

async fn serve_pods(listener: TcpListener, tls: TlsAcceptor, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (mood, status, body) = {
        let mut state = state.lock().expect("nothing panics with it");
        state.asked += 1;
        let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let status = match request.uri().path() {
            _ if given != Some(&state.token) => 401,
            "/pods" => 200,
            _ => 403,
        };
        (state.mood, status, json!({"kind": "PodList", "apiVersion": "v1", "items": state.pods}).to_string())
    };
    if mood == Mood::Hangs {
        tokio::time::sleep(FOR_EVER).await;
    }
    let body = if status == 200 { body } else { String::new() };
    Ok(Response::builder().status(status).body(body.into()).expect("a response"))
}

async fn serve_resources(listener: UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| resources(request, Arc::clone(&state)));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn resources(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let is_known = request.uri().path() == "/v1.PodResourcesLister/List";
    let _ = request.into_body().collect().await;
    let (mood, list) = {
        let state = state.lock().expect("nothing panics with it");
        let word = |pod: &Value, key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
        let pods = state.pods.iter().map(|pod| PodResources {
            name: word(pod, "name"),
            namespace: word(pod, "namespace"),
            containers: vec![ContainerResources { name: "c".to_owned(), ..ContainerResources::default() }],
        });
        (state.mood, ListPodResources { pods: pods.collect() })
    };
    if mood == Mood::Hangs {
        tokio::time::sleep(FOR_EVER).await;
    }
    let message = list.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short list").to_be_bytes();
    let body = [&[0][..], &length, &message].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", if is_known { 0 } else { 12 }.into());
    let body = Full::from(body).with_trailers(async { Some(Ok(trailers)) }).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).expect("a response"))
}
