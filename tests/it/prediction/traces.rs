//! Made-up runs of training jobs, as an exporter sees them: what they do to time and power, and what they report.

use jouleprint::clock::Jitter;
use jouleprint::model::quantity::{Energy, Nanos};
use jouleprint::model::speech::{Point, STEP};

/// What makes the runs of a class unlike a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Noise from tick to tick, no more.
    Steady,
    /// The beginning is 60 % dearer.
    WarmUp,
    /// As a whole it gets dearer or cheaper, by a fifth at the most, or wanders.
    Drift,
    /// From one moment to the next another level, once or twice, by 5 to 20 %.
    Steps,
    /// Noise that lasts for minutes.
    Waves,
    /// Evaluation after every few epochs, in which no progress is made.
    Evaluation,
    /// Of all these a little.
    Mixed,
}

pub(super) const CLASSES: [(Class, &str); 7] = [
    (Class::Steady, "steady"),
    (Class::WarmUp, "warm-up"),
    (Class::Drift, "drift"),
    (Class::Steps, "steps"),
    (Class::Waves, "lasting noise"),
    (Class::Evaluation, "evaluation"),
    (Class::Mixed, "all of it"),
];

/// What was used by a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    pub(super) seconds: f64,
    pub(super) joules: f64,
}

/// A run from its beginning to its end.
#[derive(Debug)]
pub(super) struct Trace {
    /// Everything that was reported, none left out.
    pub(super) reports: Vec<Point>,
    /// In millionths of a step.
    pub(super) total: u64,
    /// Before the first epoch, and after each one.
    pub(super) epochs: Vec<Used>,
}

impl Trace {
    pub(super) fn end(&self) -> Used {
        *self.epochs.last().unwrap()
    }
}

/// Chance with the shapes that are needed here.
struct Dice(Jitter);

impl Dice {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    /// Alike in every doubling.
    fn between_sizes(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Mean 0, deviation 1: the sum of twelve is normal enough.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.between(0.0, 1.0)).sum::<f64>() - 6.0
    }

    fn is(&mut self, share: f64) -> bool {
        self.between(0.0, 1.0) < share
    }

    fn sign(&mut self) -> f64 {
        if self.is(0.5) { 1.0 } else { -1.0 }
    }
}

/// What changes in the course of a run, on its time or its power.
struct Shape {
    /// How long, as a share of the run, and whether it ends at once or fades.
    warm_up: Option<(f64, bool)>,
    /// By what share the end is dearer than the beginning.
    slope: f64,
    /// How far the level has wandered by the end, one deviation.
    walk: f64,
    /// Where, and by what share.
    steps: Vec<(f64, f64)>,
    /// One deviation, and for how many parts of an epoch it lasts.
    wave: (f64, f64),
    is_of_time: bool,
}

impl Shape {
    fn roll(class: Class, dice: &mut Dice) -> Shape {
        let is = |wanted: Class| class == wanted || class == Class::Mixed;
        // Where everything comes together, each is half as much.
        let much = if class == Class::Mixed { 0.5 } else { 1.0 };
        let mut shape = Shape {
            warm_up: (class != Class::Steady).then(|| (dice.between(0.005, 0.03), dice.is(0.5))),
            slope: 0.0,
            walk: 0.0,
            steps: Vec::new(),
            wave: (0.0, 1.0),
            is_of_time: dice.is(0.67),
        };
        if is(Class::Drift) {
            match dice.is(0.67) {
                true => shape.slope = dice.between(-0.2, 0.2) * much,
                false => shape.walk = dice.between(0.0, 0.15) * much,
            }
        }
        if is(Class::Steps) {
            for _ in 0..if dice.is(0.5) { 1 } else { 2 } {
                let by = dice.between(0.05, 0.2) * dice.sign() * much;
                shape.steps.push((dice.between(0.0, 1.0), by));
            }
        }
        if is(Class::Waves) {
            shape.wave = (dice.between(0.03, 0.1) * much, dice.between_sizes(5.0, 60.0));
        }
        shape
    }

    /// How much dearer than at the level of its beginning, at this share of the run.
    fn level(&self, at: f64) -> f64 {
        let steps: f64 =
            self.steps.iter().filter(|(begin, _)| at >= *begin).map(|(_, by)| 1.0 + by).product();
        (1.0 + self.slope * at) * steps
    }

    fn warm_up(&self, at: f64) -> f64 {
        match self.warm_up {
            Some((length, true)) if at < length => 1.6,
            Some((length, false)) => 1.0 + 0.6 * (-at / length * 2.0).exp(),
            Some((_, true)) | None => 1.0,
        }
    }
}

/// A run of this class; every second one says only when an epoch is over.
pub(super) fn trace(class: Class, seed: u64) -> Trace {
    let mut dice = Dice(Jitter::from_seed(seed));
    let is_by_epoch = dice.is(0.5);
    let shape = Shape::roll(class, &mut dice);
    let epochs = dice.between_sizes(20.0, 200.0) as u64;
    let nominal = dice.between_sizes(1_200.0, 43_200.0);
    let parts = ((nominal / epochs as f64 / 5.0) as u64).clamp(4, 400);
    let seconds = nominal / (epochs * parts) as f64;
    let watts = dice.between_sizes(20.0, 2_000.0);
    let noise = (dice.between(0.01, 0.08), dice.between(0.01, 0.06));
    let every = [1, 2, 5, 10][dice.0.below(4) as usize];
    let has_evaluation = matches!(class, Class::Evaluation | Class::Mixed);
    // As a share of an epoch; its power, as one of the run's; whether an epoch is reported before it.
    let evaluation = (dice.between(0.05, 0.3), dice.between(0.7, 1.1), dice.is(0.5));
    let warm_time = dice.is(0.67);
    // Imports, data, a model on its way to the accelerator: before anything is reported.
    let mut used = Used { seconds: dice.between(5.0, 120.0), joules: 0.0 };
    used.joules = used.seconds * watts * 0.5;
    let mut trace = Trace { reports: Vec::new(), total: epochs * parts * STEP, epochs: vec![used] };
    if !is_by_epoch {
        trace.reports.push(point(used, 0));
    }
    let (mut walk, mut wave) = (1.0, 0.0);
    for step in 0..epochs * parts {
        let at = step as f64 / (epochs * parts) as f64;
        walk *= 1.0 + shape.walk * dice.normal() / ((epochs * parts) as f64).sqrt();
        let keeps = (-1.0 / shape.wave.1).exp();
        wave = wave * keeps + shape.wave.0 * dice.normal() * (1.0 - keeps * keeps).sqrt();
        let level = shape.level(at) * walk * (1.0 + wave);
        let (mut slow, mut hot) = if shape.is_of_time { (level, 1.0) } else { (1.0, level) };
        if warm_time {
            slow *= shape.warm_up(at);
        } else {
            hot *= shape.warm_up(at);
        }
        let took = seconds * slow * (1.0 + noise.0 * dice.normal()).max(0.1);
        used.seconds += took;
        used.joules += took * watts * hot * (1.0 + noise.1 * dice.normal()).max(0.1);
        let done = (step + 1) * STEP;
        let is_end = (step + 1).is_multiple_of(parts);
        let (share, power, is_before) = evaluation;
        if is_end && is_by_epoch && is_before {
            trace.reports.push(point(used, done));
        }
        let epoch = (step + 1) / parts;
        if is_end && has_evaluation && epoch.is_multiple_of(every) {
            let took = share * seconds * parts as f64 * level.max(0.5) * (1.0 + 0.03 * dice.normal());
            used.seconds += took;
            used.joules += took * watts * power;
        }
        if is_end {
            trace.epochs.push(used);
        }
        let is_reported = match trace.reports.last() {
            _ if is_by_epoch => is_end && !is_before,
            // One a tick at the most. What follows an epoch's last step is told with the next one.
            Some(last) => used.seconds - last.at.as_seconds() >= 5.0 && !is_end,
            None => !is_end,
        };
        if is_reported {
            trace.reports.push(point(used, done));
        }
    }
    trace
}

fn point(used: Used, done: u64) -> Point {
    Point {
        at: Nanos::new((used.seconds * 1e9) as u64),
        done,
        energy: Energy::from_micro((used.joules * 1e6) as u64),
    }
}
