//! The kubelet's PodResources service on its Unix socket: which pods and containers there are, and which
//! devices they hold. It knows no UIDs, so that a control group gets no name from it.

use super::{Look, NameSource, PodList, SourceName, Wanted, WantsDevices};
use crate::clock;
use crate::job::gpu::grant;
use crate::model::identity::JobId;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The socket in the kubelet's directory; the directory is what is mounted, since the socket is made anew.
pub const SOCKET: &str = "kubelet.sock";

/// 500 pods with 16 devices each are under 1 MB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The kubelet answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two questions where nobody wants to know who holds what.
const IDLE_REFRESH: Nanos = Nanos::from_seconds(60);

/// The method that lists everything.
const METHOD: &str = "http://localhost/v1.PodResourcesLister/List";

/// An empty message in gRPC's frame: not compressed, of no length.
const NOTHING: &[u8] = &[0; 5];

/// `v1.ListPodResourcesResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodResources {
    /// All pods of the node.
    #[prost(message, repeated, tag = "1")]
    pub pods: Vec<PodResources>,
}

/// `v1.PodResources`.
#[derive(Clone, PartialEq, Message)]
pub struct PodResources {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Its containers.
    #[prost(message, repeated, tag = "3")]
    pub containers: Vec<ContainerResources>,
}

/// `v1.ContainerResources`, without memory and topology.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerResources {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The devices of its plug-ins.
    #[prost(message, repeated, tag = "2")]
    pub devices: Vec<ContainerDevices>,
    /// CPUs that are its own.
    #[prost(int64, repeated, tag = "3")]
    pub cpu_ids: Vec<i64>,
    /// What it claimed dynamically (Kubernetes 1.34; before that behind a feature gate).
    #[prost(message, repeated, tag = "5")]
    pub claims: Vec<DynamicResource>,
}

/// `v1.DynamicResource`.
#[derive(Clone, PartialEq, Message)]
pub struct DynamicResource {
    /// The claim's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// What it was given.
    #[prost(message, repeated, tag = "4")]
    pub resources: Vec<ClaimResource>,
}

/// `v1.ClaimResource`, without the names of CDI.
#[derive(Clone, PartialEq, Message)]
pub struct ClaimResource {
    /// `gpu.nvidia.com`.
    #[prost(string, tag = "2")]
    pub driver: String,
    /// As a rule the node.
    #[prost(string, tag = "3")]
    pub pool: String,
    /// As the driver calls it.
    #[prost(string, tag = "4")]
    pub device: String,
}

/// `v1.ContainerDevices`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerDevices {
    /// `nvidia.com/gpu`.
    #[prost(string, tag = "1")]
    pub resource_name: String,
    /// As the plug-in calls them.
    #[prost(string, repeated, tag = "2")]
    pub device_ids: Vec<String>,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No connection.
    #[error("connecting to {0}: {1}")]
    Connect(String, io::Error),
    /// It broke, or the other end speaks something else.
    #[error("asking {0}: {1}")]
    Broken(String, String),
    /// gRPC's own status.
    #[error("{0} answers with gRPC code {1}")]
    Refused(String, String),
    /// It took too long.
    #[error("asking {0}: no answer within 5 s")]
    Slow(String),
}

impl ListError {
    /// The fault it is on the page.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            ListError::Connect(_, error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Fault::Unreachable
            }
            ListError::Connect(_, error) => Fault::from(error),
            ListError::Broken(..) => Fault::Io,
            ListError::Refused(..) => Fault::PermissionDenied,
            ListError::Slow(_) => Fault::Timeout,
        }
    }
}

/// Everything the kubelet has given to its pods.
///
/// # Errors
/// There is no answer.
pub async fn list(socket: &Path) -> Result<ListPodResources, ListError> {
    let place = socket.display().to_string();
    match timeout(PATIENCE, ask(socket, &place)).await {
        Ok(answer) => answer,
        Err(_) => Err(ListError::Slow(place)),
    }
}

async fn ask(socket: &Path, place: &str) -> Result<ListPodResources, ListError> {
    let broken = |why: String| ListError::Broken(place.to_owned(), why);
    let stream =
        UnixStream::connect(socket).await.map_err(|error| ListError::Connect(place.to_owned(), error))?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(error.to_string()))?;
    let asking = async {
        let request =
            Request::post(METHOD).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(Full::new(Bytes::from_static(NOTHING))).expect("a fixed request");
        let response = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| broken(error.to_string()))?;
        // An answer without a body has everything in its head.
        let trailer = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = trailer.or_else(|| head.headers.get("grpc-status"));
        let status = status.and_then(|status| status.to_str().ok()).unwrap_or("none").to_owned();
        if status != "0" {
            return Err(ListError::Refused(place.to_owned(), status));
        }
        let body = body.to_bytes();
        decode(&body).ok_or_else(|| broken("the answer is none of this service's".to_owned()))
    };
    // The connection lives as long as the question, and no longer.
    tokio::select! {
        answer = asking => answer,
        ended = connection => Err(broken(ended.map_or_else(|error| error.to_string(), |()| "it hung up".to_owned()))),
    }
}

/// The message in its frame.
#[must_use]
pub fn decode(body: &[u8]) -> Option<ListPodResources> {
    let (frame, message) = body.split_at_checked(NOTHING.len())?;
    let length = u32::from_be_bytes(frame[1..].try_into().ok()?);
    let is_whole = frame[0] == 0 && usize::try_from(length).is_ok_and(|length| length == message.len());
    if is_whole { ListPodResources::decode(message).ok() } else { None }
}

/// Asks who holds accelerators.
#[derive(Debug)]
pub struct PodResourcesSource {
    socket: PathBuf,
    wants_devices: WantsDevices,
    // When it was asked last, and what came of it.
    last: Option<(Nanos, Result<(), Fault>, String)>,
}

impl PodResourcesSource {
    /// In this directory.
    #[must_use]
    pub fn new(folder: PathBuf, wants_devices: WantsDevices) -> PodResourcesSource {
        PodResourcesSource { socket: folder.join(SOCKET), wants_devices, last: None }
    }
}

impl NameSource for PodResourcesSource {
    const NAME: SourceName = SourceName::PodResources;
    // A pod has its devices before it has a control group.
    const REST: Duration = Duration::from_secs(2);
    const REFRESH: Option<Duration> = Some(Duration::from_secs(10));
    // To look whether a socket is there costs nothing, and a kubelet that is back knows new holders.
    const LONGEST_TROUBLE: Duration = Duration::from_secs(15);

    async fn look(&mut self, _: &[JobId], _: &Wanted) -> Look {
        let at = clock::monotonic();
        // Without accelerators it is looked at now and then, to see whether it is there.
        if let Some((asked, outcome, detail)) = &self.last
            && !self.wants_devices.load(Ordering::Relaxed)
            && at.saturating_sub(*asked) < IDLE_REFRESH
        {
            return Look { words: Vec::new(), outcome: *outcome, detail: detail.clone(), pods: None };
        }
        let (outcome, detail, pods) = match list(&self.socket).await {
            Ok(list) => {
                let pods = PodList { at, pods: grant::of_pods(&list) };
                (Ok(()), self.socket.display().to_string(), Some(pods))
            }
            Err(error) => (Err(error.fault()), error.to_string(), None),
        };
        self.last = Some((at, outcome, detail.clone()));
        Look { words: Vec::new(), outcome, detail, pods }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::tests::look;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A kubelet that gives this answer to each of so many questions.
    fn serve(folder: &Path, answer: &'static [u8], questions: usize) -> std::thread::JoinHandle<()> {
        let listener = std::os::unix::net::UnixListener::bind(folder.join(SOCKET)).expect("a socket");
        listener.set_nonblocking(true).expect("it can be");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
                for _ in 0..questions {
                    let (stream, _) = listener.accept().await.expect("somebody asks");
                    let service = hyper::service::service_fn(move |request: Request<_>| async move {
                        let _: &hyper::body::Incoming = request.body();
                        assert_eq!(request.uri().path(), "/v1.PodResourcesLister/List");
                        let trailers =
                            [("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))];
                        let body = Full::new(Bytes::from_static(answer));
                        let body = body.with_trailers(async { Some(Ok(trailers.into_iter().collect())) });
                        Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
                    });
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        })
    }

    /// One pod, `shop/web-0`, with a device, a share of another, and a claim.
    const LIST: &[u8] =
        b"\x00\x00\x00\x00[\x0aY\x0a\x05web-0\x12\x04shop\x1aJ\x0a\x01c\x12\x1f\x0a\x0envidia.com/\
        gpu\x12\x05GPU-a\x12\x06GPU-b1*$\x12\x01c\x22\x1f\x0a\x03\x0a\x01x\x12\x0egpu.nvid\
        ia.com\x1a\x01n\x22\x05gpu-0";

    #[test]
    fn the_kubelet_is_asked_over_its_socket_and_seldom_where_nobody_wants_to_know() {
        let folder = tempfile::tempdir().expect("a folder");
        let wants = WantsDevices::default();
        let mut source = PodResourcesSource::new(folder.path().to_owned(), Arc::clone(&wants));
        let all = Wanted::new();
        let found = look(&mut source, &all);
        assert_eq!((found.outcome, found.pods), (Err(Fault::Missing), None));
        let server = serve(folder.path(), LIST, 2);
        assert_eq!(look(&mut source, &all).outcome, Err(Fault::Missing), "it is not asked again so soon");
        wants.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            let found = look(&mut source, &all);
            assert_eq!(found.outcome, Ok(()), "{}", found.detail);
            let pods = found.pods.expect("a list").pods;
            assert_eq!((&*pods[0].namespace, &*pods[0].name, pods[0].devices.len()), ("shop", "web-0", 3));
        }
        server.join().expect("it does not panic");
        let found = look(&mut source, &all);
        assert_eq!((found.outcome, found.pods), (Err(Fault::Unreachable), None), "nobody listens any more");
    }

    #[test]
    fn a_list_is_read_from_its_frame() {
        // As a kubelet of Kubernetes 1.33 encodes it, with a field that is not looked at.
        let message = b"\x0a\x2a\x0a\x05web-0\x12\x04shop\x1a\x1b\x0a\x01c\x12\x14\x0a\x0envidia.com/gpu\x12\x02g1\x1a\x00";
        let body = [&[0, 0, 0, 0, u8::try_from(message.len()).expect("short")][..], message].concat();
        let list = decode(&body).expect("a list");
        assert_eq!((list.pods[0].name.as_str(), list.pods[0].namespace.as_str()), ("web-0", "shop"));
        let device = &list.pods[0].containers[0].devices[0];
        assert_eq!(
            (device.resource_name.as_str(), &device.device_ids[..]),
            ("nvidia.com/gpu", &["g1".to_owned()][..])
        );
        assert_eq!(decode(NOTHING), Some(ListPodResources::default()));
        for garbage in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x09x", b"\0\0\0\0\x01\xff"] {
            assert_eq!(decode(garbage), None, "{garbage:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
