//! `regions` and `when` as they are typed: offline, with one line and a code of its own for what has no answer.

use serde_json::Value;
use std::net::TcpListener;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOULEPRINT_")) {
        command.env_remove(name);
    }
    // A machine without firmware stands in no cloud; and a proxy that is there must not be asked.
    command.env("JOULEPRINT_STORE_PATH", "none").env("JOULEPRINT_PATH_SYSFS", "/nowhere");
    command.env("http_proxy", "http://127.0.0.1:9").env_remove("NODE_REGION").env_remove("NODE_ZONE");
    command.args(arguments).output().expect("the program runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The complaint, which is one line, and the code.
fn refused(arguments: &[&str]) -> (String, Option<i32>) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<&str> = said.lines().filter(|line| line.starts_with("jouleprint: ")).collect();
    assert_eq!((complaints.len(), output.stdout.len()), (1, 0), "{arguments:?}: {said}");
    (complaints[0].to_owned(), output.status.code())
}

#[test]
fn regions_are_sorted_by_what_the_energy_emits_there() {
    let told = text(&run(&[
        "regions",
        "--from",
        "aws/eu-central-1",
        "--to",
        "aws/eu-west-3,aws/eu-north-1,PL",
        "--energy",
        "100",
    ]));
    let regions: Vec<&str> =
        told.lines().filter_map(|line| line.split("  ").next()).skip(3).take(4).collect();
    assert_eq!(regions, ["aws eu-central-1", "aws eu-north-1", "aws eu-west-3", "PL"], "{told}");
    assert!(told.contains("proposed: aws eu-north-1 (Stockholm), saves 91.2 %, the same law"), "{told}");
    assert!(
        told.contains("moving data costs energy too") && told.starts_with("100 kWh, lifecycle"),
        "{told}"
    );
    let all = text(&run(&["regions", "--zone", "DE", "--provider", "aws", "--json"]));
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let rows = all["regions"].as_array().expect("rows");
    assert_eq!((rows.len(), all["basis"].as_str()), (39, Some("lifecycle")));
    let grams: Vec<f64> = rows.iter().map(|row| row["emissions_grams"].as_f64().expect("grams")).collect();
    assert!(grams.is_sorted(), "{grams:?}");
    for row in rows {
        assert!(row["proxy"].is_null() || row["proposed"] == false, "{row}");
        assert!(
            row["saving_ratio"].as_f64().is_some_and(|ratio| ratio >= 0.3) || row["proposed"] == false,
            "{row}"
        );
    }
    let paris = rows.iter().find(|row| row["region"] == "eu-west-3").expect("Paris");
    assert_eq!(paris["grams_per_kilowatt_hour"].to_string(), "44.18");
    assert_eq!(paris["saving_grams"].to_string(), "299.96");
    assert_eq!((&paris["distance_kilometres"], &paris["pue"]), (&Value::Null, &Value::Null));
    assert_eq!((paris["jurisdiction"].as_str(), paris["proposed"].as_bool()), (Some("EU"), Some(true)));
}

#[test]
fn bases_are_not_mixed_and_what_can_be_compared_is_named() {
    let (said, code) = refused(&["regions", "--zone", "US-CAMX", "--to", "FR,CA-QC"]);
    assert_eq!(code, Some(2));
    for part in ["US-CAMX has direct", "FR has lifecycle", "--basis lifecycle"] {
        assert!(said.contains(part), "{said}");
    }
    let (said, _) = refused(&["regions", "--zone", "FR", "--to", "GB,US-CAMX", "--basis", "direct"]);
    assert!(said.contains("FR has lifecycle") && said.contains("--basis lifecycle"), "{said}");
    let told = text(&run(&["regions", "--zone", "US-CAMX", "--to", "CA-QC,GB"]));
    assert!(told.starts_with("1 kWh, direct figures") && told.contains("proposed: CA-QC"), "{told}");
    let told = text(&run(&["regions", "--zone", "US-CAMX", "--to", "FR", "--basis", "lifecycle"]));
    assert!(told.contains("figure of US") && told.contains("nothing is proposed"), "{told}");
}

#[test]
fn what_is_unknown_is_one_line_with_the_way_out() {
    for (arguments, parts) in [
        (&["regions"][..], &["--from REGION or --zone ZONE"][..]),
        (&["regions", "--from", "eu-west-33"], &["\"eu-west-33\"", "did you mean aws/eu-west-3?"]),
        (&["regions", "--from", "us-east-1"], &["alibaba_cloud, aws have one each", "aws/eu-west-3"]),
        (
            &["regions", "--from", "eu-west-3", "--provider", "nimbus"],
            &["\"nimbus\" is none of alibaba_cloud, aws"],
        ),
        (&["regions", "--zone", "FR", "--to", "Germny"], &["Germny"]),
        (&["when", "--hours", "5", "--within", "4"], &["--hours is longer than --within"]),
        (
            &["when", "--hours", "1", "--forecast", "/nowhere"],
            &["reading /nowhere", "--forecast names a file"],
        ),
        (&["when", "--hours", "1", "--forecast", "Cargo.toml"], &["Cargo.toml", "as a relay gives it"]),
    ] {
        let (said, code) = refused(arguments);
        assert_eq!(code, Some(2), "{said}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?} gives {said:?}, which lacks {part:?}");
        }
    }
    for wrong in
        [&["regions", "--energy", "NaN"][..], &["regions", "--energy", "-1"], &["when", "--hours", "0"]]
    {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn nobody_knows_the_hours_ahead_has_a_code_of_its_own() {
    let (said, code) = refused(&["when", "--zone", "FR", "--hours", "4"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no forecast") && said.contains("--forecast FILE"), "{said}");
}

/// Hours from the one that runs, as a relay's page; times in ns since 1970.
fn forecast(grams: &[u32]) -> String {
    let now = jouleprint::clock::now().wall.get();
    let hour = 3_600_000_000_000;
    let first = now / hour * hour;
    let samples = (0_u64..).zip(grams).map(|(at, grams)| {
        let start = first + at * hour;
        serde_json::json!({
            "start": start, "end": start + hour, "intensity": grams * 1_000, "quality": "forecast", "fetched": now,
        })
    });
    let samples: Vec<Value> = samples.collect();
    let series = serde_json::json!({
        "source": "made_up", "zone": "FR", "signal": "average", "basis": "lifecycle",
        "accounting": "consumption", "samples": samples,
    });
    serde_json::json!({ "zone": "FR", "series": [series] }).to_string()
}

#[test]
fn the_cleanest_window_is_advised_from_a_file_and_from_a_relay() {
    let page = forecast(&[300, 300, 300, 50, 50, 300, 300]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("forecast.json");
    std::fs::write(&path, &page).expect("written");
    let path = path.display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = [0; 4_096];
        let read = stream.read(&mut head).unwrap_or(0);
        let is_right = head[..read].starts_with(b"GET /api/v1/intensity?zone=FR HTTP/1.1\r\n");
        let body = if is_right { page } else { String::new() };
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes());
    });
    for place in [&path, &url] {
        let asked = [
            "when",
            "--zone",
            "FR",
            "--hours",
            "2",
            "--within",
            "6",
            "--kwh",
            "10",
            "--json",
            "--forecast",
            place,
        ];
        let told: Value = serde_json::from_str(&text(&run(&asked))).expect("JSON");
        assert_eq!(told["best"]["grams_per_kilowatt_hour"].to_string(), "50", "{told}");
        assert_eq!(told["best"]["emissions_grams"].to_string(), "500", "{told}");
        assert!(told["best"]["start"].as_str().is_some_and(|start| start.ends_with(":00:00Z")), "{told}");
        assert_eq!(told["saving_ratio"].to_string(), "0.833333", "{told}");
    }
    let told = text(&run(&["when", "--hours", "2", "--within", "6", "--forecast", &path]));
    assert!(told.contains("sbatch --begin=now+") && told.contains("TZ=UTC at -t 2"), "{told}");
    let (said, code) = refused(&["when", "--hours", "9", "--forecast", &path]);
    assert!(code == Some(3) && said.contains("made_up ends at"), "{said}");
}

#[test]
fn a_configured_provider_that_looks_ahead_is_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let now = jouleprint::clock::now().wall.get();
    let line = |hour: u64, grams: u32| {
        let start = (now / 3_600_000_000_000 + hour) * 3_600_000_000_000;
        let start = jiff::Timestamp::from_nanosecond(i128::from(start)).expect("a time");
        format!("{start},FR,{grams},1\n")
    };
    let figures = (0..8).map(|hour| line(hour, if hour == 3 { 20 } else { 200 }));
    let table = folder.path().join("site.csv");
    let text: String =
        ["timestamp,zone,gco2e_per_kwh,forecast\n".to_owned()].into_iter().chain(figures).collect();
    std::fs::write(&table, text).expect("written");
    let config = folder.path().join("jouleprint.yaml");
    let text = format!(
        "zone: FR\ngrid: {{providers: [{{name: file, path: {}, basis: direct}}]}}\n",
        table.display()
    );
    std::fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    let asked = ["--config.file", &config, "when", "--hours", "1", "--within", "6", "--json"];
    let told: Value = serde_json::from_str(&text_of(&asked)).expect("JSON");
    assert_eq!(told["best"]["grams_per_kilowatt_hour"].to_string(), "20", "{told}");
    assert_eq!((told["source"].as_str(), told["basis"].as_str()), (Some("file"), Some("direct")), "{told}");
    assert_eq!(told["saving_ratio"].to_string(), "0.9", "{told}");
    // One that covers another place only says so.
    std::fs::write(folder.path().join("jouleprint.yaml"), "zone: DE\ngrid: {providers: [{name: rte}]}\n")
        .expect("written");
    let (said, code) = refused(&["--config.file", &config, "when", "--hours", "1"]);
    assert!(code == Some(3) && said.contains("rte"), "{said}");
}

fn text_of(arguments: &[&str]) -> String {
    text(&run(arguments))
}

#[test]
fn the_first_provider_that_knows_the_whole_window_advises() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let now = jouleprint::clock::now().wall.get() / 1_000_000_000;
    let table = |name: &str, hours: u64, grams: u64| {
        let first = now / 3_600 * 3_600;
        let line = |hour: u64| {
            let start = jiff::Timestamp::from_second(i64::try_from(first + hour * 3_600).expect("small"));
            format!("{},FR,{grams},1\n", start.expect("a time"))
        };
        let lines: String = (0..hours).map(line).collect();
        let path = folder.path().join(name);
        std::fs::write(&path, format!("timestamp,zone,gco2e_per_kwh,forecast\n{lines}")).expect("written");
        path.display().to_string()
    };
    let (short, long) = (table("short.csv", 2, 10), table("long.csv", 30, 50));
    let config = folder.path().join("config.yaml");
    let provider =
        |path: &str, what: &str| format!("{{name: file, path: '{path}', basis: direct, accounting: {what}}}");
    let (short, long) = (provider(&short, "consumption"), provider(&long, "production"));
    let text = format!("zone: FR\ngrid: {{providers: [{short}, {long}]}}\n");
    std::fs::write(&config, text).expect("written");
    let config = config.display().to_string();
    for (hours, grams) in [("1", "10"), ("6", "50")] {
        let told = text_of_when(&config, hours);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["best"]["grams_per_kilowatt_hour"].to_string(), grams, "{told}");
    }
}

fn text_of_when(config: &str, hours: &str) -> String {
    text(&run(&["when", "--config.file", config, "--hours", hours, "--json"]))
}
