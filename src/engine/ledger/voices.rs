//! What jobs say of themselves, beside their accounts.

use super::{JobRow, Ledger};
use crate::engine::speech::{Mark, Voice};
use crate::model::identity::JobId;
use crate::model::quantity::{CpuTime, Nanos};
use crate::model::snapshot::{Column, amounts};
use crate::model::speech::{Amounts, Heard};

/// A job that is about to be heard: its number, and what it had used before the tick.
pub(in crate::engine) type Before = Option<(u64, Mark)>;

impl Ledger {
    /// Where those stand who have said something, before anything of the tick is booked; the tick before it
    /// was at `last`.
    pub(in crate::engine) fn listen(&self, speech: &[Heard], last: Nanos) -> Vec<Before> {
        let before = |heard: &Heard| {
            let job = self.voiced(&heard.id)?;
            Some((job.identity.number, mark(job, &self.columns, last)))
        };
        speech.iter().map(before).collect()
    }

    /// Takes in what was said, when everything of the tick is booked. Who has no place on the page is not heard.
    pub(in crate::engine) fn hear(&mut self, speech: &[Heard], before: &[Before]) {
        let now = self.now.monotonic;
        for (heard, before) in speech.iter().zip(before) {
            let Some(row) = self.row_of(&heard.id) else { continue };
            let Some(job) = self.jobs[row as usize].as_mut() else { continue };
            // One that an earlier boot has seen is as old as this one.
            let born = Some(job.identity.started.monotonic).filter(|born| *born <= now).unwrap_or_default();
            // One that was not there is born in this tick.
            let nothing = Mark { at: born, amounts: Amounts::default(), cpu: CpuTime::ZERO };
            let before = before.as_ref().filter(|(number, _)| *number == job.identity.number);
            let before = before.map_or(&nothing, |(_, mark)| mark);
            let after = mark(job, &self.columns, now);
            job.voice.get_or_insert_with(Box::<Voice>::default).hear(heard, before, &after, born);
            job.changed = now;
        }
    }

    /// A job of the same id begins in this row: what the one before was at ended with it.
    pub(super) fn begin_anew(&mut self, row: u32) {
        let Some(job) = self.jobs[row as usize].as_mut() else { return };
        if let Some(ended) = job.ended
            && job.voice.is_some()
        {
            let end = mark(job, &self.columns, ended);
            job.voice.iter_mut().for_each(|voice| voice.begin_anew(&end));
        }
    }

    fn voiced(&self, id: &JobId) -> Option<&JobRow> {
        self.row_of(id).map(|row| self.job(row))
    }
}

fn mark(job: &JobRow, columns: &[Column], at: Nanos) -> Mark {
    let sums = &job.row.sums;
    Mark { at, amounts: amounts(columns, &sums.energy, &sums.emissions), cpu: job.cpu }
}

#[cfg(test)]
mod tests {
    use super::super::{Ledger, Newcomer};
    use crate::model::identity::{HwType, JobId, JobKind, Name, Origin};
    use crate::model::quantity::Nanos;
    use crate::model::reading::Hierarchy;
    use crate::model::snapshot::{Column, Totals};
    use crate::model::speech::{Heard, Progress, Said, Statement};
    use crate::model::time::Moment;

    #[test]
    fn a_job_whose_id_comes_back_is_at_nothing_yet() {
        let column = Column {
            hw_type: HwType::Cpu,
            gpu: "".into(),
            gpu_instance: "".into(),
            origin: Origin::Measured,
        };
        let mut ledger = Ledger::new(vec![column].into(), vec![true], 10, Nanos::from_seconds(100));
        ledger.begin(&Moment::default());
        let (id, cgroup) = (JobId::new(JobKind::Unit, "a.service"), Name::from("/a.service"));
        let newcomer = Newcomer { id: &id, cgroup: &cgroup, user: None, naming: None };
        let row = ledger.open(newcomer, Hierarchy::Primary).expect("room");
        let said = |statement| Said { at: Nanos::ZERO, cpu: None, statement };
        let progress = Progress { done: 1, total: 2 };
        let said = vec![said(Statement::Begin("train".into())), said(Statement::Progress(progress))];
        let speech = [Heard { id: id.clone(), said, cpu: None }];
        let before = ledger.listen(&speech, Nanos::ZERO);
        ledger.hear(&speech, &before);
        let state = |ledger: &Ledger| {
            let mut totals = Totals::default();
            ledger.fill(&mut totals);
            let speech = totals.jobs[0].speech.clone().expect("it has spoken");
            (speech.phases.open.len(), speech.progress.is_some())
        };
        assert_eq!(state(&ledger), (1, true));
        ledger.close(row, Hierarchy::Primary);
        assert_eq!(state(&ledger), (1, true), "what it was at last is shown while it is on the page");
        assert_eq!(ledger.open(newcomer, Hierarchy::Primary), Some(row));
        assert_eq!(state(&ledger), (0, false));
    }
}
