//! The carbon intensity of electricity in time: what a provider says of a place, and what is charged when.

use super::identity::Name;
use super::quantity::{Intensity, Nanos};
use super::reading::Factor;
use super::snapshot::SourceState;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Stretches begin and end at whole multiples of this: every provider's do, and what was charged can be
/// restated exactly.
pub const GRAIN: Nanos = Nanos::from_seconds(300);

/// What a figure includes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Fuel supply and construction too.
    #[default]
    Lifecycle,
    /// What leaves the stack.
    Direct,
}

impl Basis {
    /// As in the table and on the page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Basis::Lifecycle => "lifecycle",
            Basis::Direct => "direct",
        }
    }
}

/// Which power stations a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// Those in the zone.
    Production,
    /// Those whose electricity is used in the zone: imports in, exports out.
    Consumption,
}

impl Boundary {
    /// The `accounting` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Boundary::Production => "production",
            Boundary::Consumption => "consumption",
        }
    }
}

/// What a figure answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// What a kWh emitted: what is accounted for.
    #[default]
    Average,
    /// What one kWh more would emit; never accounted for.
    Marginal,
}

impl Signal {
    /// The `signal` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Average => "average",
            Signal::Marginal => "marginal",
        }
    }
}

/// How a figure was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// From what was metered.
    Measured,
    /// By a model, since meters are late.
    Estimated,
    /// Before its time.
    Forecast,
    /// The mean of a year.
    Static,
    /// Said by the user.
    Configured,
}

impl Quality {
    /// The `quality` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Quality::Measured => "measured",
            Quality::Estimated => "estimated",
            Quality::Forecast => "forecast",
            Quality::Static => "static",
            Quality::Configured => "configured",
        }
    }
}

/// How far down the chain a figure stands: the first that is to be had is in force.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// What was asked for: a provider's figure for this very time; without a provider the user's own figure
    /// or the yearly one of a known zone.
    #[default]
    Wanted,
    /// The same of a provider further down the list.
    Substitute,
    /// A provider's last figure, within its limit.
    Last,
    /// What was forecast for this time.
    Forecast,
    /// The mean of this hour of the day over the days before.
    Profile,
    /// The yearly figure of the zone.
    Table,
    /// The world's.
    World,
}

impl Step {
    /// The `fallback` label: empty for what was asked for.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Step::Wanted => "",
            Step::Substitute => "substitute",
            Step::Last => "last",
            Step::Forecast => "forecast",
            Step::Profile => "profile",
            Step::Table => "table",
            Step::World => "world",
        }
    }

    /// Whether it is a figure for the very time that it is used for, which later ones restate.
    #[must_use]
    pub const fn is_of_its_time(self) -> bool {
        matches!(self, Step::Wanted | Step::Substitute)
    }
}

/// Figures of one provider for one place, all of one kind. It is what the relay serves too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Whose figures: `electricity_maps`.
    pub source: Name,
    /// What the provider calls the place.
    pub zone: Name,
    /// What they answer.
    pub signal: Signal,
    /// What they include.
    pub basis: Basis,
    /// Which power stations they are about.
    pub accounting: Boundary,
    /// In the order of time, none overlapping another.
    pub samples: Vec<Sample>,
}

impl Series {
    /// Whether all of it stood in the other one already, whenever it was heard. What is too old by now may be
    /// missing.
    #[must_use]
    pub fn says_no_more_than(&self, before: &Series) -> bool {
        let head = |series: &Series| (series.signal, series.basis, series.accounting);
        head(self) == head(before)
            && (&self.source, &self.zone) == (&before.source, &before.zone)
            && Sample::say_no_more_than(&self.samples, &before.samples)
    }
}

impl Sample {
    /// Whether these are the last of the others, whenever they were heard.
    #[must_use]
    pub fn say_no_more_than(samples: &[Sample], before: &[Sample]) -> bool {
        let said = |sample: &Sample| (sample.start, sample.end, sample.intensity, sample.quality);
        let Some(older) = before.len().checked_sub(samples.len()) else { return false };
        samples.iter().map(said).eq(before[older..].iter().map(said))
    }
}

/// One figure and the time that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The start, in ns since 1970: a multiple of [`GRAIN`].
    pub start: Nanos,
    /// The end, not included: a multiple of [`GRAIN`].
    pub end: Nanos,
    /// Grams for each kilowatt-hour.
    pub intensity: Intensity,
    /// How it was made.
    pub quality: Quality,
    /// When it was last heard, in ns since 1970.
    pub fetched: Nanos,
}

/// Which figure is charged when; whole, and made anew whenever something is heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of time, none overlapping another: some days back, some hours ahead.
    pub stretches: Vec<Stretch>,
    /// At all other times.
    pub otherwise: Arc<Factor>,
}

/// A figure in force from `start` to `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The start, in ns since 1970: a multiple of [`GRAIN`].
    pub start: Nanos,
    /// The end, not included: a multiple of [`GRAIN`].
    pub end: Nanos,
    /// The figure.
    pub factor: Arc<Factor>,
}

impl Plan {
    /// The same figure at all times.
    #[must_use]
    pub fn of(factor: Factor) -> Plan {
        Plan { stretches: Vec::new(), otherwise: Arc::new(factor) }
    }

    /// What is charged at this wall time.
    #[must_use]
    pub fn at(&self, wall: Nanos) -> &Arc<Factor> {
        self.stretch(wall).map_or(&self.otherwise, |stretch| &stretch.factor)
    }

    /// The stretch around this wall time.
    #[must_use]
    pub fn stretch(&self, wall: Nanos) -> Option<&Stretch> {
        let next = self.stretches.partition_point(|stretch| stretch.start <= wall);
        self.stretches[..next].last().filter(|stretch| wall < stretch.end)
    }
}

/// Where the machine stands, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The `grid_zone` label: a key of data/grid_intensity.csv, or a zone of a provider.
    pub zone: Name,
    /// `config`, `aws`, `gcp`, `azure`, `node_label`, `address`, or `none`.
    pub source: Name,
    /// The cloud, in OpenTelemetry's words (`cloud.provider`); empty outside one.
    pub cloud: Name,
    /// Its region (`cloud.region`).
    pub region: Name,
}

/// Everything that is known of the grid: one mailbox's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Where the machine stands.
    pub place: Place,
    /// What is charged when.
    pub plan: Arc<Plan>,
    /// What one kWh more would emit now, where a provider says.
    pub marginal: Option<Stretch>,
    /// How the providers fare, and what found the place.
    pub sources: Vec<SourceState>,
}
