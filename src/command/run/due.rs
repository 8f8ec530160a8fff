//! What an exporter has not heard yet of what the command said, and when it is asked again. What could not be told in
//! its time is told as what is open now: a phase that began and ended meanwhile has no time of its own any more. So the
//! list is bounded, and no end is ever lost.

use super::daemon::Hearing;
use crate::engine::speech::MAX_DEPTH;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::speech::{Heard, Progress, Statement};

/// So often in a row it is tried at every tick: an answer may come late once.
const QUICK_TRIES: u32 = 3;

/// After that, so long is waited first: a restart takes some seconds.
const FIRST_WAIT: u64 = 10;

/// It then doubles up to this: each try may cost a deadline.
const LONGEST_WAIT: u64 = 60;

/// How long somebody who does not answer is left alone.
#[derive(Debug, Default)]
pub struct Patience {
    failures: u32,
    again: Nanos,
}

impl Patience {
    /// Whether it is time to try.
    #[must_use]
    pub fn may_try(&self, now: Nanos) -> bool {
        now >= self.again
    }

    /// Notes how a try went.
    pub fn note(&mut self, now: Nanos, has_answered: bool) {
        if has_answered {
            *self = Patience::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(QUICK_TRIES) {
            // Three doublings are more than the longest wait.
            let wait = (FIRST_WAIT << doublings.min(3)).min(LONGEST_WAIT);
            self.again = now + Nanos::from_seconds(wait);
        }
    }

    /// The next try is the last: it waits for nothing.
    pub fn hurry(&mut self) {
        self.again = Nanos::ZERO;
    }
}

/// What is still to be told.
#[derive(Debug, Default)]
pub struct Due {
    // What is open by what was heard, in its order.
    told: Vec<Name>,
    marks: Vec<Statement>,
    progress: Option<Progress>,
}

impl Due {
    /// Takes in what the command has said.
    pub fn add(&mut self, heard: &[Heard]) {
        for said in heard.iter().flat_map(|heard| &heard.said) {
            match &said.statement {
                Statement::Progress(progress) => self.progress = Some(*progress),
                mark @ (Statement::Begin(_) | Statement::End(_)) => self.marks.push(mark.clone()),
            }
        }
    }

    /// Whether a mark is among it.
    #[must_use]
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.progress.is_none()
    }

    /// Tells it in its order, up to what is not heard, as long as there `is_time`. Returns the last answer.
    pub fn tell(
        &mut self,
        mut say: impl FnMut(&Statement) -> Hearing,
        is_time: impl Fn() -> bool,
    ) -> Hearing {
        let mut left = std::mem::take(&mut self.marks).into_iter();
        let mut answer = Hearing::Heard;
        for mark in left.by_ref() {
            answer = if is_time() { say(&mark) } else { Hearing::Later };
            match (answer, &mark) {
                (Hearing::Heard, _) => self.has_heard(&mark),
                (Hearing::Never, _) => {}
                (Hearing::Unsure, Statement::Begin(name)) if self.told.len() < MAX_DEPTH => {
                    // Heard twice it would stay open for good; an end too many harms nobody.
                    self.has_heard(&mark);
                    self.marks.extend([Statement::End(name.clone()), mark]);
                }
                (Hearing::Later | Hearing::Unsure | Hearing::Nobody, _) => self.marks.push(mark),
            }
            if !answer.is_final() {
                break;
            }
        }
        self.marks.extend(left);
        self.settle();
        if let (true, Some(progress)) = (answer.is_final(), self.progress) {
            answer = if is_time() { say(&Statement::Progress(progress)) } else { Hearing::Later };
            if answer.is_final() {
                self.progress = None;
            }
        }
        answer
    }

    /// Nothing can be told now: what comes later tells what is open then.
    pub fn settle(&mut self) {
        let mut open: Vec<(Name, bool)> = self.told.iter().map(|name| (name.clone(), true)).collect();
        let mut marks = Vec::new();
        for mark in self.marks.drain(..) {
            match mark {
                // What is deeper is opened by nobody.
                Statement::Begin(name) if open.len() < MAX_DEPTH => open.push((name, false)),
                Statement::End(name) => {
                    let last = open.iter().rposition(|(open, _)| *open == name);
                    if last.is_some_and(|last| open.remove(last).1) {
                        marks.push(Statement::End(name));
                    }
                }
                Statement::Begin(_) | Statement::Progress(_) => {}
            }
        }
        let begun = open.into_iter().filter(|(_, is_told)| !is_told);
        marks.extend(begun.map(|(name, _)| Statement::Begin(name)));
        self.marks = marks;
    }

    fn has_heard(&mut self, mark: &Statement) {
        match mark {
            Statement::Begin(name) if self.told.len() < MAX_DEPTH => self.told.push(name.clone()),
            Statement::End(name) => {
                if let Some(last) = self.told.iter().rposition(|open| open == name) {
                    self.told.remove(last);
                }
            }
            Statement::Begin(_) | Statement::Progress(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::{JobId, JobKind};
    use crate::model::speech::Said;
    use proptest::prelude::*;

    fn heard(statements: Vec<Statement>) -> Heard {
        let said =
            statements.into_iter().map(|statement| Said { at: Nanos::ZERO, cpu: None, statement }).collect();
        Heard { id: JobId::new(JobKind::Run, "1"), said, cpu: None }
    }

    fn begins(name: &str) -> Statement {
        Statement::Begin(name.into())
    }

    fn ends(name: &str) -> Statement {
        Statement::End(name.into())
    }

    /// An exporter: what is open there, and how it answers one question after the other.
    #[derive(Default)]
    struct Exporter {
        open: Vec<Name>,
        said: usize,
    }

    impl Exporter {
        fn hear(&mut self, statement: &Statement, answer: Hearing) -> Hearing {
            self.said += 1;
            // An answer that was lost may be that of a statement which was heard.
            let is_heard =
                answer == Hearing::Heard || answer == Hearing::Unsure && self.said.is_multiple_of(2);
            match statement {
                Statement::Begin(name) if is_heard && self.open.len() < MAX_DEPTH => {
                    self.open.push(name.clone())
                }
                Statement::End(name) if is_heard => {
                    if let Some(last) = self.open.iter().rposition(|open| open == name) {
                        self.open.remove(last);
                    }
                }
                Statement::Begin(_) | Statement::End(_) | Statement::Progress(_) => {}
            }
            answer
        }
    }

    #[test]
    fn a_step_that_begins_and_ends_more_often_than_the_exporter_hears_is_closed_in_the_end() {
        let (mut due, mut exporter) = (Due::default(), Exporter::default());
        for tick in 0..12 {
            due.add(&[heard((0..24).flat_map(|_| [begins("step"), ends("step")]).collect())]);
            // It hears as many as fit its own, longer tick, and refuses the rest.
            let mut room = if tick % 5 == 0 { 63 } else { 0 };
            due.tell(
                |mark| {
                    let answer = if room > 0 { Hearing::Heard } else { Hearing::Later };
                    room -= i32::from(room > 0);
                    exporter.hear(mark, answer)
                },
                || true,
            );
            assert!(due.marks.len() <= 2 * MAX_DEPTH, "{}", due.marks.len());
        }
        due.tell(|mark| exporter.hear(mark, Hearing::Heard), || true);
        assert!(exporter.open.is_empty() && due.is_empty(), "{:?}", exporter.open);
    }

    #[test]
    fn what_was_said_while_nobody_heard_is_told_as_what_is_open_then() {
        let mut due = Due::default();
        due.add(&[heard(vec![begins("a"), begins("b")])]);
        assert_eq!(due.tell(|_| Hearing::Heard, || true), Hearing::Heard);
        let progress = |done| Statement::Progress(Progress { done, total: 9 });
        for done in 0..100 {
            due.add(&[heard(vec![begins("step"), ends("step"), progress(done)])]);
            due.settle();
        }
        due.add(&[heard(vec![ends("a"), begins("c"), ends("nobody's")])]);
        assert_eq!(due.tell(|_| Hearing::Nobody, || true), Hearing::Nobody);
        let mut told = Vec::new();
        due.tell(
            |statement| {
                told.push(statement.clone());
                Hearing::Heard
            },
            || true,
        );
        assert_eq!(told, [ends("a"), begins("c"), progress(99)]);
        assert!(due.is_empty());
    }

    #[test]
    fn a_beginning_that_was_perhaps_heard_is_not_open_twice() {
        for was_heard in [0, 1] {
            let (mut due, mut exporter) =
                (Due::default(), Exporter { said: was_heard, ..Exporter::default() });
            due.add(&[heard(vec![begins("a")])]);
            due.tell(|mark| exporter.hear(mark, Hearing::Unsure), || true);
            due.tell(|mark| exporter.hear(mark, Hearing::Heard), || true);
            assert_eq!(exporter.open, ["a".into()], "{was_heard}");
            due.add(&[heard(vec![ends("a")])]);
            due.tell(|mark| exporter.hear(mark, Hearing::Heard), || true);
            assert!(exporter.open.is_empty(), "{was_heard}");
        }
    }

    #[test]
    fn no_more_is_told_than_there_is_time_for() {
        let mut due = Due::default();
        due.add(&[heard(vec![begins("a"), begins("b"), begins("c")])]);
        let said = std::cell::Cell::new(0);
        let say = |_: &Statement| {
            said.set(said.get() + 1);
            Hearing::Heard
        };
        assert_eq!(due.tell(say, || said.get() < 2), Hearing::Later);
        assert_eq!((said.get(), due.marks.as_slice()), (2, &[begins("c")][..]));
    }

    #[test]
    fn somebody_who_does_not_answer_is_tried_ever_less_often_and_never_given_up() {
        let mut patience = Patience::default();
        let mut tries = Vec::new();
        for second in 0..300 {
            let now = Nanos::from_seconds(second);
            if patience.may_try(now) {
                tries.push(second);
                patience.note(now, false);
            }
        }
        assert_eq!(tries, [0, 1, 2, 12, 32, 72, 132, 192, 252]);
        patience.hurry();
        assert!(patience.may_try(Nanos::from_seconds(253)));
        patience.note(Nanos::from_seconds(253), true);
        assert!(patience.may_try(Nanos::from_seconds(253)));
    }

    proptest! {
        #[test]
        fn whatever_is_refused_or_lost_on_the_way_the_same_is_open_in_the_end(
            ticks in prop::collection::vec(
                (prop::collection::vec((0..4_u8, any::<bool>()), 0..40), 0..60_usize, 0..3_u8), 1..20),
        ) {
            let (mut due, mut exporter, mut own) = (Due::default(), Exporter::default(), Exporter::default());
            for (said, room, trouble) in ticks {
                let said: Vec<Statement> = said
                    .into_iter()
                    .map(|(name, is_begin)| {
                        let name = name.to_string();
                        if is_begin { begins(&name) } else { ends(&name) }
                    })
                    .collect();
                for mark in &said {
                    own.hear(mark, Hearing::Heard);
                }
                due.add(&[heard(said)]);
                let answer = [Hearing::Later, Hearing::Nobody, Hearing::Later][usize::from(trouble)];
                let mut left = room;
                due.tell(|mark| {
                    let answer = if left > 0 { Hearing::Heard } else { answer };
                    left = left.saturating_sub(1);
                    exporter.hear(mark, answer)
                }, || true);
                prop_assert!(due.marks.len() <= 2 * MAX_DEPTH);
            }
            due.tell(|mark| exporter.hear(mark, Hearing::Heard), || true);
            prop_assert_eq!(exporter.open, own.open);
        }
    }
}
