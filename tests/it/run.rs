//! `jouleprint run` as a program: what passes through, what is told of it, and where that is kept.

use jouleprint::model::grid::Step;
use jouleprint::model::identity::{HwType, Origin};
use jouleprint::model::quantity::{Intensity, MicroWatts, Pue};
use jouleprint::model::reading::{Domain, Factor, Measurement, Place};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// The program with a folder of its own for everything it keeps, and no exporter to ask.
fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    for name in ["JOULEPRINT_PROJECT", "JOULEPRINT_EXPERIMENT", "JOULEPRINT_ZONE", "JOULEPRINT_CONFIG_FILE"] {
        command.env_remove(name);
    }
    command.env("JOULEPRINT_RUNS_PATH", home.join("runs"));
    command.env("JOULEPRINT_JOB_SOCKET", home.join("nobody.sock"));
    command
}

fn run(home: &Path, words: &[&str]) -> Output {
    program(home).arg("run").args(words).output().expect("the program runs")
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_command_ends_as_it_would_without_us() {
    let home = tempfile::tempdir().expect("a folder");
    for (words, code, signal) in [
        (&["true"][..], Some(0), None),
        (&["false"], Some(1), None),
        (&["sh", "-c", "exit 42"], Some(42), None),
        (&["sh", "-c", "exit 137"], Some(137), None),
        (&["sh", "-c", "kill -9 $$"], None, Some(9)),
        (&["sh", "-c", "kill -TERM $$"], None, Some(15)),
        (&["sh", "-c", "kill -INT $$"], None, Some(2)),
        (&["no-such-command-anywhere"], Some(127), None),
        (&["/etc/passwd"], Some(126), None),
        (&["--label", "novalue", "true"], Some(125), None),
        (&["--zone", "Nowhere", "true"], Some(125), None),
    ] {
        let output = run(home.path(), words);
        assert_eq!(
            (output.status.code(), output.status.signal()),
            (code, signal),
            "{words:?}: {}",
            said(&output)
        );
        assert_eq!(output.stdout, b"", "{words:?}");
        let is_ours = matches!(code, Some(125..=127));
        if is_ours {
            assert_eq!(said(&output).lines().count(), 1, "{words:?}: {}", said(&output));
        }
        // What a shell says of it.
        let shell = Command::new("sh")
            .args(["-c", "\"$@\" >/dev/null 2>&1; echo $?", "sh", env!("CARGO_BIN_EXE_jouleprint"), "run"])
            .args(["--runs.path", "none"])
            .args(words)
            .output();
        let shown = String::from_utf8_lossy(&shell.expect("a shell").stdout).trim().to_owned();
        let expected = code.or(signal.map(|signal| 128 + signal)).expect("one of both");
        assert_eq!(shown, expected.to_string(), "{words:?}");
    }
}

#[test]
fn streams_arguments_and_the_environment_pass_through_to_the_byte() {
    let home = tempfile::tempdir().expect("a folder");
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
    let mut child = program(home.path())
        .args(["run", "-q", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let written = std::thread::spawn({
        let bytes = bytes.clone();
        move || stdin.write_all(&bytes)
    });
    let output = child.wait_with_output().expect("it ends");
    written.join().expect("a writer").expect("written");
    assert!(output.stdout == bytes && output.stderr.is_empty(), "{}", said(&output));

    let odd = OsStr::from_bytes(b"a\xff \"b\n--json");
    let output = program(home.path())
        .args(["run", "-q", "--project", "p", "--label", "k=v", "--"])
        .args([
            "sh",
            "-c",
            "printf %s \"$1\"; printf '|%s|%s|%s' \"$JOULEPRINT_PROJECT\" \"$JOULEPRINT_LABELS\" \"$OWN\"",
        ])
        .arg("sh")
        .arg(odd)
        .env("OWN", "mine")
        .output()
        .expect("it runs");
    assert_eq!(output.stdout, [odd.as_bytes(), b"|p|{\"k\":\"v\"}|mine"].concat());
    let output = run(home.path(), &["-q", "sh", "-c", "echo $JOULEPRINT_RUN_ID"]);
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(id.len() > 17 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{id}");

    // A signal that is ignored stays so, and none of ours is left over.
    let masks = "grep -E '^Sig(Blk|Ign):' /proc/self/status";
    let direct = |with: &str| {
        let script = format!("trap '' HUP; {with} {masks}");
        let output = program(home.path());
        let mut shell = Command::new("sh");
        shell.envs(output.get_envs().filter_map(|(name, value)| Some((name, value?))));
        String::from_utf8(shell.args(["-c", &script]).output().expect("a shell").stdout).expect("text")
    };
    assert_eq!(direct(""), direct(&format!("{} run -q --", env!("CARGO_BIN_EXE_jouleprint"))));
}

#[test]
fn json_tells_what_there_is_to_tell_and_its_parts_add_up() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("out.json");
    let path = file.display().to_string();
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 5";
    let words = ["--zone", "FR", "--pue", "1.5", "--json", &path, "--experiment", "e1", "sh", "-c", script];
    let output = run(home.path(), &words);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        said(&output).starts_with("jouleprint: ") && said(&output).contains("g/kWh (FR"),
        "{}",
        said(&output)
    );
    let text = std::fs::read_to_string(&file).expect("written");
    let found: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&found["exit_code"], &found["signal"]), (&json!(5), &Value::Null));
    assert_eq!(found["command"], json!(["sh", "-c", script]));
    assert_eq!((&found["experiment"], &found["project"]), (&json!("e1"), &Value::Null));
    assert_eq!(found["intensity"]["zone"], "FR");
    assert_eq!(found["pue"], json!(1.5));
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {text}"));
    let parts = found["energy"].as_array().expect("parts");
    let sum = |field: &str| parts.iter().map(|part| number(&part[field])).sum::<f64>();
    assert!((sum("joules") - number(&found["energy_joules"])).abs() < 1e-9, "{text}");
    assert!((sum("emissions_grams") - number(&found["emissions_grams"])).abs() < 1e-12, "{text}");
    let grams = number(&found["energy_joules"]) / 3.6e6 * 44.18 * 1.5;
    assert!((grams - number(&found["emissions_grams"])).abs() < 1e-8, "{text}");
    assert!((number(&found["energy_kilowatt_hours"]) * 3.6e6 - number(&found["energy_joules"])).abs() < 1e-5);
    assert!(number(&found["cpu_seconds"]) > 0.01 && number(&found["duration_seconds"]) > 0.01, "{text}");
    assert!(number(&found["machine"]["energy_joules"]) >= number(&found["energy_joules"]), "{text}");
    assert!(["cgroup", "process_tree"].contains(&found["method"].as_str().expect("text")));
    assert!(!found["notes"].to_string().contains("no grid zone"), "{text}");
    let like = found["equivalents"].as_array().expect("all rows");
    let tv = like.iter().find(|row| row["id"] == "tv_hour").expect("a row");
    let hours = number(&found["energy_kilowatt_hours"]) * 10.0;
    assert!(
        like.len() == 9 && (number(&tv["amount"]) - hours).abs() < 1e-6 && tv["compares"] == "energy",
        "{tv}"
    );
    // Nothing half written is left beside it, and what cannot be written is told whole.
    assert_eq!(std::fs::read_dir(home.path()).expect("there").count(), 2, "the file and the store");
    let output = run(home.path(), &["-q", "--json", "/nowhere/out.json", "--no-command", "true"]);
    assert!(output.status.success() && said(&output).contains("\"command\": null"), "{}", said(&output));
    let output = run(home.path(), &["--no-equivalents", "--json", "-", "true"]);
    assert!(json_of(&output).get("equivalents").is_none() && !said(&output).contains("as much as"));
}

#[test]
fn labels_of_any_bytes_are_bounded_and_escaped_everywhere() {
    let home = tempfile::tempdir().expect("a folder");
    let csv = home.path().join("runs.csv");
    let long = [b"long=".to_vec(), "ä".repeat(5_000).into_bytes()].concat();
    let labels: [&[u8]; 4] = [b"quote=say \"hi\", 'you'", b"line=a\nb\r\x1b[31m", &long, b"raw=\xff\xc3"];
    let mut command = program(home.path());
    command.args(["run", "--json", "-", "--csv"]).arg(&csv).args(["--project", "p,\"1\"\n"]);
    for label in labels {
        command.arg("--label").arg(OsStr::from_bytes(label));
    }
    let output = command.arg("true").output().expect("it runs");
    let found = json_of(&output);
    assert!(found["notes"].to_string().contains("no grid zone is set"), "{found}");
    assert_eq!(found["labels"]["quote"], "say \"hi\", 'you'");
    assert_eq!(found["labels"]["line"], "a\nb\r\u{1b}[31m");
    assert_eq!(found["labels"]["raw"], "\u{fffd}\u{fffd}");
    assert_eq!(found["labels"]["long"].as_str().map(str::len), Some(200));
    assert!(!said(&output).contains('\u{1b}'), "{}", said(&output));
    let mut rows = csv::Reader::from_path(&csv).expect("a file");
    let headers = rows.headers().expect("a header").clone();
    let row = rows.records().next().expect("a row").expect("whole");
    let cell = |name: &str| row[headers.iter().position(|head| head == name).expect(name)].to_owned();
    assert_eq!(cell("project"), "p,\"1\"\n");
    assert_eq!(serde_json::from_str::<Value>(&cell("labels")).expect("JSON"), found["labels"]);
    let report = |words: &[&str]| {
        let output = program(home.path()).args(words).output().expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let rows = report(&["report", "--by", "project,label:line", "--format", "json"]);
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!(rows["rows"][0]["project"], "p,\"1\"\n");
    assert_eq!(rows["rows"][0]["label:line"], "a\nb\r\u{1b}[31m");
    let table = report(&["jobs", "--runs"]);
    assert!(table.contains("true") && !table.contains('\u{1b}'), "{table}");
}

#[test]
fn a_csv_file_of_somebody_else_stays_as_it_is_and_the_row_is_told() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("other.csv");
    std::fs::write(&path, "a,b\n1,2\n").expect("written");
    let output = run(home.path(), &["-q", "--csv", &path.display().to_string(), "true"]);
    assert!(output.status.success());
    assert!(said(&output).contains("header") && said(&output).contains(",true,0,"), "{}", said(&output));
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "a,b\n1,2\n");
    let output = run(home.path(), &["-q", "--csv", "-", "echo", "first"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("first\nid,started,") && text.lines().count() == 3, "{text}");
}

#[test]
fn runs_at_the_same_time_are_all_kept_and_summed_up_by_project() {
    let home = tempfile::tempdir().expect("a folder");
    let csv = home.path().join("runs.csv").display().to_string();
    let start = |at: usize| {
        let project = if at.is_multiple_of(2) { "even" } else { "odd" };
        program(home.path())
            .args(["run", "-q", "--csv", &csv, "--project", project, "--label", &format!("at={at}"), "true"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("started")
    };
    for child in (0..8).map(start).collect::<Vec<_>>() {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    }
    assert_eq!(csv::Reader::from_path(&csv).expect("a file").records().flatten().count(), 8);
    let ask = |words: &[&str]| {
        let output = program(home.path()).args(words).output().expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let found: Value =
        serde_json::from_str(&ask(&["report", "--by", "project", "--format", "json"])).expect("JSON");
    let rows: Vec<(&str, u64)> = found["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["project"].as_str().expect("text"), row["jobs"].as_u64().expect("a number")))
        .collect();
    let mut sorted = rows.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [("even", 4), ("odd", 4)]);
    assert!(found["source"].as_str().is_some_and(|source| source.ends_with("/runs")), "{found}");
    assert_eq!(ask(&["report", "--by", "label:at", "--runs", "--format", "csv"]).lines().count(), 9);
    assert_eq!(ask(&["jobs", "--runs", "--format", "csv"]).lines().count(), 9);
    // Sums by time and by user are those of the same runs.
    assert_eq!(ask(&["report", "--by", "user", "--runs", "--format", "csv"]).lines().count(), 2);
    let output = run(home.path(), &["-q", "--runs.path", "/proc/nowhere", "true"]);
    assert!(output.status.success() && said(&output).contains("this run is not kept"), "{}", said(&output));
}

#[test]
fn a_run_inside_a_run_is_counted_in_both() {
    let home = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_jouleprint");
    let inner = home.path().join("inner.json").display().to_string();
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let words = [
        "-q",
        "--project",
        "outer",
        "--json",
        "-",
        program,
        "run",
        "-q",
        "--json",
        &inner,
        "sh",
        "-c",
        script,
    ];
    let outer = json_of(&run(home.path(), &words));
    let inner: Value = serde_json::from_str(&std::fs::read_to_string(&inner).expect("there")).expect("JSON");
    let cpu = |run: &Value| run["cpu_seconds"].as_f64().expect("a number");
    assert!(cpu(&inner) > 0.01 && cpu(&outer) >= cpu(&inner) * 0.95, "{} in {}", cpu(&inner), cpu(&outer));
    assert_eq!(inner["project"], "outer", "what is not said anew is handed down");
}

/// What an exporter's socket answers, request by request; the requests are kept.
fn exporter(
    socket: &Path,
    answer: impl Fn(usize) -> Option<String> + Send + 'static,
) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut held: Vec<UnixStream> = Vec::new();
        for (at, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            kept.lock().expect("ours").push(String::from_utf8_lossy(&head).into_owned());
            match answer(at) {
                Some(text) => drop(stream.write_all(text.as_bytes())),
                None => held.push(stream),
            }
        }
    });
    asked
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn host(energy: u64) -> String {
    let domain = Domain {
        id: "package-0".into(),
        hw_type: HwType::Cpu,
        origin: Origin::Measured,
        gpu: "".into(),
        source: "rapl".into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::Counter { range: None, ceiling: MicroWatts::from_watts(1_000) },
        floor: None,
        uncertainty_ppm: 0,
    };
    let factor = Factor {
        zone: "DK1".into(),
        intensity: Intensity::parse_grams("100").expect("a figure"),
        pue: Pue::ONE,
        basis: "lifecycle".into(),
        accounting: "".into(),
        quality: "live".into(),
        source: "somebody".into(),
        year: "".into(),
        fallback: Step::Wanted,
    };
    json!({"host": "n1", "domains": [{"domain": domain, "energy": energy}], "factor": factor}).to_string()
}

#[test]
fn who_may_read_no_meter_has_those_of_a_running_exporter_and_its_intensity() {
    let home = tempfile::tempdir().expect("a folder");
    let socket = home.path().join("job.sock");
    let nothing = home.path().join("sys");
    std::fs::create_dir(&nothing).expect("made");
    let asked = exporter(&socket, |at| Some(ok(&host(1_000_000 * (1 + at as u64)))));
    let ask = |words: &[&str]| {
        let mut command = program(home.path());
        command.env("JOULEPRINT_JOB_SOCKET", &socket).args(["run", "-q", "--json", "-", "--path.sysfs"]);
        json_of(&command.arg(&nothing).args(words).output().expect("it runs"))
    };
    let found = ask(&["sh", "-c", "sleep 0.05"]);
    let energy = found["energy_measured_joules"].as_f64();
    assert!(
        energy.is_some_and(|energy| energy <= 2.0) && found["energy_estimated_joules"].is_null(),
        "{found}"
    );
    assert!(found["machine"]["energy_joules"].as_f64().is_some_and(|energy| energy >= 1.0), "{found}");
    assert_eq!(
        (&found["intensity"]["zone"], &found["intensity"]["quality"]),
        (&json!("DK1"), &json!("live"))
    );
    assert_eq!(found["intensity"]["grams_per_kilowatt_hour"], json!(100));
    let heads = asked.lock().expect("ours").join("");
    assert!(heads.contains("GET /api/v1/host?fresh=1 HTTP/1.1"), "{heads}");
    let found = ask(&["--zone", "FR", "true"]);
    assert_eq!(found["intensity"]["zone"], "FR", "what the user says comes first");
    assert!(found["energy_measured_joules"].is_number(), "{found}");
}

#[test]
fn a_meter_around_others_is_not_added_to_them_when_it_is_lent() {
    let home = tempfile::tempdir().expect("a folder");
    let socket = home.path().join("job.sock");
    let _asked = exporter(&socket, |at| {
        let at = at as u64;
        let mut found: Value = serde_json::from_str(&host(1_000_000 * (1 + at))).expect("ours");
        let mut node = found["domains"][0].clone();
        node["domain"]["id"] = json!("node");
        node["domain"]["hw_type"] = json!("other");
        node["domain"]["place"] = json!({"around": ["package-0"]});
        node["energy"] = json!(3_000_000 * (1 + at));
        found["domains"].as_array_mut().expect("domains").push(node);
        Some(ok(&found.to_string()))
    });
    let output = program(home.path())
        .env("JOULEPRINT_JOB_SOCKET", &socket)
        .args(["run", "-q", "--json", "-", "--path.sysfs"])
        .arg(home.path())
        .args(["sleep", "0.05"])
        .output()
        .expect("it runs");
    let found = json_of(&output);
    assert_eq!(found["machine"]["energy_joules"], json!(3), "{found:#}");
    let parts = found["energy"].as_array().expect("parts").iter();
    let of = |part: &Value| (part["hw_type"].to_string(), part["machine_joules"].to_string());
    assert_eq!(
        parts.map(of).collect::<Vec<_>>(),
        [("\"cpu\"".to_owned(), "1".to_owned()), ("\"other\"".to_owned(), "2".to_owned())]
    );
}

/// The exporter may run where an accelerator's driver is not; who runs the command is asked then.
#[test]
fn an_accelerator_that_the_exporter_lacks_is_measured_beside_what_it_lends() {
    let home = tempfile::tempdir().expect("a folder");
    let device = home.path().join("sys/devices/0000:05:00.0");
    for folder in ["drm/card0", "hwmon/hwmon9"] {
        std::fs::create_dir_all(device.join(folder)).expect("made");
    }
    for (file, text) in [
        ("vendor", "0x1002\n"),
        ("device", "0x738c\n"),
        ("hwmon/hwmon9/name", "amdgpu\n"),
        ("hwmon/hwmon9/power1_average", "100000000\n"),
    ] {
        std::fs::write(device.join(file), text).expect("written");
    }
    let class = home.path().join("sys/class/drm/card0");
    std::fs::create_dir_all(&class).expect("made");
    std::os::unix::fs::symlink(&device, class.join("device")).expect("linked");
    for (lends, kinds) in [("", &["cpu", "gpu"][..]), ("gpu", &["cpu", "gpu"]), ("node", &["cpu", "other"])] {
        let socket = home.path().join(format!("{lends}.sock"));
        let _asked = exporter(&socket, move |at| {
            let mut found: Value = serde_json::from_str(&host(1_000_000 * (1 + at as u64))).expect("ours");
            let mut other = found["domains"][0].clone();
            match lends {
                "gpu" => {
                    other["domain"]["id"] = json!("pci-0000:05:00.0");
                    other["domain"]["gpu"] = json!("pci-0000:05:00.0");
                    other["domain"]["hw_type"] = json!("gpu");
                }
                "node" => {
                    other["domain"]["id"] = json!("node");
                    other["domain"]["hw_type"] = json!("other");
                    other["domain"]["place"] = json!({"around": ["package-0"]});
                    other["energy"] = json!(3_000_000 * (1 + at as u64));
                }
                _ => return Some(ok(&found.to_string())),
            }
            found["domains"].as_array_mut().expect("domains").push(other);
            Some(ok(&found.to_string()))
        });
        let output = program(home.path())
            .env("JOULEPRINT_JOB_SOCKET", &socket)
            .args(["run", "-q", "--json", "-", "--path.sysfs"])
            .arg(home.path().join("sys"))
            .args(["sleep", "0.3"])
            .output()
            .expect("it runs");
        let found = json_of(&output);
        let parts = found["energy"].as_array().expect("parts").iter();
        let of = |part: &Value| part["hw_type"].as_str().map(str::to_owned);
        assert_eq!(parts.filter_map(of).collect::<Vec<_>>(), kinds, "{lends}: {found:#}");
        let drawn = |part: &&Value| part["hw_type"] == "gpu";
        let gpu = found["energy"].as_array().and_then(|parts| parts.iter().find(drawn));
        let joules = gpu.and_then(|part| part["machine_joules"].as_f64());
        match lends {
            "" => assert!(joules.is_some_and(|joules| joules > 10.0), "100 W for 0.3 s: {found:#}"),
            "gpu" => assert_eq!(joules, Some(1.0), "the exporter's own: {found:#}"),
            _ => assert_eq!(joules, None, "it may be inside the node's: {found:#}"),
        }
    }
}

#[test]
fn an_exporter_that_answers_badly_or_never_costs_nothing_but_itself() {
    type Answer = fn(usize) -> Option<String>;
    let answers: [Answer; 5] = [
        |_| None,
        |_| Some("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()),
        |_| Some(ok("{\"domains\": 7}")),
        |_| Some("\u{0}garbage".to_owned()),
        // It goes away after its first answer.
        |at| (at == 0).then(|| ok(&host(5))),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let home = tempfile::tempdir().expect("a folder");
        let socket = home.path().join("job.sock");
        let _asked = exporter(&socket, answer);
        let output = program(home.path())
            .env("JOULEPRINT_JOB_SOCKET", &socket)
            .args(["run", "-q", "--json", "-", "--path.sysfs"])
            .arg(home.path())
            .args(["sh", "-c", "exit 3"])
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(3), "{number}: {}", said(&output));
        let found = json_of(&output);
        let is_ours = found["energy_estimated_joules"].is_number();
        assert!(is_ours || found["notes"].to_string().contains("is gone"), "{number}: {found}");
        assert_eq!(said(&output), "", "{number}");
    }
}

#[test]
fn a_limit_that_is_crossed_before_the_first_look_is_told_at_the_end() {
    let home = tempfile::tempdir().expect("a folder");
    let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3";
    let words = ["--zone", "DE", "-q", "--max-energy", "0.000001J", "--stop", "--", "sh", "-c", work];
    let output = run(home.path(), &words);
    assert_eq!(output.status.code(), Some(3), "it has ended by itself: {}", said(&output));
    assert_eq!(said(&output).matches("has exceeded its limit").count(), 1, "{}", said(&output));
    let words = ["--zone", "DE", "-q", "--max-energy", "1GJ", "--stop", "--", "sh", "-c", work];
    assert_eq!(said(&run(home.path(), &words)), "");
}

#[test]
fn a_command_may_ask_for_itself_at_once() {
    let home = tempfile::tempdir().expect("a folder");
    let own = env!("CARGO_BIN_EXE_jouleprint");
    let output = run(home.path(), &["--zone", "DE", "-q", "--", own, "job", "show", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(json_of(&output)["job_kind"], "run");
}

#[test]
fn a_mark_around_a_command_that_cannot_be_started_ends_as_a_shell_would() {
    let home = tempfile::tempdir().expect("a folder");
    for (command, code) in [("no-such-command-anywhere", 127), ("/etc/passwd", 126), ("true", 0)] {
        let output =
            program(home.path()).args(["job", "mark", "x", "--", command]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{command}: {}", said(&output));
        assert!(said(&output).contains("x is not told apart"), "{}", said(&output));
    }
}
