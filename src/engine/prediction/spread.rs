//! What the rest takes, and how far off that may be, from the blocks that are known.

use super::course::Block;

/// Enough for a first and a last tenth of them: 20 on each side.
const RESAMPLES: usize = 200;

/// By how much the level of energy and of time may yet change, as a share of it: what nobody can see in the course so
/// far, such as other jobs on the machine. So chosen that on made-up runs of seven classes (not those of the tests)
/// four of five ends lie within the outer quantiles. Energy has what time has, and the power beside.
const UNSEEN: [f64; 2] = [0.038, 0.026];

/// And by how much more for each change that was seen between the halves of the course; chosen with it.
const SEEN: f64 = 2.0 / 3.0;

/// A seeded run of numbers (splitmix64): this room has no clock, and no chance of its own.
pub(super) struct Chance(u64);

impl Chance {
    /// The same for the same seed.
    pub(super) const fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `limit`, which is not among them.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    /// Mean 0 and deviation 1: the sum of twelve is as good as normal between the outer tenths.
    fn normal(&mut self) -> f64 {
        let unit = |number: u64| (number >> 11) as f64 / (1_u64 << 53) as f64;
        (0..12).map(|_| unit(self.next())).sum::<f64>() - 6.0
    }
}

/// What the `rest` of the steps takes in energy (µJ) and time (ns), at the quantiles. Three things are unknown, and
/// each resample draws all of them: how far the slope is off, what noise is still to come, and how the level changes.
pub(super) fn spread(blocks: &[Block], rest: f64, chance: &mut Chance) -> [[f64; 3]; 2] {
    let columns =
        [|block: &Block| block.energy, |block: &Block| block.time].map(|of| Column::new(blocks, of));
    let known: f64 = blocks.iter().map(|block| block.steps).sum();
    // The mean of noise over twice the steps is smaller by √2.
    let shorter = (known / rest.max(1.0)).sqrt();
    let mut draw = || {
        let (slope, noise) = (resampled(blocks, &columns, chance), resampled(blocks, &columns, chance));
        // A machine that gets slower gets dearer: it is the same for both.
        let level = chance.normal();
        [0, 1].map(|index| {
            let column = &columns[index];
            let change = UNSEEN[index].hypot(SEEN * column.change) * level * column.slope;
            let step = column.slope + slope[index] + noise[index] * shorter + change;
            (step * rest).max(0.0)
        })
    };
    let drawn: Vec<[f64; 2]> = (0..RESAMPLES).map(|_| draw()).collect();
    let tenth = RESAMPLES / 10;
    [0, 1].map(|index| {
        let mut ahead: Vec<f64> = drawn.iter().map(|drawn| drawn[index]).collect();
        ahead.sort_unstable_by(f64::total_cmp);
        let middle = columns[index].slope * rest;
        [ahead[tenth].min(middle), middle, ahead[RESAMPLES - 1 - tenth].max(middle)]
    })
}

/// One of the two quantities over the blocks.
struct Column {
    slope: f64,
    /// What each block took beyond the mean of its steps.
    deviations: Vec<f64>,
    /// By what share the later half is dearer than the earlier one.
    change: f64,
}

impl Column {
    fn new(blocks: &[Block], of: fn(&Block) -> f64) -> Column {
        let mean = mean(blocks, of);
        let (early, late) = blocks.split_at(blocks.len() / 2);
        let change = (self::mean(late, of) - self::mean(early, of)) / mean;
        Column {
            slope: slope(blocks, of),
            deviations: blocks.iter().map(|block| of(block) - mean * block.steps).collect(),
            // What takes nothing does not change.
            change: if change.is_finite() { change } else { 0.0 },
        }
    }
}

fn mean(blocks: &[Block], of: fn(&Block) -> f64) -> f64 {
    let steps: f64 = blocks.iter().map(|block| block.steps).sum();
    blocks.iter().map(of).sum::<f64>() / steps
}

/// Theil and Sen's: the median of the slopes between any two borders, 820 of them at the most. A phase that comes
/// again, such as an evaluation, is in the long ones; a hiccup is in few.
fn slope(blocks: &[Block], of: fn(&Block) -> f64) -> f64 {
    let mut slopes = Vec::with_capacity(blocks.len() * (blocks.len() + 1) / 2);
    for begin in 0..blocks.len() {
        let (mut steps, mut sum) = (0.0, 0.0);
        for block in &blocks[begin..] {
            steps += block.steps;
            sum += of(block);
            slopes.push(sum / steps);
        }
    }
    let middle = slopes.len() / 2;
    *slopes.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// How far the mean of as many blocks as there are is off: neighbours are drawn together, for what made one block
/// dear makes the next one dear too. The cube root of their number is the usual length of such a row.
fn resampled(blocks: &[Block], columns: &[Column; 2], chance: &mut Chance) -> [f64; 2] {
    let count = blocks.len();
    let length = (1..count).find(|length| length.pow(3) >= count).unwrap_or(1);
    let (mut sums, mut steps, mut drawn) = ([0.0; 2], 0.0, 0);
    while drawn < count {
        let begin = chance.below(count - length + 1);
        for place in (begin..begin + length).take(count - drawn) {
            steps += blocks[place].steps;
            sums[0] += columns[0].deviations[place];
            sums[1] += columns[1].deviations[place];
            drawn += 1;
        }
    }
    // Deviations from the mean of few are too small by so much.
    let few = (count as f64 / (count - length) as f64).sqrt();
    sums.map(|sum| sum / steps * few)
}
