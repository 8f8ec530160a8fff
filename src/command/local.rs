//! Asking the exporter of this host, over its Unix socket. Whoever asks can do without an answer, so nothing
//! here waits for long.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// A thousand jobs are 1 MB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there.
    #[error("no exporter answers on {path}: {error}")]
    Nobody {
        /// Where.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// It took too long, or broke off.
    #[error("the exporter on {path} does not answer: {why}")]
    Broken {
        /// Where.
        path: String,
        /// How.
        why: String,
    },
    /// It answered with an error.
    #[error("the exporter says {status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
}

/// A way to the exporter of this host, if there is one.
#[derive(Debug)]
pub struct Local {
    sockets: Vec<PathBuf>,
    runtime: Runtime,
}

impl Local {
    /// At the first of these sockets behind which somebody is.
    ///
    /// # Errors
    /// This process has no descriptors left.
    pub fn new(sockets: Vec<PathBuf>) -> io::Result<Local> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Local { sockets, runtime })
    }

    /// Asks, and waits for an answer for as long as `patience` lasts.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(
        &self,
        method: &Method,
        target: &str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Bytes, AskError> {
        self.runtime.block_on(async {
            let mut refused = None;
            for path in &self.sockets {
                match UnixStream::connect(path).await {
                    Ok(stream) => {
                        let answer = exchange(path, stream, method, target, body);
                        return tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
                            let why = format!("not within {} ms", patience.as_millis());
                            Err(AskError::Broken { path: path.display().to_string(), why })
                        });
                    }
                    Err(error) => {
                        refused.get_or_insert(AskError::Nobody { path: path.display().to_string(), error });
                    }
                }
            }
            let error = io::Error::from(io::ErrorKind::NotFound);
            Err(refused.unwrap_or(AskError::Nobody { path: "any socket".to_owned(), error }))
        })
    }
}

async fn exchange(
    path: &Path,
    stream: UnixStream,
    method: &Method,
    target: &str,
    body: Vec<u8>,
) -> Result<Bytes, AskError> {
    let broken = |why: String| AskError::Broken { path: path.display().to_string(), why };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(target).header(HOST, "localhost");
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| broken(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    connection.abort();
    let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let said: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let message =
        said.as_ref().and_then(|said| said["error"].as_str()).unwrap_or("no reason given").to_owned();
    Err(AskError::Refused { status, message })
}
