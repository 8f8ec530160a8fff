//! What jobs will come to that say how far they are: worked out beside the accounts, for a few jobs a tick, and
//! kept until there is more to go by.

use crate::engine::prediction::{Outlook, predict, priced};
use crate::model::grid::Plan;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::reading::Factor;
use crate::model::snapshot::{JobTotals, Totals};
use crate::model::speech::{Point, Prediction};
use crate::model::time::Moment;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Predictions that are worked out anew in one tick: each takes a tenth of a millisecond.
const MAX_A_TICK: usize = 32;

/// The predictions in force.
#[derive(Debug, Default)]
pub struct Predictions {
    /// By the job's number.
    pub all: Arc<BTreeMap<u64, Prediction>>,
    known: HashMap<u64, Known>,
    turn: u64,
}

#[derive(Debug)]
struct Known {
    course: Arc<Vec<Point>>,
    total: u64,
    outlook: Option<Outlook>,
    // In which turn that was worked out.
    turn: u64,
}

impl Predictions {
    /// Looks at all jobs after a tick; the rest of each is charged by the plan, or by the factor in force.
    pub fn look(&mut self, totals: &Totals, at: &Moment, plan: Option<&Plan>, factor: &Factor) {
        let speaking = || {
            totals.jobs.iter().enumerate().filter_map(|(row, job)| {
                let speech = job.speech.as_ref().filter(|_| job.ended.is_none())?;
                let (progress, _) = speech.progress?;
                Some((row, job, &speech.course, progress.total))
            })
        };
        if self.known.is_empty() && speaking().next().is_none() {
            return;
        }
        self.turn += 1;
        let mut due: Vec<(u64, &JobTotals, &Arc<Vec<Point>>, u64)> = speaking()
            .filter_map(|(_, job, course, total)| {
                let known = self.known.get(&job.job.number);
                let is_new =
                    known.is_none_or(|known| !Arc::ptr_eq(&known.course, course) || known.total != total);
                // Who is not known yet comes before all others.
                is_new.then(|| (known.map_or(0, |known| known.turn), job, course, total))
            })
            .collect();
        // Who has waited longest comes first.
        due.sort_unstable_by_key(|(turn, job, ..)| (*turn, job.job.number));
        for (_, job, course, total) in due.into_iter().take(MAX_A_TICK) {
            let seed = job.job.id.fingerprint() ^ course.len() as u64;
            let outlook = predict(course, total, seed);
            let known = Known { course: Arc::clone(course), total, outlook, turn: self.turn };
            self.known.insert(job.job.number, known);
        }
        let mut all = BTreeMap::new();
        for (row, job, course, total) in speaking() {
            // What is known of another total, or of a course that has begun anew, is none of this.
            let is_of_it = |known: &&Known| known.total == total && known.course.first() == course.first();
            let outlook = self.known.get(&job.job.number).filter(is_of_it).and_then(|known| known.outlook);
            if let Some(outlook) = outlook {
                let so_far = so_far(totals, row, job, at);
                all.insert(job.job.number, priced(outlook, so_far, at.wall, plan, factor));
            }
        }
        let living: HashSet<u64> = speaking().map(|(_, job, ..)| job.job.number).collect();
        self.known.retain(|number, _| living.contains(number));
        self.all = Arc::new(all);
    }
}

fn so_far(totals: &Totals, row: usize, job: &JobTotals, at: &Moment) -> (Energy, Emissions, Nanos) {
    let amounts = totals.amounts_of_job(row);
    (amounts.energy(), amounts.emissions(), at.monotonic.saturating_sub(job.job.started.monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::grid::Step;
    use crate::model::identity::{JobId, JobKind};
    use crate::model::quantity::{Intensity, Pue};
    use crate::model::snapshot::JobIdentity;
    use crate::model::speech::{Progress, Speech};

    /// So many jobs, each at its tenth of a hundred steps and one more at each `tick`.
    fn totals(count: u64, tick: u64) -> Totals {
        let job = |number: u64| {
            let points = 0..10 + tick;
            let point = |at: u64| Point {
                at: Nanos::from_seconds(at + 1),
                done: (at + 1) * 1_000_000,
                energy: Energy::from_micro((at + 1) * 5_000_000),
            };
            let course: Vec<Point> = points.map(point).collect();
            let progress = Progress { done: (10 + tick) * 1_000_000, total: 100_000_000 };
            let last = *course.last().expect("a point");
            let speech =
                Speech { progress: Some((progress, last)), course: Arc::new(course), ..Speech::default() };
            JobTotals {
                job: Arc::new(JobIdentity {
                    number,
                    id: JobId::new(JobKind::Run, &number.to_string()),
                    user: None,
                    started: Moment::default(),
                    cgroup: "".into(),
                }),
                cpu: Nanos::ZERO,
                ended: None,
                description: Arc::default(),
                power: Default::default(),
                held: Vec::new(),
                speech: Some(Arc::new(speech)),
            }
        };
        Totals { jobs: (0..count).map(job).collect(), ..Totals::default() }
    }

    #[test]
    fn who_comes_late_is_predicted_though_many_speak_at_every_tick() {
        let factor = Factor {
            zone: "".into(),
            intensity: Intensity::from_milligrams(400_000).expect("an intensity"),
            pue: Pue::ONE,
            basis: "".into(),
            accounting: "".into(),
            quality: "".into(),
            source: "".into(),
            year: "".into(),
            fallback: Step::Wanted,
        };
        let mut predictions = Predictions::default();
        let many = MAX_A_TICK as u64;
        for tick in 0..3 {
            predictions.look(&totals(many, tick), &Moment::default(), None, &factor);
        }
        predictions.look(&totals(many + 5, 3), &Moment::default(), None, &factor);
        let late = (many..many + 5).filter(|number| predictions.all.contains_key(number));
        assert_eq!(late.count(), 5);
        // And nobody waits for longer than it takes to look at all of them.
        for tick in 4..40 {
            predictions.look(&totals(many * 2, tick), &Moment::default(), None, &factor);
            let oldest = predictions.known.values().map(|known| known.turn).min().expect("some");
            assert!(tick < 6 || predictions.turn - oldest <= 2, "{} {oldest}", predictions.turn);
        }
    }
}
