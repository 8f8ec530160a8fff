//! A real training loop that says how far it is over a Unix socket by Python's standard library alone: what is
//! predicted of it when a tenth is done, beside what it came to.

use jouleprint::engine::prediction::course::note;
use jouleprint::engine::prediction::{Outlook, predict};
use jouleprint::model::quantity::{Energy, Nanos};
use jouleprint::model::speech::{Point, STEP};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Of what it came to. The machine may have other work, which makes a step dearer for a while.
const AGREEMENT: f64 = 0.15;

/// What a processor draws while it works; any figure does.
const WATTS: u64 = 10;

/// What the loop has said by now.
struct Heard {
    point: Point,
    total: u64,
}

/// CPU time of a process and its threads, in jiffies of 10 ms; `None` once it has gone.
fn jiffies(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some(fields.next()?? + fields.next()??)
}

/// One request of the loop's; it is answered as the exporter does.
fn hear(listener: &UnixListener, pid: u32, began: Instant) -> Heard {
    let (stream, _) = listener.accept().expect("the loop connects");
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    assert_eq!(lines[0], "PUT /api/v1/job/progress HTTP/1.1");
    let length =
        lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).expect("a body");
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("it listens");
    let said: Value = serde_json::from_slice(&body).expect("JSON");
    let steps = |key: &str| said[key].as_u64().expect("a number") * STEP;
    let used = jiffies(pid).expect("it waits for the answer or has just got it") * WATTS * 10_000;
    let at = Nanos::new(u64::try_from(began.elapsed().as_nanos()).expect("a minute"));
    Heard {
        point: Point { at, done: steps("done"), energy: Energy::from_micro(used) },
        total: steps("total"),
    }
}

#[test]
fn a_training_loop_ends_near_what_was_predicted_when_a_tenth_was_done() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("job.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let began = Instant::now();
    let mut child = Command::new(root.join(".cache/scikit-learn/bin/python"))
        .arg(root.join("tests/slow/train.py"))
        .arg("60")
        .env("JOULEPRINT_JOB_SOCKET", &socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("tests/rare.sh installs it");
    let mut points = Vec::new();
    let mut at_a_tenth: Option<Outlook> = None;
    let end = loop {
        let Heard { point, total } = hear(&listener, child.id(), began);
        note(&mut points, point);
        if at_a_tenth.is_none() && point.done * 10 >= total {
            at_a_tenth = Some(predict(&points, total, 1).expect("a tenth is enough"));
        }
        if point.done == total {
            break point;
        }
    };
    assert!(child.wait().expect("it ends").success(), "the loop ended well");
    let outlook = at_a_tenth.expect("a tenth was passed");
    let joules = end.energy.as_joules();
    println!(
        "at 10 %: {:.1} J ({:.1} to {:.1}), in the end {joules:.1} J; {:.1} s ({:.1} to {:.1}), in the end {:.1} s",
        outlook.energy[1].as_joules(),
        outlook.energy[0].as_joules(),
        outlook.energy[2].as_joules(),
        outlook.duration[1].as_seconds(),
        outlook.duration[0].as_seconds(),
        outlook.duration[2].as_seconds(),
        end.at.as_seconds(),
    );
    let error = outlook.energy[1].as_joules() / joules - 1.0;
    assert!(error.abs() <= AGREEMENT, "{error}");
}
