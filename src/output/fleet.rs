//! Many hosts' pages on one port, each under a path of its own, and the list of them as Prometheus'
//! `http_sd_configs` and `file_sd_configs` take it.

use super::http::{
    Answer, Answers, Requests, compress, joined, plain, unknown_caller, without_body, wrong_method,
};
use super::negotiate;
use super::page::{escape, head};
use super::prometheus::render;
use crate::model::identity::Name;
use crate::model::snapshot::Snapshot;
use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, VARY,
};
use hyper::{Method, Response, StatusCode, Uri};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Under which the pages stand.
const HOSTS: &str = "/hosts/";

/// Hosts that the landing page lists; the list for Prometheus has all.
const MAX_LISTED: usize = 100;

/// Finds the state of the host with this name.
pub type Find = dyn Fn(&str) -> Option<Arc<Snapshot>> + Send + Sync;

/// Writes what the hosts have drawn in truth, as JSON.
pub type Tell = dyn Fn() -> Vec<u8> + Send + Sync;

/// What is served.
pub struct FleetSite {
    hosts: Vec<(Name, Name)>,
    find: Box<Find>,
    tell: Box<Tell>,
    requests: Requests,
}

/// Targets that have the same labels.
#[derive(Serialize)]
struct Target<'a> {
    targets: [&'a str; 1],
    labels: BTreeMap<&'a str, String>,
}

impl FleetSite {
    /// Hosts and their clusters, and what is said of them.
    #[must_use]
    pub fn new(hosts: Vec<(Name, Name)>, find: Box<Find>, tell: Box<Tell>) -> FleetSite {
        FleetSite { hosts, find, tell, requests: Requests::default() }
    }

    /// Answers one request.
    pub fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Answer> {
        let of_host = path.strip_prefix(HOSTS).and_then(|rest| rest.strip_suffix("/metrics"));
        let response = match (wrong_method(method), path) {
            (Some(refusal), _) => refusal,
            (None, "/") => self.landing(),
            (None, "/sd") => {
                let address = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
                json(targets(&self.hosts, address))
            }
            (None, "/truth") => json((self.tell)()),
            (None, "/-/healthy") => plain(StatusCode::OK, "healthy\n"),
            (None, "/-/ready") => self.ready(),
            (None, _) => match of_host {
                Some(host) => self.page(host, headers),
                None => plain(StatusCode::NOT_FOUND, "not found\n"),
            },
        };
        self.requests.count(&response);
        without_body(method, response)
    }

    fn page(&self, host: &str, headers: &HeaderMap) -> Response<Answer> {
        let Some(snapshot) = (self.find)(host) else {
            return plain(StatusCode::NOT_FOUND, "no such host, or it has not ticked yet: see /sd\n");
        };
        let format = negotiate::format(joined(headers, ACCEPT).as_deref());
        let is_gzip = negotiate::accepts_gzip(joined(headers, ACCEPT_ENCODING).as_deref());
        let mut text = Vec::new();
        render(&snapshot, format, "", &mut text);
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

    /// As soon as the last host has a page, all have.
    fn ready(&self) -> Response<Answer> {
        let is_there = self.hosts.last().is_some_and(|(host, _)| (self.find)(host).is_some());
        if is_there {
            plain(StatusCode::OK, "ready\n")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "not ready: the first ticks are under way\n")
        }
    }

    fn landing(&self) -> Response<Answer> {
        let mut page = head("A fleet that is made up: its pages are those of the real exporter.");
        let _ = write!(
            page,
            "<p>{} hosts · <a href=\"/sd\">for Prometheus</a> · <a href=\"/truth\">what they have drawn</a></p>\
             <table><tr><th>Host</th><th>Cluster</th></tr>",
            self.hosts.len(),
        );
        for (host, cluster) in self.hosts.iter().take(MAX_LISTED) {
            let (host, cluster) = (escape(host), escape(cluster));
            let _ = write!(
                page,
                "<tr><td><a href=\"{HOSTS}{host}/metrics\">{host}</a></td><td>{cluster}</td></tr>"
            );
        }
        let _ = writeln!(page, "</table><p>Version {}</p></body></html>", env!("CARGO_PKG_VERSION"));
        let mut response = Response::new(Answer::of(Bytes::from(page)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response
    }
}

impl Answers for FleetSite {
    fn answer_to(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Answer> {
        self.answer(method, uri.path(), headers)
    }

    fn refuse(&self) -> Response<Answer> {
        let response = unknown_caller();
        self.requests.count(&response);
        response
    }
}

/// The hosts as targets at an address, as JSON.
#[must_use]
pub fn targets(hosts: &[(Name, Name)], address: &str) -> Vec<u8> {
    let target = |(host, cluster): &(Name, Name)| Target {
        targets: [address],
        labels: BTreeMap::from([
            ("__metrics_path__", format!("{HOSTS}{host}/metrics")),
            ("cluster", cluster.to_string()),
            ("instance", host.to_string()),
        ]),
    };
    let all: Vec<Target<'_>> = hosts.iter().map(target).collect();
    serde_json::to_vec(&all).expect("writing to memory does not fail")
}

fn json(body: Vec<u8>) -> Response<Answer> {
    let mut response = Response::new(Answer::of(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn site() -> FleetSite {
        let hosts = vec![("n1".into(), "north".into()), ("n2".into(), "hpc".into())];
        FleetSite::new(hosts, Box::new(|_| None), Box::new(|| b"{}".to_vec()))
    }

    fn ask(method: Method, path: &str) -> (StatusCode, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("sim.example:14410"));
        let mut response = site().answer(&method, path, &headers);
        let mut body = Vec::new();
        while let Some(piece) = response.body_mut().take_piece() {
            body.extend_from_slice(&piece);
        }
        (response.status(), body)
    }

    #[test]
    fn the_list_has_every_host_at_the_address_that_was_asked() {
        let (status, body) = ask(Method::GET, "/sd");
        let list: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((status, list.as_array().map(Vec::len)), (StatusCode::OK, Some(2)));
        assert_eq!(list[1]["targets"][0], "sim.example:14410");
        assert_eq!(list[1]["labels"]["__metrics_path__"], "/hosts/n2/metrics");
        assert_eq!(list[1]["labels"]["instance"], "n2");
        assert_eq!(list[1]["labels"]["cluster"], "hpc");
    }

    #[test]
    fn what_is_not_there_is_said_to_be_missing() {
        for (method, path, status) in [
            (Method::GET, "/hosts/n1/metrics", StatusCode::NOT_FOUND),
            (Method::GET, "/hosts/n1/other", StatusCode::NOT_FOUND),
            (Method::POST, "/truth", StatusCode::METHOD_NOT_ALLOWED),
            (Method::GET, "/-/ready", StatusCode::SERVICE_UNAVAILABLE),
            (Method::GET, "/truth", StatusCode::OK),
            (Method::GET, "/", StatusCode::OK),
        ] {
            assert_eq!(ask(method, path).0, status, "{path}");
        }
    }
}
