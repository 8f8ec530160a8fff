//! What one command came to: everything that the summary, the files and the store are made from.

use super::child::End;
use super::meter::Meters;
use crate::model::description::Description;
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::{CpuTime, Emissions, Energy, Nanos};
use crate::model::reading::{Domain, Factor};
use crate::model::snapshot::{Column, Totals};
use crate::model::speech::Phase;

/// A command that took less than this is short beside what the kernel's clocks tell apart (10 ms).
const SHORT: Nanos = Nanos::new(200_000_000);

/// By what the command's processes were told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A control group of its own.
    Cgroup,
    /// Its process tree.
    ProcessTree,
}

impl Method {
    /// As in the files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Cgroup => "cgroup",
            Method::ProcessTree => "process_tree",
        }
    }
}

/// Hardware of one kind and origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub column: Column,
    /// What the command was charged with.
    pub energy: Energy,
    /// The same in grams, PUE included, by grid zone.
    pub emissions: Vec<(Name, Emissions)>,
    /// What the whole machine drew meanwhile.
    pub machine: Energy,
    /// And its grams.
    pub machine_emissions: Emissions,
    /// Half the width of an estimate's error as a share of it, in ppm.
    pub uncertainty_ppm: u64,
}

/// A meter that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterUse {
    /// The `hw_id` label.
    pub id: Name,
    /// What it is read by.
    pub source: Name,
    /// Whether it is one.
    pub origin: Origin,
}

/// See the file's head.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The run's id.
    pub id: String,
    /// The command, unless it is to be left out.
    pub command: Option<Vec<String>>,
    /// What is known of it.
    pub description: Description,
    /// On which host.
    pub host: String,
    /// When it was started, in wall time.
    pub started: Nanos,
    /// How long it took.
    pub lasted: Nanos,
    /// How it ended.
    pub end: End,
    /// How its processes were found.
    pub method: Method,
    /// What they used of the processors.
    pub cpu: CpuTime,
    /// By hardware.
    pub parts: Vec<Part>,
    /// What it was at, by its own word.
    pub phases: Vec<Phase>,
    /// Read by what.
    pub meters: Vec<MeterUse>,
    /// The intensity used last.
    pub factor: Factor,
    /// Whether it is compared with everyday things.
    pub has_equivalents: bool,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Outcome {
    /// When it ended, by the clock that it was started by.
    #[must_use]
    pub fn ended(&self) -> Nanos {
        self.started + self.lasted
    }

    /// The command's energy of one origin; `None` where nothing has it.
    #[must_use]
    pub fn energy(&self, origin: Origin) -> Option<u128> {
        let mut of = self.parts.iter().filter(|part| part.column.origin == origin).peekable();
        of.peek()?;
        Some(of.map(|part| u128::from(part.energy.as_micro())).sum())
    }

    /// The command's energy on hardware of one kind, whatever its origin.
    #[must_use]
    pub fn energy_on(&self, hw_type: HwType) -> Option<u128> {
        let mut of = self.parts.iter().filter(|part| part.column.hw_type == hw_type).peekable();
        of.peek()?;
        Some(of.map(|part| u128::from(part.energy.as_micro())).sum())
    }

    /// Everything the command was charged with, in µJ.
    #[must_use]
    pub fn total(&self) -> u128 {
        self.parts.iter().map(|part| u128::from(part.energy.as_micro())).sum()
    }

    /// The same in ng, PUE included.
    #[must_use]
    pub fn emissions(&self) -> u128 {
        self.parts.iter().map(Part::grams).sum()
    }

    /// What the whole machine drew meanwhile, in µJ.
    #[must_use]
    pub fn machine(&self) -> u128 {
        self.parts.iter().map(|part| u128::from(part.machine.as_micro())).sum()
    }

    /// And its grams, in ng.
    #[must_use]
    pub fn machine_emissions(&self) -> u128 {
        self.parts.iter().map(|part| u128::from(part.machine_emissions.as_nano())).sum()
    }

    /// The command's share of the machine, in ppm; `None` where there is no energy.
    #[must_use]
    pub fn share_ppm(&self) -> Option<u128> {
        (self.total() * 1_000_000).checked_div(self.machine())
    }

    /// Half the width of the error of the whole, in ppm: that of its estimated parts, which are taken to err
    /// the same way.
    #[must_use]
    pub fn uncertainty_ppm(&self) -> u128 {
        let errors = self
            .parts
            .iter()
            .map(|part| u128::from(part.energy.as_micro()) * u128::from(part.uncertainty_ppm));
        let widest = self.parts.iter().map(|part| u128::from(part.uncertainty_ppm)).max().unwrap_or(0);
        errors.sum::<u128>().checked_div(self.total()).unwrap_or(widest)
    }

    /// `measured`, `estimated`, or `mixed`.
    #[must_use]
    pub fn origin(&self) -> Option<&'static str> {
        match (self.energy(Origin::Measured), self.energy(Origin::Estimated)) {
            (Some(_), None) => Some("measured"),
            (None, Some(_)) => Some("estimated"),
            (Some(_), Some(_)) => Some("mixed"),
            (None, None) => None,
        }
    }
}

impl Part {
    /// Emissions of all zones, in ng.
    #[must_use]
    pub fn grams(&self) -> u128 {
        self.emissions.iter().map(|(_, emissions)| u128::from(emissions.as_nano())).sum()
    }
}

/// The parts, from the accounts of one job.
#[must_use]
pub fn parts(meters: &Meters, totals: &Totals) -> Vec<Part> {
    let columns = totals.columns.len();
    let cells = |row: &[Emissions], column: usize| -> Vec<(Name, Emissions)> {
        let zones = totals.zones.iter().enumerate();
        let of = |(zone, name): (usize, &Name)| (name.clone(), row.get(zone * columns + column).copied());
        zones.map(of).map(|(name, emissions)| (name, emissions.unwrap_or_default())).collect()
    };
    let of_column = |(at, column): (usize, &Column)| Part {
        column: column.clone(),
        energy: totals.job_table.energy.get(at).copied().unwrap_or_default(),
        emissions: cells(&totals.job_table.emissions, at),
        machine: totals.host.energy.get(at).copied().unwrap_or_default(),
        machine_emissions: cells(&totals.host.emissions, at)
            .into_iter()
            .map(|(_, emissions)| emissions)
            .sum(),
        uncertainty_ppm: uncertainty(meters, totals, column),
    };
    totals.columns.iter().enumerate().map(of_column).collect()
}

/// Of the estimates in a column, each by its energy.
fn uncertainty(meters: &Meters, totals: &Totals, column: &Column) -> u64 {
    let is_of = |domain: &Domain| {
        domain.is_leaf()
            && (domain.hw_type, &domain.gpu, domain.origin) == (column.hw_type, &column.gpu, column.origin)
    };
    let domains = meters.machine().domains.iter().zip(&totals.domains).filter(|(domain, _)| is_of(domain));
    let (mut errors, mut energy, mut widest) = (0_u128, 0_u128, 0_u32);
    for (domain, of_domain) in domains {
        errors += u128::from(of_domain.energy.as_micro()) * u128::from(domain.uncertainty_ppm);
        energy += u128::from(of_domain.energy.as_micro());
        widest = widest.max(domain.uncertainty_ppm);
    }
    errors.checked_div(energy).and_then(|ppm| u64::try_from(ppm).ok()).unwrap_or(u64::from(widest))
}

/// The meters in use, and what must be said of them.
#[must_use]
pub fn meter_uses(meters: &Meters, totals: &Totals, lasted: Nanos) -> (Vec<MeterUse>, Vec<String>) {
    let mut uses = Vec::new();
    let mut notes = Vec::new();
    for (domain, of_domain) in meters.machine().domains.iter().zip(&totals.domains) {
        if !domain.is_leaf() {
            continue;
        }
        uses.push(MeterUse { id: domain.id.clone(), source: domain.source.clone(), origin: domain.origin });
        if domain.origin == Origin::Measured && of_domain.energy == Energy::ZERO {
            notes.push(format!(
                "{} did not advance meanwhile: the command was shorter than its update interval, or it stands still",
                domain.id
            ));
        }
        if of_domain.gap > Nanos::ZERO {
            notes
                .push(format!("{} could not be read all the time: its energy is missing in part", domain.id));
        }
    }
    if lasted < SHORT {
        notes.push("too short for a sure figure: CPU use is told in steps of 10 ms".to_owned());
    }
    (uses, notes)
}
