//! What each provider that gives intensities is asked, and what its answers are taken for.

use super::server::{Asked, Does, Server};
use super::{KEY, ask, at, client, key_in, lines, round, rounds, wish};
use jouleprint::carbon::provider::{self, Ask, Kind};
use jouleprint::model::grid::{Basis, Place, Signal};
use jouleprint::model::reading::Fault;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn says(value: Value) -> Does {
    Does::Says(value.to_string())
}

fn electricity_maps(asked: &Asked, zone: &str) -> Does {
    let point = |hour: u32, grams: Value, is_estimated: bool| {
        json!({"zone": zone, "carbonIntensity": grams, "datetime": format!("2026-11-21T{hour:02}:00:00.000Z"),
               "updatedAt": "2026-11-21T19:48:04.869Z", "createdAt": "2026-11-18T10:46:29.171Z",
               "emissionFactorType": "lifecycle", "isEstimated": is_estimated, "estimationMethod": null})
    };
    match asked.path.as_str() {
        "/carbon-intensity/history" => says(json!({"zone": zone, "history": [
            // Out of order, with a zero, and a fraction as version 4 may give.
            point(18, json!(0), false), point(17, json!(31.25), false), point(19, json!(29), true),
            point(20, Value::Null, true),
        ]})),
        "/carbon-intensity/latest" => says(point(20, json!(28), true)),
        "/carbon-intensity/forecast" => says(json!({"zone": zone, "data": [
            {"carbonIntensity": 27, "datetime": "2026-11-21T20:00:00.000Z"},
            {"carbonIntensity": 26, "datetime": "2026-11-21T21:00:00.000Z"},
            {"carbonIntensity": 25, "datetime": "2026-11-22T19:00:00.000Z"},
        ], "updatedAt": "2026-11-21T19:50:00.000Z"})),
        _ => Does::Refuses(404, Vec::new(), String::new()),
    }
}

#[test]
fn electricity_maps_gives_a_day_an_hour_and_a_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let kind = Kind::ElectricityMaps(key_in(&folder));
    let (heard, asked) = round(kind, "FR", ask(20), |asked| electricity_maps(asked, "FR"));
    assert_eq!(
        lines(&heard.unwrap()),
        [
            "average lifecycle consumption",
            "17:00+60 31250 measured",
            "18:00+60 0 measured",
            "19:00+60 29000 estimated",
            // The history ends in a null; the estimate of the hour goes before its forecast.
            "20:00+60 28000 estimated",
            // What lies behind the wanted hours is left out.
            "21:00+60 26000 forecast",
        ]
    );
    assert_eq!(asked.len(), 3);
    for asked in &asked {
        assert_eq!(asked.header("auth-token"), Some(KEY));
        assert_eq!(
            (asked.pair("zone").as_deref(), asked.pair("emissionFactorType").as_deref()),
            (Some("FR"), Some("lifecycle"))
        );
        assert!(!asked.query.contains(KEY));
    }
    assert_eq!(asked[2].pair("horizonHours").as_deref(), Some("24"));
}

#[test]
fn electricity_maps_does_without_what_the_key_does_not_cover() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/carbon-intensity/latest" => electricity_maps(asked, "FR"),
        _ => Does::Refuses(401, Vec::new(), json!({"error": "Endpoint not available"}).to_string()),
    });
    let wish = wish(Kind::ElectricityMaps(key_in(&folder)), Some(server.url.clone()));
    let later = |hours: i64| Ask { now: at(hours * 3_600), until: at(hours * 3_600 + 7_200), ..ask(0) };
    let heard = rounds(&wish, "FR", &[ask(2), later(0), later(24)], &|| client(provider::BOUNDS.answer));
    assert_eq!(lines(heard[0].as_ref().unwrap())[1], "20:00+60 28000 estimated");
    let paths: Vec<String> =
        server.asked().into_iter().map(|asked| asked.path.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["history", "latest", "forecast", "latest", "history", "latest", "forecast"]);
}

/// What is done to a figure before it is answered.
type Change = fn(&mut Value);

#[test]
fn electricity_maps_answers_for_what_was_asked_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let kind = || Kind::ElectricityMaps(key_in(&folder));
    let cases: [(&str, Change, &str); 7] = [
        ("DE", |_: &mut Value| {}, "another zone"),
        ("FR", |point: &mut Value| point["emissionFactorType"] = json!("direct"), "another basis"),
        ("FR", |point: &mut Value| point["carbonIntensity"] = json!(-1), "is negative"),
        ("FR", |point: &mut Value| point["carbonIntensity"] = json!(5001), "is above 5000"),
        ("FR", |point: &mut Value| point["carbonIntensity"] = json!("NaN"), "is no number"),
        ("FR", |point: &mut Value| point["carbonIntensity"] = Value::Null, "without a figure"),
        ("FR", |point: &mut Value| point["temporalGranularity"] = json!("daily"), "days or longer"),
    ];
    for (zone, change, part) in cases {
        let (heard, _) = round(kind(), "FR", ask(0), move |asked| {
            let Does::Says(body) = electricity_maps(asked, zone) else { panic!("{asked:?}") };
            let mut body: Value = serde_json::from_str(&body).unwrap();
            change(&mut body);
            let points = body.get_mut("history").and_then(Value::as_array_mut);
            points.into_iter().flatten().for_each(change);
            says(body)
        });
        let refusal = heard.unwrap_err();
        assert!(refusal.message.contains(part) && refusal.message.contains("FR"), "{part}: {refusal}");
    }
}

fn watttime(asked: &Asked, units: &str, region: &str) -> Does {
    let signal = asked.pair("signal_type").unwrap_or_default();
    let meta = json!({"data_point_period_seconds": 300, "region": region, "signal_type": signal, "units": units,
                      "warnings": [{"message": "old model"}], "model": {"date": "2026-03-01"}});
    let level = if signal == "co2_moer" { 1_000.0 } else { 500.0 };
    match asked.path.as_str() {
        "/login" => says(json!({"token": "t0ken-of-theirs"})),
        "/v3/historical" => says(json!({"data": [
            {"point_time": "2026-11-21T20:05:00+00:00", "value": null},
            {"point_time": "2026-11-21T20:00:00+00:00", "value": level, "imputed_data_used": true},
            {"point_time": "2026-11-21T19:55:00+00:00", "value": 0, "imputed_data_used": false},
        ], "meta": meta})),
        "/v3/forecast" => says(json!({"data": [
            {"point_time": "2026-11-21T20:10:00+00:00", "value": level + 1.0},
            {"point_time": "2026-11-21T20:15:00+00:00", "value": level + 2.0},
        ], "meta": meta})),
        _ => Does::Refuses(404, Vec::new(), String::new()),
    }
}

fn watttime_kind(folder: &tempfile::TempDir, signals: &[Signal]) -> Kind {
    Kind::WattTime { user: "us".into(), password: key_in(folder), signals: signals.to_vec() }
}

const BOTH: [Signal; 2] = [Signal::Average, Signal::Marginal];

#[test]
fn watttime_keeps_its_two_signals_apart() {
    let folder = tempfile::tempdir().unwrap();
    let kind = watttime_kind(&folder, &BOTH);
    let (heard, asked) =
        round(kind, "US-CAL-CISO", ask(1), |asked| watttime(asked, "lbs_co2_per_mwh", "CAISO_NORTH"));
    // 500 lb/MWh × 453.59237 g/lb.
    assert_eq!(
        lines(&heard.unwrap()),
        [
            "average direct production",
            "19:55+5 0 measured",
            "20:00+5 226796 estimated",
            "20:10+5 227250 estimated",
            "20:15+5 227703 forecast",
            "marginal direct production",
            "19:55+5 0 measured",
            "20:00+5 453592 estimated",
            "20:10+5 454046 estimated",
            "20:15+5 454500 forecast",
        ]
    );
    assert_eq!(
        asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(),
        ["/login", "/v3/historical", "/v3/forecast", "/v3/historical", "/v3/forecast",]
    );
    assert_eq!(asked[0].header("authorization"), Some("Basic dXM6azN5LW9mLW91cnM="));
    for asked in &asked[1..] {
        assert_eq!(asked.header("authorization"), Some("Bearer t0ken-of-theirs"));
        assert_eq!(asked.pair("region").as_deref(), Some("CAISO_NORTH"));
    }
    assert_eq!(asked[1].pair("start").as_deref(), Some("2026-11-21T17:10+00:00"));
    assert_eq!(asked[1].pair("end").as_deref(), Some("2026-11-21T20:10+00:00"));
    assert_eq!(asked[2].pair("horizon_hours").as_deref(), Some("1"));
}

#[test]
fn watttime_renews_its_token_before_it_ends_and_when_it_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let logins = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&logins);
    // The second token is taken back at once: it ends early.
    let server = Server::start(move |asked| {
        if asked.path == "/login" {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            return says(json!({"token": format!("t0ken{number}")}));
        }
        match asked.header("authorization") {
            Some("Bearer t0ken2") if asked.pair("end").is_none_or(|end| !end.ends_with("20:36+00:00")) => {
                Does::Refuses(401, Vec::new(), "{\"error\":\"expired\"}".into())
            }
            Some(_) => watttime(asked, "lbs_co2_per_mwh", "DE"),
            None => Does::Refuses(401, Vec::new(), String::new()),
        }
    });
    let wish = wish(watttime_kind(&folder, &[Signal::Average]), Some(server.url.clone()));
    let minutes = |count: i64| Ask { now: at(count * 60), ..ask(0) };
    let asks: Vec<Ask> = [0, 24, 26, 40].into_iter().map(minutes).collect();
    let heard = rounds(&wish, "DE", &asks, &|| client(provider::BOUNDS.answer));
    assert!(heard.iter().all(Result::is_ok), "{heard:?}");
    let asked: Vec<(String, String)> = server
        .asked()
        .into_iter()
        .map(|asked| {
            (asked.path.clone(), asked.header("authorization").unwrap_or_default().replace("Bearer ", ""))
        })
        .collect();
    let tokens: Vec<&str> =
        asked.iter().map(|(path, token)| if path == "/login" { "login" } else { token.as_str() }).collect();
    assert_eq!(
        tokens,
        [
            "login", "t0ken1", "t0ken1", // at first
            "t0ken1", "t0ken1", // 24 min later it still serves
            "login", "t0ken2", "t0ken2", "login", "t0ken3", // 26 min later; the second answer says 401
            "t0ken3", "t0ken3", // and 14 min after that
        ]
    );
}

#[test]
fn watttime_does_without_the_signal_that_the_plan_does_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| match asked.pair("signal_type").as_deref() {
        Some("co2_aoer") => Does::Refuses(403, Vec::new(), String::new()),
        _ => watttime(asked, "lbs_co2_per_mwh", "DE"),
    });
    let wish = wish(watttime_kind(&folder, &BOTH), Some(server.url.clone()));
    let heard = rounds(&wish, "DE", &[ask(0), ask(0)], &|| client(provider::BOUNDS.answer));
    for heard in heard {
        assert_eq!(lines(&heard.unwrap())[0], "marginal direct production");
    }
    let refused = server
        .asked()
        .iter()
        .filter(|asked| asked.pair("signal_type").as_deref() == Some("co2_aoer"))
        .count();
    assert_eq!(refused, 1, "it is not asked again the same day");
}

#[test]
fn watttime_is_not_believed_in_another_unit_or_region() {
    let folder = tempfile::tempdir().unwrap();
    for (units, region, part) in
        [("percentile", "DE", "another unit"), ("lbs_co2_per_mwh", "FR", "another region")]
    {
        let kind = watttime_kind(&folder, &BOTH);
        let (heard, _) = round(kind, "DE", ask(0), move |asked| watttime(asked, units, region));
        let refusal = heard.unwrap_err();
        assert!(refusal.fault == Fault::Malformed && refusal.message.contains(part), "{refusal}");
    }
}

fn gb_slot(from: &str, to: &str, forecast: Value, actual: Value) -> Value {
    json!({"from": format!("2026-11-21T{from}Z"), "to": format!("2026-11-21T{to}Z"),
           "intensity": {"forecast": forecast, "actual": actual, "index": "high"}})
}

#[test]
fn great_britain_keeps_the_forecast_where_there_is_no_actual_figure() {
    let (heard, asked) = round(Kind::GreatBritain, "GB", ask(2), |asked| {
        says(json!({"data": match asked.path.ends_with("fw48h") {
            false => vec![
                gb_slot("19:00", "19:30", json!(205), json!(201)),
                gb_slot("19:30", "20:00", json!(208), Value::Null),
                gb_slot("20:00", "20:30", json!(210), Value::Null),
                gb_slot("18:30", "19:00", Value::Null, Value::Null),
            ],
            true => vec![
                gb_slot("20:00", "20:30", json!(210), Value::Null),
                gb_slot("20:30", "21:00", json!(0), Value::Null),
            ],
        }}))
    });
    assert_eq!(
        lines(&heard.unwrap()),
        [
            "average direct consumption",
            "19:00+30 201000 measured",
            "19:30+30 208000 estimated",
            "20:00+30 210000 estimated",
            "20:30+30 0 forecast",
        ]
    );
    assert_eq!(
        asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(),
        ["/intensity/2026-11-21T17:10Z/2026-11-21T20:10Z", "/intensity/2026-11-21T20:10Z/fw48h",]
    );
    assert_eq!(asked[0].header("accept"), Some("application/json"));
}

#[test]
fn a_region_of_great_britain_is_a_list_or_an_object() {
    let slots = || {
        json!([{"from": "2026-11-21T20:00Z", "to": "2026-11-21T20:30Z",
                "intensity": {"forecast": 126, "index": "moderate"}, "generationmix": [{"fuel": "gas", "perc": 26.7}]}])
    };
    let region = move |id: u8| json!({"regionid": id, "dnoregion": "UKPN London", "shortname": "London", "data": slots()});
    for data in [region(13), json!([region(13)])] {
        let body = json!({"data": data});
        let (heard, asked) = round(Kind::GreatBritain, "gb-13", ask(0), move |_| says(body.clone()));
        assert_eq!(lines(&heard.unwrap()), ["average direct consumption", "20:00+30 126000 estimated"]);
        assert_eq!(asked[0].path, "/regional/intensity/2026-11-21T17:10Z/2026-11-21T20:10Z/regionid/13");
        assert_eq!(asked.len(), 1);
    }
    let other = json!({"data": region(7)});
    let (heard, _) = round(Kind::GreatBritain, "GB-13", ask(0), move |_| says(other.clone()));
    assert!(heard.unwrap_err().message.contains("another region"));
    // As in the fault of January 2025.
    let (heard, _) = round(Kind::GreatBritain, "GB-13", ask(0), |_| says(json!({})));
    assert!(heard.unwrap_err().message.contains("an empty answer in status 200"));
}

#[test]
fn rte_is_asked_in_utc_for_rows_with_a_figure_and_by_the_page() {
    let (heard, asked) = round(Kind::Rte, "FR", ask(5), |asked| {
        let offset: i64 = asked.pair("offset").unwrap().parse().unwrap();
        // 100 rows and 20 more, of quarters from 19:45 back.
        let rows = (offset..120.min(offset + 100)).map(|row| {
            let at = jiff::Timestamp::from_second(1_795_291_800 - 1_500 - 900 * row).unwrap();
            json!({"taux_co2": if row == 1 { Value::Null } else { json!(row) }, "date_heure": at.to_string(),
                   "nature": "Données temps réel"})
        });
        says(json!({"total_count": 120, "results": rows.collect::<Vec<_>>()}))
    });
    let found = lines(&heard.unwrap());
    assert_eq!(found[0], "average direct production");
    assert_eq!(found[found.len() - 2..], ["19:15+15 2000 measured", "19:45+15 0 measured"]);
    assert_eq!(asked.len(), 1, "100 rows reach back far enough");
    assert_eq!(asked[0].path, "/catalog/datasets/eco2mix-national-tr/records");
    for (name, value) in [
        ("select", "taux_co2,date_heure,nature"),
        ("where", "taux_co2 is not null and date_heure >= '2026-11-21'"),
        ("order_by", "date_heure desc"),
        ("limit", "100"),
        ("timezone", "UTC"),
    ] {
        assert_eq!(asked[0].pair(name).as_deref(), Some(value), "{name}");
    }
    // Two days back take a second page.
    let far = Ask { from: at(-48 * 3_600), ..ask(0) };
    let (_, asked) = round(Kind::Rte, "FR", far, |asked| {
        let first = asked.pair("offset").as_deref() == Some("0");
        let rows = (0..if first { 100 } else { 3 }).map(|row| {
            let at = jiff::Timestamp::from_second(1_795_290_300 - 900 * row).unwrap();
            json!({"taux_co2": 20, "date_heure": at.to_string()})
        });
        says(json!({"results": rows.collect::<Vec<_>>()}))
    });
    assert_eq!(asked.iter().map(|asked| asked.pair("offset").unwrap()).collect::<Vec<_>>(), ["0", "100"]);
}

#[test]
fn the_hour_that_paris_has_twice_is_two_hours() {
    // 2026-10-25: at 01:00 UTC clocks go back from 03:00 to 02:00.
    let now = jiff::civil::date(2026, 10, 25).at(2, 10, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    let now =
        jouleprint::model::quantity::Nanos::from_seconds(u64::try_from(now.timestamp().as_second()).unwrap());
    let ask = Ask {
        now,
        from: now.saturating_sub(jouleprint::model::quantity::Nanos::from_seconds(10_800)),
        until: now,
    };
    let (heard, _) = round(Kind::Rte, "FR", ask, |_| {
        says(json!({"results": [
            {"taux_co2": 12, "date_heure": "2026-10-25T02:30:00+01:00"},
            {"taux_co2": 11, "date_heure": "2026-10-25T02:30:00+02:00"},
        ]}))
    });
    let series = heard.unwrap().remove(0);
    let found: Vec<_> = series
        .samples
        .iter()
        .map(|slot| (now.saturating_sub(slot.start).get() / 60_000_000_000, slot.intensity.as_milligrams()))
        .collect();
    assert_eq!(found, [(100, 11_000), (40, 12_000)]);
}

#[test]
fn denmark_is_read_by_its_utc_fields() {
    let (heard, asked) = round(Kind::EnergiData, "DK-DK1", ask(1), |asked| {
        let record = |time: &str, grams: Value| {
            json!({"Minutes5UTC": format!("2026-11-21T{time}:00"), "Minutes5DK": "2026-10-25T02:30:00",
                   "PriceArea": "DK1", "CO2Emission": grams})
        };
        let records = match asked.path.as_str() {
            "/dataset/CO2Emis" => {
                vec![record("20:05", json!(96.0)), record("20:00", Value::Null), record("19:55", json!(97))]
            }
            _ => vec![record("20:15", json!(90)), record("20:10", json!(91.5))],
        };
        says(json!({"total": 3, "limit": 5, "dataset": "CO2Emis", "records": records}))
    });
    assert_eq!(
        lines(&heard.unwrap()),
        [
            "average direct consumption",
            "19:55+5 97000 measured",
            "20:05+5 96000 measured",
            "20:10+5 91500 forecast",
            "20:15+5 90000 forecast",
        ]
    );
    assert_eq!(asked[1].path, "/dataset/CO2EmisProg");
    for (name, value) in [
        ("start", "2026-11-21T17:10"),
        ("timezone", "UTC"),
        ("filter", "{\"PriceArea\":[\"DK1\"]}"),
        ("sort", "Minutes5UTC desc"),
    ] {
        assert_eq!(asked[0].pair(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(asked[1].pair("end").as_deref(), Some("2026-11-21T21:10"));
    let (heard, _) = round(Kind::EnergiData, "DK-DK2", ask(0), |_| {
        says(
            json!({"records": [{"Minutes5UTC": "2026-11-21T20:05:00", "PriceArea": "DK1", "CO2Emission": 1}]}),
        )
    });
    assert!(heard.unwrap_err().message.contains("another area"));
}

#[test]
fn a_place_that_a_provider_does_not_cover_is_refused_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let key = || key_in(&folder);
    for (kind, zone, expected) in [
        (Kind::ElectricityMaps(key()), "se-se3", Ok("SE-SE3")),
        (Kind::ElectricityMaps(key()), "US-ERCT", Ok("US-TEX-ERCO")),
        (Kind::ElectricityMaps(key()), "US-CAMX", Err("US-CAL-CISO")),
        (Kind::ElectricityMaps(key()), "WORLD", Err("no zone that is WORLD")),
        (Kind::Entsoe(key()), "SE-SE3", Ok("10Y1001A1001A46L")),
        (Kind::Entsoe(key()), "GB", Err("no zone that is GB")),
        (Kind::Eia(key()), "US-CAL-CISO", Ok("CISO")),
        (Kind::EnergiData, "DK-DK2", Ok("DK2")),
        (Kind::EnergiData, "DK", Err("DK-DK1, DK-DK2")),
        (Kind::GreatBritain, "GB-NIR", Err("no zone that is GB-NIR")),
        (Kind::GreatBritain, "13", Ok("GB-13")),
        (Kind::Rte, "fr", Ok("FR")),
        (Kind::Rte, "DE", Err("no zone that is DE")),
    ] {
        let wish = wish(kind, None);
        let opened = provider::open(&wish, &super::place(zone));
        match (opened, expected) {
            (Ok(provider), Ok(expected)) => {
                assert_eq!((provider.zone(), provider.source()), (expected, wish.kind.name()))
            }
            (Err(refusal), Err(part)) => {
                assert!(refusal.fault == Fault::Unsupported && refusal.message.contains(part), "{refusal}");
            }
            (opened, expected) => {
                panic!("{zone}: {:?}, not {expected:?}", opened.map(|one| one.zone().to_owned()))
            }
        }
    }
    // What the user says is the provider's to know.
    let mut said = wish(Kind::Eia(key()), None);
    said.zone = Some("MISO".into());
    assert_eq!(provider::open(&said, &super::place("US-MROE")).unwrap().zone(), "MISO");
    said.zone = Some("NEW".into());
    assert_eq!(provider::open(&said, &super::place("US-MROE")).unwrap().zone(), "NEW");
}

#[test]
fn a_region_of_a_cloud_is_asked_for_by_the_grid_it_hangs_on() {
    let folder = tempfile::tempdir().unwrap();
    let key = || key_in(&folder);
    let virginia = Place { cloud: "aws".into(), region: "us-east-1".into(), ..super::place("US-SRVC") };
    for (kind, expected) in [
        (Kind::ElectricityMaps(key()), "US-MIDA-PJM"),
        (Kind::Eia(key()), "PJM"),
        (watttime_kind(&folder, &BOTH), "PJM_DC"),
    ] {
        let mut wish = wish(kind, None);
        assert_eq!(provider::open(&wish, &virginia).unwrap().zone(), expected);
        wish.zone = Some("X-1".into());
        assert_eq!(provider::open(&wish, &virginia).unwrap().zone(), "X-1", "what the user says goes first");
        wish.zone = None;
        // The user says that it stands elsewhere.
        let moved = Place { zone: "US-CAMX".into(), ..virginia.clone() };
        assert_eq!(provider::open(&wish, &moved).map(drop).unwrap_err().fault, Fault::Unsupported);
    }
}

#[test]
fn nobody_is_asked_oftener_than_he_may_be() {
    let folder = tempfile::tempdir().unwrap();
    for (interval, expected) in [(None, 900), (Some(10), 900), (Some(3_600), 3_600)] {
        let mut wish = wish(Kind::ElectricityMaps(key_in(&folder)), None);
        wish.interval = interval.map(std::time::Duration::from_secs);
        wish.basis = Some(Basis::Direct);
        let provider = provider::open(&wish, &super::place("FR")).unwrap();
        assert_eq!(provider.cadence().as_secs(), expected);
    }
}
