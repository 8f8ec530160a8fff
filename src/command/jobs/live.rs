//! Jobs by power, now: what each draws, what idle and system draw, and together what the machine does.

use crate::command::local::{AskError, Local};
use crate::command::now::{Grid, Job, Now, moment, printable};
use crate::command::report::amount::duration;
use crate::command::report::table::fitted;
use crate::command::report::{say, terminal_width};
use crate::model::quantity::Nanos;
use crate::{clock, command::report::ReportError};
use comfy_table::CellAlignment;
use std::path::PathBuf;

/// Lines that fit a screen or two.
const MAX_LINES: usize = 50;

/// Clears the screen and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What is asked of the exporter.
#[derive(Debug)]
pub struct Asked {
    /// Where it may be.
    pub sockets: Vec<PathBuf>,
    /// Jobs at the most.
    pub limit: Option<usize>,
    /// Again at every tick, until somebody has seen enough.
    pub watch: bool,
}

/// Prints what the jobs draw now. `None`: no exporter answers.
///
/// # Errors
/// It answers, and not as it should; or nobody reads on.
pub fn run(asked: &Asked) -> Result<Option<()>, ReportError> {
    let exporter = Local::new(asked.sockets.clone())?;
    loop {
        let now = match Now::ask(&exporter) {
            Ok(now) => now,
            Err(AskError::Nobody { .. }) if !asked.watch => return Ok(None),
            Err(error) => return Err(ReportError::Exporter(error)),
        };
        let width = terminal_width();
        let lines = asked.limit.unwrap_or(MAX_LINES);
        let text = text(&now, lines, width);
        if !asked.watch {
            say(&text)?;
            return Ok(Some(()));
        }
        // To a pipe one table after another, each a block of its own.
        if width.is_some() {
            say(&format!("{CLEAR}{text}"))?
        } else {
            say(&format!("{text}\n"))?
        }
        clock::sleep(Nanos::new(u64::try_from(now.tick().as_nanos()).expect("a few seconds")));
    }
}

/// One line for each job by power, then who is no job, then all together.
fn text(now: &Now, lines: usize, width: Option<usize>) -> String {
    let mut live: Vec<&Job> = now.jobs.iter().filter(|job| job.is_live()).collect();
    live.sort_by(|one, other| other.power_watts.total_cmp(&one.power_watts));
    let hidden = live.split_off(lines.min(live.len()));
    let row = |name: String, kind: &str, watts: f64, joules: Option<f64>, since: String| {
        let share = if now.power_watts > 0.0 { 100.0 * watts / now.power_watts } else { 0.0 };
        vec![
            name,
            kind.to_owned(),
            format!("{watts:.2}"),
            format!("{share:.1}"),
            format!("{:.2}", now.grams_per_hour(watts)),
            joules.map_or(String::new(), |joules| format!("{:.2}", joules / 3_600.0)),
            since,
        ]
    };
    let mut rows: Vec<Vec<String>> = live
        .iter()
        .map(|job| row(job.name(), &job.job_kind, job.power_watts, Some(job.joules()), lasted(job, &now.at)))
        .collect();
    if !hidden.is_empty() {
        let watts = hidden.iter().map(|job| job.power_watts).sum();
        rows.push(row(format!("{} more jobs", hidden.len()), "", watts, None, String::new()));
    }
    let rest = now.rest();
    rows.extend(rest.into_iter().map(|rest| row(rest.name, "", rest.watts, rest.joules, String::new())));
    rows.push(row("all".to_owned(), "", now.power_watts, None, String::new()));
    let origin = match now.share_measured() {
        Some(share) if share <= 0.0 => "estimated",
        Some(share) if share < 1.0 => "partly measured, partly estimated",
        _ => "measured",
    };
    let Grid { grid_zone, grams_per_kilowatt_hour, pue, source, .. } = &now.grid;
    let (left, right) = (CellAlignment::Left, CellAlignment::Right);
    let heads = [
        ("job", left),
        ("kind", left),
        ("W", right),
        ("%", right),
        ("g/h", right),
        ("Wh", right),
        ("for", right),
    ];
    format!(
        "{} at {}, {origin}; {grams_per_kilowatt_hour} g/kWh in {} ({source}), PUE {pue}\n\n{}",
        printable(&now.host),
        now.at.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ") + " UTC",
        printable(grid_zone),
        fitted(&heads, rows, width)
    )
}

/// Since it was first seen.
fn lasted(job: &Job, at: &str) -> String {
    let times = [job.first_seen.as_str(), at].map(moment);
    let [Some(first), Some(at)] = times else { return String::new() };
    let nanoseconds = u64::try_from(at.as_nanosecond() - first.as_nanosecond()).unwrap_or(0);
    duration(Nanos::new(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_stand_by_power_and_the_table_adds_up() {
        let job = |id: &str, watts: f64, attributes: &str| {
            format!(
                r#"{{"job_kind":"pod","job_id":"{id}","state":"live","first_seen":"2026-11-22T08:00:00Z",
                "attributes":{{{attributes}}},"labels":{{}},"power_watts":{watts},"cpu_seconds":1,
                "energy":[{{"hw_type":"cpu","origin":"measured","joules":3600}}],"emissions":[]}}"#
            )
        };
        let named = r#""k8s.namespace.name":"web\u001b[2J","k8s.pod.name":"shop-0""#;
        let body = format!(
            r#"{{"host":"n1","at":"2026-11-22T08:01:05.5Z","tick_seconds":5.000000000,
            "grid":{{"grid_zone":"DE","grams_per_kilowatt_hour":300.000,"pue":2.000000,"source":"x","year":"2024","quality":"static"}},
            "power_watts":40.000000,"accounts":[
              {{"account":"system","power_watts":10,"energy":[]}},{{"account":"idle","power_watts":20,"energy":[]}},
              {{"account":"ended","power_watts":0,"energy":[]}}],
            "jobs":[{},{},{}]}}"#,
            job("small", 1.0, ""),
            job("u1", 7.0, named),
            job("tiny", 2.0, "")
        );
        let now: Now = serde_json::from_str(&body).expect("an answer");
        let text = text(&now, 2, None);
        let names: Vec<&str> = text.lines().skip(3).filter_map(|line| line.split("  ").next()).collect();
        assert_eq!(
            names,
            ["web\u{fffd}[2J/shop-0", "tiny", "1 more jobs", "(system)", "(idle)", "all"],
            "{text}"
        );
        let column = |at: usize| -> Vec<f64> {
            let numbers = text.lines().skip(3).map(|line| {
                let cells: Vec<&str> =
                    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
                cells.iter().filter_map(|cell| cell.parse::<f64>().ok()).nth(at).unwrap_or_default()
            });
            numbers.collect()
        };
        let watts = column(0);
        assert_eq!(watts[..5].iter().sum::<f64>(), watts[5]);
        assert_eq!(column(2)[5], 40.0 / 1e3 * 300.0 * 2.0);
        assert!(
            text.starts_with("n1 at 2026-11-22 08:01:05 UTC, measured; 300 g/kWh in DE (x), PUE 2\n"),
            "{text}"
        );
        assert!(text.contains("1m 05s"));
    }
}
