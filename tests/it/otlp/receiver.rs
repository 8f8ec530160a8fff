//! A backend that answers as it is told, over HTTP or gRPC, and keeps what it got.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// What is answered to one request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// A status with headers and a body.
    Http(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    /// gRPC's code, and the delay it asks for.
    Grpc(u32, Option<u8>),
    /// Nothing for this long, then success.
    Waits(Duration),
    /// Half an answer.
    Breaks,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// The message, decompressed and out of its frame.
    pub(crate) message: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Receiver {
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<VecDeque<Does>>>,
}

impl Receiver {
    /// Listens; after the script everything is taken.
    pub(crate) async fn start(script: Vec<Does>) -> (Receiver, String) {
        let receiver = Receiver { script: Arc::new(Mutex::new(script.into())), ..Receiver::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let ours = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = ours.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let receiver = receiver.clone();
                        async move { receiver.answer(request).await }
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (receiver, address)
    }

    pub(crate) fn all(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until this many requests have come.
    pub(crate) async fn wait_for(&self, count: usize) {
        for _ in 0..1_000 {
            if self.asked.lock().unwrap().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} requests in 10 s, but {}", self.asked.lock().unwrap().len());
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let is_grpc = head.headers["content-type"] == "application/grpc";
        let packed = |name: &str| head.headers.get(name).is_some_and(|value| value == "gzip");
        let (is_packed, body) = if is_grpc {
            let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
            assert_eq!(length as usize, body.len() - 5);
            assert_eq!(body[0] == 1, packed("grpc-encoding"));
            (body[0] == 1, body.slice(5..))
        } else {
            (packed("content-encoding"), body)
        };
        let mut message = Vec::new();
        match is_packed {
            true => drop(GzDecoder::new(&body[..]).read_to_end(&mut message).unwrap()),
            false => message.extend_from_slice(&body),
        }
        let asked = Asked { path: head.uri.path().to_owned(), headers: head.headers, message };
        self.asked.lock().unwrap().push(asked);
        let next = self.script.lock().unwrap().pop_front();
        let ok = if is_grpc { Does::Grpc(0, None) } else { Does::Http(200, &[], Vec::new()) };
        let does = match next.unwrap_or(ok.clone()) {
            Does::Waits(time) => {
                tokio::time::sleep(time).await;
                ok
            }
            does => does,
        };
        Ok(match does {
            Does::Http(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(*name, *value);
                }
                response.body(Full::from(body).map_err(|never| match never {}).boxed()).unwrap()
            }
            Does::Grpc(code, delay) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.into());
                trailers.insert("grpc-message", "not%20now".parse().unwrap());
                if let Some(seconds) = delay {
                    let details = STANDARD_NO_PAD.encode(retry_info(seconds));
                    trailers.insert("grpc-status-details-bin", details.parse().unwrap());
                }
                let body = Full::from(vec![0; if code == 0 { 5 } else { 0 }]);
                let body = body.with_trailers(async { Some(Ok(trailers)) });
                let body = body.map_err(|never: Infallible| match never {}).boxed();
                Response::builder().header("content-type", "application/grpc").body(body).unwrap()
            }
            Does::Breaks => {
                let broken = Full::from(vec![b'x'; 10]).map_err(|never| match never {});
                Response::builder().header("content-length", "100").body(broken.boxed()).unwrap()
            }
            Does::Waits(_) => unreachable!("it became a success"),
        })
    }
}

/// `google.rpc.Status` with a `RetryInfo` of some seconds, byte by byte.
fn retry_info(seconds: u8) -> Vec<u8> {
    let info = [0x0a, 2, 0x08, seconds];
    let kind = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, u8::try_from(kind.len()).unwrap()];
    any.extend_from_slice(kind);
    any.extend_from_slice(&[0x12, u8::try_from(info.len()).unwrap()]);
    any.extend_from_slice(&info);
    let mut status = vec![0x08, 14, 0x1a, u8::try_from(any.len()).unwrap()];
    status.extend_from_slice(&any);
    status
}
