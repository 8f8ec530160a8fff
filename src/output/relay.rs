//! What a relay serves: of each zone what the providers said, as JSON for the nodes and as series for
//! Prometheus. An answer is made when something was heard, and is the same for everybody until then.

use super::catalogue::relay_families;
use super::http::{
    Answer, Answers, Requests, compress, joined, plain, unknown_caller, without_body, wrong_method,
};
use super::negotiate;
use super::page::{escape, head};
use super::prometheus::render_families;
use crate::clock;
use crate::model::grid::{Basis, Grid, Series, Signal};
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH, RETRY_AFTER, VARY,
};
use hyper::{Method, Response, StatusCode, Uri};
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// What the nodes ask for.
pub const PATH: &str = "/api/v1/intensity";

/// After a provider's turn the answer takes some seconds to come; nodes that come then get the new one.
const ANSWERED_AFTER: Nanos = Nanos::from_seconds(10);

/// While a turn is under way, and for those who hurry.
const SHORTEST_AGE: u64 = 15;

/// However seldom a provider is asked: another one may be added.
const LONGEST_AGE: u64 = 3_600;

/// Before anything was heard a node may come again after this many seconds.
const COME_AGAIN: &str = "60";

/// What is known of a zone.
#[derive(Debug, Clone)]
pub struct Zone {
    /// What would be charged there, and how the providers fare.
    pub grid: Grid,
    /// What the figures that are charged there include: the nodes want the same.
    pub basis: Basis,
    /// What they said.
    pub series: Vec<Said>,
    /// How often each was asked.
    pub asked: Vec<Asked>,
    /// When the next one is asked.
    pub next: Option<Nanos>,
}

/// What a provider said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Where it stands in the relay's chain, the first at 0: the nodes choose by it as the relay does.
    pub rank: u32,
    /// Its figures.
    #[serde(flatten)]
    pub series: Series,
}

/// How often a provider was asked, and how that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The provider.
    pub source: Name,
    /// What it calls the place.
    pub zone: Name,
    /// Answers that could be used.
    pub answered: u64,
    /// Failures by reason.
    pub failed: Vec<(Fault, u64)>,
}

/// What the series of a page are made from.
#[derive(Debug)]
pub struct View {
    /// The wall time.
    pub now: Nanos,
    /// When the relay started, in wall time.
    pub started: Nanos,
    /// The zones of which something is known.
    pub zones: Vec<(Name, Arc<Zone>)>,
}

/// A zone with its answer in every form.
struct Shown {
    zone: Arc<Zone>,
    plain: Bytes,
    zipped: Bytes,
    etag: HeaderValue,
}

#[derive(Serialize)]
struct Served<'a> {
    zone: &'a str,
    basis: Basis,
    series: &'a [Said],
}

/// What a relay answers from.
pub struct RelaySite {
    zones: Vec<(Name, ArcSwapOption<Shown>)>,
    telemetry_path: String,
    started: Nanos,
    requests: Requests,
}

impl RelaySite {
    /// Nothing is known of these zones yet.
    #[must_use]
    pub fn new(zones: &[Name], telemetry_path: String, started: Nanos) -> RelaySite {
        let zones = zones.iter().map(|zone| (zone.clone(), ArcSwapOption::empty())).collect();
        RelaySite { zones, telemetry_path, started, requests: Requests::default() }
    }

    /// This is known of a zone from now on.
    pub fn publish(&self, name: &str, zone: Zone) {
        let Some((name, shown)) = self.zones.iter().find(|(known, _)| **known == *name) else { return };
        let before = shown.load_full();
        let made = before.filter(|before| zone.says_no_more_than(&before.zone));
        let zone = Arc::new(zone);
        let new = match made {
            Some(made) => Shown {
                zone,
                plain: made.plain.clone(),
                zipped: made.zipped.clone(),
                etag: made.etag.clone(),
            },
            None => {
                let served = Served { zone: name, basis: zone.basis, series: &zone.series };
                let plain = serde_json::to_vec(&served).expect("writing to memory does not fail");
                // Weak: the bytes of the forms differ.
                let etag = format!("W/\"{:016x}\"", zone.mark(name));
                let etag = etag.parse().expect("hexadecimal digits are a header value");
                Shown { zipped: compress(&plain), plain: Bytes::from(plain), etag, zone }
            }
        };
        shown.store(Some(Arc::new(new)));
    }

    /// Answers one request, as of now.
    pub fn answer_at(&self, now: Nanos, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Answer> {
        let response = match (wrong_method(method), uri.path()) {
            (Some(refusal), _) => refusal,
            (None, PATH) => self.intensity(now, uri.query().unwrap_or_default(), headers),
            (None, "/") => self.landing(now),
            (None, "/-/healthy") => plain(StatusCode::OK, "healthy\n"),
            (None, "/-/ready") => self.ready(),
            (None, path) if path == self.telemetry_path => self.metrics(now, headers),
            (None, _) => plain(StatusCode::NOT_FOUND, "not found\n"),
        };
        self.requests.count(&response);
        without_body(method, response)
    }

    fn intensity(&self, now: Nanos, query: &str, headers: &HeaderMap) -> Response<Answer> {
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("zone="));
        let found =
            wanted.and_then(|wanted| self.zones.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(wanted)));
        let Some((_, shown)) = found else {
            let zones: Vec<&str> = self.zones.iter().map(|(zone, _)| &**zone).collect();
            let status = if wanted.is_some() { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
            let text = format!("ask {PATH}?zone=Z; the zones of this relay are {}\n", zones.join(", "));
            return plain(status, &text);
        };
        let Some(shown) = shown.load_full().filter(|shown| !shown.zone.series.is_empty()) else {
            let mut response =
                plain(StatusCode::SERVICE_UNAVAILABLE, "no provider has said anything of this zone yet\n");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(COME_AGAIN));
            return response;
        };
        let is_known = joined(headers, IF_NONE_MATCH).is_some_and(|tags| is_among(&shown.etag, &tags));
        let is_gzip = negotiate::accepts_gzip(joined(headers, ACCEPT_ENCODING).as_deref());
        let mut response = if is_known {
            let mut response = Response::new(Answer::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let body = if is_gzip { &shown.zipped } else { &shown.plain };
            let mut response = Response::new(Answer::of(body.clone()));
            let head = response.headers_mut();
            head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if is_gzip {
                head.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        };
        let head = response.headers_mut();
        let age = format!("max-age={}", age(shown.zone.next, now));
        head.insert(CACHE_CONTROL, age.parse().expect("digits are a header value"));
        head.insert(ETAG, shown.etag.clone());
        head.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        response
    }

    fn metrics(&self, now: Nanos, headers: &HeaderMap) -> Response<Answer> {
        let format = negotiate::format(joined(headers, ACCEPT).as_deref());
        let is_gzip = negotiate::accepts_gzip(joined(headers, ACCEPT_ENCODING).as_deref());
        let mut text = Vec::new();
        render_families(relay_families(), &self.view(now), format, &self.requests.lines(), &mut text);
        let body = if is_gzip { compress(&text) } else { Bytes::from(text) };
        let mut response = Response::new(Answer::of(body));
        let head = response.headers_mut();
        head.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        head.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if is_gzip {
            head.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn view(&self, now: Nanos) -> View {
        let known = |(name, shown): &(Name, ArcSwapOption<Shown>)| {
            shown.load().as_ref().map(|shown| (name.clone(), Arc::clone(&shown.zone)))
        };
        View { now, started: self.started, zones: self.zones.iter().filter_map(known).collect() }
    }

    /// As soon as one zone can be served: the others' nodes have fallbacks of their own.
    fn ready(&self) -> Response<Answer> {
        let is_known = |shown: &ArcSwapOption<Shown>| {
            shown.load().as_ref().is_some_and(|shown| !shown.zone.series.is_empty())
        };
        if self.zones.iter().any(|(_, shown)| is_known(shown)) {
            plain(StatusCode::OK, "ready\n")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: no provider has said anything yet\n")
        }
    }

    fn landing(&self, now: Nanos) -> Response<Answer> {
        let mut page = head("Carbon intensity of electricity for a fleet: asked for once, served to all.");
        let path = escape(&self.telemetry_path);
        let _ = write!(
            page,
            "<p><a href=\"{path}\">Metrics</a> · <a href=\"/-/healthy\">Health</a> · <a href=\"/-/ready\">Readiness</a></p>\
             <table><tr><th>Zone</th><th>g/kWh</th><th>By</th><th>Fallback</th></tr>"
        );
        for (name, zone) in self.view(now).zones {
            let factor = zone.grid.plan.at(now);
            let (name, source) = (escape(&name), escape(&factor.source));
            let _ = write!(
                page,
                "<tr><td><a href=\"{PATH}?zone={name}\">{name}</a></td><td class=\"n\">{}</td><td>{source}</td><td>{}</td></tr>",
                factor.intensity,
                factor.fallback.as_str(),
            );
        }
        let _ = writeln!(page, "</table><p>Version {}</p></body></html>", env!("CARGO_PKG_VERSION"));
        let mut response = Response::new(Answer::of(Bytes::from(page)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response
    }
}

impl Answers for RelaySite {
    fn answer_to(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Answer> {
        self.answer_at(clock::now().wall, method, uri, headers)
    }

    fn refuse(&self) -> Response<Answer> {
        let response = unknown_caller();
        self.requests.count(&response);
        response
    }
}

impl Zone {
    /// Whether the nodes know all that it says once they have the other one.
    fn says_no_more_than(&self, before: &Zone) -> bool {
        let is_same =
            |(new, old): (&Said, &Said)| new.rank == old.rank && new.series.says_no_more_than(&old.series);
        self.basis == before.basis
            && self.series.len() == before.series.len()
            && self.series.iter().zip(&before.series).all(is_same)
    }

    /// The same for the same figures, whenever they were heard: a relay that was started again, or another one,
    /// says nothing new.
    fn mark(&self, name: &str) -> u64 {
        let mut series = self.series.clone();
        let samples = series.iter_mut().flat_map(|said| &mut said.series.samples);
        samples.for_each(|sample| sample.fetched = Nanos::ZERO);
        let served = Served { zone: name, basis: self.basis, series: &series };
        xxh3_64(&serde_json::to_vec(&served).expect("writing to memory does not fail"))
    }

    /// The forecast for a time, where there is one; a figure of its time is none.
    #[must_use]
    pub fn forecast(&self, signal: Signal, time: Nanos) -> Option<u32> {
        let series = self.series.iter().map(|said| &said.series).filter(|series| series.signal == signal);
        let mut found = series.filter_map(|series| {
            series.samples.iter().find(|sample| sample.start <= time && time < sample.end)
        });
        found.next().map(|sample| sample.intensity.as_milligrams())
    }
}

/// Seconds until there is something new to be had.
fn age(next: Option<Nanos>, now: Nanos) -> u64 {
    let wait = next.map_or(LONGEST_AGE, |next| {
        (next + ANSWERED_AFTER).saturating_sub(now).get().div_ceil(1_000_000_000)
    });
    wait.clamp(SHORTEST_AGE, LONGEST_AGE)
}

/// Weak comparison, as RFC 9110 wants it here.
fn is_among(etag: &HeaderValue, tags: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let own = strong(etag.to_str().unwrap_or_default());
    tags.split(',').any(|tag| tag.trim() == "*" || strong(tag) == own)
}
