//! From how far a job has come, and what it has used by then, to the whole of it: what a step takes, by a slope that
//! a few odd blocks do not bend, and how far off that may be. It stands beside the engine's step: nothing that is
//! booked depends on it, so floats are allowed here. The same points, total and seed give the same outlook.

pub mod course;
mod price;
mod spread;

use crate::model::quantity::{Energy, Nanos};
use crate::model::speech::Point;
use course::{blocks, warm_up};
use spread::{Chance, spread};

pub use price::priced;

/// More would cost more and say hardly more: how sure a slope is depends on the length of the course.
pub const MAX_BLOCKS: usize = 40;

/// After the warm-up. With fewer nobody can tell noise from a trend, nor one block that was odd.
pub const MIN_BLOCKS: usize = 4;

/// What the rest will take, from the course so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// How many blocks of what has been done it rests on.
    pub blocks: u32,
    /// All that the job will have used, at each of [`crate::model::speech::QUANTILES`].
    pub energy: [Energy; 3],
    /// All that it will have taken, since it was first seen.
    pub duration: [Nanos; 3],
}

/// What the whole will take, from its `points` in the order of time, at most [`course::MAX_POINTS`]: `total` is in
/// millionths of a step as they are. `None`: too early to say.
///
/// E = E now + slope · (total − done), and the same for the time. Any points give nothing, or quantiles in their
/// order that are not below what has been used.
#[must_use]
pub fn predict(points: &[Point], total: u64, seed: u64) -> Option<Outlook> {
    let last = points.last()?;
    let all = blocks(points);
    let steady = &all[warm_up(&all)..];
    if steady.len() < MIN_BLOCKS {
        return None;
    }
    let rest = total.saturating_sub(last.done) as f64;
    let [energy, time] = spread(steady, rest, &mut Chance::new(seed));
    let whole = |used: u64, ahead: [f64; 3]| ahead.map(|more| used.saturating_add(rounded(more)));
    Some(Outlook {
        blocks: u32::try_from(steady.len()).ok()?,
        energy: whole(last.energy.as_micro(), energy).map(Energy::from_micro),
        duration: whole(last.at.get(), time).map(Nanos::new),
    })
}

/// To a whole number; what is more than there is room for is the most there is.
fn rounded(value: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let whole = value.round() as u64;
    whole
}

#[cfg(test)]
mod tests;
