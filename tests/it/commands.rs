//! The commands as they are typed: what is wrong is one clear line with the way out, and exit code 2.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    // What the machine's own environment says must not matter.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOULEPRINT_")) {
        command.env_remove(name);
    }
    // Nor may a test write into the machine's own store.
    command.env("JOULEPRINT_STORE_PATH", "none");
    command.args(arguments).output().expect("the program runs")
}

#[test]
fn what_is_wrong_is_one_line_that_names_it_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let unknown = file("unknown.yaml", "zone: FR\nzoen: DE\n");
    let negative = file("negative.yaml", "pue: -1.2\n");
    let wrong_type = file("type.yaml", "idle: {floor_watts: 12}\n");
    let no_zone = file("zone.yaml", "zone: Frnce\n");
    let users = file("web.yaml", "basic_auth_users: {me: secret}\n");
    let other_version = file(
        "other.jsonl",
        "{\"jouleprint_recording\":9,\"machine\":{\"host\":\"h\",\"domains\":[]},\
         \"accounting\":{\"idle\":\"separate\",\"retention\":1,\"max_jobs\":1},\"interval\":5}\n",
    );
    let empty = file("empty.jsonl", "");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let unreachable = format!("http://me:secret@{}", nobody.expect("an address"));
    for (arguments, parts) in [
        (vec!["--config.file", &unknown], vec!["unknown field `zoen`", "expected one of", "line 2"]),
        (vec!["--config.file", &negative], vec!["\"-1.2\"", "between 1 and 10", "line 1"]),
        (vec!["--config.file", &wrong_type], vec!["line 1"]),
        (vec!["--config.file", &no_zone], vec!["did you mean FR (France)?", "line 1"]),
        (vec!["--config.file", "/nowhere.yaml"], vec!["/nowhere.yaml", "--config.file"]),
        (vec!["--zone", "Germny"], vec!["--zone", "did you mean DE (Germany)?"]),
        (vec!["--pue", "0.9"], vec!["--pue", "too small"]),
        (vec!["--path.procfs", "/nowhere"], vec!["/nowhere/stat", "--path.procfs"]),
        (vec!["--web.listen-address", &taken], vec![&taken, "another program has it"]),
        (vec!["--web.listen-address", "14401"], vec!["--web.listen-address", "127.0.0.1:14401"]),
        (vec!["--web.config.file", &users], vec!["no bcrypt hash", "htpasswd"]),
        (vec!["--web.telemetry-path", "x"], vec!["--web.telemetry-path", "must begin with /"]),
        (vec!["--log.level", "loud"], vec!["--log.level", "info"]),
        (vec!["--log.format", "xml"], vec!["--log.format", "json"]),
        (vec!["check", "--config.file", &unknown], vec!["unknown field `zoen`"]),
        (vec!["replay", &empty], vec!["the file is empty"]),
        (vec!["replay", &other_version], vec!["format 9", "reads 1"]),
        (vec!["replay", "/nowhere.jsonl"], vec!["/nowhere.jsonl"]),
        (
            vec!["top", "--job.socket", "/nowhere.sock"],
            vec!["no exporter answers on /nowhere.sock", "start `jouleprint`", "--job.socket"],
        ),
        (vec!["report", "--since", "soon"], vec!["--since \"soon\"", "2026-11-17", "UTC"]),
        (vec!["report", "--since", "today", "--until", "yesterday"], vec!["is not before --until"]),
        (vec!["report", "--by", "job,day"], vec!["--by job,day", "one record", "job goes with"]),
        (vec!["report", "--by", "user,kind"], vec!["--by job,user,kind"]),
        (vec!["report", "--user", "no such user"], vec!["\"no such user\"", "give the number"]),
        (vec!["report", "--store", "/nowhere"], vec!["no store at /nowhere", "--store"]),
        (vec!["jobs", "--store", "/nowhere"], vec!["no store at /nowhere"]),
        (vec!["jobs", "--group", "team"], vec!["--group does not go with jobs"]),
        (vec!["report", "--prometheus", "localhost:9090"], vec!["write http://host:9090"]),
        (vec!["report", "--by", "user", "--prometheus", "http://127.0.0.1:9"], vec!["--store"]),
        (vec!["jobs", "--prometheus", &unreachable], vec!["connecting to http://", "refused"]),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        // The log may say that it is starting; the complaint is the last line, and the only one.
        let complaints: Vec<&str> = said.lines().filter(|line| line.starts_with("jouleprint: ")).collect();
        assert_eq!(complaints.len(), 1, "{arguments:?}: {said}");
        assert_eq!(said.lines().last(), complaints.first().copied(), "{arguments:?}");
        for part in parts {
            assert!(
                complaints[0].contains(part),
                "{arguments:?} gives {:?}, which lacks {part:?}",
                complaints[0]
            );
        }
    }
}

#[test]
fn check_says_what_is_in_force_and_metrics_is_the_reference() {
    let output = run(&["check", "--zone", "fr", "--pue", "1.2"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("FR: 44.18 g/kWh (lifecycle, owid-ember 2024)"),
        "{said}"
    );
    assert!(said.contains("pue        1.2"), "{said}");
    let output = run(&["metrics"]);
    let reference = jouleprint::output::reference::markdown();
    assert_eq!(String::from_utf8_lossy(&output.stdout), reference);
}

/// A server that answers every query with the same series, for as many requests.
fn server(requests: usize) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let series = (0..3_000).map(|at| {
        let labels = format!(
            "\"host\":\"n{at}\",\"hw_type\":\"cpu\",\"gpu\":\"\",\"origin\":\"measured\",\"grid_zone\":\"FR\""
        );
        format!("{{\"metric\":{{{labels}}},\"value\":[1,\"{at}.5\"]}}")
    });
    let body = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{}]}}}}",
        series.collect::<Vec<_>>().join(",")
    );
    std::thread::spawn(move || {
        for _ in 0..requests {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn a_report_goes_to_standard_output_and_a_reader_may_leave() {
    let by_host = ["report", "--by", "host", "--format"];
    let ask = |format: &'static str| [&by_host[..], &[format, "--prometheus"]].concat();
    let url = server(2);
    let output = run(&[&ask("csv")[..], &[&url]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("note: "), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 3_001);
    // A pipe holds 64 KiB, and this reader takes one line.
    for format in ["table", "csv", "json"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_jouleprint"))
            .args(ask(format))
            .arg(server(2))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("roken pipe"), "{format}: {said}");
    }
}

#[test]
fn where_this_machine_is_does_not_filter_a_report() {
    let ask = |zone: &[&str]| {
        let url = server(2);
        let mut command = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
        command.env("JOULEPRINT_ZONE", "DE").args(zone);
        command.args(["report", "--by", "zone", "--format", "csv", "--prometheus", &url]);
        String::from_utf8(command.output().expect("the program runs").stdout).expect("text")
    };
    assert!(ask(&[]).contains("\nFR,"), "{}", ask(&[]));
    let output = ask(&["--zone", "DE"]);
    assert!(!output.contains("\nFR,"), "before the command it is typed all the same: {output}");
}

#[test]
fn what_is_recorded_is_replayed_and_nothing_is_written_over() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ticks.jsonl").display().to_string();
    let record = |more: &[&str]| {
        let fixed = ["--test.tick", "20", "--host.name", "secret-host", "record", &path, "--ticks", "3"];
        run(&[&fixed[..], more].concat())
    };
    let output = record(&["--anonymous"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&path).expect("a recording");
    assert_eq!(text.lines().count(), 4, "a header and three ticks");
    assert!(!text.contains("secret-host"));
    let page = run(&["replay", &path]);
    let page = String::from_utf8(page.stdout).expect("UTF-8");
    assert!(page.contains("hw_host_energy_joules_total{host=\"host\""), "{page}");
    let again = record(&[]);
    assert_eq!(again.status.code(), Some(2));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("choose another name"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), text);
}
