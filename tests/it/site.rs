//! The HTTP side without a network: what a request is answered with.

use super::page::Page;
use super::world::{Layout, World};
use arc_swap::ArcSwapOption;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use hyper::{Method, Response, StatusCode};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::snapshot::Snapshot;
use jouleprint::output::http::{Answer, Site};
use std::io::Read;
use std::sync::Arc;

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

struct Setting {
    latest: Arc<ArcSwapOption<Snapshot>>,
    site: Site,
}

fn setting(max_requests: usize) -> Setting {
    let latest = Arc::new(ArcSwapOption::empty());
    Setting { site: Site::new(Arc::clone(&latest), "/metrics".into(), max_requests), latest }
}

fn snapshot() -> Arc<Snapshot> {
    let mut world = World::new(3, Layout::V2, false);
    let path = world.make(2);
    let mut sampler = world.sampler(10, 10, 20);
    let idle = vec![0; world.cpus()];
    for _ in 0..2 {
        world.work(&path, 5, 0);
        let at = world.pass(Nanos::from_seconds(5), &idle);
        sampler.tick(at);
    }
    let now = jouleprint::clock::now();
    Arc::new(sampler.snapshot(now))
}

fn headers(pairs: &[(hyper::header::HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}

fn get(site: &Site, path: &str, pairs: &[(hyper::header::HeaderName, &str)]) -> Response<Answer> {
    site.answer(&Method::GET, path, &headers(pairs))
}

fn body(response: Response<Answer>) -> Vec<u8> {
    let mut answer = response.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = answer.take_piece() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[test]
fn before_the_first_reading_there_is_no_page_and_no_readiness() {
    let setting = setting(40);
    for (path, status) in [
        ("/metrics", StatusCode::SERVICE_UNAVAILABLE),
        ("/-/ready", StatusCode::SERVICE_UNAVAILABLE),
        ("/-/healthy", StatusCode::OK),
        ("/", StatusCode::OK),
        ("/nothing", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(get(&setting.site, path, &[]).status(), status, "{path}");
    }
}

#[test]
fn readiness_ends_when_the_last_reading_is_three_ticks_old() {
    let setting = setting(40);
    let fresh = snapshot();
    setting.latest.store(Some(Arc::clone(&fresh)));
    assert_eq!(get(&setting.site, "/-/ready", &[]).status(), StatusCode::OK);
    let mut stale = Snapshot::clone(&fresh);
    stale.at.monotonic = stale.at.monotonic.saturating_sub(Nanos::from_seconds(16));
    setting.latest.store(Some(Arc::new(stale)));
    let answer = get(&setting.site, "/-/ready", &[]);
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(String::from_utf8(body(answer)).unwrap().contains("16 s old"));
}

#[test]
fn both_formats_and_encodings_hold_the_same_samples() {
    let setting = setting(40);
    setting.latest.store(Some(snapshot()));
    let open = get(&setting.site, "/metrics", &[(ACCEPT, OPENMETRICS)]);
    assert!(
        open.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    let open = String::from_utf8(body(open)).unwrap();
    let page = Page::parse(&open).expect("a strict reader takes it");
    super::page::check_identity(&page).unwrap();

    let text = get(&setting.site, "/metrics", &[]);
    assert_eq!(text.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(body(text)).unwrap();
    let page = Page::parse_text(&text).expect("a strict reader of 0.0.4 takes it");
    super::page::check_identity(&page).unwrap();
    let samples = |page: &str| -> Vec<String> {
        // The server's own counter has counted a request more.
        let is_shared = |line: &&str| !line.starts_with('#') && !line.starts_with("jouleprint_http_");
        page.lines().filter(is_shared).map(str::to_owned).collect()
    };
    assert_eq!(samples(&open), samples(&text));
    assert!(
        text.contains("# TYPE hw_energy_joules_total counter\n")
            && open.contains("# TYPE hw_energy_joules counter\n")
    );
    assert!(
        text.contains("# TYPE jouleprint_http_requests_total counter\n"),
        "the library's lines are in 0.0.4 too"
    );
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));

    let zipped = get(&setting.site, "/metrics", &[(ACCEPT, OPENMETRICS), (ACCEPT_ENCODING, "gzip")]);
    assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
    let zipped = body(zipped);
    let mut unzipped = String::new();
    flate2::read::GzDecoder::new(zipped.as_slice()).read_to_string(&mut unzipped).unwrap();
    assert_eq!(samples(&unzipped), samples(&open));
    assert!(zipped.len() * 4 < open.len());
}

#[test]
fn a_page_is_made_once_for_each_reading_and_all_readers_get_the_same_bytes() {
    let setting = setting(40);
    let first = snapshot();
    setting.latest.store(Some(Arc::clone(&first)));
    let once = body(get(&setting.site, "/metrics", &[(ACCEPT, OPENMETRICS)]));
    let again = body(get(&setting.site, "/metrics", &[(ACCEPT, OPENMETRICS)]));
    // The request counter has moved on; if the page had been made anew it would show.
    assert_eq!(once, again);
    setting.latest.store(Some(Arc::new(Snapshot::clone(&first))));
    let next = body(get(&setting.site, "/metrics", &[(ACCEPT, OPENMETRICS)]));
    assert_ne!(once, next);
}

#[test]
fn head_has_the_length_and_no_body_and_other_methods_are_refused() {
    let setting = setting(40);
    setting.latest.store(Some(snapshot()));
    let length = body(get(&setting.site, "/metrics", &[])).len();
    let head = setting.site.answer(&Method::HEAD, "/metrics", &HeaderMap::new());
    assert_eq!(head.headers()[CONTENT_LENGTH], length.to_string().as_str());
    assert!(body(head).is_empty());
    let post = setting.site.answer(&Method::POST, "/metrics", &HeaderMap::new());
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post.headers()["allow"], "GET, HEAD");
}

#[test]
fn a_page_counts_as_open_until_its_reader_has_taken_it() {
    let setting = setting(1);
    setting.latest.store(Some(snapshot()));
    let held = get(&setting.site, "/metrics", &[]);
    assert_eq!(held.status(), StatusCode::OK);
    assert_eq!(get(&setting.site, "/metrics", &[]).status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&setting.site, "/-/healthy", &[]).status(), StatusCode::OK);
    body(held);
    assert_eq!(get(&setting.site, "/metrics", &[]).status(), StatusCode::OK);
}

#[test]
fn the_landing_page_names_meters_and_sources_and_escapes_them() {
    let setting = setting(40);
    let mut odd = Snapshot::clone(&snapshot());
    odd.sources[0].detail = "<script>".into();
    setting.latest.store(Some(Arc::new(odd)));
    let html = String::from_utf8(body(get(&setting.site, "/", &[]))).unwrap();
    assert!(
        html.contains("href=\"/metrics\"") && html.contains("meter-0") && html.contains("&lt;script&gt;")
    );
    assert!(!html.contains("<script>"));
}
