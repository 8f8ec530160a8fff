//! What a job says of itself, in its accounts. A mark cuts the tick in which it was made: what the job used in
//! that tick is divided over the pieces, exactly, by the CPU time that the job had at each mark (accelerators: by
//! time, since nothing tells more finely). Between marks nothing is done: whatever the job uses is that of the
//! phase that was begun last and is still open.

use super::prediction::course::note;
use super::split::split;
use crate::model::identity::{HwType, Name};
use crate::model::quantity::{CpuTime, Emissions, Energy, Nanos};
use crate::model::speech::{Amount, Amounts, Heard, Phase, Phases, Point, Progress, Said, Speech, Statement};
use std::sync::Arc;

/// Names of phases that a job may have; what it begins beyond is called [`OTHER`].
const MAX_PHASES: usize = 32;
const OTHER: &str = "other";

/// Phases inside one another; what is begun deeper is refused.
pub const MAX_DEPTH: usize = 16;

/// All that one job has said.
#[derive(Debug, Default)]
pub struct Voice {
    speech: Speech,
}

/// What a job had used at a moment.
#[derive(Debug, Clone, Default)]
pub struct Mark {
    /// When, in monotonic time.
    pub at: Nanos,
    /// Energy and emissions.
    pub amounts: Amounts,
    /// CPU time.
    pub cpu: CpuTime,
}

/// What it used between two statements, or between one and an end of the tick.
#[derive(Debug, Clone, Default)]
struct Piece {
    time: Nanos,
    cpu: CpuTime,
    amounts: Amounts,
}

impl Voice {
    /// Goes on with what was said to an earlier process.
    #[must_use]
    pub fn resume(speech: Speech) -> Voice {
        Voice { speech }
    }

    /// The job had ended and is there again: what it was at and how far it was is past.
    pub fn begin_anew(&mut self, end: &Mark) {
        let phases = Arc::make_mut(&mut self.speech.phases);
        settle(phases, end);
        phases.open.clear();
        self.speech.progress = None;
        self.speech.course = Arc::default();
    }

    /// For the snapshot: what changes with every tick is worked out by who reads it.
    #[must_use]
    pub fn speech(&self) -> Speech {
        self.speech.clone()
    }

    /// Takes in what was said in a tick that went from `before` to `after`, by a job that was first seen at `born`.
    pub fn hear(&mut self, heard: &Heard, before: &Mark, after: &Mark, born: Nanos) {
        let pieces = pieces(heard, before, after);
        if heard.said.iter().any(|said| !matches!(said.statement, Statement::Progress(_))) {
            let phases = Arc::make_mut(&mut self.speech.phases);
            settle(phases, before);
            for (place, piece) in pieces.iter().enumerate() {
                if let Some(phase) = phases.open.last().and_then(|open| phases.all.get_mut(*open)) {
                    phase.time += piece.time;
                    phase.cpu += piece.cpu;
                    piece.amounts.0.iter().for_each(|amount| phase.amounts.add(*amount));
                }
                match heard.said.get(place).map(|said| &said.statement) {
                    Some(Statement::Begin(name)) => begin(phases, name),
                    Some(Statement::End(name)) => end(phases, name),
                    Some(Statement::Progress(_)) | None => {}
                }
            }
            (phases.since, phases.until, phases.cpu) = (after.at, after.amounts.clone(), after.cpu);
        }
        let mut energy = before.amounts.energy();
        let mut latest = None;
        for (piece, said) in pieces.iter().zip(&heard.said) {
            energy += piece.amounts.energy();
            if let Statement::Progress(progress) = said.statement {
                let at = said.at.max(before.at).min(after.at).saturating_sub(born);
                latest = Some((progress, Point { at, done: progress.done, energy }));
            }
        }
        // One point a tick: within it nothing is known of an accelerator's energy.
        if let Some((progress, point)) = latest {
            self.walk(progress, point);
        }
    }

    fn walk(&mut self, progress: Progress, point: Point) {
        let furthest = self.speech.progress.map_or(0, |(_, earlier)| earlier.done);
        let first = self.speech.course.first().map_or(0, |first| first.done);
        // Several processes of a job may say where each of them is: the foremost counts. Whoever goes far back has
        // begun anew.
        let has_begun_anew = point.done <= first || point.done < furthest / 2;
        if point.done < furthest && !has_begun_anew {
            return;
        }
        self.speech.progress = Some((progress, point));
        if point.done < furthest {
            self.speech.course = Arc::default();
        }
        // Who says the same again has not moved.
        if self.speech.course.last().is_none_or(|last| last.done < point.done) {
            note(Arc::make_mut(&mut self.speech.course), point);
        }
    }
}

/// Everything up to `now` is that of the open phase.
fn settle(phases: &mut Phases, now: &Mark) {
    phases.all = phases.at(now.at, &now.amounts, now.cpu);
    (phases.since, phases.until, phases.cpu) = (now.at, now.amounts.clone(), now.cpu);
}

fn begin(phases: &mut Phases, name: &Name) {
    if phases.open.len() >= MAX_DEPTH {
        phases.refused = phases.refused.saturating_add(1);
        return;
    }
    let place = |name: &str| phases.all.iter().position(|phase| &*phase.name == name);
    let (place, name) = match place(name) {
        Some(place) => (Some(place), name.clone()),
        None if phases.all.len() < MAX_PHASES => (None, name.clone()),
        None => (place(OTHER), OTHER.into()),
    };
    let place = place.unwrap_or_else(|| {
        let amounts = Amounts::default();
        phases.all.push(Phase { name, time: Nanos::ZERO, cpu: CpuTime::ZERO, amounts });
        phases.all.len() - 1
    });
    phases.open.push(place);
}

/// The last one of that name that was begun; those that were begun inside it go on.
fn end(phases: &mut Phases, name: &Name) {
    let known = phases.all.iter().position(|phase| phase.name == *name);
    let is_full = phases.all.len() >= MAX_PHASES;
    let other = || phases.all.iter().position(|phase| &*phase.name == OTHER);
    let known = known.or_else(|| other().filter(|_| is_full));
    let open = known.and_then(|place| phases.open.iter().rposition(|open| *open == place));
    match open {
        Some(depth) => drop(phases.open.remove(depth)),
        None => phases.refused = phases.refused.saturating_add(1),
    }
}

/// What the job used in the tick, cut at every statement: one piece more than there are statements.
fn pieces(heard: &Heard, before: &Mark, after: &Mark) -> Vec<Piece> {
    let times = times(&heard.said, before.at, after.at);
    let used = after.cpu.saturating_sub(before.cpu);
    let shares = shares(&heard.said, heard.cpu, used).unwrap_or_else(|| times.clone());
    let cpu = divide(used.get(), &shares, &times);
    let mut pieces: Vec<Piece> = times
        .iter()
        .zip(cpu)
        .map(|(time, cpu)| Piece {
            time: Nanos::new(*time),
            cpu: CpuTime::new(cpu),
            amounts: Amounts::default(),
        })
        .collect();
    for amount in after.amounts.since(&before.amounts).0 {
        let (first, second) = match amount.hw_type {
            HwType::Cpu | HwType::Memory | HwType::Other => (&shares, &times),
            HwType::Gpu => (&times, &shares),
        };
        let energy = divide(amount.energy.as_micro(), first, second);
        let emissions = divide(amount.emissions.as_nano(), first, second);
        for (piece, (energy, emissions)) in pieces.iter_mut().zip(energy.into_iter().zip(emissions)) {
            let (energy, emissions) = (Energy::from_micro(energy), Emissions::from_nano(emissions));
            piece.amounts.add(Amount { energy, emissions, ..amount });
        }
    }
    pieces
}

/// How long each piece is.
fn times(said: &[Said], start: Nanos, end: Nanos) -> Vec<u64> {
    let mut last = start;
    let ends = said.iter().map(|said| said.at).chain([end]);
    let times = ends.map(|at| {
        // Clocks are read in turn: what was said while the tick was read belongs to its end.
        let at = at.max(last).min(end.max(start));
        let time = at.saturating_sub(last);
        last = at;
        time.get()
    });
    times.collect()
}

/// The CPU time of each piece, as far as every statement came with it.
fn shares(said: &[Said], now: Option<CpuTime>, used: CpuTime) -> Option<Vec<u64>> {
    let shown: Vec<CpuTime> = said.iter().map(|said| said.cpu).chain([now]).collect::<Option<_>>()?;
    let (first, last) = (*shown.first()?, *shown.last()?);
    // What the job used in the tick and not since its first statement it used before that.
    let before = used.saturating_sub(last.saturating_sub(first));
    let between = shown.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).get());
    Some(std::iter::once(before.get()).chain(between).collect())
}

/// By the first weights, else by the others, else all to the last piece.
fn divide(amount: u64, first: &[u64], second: &[u64]) -> Vec<u64> {
    let by = |weights: &[u64]| split(amount, weights.iter().copied().zip(0..));
    by(first).or_else(|| by(second)).unwrap_or_else(|| {
        let mut all = vec![0; first.len()];
        if let Some(last) = all.last_mut() {
            *last = amount;
        }
        all
    })
}

#[cfg(test)]
mod tests;
