//! What a job says of itself while it runs: how far it has come, and what it is at; and what follows from it.

use super::identity::{HwType, JobId, Name, Origin};
use super::quantity::{CpuTime, Emissions, Energy, Nanos};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Steps are counted in millionths: half an epoch is one too.
pub const STEP: u64 = 1_000_000;

/// Millionths as steps, for people and messages.
#[must_use]
pub fn in_steps(millionths: u64) -> f64 {
    millionths as f64 / STEP as f64
}

/// The quantiles in which a prediction is given.
pub const QUANTILES: [&str; 3] = ["0.1", "0.5", "0.9"];

/// How far a job has come, in millionths of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    pub done: u64,
    /// Steps there are; never 0, never less than are done.
    pub total: u64,
}

impl Progress {
    /// The share that is done, in ppm.
    #[must_use]
    pub fn ratio_ppm(self) -> u64 {
        let ppm = (u128::from(self.done) * 1_000_000).checked_div(u128::from(self.total));
        ppm.map_or(0, |ppm| u64::try_from(ppm).unwrap_or(u64::MAX))
    }
}

/// How far a job had come at one moment, and what it had used by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// When, since the job was first seen.
    pub at: Nanos,
    /// Steps that were done, in millionths.
    pub done: u64,
    /// What it had used since it was first seen.
    pub energy: Energy,
}

/// What a job says at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statement {
    /// So far it has come.
    Progress(Progress),
    /// It begins something with this name.
    Begin(Name),
    /// It has ended it.
    End(Name),
}

/// A statement with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When, in monotonic time.
    pub at: Nanos,
    /// The CPU time that the job's group showed then; `None` where that could not be read.
    pub cpu: Option<CpuTime>,
    /// What.
    pub statement: Statement,
}

/// What one job has said since the last tick, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Who.
    pub id: JobId,
    /// What.
    pub said: Vec<Said>,
    /// The CPU time that the job's group shows at the tick's end.
    pub cpu: Option<CpuTime>,
}

/// Energy and emissions by kind of hardware and origin. What is not there is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts(pub Vec<Amount>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// On which kind of hardware.
    pub hw_type: HwType,
    /// Measured or estimated.
    pub origin: Origin,
    /// Energy.
    pub energy: Energy,
    /// Emissions, PUE included.
    pub emissions: Emissions,
}

impl Amounts {
    /// Adds to one of them.
    pub fn add(&mut self, amount: Amount) {
        let key = |amount: &Amount| (amount.hw_type, amount.origin);
        match self.0.binary_search_by_key(&key(&amount), key) {
            Ok(place) => {
                self.0[place].energy += amount.energy;
                self.0[place].emissions += amount.emissions;
            }
            Err(place) => self.0.insert(place, amount),
        }
    }

    /// What is more here than in `earlier`; what is less is nothing.
    #[must_use]
    pub fn since(&self, earlier: &Amounts) -> Amounts {
        let before = |amount: &Amount| {
            let same = |known: &&Amount| (known.hw_type, known.origin) == (amount.hw_type, amount.origin);
            earlier
                .0
                .iter()
                .find(same)
                .map_or((0, 0), |known| (known.energy.as_micro(), known.emissions.as_nano()))
        };
        let less = self.0.iter().map(|amount| {
            let (energy, emissions) = before(amount);
            Amount {
                energy: Energy::from_micro(amount.energy.as_micro().saturating_sub(energy)),
                emissions: Emissions::from_nano(amount.emissions.as_nano().saturating_sub(emissions)),
                ..*amount
            }
        });
        Amounts(less.collect())
    }

    /// All of the energy.
    #[must_use]
    pub fn energy(&self) -> Energy {
        self.0.iter().map(|amount| amount.energy).sum()
    }

    /// All of the emissions.
    #[must_use]
    pub fn emissions(&self) -> Emissions {
        self.0.iter().fold(Emissions::ZERO, |sum, amount| sum + amount.emissions)
    }
}

/// Something that a job is at now and then. What it used is its own part: not that of what it began inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What the job calls it.
    pub name: Name,
    /// How long it was at it.
    pub time: Nanos,
    /// The CPU time that it used then, as far as that is known.
    pub cpu: CpuTime,
    /// What it used.
    pub amounts: Amounts,
}

/// What a job is and was at. The phases and what was used outside of all of them add up to the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// Everything that was ever begun, in the order of its first beginning, up to `until`.
    pub all: Vec<Phase>,
    /// What is open, by place in `all`; the last that was begun is charged.
    pub open: Vec<usize>,
    /// Since when the open one goes on, in monotonic time.
    pub since: Nanos,
    /// What the job had used by then.
    pub until: Amounts,
    /// And its CPU time.
    pub cpu: CpuTime,
    /// Marks that found no room.
    pub refused: u32,
}

impl Phases {
    /// The phases by now, when the job has used so much.
    #[must_use]
    pub fn at(&self, now: Nanos, used: &Amounts, cpu: CpuTime) -> Vec<Phase> {
        let mut all = self.all.clone();
        if let Some(phase) = self.open.last().and_then(|place| all.get_mut(*place)) {
            phase.time += now.saturating_sub(self.since);
            phase.cpu += cpu.saturating_sub(self.cpu);
            used.since(&self.until).0.into_iter().for_each(|amount| phase.amounts.add(amount));
        }
        all
    }

    /// Whether a phase is open.
    #[must_use]
    pub fn is_open(&self, place: usize) -> bool {
        self.open.contains(&place)
    }
}

/// All that a job has said, and where that led.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Speech {
    /// How far it has come, and the point at which it said so.
    pub progress: Option<(Progress, Point)>,
    /// The way there, in few points.
    pub course: Arc<Vec<Point>>,
    /// What it is at.
    pub phases: Arc<Phases>,
}

/// What was said is written anew when it has moved by this, in ppm of the whole or in time.
const WORTH_WRITING: u64 = 10_000;
const LONG_ENOUGH: Nanos = Nanos::from_seconds(600);

impl Speech {
    /// Whether what is kept of one does for the other: the same phases, and about the same progress.
    #[must_use]
    pub fn is_kept_by(&self, kept: &Speech) -> bool {
        let is_near = match (self.progress, kept.progress) {
            (Some((progress, point)), Some((before, then))) => {
                let moved = progress.ratio_ppm().abs_diff(before.ratio_ppm());
                let is_done = progress.done == progress.total && progress != before;
                let is_recent = point.at.saturating_sub(then.at) < LONG_ENOUGH;
                progress.total == before.total && moved < WORTH_WRITING && !is_done && is_recent
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        Arc::ptr_eq(&self.phases, &kept.phases) && is_near
    }
}

/// How much of the future's intensity is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ahead {
    /// There is a forecast for some of the time that is left.
    Forecast,
    /// The intensity in force is taken for all of it.
    InForce,
}

impl Ahead {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Ahead::Forecast => "forecast",
            Ahead::InForce => "in_force",
        }
    }
}

/// What the whole of a job will come to, at each of [`QUANTILES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// How many blocks of what has been done it rests on.
    pub blocks: u32,
    /// All that the job will have used.
    pub energy: [Energy; 3],
    /// All that it will have taken, since it was first seen.
    pub duration: [Nanos; 3],
    /// All that it will have emitted.
    pub emissions: [Emissions; 3],
    /// By what the rest of it is charged.
    pub intensity: Ahead,
}
