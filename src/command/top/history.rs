//! What one answer does not say and several do: the power of accelerators by job, from how far their energies
//! are apart, and how a job's power went.

use crate::command::now::{Job, Now, moment};
use std::collections::{BTreeMap, VecDeque};

/// So far back the line of a job's power goes.
pub const SPAN_SECONDS: f64 = 300.0;

/// An answer a second for so long.
const MAX_POINTS: usize = 300;

/// Three of the slowest ticks: with more between two answers nobody knows what was there meanwhile.
const MAX_GAP_SECONDS: f32 = 45.0;

/// Which job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    kind: Box<str>,
    id: Box<str>,
}

impl Who {
    /// This one.
    #[must_use]
    pub fn of(job: &Job) -> Who {
        Who { kind: job.job_kind.as_str().into(), id: job.job_id.as_str().into() }
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, job: &Job) -> bool {
        *self.kind == *job.job_kind && *self.id == *job.job_id
    }
}

/// What was seen of one job.
#[derive(Debug, Default)]
struct Past {
    gpu_joules: Option<f64>,
    gpu_watts: Option<f64>,
    /// Seconds since the first answer, and watts.
    points: VecDeque<(f32, f32)>,
}

/// What was seen of all jobs that are still there.
#[derive(Debug, Default)]
pub struct History {
    start: Option<f64>,
    at: f64,
    jobs: BTreeMap<Who, Past>,
    /// Whether any accelerator has drawn anything.
    pub has_gpus: bool,
}

impl History {
    /// Takes note of an answer. One that is not newer than the last says nothing.
    pub fn note(&mut self, now: &Now) {
        let Some(at) = moment(&now.at).map(|at| at.as_millisecond() as f64 / 1e3) else { return };
        if at < self.at {
            // Its clock was set back; differences with what was before mean nothing.
            *self = History::default();
        }
        let start = *self.start.get_or_insert(at);
        let elapsed = at - self.at;
        if elapsed == 0.0 {
            return;
        }
        self.at = at;
        let mut before = std::mem::take(&mut self.jobs);
        for job in &now.jobs {
            let who = Who::of(job);
            let mut past = before.remove(&who).unwrap_or_default();
            let mut gpus = job
                .energy
                .iter()
                .filter(|energy| energy.hw_type == "gpu")
                .map(|energy| energy.joules)
                .peekable();
            let joules = gpus.peek().is_some().then(|| gpus.sum::<f64>());
            self.has_gpus |= joules.is_some() || !job.gpus.is_empty();
            // Less than before: the counters began again.
            let risen =
                joules.zip(past.gpu_joules).map(|(now, before)| now - before).filter(|risen| *risen >= 0.0);
            past.gpu_watts = risen.map(|joules| joules / elapsed);
            past.gpu_joules = joules;
            // f32 tells tenths of a second apart for days.
            #[allow(clippy::cast_possible_truncation)]
            past.points.push_back(((at - start) as f32, job.power_watts as f32));
            let is_old = |points: &VecDeque<(f32, f32)>| {
                points.front().is_some_and(|(then, _)| at - start - f64::from(*then) > SPAN_SECONDS)
            };
            while past.points.len() > MAX_POINTS || is_old(&past.points) {
                past.points.pop_front();
            }
            self.jobs.insert(who, past);
        }
    }

    /// What its accelerators draw; `None` where it has none, or only one answer is there.
    #[must_use]
    pub fn gpu_watts(&self, who: &Who) -> Option<f64> {
        self.jobs.get(who)?.gpu_watts
    }

    /// Its power over the last minutes in `columns` parts, oldest first, in mW; `None` where nothing is known.
    #[must_use]
    pub fn line(&self, who: &Who, columns: usize) -> Vec<Option<u64>> {
        let mut line: Vec<Option<u64>> = vec![None; columns];
        let (Some(past), Some(start)) = (self.jobs.get(who), self.start) else { return line };
        // What was there at a moment goes on until there is something else, but no longer than it is known.
        let column = |then: f32| {
            let back = (self.at - start - f64::from(then)) / SPAN_SECONDS;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let column = ((1.0 - back).clamp(0.0, 1.0) * columns as f64) as usize;
            column.min(columns.saturating_sub(1))
        };
        let mut before: Option<(f32, usize)> = None;
        for (then, watts) in &past.points {
            let at = column(*then);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let milliwatts = (f64::from(*watts).max(0.0) * 1e3) as u64;
            let known = before.filter(|(before, _)| *then - *before <= MAX_GAP_SECONDS);
            let first = known.map_or(at, |(_, before)| (before + 1).min(at));
            for place in line.get_mut(first..=at).unwrap_or_default() {
                *place = Some(milliwatts);
            }
            before = Some((*then, at));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(seconds: u32, watts: f64, gpu_joules: Option<f64>) -> Now {
        let energy = gpu_joules.map_or(String::new(), |joules| {
            format!(r#"{{"hw_type":"gpu","gpu":"G","origin":"measured","joules":{joules}}}"#)
        });
        let text = format!(
            r#"{{"host":"n","at":"2026-11-22T08:{:02}:{:02}Z","tick_seconds":5,
            "grid":{{"grid_zone":"DE","grams_per_kilowatt_hour":300,"pue":1,"source":"x"}},
            "power_watts":{watts},"accounts":[],"jobs":[{{"job_kind":"run","job_id":"1","state":"live",
            "first_seen":"2026-11-22T08:00:00Z","power_watts":{watts},"energy":[{energy}]}}]}}"#,
            seconds / 60,
            seconds % 60
        );
        serde_json::from_str(&text).expect("an answer")
    }

    fn who() -> Who {
        Who { kind: "run".into(), id: "1".into() }
    }

    #[test]
    fn an_accelerators_power_is_what_its_energy_rose_by() {
        let mut history = History::default();
        for (seconds, joules, expected) in [
            (0, Some(1_000.0), None),
            (5, Some(2_000.0), Some(200.0)),
            // The same answer again changes nothing.
            (5, Some(2_000.0), Some(200.0)),
            (15, Some(2_500.0), Some(50.0)),
            // The counters began again.
            (20, Some(10.0), None),
            (25, Some(10.0), Some(0.0)),
            (30, None, None),
        ] {
            history.note(&answer(seconds, 1.0, joules));
            assert_eq!(history.gpu_watts(&who()), expected, "after {seconds} s");
        }
        assert!(history.has_gpus);
    }

    #[test]
    fn a_line_of_power_ends_now_and_is_empty_where_nothing_was_known() {
        let mut history = History::default();
        for (seconds, watts) in [(0, 9.0), (100, 1.0), (110, 2.0), (120, 3.0), (310, 4.0), (320, 5.0)] {
            history.note(&answer(seconds, watts, None));
        }
        // Thirty columns of ten seconds, from 20 s to 320 s: what was at 0 s is too old.
        let line = history.line(&who(), 30);
        let known: Vec<(usize, u64)> =
            line.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?))).collect();
        assert_eq!(known, [(8, 1_000), (9, 2_000), (10, 3_000), (29, 5_000)]);
        assert!(history.line(&who(), 0).is_empty());
        // A clock that was set back begins anew.
        history.note(&answer(10, 7.0, None));
        assert_eq!(history.line(&who(), 30).iter().flatten().count(), 1);
    }
}
