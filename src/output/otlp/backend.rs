//! One message to the backend, and what its answer means, by OTLP's rules for HTTP and for gRPC.

use super::wishes::{Transport, Wishes};
use crate::clock;
use crate::http_client::{Answer, Bounds, Client, ClientError, Protocol};
use crate::model::snapshot::PushOutcome;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, TE};
use hyper::{Request, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Answers are a few bytes; a refusal comes with a sentence or a page about it.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Of a refusal this much is repeated in the log.
const MAX_REASON_CHARS: usize = 200;

/// A file with a header's value is one line.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A backend may ask for a pause, but not for a longer one.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The service's method.
const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// How it went.
    pub(super) outcome: PushOutcome,
    /// Points that were rejected.
    pub(super) rejected: u64,
    /// What was said about it, in one line.
    pub(super) reason: String,
    /// The pause that was asked for.
    pub(super) pause: Option<Duration>,
}

impl Reply {
    fn new(outcome: PushOutcome, reason: impl AsRef<str>) -> Reply {
        let reason = reason.as_ref().chars().map(|char| if char.is_control() { ' ' } else { char });
        Reply { outcome, rejected: 0, reason: reason.take(MAX_REASON_CHARS).collect(), pause: None }
    }
}

/// Where messages go.
pub(super) struct Backend {
    client: Client,
    // The files of which it was made, as they were then.
    stamps: Vec<Option<SystemTime>>,
    uri: Uri,
    headers: HeaderMap,
    header_files: Vec<(HeaderName, PathBuf)>,
    wishes: Wishes,
}

impl Backend {
    /// Reads certificates; nobody is asked yet.
    pub(super) fn open(wishes: &Wishes) -> Result<Backend, ClientError> {
        let unusable = |_| ClientError::Url { message: "this is no URL" };
        let uri = match wishes.transport {
            Transport::Http => wishes.endpoint.parse().map_err(unusable)?,
            Transport::Grpc => format!("{}{METHOD}", wishes.endpoint).parse().map_err(unusable)?,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &wishes.headers {
            let header = (header_name(name), HeaderValue::from_bytes(value.reveal().as_bytes()));
            let (Some(name), Ok(mut value)) = header else { continue };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let header_files = wishes.header_files.iter();
        let header_files = header_files.filter_map(|(name, path)| Some((header_name(name)?, path.clone())));
        let (client, stamps) = (client(wishes)?, stamps(wishes));
        Ok(Backend {
            client,
            stamps,
            uri,
            headers,
            header_files: header_files.collect(),
            wishes: wishes.clone(),
        })
    }

    /// Takes up certificates that have changed. Those in use stay if the new ones are no good.
    ///
    /// # Errors
    /// They are no good.
    pub(super) fn refresh(&mut self) -> Result<(), ClientError> {
        let now = stamps(&self.wishes);
        if now == self.stamps {
            return Ok(());
        }
        self.stamps = now;
        self.client = client(&self.wishes)?;
        Ok(())
    }

    /// Sends one message.
    pub(super) async fn send(&self, message: Vec<u8>, limit: Duration) -> Reply {
        let request = match self.request(message, limit) {
            Ok(request) => request,
            Err(reason) => return Reply::new(PushOutcome::Refused, reason),
        };
        match self.client.send_within(request, limit).await {
            Ok(answer) => match self.wishes.transport {
                Transport::Http => of_http(&answer),
                Transport::Grpc => of_grpc(&answer),
            },
            Err(error) => Reply::new(outcome_of(&error), error.to_string()),
        }
    }

    fn request(&self, message: Vec<u8>, limit: Duration) -> Result<Request<Bytes>, String> {
        let is_compressed = self.wishes.is_compressed;
        let body = if is_compressed { compress(&message) } else { message };
        let mut headers = self.headers.clone();
        for (name, path) in &self.header_files {
            headers.insert(name, secret(path)?);
        }
        let fixed = HeaderValue::from_static;
        let body = match self.wishes.transport {
            Transport::Http => {
                headers.insert(CONTENT_TYPE, fixed("application/x-protobuf"));
                if is_compressed {
                    headers.insert(CONTENT_ENCODING, fixed("gzip"));
                }
                body
            }
            Transport::Grpc => {
                headers.insert(CONTENT_TYPE, fixed("application/grpc"));
                headers.insert(TE, fixed("trailers"));
                headers.insert("grpc-timeout", format!("{}m", limit.as_millis()).parse().expect("digits"));
                if is_compressed {
                    headers.insert("grpc-encoding", fixed("gzip"));
                }
                enframe(&body, is_compressed)?
            }
        };
        let mut request = Request::post(self.uri.clone()).body(Bytes::from(body)).expect("a checked URL");
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok()
}

fn client(wishes: &Wishes) -> Result<Client, ClientError> {
    let protocol = match wishes.transport {
        Transport::Http => Protocol::Http1,
        Transport::Grpc => Protocol::Http2,
    };
    let bounds = Bounds { connect: wishes.timeout, answer: wishes.timeout, bytes: MAX_ANSWER_BYTES };
    Client::open(protocol, wishes.is_secure(), &wishes.tls, bounds)
}

fn stamps(wishes: &Wishes) -> Vec<Option<SystemTime>> {
    let files = [&wishes.tls.ca, &wishes.tls.certificate, &wishes.tls.key];
    let stamp = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    files.into_iter().map(|path| path.as_ref().and_then(stamp)).collect()
}

/// The value of a header from its file; the reason never holds it.
fn secret(path: &Path) -> Result<HeaderValue, String> {
    let unusable = |why: &str| format!("reading {}: {why} (it must hold the header's value)", path.display());
    let size = std::fs::metadata(path).map_err(|error| unusable(&error.to_string()))?.len();
    if size > MAX_SECRET_BYTES {
        return Err(unusable("larger than 64 KiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error.to_string()))?;
    let value = HeaderValue::from_str(text.trim()).map_err(|_| unusable("more than one line of text"));
    let mut value = value?;
    value.set_sensitive(true);
    Ok(value)
}

/// Level 1, as for pages.
fn compress(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 6 + 64), Compression::new(1));
    encoder.write_all(message).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// gRPC's frame: whether it is compressed, and the length.
fn enframe(message: &[u8], is_compressed: bool) -> Result<Vec<u8>, String> {
    let length = u32::try_from(message.len()).map_err(|_| "a message of more than 4 GiB".to_owned())?;
    let mut framed = Vec::with_capacity(message.len() + 5);
    framed.push(u8::from(is_compressed));
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed)
}

fn outcome_of(error: &ClientError) -> PushOutcome {
    match error {
        ClientError::Slow { .. } => PushOutcome::Timeout,
        ClientError::Connect { .. } | ClientError::Broken { .. } => PushOutcome::Unreachable,
        ClientError::Url { .. }
        | ClientError::File { .. }
        | ClientError::Identity(_)
        | ClientError::Roots(_)
        | ClientError::Large { .. }
        | ClientError::Redirect { .. } => PushOutcome::Refused,
    }
}

fn of_http(answer: &Answer) -> Reply {
    if answer.status.is_success() {
        return taken(&answer.body);
    }
    let code = answer.status.as_u16();
    let said = Status::decode(&answer.body[..]).ok().map(|status| status.message);
    let said = said.filter(|said| !said.is_empty());
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).trim().to_owned());
    let reason = format!("the backend answers {code}: {said}");
    let mut reply = Reply::new(outcome_of_status(answer.status), reason);
    let pause = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    reply.pause = pause.and_then(|text| retry_after(text, clock::now().wall.get() / 1_000_000_000));
    reply
}

fn outcome_of_status(status: StatusCode) -> PushOutcome {
    match status.as_u16() {
        429 | 502 | 503 | 504 => PushOutcome::Deferred,
        _ => PushOutcome::Refused,
    }
}

/// A success, which may be one in part; an answer that is none of the protocol's is a success all the same.
fn taken(body: &[u8]) -> Reply {
    let response = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    let partial = response.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
    let outcome = if rejected > 0 { PushOutcome::Partial } else { PushOutcome::Accepted };
    Reply { rejected, ..Reply::new(outcome, partial.error_message) }
}

fn of_grpc(answer: &Answer) -> Reply {
    // An answer without a body has everything in its head.
    let told = |name: &str| answer.trailers.get(name).or_else(|| answer.headers.get(name));
    let text = |name: &str| told(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse::<u32>().ok()) else {
        let reason = format!("the answer {} is none of gRPC's", answer.status.as_u16());
        return Reply::new(outcome_of_status(answer.status), reason);
    };
    if code == 0 {
        return taken(answer.body.get(5..).unwrap_or_default());
    }
    let details = text("grpc-status-details-bin")
        .and_then(|text| STANDARD_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok());
    let pause = details.and_then(|details| retry_info(&details));
    // The specification's list; RESOURCE_EXHAUSTED is worth another try only if the backend says when.
    let is_deferred = matches!(code, 1 | 4 | 10 | 11 | 14 | 15) || code == 8 && pause.is_some();
    let outcome = if is_deferred { PushOutcome::Deferred } else { PushOutcome::Refused };
    let said = unescape(text("grpc-message").unwrap_or_default());
    Reply { pause, ..Reply::new(outcome, format!("the backend answers with gRPC code {code}: {said}")) }
}

/// `Retry-After`: seconds, or a date; `now` in s since 1970.
fn retry_after(text: &str, now: u64) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
            u64::try_from(date).ok()?.saturating_sub(now)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// `google.rpc.Status`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = Status::decode(details).ok()?;
    let detail = status.details.iter().find(|detail| detail.kind.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&detail.value[..]).ok()?.delay?;
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos).min(LONGEST_PAUSE))
}

/// gRPC's messages are percent-encoded; what is no escape stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
