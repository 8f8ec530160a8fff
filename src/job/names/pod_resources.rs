//! The kubelet's PodResources service on its Unix socket: which pods and containers there are, and which
//! devices they hold. It knows no UIDs, so that a control group gets no name from it.

use super::{Look, NameSource, SourceName, Wanted};
use crate::model::identity::JobId;
use crate::model::reading::Fault;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The socket in the kubelet's directory; the directory is what is mounted, since the socket is made anew.
pub const SOCKET: &str = "kubelet.sock";

/// 500 pods with 16 devices each are under 1 MB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The kubelet answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// `v1.ContainerResources`, without memory, topology and what is claimed dynamically.
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

/// Looks whether it can be asked.
#[derive(Debug)]
pub struct PodResourcesSource {
    socket: PathBuf,
}

impl PodResourcesSource {
    /// In this directory.
    #[must_use]
    pub fn new(folder: PathBuf) -> PodResourcesSource {
        PodResourcesSource { socket: folder.join(SOCKET) }
    }
}

impl NameSource for PodResourcesSource {
    const NAME: SourceName = SourceName::PodResources;
    const REST: Duration = Duration::from_secs(30);
    const REFRESH: Option<Duration> = Some(Duration::from_secs(60));

    async fn look(&mut self, _: &[JobId], _: &Wanted) -> Look {
        match list(&self.socket).await {
            Ok(_) => Look { words: Vec::new(), outcome: Ok(()), detail: self.socket.display().to_string() },
            Err(error) => Look::failed(error.fault(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
