//! Commands that ask the configured providers by themselves: `doctor` each one once, `run` beside its command.

use super::KEY;
use super::server::{Does, Server};
use jouleprint::clock;
use jouleprint::command::doctor::grid::examine;
use jouleprint::config::Settings;
use jouleprint::config::flags::Flags;
use jouleprint::model::quantity::Nanos;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A relay's answer: an hour around now, and those before it.
fn relayed(grams: u32) -> String {
    let hour = 3_600_000_000_000;
    let now = clock::now().wall.get();
    let end = now / hour * hour + hour;
    // The test may run when an hour turns.
    let samples = [(end - 2 * hour, end - hour), (end - hour, end), (end, end + hour)].map(|(start, end)| {
        json!({"start": start, "end": end, "intensity": grams * 1_000, "quality": "measured", "fetched": now})
    });
    let series = json!({
        "rank": 0, "source": "upstream", "zone": "FR", "signal": "average", "basis": "lifecycle",
        "accounting": "consumption", "samples": samples,
    });
    json!({"zone": "FR", "basis": "lifecycle", "series": [series]}).to_string()
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn examined(config: PathBuf, is_offline: bool) -> (String, bool) {
    let flags = Flags { config_file: Some(config), ..Flags::default() };
    let (lines, is_sound) = examine(&Settings::load(&flags).unwrap(), is_offline);
    (lines.join("\n"), is_sound)
}

#[test]
fn doctor_asks_each_provider_once_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let key = written(folder.path(), "key", KEY);
    let closed = Server::start(|_| Does::Refuses(401, Vec::new(), format!("{{\"error\":\"{KEY}\"}}")));
    let relay = Server::start(|_| Does::Says(relayed(77)));
    let table = written(folder.path(), "table.csv", "zone,gco2e_per_kwh\nFR,50\n");
    let config = written(
        folder.path(),
        "config.yaml",
        &format!(
            "zone: FR\npue: 1.2\ngrid:\n  providers:\n  - {{name: electricity_maps, url: '{}', token_file: {}}}\n  \
             - {{name: jouleprint, url: '{}'}}\n  - {{name: file, path: {}, basis: direct}}\n  - {{name: gb}}\n",
            closed.url,
            key.display(),
            relay.url,
            table.display()
        ),
    );
    let (said, is_sound) = examined(config.clone(), false);
    let lines: Vec<&str> = said.lines().collect();
    for (at, start, part) in [
        (0, "place FR, as configured", ""),
        (1, "PUE 1.2, as configured", ""),
        (2, "--   electricity_maps FR: asking http://127", "renew it"),
        (3, "ok   jouleprint FR: 77 g/kWh (lifecycle, consumption, measured) from ", " UTC on"),
        (4, "--   file FR: its figures are direct, not the wanted ones", "intensity_basis"),
        (5, "--   asking gb: it has no zone that is FR", ""),
        (6, "  → mend grid.providers", ""),
        (7, "charged now: 77 g/kWh (lifecycle, upstream, substitute), PUE 1.2", ""),
    ] {
        assert!(lines[at].starts_with(start) && lines[at].contains(part), "{start}: {said}");
    }
    assert!(!is_sound && lines.len() == 8 && !said.contains(KEY), "{said}");
    let asked = (closed.asked().len(), relay.asked().len());
    assert!(
        (1..=2).contains(&asked.0) && asked.1 == 1,
        "{asked:?}: the past, and no more without a right key"
    );
    // Offline a file is read, and nobody else is asked.
    let (said, is_sound) = examined(config, true);
    assert_eq!((closed.asked().len(), relay.asked().len()), asked);
    assert!(
        said.contains("ok   file FR: 50 g/kWh (direct") && said.contains("are not asked (--offline)"),
        "{said}"
    );
    assert!(is_sound && said.contains("charged without them: 50 g/kWh"), "{said}");
}

#[test]
fn doctor_says_where_the_machine_is_and_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let text = "path: {sysfs: /nowhere}\ngrid: {location: {metadata: off}}\n";
    let (said, is_sound) = examined(written(folder.path(), "a.yaml", text), false);
    assert!(
        !is_sound && said.starts_with("place unknown; this is the world's average\n  → set `zone: XX`"),
        "{said}"
    );
    assert!(
        said.contains("no provider is configured") && said.contains("charged now: 473.01 g/kWh"),
        "{said}"
    );
    let labels = written(folder.path(), "labels", "topology.kubernetes.io/region=\"us-west-1\"\n");
    let text = format!(
        "path: {{sysfs: /nowhere}}\ngrid: {{location: {{metadata: off, provider: aws, labels_file: {}}}}}\n",
        labels.display()
    );
    let (said, is_sound) = examined(written(folder.path(), "b.yaml", &text), true);
    assert!(
        is_sound
            && said.starts_with("place US-CAMX, by node_label (aws us-west-1)\nPUE 1.17, as is published"),
        "{said}"
    );
}

/// A command under `run`, with everything that is kept in one folder.
fn run(folder: &Path, config: &Path, command: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_jouleprint"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOULEPRINT_")) {
        program.env_remove(name);
    }
    program.env("JOULEPRINT_RUNS_PATH", folder.join("runs"));
    program.env("JOULEPRINT_JOB_SOCKET", folder.join("nobody.sock"));
    program.env("JOULEPRINT_STORE_PATH", folder);
    program.args(["run", "--json", "-", "--config.file"]).arg(config).arg("--").args(command);
    program.output().unwrap()
}

fn result(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let object = text.find('{').map(|at| &text[at..]).unwrap_or_default();
    serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {text}{said}"))
}

/// The names of our threads, a line each, as the command has seen them.
fn threads(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    format!("\n{}", text.split('{').next().unwrap_or_default())
}

fn relay_config(folder: &Path, url: &str) -> PathBuf {
    let text = format!("zone: FR\ngrid: {{providers: [{{name: jouleprint, url: '{url}'}}]}}\n");
    written(folder, "config.yaml", &text)
}

/// Until a file is there, or for half a minute: whatever is waited for has gone wrong then.
fn wait_for(path: &Path) -> bool {
    let limit = clock::monotonic() + Nanos::from_seconds(30);
    while !path.exists() && clock::monotonic() < limit {
        std::thread::yield_now();
    }
    path.exists()
}

#[test]
fn a_command_is_charged_by_what_a_provider_says_while_it_runs_and_never_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let server = Server::start({
        let begun = begun.clone();
        // Nobody answers before the command runs.
        move |_| if wait_for(&begun) { Does::Says(relayed(77)) } else { Does::Breaks }
    });
    let config = relay_config(folder.path(), &server.url);
    let kept = folder.path().join("run-grid.json");
    let script = format!(
        "touch {}; i=0; while [ ! -e {} ] && [ $i -lt 20000000 ]; do i=$((i+1)); done; cat /proc/$PPID/task/*/comm",
        begun.display(),
        kept.display()
    );
    let output = run(folder.path(), &config, &["sh", "-c", &script]);
    let told = result(&output);
    assert!(output.status.success() && kept.exists(), "{told}");
    assert!(threads(&output).contains("\ngrid\n"), "{}", threads(&output));
    let intensity = &told["intensity"];
    assert_eq!((&intensity["source"], &intensity["fallback"]), (&json!("upstream"), &json!("")), "{told}");
    assert_eq!(intensity["grams_per_kilowatt_hour"].to_string(), "77");
    let of = |name: &str| told[name].as_f64().unwrap();
    let exact = of("energy_kilowatt_hours") * 77.0;
    // From its first tick on, which was put aside until the answer came.
    assert!(exact > 0.0 && (of("emissions_grams") - exact).abs() < 2e-8, "{told}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("at 77 g/kWh (FR, lifecycle, upstream)"), "{said}");
    // The next command has what was kept, and asks nobody before it is time.
    let before = server.asked().len();
    let told = result(&run(folder.path(), &config, &["true"]));
    assert_eq!((&told["intensity"]["source"], server.asked().len()), (&json!("upstream"), before), "{told}");
}

#[test]
fn without_an_answer_the_figure_of_the_year_is_used_and_the_reason_told() {
    let folder = tempfile::tempdir().unwrap();
    for (config, reason) in [
        (
            {
                let server = Server::start(|_| Does::Refuses(500, Vec::new(), String::new()));
                let config = relay_config(folder.path(), &server.url);
                let told = result(&run(folder.path(), &config, &["true"]));
                assert_eq!(server.asked().len(), 1, "{told}");
                drop(server);
                config
            },
            "jouleprint jouleprint/FR: ",
        ),
        (
            written(folder.path(), "gb.yaml", "zone: FR\ngrid: {providers: [{name: gb}]}\n"),
            "it has no zone that is FR",
        ),
    ] {
        let output = run(folder.path(), &config, &["sh", "-c", "exit 7"]);
        let told = result(&output);
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(told["intensity"]["source"], "owid-ember", "{told}");
        let exact = told["energy_kilowatt_hours"].as_f64().unwrap() * 44.18;
        assert!((told["emissions_grams"].as_f64().unwrap() - exact).abs() < 2e-8, "{told}");
        let notes = told["notes"].to_string();
        assert!(notes.contains(reason), "{notes}");
        // The command's own lines have none of ours between them.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("jouleprint: ") && said.contains("exit code 7"), "{said}");
    }
}

#[test]
fn where_nobody_is_configured_nothing_is_started_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path(), "config.yaml", "zone: FR\n");
    let output = run(folder.path(), &config, &["sh", "-c", "cat /proc/$PPID/task/*/comm"]);
    let said = threads(&output);
    assert!(said.contains("\njouleprint\n") && !said.contains("\ngrid\n"), "{said}");
}
