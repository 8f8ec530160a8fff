//! The course of a job so far: a bounded list of its points, the blocks that they are cut into, and how many of these
//! are its warm-up.

use super::{MAX_BLOCKS, MIN_BLOCKS};
use crate::model::speech::Point;

/// Three for each of the 40 blocks, and 3 kB a job.
pub const MAX_POINTS: usize = 128;

/// Adds a point to a job's list, which stays short and about even in time. The first and the newest point are always in
/// it; one that lies closest between its neighbours makes room.
pub fn note(points: &mut Vec<Point>, point: Point) {
    points.push(point);
    if points.len() > MAX_POINTS {
        let gap = |&middle: &usize| points[middle + 1].at.saturating_sub(points[middle - 1].at);
        let closest = (1..points.len() - 1).min_by_key(gap);
        points.remove(closest.unwrap_or(0));
    }
}

/// Some steps, and what they took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Block {
    /// In millionths.
    pub(super) steps: f64,
    /// In µJ.
    pub(super) energy: f64,
    /// In ns.
    pub(super) time: f64,
}

/// The blocks between the points, of about the same number of steps: where points are further apart than that, one
/// block lies between them. A point that goes back in anything is passed over.
pub(super) fn blocks(points: &[Point]) -> Vec<Block> {
    let mut course: Vec<Point> = Vec::with_capacity(points.len());
    for point in points {
        match course.last_mut() {
            Some(last) if point.done < last.done || point.at < last.at || point.energy < last.energy => {}
            // What is used without a step, as in an evaluation, belongs to the steps before it.
            Some(last) if point.done == last.done => *last = *point,
            Some(_) | None => course.push(*point),
        }
    }
    let (Some(first), Some(last)) = (course.first(), course.last()) else { return Vec::new() };
    let intervals = (course.len() - 1).min(MAX_BLOCKS);
    let width = (last.done - first.done) as f64 / intervals.max(1) as f64;
    let mut blocks = Vec::with_capacity(intervals);
    let mut begin = first;
    for (index, end) in course.iter().enumerate().skip(1) {
        let steps = (end.done - begin.done) as f64;
        // Borders keep to an even grid, so that what one block has too much the next has too little.
        let cell = ((begin.done - first.done) as f64 / width + 1e-9).floor();
        let is_due = (end.done - first.done) as f64 >= (cell + 1.0) * width * (1.0 - 1e-9);
        if is_due || index + 1 == course.len() {
            let energy = end.energy.as_micro() - begin.energy.as_micro();
            let time = end.at.get() - begin.at.get();
            blocks.push(Block { steps, energy: energy as f64, time: time as f64 });
            begin = end;
        }
    }
    blocks
}

/// How many blocks at the beginning are the warm-up: as many as it takes until the mean of those that follow is as sure
/// as it gets (the marginal standard error rule, MSER), of energy and of time; half of all at the most, for the rule
/// is blind at the end.
pub(super) fn warm_up(blocks: &[Block]) -> usize {
    let most = (blocks.len() / 2).min(blocks.len().saturating_sub(MIN_BLOCKS));
    let cut = |of: fn(&Block) -> f64| {
        let error = |cut: usize| squared_error(&blocks[cut..], of);
        (0..=most).min_by(|one, other| error(*one).total_cmp(&error(*other))).unwrap_or(0)
    };
    cut(|block| block.energy).max(cut(|block| block.time))
}

/// Of the mean that a step takes, squared.
fn squared_error(blocks: &[Block], of: fn(&Block) -> f64) -> f64 {
    let steps: f64 = blocks.iter().map(|block| block.steps).sum();
    let mean = blocks.iter().map(of).sum::<f64>() / steps;
    let squares: f64 =
        blocks.iter().map(|block| (of(block) / block.steps - mean).powi(2) * block.steps).sum();
    squares / steps / blocks.len() as f64
}
