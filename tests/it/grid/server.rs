//! A provider's server of our own: it answers by a rule, and keeps what it was asked.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// What is answered to one request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// 200 and a body.
    Says(String),
    /// A status with headers and a body.
    Refuses(u16, Vec<(&'static str, String)>, String),
    /// Less than was announced.
    Breaks,
    /// 50 MB, piece by piece.
    Floods,
    /// Nothing.
    Waits,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// As it was sent.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
}

impl Asked {
    /// A pair of the query, decoded.
    pub(crate) fn pair(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let mut pairs = pairs.map(|(name, value)| (decoded(name), decoded(value)));
        pairs.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'%' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
                rest = &after[2..];
            }
            byte => {
                assert!(byte != b'+' && byte != b' ', "a query is percent-encoded: {text}");
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

type Rule = Arc<dyn Fn(&Asked) -> Does + Send + Sync>;

/// It runs on a thread of its own until it is dropped.
pub(crate) struct Server {
    /// Where it is.
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(rule: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Server {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let (rule, kept): (Rule, _) = (Arc::new(rule), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, rule, kept) => {}
                    _ = stopped => {}
                }
            });
        });
        let url = format!("http://{}", told.recv().unwrap());
        Server { url, asked, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: TcpListener, rule: Rule, asked: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (rule, asked) = (Arc::clone(&rule), Arc::clone(&asked));
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (head, _) = request.into_parts();
                let request = Asked {
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    headers: head.headers,
                };
                let does = rule(&request);
                asked.lock().unwrap().push(request);
                answer(does)
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(does: Does) -> Result<Response<BoxBody<Bytes, io::Error>>, Infallible> {
    let whole = |body: String| Full::from(body.into_bytes()).map_err(|never| match never {}).boxed();
    Ok(match does {
        Does::Says(body) => Response::new(whole(body)),
        Does::Refuses(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(whole(body)).unwrap()
        }
        Does::Breaks => {
            let half = Pieces { left: 1, piece: Bytes::from_static(b"{\"da"), breaks_after: Some(3) };
            Response::builder().header("content-length", "100").body(half.boxed()).unwrap()
        }
        Does::Floods => {
            let piece = Bytes::from(vec![b' '; 1 << 20]);
            Response::new(Pieces { left: 50, piece, breaks_after: None }.boxed())
        }
        Does::Waits => std::future::pending().await,
    })
}

/// A body in pieces, of a length that it does not announce; after the last it may break, once what came
/// before has had some turns to be sent.
struct Pieces {
    left: usize,
    piece: Bytes,
    breaks_after: Option<usize>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))));
        }
        match self.breaks_after {
            None => Poll::Ready(None),
            Some(0) => Poll::Ready(Some(Err(io::Error::other("broken off")))),
            Some(turns) => {
                self.breaks_after = Some(turns - 1);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
