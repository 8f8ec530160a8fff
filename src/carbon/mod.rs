//! Edge in: grams per kilowatt-hour. The yearly figures of data/grid_intensity.csv ([`table`]), the user's own,
//! and what [`provider`]s say of each hour.

pub mod chain;
pub mod equivalents;
pub mod forecast;
pub mod kept;
pub mod location;
pub mod poll;
pub mod provider;
pub mod regions;
pub mod table;
pub mod window;
pub mod zones;

use crate::model::grid::{Basis, Step};
use crate::model::identity::Name;
use crate::model::quantity::{Intensity, Pue};
use crate::model::reading::Factor;

/// What is wanted beyond a figure that stays.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Who may be asked where the machine is.
    pub location: location::Wish,
    /// Who says what its electricity emits, the first before the others.
    pub providers: Vec<provider::Wish>,
    /// What is taken when nobody does.
    pub chain: chain::Limits,
}

/// What the user says about the electricity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: the world's average, with a warning.
    Unknown,
    /// The table's figure for a zone.
    Zone {
        /// A key of the table.
        zone: String,
        /// Which of the zone's figures; without a wish lifecycle, or the only one there is.
        basis: Option<Basis>,
    },
    /// The user's own figure.
    Own {
        /// The figure.
        intensity: Intensity,
        /// What it is called on the page; empty for `custom`.
        zone: Option<String>,
        /// What it includes, if the user says.
        basis: Option<Basis>,
    },
}

/// Why a choice cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Not a zone.
    #[error("there is no grid zone {zone:?}{} (zones: ISO country codes such as FR, US-CAMX for eGRID subregions, US-CA for states, SE-SE3 as Electricity Maps calls it, GB-13 for a region of Great Britain; see data/grid_intensity.csv and data/zone_aliases.csv)", nearest.as_ref().map(|(zone, name)| format!("; did you mean {zone} ({name})?")).unwrap_or_default())]
    NoSuchZone {
        /// What was asked for.
        zone: String,
        /// The nearest key and its name.
        nearest: Option<(String, String)>,
    },
    /// The zone has a figure, on another basis.
    #[error("zone {zone} has no {wanted} figure, only {}: set intensity_basis to it, or give your own intensity", there.join(", "))]
    NoSuchBasis {
        /// The zone.
        zone: String,
        /// What was asked for.
        wanted: &'static str,
        /// What there is.
        there: Vec<String>,
    },
}

/// The figure in force.
///
/// # Errors
/// The zone is not in the table, or not on this basis.
pub fn resolve(choice: &Choice, pue: Pue) -> Result<Factor, ChoiceError> {
    match choice {
        Choice::Unknown => table::find("WORLD", None).map(|row| factor(&row, pue, Step::World)),
        Choice::Zone { zone, basis } => table::find(zone, *basis).map(|row| factor(&row, pue, Step::Wanted)),
        Choice::Own { intensity, zone, basis } => Ok(Factor {
            zone: zone.as_deref().unwrap_or("custom").into(),
            intensity: *intensity,
            pue,
            basis: basis.map_or("", Basis::as_str).into(),
            accounting: "".into(),
            quality: "configured".into(),
            source: "config".into(),
            year: "".into(),
            fallback: Step::Wanted,
        }),
    }
}

fn factor(row: &table::Row, pue: Pue, fallback: Step) -> Factor {
    let name = |text: &str| -> Name { text.into() };
    Factor {
        zone: name(&row.zone),
        intensity: row.intensity,
        pue,
        basis: name(&row.basis),
        accounting: name(&row.accounting),
        quality: name("static"),
        source: name(&row.source),
        year: name(&row.year),
        fallback,
    }
}
