//! One listing, for a pipe or a terminal that can do no more: every job by power, then what is no job's, then
//! all together.

use super::text;
use crate::command::now::{Job, Now, printable};
use crate::command::report::table::fitted;
use comfy_table::CellAlignment;

/// The listing, in lines as long as they must be, or as `width` has room for.
#[must_use]
pub fn text(now: &Now, width: Option<usize>) -> String {
    let mut live: Vec<&Job> = now.jobs.iter().filter(|job| job.is_live()).collect();
    live.sort_by(|one, other| other.power_watts.total_cmp(&one.power_watts));
    let row = |name: String, kind: &str, watts: f64, rest: [String; 5]| {
        let [energy, grams, done, ends, total] = rest;
        vec![
            name,
            kind.to_owned(),
            text::watts(watts),
            text::rate(now.grams_per_hour(watts)),
            energy,
            grams,
            done,
            ends,
            total,
        ]
    };
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(live.len() + 1);
    for job in live {
        let prediction = job.prediction.as_ref();
        let said = [
            text::energy(job.joules()),
            text::grams(job.grams()),
            job.progress.as_ref().map(|progress| text::percent(progress.ratio)).unwrap_or_default(),
            prediction.map(|prediction| text::date(&prediction.end)).unwrap_or_default(),
            prediction.map(|prediction| text::grams(prediction.co2e_grams.median)).unwrap_or_default(),
        ];
        rows.push(row(job.name(), &job.job_kind, job.power_watts, said));
    }
    for rest in now.rest() {
        let energy = rest.joules.map(text::energy).unwrap_or_default();
        rows.push(row(
            rest.name,
            "",
            rest.watts,
            [energy, String::new(), String::new(), String::new(), String::new()],
        ));
    }
    rows.push(row("all".to_owned(), "", now.power_watts, Default::default()));
    let (left, right) = (CellAlignment::Left, CellAlignment::Right);
    let mut heads =
        vec![("job", left), ("kind", left), ("W", right), ("g/h", right), ("energy", right), ("CO2e", right)];
    heads.extend([("done", right), ("ends", right), ("CO2e then", right)]);
    // What no job has said is no column.
    for at in (6..heads.len()).rev() {
        if rows.iter().all(|row| row[at].is_empty()) {
            heads.remove(at);
            rows.iter_mut().for_each(|row| {
                row.remove(at);
            });
        }
    }
    let at = text::date(&now.at);
    format!(
        "{} at {at} UTC, {}; {}\n\n{}",
        printable(&now.host),
        text::measured(now),
        printable(&text::grid(now)),
        fitted(&heads, rows, width)
    )
}
