//! The connection to a Prometheus: one GET at a time over HTTP/1.1, with time-outs and a bound on what is
//! taken. Credentials go into the `Authorization` header and nowhere else; redirects are not followed, so
//! that they cannot lead them elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A file with a password or a token is one line.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// What is waited for and taken.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For an answer, to its last byte.
    pub answer: Duration,
    /// Of an answer.
    pub bytes: usize,
}

impl Bounds {
    /// A server gives up on a query after 2 min unless it is told otherwise; a bit more lets it say so.
    /// 64 MiB are 300,000 series.
    pub const DEFAULT: Bounds =
        Bounds { connect: Duration::from_secs(10), answer: Duration::from_secs(150), bytes: 64 << 20 };
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none.
    #[error("--prometheus: {message} (write http://host:9090 or https://host/path)")]
    Url {
        /// What is wrong; never the URL, which may hold a password.
        message: String,
    },
    /// A file with credentials cannot be read.
    #[error("reading {path}: {message}")]
    Secret {
        /// Which.
        path: String,
        /// Why.
        message: String,
    },
    /// There is nothing to check the server's certificate with.
    #[error(
        "no root certificates on this machine{message} (install ca-certificates, or name a file of them in SSL_CERT_FILE)"
    )]
    Roots {
        /// What was said of them.
        message: String,
    },
    /// No connection.
    #[error("connecting to {server}: {error} (is that the address of a Prometheus, and does it run?)")]
    Connect {
        /// Where.
        server: String,
        /// Why.
        error: io::Error,
    },
    /// The connection broke.
    #[error("asking {server}: {error}")]
    Broken {
        /// Where.
        server: String,
        /// Why.
        error: hyper::Error,
    },
    /// The connection broke within the answer.
    #[error("asking {server}: the answer broke off: {error}")]
    Cut {
        /// Where.
        server: String,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("asking {server}: no {what} within {seconds} s (ask for a shorter time, or for fewer hosts)")]
    Slow {
        /// Where.
        server: String,
        /// What did not come.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The answer is too large.
    #[error(
        "asking {server}: the answer is larger than {megabytes} MiB (ask for a shorter time, or for fewer hosts)"
    )]
    Large {
        /// Where.
        server: String,
        /// The bound.
        megabytes: usize,
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
    /// No runtime.
    #[error("starting the HTTP client: {0}")]
    Runtime(io::Error),
}

/// Who asks, if not everybody may.
#[derive(Debug, Default)]
pub struct Credentials<'a> {
    /// A user and a file with the password.
    pub user: Option<(&'a str, &'a Path)>,
    /// A file with a token.
    pub token: Option<&'a Path>,
}

/// A server that can be asked.
pub struct Client {
    runtime: Runtime,
    peer: Peer,
}

/// The server, as seen from inside the runtime.
struct Peer {
    server: String,
    host: String,
    port: u16,
    authority: HeaderValue,
    path: String,
    authorization: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    bounds: Bounds,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    /// Reads the URL and the credentials; nobody is asked yet.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn open(url: &str, credentials: &Credentials<'_>, bounds: Bounds) -> Result<Client, ClientError> {
        let wrong = |message: &str| ClientError::Url { message: message.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong("this is no URL"))?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong("the URL does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("the URL has no host"))?;
        if uri.query().is_some() {
            return Err(wrong("the URL has a query"));
        }
        // The last @ ends the user's part, as everywhere.
        let (user, place) = match authority.as_str().rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority.as_str()),
        };
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        if place.ends_with(':') || (authority.port_u16().is_none() && place.len() > authority.host().len()) {
            return Err(wrong("the port is no number"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        let scheme = if is_secure { "https" } else { "http" };
        let tls = match is_secure {
            true => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong("the host is no name"))?;
                Some((connector()?, name))
            }
            false => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        let peer = Peer {
            server: format!("{scheme}://{place}{path}"),
            host,
            port,
            authority: HeaderValue::from_str(place).map_err(|_| wrong("the host is no name"))?,
            path,
            authorization: authorization(user, credentials)?,
            tls,
            bounds,
            sender: None,
        };
        Ok(Client { runtime, peer })
    }

    /// Its URL without credentials.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.peer.server
    }

    /// Asks for a path below the URL; the parameters are escaped here.
    ///
    /// # Errors
    /// There is no answer, or none that we take. Any status but a redirect is an answer.
    pub fn get(
        &mut self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let request = self.peer.request(path, parameters)?;
        self.runtime.block_on(self.peer.exchange(request))
    }
}

impl Peer {
    fn request(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Request<Empty<Bytes>>, ClientError> {
        let mut target = format!("{}{path}", self.path);
        for (at, (name, value)) in parameters.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            escape(value, &mut target);
        }
        let mut request = Request::get(target)
            .header(HOST, self.authority.clone())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("jouleprint/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let message = "the URL's path has characters that must be escaped";
        request.body(Empty::new()).map_err(|_| ClientError::Url { message: message.to_owned() })
    }

    async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        // A connection that was kept may have been closed meanwhile, which shows only when it is used.
        if let Some(kept) = self.sender.take() {
            match self.attempt(kept, request.clone()).await {
                Err(ClientError::Broken { .. }) => {}
                answer => return answer,
            }
        }
        let sender = self.connect().await?;
        self.attempt(sender, request).await
    }

    async fn attempt(
        &mut self,
        mut sender: SendRequest<Empty<Bytes>>,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let answer = timeout(self.bounds.answer, self.talk(&mut sender, request)).await;
        let answer = answer.map_err(|_| ClientError::Slow {
            server: self.server.clone(),
            what: "answer",
            seconds: self.bounds.answer.as_secs(),
        })??;
        self.sender = Some(sender);
        Ok(answer)
    }

    async fn talk(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let server = || self.server.clone();
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| ClientError::Broken { server: server(), error })?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            return Err(ClientError::Redirect { server: server(), to: bare(to) });
        }
        let body = Limited::new(response.into_body(), self.bounds.bytes).collect().await;
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(ClientError::Large { server: server(), megabytes: self.bounds.bytes >> 20 })
            }
            Err(error) => Err(ClientError::Cut { server: server(), error }),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
        let failed = |error| ClientError::Connect { server: self.server.clone(), error };
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
            match &self.tls {
                Some((connector, name)) => {
                    let stream = connector.connect(name.clone(), stream).await.map_err(failed)?;
                    self.greet(stream).await
                }
                None => self.greet(stream).await,
            }
        };
        timeout(self.bounds.connect, connecting).await.map_err(|_| ClientError::Slow {
            server: self.server.clone(),
            what: "connection",
            seconds: self.bounds.connect.as_secs(),
        })?
    }

    async fn greet<S>(&self, stream: S) -> Result<SendRequest<Empty<Bytes>>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error| ClientError::Broken { server: self.server.clone(), error };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Its end, good or bad, shows in the answers.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// The system's roots, read anew for each run: there is one.
fn connector() -> Result<TlsConnector, ClientError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let message = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(ClientError::Roots { message });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorization(
    user: Option<&str>,
    credentials: &Credentials<'_>,
) -> Result<Option<HeaderValue>, ClientError> {
    let text = if let Some(path) = credentials.token {
        format!("Bearer {}", secret(path)?)
    } else if let Some((name, path)) = credentials.user {
        format!("Basic {}", STANDARD.encode(format!("{name}:{}", secret(path)?)))
    } else if let Some(user) = user {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let [name, password] = [name, password].map(unescape);
        format!("Basic {}", STANDARD.encode([&name[..], b":", &password[..]].concat()))
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Url {
        message: "the credentials have characters that no header can carry".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn secret(path: &Path) -> Result<String, ClientError> {
    let unreadable = |message: String| ClientError::Secret { path: path.display().to_string(), message };
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if metadata.len() > MAX_SECRET_BYTES {
        return Err(unreadable("larger than 64 KiB, which is no password".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A URL without its user's part and query.
fn bare(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let place = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{place}{path}")
}

fn escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(char::from(byte)),
            _ => to.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// `%41` as the byte that it stands for; what is no escape stays.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

#[cfg(test)]
pub(super) mod tests;
