//! A node behind a relay chooses as the relay does: by its order and its basis, over a restart too, and as far
//! as it can behind a relay that tells neither.

use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use jouleprint::carbon::chain::{Limits, OtherBasis};
use jouleprint::carbon::kept;
use jouleprint::carbon::poll::{Lookout, Open, Setting};
use jouleprint::carbon::provider::jouleprint::{CADENCE, Door, Jouleprint};
use jouleprint::carbon::provider::{self, Ask, BOUNDS, Heard, IntensityProvider, Kind, Offer, Refusal, Wish};
use jouleprint::carbon::{Choice, Wishes};
use jouleprint::command::grid::zone;
use jouleprint::http_client::{Client, Protocol, TlsFiles};
use jouleprint::model::grid::{Basis, Boundary, Place, Plan, Quality, Sample, Series, Signal, Step};
use jouleprint::model::identity::Name;
use jouleprint::model::quantity::{Intensity, Nanos};
use jouleprint::model::reading::Fault;
use jouleprint::output::access::Access;
use jouleprint::output::http::serve;
use jouleprint::output::relay::RelaySite;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The 22nd of November 2026 at 14:00 UTC.
const NOW: Nanos = Nanos::from_seconds(1_795_356_000);

const fn hours(count: u64) -> Nanos {
    Nanos::from_seconds(count * 3_600)
}

/// Gives the hours from so many back to so many back, or nothing.
#[derive(Clone)]
struct Scripted {
    source: &'static str,
    offer: Offer,
    basis: Basis,
    signal: Signal,
    grams: u32,
    known: Option<(u64, u64)>,
}

impl IntensityProvider for Scripted {
    fn source(&self) -> &'static str {
        self.source
    }

    fn zone(&self) -> &str {
        "FR"
    }

    fn cadence(&self) -> Duration {
        Duration::from_secs(900)
    }

    fn offer(&self) -> Offer {
        self.offer.clone()
    }

    fn fetch<'a>(&'a mut self, _: &'a Client, ask: Ask) -> Heard<'a> {
        let refusal = || Refusal { fault: Fault::Io, message: "it is down".to_owned(), retry_after: None };
        let heard = self.known.ok_or_else(refusal).map(|(from, until)| {
            let sample = |back: u64| Sample {
                start: NOW.saturating_sub(hours(back)),
                end: NOW.saturating_sub(hours(back - 1)),
                intensity: Intensity::from_milligrams(self.grams * 1_000 + u32::try_from(back).unwrap())
                    .unwrap(),
                quality: Quality::Measured,
                fetched: ask.now,
            };
            vec![Series {
                source: self.source.into(),
                zone: "FR".into(),
                signal: self.signal,
                basis: self.basis,
                accounting: Boundary::Production,
                samples: (until + 1..=from).rev().map(sample).collect(),
            }]
        });
        Box::pin(std::future::ready(heard))
    }
}

fn average(source: &'static str, basis: Basis, grams: u32, known: Option<(u64, u64)>) -> Scripted {
    Scripted { source, offer: Offer::average(basis), basis, signal: Signal::Average, grams, known }
}

fn setting(chain: &Limits) -> Setting {
    let choice = Choice::Zone { zone: "FR".to_owned(), basis: None };
    Setting { choice, pue: None, wishes: Wishes { chain: chain.clone(), ..Wishes::default() }, kept: None }
}

fn relay(providers: &[Scripted], chain: &Limits) -> Lookout {
    let providers = providers.to_vec();
    let open: Open = Arc::new(move |_, _| {
        providers.iter().map(|one| Ok(Box::new(one.clone()) as Box<dyn IntensityProvider>)).collect()
    });
    Lookout::restored(setting(chain), open, None, NOW).unwrap()
}

fn node(url: &str, chain: &Limits, kept: Option<kept::Kept>) -> Lookout {
    let url = url.to_owned();
    let open: Open =
        Arc::new(move |_, _| vec![Ok(Box::new(Jouleprint::new(&url, "FR", Door::default(), CADENCE)))]);
    Lookout::restored(setting(chain), open, kept, NOW).unwrap()
}

/// What the relay answers.
fn answer(lookout: &Lookout) -> Vec<u8> {
    let site = RelaySite::new(&["FR".into()], "/metrics".to_owned(), NOW);
    site.publish("FR", zone(lookout, NOW));
    let uri = "/api/v1/intensity?zone=FR".parse().unwrap();
    let response = site.answer_at(NOW, &Method::GET, &uri, &HeaderMap::new());
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    std::iter::from_fn(|| body.take_piece()).flatten().collect()
}

/// The same from a relay of an earlier version.
fn without_order(answer: &[u8]) -> Vec<u8> {
    let mut answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    assert!(answer.as_object_mut().unwrap().remove("basis").is_some());
    for series in answer["series"].as_array_mut().unwrap() {
        assert!(series.as_object_mut().unwrap().remove("rank").is_some());
    }
    answer.to_string().into_bytes()
}

/// A node that has heard this once, from somebody who is gone then.
async fn heard(body: Vec<u8>, chain: &Limits) -> Lookout {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut node = node(&format!("http://{}", listener.local_addr().unwrap()), chain, None);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let _ = stream.read(&mut request).await;
    });
    assert!(node.turn(NOW).await);
    server.abort();
    node
}

fn steps(plan: &Plan) -> [(String, Step); 3] {
    [hours(20), hours(5), hours(1)].map(|back| {
        let factor = plan.at(NOW.saturating_sub(back));
        (factor.source.to_string(), factor.fallback)
    })
}

#[test]
fn a_node_plans_as_its_relay_does_and_goes_on_so_without_it() {
    let day = Some((24, 0));
    let (direct, lifecycle) = (Basis::Direct, Basis::Lifecycle);
    let margin = Scripted {
        offer: Offer::Own { average: None, marginal: true },
        signal: Signal::Marginal,
        ..average("margin", direct, 500, day)
    };
    let strict = Limits::default();
    let lax = Limits { other_basis: OtherBasis::Allowed, ..Limits::default() };
    for (case, providers, chain, expected) in [
        (
            "the first is silent for some hours",
            vec![average("a", direct, 10, Some((24, 6))), average("b", direct, 20, day)],
            &strict,
            [("a", Step::Wanted), ("b", Step::Substitute), ("b", Step::Substitute)],
        ),
        (
            "the first was never heard",
            vec![average("a", direct, 10, None), average("b", direct, 20, day)],
            &strict,
            [("b", Step::Substitute); 3],
        ),
        (
            "the first, of another basis, was never heard",
            vec![average("a", direct, 10, None), average("b", lifecycle, 20, day)],
            &strict,
            [("owid-ember", Step::Table); 3],
        ),
        (
            "the first ends early, the others are of another basis and a third fits",
            vec![
                average("a", direct, 10, Some((24, 10))),
                average("b", lifecycle, 20, day),
                average("c", direct, 30, Some((24, 3))),
            ],
            &strict,
            [("a", Step::Wanted), ("c", Step::Substitute), ("c", Step::Last)],
        ),
        (
            "another basis is allowed",
            vec![average("a", direct, 10, None), average("b", lifecycle, 20, day)],
            &lax,
            [("b", Step::Substitute); 3],
        ),
        (
            "the first has marginal figures alone",
            vec![margin, average("b", direct, 20, day)],
            &strict,
            [("b", Step::Wanted); 3],
        ),
        (
            "one provider twice",
            vec![average("a", lifecycle, 10, Some((24, 6))), average("a", direct, 20, day)],
            &lax,
            [("a", Step::Wanted), ("a", Step::Substitute), ("a", Step::Substitute)],
        ),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut relay = relay(&providers, chain);
            relay.turn(NOW).await;
            let plan = relay.grid(NOW).plan;
            // France has no direct figure of the year: the world's table decides what stands there.
            if expected[0].0 != "owid-ember" {
                assert_eq!(steps(&plan), expected.map(|(source, step)| (source.to_owned(), step)), "{case}");
            }
            let first = heard(answer(&relay), chain).await;
            assert_eq!(first.grid(NOW).plan, plan, "{case}");
            // Over a restart, with nobody to ask.
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("grid.json");
            kept::write(&path, &first.kept().unwrap()).unwrap();
            let kept = kept::read(&path, NOW).unwrap();
            let mut again = node("http://127.0.0.1:1", chain, kept);
            assert_eq!(again.grid(NOW).plan, plan, "{case}, after a restart");
            assert!(!again.turn(NOW + hours(1)).await);
            assert_eq!(again.grid(NOW).plan, plan, "{case}, after nobody answered");
            // And another relay behind this one, whose own nodes do the same.
            let second = heard(answer(&first), chain).await;
            assert_eq!(second.grid(NOW).plan, plan, "{case}, behind two relays");
        });
    }
}

#[test]
fn in_a_cloud_the_region_s_own_grid_is_asked_for_where_the_relay_serves_it() {
    let place = Place {
        zone: "US-CAMX".into(),
        source: "aws".into(),
        cloud: "aws".into(),
        region: "us-west-1".into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (served, expected) in
        [(&["US-CAL-CISO", "US-CAMX"][..], Ok(1)), (&["US-CAMX"], Ok(2)), (&["FR"], Err(Fault::Unsupported))]
    {
        runtime.block_on(async {
            let names: Vec<Name> = served.iter().map(|zone| Name::from(*zone)).collect();
            let site = Arc::new(RelaySite::new(&names, "/metrics".to_owned(), NOW));
            for zone_name in served {
                let grams = if *zone_name == "US-CAL-CISO" { 1 } else { 2 };
                let mut lookout =
                    relay(&[average("a", Basis::Direct, grams, Some((2, 0)))], &Limits::default());
                lookout.turn(NOW).await;
                site.publish(zone_name, zone(&lookout, NOW));
            }
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (_stop, stopped) = tokio::sync::watch::channel(false);
            let access = Arc::new(Access::load(None).unwrap());
            tokio::spawn(serve(Arc::clone(&site), access, listener, stopped));
            let kind = Kind::Jouleprint(Door::default());
            let wish = Wish { kind, zone: None, basis: None, url: Some(url), interval: None };
            let mut provider = provider::open(&wish, &place).unwrap();
            assert_eq!(provider.zone(), "US-CAMX", "its counters and what it kept have one name");
            let client = Client::open(Protocol::Http1, false, &TlsFiles::default(), BOUNDS).unwrap();
            let ask = Ask { now: NOW, from: NOW, until: NOW };
            let heard = provider.fetch(&client, ask).await;
            let grams = heard.map(|series| series[0].samples[0].intensity.as_milligrams() / 1_000);
            assert_eq!(grams.map_err(|refusal| refusal.fault), expected, "{served:?}");
            // Then it is known, and what has not changed is not sent again.
            let again = provider.fetch(&client, ask).await;
            assert_eq!(again.map_err(|refusal| refusal.fault), expected.map(|_| Vec::new()), "{served:?}");
            // A zone of the user's own is asked for as it is.
            let own = Wish { zone: Some("us-camx".to_owned()), ..wish };
            let mut provider = provider::open(&own, &place).unwrap();
            let grams = provider.fetch(&client, ask).await;
            let grams = grams.map(|series| series[0].samples[0].intensity.as_milligrams() / 1_000);
            let is_served = served.contains(&"US-CAMX");
            assert_eq!(grams.ok(), is_served.then_some(2), "{served:?}");
        });
    }
}

/// What `check` and `grid` say of a file.
fn said_of(config: &str) -> [(bool, String); 2] {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.yaml");
    std::fs::write(&path, config).unwrap();
    // Where the configuration is right the relay ends at the address that is none.
    [("check", "127.0.0.1:0"), ("grid", "nowhere")].map(|(command, address)| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_jouleprint"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOULEPRINT_")) {
            program.env_remove(name);
        }
        program.args([command, "--web.listen-address", address, "--store.path", "none", "--config.file"]);
        let output = program.arg(&path).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

#[test]
fn a_provider_that_no_zone_of_the_relay_would_ask_is_an_error_and_named() {
    let wrong = "grid:\n  providers: [{name: gb}, {name: gb, zone: GB-13}]\n  relay: {zones: [FR, GB]}\n";
    for (succeeded, said) in said_of(wrong) {
        assert!(!succeeded, "{said}");
        assert_eq!(said.lines().filter(|line| line.contains("would never be asked")).count(), 1, "{said}");
        for part in ["grid.providers: provider 2, gb", "its zone GB-13 is none of", "FR, GB (name it"] {
            assert!(said.contains(part), "{said}");
        }
    }
    for right in [&wrong.replace("GB-13", "gb"), &wrong.replace("zones: [FR, GB]", "zones: []")] {
        assert!(said_of(right).iter().all(|(_, said)| !said.contains("would never be asked")), "{right}");
    }
}

#[test]
fn behind_a_relay_that_tells_no_order_the_first_that_is_heard_comes_first() {
    let strict = Limits::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let day = Some((24, 0));
        let providers =
            [average("a", Basis::Direct, 10, Some((24, 6))), average("b", Basis::Direct, 20, day)];
        let mut relay = relay(&providers, &strict);
        relay.turn(NOW).await;
        let node = heard(without_order(&answer(&relay)), &strict).await;
        assert_eq!(node.grid(NOW).plan, relay.grid(NOW).plan, "in the order of the answer");
        let silent = [average("a", Basis::Direct, 10, None), average("b", Basis::Lifecycle, 20, day)];
        let mut unheard = self::relay(&silent, &strict);
        unheard.turn(NOW).await;
        let astray = heard(without_order(&answer(&unheard)), &strict).await;
        assert_eq!(steps(&astray.grid(NOW).plan), [(); 3].map(|()| ("b".to_owned(), Step::Wanted)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.json");
        kept::write(&path, &node.kept().unwrap()).unwrap();
        // As an earlier version has left it.
        let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(text.as_object_mut().unwrap().remove("told").is_some());
        std::fs::write(&path, text.to_string()).unwrap();
        let again = self::node("http://127.0.0.1:1", &strict, kept::read(&path, NOW).unwrap());
        assert_eq!(again.grid(NOW).plan, relay.grid(NOW).plan);
    });
}
