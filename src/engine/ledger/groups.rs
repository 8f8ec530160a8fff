//! Which groups a job is in. Until that is known its energy waits: what waits is its whole row, for it has
//! waited since its birth, so there is no second count that could differ from the first.

use super::{Ledger, ROW_IN_USE, whole};
use crate::engine::groups::NONE;
use crate::engine::sums::Sums;
use crate::model::description::{Description, Naming};
use crate::model::groups::Membership;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use std::sync::Arc;

/// The kind for which the control group may tell what nobody else does: the user's number.
const USER: &str = "user";

impl Ledger {
    /// Counts by these kinds of groups from now on, a new group being shown at 0 for `hold`. A kind that is new
    /// begins with everything so far in no group; one that is left out stays where it is until it comes back.
    pub fn group_by(&mut self, kinds: &[Name], hold: Nanos) {
        for kind in self.groups.leaving(kinds) {
            for job in self.jobs.iter_mut().flatten() {
                if job.standing.memberships[kind] == Membership::Waiting {
                    self.groups.owe(kind, NONE, &whole(&self.wholes, &job.row.sums));
                    Arc::make_mut(&mut job.standing).memberships[kind] = Membership::Unnamed;
                }
            }
            self.groups.hide(kind);
        }
        let mut renewed = self.groups.show(kinds, hold);
        let waiting = self.waiting();
        let shown: Vec<usize> = self.groups.shown().map(|(kind, _)| kind).collect();
        for (kind, waiting) in shown.into_iter().zip(waiting) {
            if !self.groups.balance(kind, &self.host, &waiting) {
                renewed.push(kind);
            }
        }
        for (row, job) in (0..).zip(&mut self.jobs) {
            let Some(job) = job else { continue };
            let mut memberships = job.standing.memberships.clone();
            memberships.resize(self.groups.count(), Membership::Unnamed);
            renewed.iter().for_each(|kind| memberships[*kind] = Membership::Unnamed);
            if memberships != job.standing.memberships {
                Arc::make_mut(&mut job.standing).memberships = memberships;
            }
            job.undecided = self.groups.undecided(&job.standing);
            if job.undecided == 0 {
                self.history.forget(row);
            }
        }
        renewed.iter().for_each(|kind| self.history.renew(*kind));
    }

    /// Notes what has become known of a job. Returns whether it has a row.
    pub fn describe(&mut self, naming: &Naming) -> bool {
        let Some(&row) = self.rows_of.get(&naming.id) else { return false };
        // What was known stays known: after a restart the source that told it may be dead.
        let known = &mut self.job_mut(row).description;
        let mut description = Description::clone(&naming.description);
        description.fill(known);
        *known = if description == *naming.description {
            Arc::clone(&naming.description)
        } else {
            Arc::new(description)
        };
        for (kind, group) in &naming.groups {
            if let Some(kind) = self.groups.kind(kind) {
                self.decide(row, kind, group);
            }
        }
        if naming.is_final {
            (0..self.groups.count()).for_each(|kind| self.decide(row, kind, ""));
        }
        true
    }

    /// Decides what has waited for as long as it may.
    pub fn decide_overdue(&mut self) {
        for row in 0..self.jobs.len() {
            for kind in 0..self.groups.count() {
                let Some(job) = self.jobs[row].as_ref().filter(|job| job.undecided > 0) else { break };
                if self.groups.is_over(kind, &job.standing) {
                    let row = u32::try_from(row).expect("rows are bounded by max_jobs, a u32");
                    self.decide_alone(row, kind);
                }
            }
        }
    }

    /// Decides everything that is not decided yet: the job leaves the page.
    pub(super) fn decide_rest(&mut self, row: u32) {
        (0..self.groups.count()).for_each(|kind| self.decide_alone(row, kind));
        self.history.forget(row);
    }

    /// For each kind that is counted, what its jobs wait with.
    pub(super) fn waiting(&self) -> Vec<Sums> {
        let empty = Sums::new(self.columns.len(), self.zones.len());
        let mut waiting: Vec<Sums> = self.groups.shown().map(|_| empty.clone()).collect();
        for job in self.jobs.iter().flatten().filter(|job| job.undecided > 0) {
            for ((kind, _), sums) in self.groups.shown().zip(&mut waiting) {
                if job.standing.memberships.get(kind) == Some(&Membership::Waiting) {
                    sums.add_all(&whole(&self.wholes, &job.row.sums));
                }
            }
        }
        waiting
    }

    /// Nobody has said in which group of this kind the job is.
    fn decide_alone(&mut self, row: u32, kind: usize) {
        let is_user = self.groups.kind(USER) == Some(kind);
        let user = self.job(row).identity.user.filter(|_| is_user);
        let name = user.map(|user| user.to_string()).unwrap_or_default();
        self.decide(row, kind, &name);
    }

    fn decide(&mut self, row: u32, kind: usize, name: &str) {
        let job = self.jobs[row as usize].as_mut().expect(ROW_IN_USE);
        let membership = job.standing.memberships[kind];
        if matches!(membership, Membership::In(_)) || !self.groups.is_shown(kind) {
            return;
        }
        let place = self.groups.join(kind, name);
        if membership == Membership::Waiting {
            self.groups.owe(kind, place, &whole(&self.wholes, &job.row.sums));
            self.history.decide(row, kind, place, &self.groups);
        }
        Arc::make_mut(&mut job.standing).memberships[kind] = Membership::In(place);
        job.undecided -= 1;
        if job.undecided == 0 {
            self.history.forget(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ledger::Newcomer;
    use crate::model::description::Attribute;
    use crate::model::identity::{JobId, JobKind};
    use crate::model::reading::Hierarchy;
    use crate::model::snapshot::Totals;
    use crate::model::time::Moment;

    #[test]
    fn what_is_known_of_a_job_is_not_lost_to_a_poorer_description() {
        let mut ledger = Ledger::new(Arc::new([]), Vec::new(), 10, Nanos::from_seconds(300));
        ledger.begin(&Moment::default());
        let id = JobId::new(JobKind::Pod, "a");
        ledger.open(Newcomer { id: &id, cgroup: &"/a".into(), user: None, naming: None }, Hierarchy::Primary);
        let mut tell = |values: &[(Attribute, &str)]| {
            let mut description = Description::default();
            values.iter().for_each(|(attribute, value)| description.set(*attribute, value));
            let description = Arc::new(description);
            ledger.describe(&Naming { id: id.clone(), description, groups: Vec::new(), is_final: false });
            let mut totals = Totals::default();
            ledger.fill(&mut totals);
            let known = &totals.jobs[0].description;
            [Attribute::Namespace, Attribute::Pod].map(|attribute| known.get(attribute).to_owned())
        };
        assert_eq!(tell(&[(Attribute::Namespace, "shop"), (Attribute::Pod, "web-0")]), ["shop", "web-0"]);
        assert_eq!(tell(&[(Attribute::Pod, "web-1")]), ["shop", "web-1"]);
        assert_eq!(tell(&[]), ["shop", "web-1"]);
    }
}
