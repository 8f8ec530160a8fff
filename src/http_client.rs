//! The one HTTP client of this program: requests over HTTP/1.1 or HTTP/2, plain or with TLS.
//!
//! The server's certificate is always verified, by the machine's root certificates or by a file of them.
//! Every request has a deadline and every answer a bound; redirects are not followed, since they could
//! lead credentials elsewhere. Errors name the server without user, password or query.

mod secret;
mod tls;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
pub use hyper::Uri;
use hyper::body::Body;
use hyper::header::{HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Version};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
pub use secret::{MAX_SECRET_BYTES, Secret};
use std::error::Error;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;
use tower_service::Service;

/// Connections that are kept to one server; more are opened and closed again.
const KEPT_CONNECTIONS: usize = 2;

/// While a request is under way over HTTP/2, the other end is asked so often whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// A connection that was not used for this long is closed: most servers do so after a minute.
const KEPT_FOR: Duration = Duration::from_secs(50);

/// The head of an answer; the usual is under 1 kB.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, which every server speaks.
    Http1,
    /// HTTP/2 from the first byte, as gRPC wants it; in clear text without an upgrade.
    Http2,
}

/// Who is trusted, and who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of root certificates, instead of the machine's own.
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with our key; without it the key is looked for in the certificate's file.
    pub key: Option<PathBuf>,
}

/// What is waited for and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For an answer to its last byte, the connection included.
    pub answer: Duration,
    /// Of an answer's body.
    pub bytes: usize,
}

/// Why there is no answer, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none that can be asked.
    #[error("{message} (write http://host:port/path or https://host/path)")]
    Url {
        /// What is wrong; never the URL, which may hold a password.
        message: &'static str,
    },
    /// A file with certificates or a key cannot be used.
    #[error("reading {path}: {message} (it must be a PEM file of {what})")]
    File {
        /// Which.
        path: String,
        /// Why not.
        message: String,
        /// What it should hold.
        what: &'static str,
    },
    /// A key without a certificate, or the two do not fit.
    #[error("the client certificate: {0} (give the certificate and the key that belongs to it)")]
    Identity(String),
    /// There is nothing to check a server's certificate with.
    #[error(
        "no root certificates on this machine{0} (install ca-certificates, name a file of them in \
         SSL_CERT_FILE, or set the CA file of this server)"
    )]
    Roots(String),
    /// No connection.
    #[error(
        "connecting to {server}: {cause} (is that its address, does it run, and is its certificate one that we trust?)"
    )]
    Connect {
        /// Where.
        server: String,
        /// Why.
        cause: String,
    },
    /// The connection broke.
    #[error("asking {server}: {cause} (does it speak the protocol that it is asked in?)")]
    Broken {
        /// Where.
        server: String,
        /// Why.
        cause: String,
    },
    /// It took too long.
    #[error("asking {server}: no {what} within {seconds} s (see how loaded it is, or allow it more time)")]
    Slow {
        /// Where.
        server: String,
        /// What did not come.
        what: &'static str,
        /// How long was waited.
        seconds: f64,
    },
    /// The answer is too large.
    #[error("asking {server}: the answer is larger than {bytes} bytes (is that its address?)")]
    Large {
        /// Where.
        server: String,
        /// The bound.
        bytes: usize,
    },
    /// It points elsewhere.
    #[error(
        "asking {server}: it sends us on to {to}, and redirects are not followed (give that address itself)"
    )]
    Redirect {
        /// Where.
        server: String,
        /// Where to, without what may be secret.
        to: String,
    },
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status; any but a redirect is an answer.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What came after the body; gRPC says there how it went.
    pub trailers: HeaderMap,
}

/// Asks servers, keeping its connections. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pool: Pool<Timely, Full<Bytes>>,
    protocol: Protocol,
    bounds: Bounds,
}

impl Client {
    /// Reads the certificates; nobody is asked yet. Without `ca` the machine's roots are read, unless no
    /// server is to be reached by TLS at all.
    ///
    /// # Errors
    /// A file cannot be used, or there are no roots.
    pub fn open(
        protocol: Protocol,
        is_secure: bool,
        files: &TlsFiles,
        bounds: Bounds,
    ) -> Result<Client, ClientError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(bounds.connect));
        let config = if is_secure { tls::config(files)? } else { tls::trusting_nobody() };
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let inner = match protocol {
            Protocol::Http1 => builder.enable_http1().wrap_connector(tcp),
            Protocol::Http2 => builder.enable_http2().wrap_connector(tcp),
        };
        let pool = Pool::builder(TokioExecutor::new())
            .http2_only(protocol == Protocol::Http2)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .pool_max_idle_per_host(KEPT_CONNECTIONS)
            .pool_idle_timeout(KEPT_FOR)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            // One whose other end vanished without a word is given up before TCP does, a quarter of an hour later.
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_ANSWER)
            .build(Timely { inner, limit: bounds.connect });
        Ok(Client { pool, protocol, bounds })
    }

    /// Sends a request and takes the whole answer.
    ///
    /// # Errors
    /// There is no answer, or none that we take.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, ClientError> {
        self.send_within(request, self.bounds.answer).await
    }

    /// The same, with less time for the answer.
    ///
    /// # Errors
    /// There is no answer, or none that we take.
    pub async fn send_within(&self, request: Request<Bytes>, limit: Duration) -> Result<Answer, ClientError> {
        let server = bare(&request.uri().to_string());
        let limit = limit.min(self.bounds.answer);
        match timeout(limit, self.exchange(request, &server)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Slow { server, what: "answer", seconds: limit.as_secs_f64() }),
        }
    }

    async fn exchange(&self, mut request: Request<Bytes>, server: &str) -> Result<Answer, ClientError> {
        let server = || server.to_owned();
        *request.version_mut() = match self.protocol {
            Protocol::Http1 => Version::HTTP_11,
            Protocol::Http2 => Version::HTTP_2,
        };
        let agent = HeaderValue::from_static(concat!("jouleprint/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        *request.uri_mut() = without_user(request.uri())?;
        if let (Protocol::Http1, Some(authority)) = (self.protocol, request.uri().authority()) {
            let place = HeaderValue::from_str(authority.as_str());
            let place = place.map_err(|_| ClientError::Url { message: "the host is no name" })?;
            request.headers_mut().entry(HOST).or_insert(place);
        }
        let response = match self.pool.request(request.map(Full::new)).await {
            Ok(response) => response,
            Err(error) => return Err(self.failure(error, server())),
        };
        let (head, body) = response.into_parts();
        // "Not modified" has a number among the redirects, and leads nowhere.
        if head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED {
            let to = head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            return Err(ClientError::Redirect { server: server(), to: bare(to) });
        }
        let large = || ClientError::Large { server: server(), bytes: self.bounds.bytes };
        if body.size_hint().lower() > self.bounds.bytes as u64 {
            return Err(large());
        }
        match Limited::new(body, self.bounds.bytes).collect().await {
            Ok(body) => {
                let trailers = body.trailers().cloned().unwrap_or_default();
                Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
            }
            Err(error) if error.is::<LengthLimitError>() => Err(large()),
            Err(error) => {
                let cause = format!("the answer broke off: {}", chain(&*error));
                Err(ClientError::Broken { server: server(), cause })
            }
        }
    }

    fn failure(&self, error: PoolError, server: String) -> ClientError {
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            if error.is::<TooSlow>() {
                let seconds = self.bounds.connect.as_secs_f64();
                return ClientError::Slow { server, what: "connection", seconds };
            }
            cause = error.source();
        }
        let cause = error.source().map_or_else(|| error.to_string(), chain);
        if error.is_connect() {
            ClientError::Connect { server, cause }
        } else {
            ClientError::Broken { server, cause }
        }
    }
}

/// A URL that can be asked: with a scheme that we speak and a host.
///
/// # Errors
/// It is none; the message does not repeat it.
pub fn url(text: &str) -> Result<Uri, ClientError> {
    let wrong = |message| ClientError::Url { message };
    let uri: Uri = text.parse().map_err(|_| wrong("this is no URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) | None => return Err(wrong("the URL does not begin with http:// or https://")),
    }
    let authority = uri.authority().ok_or_else(|| wrong("the URL has no host"))?;
    let place = authority.as_str().rsplit('@').next().unwrap_or_default();
    if authority.host().is_empty() {
        return Err(wrong("the URL has no host"));
    }
    if authority.port_u16().is_none() && place.len() > authority.host().len() {
        return Err(wrong("the port is no number"));
    }
    Ok(uri)
}

/// A URL without its user's part and query, for messages.
#[must_use]
pub fn bare(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let place = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{place}{path}")
}

/// A user's part belongs into the `Authorization` header, which is the caller's to set.
fn without_user(uri: &Uri) -> Result<Uri, ClientError> {
    let Some((_, place)) = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@')) else {
        return Ok(uri.clone());
    };
    let wrong = || ClientError::Url { message: "the host is no name" };
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(place.parse().map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}

/// An error and what it comes from, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said.replace('\n', " ")
}

/// A connector whose connections, TLS included, are there in time or not at all.
#[derive(Clone)]
struct Timely {
    inner: HttpsConnector<HttpConnector>,
    limit: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no connection in time")]
struct TooSlow;

type Connected = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
type Boxed = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Timely {
    type Response = Connected;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, Boxed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = timeout(self.limit, self.inner.call(to));
        Box::pin(async move {
            match connecting.await {
                Ok(connected) => connected,
                Err(_) => Err(TooSlow.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
