//! How a period is cut into windows for a Prometheus, and windows into requests that it takes.

use crate::command::report::period::{DAY, HOUR};
use crate::command::report::question::{Key, Question};
use crate::model::history::Span;
use crate::model::quantity::Nanos;

/// A Prometheus gives 11,000 points a series at the most.
const MAX_POINTS: u64 = 10_000;

/// Windows are not halved below this, in ms: by then it is not the time that is too much.
const MIN_WINDOW: u64 = 600_000;

/// Windows of one length, one after the other; a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Where the first ends, in ms since 1970.
    pub end_milliseconds: u64,
    /// How long each is.
    pub step_milliseconds: u64,
    /// How many.
    pub count: u64,
}

impl Frame {
    /// Where the last ends.
    #[must_use]
    pub const fn last_milliseconds(&self) -> u64 {
        self.end_milliseconds + (self.count - 1) * self.step_milliseconds
    }

    /// The same time in two requests: fewer windows, or, of a single one, two shorter ones.
    #[must_use]
    pub fn halves(&self) -> Option<[Frame; 2]> {
        let Frame { end_milliseconds: end, step_milliseconds: step, count } = *self;
        if count > 1 {
            let half = count / 2;
            let one = Frame { count: half, ..*self };
            return Some([one, Frame { end_milliseconds: end + half * step, count: count - half, ..*self }]);
        }
        let half = step / 2;
        (half >= MIN_WINDOW).then(|| {
            let one = Frame { end_milliseconds: end - (step - half), step_milliseconds: half, count };
            [one, Frame { step_milliseconds: step - half, ..*self }]
        })
    }
}

/// The requests that cover the question's period: whole days or hours if it asks for them, else the period
/// as it is.
#[must_use]
pub fn frames(question: &Question) -> Vec<Frame> {
    let Span { start, end } = question.period;
    let Some(unit) = unit(question) else {
        let step = end.saturating_sub(start).get().div_ceil(1_000_000);
        return vec![Frame {
            end_milliseconds: end.get() / 1_000_000,
            step_milliseconds: step.max(1),
            count: 1,
        }];
    };
    let step = unit / 1_000_000;
    let (first, last) = (start.get() / unit, end.get().div_ceil(unit));
    let starts = (first..last).step_by(usize::try_from(MAX_POINTS).expect("a small number"));
    let frame = |at: u64| Frame {
        end_milliseconds: (at + 1) * step,
        step_milliseconds: step,
        count: MAX_POINTS.min(last - at),
    };
    starts.map(frame).collect()
}

/// The span of the report in which a window ends.
#[must_use]
pub fn span_at(question: &Question, end: Nanos) -> Span {
    match unit(question) {
        Some(unit) => {
            let at = end.get().saturating_sub(1) / unit;
            Span { start: Nanos::new(at * unit), end: Nanos::new((at + 1) * unit) }
        }
        None => question.period,
    }
}

fn unit(question: &Question) -> Option<u64> {
    let hour = question.has(Key::Hour).then_some(HOUR);
    hour.or(question.has(Key::Day).then_some(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::report::question::Filter;

    fn asked(keys: &[Key], start: u64, end: u64) -> Question {
        let period = Span { start: Nanos::from_seconds(start), end: Nanos::from_seconds(end) };
        Question::new(keys, Filter::default(), period).expect("an answer")
    }

    #[test]
    fn windows_cover_the_period_in_whole_hours_or_days() {
        for (keys, start, end, expected) in [
            (&[Key::Host][..], 100, 5_000, vec![(5_000_000, 4_900_000, 1)]),
            (&[Key::Hour], 3_600, 7_200, vec![(7_200_000, 3_600_000, 1)]),
            (&[Key::Hour], 3_601, 7_201, vec![(7_200_000, 3_600_000, 2)]),
            (&[Key::Day, Key::Host], 0, 86_401, vec![(86_400_000, 86_400_000, 2)]),
            (
                &[Key::Hour],
                0,
                3_600 * 10_001,
                vec![(3_600_000, 3_600_000, 10_000), (3_600_000 * 10_001, 3_600_000, 1)],
            ),
        ] {
            let frames = frames(&asked(keys, start, end));
            let frames: Vec<_> = frames
                .iter()
                .map(|frame| (frame.end_milliseconds, frame.step_milliseconds, frame.count))
                .collect();
            assert_eq!(frames, expected, "{keys:?}");
        }
    }

    #[test]
    fn halves_are_the_same_time() {
        let mut left = vec![Frame { end_milliseconds: 100_000_001, step_milliseconds: 6_000_001, count: 7 }];
        let mut windows = Vec::new();
        while let Some(frame) = left.pop() {
            match frame.halves() {
                Some(halves) => left.extend(halves),
                None => {
                    windows.push((frame.end_milliseconds - frame.step_milliseconds, frame.end_milliseconds))
                }
            }
        }
        windows.sort_unstable();
        assert_eq!(windows[0].0, 94_000_000);
        assert_eq!(windows[windows.len() - 1].1, 100_000_001 + 6 * 6_000_001);
        assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0), "no gap: {windows:?}");
        assert!(windows.len() > 14);
    }

    #[test]
    fn a_window_belongs_to_the_span_in_which_it_ends() {
        let question = asked(&[Key::Hour], 0, 7_200);
        for (end, start) in [(3_600_000, 0), (3_600_001, 3_600), (1_800_000, 0), (7_200_000, 3_600)] {
            let span = span_at(&question, Nanos::new(end * 1_000_000));
            assert_eq!(span.start, Nanos::from_seconds(start), "{end}");
        }
        let whole = asked(&[Key::Zone], 5, 99);
        assert_eq!(span_at(&whole, Nanos::from_seconds(50)), whole.period);
    }
}
