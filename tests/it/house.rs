//! The rules of the house, read from the source: who may import whom, what stands where, how long a
//! file may be, and that the docs are printed from the catalogue.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room and the rooms it may use. `daemon` and `command` wire everything together and may use all.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("kernel_file", &[]),
    ("confine", &[]),
    ("clock", &["model"]),
    ("engine", &["model"]),
    ("source", &["model", "clock", "kernel_file", "http_client"]),
    ("job", &["model", "clock", "kernel_file", "http_client"]),
    ("carbon", &["model", "clock", "http_client"]),
    ("store", &["model"]),
    ("http_client", &["model", "clock"]),
    ("output", &["model", "clock", "http_client"]),
    ("config", &["model", "carbon", "job", "source", "http_client", "output"]),
    ("sampler", &["model", "clock", "kernel_file", "source", "job", "engine", "store"]),
];

/// Words, and the only places they may stand in: files, or folders with a slash at the end.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("Instant::now", &[]),
    ("SystemTime::now", &[]),
    ("clock_gettime", &["clock.rs"]),
    ("thread::sleep", &["clock.rs"]),
    ("std::env::var", &["config.rs", "config/"]),
    (
        "tokio::",
        &[
            "http_client.rs",
            "http_client/",
            "carbon/",
            "output/http.rs",
            "output/otlp.rs",
            "output/otlp/",
            "daemon.rs",
            "daemon/",
            "command/report/fleet/client.rs",
            "command/doctor/grid.rs",
            "command/grid.rs",
            "command/local.rs",
            "command/run/grid.rs",
            "command/run/socket.rs",
            "command/simulate/serve.rs",
            // The BMC's own thread has a runtime of its own.
            "source/redfish.rs",
            "source/redfish/",
            // And so has the one that looks for names.
            "job/directory.rs",
            "job/directory/",
            "job/names.rs",
            "job/names/",
        ],
    ),
    (
        "hyper::",
        &[
            "output/otlp/backend.rs",
            "output/otlp/backend/",
            "http_client.rs",
            "http_client/",
            "carbon/",
            "output/fleet.rs",
            "output/http.rs",
            "output/access.rs",
            "output/relay.rs",
            "command/report/fleet/client.rs",
            "command/report/fleet/answer.rs",
            "command/local.rs",
            "command/job.rs",
            "command/now.rs",
            "command/run/daemon.rs",
            "daemon/socket.rs",
            "source/redfish/",
            "job/names/",
        ],
    ),
    // The only unsafe code of our own.
    ("unsafe", &["source/nvml/raw.rs"]),
    ("nvml_wrapper", &["source/nvml/"]),
    // What holds unsafe code for us, and a cipher: in one place each.
    ("ipmi_rs", &["source/ipmi/device.rs"]),
    ("aes::", &["source/ipmi/packet.rs"]),
    ("nix::unistd", &["job/names/users.rs"]),
    ("nix::sys", &["command/run/tree.rs"]),
    ("signal_hook", &["command/run.rs", "command/run/child.rs", "command/top/terminal.rs"]),
    // What is drawn knows of a grid of cells, and not whose terminal shows it.
    ("crossterm", &["command/top/terminal.rs"]),
    ("ratatui", &["command/top/"]),
    ("anyhow", &["main.rs"]),
    ("rusqlite", &["store/"]),
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).expect("inside src").display().to_string();
                files.push((name, std::fs::read_to_string(&path).expect("source is text")));
            }
        }
    }
    assert!(files.len() > 20, "the walk found the source");
    files
}

/// The code of a file: without its tests and comments.
fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    shipped.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// The rooms that a file names in `crate::room`.
fn imports(text: &str) -> BTreeSet<String> {
    let is_name = |char: &char| char.is_ascii_lowercase() || *char == '_';
    text.match_indices("crate::")
        .map(|(at, found)| text[at + found.len()..].chars().take_while(is_name).collect())
        .collect()
}

#[test]
fn arrows_between_rooms_go_one_way() {
    let mut seen = BTreeSet::new();
    for (file, text) in sources() {
        let room = file.split(['/', '.']).next().expect("a name");
        let Some((room, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else { continue };
        seen.insert(*room);
        for import in imports(&code(&text)) {
            let is_allowed = import == **room || allowed.contains(&import.as_str());
            assert!(is_allowed, "src/{file} uses {import}; {room} may use {allowed:?} only");
        }
    }
    assert_eq!(seen.len(), ROOMS.len(), "every room exists: {seen:?}");
}

#[test]
fn effects_stand_where_they_belong() {
    for (file, text) in sources() {
        for (word, places) in ONLY_IN {
            let is_there = code(&text).contains(word);
            let is_place = |place: &&str| file == *place || place.ends_with('/') && file.starts_with(place);
            assert!(
                !is_there || places.iter().any(is_place),
                "src/{file} has {word}, which belongs in {places:?}"
            );
        }
    }
}

#[test]
fn the_engine_has_no_float_in_what_it_books_and_no_log() {
    for (file, text) in sources().iter().filter(|(file, _)| file.starts_with("engine/")) {
        // What is to come is not booked.
        let is_booked = !file.starts_with("engine/prediction");
        for word in ["f64", "f32", "tracing", "println", "std::fs", "rand"] {
            let is_float = matches!(word, "f64" | "f32");
            assert!(!code(text).contains(word) || is_float && !is_booked, "src/{file} has {word}");
        }
    }
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    for (file, text) in sources() {
        assert!(text.starts_with("//!"), "src/{file} does not begin with what it is");
        assert!(text.lines().count() <= 600, "src/{file} is two things: {} lines", text.lines().count());
        for mark in ["TODO", "FIXME"] {
            assert!(!text.contains(mark), "src/{file} has {mark}");
        }
    }
}

#[test]
fn the_metric_reference_is_printed_from_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let printed = jouleprint::output::reference::markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &printed).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/metrics.md exists");
    assert_eq!(written, printed, "run: UPDATE=1 cargo test --test it metric_reference");
}
