//! `jouleprint job`: what a job says of itself, and asks, from a shell. The exporter of this host is spoken to, or
//! `jouleprint run` around us.

use super::local::{AskError, Local};
use super::report::amount::duration;
use super::run::child::{Child, SIGCHLD, Signals};
use super::run::summary::{grams, joules};
use crate::clock;
use crate::job::speech::progress;
use crate::model::quantity::Nanos;
use crate::model::speech::{Progress, in_steps};
use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Nothing waits for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command's end is told by a signal; where that is lost it is looked for.
const LOOK: Nanos = Nanos::from_seconds(1);

/// The end of a phase finds room after the next tick; ticks are longer than this hardly anywhere.
const MOST_INSISTENCE: Nanos = Nanos::from_seconds(30);
const INSISTENCE: Nanos = Nanos::new(500_000_000);

/// Of `jouleprint job`.
#[derive(Debug, Args)]
pub struct JobArguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what the job around us has used, what it is at, and what it will come to
    Show {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say how far the job has come
    Progress {
        /// Steps that are done and steps there are, as 3/100
        #[arg(value_name = "DONE/TOTAL")]
        steps: String,
    },
    /// Say what the job is at from now on: its energy and emissions are told apart
    Mark {
        /// What it is called
        phase: String,
        /// It begins or has ended; with a command behind -- it lasts as long as that
        #[arg(value_enum, required_unless_present = "command")]
        side: Option<Side>,
        /// The command and its arguments
        #[arg(last = true, value_name = "CMD", conflicts_with = "side")]
        command: Vec<OsString>,
    },
    /// Say what the job belongs to; project and experiment are what reports sum up by
    ///
    /// In place of what it said before.
    Label {
        /// Labels, as project=vision experiment=lr-3 batch=64
        #[arg(value_name = "KEY=VALUE", required = true)]
        labels: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Side {
    Begin,
    End,
}

/// Why it was not said.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It is none.
    #[error("{0:?} is no progress: write it as 3/100 ({1})")]
    Progress(String, String),
    /// A label has no key.
    #[error("{0:?} is no label: write KEY=VALUE")]
    Label(String),
    /// Nobody hears, or what was said is refused.
    #[error("{}", advised(.0))]
    Ask(#[from] AskError),
    /// The answer is none.
    #[error("the answer is none: {0}")]
    Answer(#[from] serde_json::Error),
    /// There is no runtime, or nobody reads.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// With what can be done about it. Whoever refuses may be the exporter or `jouleprint run`.
fn advised(error: &AskError) -> String {
    match error {
        AskError::Nobody { .. } => format!(
            "{error}; start the exporter, or put the command under `jouleprint run --`; another socket is named by --job.socket"
        ),
        AskError::Broken { path, why } => format!("whoever listens on {path} does not answer: {why}"),
        AskError::Refused { status, message } => format!("refused ({status}): {message}"),
    }
}

/// Says it, or shows it. Returns the code to end with.
///
/// # Errors
/// It was not said.
pub fn run(arguments: &JobArguments, sockets: Vec<PathBuf>) -> Result<u8, JobError> {
    let local = Local::new(sockets)?;
    let mark = |phase: &str, side: &str| {
        let body = json!({ "phase": phase, "mark": side }).to_string();
        local.ask(&Method::POST, "/api/v1/job/marks", body.into_bytes(), PATIENCE)
    };
    match arguments.what.as_ref().unwrap_or(&What::Show { json: false }) {
        What::Show { json } => {
            let body = local.ask(&Method::GET, "/api/v1/job?fresh=1", Vec::new(), PATIENCE)?;
            let text =
                if *json { body.to_vec() } else { shown(&serde_json::from_slice(&body)?).into_bytes() };
            io::stdout().lock().write_all(&text)?;
        }
        What::Progress { steps } => {
            let wrong = |why: &str| JobError::Progress(steps.clone(), why.to_owned());
            let (done, total) = steps.split_once('/').ok_or_else(|| wrong("there is no /"))?;
            let Progress { done, total } = progress(done.trim(), total.trim()).map_err(|why| wrong(&why))?;
            let body = json!({ "done": in_steps(done), "total": in_steps(total) }).to_string();
            local.ask(&Method::PUT, "/api/v1/job/progress", body.into_bytes(), PATIENCE)?;
        }
        What::Mark { phase, side: Some(side), .. } => {
            let side = match side {
                Side::Begin => "begin",
                Side::End => "end",
            };
            mark(phase, side)?;
        }
        What::Mark { phase, side: None, command } => {
            // A figure less is no reason not to do the work, nor to say that it failed.
            let complain = |what: &str, error: &AskError| {
                let _ = writeln!(io::stderr(), "jouleprint: {phase} {what}: {}", advised(error));
            };
            let mut signals = Signals::watch()?;
            let begun = mark(phase, "begin").inspect_err(|error| complain("is not told apart", error));
            let code = follow(command, &mut signals);
            if begun.is_ok() {
                let ended = insist(
                    || mark(phase, "end"),
                    || {
                        signals.wait(clock::monotonic() + INSISTENCE);
                        signals.take().iter().all(|signal| *signal == SIGCHLD)
                    },
                );
                let _ = ended.inspect_err(|error| complain("stays open, what follows counts as it", error));
            }
            return code;
        }
        What::Label { labels } => {
            let body = described(labels)?.to_string();
            local.ask(&Method::PUT, "/api/v1/job/labels", body.into_bytes(), PATIENCE)?;
        }
    }
    Ok(0)
}

/// Asks again while there is no room and `wait` says to go on.
fn insist<T>(
    mut ask: impl FnMut() -> Result<T, AskError>,
    mut wait: impl FnMut() -> bool,
) -> Result<T, AskError> {
    let mut left = MOST_INSISTENCE.get() / INSISTENCE.get();
    loop {
        let answer = ask();
        let is_busy = matches!(&answer, Err(AskError::Refused { status, .. }) if *status == StatusCode::TOO_MANY_REQUESTS);
        if !is_busy || left == 0 || !wait() {
            return answer;
        }
        left -= 1;
    }
}

/// Runs it; signals that are meant for it reach it. What cannot be started is told with the code that shells end with.
fn follow(command: &[OsString], signals: &mut Signals) -> Result<u8, JobError> {
    let (child, _) = match Child::spawn(command, &[], false) {
        Ok(spawned) => spawned,
        Err(error) => {
            let _ = writeln!(io::stderr(), "jouleprint: {error}");
            return Ok(error.shell_code());
        }
    };
    loop {
        for signal in signals.take() {
            child.pass_on(signal);
        }
        if let Some(end) = child.attend() {
            return Ok(end.shell_code());
        }
        signals.wait(clock::monotonic() + LOOK);
    }
}

fn described(labels: &[String]) -> Result<Value, JobError> {
    let mut body = Map::new();
    let mut others = Map::new();
    for label in labels {
        match label.split_once('=') {
            Some((key @ ("project" | "experiment"), value)) => {
                drop(body.insert(key.to_owned(), value.into()))
            }
            Some((key, value)) if !key.is_empty() => drop(others.insert(key.to_owned(), value.into())),
            Some(_) | None => return Err(JobError::Label(label.clone())),
        }
    }
    body.insert("labels".to_owned(), Value::Object(others));
    Ok(Value::Object(body))
}

/// The job for people.
fn shown(job: &Value) -> String {
    let text = |value: &Value| {
        value.as_str().unwrap_or_default().chars().filter(|char| !char.is_control()).collect::<String>()
    };
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let whole = |value: f64, unit: f64| (value * unit).round() as u128;
    let energy = |value: f64| joules(whole(value, 1e6));
    let mass = |value: f64| grams(whole(value, 1e9));
    let sum = |list: &Value, key: &str| -> f64 {
        list.as_array().into_iter().flatten().map(|one| number(&one[key])).sum()
    };
    let mut shown = format!("{} {}\n", text(&job["job_kind"]), text(&job["job_id"]));
    let mut line = |head: &str, rest: String| {
        writeln!(shown, "  {head:<11} {rest}").expect("a string takes everything");
    };
    line(
        "so far",
        format!(
            "{}, {} CO2e",
            energy(sum(&job["energy"], "joules")),
            mass(sum(&job["emissions"], "co2e_grams"))
        ),
    );
    let measured = job["measured_ratio"]
        .as_f64()
        .map_or(String::new(), |ratio| format!(", {:.0} % of all measured", ratio * 100.0));
    line("now", format!("{:.3} W{measured}", number(&job["power_watts"])));
    let grid = &job["grid"];
    line(
        "electricity",
        format!(
            "{} g/kWh ({}, {}), PUE {}",
            grid["grams_per_kilowatt_hour"],
            text(&grid["grid_zone"]),
            text(&grid["source"]),
            grid["pue"]
        ),
    );
    if let Some(progress) = job.get("progress") {
        line(
            "progress",
            format!(
                "{} of {} ({:.1} %)",
                progress["done"],
                progress["total"],
                number(&progress["ratio"]) * 100.0
            ),
        );
    }
    if let Some(prediction) = job.get("prediction") {
        let three = |key: &str, shown: &dyn Fn(f64) -> String| {
            let of = |quantile: &str| shown(number(&prediction[key][quantile]));
            format!("{} (of ten runs eight: {} to {})", of("0.5"), of("0.1"), of("0.9"))
        };
        let lasting =
            |seconds: f64| duration(Nanos::new(u64::try_from(whole(seconds, 1e9)).unwrap_or(u64::MAX)));
        line("in all", three("energy_joules", &energy));
        line("", three("co2e_grams", &|grams| format!("{} CO2e", mass(grams))));
        line("", format!("{}, until {}", three("duration_seconds", &lasting), text(&prediction["end"])));
    }
    for phase in job["phases"].as_array().into_iter().flatten() {
        let open = if phase["is_open"] == true { ", still on" } else { "" };
        let (used, emitted) = (energy(number(&phase["energy_joules"])), mass(number(&phase["co2e_grams"])));
        line(
            "phase",
            format!(
                "{}: {used}, {emitted} CO2e in {:.1} s{open}",
                text(&phase["phase"]),
                number(&phase["seconds"])
            ),
        );
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_by_their_keys() {
        let labels = ["project=a=b", "experiment=", "x=1"].map(str::to_owned);
        let expected = json!({ "project": "a=b", "experiment": "", "labels": { "x": "1" } });
        assert_eq!(described(&labels).expect("labels"), expected);
        for label in ["x", "=1", ""] {
            assert!(matches!(described(&[label.to_owned()]), Err(JobError::Label(_))), "{label}");
        }
    }

    #[test]
    fn the_end_of_a_phase_is_told_again_while_there_is_no_room_and_not_for_ever() {
        let refused = |status| AskError::Refused { status, message: "why".to_owned() };
        let busy = StatusCode::TOO_MANY_REQUESTS;
        let tries = |answers: &dyn Fn(u32) -> Result<(), AskError>, patience: u32| {
            let (mut asked, mut waited) = (0, 0);
            let answer = insist(
                || {
                    asked += 1;
                    answers(asked)
                },
                || {
                    waited += 1;
                    waited <= patience
                },
            );
            (asked, answer.is_ok())
        };
        assert_eq!(tries(&|at| if at < 5 { Err(refused(busy)) } else { Ok(()) }, 1_000), (5, true));
        assert_eq!(tries(&|_| Err(refused(busy)), 1_000), (61, false));
        assert_eq!(tries(&|_| Err(refused(busy)), 2), (3, false), "a signal ends it");
        assert_eq!(tries(&|_| Err(refused(StatusCode::BAD_REQUEST)), 1_000), (1, false));
    }

    #[test]
    fn only_where_nobody_is_there_somebody_is_to_be_started() {
        let refused = AskError::Refused { status: StatusCode::BAD_REQUEST, message: "no name".to_owned() };
        assert_eq!(advised(&refused), "refused (400 Bad Request): no name");
        let broken = AskError::Broken { path: "/x".to_owned(), why: "not within 5000 ms".to_owned() };
        assert_eq!(advised(&broken), "whoever listens on /x does not answer: not within 5000 ms");
        let error = io::Error::from(io::ErrorKind::NotFound);
        assert!(advised(&AskError::Nobody { path: "/x".to_owned(), error }).contains("start the exporter"));
    }

    #[test]
    fn a_job_is_shown_in_a_few_lines_without_control_characters() {
        let job = json!({
            "job_kind": "run", "job_id": "1\u{1b}[2J", "power_watts": 12.5, "measured_ratio": 0.25,
            "energy": [{"joules": 1.5}, {"joules": 2.0}], "emissions": [{"co2e_grams": 0.25}],
            "grid": {"grid_zone": "DE", "grams_per_kilowatt_hour": 344.1, "pue": 1.0, "source": "ember"},
            "progress": {"done": 3, "total": 10, "ratio": 0.3},
            "prediction": {"energy_joules": {"0.1": 9, "0.5": 10, "0.9": 11}, "co2e_grams": {"0.1": 1, "0.5": 2, "0.9": 3},
                "duration_seconds": {"0.1": 60, "0.5": 120, "0.9": 180}, "end": "2026-11-22T23:00:00Z"},
            "phases": [{"phase": "load", "is_open": true, "seconds": 2.0, "energy_joules": 0.5, "co2e_grams": 0.1}],
        });
        let expected = "run 1[2J
  so far      3.500 J, 250.000 mg CO2e
  now         12.500 W, 25 % of all measured
  electricity 344.1 g/kWh (DE, ember), PUE 1.0
  progress    3 of 10 (30.0 %)
  in all      10.000 J (of ten runs eight: 9.000 J to 11.000 J)
              2.000 g CO2e (of ten runs eight: 1.000 g CO2e to 3.000 g CO2e)
              2m 00s (of ten runs eight: 1m 00s to 3m 00s), until 2026-11-22T23:00:00Z
  phase       load: 0.500 J, 100.000 mg CO2e in 2.0 s, still on
";
        assert_eq!(shown(&job), expected);
        assert!(!shown(&json!({})).is_empty(), "what is not there is no reason to fall");
    }
}
