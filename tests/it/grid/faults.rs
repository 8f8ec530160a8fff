//! Every way in which a provider can fail, for every provider: what is said of it, and what never is.

use super::server::{Asked, Does, Server};
use super::{KEY, NOW, ask, client, key_in, lines, rounds, wish};
use jouleprint::carbon::provider::figure::Unit;
use jouleprint::carbon::provider::http_json::Shape;
use jouleprint::carbon::provider::json::Path;
use jouleprint::carbon::provider::slots::About;
use jouleprint::carbon::provider::{self, Ask, Key, Kind};
use jouleprint::http_client::Secret;
use jouleprint::model::grid::{Basis, Boundary, Signal};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::reading::Fault;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Everybody who is asked over a network, and a place that he knows.
fn providers(key: &Key) -> Vec<(Kind, &'static str)> {
    let shape = Shape {
        list: None,
        value: Some(Path::new("g").unwrap()),
        time: None,
        unit: Unit::GramsPerKilowattHour,
        about: About::average(Basis::Direct, Boundary::Production),
        slot: None,
    };
    let signals = vec![Signal::Average, Signal::Marginal];
    vec![
        (Kind::ElectricityMaps(key.clone()), "FR"),
        (Kind::WattTime { user: "us".into(), password: key.clone(), signals }, "DE"),
        (Kind::GreatBritain, "GB"),
        (Kind::GreatBritain, "GB-13"),
        (Kind::Rte, "FR"),
        (Kind::EnergiData, "DK-DK1"),
        (Kind::Entsoe(key.clone()), "FR"),
        (Kind::Eia(key.clone()), "US-CAL-CISO"),
        (Kind::HttpJson { shape, headers: vec![("authorization".into(), key.clone())] }, "site"),
    ]
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// What must be seen by nobody but the provider: our key, as it is and in Basic, and its token.
const SECRETS: [&str; 3] = [KEY, "dXM6azN5LW9mLW91cnM", "t0ken-of-theirs"];

fn refuses(status: u16) -> Does {
    // As some do, it repeats what it was sent.
    Does::Refuses(status, Vec::new(), format!("{{\"error\":\"bad key {KEY}\"}}"))
}

fn retry_after(text: &str) -> Does {
    Does::Refuses(429, vec![("retry-after", text.to_owned())], String::new())
}

#[test]
fn every_fault_of_every_provider_is_one_line_without_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = key_in(&folder);
    let of_environment = Key::Environment { name: "K".into(), value: Secret::new(KEY.into()) };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone());
    let mut seen = String::new();
    let cases = [
        (refuses(401), Fault::PermissionDenied, "status 401", None),
        (refuses(403), Fault::PermissionDenied, "status 403", None),
        (refuses(404), Fault::Missing, "nothing for this zone", None),
        (Does::Refuses(204, Vec::new(), String::new()), Fault::Missing, "nothing for this zone", None),
        (retry_after("120"), Fault::Limit, "status 429", Some(120)),
        (retry_after("Sat, 21 Nov 2026 20:15:00 GMT"), Fault::Limit, "status 429", Some(300)),
        (retry_after("Sat, 21 Nov 2026 20:00:00 GMT"), Fault::Limit, "status 429", Some(0)),
        (retry_after("99999999"), Fault::Limit, "status 429", Some(86_400)),
        (retry_after("soon"), Fault::Limit, "status 429", None),
        (refuses(500), Fault::Io, "status 500", None),
        (
            Does::Refuses(503, vec![("retry-after", "7".into())], String::new()),
            Fault::Io,
            "status 503",
            Some(7),
        ),
        (
            Does::Refuses(302, vec![("location", format!("http://x/?k={KEY}"))], String::new()),
            Fault::Malformed,
            "redirects",
            None,
        ),
        (refuses(418), Fault::Io, "status 418", None),
        (Does::Breaks, Fault::Io, "broke off", None),
        (Does::Floods, Fault::Malformed, "larger than", None),
        (Does::Waits, Fault::Timeout, "no answer within", None),
        (Does::Says(format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}")), Fault::Malformed, "", None),
        (Does::Says("{}".into()), Fault::Malformed, "", None),
        (Does::Says("[]".into()), Fault::Malformed, "", None),
        (Does::Says(String::new()), Fault::Malformed, "", None),
        (Does::Says("<html>We are down</html>".into()), Fault::Malformed, "", None),
        (Does::Says("\u{0}\u{1}".into()), Fault::Malformed, "", None),
    ];
    tracing::subscriber::with_default(subscriber.finish(), || {
        tracing::trace!("the log is heard");
        for (does, fault, part, wait) in cases {
            let deadline =
                if matches!(does, Does::Waits) { Duration::from_millis(60) } else { provider::BOUNDS.answer };
            for key in [&file, &of_environment] {
                if matches!(key, Key::Environment { .. }) && matches!(does, Does::Floods | Does::Waits) {
                    continue;
                }
                let does = does.clone();
                let server = Server::start(move |_| does.clone());
                for (kind, zone) in providers(key) {
                    let wish = wish(kind, Some(server.url.clone()));
                    let heard = rounds(&wish, zone, &[ask(2)], &|| client(deadline)).remove(0);
                    let refusal = heard.expect_err("nothing to be used");
                    let name = wish.kind.name();
                    assert_eq!(
                        (refusal.fault, refusal.retry_after.map(|wait| wait.as_secs())),
                        (fault, wait),
                        "{name}: {refusal}"
                    );
                    assert!(
                        refusal.message.contains(part) && refusal.message.contains(zone_of(name, zone)),
                        "{name}: {refusal}"
                    );
                    assert!(
                        !refusal.message.contains('\n') && refusal.message.contains('('),
                        "{name}: {refusal}"
                    );
                    seen += &format!("{refusal} {refusal:?} {wish:?} {:?}\n", wish.kind);
                }
            }
        }
    });
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("the log is heard"));
    for secret in SECRETS {
        assert!(!seen.contains(secret) && !logged.contains(secret), "{secret} is seen");
    }
}

/// What is said of the place: the provider's own name for it.
fn zone_of(provider: &str, zone: &'static str) -> &'static str {
    match (provider, zone) {
        ("entsoe", _) => "10YFR-RTE------C",
        ("eia", _) => "CISO",
        ("energi_data", _) => "DK1",
        (_, zone) => zone,
    }
}

#[test]
fn nobody_there_and_no_key_are_said_too() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let server = Server::start(|_| Does::Waits);
    let url = server.url.clone();
    drop(server);
    for (kind, zone) in providers(&key_in(&folder)) {
        let wish = wish(kind, Some(url.clone()));
        let refusal =
            rounds(&wish, zone, &[ask(0)], &|| client(Duration::from_secs(1))).remove(0).unwrap_err();
        assert_eq!(refusal.fault, Fault::Unreachable, "{refusal}");
    }
    let gone = Key::File(folder.path().join("gone"));
    for (kind, zone) in providers(&gone) {
        if matches!(kind, Kind::GreatBritain | Kind::Rte | Kind::EnergiData) {
            continue;
        }
        let wish = wish(kind, Some(url.clone()));
        let refusal =
            rounds(&wish, zone, &[ask(0)], &|| client(Duration::from_secs(1))).remove(0).unwrap_err();
        assert!(refusal.fault == Fault::Missing && refusal.message.contains("gone"), "{refusal}");
    }
}

/// A half hour of Great Britain, from this many minutes after now on.
fn half_hour(minutes: i64) -> String {
    let time = |minutes: i64| {
        let second = i64::try_from(NOW).unwrap() - 600 + 60 * minutes;
        jiff::Timestamp::from_second(second).unwrap().to_string()
    };
    format!(
        "{{\"data\":[{{\"from\":\"{}\",\"to\":\"{}\",\"intensity\":{{\"forecast\":100,\"actual\":101}}}}]}}",
        time(minutes),
        time(minutes + 30)
    )
}

#[test]
fn a_clock_that_is_wrong_by_hours_is_seen_or_does_no_harm() {
    let hear = |minutes: i64, asks: &[Ask]| {
        let server = Server::start(move |_: &Asked| Does::Says(half_hour(minutes)));
        let wish = wish(Kind::GreatBritain, Some(server.url.clone()));
        rounds(&wish, "GB", asks, &|| client(provider::BOUNDS.answer)).remove(0)
    };
    // Ours is 20 min behind: what runs there is still ahead, and so a forecast.
    assert_eq!(lines(&hear(30, &[ask(0)]).unwrap())[1], "20:30+30 101000 forecast");
    // Three hours behind: nothing can be used, and the line says what may be wrong.
    let refusal = hear(180, &[ask(0)]).unwrap_err();
    assert!(refusal.fault == Fault::Stale && refusal.message.contains("clock"), "{refusal}");
    // Three hours ahead: it is an old figure.
    assert_eq!(lines(&hear(-180, &[ask(0)]).unwrap())[1], "17:00+30 101000 measured");
    // Years ahead, and before 1970's first days.
    let refusal = hear(-60 * 24 * 30, &[ask(0)]).unwrap_err();
    assert!(refusal.fault == Fault::Stale && refusal.message.contains("clock"), "{refusal}");
    let never = Ask { now: Nanos::ZERO, from: Nanos::ZERO, until: Nanos::ZERO };
    assert_eq!(hear(0, &[never]).unwrap_err().fault, Fault::Stale);
}
