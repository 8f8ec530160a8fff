//! The metadata service of a cloud, at an address that only its machines can reach: which region is this?

use crate::http_client::{Answer, Bounds, Client, ClientError, Protocol, TlsFiles};
use crate::model::reading::Fault;
use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The same at all clouds, and routed nowhere.
const ADDRESS: &str = "http://169.254.169.254";

/// It answers within ms; who takes longer is not there, or a hop too far away.
const EACH: Duration = Duration::from_secs(1);

/// For all tries together: a machine that starts has its network a few seconds later.
const ALL: Duration = Duration::from_secs(10);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Tries at most.
const TRIES: u32 = 4;

/// The name of a region, or a token: 56 characters at AWS.
const MAX_ANSWER_BYTES: usize = 4_096;

/// No provider's region has a longer name.
const MAX_NAME: usize = 64;

/// Where the metadata services are, and how long is waited for them; elsewhere and less only in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// AWS.
    pub aws: String,
    /// Google.
    pub gcp: String,
    /// Azure.
    pub azure: String,
    /// For one answer.
    pub each: Duration,
    /// Between two tries.
    pub pause: Duration,
}

impl Default for Endpoints {
    fn default() -> Endpoints {
        let address = || ADDRESS.to_owned();
        Endpoints { aws: address(), gcp: address(), azure: address(), each: EACH, pause: PAUSE }
    }
}

/// Why the region is not known from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Hidden {
    /// As on the page.
    pub fault: Fault,
    /// What was asked, why there is no answer, and the way out.
    pub message: String,
    /// Whether it may be there a moment later.
    may_come: bool,
}

/// What is found, and how: for `detail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The provider's id.
    pub region: String,
    /// By what.
    pub how: &'static str,
}

/// Whether this cloud has a metadata service that we ask.
#[must_use]
pub fn has_one(cloud: &str) -> bool {
    matches!(cloud, "aws" | "gcp" | "azure")
}

/// Asks the cloud that the machine stands in. No proxy is used, and no answer outside its form is taken.
///
/// # Errors
/// There is no answer, or none that is a region.
pub async fn region(cloud: &str, endpoints: &Endpoints) -> Result<Told, Hidden> {
    let Endpoints { each, pause, .. } = *endpoints;
    let bounds = Bounds { connect: each, answer: each, bytes: MAX_ANSWER_BYTES };
    let client = Client::open(Protocol::Http1, false, &TlsFiles::default(), bounds)
        .map_err(|error| Hidden { fault: Fault::Io, message: error.to_string(), may_come: false })?;
    let mut last = None;
    let tries = async {
        for again in 0..TRIES {
            if again > 0 {
                sleep(pause).await;
            }
            match once(&client, cloud, endpoints).await {
                Err(hidden) if hidden.may_come => last = Some(hidden),
                other => return other,
            }
        }
        Err(unanswered(cloud))
    };
    let told = timeout(ALL, tries).await.unwrap_or_else(|_| Err(unanswered(cloud)));
    // The last try knows why better than the end of patience does.
    told.map_err(|hidden| if hidden.may_come { last.unwrap_or(hidden) } else { hidden })
}

fn unanswered(cloud: &str) -> Hidden {
    let message = format!(
        "asking the metadata service of {cloud}: no answer (set zone, or grid.location.metadata: off)"
    );
    Hidden { fault: Fault::Timeout, message, may_come: true }
}

async fn once(client: &Client, cloud: &str, endpoints: &Endpoints) -> Result<Told, Hidden> {
    match cloud {
        "aws" => aws(client, &endpoints.aws).await,
        "gcp" => gcp(client, &endpoints.gcp).await,
        _ => azure(client, &endpoints.azure).await,
    }
}

/// IMDSv2: first a token, whose answer does not travel further than the hop limit says. In a container with a
/// network of its own it is one hop too far with the default of 1, and simply does not come.
async fn aws(client: &Client, at: &str) -> Result<Told, Hidden> {
    const WHAT: &str = "AWS (IMDSv2)";
    let token = ask(
        client,
        WHAT,
        Method::PUT,
        &format!("{at}/latest/api/token"),
        ("x-aws-ec2-metadata-token-ttl-seconds", "60"),
    )
    .await
    .map_err(|mut hidden| {
        if hidden.fault == Fault::Timeout {
            hidden.message =
                "asking the metadata service of AWS (IMDSv2): the token does not come back: in a \
                              container the hop limit must be 2 (aws ec2 modify-instance-metadata-options \
                              --http-put-response-hop-limit 2), or use the host's network, or set zone"
                    .to_owned();
        }
        hidden
    })?;
    let token = text(WHAT, &token, |char| char.is_ascii_graphic() && char != '<')?;
    let region = ask(
        client,
        WHAT,
        Method::GET,
        &format!("{at}/latest/meta-data/placement/region"),
        ("x-aws-ec2-metadata-token", &token),
    )
    .await?;
    Ok(Told { region: name(WHAT, &region)?, how: "IMDSv2" })
}

/// `projects/4711/zones/europe-west9-a`, from who says that it is Google's.
async fn gcp(client: &Client, at: &str) -> Result<Told, Hidden> {
    const WHAT: &str = "Google";
    const MARK: (&str, &str) = ("metadata-flavor", "Google");
    let url = format!("{at}/computeMetadata/v1/instance/zone");
    let answer = ask(client, WHAT, Method::GET, &url, MARK).await?;
    if answer.headers.get(MARK.0).is_none_or(|flavour| flavour != MARK.1) {
        return Err(malformed(WHAT));
    }
    let path = text(WHAT, &answer, |char| {
        char.is_ascii_alphanumeric() || matches!(char, '-' | '/' | '_' | '.' | ':')
    })?;
    let zone = path.rsplit('/').next().unwrap_or_default();
    let (region, letter) = zone.rsplit_once('-').ok_or_else(|| malformed(WHAT))?;
    if letter.len() != 1 || !is_name(region) {
        return Err(malformed(WHAT));
    }
    Ok(Told { region: region.to_owned(), how: "its metadata service" })
}

async fn azure(client: &Client, at: &str) -> Result<Told, Hidden> {
    const WHAT: &str = "Azure";
    let url = format!("{at}/metadata/instance/compute/location?api-version=2021-02-01&format=text");
    let answer = ask(client, WHAT, Method::GET, &url, ("metadata", "true")).await?;
    Ok(Told { region: name(WHAT, &answer)?, how: "IMDS" })
}

async fn ask(
    client: &Client,
    what: &str,
    method: Method,
    url: &str,
    header: (&'static str, &str),
) -> Result<Answer, Hidden> {
    let asked = format!("asking the metadata service of {what}");
    let value = HeaderValue::from_str(header.1).map_err(|_| malformed(what))?;
    let request = Request::builder().method(method).uri(url).header(header.0, value).body(Bytes::new());
    let request = request.map_err(|_| malformed(what))?;
    let answer = client.send(request).await.map_err(|error| {
        let fault = match error {
            ClientError::Slow { .. } => Fault::Timeout,
            ClientError::Connect { .. } => Fault::Unreachable,
            ClientError::Large { .. } | ClientError::Redirect { .. } => Fault::Malformed,
            _ => Fault::Io,
        };
        Hidden {
            fault,
            message: format!("{asked}: {error}; or set zone"),
            may_come: fault != Fault::Malformed,
        }
    })?;
    let refused = |fault, why: &str, may_come| {
        let message = format!("{asked}: {why} (HTTP {}; set zone)", answer.status.as_u16());
        Err(Hidden { fault, message, may_come })
    };
    match answer.status {
        StatusCode::OK => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused(
            Fault::PermissionDenied,
            "it is turned off for this machine, or closed to this pod",
            false,
        ),
        StatusCode::TOO_MANY_REQUESTS => refused(Fault::Limit, "it is asked too often", true),
        status if status.is_server_error() => refused(Fault::Io, "it has trouble of its own", true),
        _ => refused(
            Fault::Missing,
            "it does not know this question: is something else at its address?",
            false,
        ),
    }
}

fn malformed(what: &str) -> Hidden {
    let message = format!(
        "asking the metadata service of {what}: the answer is none of its own: something else answers at its address (set zone)"
    );
    Hidden { fault: Fault::Malformed, message, may_come: false }
}

/// The body, if it is one short line of such characters.
fn text(what: &str, answer: &Answer, is_allowed: impl Fn(char) -> bool) -> Result<String, Hidden> {
    let text = std::str::from_utf8(&answer.body).map_err(|_| malformed(what))?.trim();
    if text.is_empty() || !text.chars().all(is_allowed) {
        return Err(malformed(what));
    }
    Ok(text.to_owned())
}

fn name(what: &str, answer: &Answer) -> Result<String, Hidden> {
    let text = text(what, answer, |char| char.is_ascii_alphanumeric() || char == '-')?;
    if is_name(&text) { Ok(text.to_ascii_lowercase()) } else { Err(malformed(what)) }
}

/// What a region may be called: the page of a captive portal is none.
fn is_name(text: &str) -> bool {
    let is_short = (2..=MAX_NAME).contains(&text.len());
    is_short && text.starts_with(|first: char| first.is_ascii_alphabetic())
}
