//! The relay and the nodes that ask it: how often providers are asked for a fleet, what is served, and how
//! nodes bear it when the relay is away.

use super::page::Page;
use arc_swap::ArcSwapOption;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, IF_NONE_MATCH,
};
use hyper::{Method, Response, StatusCode, Uri};
use jouleprint::carbon::poll::{Lookout, Open, Setting};
use jouleprint::carbon::provider::jouleprint::{CADENCE, Door, Jouleprint};
use jouleprint::carbon::provider::{Ask, BOUNDS, Heard, IntensityProvider, Key};
use jouleprint::carbon::{Choice, Wishes};
use jouleprint::clock;
use jouleprint::command::grid::zone;
use jouleprint::http_client::{Client, Protocol, TlsFiles};
use jouleprint::model::grid::{Basis, Boundary, Quality, Sample, Series, Signal, Step};
use jouleprint::model::identity::Name;
use jouleprint::model::quantity::{Intensity, Nanos};
use jouleprint::model::reading::Fault;
use jouleprint::output::access::Access;
use jouleprint::output::http::{Answer, serve};
use jouleprint::output::relay::RelaySite;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ZONES: [&str; 3] = ["DE", "FR", "NO"];

const fn hours(count: u64) -> Nanos {
    Nanos::from_seconds(count * 3_600)
}

/// A whole hour some time ago; the clock is asked once, so that nothing depends on when it is.
fn begin() -> Nanos {
    let now = clock::now().wall;
    Nanos::new(now.get() - now.get() % hours(1).get())
}

/// Counts what it is asked, and knows the hours that were over, with a forecast of the next day.
struct Upstream {
    zone: String,
    asked: Arc<AtomicUsize>,
    is_down: Arc<Mutex<bool>>,
}

fn series(zone: &str, from: Nanos, now: Nanos, until: Nanos) -> Series {
    let mut samples = Vec::new();
    let mut start = Nanos::new(from.get() - from.get() % hours(1).get());
    while start + hours(1) <= until.max(now) {
        let hour = u32::try_from(start.get() / hours(1).get() % 24).unwrap();
        let quality = if start + hours(1) <= now { Quality::Measured } else { Quality::Forecast };
        let intensity = Intensity::from_milligrams(100_000 + 1_000 * hour).unwrap();
        samples.push(Sample { start, end: start + hours(1), intensity, quality, fetched: now });
        start += hours(1);
    }
    Series {
        source: "upstream".into(),
        zone: zone.into(),
        signal: Signal::Average,
        basis: Basis::Lifecycle,
        accounting: Boundary::Consumption,
        samples,
    }
}

impl IntensityProvider for Upstream {
    fn source(&self) -> &'static str {
        "upstream"
    }

    fn zone(&self) -> &str {
        &self.zone
    }

    fn cadence(&self) -> Duration {
        Duration::from_secs(900)
    }

    fn fetch<'a>(&'a mut self, _: &'a Client, ask: Ask) -> Heard<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(!*self.is_down.lock().unwrap(), "not used here");
        Box::pin(std::future::ready(Ok(vec![series(&self.zone, ask.from, ask.now, ask.until)])))
    }
}

fn setting(zone: &str) -> Setting {
    let choice = Choice::Zone { zone: zone.to_owned(), basis: None };
    Setting { choice, pue: None, wishes: Wishes::default(), kept: None }
}

struct Fleet {
    asked: Arc<AtomicUsize>,
    lookouts: Vec<(Name, Lookout)>,
    site: Arc<RelaySite>,
}

impl Fleet {
    fn new(now: Nanos) -> Fleet {
        let asked = Arc::new(AtomicUsize::new(0));
        let is_down = Arc::new(Mutex::new(false));
        let open: Open = Arc::new({
            let asked = Arc::clone(&asked);
            move |_, place| {
                let zone = place.zone.to_string();
                let (asked, is_down) = (Arc::clone(&asked), Arc::clone(&is_down));
                vec![Ok(Box::new(Upstream { zone, asked, is_down }))]
            }
        });
        let names: Vec<Name> = ZONES.iter().map(|zone| Name::from(*zone)).collect();
        let lookouts = names.iter().map(|name| {
            (name.clone(), Lookout::restored(setting(name), Arc::clone(&open), None, now).unwrap())
        });
        let site = Arc::new(RelaySite::new(&names, "/metrics".to_owned(), now));
        Fleet { asked, lookouts: lookouts.collect(), site }
    }

    async fn turn(&mut self, now: Nanos) {
        for (name, lookout) in &mut self.lookouts {
            lookout.turn(now).await;
            self.site.publish(name, zone(lookout, now));
        }
    }
}

fn client() -> Client {
    Client::open(Protocol::Http1, false, &TlsFiles::default(), BOUNDS).unwrap()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Serves a site on a port of this machine until the runtime ends.
async fn served(site: &Arc<RelaySite>, access: Access) -> (String, tokio::sync::watch::Sender<bool>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(serve(Arc::clone(site), Arc::new(access), listener, stopped));
    (url, stop)
}

fn ask(now: Nanos) -> Ask {
    Ask { now, from: now.saturating_sub(hours(72)), until: now + hours(48) }
}

#[test]
fn a_thousand_nodes_in_three_zones_cost_three_questions_a_cadence() {
    block(async {
        let mut now = begin();
        let mut fleet = Fleet::new(now);
        let (url, _stop) = served(&fleet.site, Access::load(None).unwrap()).await;
        let client = client();
        let mut nodes: Vec<Jouleprint> =
            (0..1_000).map(|node| Jouleprint::new(&url, ZONES[node % 3], Door::default(), CADENCE)).collect();
        let (mut whole, mut unchanged) = (0, 0);
        for cadence in 0..3 {
            let before = fleet.asked.load(Ordering::Relaxed);
            // Nodes come all the time; the relay asks when it is due, whoever comes.
            for part in 0..3 {
                fleet.turn(now + Nanos::from_seconds(300 * part)).await;
                for node in &mut nodes[333 * usize::try_from(part).unwrap()..][..334] {
                    let heard = node.fetch(&client, ask(now)).await.unwrap();
                    if heard.is_empty() {
                        unchanged += 1
                    } else {
                        whole += 1
                    }
                    let again = node.comes_again().unwrap();
                    assert!(
                        (Duration::from_secs(30)..=Duration::from_secs(4_400)).contains(&again),
                        "{again:?}"
                    );
                }
            }
            let asked = fleet.asked.load(Ordering::Relaxed) - before;
            assert!(asked <= 3, "{asked} questions in cadence {cadence}");
            now += Nanos::from_seconds(900);
        }
        assert!(whole >= 1_000 && unchanged + whole == 3 * 3 * 334, "{whole} {unchanged}");
        assert!(fleet.asked.load(Ordering::Relaxed) >= 6, "and it is asked again");
        let spread: std::collections::BTreeSet<Duration> =
            nodes.iter().filter_map(|node| node.comes_again()).collect();
        assert!(spread.len() > 500, "they do not come again at one moment: {}", spread.len());
    });
}

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

fn get(
    site: &RelaySite,
    now: Nanos,
    path: &str,
    pairs: &[(hyper::header::HeaderName, &str)],
) -> Response<Answer> {
    let headers: HeaderMap =
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    site.answer_at(now, &Method::GET, &uri(path), &headers)
}

fn body(response: Response<Answer>) -> Vec<u8> {
    let mut answer = response.into_body();
    std::iter::from_fn(|| answer.take_piece()).flatten().collect()
}

#[test]
fn what_was_heard_is_served_with_a_tag_and_for_how_long_it_holds() {
    block(async {
        let now = begin();
        let mut fleet = Fleet::new(now);
        let path = "/api/v1/intensity?zone=FR";
        let early = get(&fleet.site, now, path, &[]);
        assert_eq!(
            (early.status(), early.headers()["retry-after"].as_bytes()),
            (StatusCode::SERVICE_UNAVAILABLE, &b"60"[..])
        );
        assert_eq!(get(&fleet.site, now, "/-/ready", &[]).status(), StatusCode::SERVICE_UNAVAILABLE);
        fleet.turn(now).await;
        let site = &fleet.site;
        assert_eq!(get(site, now, "/-/ready", &[]).status(), StatusCode::OK);
        let first = get(site, now, "/api/v1/intensity?x=1&zone=fr", &[]);
        assert_eq!(first.status(), StatusCode::OK);
        let (tag, control) = (first.headers()[ETAG].clone(), first.headers()[CACHE_CONTROL].clone());
        let seconds: u64 = control.to_str().unwrap().strip_prefix("max-age=").unwrap().parse().unwrap();
        assert!((900..2_000).contains(&seconds), "until the provider is asked again: {seconds}");
        let served: serde_json::Value = serde_json::from_slice(&body(first)).unwrap();
        assert_eq!(served["zone"], "FR");
        let again: Vec<Series> = serde_json::from_value(served["series"].clone()).unwrap();
        assert_eq!(again, [series("FR", now.saturating_sub(hours(72)), now, now + hours(48))]);
        for known in [tag.to_str().unwrap(), "\"x\", W/\"y\" , *", &tag.to_str().unwrap()[2..]] {
            let unchanged = get(site, now, path, &[(IF_NONE_MATCH, known)]);
            assert_eq!(
                (unchanged.status(), unchanged.headers().get(ETAG)),
                (StatusCode::NOT_MODIFIED, Some(&tag))
            );
            assert!(body(unchanged).is_empty());
        }
        assert_eq!(get(site, now, path, &[(IF_NONE_MATCH, "\"other\"")]).status(), StatusCode::OK);
        let zipped = get(site, now, path, &[(ACCEPT_ENCODING, "gzip")]);
        assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*body(zipped)).read_to_string(&mut text).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), served);
        for (path, status, part) in [
            ("/api/v1/intensity?zone=PL", StatusCode::NOT_FOUND, "DE, FR, NO"),
            ("/api/v1/intensity", StatusCode::BAD_REQUEST, "DE, FR, NO"),
            ("/nothing", StatusCode::NOT_FOUND, "not found"),
            ("/-/healthy", StatusCode::OK, "healthy"),
            ("/", StatusCode::OK, "zone=NO"),
        ] {
            let answer = get(site, now, path, &[]);
            assert_eq!(answer.status(), status, "{path}");
            let text = String::from_utf8(body(answer)).unwrap();
            assert!(text.contains(part), "{path}: {text}");
        }
        let post = site.answer_at(now, &Method::POST, &uri(path), &HeaderMap::new());
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        // A turn in which nothing new was said leaves the answer as it is; another figure changes it.
        fleet.turn(now + Nanos::from_seconds(1)).await;
        assert_eq!(get(&fleet.site, now, path, &[]).headers()[ETAG], tag);
        let asked = fleet.asked.load(Ordering::Relaxed);
        let later = now + Nanos::from_seconds(1_799);
        fleet.turn(later).await;
        assert_eq!(fleet.asked.load(Ordering::Relaxed), asked + 3, "all were asked again, and said the same");
        assert_eq!(get(&fleet.site, later, path, &[]).headers()[ETAG], tag);
        let mut another = Fleet::new(later);
        another.turn(later).await;
        assert_eq!(
            get(&another.site, later, path, &[]).headers()[ETAG],
            tag,
            "of two relays behind one name"
        );
        fleet.turn(now + hours(1)).await;
        assert_ne!(get(&fleet.site, now, path, &[]).headers()[ETAG], tag);
    });
}

#[test]
fn the_relay_s_page_shows_every_zone_its_forecast_and_its_providers() {
    block(async {
        let now = begin() + Nanos::from_seconds(60);
        let mut fleet = Fleet::new(now);
        fleet.turn(now).await;
        let openmetrics = [(ACCEPT, "application/openmetrics-text;version=1.0.0")];
        let open = String::from_utf8(body(get(&fleet.site, now, "/metrics", &openmetrics))).unwrap();
        let page = Page::parse(&open).expect("a strict reader takes it");
        let text = String::from_utf8(body(get(&fleet.site, now, "/metrics", &[]))).unwrap();
        Page::parse_text(&text).expect("a strict reader of 0.0.4 takes it");
        let hour = |ahead: u64| (now.get() / hours(1).get() + ahead) % 24;
        let name = "jouleprint_grid_carbon_intensity_forecast_grams_per_kilowatt_hour";
        for ahead in [1, 6, 24] {
            let labels = [("grid_zone", "FR"), ("signal", "average"), ("horizon", &*format!("{ahead}h"))];
            let found = page.all(name, &labels);
            assert_eq!(found.len(), 1, "{ahead}");
            assert_eq!(found[0].text, format!("{}.000", 100 + hour(ahead)));
        }
        assert_eq!(page.all(name, &[("grid_zone", "FR")]).len(), 8, "48 h ahead there is none");
        for (name, labels, expected) in [
            ("jouleprint_grid_intensity_fallback", vec![("grid_zone", "NO")], "1"),
            ("jouleprint_grid_provider_up", vec![("grid_zone", "NO"), ("source", "upstream")], "1"),
            ("jouleprint_grid_provider_requests_total", vec![("grid_zone", "DE"), ("reason", "")], "1"),
            ("jouleprint_grid_intensity_info", vec![("grid_zone", "DE"), ("fallback", "last")], "1"),
        ] {
            let found = page.all(name, &labels);
            assert_eq!(found.iter().map(|sample| &*sample.text).collect::<Vec<_>>(), [expected], "{name}");
        }
    });
}

/// A node of which the relay is the only provider.
fn node(url: &str, now: Nanos) -> Lookout {
    let url = url.to_owned();
    let open: Open = Arc::new(move |_, place| {
        vec![Ok(Box::new(Jouleprint::new(&url, &place.zone, Door::default(), CADENCE)))]
    });
    Lookout::restored(setting("FR"), open, None, now).unwrap()
}

#[test]
fn a_node_goes_on_for_a_day_without_its_relay_and_then_as_if_it_had_been_there() {
    block(async {
        let now = begin();
        let mut fleet = Fleet::new(now);
        fleet.turn(now).await;
        let (url, stop) = served(&fleet.site, Access::load(None).unwrap()).await;
        let mut node = node(&url, now);
        assert!(node.turn(now).await);
        let before = node.grid(now);
        assert_eq!((before.sources[0].fault, &*before.plan.at(now).source), (None, "upstream"));
        stop.send(true).unwrap();
        let mut time = node.next().unwrap();
        let mut questions = 0;
        while time < now + hours(24) {
            assert!(!node.turn(time).await);
            questions += 1;
            time = node.next().unwrap();
            assert!(questions < 80, "it leaves the relay alone more and more");
        }
        let during = node.grid(now + hours(24));
        assert_eq!(during.sources[0].fault, Some(Fault::Unreachable));
        assert_eq!(during.plan.at(now + hours(1)).fallback, Step::Last);
        assert_eq!(during.plan.at(now + hours(20)).fallback, Step::Forecast);
        assert_eq!(during.plan.at(now + hours(60)).fallback, Step::Profile);
        // Back, at another address as it happens.
        fleet.turn(now + hours(24)).await;
        let (url, _stop) = served(&fleet.site, Access::load(None).unwrap()).await;
        let open: Open = Arc::new(move |_, place| {
            vec![Ok(Box::new(Jouleprint::new(&url, &place.zone, Door::default(), CADENCE)))]
        });
        let kept = node.kept();
        let mut node = Lookout::restored(setting("FR"), open, kept, time).unwrap();
        assert_eq!(node.grid(now + hours(24)).plan, during.plan, "a restart changes nothing");
        assert!(node.turn(time).await);
        let after = node.grid(now + hours(24));
        let mut past = now.saturating_sub(hours(30));
        while past < now + hours(24) {
            if before.plan.at(past).fallback == Step::Wanted {
                assert_eq!(before.plan.at(past), after.plan.at(past));
            }
            assert_eq!(after.plan.at(past).fallback, Step::Wanted);
            past += hours(1);
        }
    });
}

#[test]
fn what_a_relay_answers_wrongly_is_one_line_and_no_figure() {
    let gzip = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let of = |start: u64, end: u64, intensity: u64| {
        format!(
            r#"{{"zone":"FR","series":[{{"source":"x","zone":"FR","signal":"average","basis":"direct","accounting":"production","samples":[{{"start":{start},"end":{end},"intensity":{intensity},"quality":"measured","fetched":0}}]}}]}}"#
        )
        .into_bytes()
    };
    let hour = hours(1).get();
    let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}");
    for (head, body, fault, part) in [
        (head("200 OK", ""), of(0, hour, 5), None, ""),
        (head("200 OK", ""), of(0, hour, 0), None, "nothing emitted is a figure"),
        (head("200 OK", "content-encoding: gzip\r\n"), gzip(&of(0, hour, 5)), None, ""),
        (head("200 OK", "content-encoding: gzip\r\n"), b"no gzip".to_vec(), Some(Fault::Malformed), "gzip"),
        (
            head("200 OK", "content-encoding: gzip\r\n"),
            gzip(&vec![b' '; 20 << 20]),
            Some(Fault::Malformed),
            "none of a relay's",
        ),
        (head("200 OK", ""), b"<html>".to_vec(), Some(Fault::Malformed), "none of a relay's"),
        (head("200 OK", ""), of(0, hour, 5_000_001), Some(Fault::Malformed), "none of a relay's"),
        (head("200 OK", ""), of(hour, hour, 5), Some(Fault::Malformed), "whole five minutes"),
        (head("200 OK", ""), of(1, hour, 5), Some(Fault::Malformed), "whole five minutes"),
        (
            head("200 OK", ""),
            br#"{"zone":"DE","series":[]}"#.to_vec(),
            Some(Fault::Malformed),
            "answers for \"DE\"",
        ),
        (head("200 OK", ""), vec![b' '; 5 << 20], Some(Fault::Malformed), "larger than"),
        (head("401 Unauthorized", ""), vec![], Some(Fault::PermissionDenied), "password_file"),
        (head("404 Not Found", ""), vec![], Some(Fault::Unsupported), "grid.relay.zones"),
        (head("503 Service Unavailable", "retry-after: 60\r\n"), vec![], Some(Fault::Inactive), "not heard"),
        (head("500 Oh", ""), vec![], Some(Fault::Io), "status 500"),
        (head("302 Found", "location: http://elsewhere/\r\n"), vec![], Some(Fault::Malformed), "elsewhere"),
        (String::new(), vec![], Some(Fault::Unreachable), "asking"),
    ] {
        let heard = block(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let mut answer = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
            answer.extend_from_slice(&body);
            let is_silent = head.is_empty();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                if !is_silent {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.read(&mut request).await;
                }
            });
            let mut provider = Jouleprint::new(&url, "FR", Door::default(), CADENCE);
            provider.fetch(&client(), ask(begin())).await
        });
        match (heard, fault) {
            (Ok(series), None) => assert_eq!(series[0].samples.len(), 1, "{part}"),
            (Err(refusal), Some(fault)) => {
                assert_eq!(refusal.fault, fault, "{refusal}");
                let text = refusal.to_string();
                assert!(text.contains(part) && text.contains("FR") && !text.contains('\n'), "{text}");
                assert_eq!(refusal.retry_after.is_some(), fault == Fault::Inactive, "{text}");
            }
            (heard, fault) => panic!("{head}: {heard:?}, not {fault:?}"),
        }
    }
}

#[test]
fn a_relay_with_users_lets_nodes_in_by_name_and_password() {
    let folder = tempfile::tempdir().unwrap();
    let (web, password) = (folder.path().join("web.yaml"), folder.path().join("password"));
    std::fs::write(&web, format!("basic_auth_users: {{me: '{}'}}", bcrypt::hash("right", 4).unwrap()))
        .unwrap();
    block(async {
        let now = begin();
        let mut fleet = Fleet::new(now);
        fleet.turn(now).await;
        let (url, _stop) = served(&fleet.site, Access::load(Some(&web)).unwrap()).await;
        let door = Door { user: Some(("me".to_owned(), Key::File(password.clone()))), ..Door::default() };
        let mut node = Jouleprint::new(&url, "FR", door, CADENCE);
        for (text, fault) in [
            (None, Some(Fault::Missing)),
            (Some("wrong-secret\n"), Some(Fault::PermissionDenied)),
            (Some("right\n"), None),
        ] {
            if let Some(text) = text {
                std::fs::write(&password, text).unwrap();
            }
            let heard = node.fetch(&client(), ask(now)).await;
            assert_eq!(heard.as_ref().err().map(|refusal| refusal.fault), fault);
            assert!(!format!("{heard:?}").contains("wrong-secret"));
        }
    });
}

/// What a server that has just started answers, as soon as it does.
fn fetch(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn the_command_relays_what_another_relay_says_keeps_it_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let now = clock::now().wall;
    block(async {
        let mut fleet = Fleet::new(now);
        fleet.turn(now).await;
        let (url, _stop) = served(&fleet.site, Access::load(None).unwrap()).await;
        let config = folder.path().join("relay.yaml");
        let text = format!(
            "grid:\n  providers: [{{name: jouleprint, url: '{url}'}}]\n  relay: {{zones: [FR, no]}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let store = folder.path().join("store");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOULEPRINT_")) {
            command.env_remove(name);
        }
        command.arg("grid").arg("--config.file").arg(&config).arg("--store.path").arg(&store);
        let mut relay =
            command.args(["--web.listen-address", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let told = tokio::task::spawn_blocking({
            let stderr = relay.stderr.take().unwrap();
            move || {
                let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                let address = first.split("addresses=[").nth(1).and_then(|rest| rest.split(']').next());
                let address = address.unwrap_or_else(|| panic!("{first}")).to_owned();
                let limit = clock::monotonic() + Nanos::from_seconds(60);
                let served = loop {
                    let answer = fetch(&address, "/api/v1/intensity?zone=NO").unwrap_or_default();
                    if answer.starts_with("HTTP/1.1 200") || clock::monotonic() > limit {
                        break answer;
                    }
                    std::thread::yield_now();
                };
                let page = fetch(&address, "/metrics").unwrap_or_default();
                (served, page, lines)
            }
        });
        let (served, page, lines) = told.await.unwrap();
        let pid = rustix::process::Pid::from_child(&relay);
        let kept = store.join("relay-NO.json");
        let waiting = tokio::task::spawn_blocking(move || {
            let limit = clock::monotonic() + Nanos::from_seconds(60);
            while !kept.exists() && clock::monotonic() < limit {
                std::thread::yield_now();
            }
            let exists = kept.exists();
            (exists, rustix::process::kill_process(pid, rustix::process::Signal::TERM))
        });
        let (exists, killed) = waiting.await.unwrap();
        let status = tokio::task::spawn_blocking(move || relay.wait()).await.unwrap().unwrap();
        let lines: Vec<String> = lines.collect();
        assert!(exists && killed.is_ok() && status.success(), "{status} {lines:?}");
        assert!(served.contains("\"zone\":\"NO\"") && served.contains("\"source\":\"upstream\""), "{served}");
        assert!(page.contains("grid_zone=\"FR\"") && !page.contains("grid_zone=\"DE\""), "{page}");
    });
}

#[test]
fn the_task_of_a_node_publishes_into_its_mailbox() {
    let outlet = Arc::new(ArcSwapOption::empty());
    let (_settings, receiver) = tokio::sync::watch::channel(setting("FR"));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    block(async {
        let task = tokio::spawn(jouleprint::carbon::poll::run(receiver, Arc::clone(&outlet), stopped));
        while outlet.load().is_none() {
            tokio::task::yield_now().await;
        }
        stop.send(true).unwrap();
        task.await.unwrap();
    });
    let grid = outlet.load_full().unwrap();
    assert_eq!((&*grid.place.zone, &*grid.place.source), ("FR", "config"));
    assert_eq!(grid.plan.at(clock::now().wall).fallback, Step::Wanted);
}
