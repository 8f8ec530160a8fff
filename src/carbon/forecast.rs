//! What is known of the hours ahead, for who asks once: from a file, from the relay, or from the providers.

use super::provider::{self, Ask, IntensityProvider, Wish};
use crate::http_client::{self, Bounds, Client, Protocol, TlsFiles};
use crate::model::grid::{Place, Series};
use bytes::Bytes;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Three days of five minutes of ten series are 2 MB.
const MAX_BYTES: usize = 8 << 20;

/// Somebody is waiting.
const BOUNDS: Bounds =
    Bounds { connect: Duration::from_secs(5), answer: Duration::from_secs(10), bytes: MAX_BYTES };

/// The relay's page for a zone.
const PAGE: &str = "/api/v1/intensity?zone=";

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// It cannot be read.
    #[error("reading {place}: {why} (--forecast names a file, or the URL of a relay)")]
    Unreadable {
        /// Where.
        place: String,
        /// Why not.
        why: String,
    },
    /// It is something else.
    #[error("reading {place}: {why} (it must be JSON as a relay gives it: series, each with samples)")]
    Malformed {
        /// Where.
        place: String,
        /// Where in it, and what.
        why: String,
    },
}

/// As the relay answers, or the list alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Page { series: Vec<Series> },
    List(Vec<Series>),
}

/// Series from JSON.
///
/// # Errors
/// It is none, or has a sample that ends before it starts.
pub fn parse(bytes: &[u8], place: &str) -> Result<Vec<Series>, ForecastError> {
    let malformed = |why: String| ForecastError::Malformed { place: place.to_owned(), why };
    let document: Document = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let series = match document {
        Document::Page { series } | Document::List(series) => series,
    };
    for (at, one) in series.iter().enumerate() {
        let wrong = one.samples.iter().position(|sample| sample.end <= sample.start);
        if let Some(sample) = wrong {
            return Err(malformed(format!("series {at}, sample {sample} ends before it starts")));
        }
    }
    Ok(series)
}

/// From a file.
///
/// # Errors
/// It cannot be read, or is something else.
pub fn read(path: &Path) -> Result<Vec<Series>, ForecastError> {
    let place = path.display().to_string();
    let unreadable = |why: String| ForecastError::Unreadable { place: place.clone(), why };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() > MAX_BYTES {
        return Err(unreadable("it is larger than 8 MiB".to_owned()));
    }
    parse(&bytes, &place)
}

/// From a relay, or from anybody who answers as it does: a URL without a path is a relay's.
///
/// # Errors
/// There is no answer, or it is something else.
pub async fn ask(url: &str, zone: &str) -> Result<Vec<Series>, ForecastError> {
    let place = http_client::bare(url);
    let unreadable = |why: String| ForecastError::Unreadable { place: place.clone(), why };
    let uri = http_client::url(url).map_err(|error| unreadable(error.to_string()))?;
    let is_bare = uri.path().trim_matches('/').is_empty() && uri.query().is_none();
    let whole = if is_bare { format!("{}{PAGE}{zone}", url.trim_end_matches('/')) } else { url.to_owned() };
    let client = Client::open(Protocol::Http1, url.starts_with("https://"), &TlsFiles::default(), BOUNDS);
    let client = client.map_err(|error| unreadable(error.to_string()))?;
    let request = Request::get(whole).header("accept", "application/json").body(Bytes::new());
    let request = request.map_err(|_| unreadable("this is no URL".to_owned()))?;
    let answer = client.send(request).await.map_err(|error| unreadable(error.to_string()))?;
    if answer.status != StatusCode::OK {
        return Err(unreadable(format!("HTTP {}", answer.status.as_u16())));
    }
    parse(&answer.body, &place)
}

/// The same, for who does nothing else meanwhile.
///
/// # Errors
/// There is no answer, or it is something else.
pub fn ask_at_once(url: &str, zone: &str) -> Result<Vec<Series>, ForecastError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ForecastError::Unreadable {
        place: http_client::bare(url),
        why: error.to_string(),
    })?;
    let answer = runtime.block_on(ask(url, zone));
    // A name server that hangs is not waited for.
    runtime.shutdown_background();
    answer
}

/// From the configured providers of a place, for who does nothing else meanwhile. See [`from_providers`].
#[must_use]
pub fn from_wishes_at_once(
    wishes: &[Wish],
    place: &Place,
    ask: Ask,
    suffices: impl Fn(&[Series]) -> bool,
) -> (Vec<Series>, Vec<String>) {
    let is_secure = wishes.iter().any(Wish::is_secure);
    let client = Client::open(Protocol::Http1, is_secure, &TlsFiles::default(), provider::BOUNDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (client, runtime) = match (client, runtime) {
        (Ok(client), Ok(runtime)) => (client, runtime),
        (Err(error), _) => return (Vec::new(), vec![error.to_string()]),
        (_, Err(error)) => return (Vec::new(), vec![error.to_string()]),
    };
    let mut complaints = Vec::new();
    let mut providers = Vec::with_capacity(wishes.len());
    for wish in wishes {
        match provider::open(wish, place) {
            Ok(provider) => providers.push(provider),
            Err(refusal) => complaints.push(refusal.message),
        }
    }
    let (series, more) = runtime.block_on(from_providers(&mut providers, &client, ask, suffices));
    runtime.shutdown_background();
    complaints.extend(more);
    (series, complaints)
}

/// From the providers, in the order of the user's wishes, one after the other until what they have said
/// suffices. What they had against it comes along, in words.
pub async fn from_providers(
    providers: &mut [Box<dyn IntensityProvider>],
    client: &Client,
    ask: Ask,
    suffices: impl Fn(&[Series]) -> bool,
) -> (Vec<Series>, Vec<String>) {
    let mut heard = Vec::new();
    let mut complaints = Vec::new();
    for provider in providers {
        match provider.fetch(client, ask).await {
            Ok(series) => {
                let is_ahead = |series: &Series| series.samples.iter().any(|sample| sample.start > ask.now);
                if !series.iter().any(is_ahead) {
                    complaints.push(format!("{} gives no forecast", provider.source()));
                }
                heard.extend(series);
                if suffices(&heard) {
                    break;
                }
            }
            Err(refusal) => complaints.push(refusal.message),
        }
    }
    (heard, complaints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::provider::{Heard, Refusal};
    use crate::model::quantity::Nanos;
    use crate::model::reading::Fault;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SERIES: &str = "{\"source\":\"x\",\"zone\":\"FR\",\"signal\":\"average\",\"basis\":\"direct\",\
        \"accounting\":\"production\",\"samples\":[{\"start\":10,\"end\":20,\"intensity\":44180,\
        \"quality\":\"forecast\",\"fetched\":1}]}";

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(future)
    }

    #[test]
    fn a_page_and_a_list_are_the_same_and_nonsense_is_named() {
        let page =
            parse(format!("{{\"zone\":\"FR\",\"series\":[{SERIES}]}}").as_bytes(), "x").expect("a page");
        assert_eq!(page, parse(format!("[{SERIES}]").as_bytes(), "x").expect("a list"));
        assert_eq!((page.len(), page[0].samples[0].intensity.as_milligrams()), (1, 44_180));
        for wrong in [
            "",
            "{}",
            "<html>",
            "[1]",
            &SERIES.replace("20", "10"),
            &format!("[{}]", SERIES.replace("20", "10")),
            &format!("[{}]", SERIES.replace("44180", "5000001")),
            &format!("[{}]", SERIES.replace("44180", "NaN")),
            &format!("[{}]", SERIES.replace("44180", "-1")),
        ] {
            let said = parse(wrong.as_bytes(), "there").expect_err(wrong).to_string();
            assert!(said.starts_with("reading there: ") && !said.contains('\n'), "{said}");
        }
        assert!(read(Path::new("/nowhere")).is_err_and(|error| error.to_string().contains("/nowhere")));
    }

    #[test]
    fn a_relay_is_asked_for_the_zone_and_secrets_stay_out_of_messages() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut head = vec![0; 4_096];
                    let read = stream.read(&mut head).await.unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    let is_known = head.starts_with("GET /api/v1/intensity?zone=FR ")
                        || head.starts_with("GET /mine?key=secret ");
                    let (status, body) =
                        if is_known { (200, format!("[{SERIES}]")) } else { (404, "no".to_owned()) };
                    let answer = format!(
                        "HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            assert_eq!(ask(&url, "FR").await.expect("known").len(), 1);
            assert_eq!(ask(&format!("{url}/"), "FR").await.expect("known").len(), 1);
            assert_eq!(ask(&format!("{url}/mine?key=secret"), "FR").await.expect("known").len(), 1);
            let error = ask(&format!("{url}/other?key=secret"), "FR").await.expect_err("unknown");
            let said = format!("{error} {error:?}");
            assert!(said.contains("HTTP 404") && !said.contains("secret"), "{said}");
            assert!(ask("relay:14402", "FR").await.is_err());
        });
    }

    struct Provider {
        source: &'static str,
        answer: Option<Vec<Series>>,
    }

    impl IntensityProvider for Provider {
        fn source(&self) -> &'static str {
            self.source
        }
        fn zone(&self) -> &str {
            "FR"
        }
        fn cadence(&self) -> Duration {
            Duration::from_secs(900)
        }
        fn fetch<'a>(&'a mut self, _client: &'a Client, _ask: Ask) -> Heard<'a> {
            let refusal = Refusal {
                fault: Fault::PermissionDenied,
                message: format!("{} refuses", self.source),
                retry_after: None,
            };
            let answer = self.answer.clone().ok_or(refusal);
            Box::pin(async move { answer })
        }
    }

    #[test]
    fn providers_are_asked_until_what_they_say_suffices() {
        let series = parse(format!("[{SERIES}]").as_bytes(), "x").expect("a list");
        let provider =
            |source, answer| -> Box<dyn IntensityProvider> { Box::new(Provider { source, answer }) };
        let client = Client::open(Protocol::Http1, false, &TlsFiles::default(), BOUNDS).expect("a client");
        let ask = |now| Ask { now: Nanos::new(now), from: Nanos::new(now), until: Nanos::new(100) };
        let mut all = [
            provider("closed", None),
            provider("past", Some(Vec::new())),
            provider("ahead", Some(series.clone())),
        ];
        let any = |heard: &[Series]| !heard.is_empty();
        let (heard, complaints) = run(from_providers(&mut all, &client, ask(5), any));
        assert_eq!(
            (heard, complaints),
            (series.clone(), vec!["closed refuses".into(), "past gives no forecast".into()])
        );
        let (heard, complaints) = run(from_providers(&mut all, &client, ask(15), |_| false));
        assert_eq!((heard.len(), complaints.len()), (1, 3));
        // One that says too little does not keep the next from being asked.
        let mut all = [provider("short", Some(series.clone())), provider("long", Some(series.clone()))];
        let two = |heard: &[Series]| heard.len() > 1;
        let (heard, complaints) = run(from_providers(&mut all, &client, ask(5), two));
        assert_eq!((heard.len(), complaints.len()), (2, 0));
    }
}
