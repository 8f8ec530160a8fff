//! A relay of ours (`jouleprint grid`), which asks the providers once for a fleet. Its figures stay those of
//! the providers that it has them from. An answer that has not changed is not sent again.

use super::{Ask, BOUNDS, Heard, IntensityProvider, Key, Offer, Refusal};
use crate::clock::Jitter;
use crate::http_client::{Answer, Client, ClientError, Protocol, TlsFiles, bare};
use crate::model::grid::{Basis, GRAIN, Series};
use crate::model::identity::bounded_name;
use crate::model::reading::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH,
    RETRY_AFTER,
};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::io::Read;
use std::time::Duration;

/// A relay that tells nothing else is asked this often.
pub const CADENCE: Duration = Duration::from_secs(300);

/// However soon it expects something new.
pub const SHORTEST_PAUSE: Duration = Duration::from_secs(30);

/// However late.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// All nodes are told the same moment; they come over a fifth of the pause, and this at least.
const SPREAD: Duration = Duration::from_secs(30);

/// A relay has a handful of providers for a zone.
const MAX_SERIES: usize = 32;

/// Six days of 5 minutes, with what is longer cut into pieces.
const MAX_SAMPLES: usize = 4_096;

/// What an answer of 4 MiB may grow to.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// How to be let in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Door {
    /// A user's name and password, where the relay asks for them.
    pub user: Option<(String, Key)>,
    /// Who signed its certificate, and ours if it asks for one.
    pub tls: TlsFiles,
}

/// The provider.
pub struct Jouleprint {
    url: String,
    zone: String,
    /// What it is asked for first, until it has said that it does not know that.
    finer: Option<String>,
    is_finer_unknown: bool,
    door: Door,
    cadence: Duration,
    own_client: Option<Client>,
    etag: Option<HeaderValue>,
    again: Option<Duration>,
    /// What it has told of its own chain.
    basis: Option<Basis>,
    ranks: Vec<u32>,
    jitter: Jitter,
}

#[derive(Deserialize)]
struct Served {
    zone: String,
    // A relay of an earlier version tells nothing of its chain.
    basis: Option<Basis>,
    series: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    rank: Option<u32>,
    #[serde(flatten)]
    series: Series,
}

impl Jouleprint {
    /// The relay at `url`, for a zone. Nobody is asked yet.
    #[must_use]
    pub fn new(url: &str, zone: &str, door: Door, cadence: Duration) -> Jouleprint {
        Jouleprint {
            url: url.trim_end_matches('/').to_owned(),
            zone: zone.to_owned(),
            finer: None,
            is_finer_unknown: false,
            door,
            cadence,
            own_client: None,
            etag: None,
            again: None,
            basis: None,
            ranks: Vec::new(),
            jitter: Jitter::new(url),
        }
    }

    /// Asks for this zone first: a part of the other one, for which a relay may have figures of its own.
    #[must_use]
    pub fn or_finer(self, finer: Option<String>) -> Jouleprint {
        Jouleprint { finer, ..self }
    }

    async fn heard(&mut self, shared: &Client) -> Result<Vec<Series>, Refusal> {
        let client = match &self.own_client {
            Some(client) => client.clone(),
            None if self.door.tls == TlsFiles::default() => shared.clone(),
            None => {
                let client = Client::open(Protocol::Http1, true, &self.door.tls, BOUNDS);
                self.own_client
                    .insert(client.map_err(|error| self.refusal(Fault::Untrusted, &error.to_string()))?)
                    .clone()
            }
        };
        let mut zone = self.asked().to_owned();
        let mut answer = self.send(&client, &zone).await?;
        if answer.status == StatusCode::NOT_FOUND && zone != self.zone {
            self.is_finer_unknown = true;
            self.etag = None;
            zone = self.zone.clone();
            answer = self.send(&client, &zone).await?;
        }
        // Not oftener than the user wants, and even then not all nodes at once.
        self.again = pause(&answer).map(|pause| {
            let pause = pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE).max(self.cadence);
            pause + self.jitter.within((pause / 5).max(SPREAD))
        });
        match answer.status {
            StatusCode::OK => {}
            // What was heard last still holds.
            StatusCode::NOT_MODIFIED => return Ok(Vec::new()),
            status => {
                // It may have been set up anew, and know the other one.
                self.is_finer_unknown &= status != StatusCode::NOT_FOUND;
                return Err(self.refused(status, &answer));
            }
        }
        let served = self.read(&answer, &zone)?;
        self.etag = answer.headers.get(ETAG).cloned();
        self.basis = served.basis;
        let ranks: Option<Vec<u32>> = served.series.iter().map(|said| said.rank).collect();
        self.ranks = ranks.unwrap_or_default();
        Ok(served.series.into_iter().map(|said| said.series).collect())
    }

    /// The zone that is asked for.
    fn asked(&self) -> &str {
        self.finer.as_deref().filter(|_| !self.is_finer_unknown).unwrap_or(&self.zone)
    }

    async fn send(&self, client: &Client, zone: &str) -> Result<Answer, Refusal> {
        let request = self.request(zone).await?;
        client.send(request).await.map_err(|error| self.unanswered(&error))
    }

    async fn request(&self, zone: &str) -> Result<Request<Bytes>, Refusal> {
        let unusable = |what: &str| self.refusal(Fault::Malformed, what);
        let uri = format!("{}/api/v1/intensity?zone={}", self.url, escaped(zone));
        let mut request = Request::get(uri).header(ACCEPT_ENCODING, "gzip");
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some((user, password)) = &self.door.user {
            let password = password.read().await;
            let password = password.map_err(|unread| self.refusal(unread.fault, &unread.cause))?;
            let credentials = STANDARD.encode(format!("{user}:{}", password.reveal()));
            let value = HeaderValue::from_str(&format!("Basic {credentials}"));
            let mut value = value.map_err(|_| unusable("the user's name or password is no header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Bytes::new()).map_err(|_| unusable("its url cannot be asked (write http://relay:14402)"))
    }

    /// What is in an answer, checked.
    fn read(&self, answer: &Answer, zone: &str) -> Result<Served, Refusal> {
        let wrong = |what: &str| self.refusal(Fault::Malformed, what);
        let is_gzip = answer.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
        let served: Served = if is_gzip {
            let mut text = Vec::new();
            let mut reader = GzDecoder::new(&*answer.body).take(MAX_TEXT_BYTES);
            reader.read_to_end(&mut text).map_err(|_| wrong("the answer is no gzip"))?;
            serde_json::from_slice(&text)
        } else {
            serde_json::from_slice(&answer.body)
        }
        .map_err(|_| {
            wrong("the answer is none of a relay's (is `jouleprint grid` there, of this version?)")
        })?;
        if !served.zone.eq_ignore_ascii_case(zone) {
            return Err(wrong(&format!("it answers for {:?}", bounded_name(&served.zone))));
        }
        if served.series.len() > MAX_SERIES {
            return Err(wrong("it has more kinds of figures than there can be"));
        }
        for Said { series, .. } in &served.series {
            let is_ordered = series.samples.windows(2).all(|pair| pair[0].end <= pair[1].start);
            let is_aligned = series.samples.iter().all(|sample| {
                sample.start < sample.end
                    && sample.start.get() % GRAIN.get() == 0
                    && sample.end.get() % GRAIN.get() == 0
            });
            if !is_ordered || !is_aligned || series.samples.len() > MAX_SAMPLES {
                return Err(wrong("its times overlap, or are no whole five minutes"));
            }
        }
        Ok(served)
    }

    fn refused(&self, status: StatusCode, answer: &Answer) -> Refusal {
        let (fault, what) = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                (Fault::PermissionDenied, "it does not let us in (set user and password_file)".to_owned())
            }
            StatusCode::NOT_FOUND => (
                Fault::Unsupported,
                "it does not serve this zone (add it to the relay's grid.relay.zones)".to_owned(),
            ),
            StatusCode::SERVICE_UNAVAILABLE => {
                (Fault::Inactive, "it has not heard from a provider yet (see the relay's log)".to_owned())
            }
            status => (Fault::Io, format!("it answers with status {}", status.as_u16())),
        };
        let seconds =
            answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Refusal { retry_after: seconds.map(Duration::from_secs), ..self.refusal(fault, &what) }
    }

    fn unanswered(&self, error: &ClientError) -> Refusal {
        let fault = match error {
            ClientError::Connect { .. } | ClientError::Broken { .. } => Fault::Unreachable,
            ClientError::Slow { .. } => Fault::Timeout,
            ClientError::Large { .. } | ClientError::Redirect { .. } => Fault::Malformed,
            ClientError::Url { .. } => Fault::Malformed,
            ClientError::File { .. } | ClientError::Identity(_) | ClientError::Roots(_) => Fault::Untrusted,
        };
        self.refusal(fault, &error.to_string())
    }

    fn refusal(&self, fault: Fault, what: &str) -> Refusal {
        let relay = bare(&self.url);
        Refusal {
            fault,
            message: format!("asking the relay {relay} for {}: {what}", self.zone),
            retry_after: None,
        }
    }
}

impl IntensityProvider for Jouleprint {
    fn source(&self) -> &'static str {
        "jouleprint"
    }

    fn zone(&self) -> &str {
        &self.zone
    }

    fn cadence(&self) -> Duration {
        self.cadence
    }

    fn offer(&self) -> Offer {
        Offer::AsHeard { basis: self.basis, ranks: self.ranks.clone() }
    }

    fn comes_again(&self) -> Option<Duration> {
        self.again
    }

    fn fetch<'a>(&'a mut self, client: &'a Client, _: Ask) -> Heard<'a> {
        Box::pin(self.heard(client))
    }
}

/// Until there is something new: `max-age`.
fn pause(answer: &Answer) -> Option<Duration> {
    let control = answer.headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let age = control.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    age.parse().ok().map(Duration::from_secs)
}

/// Zones are letters, digits and hyphens; what is not is written as bytes.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let escape =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}
