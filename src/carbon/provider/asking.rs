//! One request: put together without secrets in sight, sent with a deadline, its status told in one line.

use super::json::Node;
use super::{Ask, Key, Refusal};
use crate::http_client::{self, Answer, Client, ClientError, Secret};
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use bytes::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use std::fmt::{self, Write};
use std::time::Duration;

/// However late a provider wants to be asked again: the next day things may be otherwise.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3_600);

/// What a key does not open is not tried again for so long: plans are changed by hand.
const SHUT_FOR: Nanos = Nanos::from_seconds(24 * 3_600);

/// Where a provider is, and for which place it is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Site {
    /// The `source` label.
    pub source: &'static str,
    /// Its address, without a slash at the end.
    pub base: String,
    /// What it calls the place.
    pub zone: String,
    /// How often it is asked.
    pub cadence: Duration,
}

impl fmt::Debug for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {} for {}", self.source, http_client::bare(&self.base), self.zone)
    }
}

impl Site {
    /// A refusal without an answer, or of one that makes no sense.
    #[must_use]
    pub fn refusal(&self, fault: Fault, what: &str) -> Refusal {
        Refusal {
            fault,
            message: format!("asking {} for {}: {what}", self.source, self.zone),
            retry_after: None,
        }
    }

    /// An answer that is not what its provider's documents say.
    #[must_use]
    pub fn malformed(&self, what: &str) -> Refusal {
        self.refusal(Fault::Malformed, what)
    }

    /// The key itself.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn secret(&self, key: &Key) -> Result<Secret, Refusal> {
        key.read().await.map_err(|unread| self.refusal(unread.fault, &unread.cause))
    }

    /// The key, as a header's value.
    ///
    /// # Errors
    /// The file cannot be used, or no header can carry the key.
    pub async fn key(&self, key: &Key) -> Result<HeaderValue, Refusal> {
        self.header(self.secret(key).await?.reveal())
    }

    /// A header's value that is shown nowhere.
    ///
    /// # Errors
    /// No header can carry it.
    pub fn header(&self, secret: &str) -> Result<HeaderValue, Refusal> {
        let unusable = "the key has letters that no header can carry (write it anew)";
        let mut value =
            HeaderValue::from_str(secret).map_err(|_| self.refusal(Fault::Malformed, unusable))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The JSON of an answer that holds no error.
    ///
    /// # Errors
    /// It is no JSON, or tells of an error.
    pub fn json<'a>(&self, body: &'a [u8]) -> Result<Node<'a>, Refusal> {
        let node = Node::parse(body)
            .ok_or_else(|| self.malformed("the answer is no JSON (is that its address?)"))?;
        if node.is_error() {
            return Err(
                self.malformed("it answers with an error in status 200 (see whether the provider works)")
            );
        }
        Ok(node)
    }
}

/// A part of a provider that the key may not open: it is left alone for a day after it was refused, and the
/// rest goes on.
#[derive(Debug, Default)]
pub struct Part(Option<Nanos>);

impl Part {
    /// Whether it may be asked for.
    #[must_use]
    pub fn is_open(&self, ask: Ask) -> bool {
        self.0.is_none_or(|since| ask.now < since || ask.now.saturating_sub(since) >= SHUT_FOR)
    }

    /// What came of asking for it; only what the key does not open shuts it.
    pub fn note<T>(&mut self, ask: Ask, outcome: &Result<T, Refusal>) {
        let is_shut = outcome.as_ref().is_err_and(|refusal| refusal.fault == Fault::PermissionDenied);
        self.0 = is_shut.then_some(ask.now);
    }
}

/// A request under construction.
pub struct Question<'a> {
    site: &'a Site,
    url: String,
    headers: HeaderMap,
}

impl<'a> Question<'a> {
    /// For this path below the provider's base.
    #[must_use]
    pub fn new(site: &'a Site, path: &str) -> Question<'a> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Question { site, url: format!("{}{path}", site.base), headers }
    }

    /// Adds a pair to the query.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Question<'a> {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        encode(name, &mut self.url);
        self.url.push('=');
        encode(value, &mut self.url);
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Question<'a> {
        self.headers.insert(name, value);
        self
    }

    /// Asks, and gives the body of an answer that is one.
    ///
    /// # Errors
    /// There is no answer in time, or its status says that it is none.
    pub async fn ask(self, client: &Client, ask: Ask) -> Result<Bytes, Refusal> {
        let site = self.site;
        self.send(client).await?.body(site, ask)
    }

    /// Asks, and gives whatever is answered.
    ///
    /// # Errors
    /// There is no answer in time.
    pub async fn send(self, client: &Client) -> Result<Told, Refusal> {
        let Question { site, url, headers } = self;
        let failed = |error: &ClientError| Refusal {
            fault: fault_of(error),
            message: format!("{} for {}: {error}", site.source, site.zone),
            retry_after: None,
        };
        let uri = http_client::url(&url).map_err(|error| failed(&error))?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let answer = client.send(request).await.map_err(|error| failed(&error))?;
        Ok(Told { url: http_client::bare(&url), answer })
    }
}

/// An answer, whatever its status.
pub struct Told {
    url: String,
    answer: Answer,
}

impl Told {
    /// Whether it does not know us: our token may have ended.
    #[must_use]
    pub fn is_unknown_caller(&self) -> bool {
        self.answer.status == StatusCode::UNAUTHORIZED
    }

    /// The body of an answer that is one.
    ///
    /// # Errors
    /// Its status says that it is none.
    pub fn body(self, site: &Site, ask: Ask) -> Result<Bytes, Refusal> {
        let Told { url, answer } = self;
        let (fault, why) = match answer.status {
            StatusCode::OK if answer.body.starts_with(b"PK\x03\x04") => {
                (Fault::Malformed, "a zip archive where text should be (is that its address?)".to_owned())
            }
            StatusCode::OK => return Ok(answer.body),
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => {
                (Fault::Missing, "it has nothing for this zone (is that what it calls the zone?)".to_owned())
            }
            StatusCode::UNAUTHORIZED => (
                Fault::PermissionDenied,
                "status 401: it does not accept the key (renew it; a new one takes minutes to become active)"
                    .to_owned(),
            ),
            StatusCode::FORBIDDEN => (
                Fault::PermissionDenied,
                "status 403: the key is not for this (see which zones and figures it covers)".to_owned(),
            ),
            StatusCode::TOO_MANY_REQUESTS => (
                Fault::Limit,
                "status 429: asked too often (set a longer interval, or use a relay)".to_owned(),
            ),
            status if status.is_server_error() => {
                (Fault::Io, format!("status {} (its own fault; it is asked again)", status.as_u16()))
            }
            status => (Fault::Io, format!("status {} (see the provider's url and zone)", status.as_u16())),
        };
        let text = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Err(Refusal {
            fault,
            message: format!("asking {url} for {}: {why}", site.zone),
            retry_after: text.and_then(|text| retry_after(text, ask.now)),
        })
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: Nanos) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
            u64::try_from(date).ok()?.saturating_sub(now.get() / 1_000_000_000)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Everything but letters, digits and `-._~` as `%41`.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            write!(into, "%{byte:02X}").expect("writing to memory does not fail");
        }
    }
}

fn fault_of(error: &ClientError) -> Fault {
    match error {
        ClientError::Connect { cause, .. } if cause.contains("certificate") => Fault::Untrusted,
        ClientError::Connect { .. } | ClientError::Url { .. } => Fault::Unreachable,
        ClientError::Slow { .. } => Fault::Timeout,
        ClientError::Broken { .. } => Fault::Io,
        ClientError::Large { .. } | ClientError::Redirect { .. } => Fault::Malformed,
        ClientError::File { .. } | ClientError::Identity(_) | ClientError::Roots(_) => Fault::Untrusted,
    }
}
