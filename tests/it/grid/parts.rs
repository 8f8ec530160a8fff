//! Providers that refuse a part of what they are asked, after they have answered another.

use super::server::{Asked, Does, Server};
use super::{KEY, NOW, ask, at, client, key_in, lines, place, wish};
use jouleprint::carbon::provider::{self, Ask, Kind, Refusal};
use jouleprint::model::grid::{Series, Signal};
use jouleprint::model::reading::Fault;
use serde_json::{Value, json};

/// What was heard, and what was missed beside it.
type Round = (Result<Vec<Series>, Refusal>, Option<Refusal>);

/// What is heard in some rounds of one provider, and what was missed in each.
fn rounds(
    kind: Kind,
    zone: &str,
    asks: &[Ask],
    rule: impl Fn(&Asked) -> Does + Send + Sync + 'static,
) -> (Vec<Round>, Vec<Asked>) {
    let server = Server::start(rule);
    let wish = wish(kind, Some(server.url.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let heard = runtime.block_on(async {
        let client = client(provider::BOUNDS.answer);
        let mut provider = provider::open(&wish, &place(zone)).unwrap();
        let mut heard = Vec::new();
        for ask in asks {
            let answer = provider.fetch(&client, *ask).await;
            heard.push((answer, provider.missed().cloned()));
        }
        heard
    });
    (heard, server.asked())
}

fn time(minutes: i64) -> String {
    let second = i64::try_from(NOW).unwrap() + 60 * minutes;
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

/// The half hour, the hour or the five minutes around now, in the words of each provider.
fn first_part(asked: &Asked) -> Value {
    match asked.path.as_str() {
        "/login" => json!({"token": "t0ken-of-theirs"}),
        "/v3/historical" => json!({
            "data": [{"point_time": time(-5), "value": 500}],
            "meta": {"units": "lbs_co2_per_mwh", "data_point_period_seconds": 300},
        }),
        "/carbon-intensity/history" => {
            json!({"zone": "FR", "history": [{"carbonIntensity": 30, "datetime": time(-10)}]})
        }
        "/dataset/CO2Emis" => {
            json!({"records": [{"Minutes5UTC": time(-5).trim_end_matches('Z'), "PriceArea": "DK1", "CO2Emission": 96}]})
        }
        _ => {
            json!({"data": [{"from": time(-10), "to": time(20), "intensity": {"forecast": 1, "actual": 2}}]})
        }
    }
}

/// Every provider that is asked in parts, which of its paths is a later part, and what is heard of the first.
fn in_parts(folder: &tempfile::TempDir) -> Vec<(Kind, &'static str, &'static str, &'static str)> {
    let watttime = Kind::WattTime {
        user: "us".into(),
        password: key_in(folder),
        signals: vec![Signal::Average, Signal::Marginal],
    };
    vec![
        (Kind::ElectricityMaps(key_in(folder)), "FR", "forecast", "20:00+60 30000 measured"),
        (watttime, "DE", "/v3/forecast", "20:05+5 226796 measured"),
        (Kind::GreatBritain, "GB", "fw48h", "20:00+30 2000 measured"),
        (Kind::EnergiData, "DK-DK1", "CO2EmisProg", "20:05+5 96000 measured"),
    ]
}

#[test]
fn a_wait_that_is_asked_for_in_a_later_part_is_told_and_the_first_part_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for (status, fault) in [(429, Fault::Limit), (503, Fault::Io)] {
        for (kind, zone, later, line) in in_parts(&folder) {
            let name = kind.name();
            let (mut heard, asked) = rounds(kind, zone, &[ask(2)], move |asked| {
                if asked.path.ends_with(later) {
                    return Does::Refuses(status, vec![("retry-after", "120".into())], String::new());
                }
                Does::Says(first_part(asked).to_string())
            });
            let (heard, missed) = heard.remove(0);
            assert_eq!(lines(&heard.expect(name))[1..], [line], "{name}");
            let missed = missed.expect(name);
            assert_eq!(
                (missed.fault, missed.retry_after.map(|wait| wait.as_secs())),
                (fault, Some(120)),
                "{name}"
            );
            assert!(!missed.message.contains(KEY), "{missed}");
            let last = asked.last().unwrap();
            assert!(last.path.ends_with(later), "{name}: who wants a pause is asked nothing more: {asked:?}");
        }
    }
}

#[test]
fn of_a_later_part_that_is_no_answer_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, zone, later, line) in in_parts(&folder) {
        let name = kind.name();
        // A good figure, and one that shows that all of it is about something else.
        let body = match name {
            "electricity_maps" => json!({"zone": "FR", "forecast": [
                {"carbonIntensity": 66, "datetime": time(50)},
                {"zone": "DE", "carbonIntensity": 66, "datetime": time(110)},
            ]}),
            "watttime" => {
                json!({"data": [{"point_time": time(0), "value": 66}], "meta": {"units": "percentile"}})
            }
            "gb" => json!({"data": [
                {"from": time(20), "to": time(50), "intensity": {"forecast": 66, "actual": null}},
                {"regionid": 7, "data": []},
            ]}),
            _ => json!({"records": [
                {"Minutes5UTC": time(5).trim_end_matches('Z'), "PriceArea": "DK1", "CO2Emission": 66},
                {"Minutes5UTC": time(10).trim_end_matches('Z'), "PriceArea": "DK2", "CO2Emission": 66},
            ]}),
        };
        let (mut heard, _) = rounds(kind, zone, &[ask(2), ask(0)], move |asked| {
            Does::Says(if asked.path.ends_with(later) {
                body.to_string()
            } else {
                first_part(asked).to_string()
            })
        });
        let (second, first) = (heard.remove(1), heard.remove(0));
        let said = lines(&first.0.expect(name));
        assert!(said[1] == line && !said.iter().any(|line| line.contains("66000")), "{name}: {said:?}");
        assert!(first.1.expect(name).fault == Fault::Malformed, "{name}");
        // WattTime is asked for what runs now by the forecast too.
        assert_eq!(second.1.is_some(), name == "watttime", "{name}: what was missed is of the last round");
    }
}

#[test]
fn watttime_asks_for_no_forecast_for_a_day_after_the_plan_turned_out_to_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let (kind, zone, later, line) = in_parts(&folder).swap_remove(1);
    let hours = |hours: i64| Ask { now: at(hours * 3_600), ..ask(0) };
    let (heard, asked) = rounds(kind, zone, &[ask(0), hours(1), hours(23), hours(24)], move |asked| {
        if asked.path == later {
            return Does::Refuses(403, Vec::new(), String::new());
        }
        Does::Says(first_part(asked).to_string())
    });
    assert_eq!(
        lines(heard[0].0.as_ref().unwrap()).iter().filter(|said| *said == line).count(),
        2,
        "of both signals"
    );
    assert!(heard.iter().all(|(heard, _)| heard.is_ok()));
    let missed: Vec<bool> = heard.iter().map(|(_, missed)| missed.is_some()).collect();
    assert_eq!(missed, [true, false, false, true]);
    assert_eq!(
        asked.iter().filter(|asked| asked.path == later).count(),
        4,
        "both signals, on the first and the second day"
    );
}

#[test]
fn electricity_maps_is_asked_for_what_its_history_does_not_reach() {
    let folder = tempfile::tempdir().unwrap();
    let since = |hours: i64| Ask { from: at(-hours * 3_600), ..ask(0) };
    let asks = [since(72), since(6), since(25), since(72)];
    for is_open in [true, false] {
        let (heard, asked) = rounds(Kind::ElectricityMaps(key_in(&folder)), "FR", &asks, move |asked| {
            match asked.path.as_str() {
                "/carbon-intensity/past-range" if !is_open => Does::Refuses(403, Vec::new(), String::new()),
                "/carbon-intensity/past-range" => Does::Says(
                    json!({"zone": "FR", "data": [{"carbonIntensity": 20, "datetime": time(-10 - 60 * 48)}]})
                        .to_string(),
                ),
                _ => Does::Says(first_part(asked).to_string()),
            }
        });
        let said: Vec<usize> =
            heard.iter().map(|(heard, _)| lines(heard.as_ref().unwrap()).len() - 1).collect();
        assert_eq!(said, if is_open { [2, 1, 2, 2] } else { [1, 1, 1, 1] });
        assert_eq!(heard[0].1.is_some(), !is_open);
        let ranges: Vec<(Option<String>, Option<String>)> = asked
            .iter()
            .filter(|asked| asked.path == "/carbon-intensity/past-range")
            .map(|asked| (asked.pair("start"), asked.pair("end")))
            .collect();
        let range = |start: &str| (Some(start.to_owned()), Some("2026-11-20T21:00:00Z".to_owned()));
        let all = range("2026-11-18T20:00:00Z");
        let expected = [all.clone(), range("2026-11-20T19:00:00Z"), all];
        assert_eq!(ranges, if is_open { &expected[..] } else { &expected[..1] }, "not again the same day");
    }
}
