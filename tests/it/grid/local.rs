//! Figures of the user's own: files, and servers that answer JSON of any shape.

use super::server::{Does, Server};
use super::{KEY, ask, client, key_in, lines, rounds, wish, written};
use jouleprint::carbon::provider::figure::Unit;
use jouleprint::carbon::provider::http_json::Shape;
use jouleprint::carbon::provider::jouleprint::Door;
use jouleprint::carbon::provider::json::Path;
use jouleprint::carbon::provider::slots::About;
use jouleprint::carbon::provider::{self, Key, Kind};
use jouleprint::model::grid::{Basis, Boundary, Signal};
use jouleprint::model::quantity::Nanos;
use jouleprint::model::reading::Fault;
use std::path::PathBuf;
use std::time::Duration;

fn shape(list: &str, value: &str, time: &str, unit: Unit) -> Shape {
    let path = |text: &str| (!text.is_empty()).then(|| Path::new(text).unwrap());
    Shape {
        list: path(list),
        value: path(value),
        time: path(time),
        unit,
        about: About::average(Basis::Direct, Boundary::Consumption),
        slot: None,
    }
}

fn read(path: PathBuf, shape: Shape, zone: &str) -> Result<Vec<String>, provider::Refusal> {
    let wish = wish(Kind::File { path, shape }, None);
    let mut heard = rounds(&wish, zone, &[ask(4)], &|| client(provider::BOUNDS.answer));
    heard.remove(0).map(|series| lines(&series))
}

fn csv() -> Shape {
    shape("", "", "", Unit::GramsPerKilowattHour)
}

const TABLE: &str = "# by hand\n\
    timestamp,zone,gco2e_per_kwh,forecast\n\
    2026-11-21T21:00Z,FR,30.5,1\n\
    2026-11-21T19:00:00+00:00,FR,0,0\n\
    2026-11-21T20:00,FR,41.25,\n\
    2026-11-21T20:00:00Z,DE,400,\n\
    2026-11-21T18:00Z,FR,,\n";

#[test]
fn a_table_is_read_by_zone_in_any_order_and_each_line_holds_until_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, "f.csv", TABLE);
    assert_eq!(
        read(path.clone(), csv(), "FR").unwrap(),
        [
            "average direct consumption",
            "19:00+60 0 measured",
            "20:00+60 41250 measured",
            "21:00+60 30500 forecast",
        ]
    );
    let halves = Shape { slot: Some(Nanos::from_seconds(1_800)), ..csv() };
    assert_eq!(read(path, halves, "de").unwrap(), ["average direct consumption", "20:00+30 400000 measured"]);
}

#[test]
fn a_table_without_times_holds_at_all_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(
        &folder,
        "zones.csv",
        "# ODbL\nem_zone,name,country,gco2e_per_kwh,basis,accounting,year\nAE,x,AE,348,lifecycle,consumption,2025\n\
         SE-SE3,x,SE,12,lifecycle,consumption,2025\n",
    );
    assert_eq!(
        read(path, csv(), "SE-SE3").unwrap(),
        ["average lifecycle consumption", "17:10+480 12000 static",]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let head = "timestamp,zone,gco2e_per_kwh\n";
    for (text, fault, part) in [
        (format!("# by hand\n{head}noon,FR,1\n"), Fault::Malformed, "line 3 of the file has no time"),
        (format!("{head}2026-11-21T20:00Z,DE,1\n"), Fault::Missing, "no line of this zone"),
        (format!("{head}2026-11-21T20:00Z,FR,-1\n"), Fault::OutOfRange, "is negative"),
        (format!("{head}2026-11-21T20:00Z,FR,nan\n"), Fault::OutOfRange, "is no number"),
        (format!("{head}2026-11-21T20:00Z,FR,473010\n"), Fault::OutOfRange, "above 5000"),
        ("zone,intensity\nFR,1\n".to_owned(), Fault::Malformed, "no column gco2e_per_kwh"),
        (String::new(), Fault::Malformed, "no column"),
        ("x".repeat(5 << 20), Fault::Malformed, "larger than 4096 KiB"),
    ] {
        let refusal = read(written(&folder, "f.csv", &text), csv(), "FR").unwrap_err();
        assert!(refusal.fault == fault && refusal.message.contains(part), "{part}: {refusal:?}");
    }
    let refusal = read(folder.path().join("none"), csv(), "FR").unwrap_err();
    assert!(refusal.fault == Fault::Missing && refusal.message.contains("none"), "{refusal:?}");
}

#[test]
fn a_file_is_read_anew_when_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, "f.csv", TABLE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wish = wish(Kind::File { path: path.clone(), shape: csv() }, None);
    let mut provider = provider::open(&wish, &super::place("FR")).unwrap();
    let mut hear = || {
        runtime.block_on(async {
            lines(&provider.fetch(&client(Duration::from_secs(1)), ask(4)).await.unwrap())
        })
    };
    let first = hear();
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let change = |text: &str, seconds: u64| {
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time + Duration::from_secs(seconds)).unwrap();
    };
    change(&TABLE.replace("41.25", "99.99"), 0);
    assert_eq!(hear(), first, "nothing says that it has changed");
    change(&TABLE.replace("41.25", "42"), 5);
    assert_eq!(hear()[2], "20:00+60 42000 measured");
}

#[test]
fn json_of_any_shape_is_found_by_its_paths() {
    let folder = tempfile::tempdir().unwrap();
    for (text, shape, expected) in [
        (
            r#"{"now":{"kg":0.0415}}"#,
            shape("", "now.kg", "", Unit::KilogramsPerKilowattHour),
            vec!["20:10+60 41500 measured"],
        ),
        (
            r#"{"data":[{"v":[1,"100"],"t":"2026-11-21T20:00:00Z"},{"v":[1,200],"t":"2026-11-21T19:30:00Z"},
                        {"v":[1,null],"t":"2026-11-21T19:00:00Z"},{"v":[2,300],"t":"2026-11-21T20:30:00Z"}]}"#,
            shape("data", "v[-1]", "t", Unit::PoundsPerMegawattHour),
            vec!["19:30+30 90718 measured", "20:00+30 45359 measured", "20:30+30 136078 forecast"],
        ),
        (
            r#"[{"at":1795291200,"t_mwh":0.2},{"at":1795287600000,"t_mwh":1e-1}]"#,
            shape("", "", "", Unit::TonnesPerMegawattHour),
            vec!["19:00+60 100000 measured", "20:00+60 200000 measured"],
        ),
    ] {
        let shape = if shape.value.is_some() {
            shape
        } else {
            let path = |text: &str| Some(Path::new(text).unwrap());
            Shape { list: path(""), value: path("/t_mwh"), time: path("/at"), ..shape }
        };
        let found = read(written(&folder, "f.json", text), shape, "FR").unwrap();
        assert_eq!(found[1..], expected);
    }
}

#[test]
fn json_that_is_elsewhere_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (text, list, value, time, part) in [
        ("{\"a\":1}", "", "b", "", "nothing at \"b\""),
        ("{\"a\":1}", "a", "b", "", "nothing at \"a\""),
        ("{\"a\":null}", "", "a", "", "nothing at \"a\""),
        ("{\"a\":1}", "", "a", "t", "nothing at \"t\""),
        ("{\"a\":1,\"t\":\"noon\"}", "", "a", "t", "nothing at \"t\""),
        ("{\"a\":[]}", "a", "b", "", "without a figure"),
        ("{\"a\":true}", "", "a", "", "is no number"),
        ("{\"a\":-2}", "", "a", "", "is negative"),
        ("{\"a\":1", "", "a", "", "no JSON"),
        ("<html>", "", "a", "", "no JSON"),
        ("{\"error\":\"x\",\"a\":1}", "", "a", "", "an error in status 200"),
    ] {
        let shape = shape(list, value, time, Unit::GramsPerKilowattHour);
        let refusal = read(written(&folder, "f.json", text), shape, "FR").unwrap_err();
        assert!(refusal.message.contains(part), "{text}: {refusal}");
    }
}

#[test]
fn a_server_gets_the_headers_and_its_whole_url_and_new_keys_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Does::Says("{\"g\":56}".into()));
    let headers = vec![("x-api-key".to_owned(), key_in(&folder))];
    let shape = shape("", "g", "", Unit::GramsPerKilowattHour);
    let wish = wish(Kind::HttpJson { shape, headers }, Some(format!("{}/now?for=us", server.url)));
    let heard = rounds(&wish, "site", &[ask(0)], &|| client(provider::BOUNDS.answer)).remove(0);
    let series = heard.unwrap();
    assert_eq!(lines(&series), ["average direct consumption", "20:10+60 56000 measured"]);
    assert_eq!((&*series[0].source, &*series[0].zone), ("http_json", "site"));
    let _ = written(&folder, "key", "another");
    let _ = rounds(&wish, "site", &[ask(0)], &|| client(provider::BOUNDS.answer));
    let asked = server.asked();
    assert_eq!((asked[0].path.as_str(), asked[0].query.as_str()), ("/now", "for=us"));
    assert_eq!(asked[0].header("x-api-key"), Some(KEY));
    assert_eq!(asked[1].header("x-api-key"), Some("another"));
}

#[test]
fn a_pipe_in_the_place_of_a_file_or_a_key_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refusal = read(pipe.clone(), csv(), "FR").unwrap_err();
    assert!(refusal.fault == Fault::Malformed && refusal.message.contains("not a regular file"), "{refusal}");
    let server = Server::start(|_| Does::Says("{}".into()));
    for kind in [
        Kind::ElectricityMaps(Key::File(pipe.clone())),
        Kind::Eia(Key::File(pipe.clone())),
        Kind::Entsoe(Key::File(pipe.clone())),
        Kind::WattTime {
            user: "us".into(),
            password: Key::File(pipe.clone()),
            signals: vec![Signal::Average],
        },
        Kind::Jouleprint(Door { user: Some(("us".into(), Key::File(pipe.clone()))), ..Door::default() }),
    ] {
        let mut wish = wish(kind, Some(server.url.clone()));
        wish.zone = Some("CISO".into());
        let refusal =
            rounds(&wish, "FR", &[ask(0)], &|| client(provider::BOUNDS.answer)).remove(0).unwrap_err();
        assert!(
            refusal.fault == Fault::Missing && refusal.message.contains("not a regular file"),
            "{refusal}"
        );
    }
    assert!(server.asked().is_empty(), "nobody is asked without the key");
}
