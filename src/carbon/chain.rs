//! What is charged when: of every time the best figure that is to be had, as a [`crate::model::grid::Plan`].
//!
//! Providers' words are kept in a [`Book`]. Of each time is charged what the first provider says of that very
//! time, else what another does, else the last figure while it is young enough, else a forecast, else what that
//! hour of the day was on the days before, else the year's figure of the zone, else the world's. A figure that
//! includes something else than the wanted ones (its basis) is passed over unless the user allows it.

mod book;
mod plan;
#[cfg(test)]
mod tests;

pub use book::{Book, Page};
pub use plan::{Terms, yearly};

use crate::model::grid::Basis;
use crate::model::quantity::Nanos;

/// What is charged is planned so far back: as far as what was charged can be restated.
pub const PLANNED_BACK: Nanos = hours(72);

/// And so far ahead, so that the plan outlives a weekend in which nobody makes a new one.
pub const PLANNED_AHEAD: Nanos = hours(72);

/// Days before an hour that its profile is made of, where they are known.
pub const PROFILE_DAYS: u64 = 4;

/// An hour's last figure is used no longer than this, however long the times are that a provider speaks of.
const MAX_AGE_CEILING: Nanos = hours(6);

/// A last figure is used for so many times its own length.
const MAX_AGE_LENGTHS: u64 = 3;

/// And for so long at least where it is charged: figures of quarters of an hour come an hour late and more.
const MAX_AGE_FLOOR: Nanos = hours(3);

/// So many hours.
pub(crate) const fn hours(count: u64) -> Nanos {
    Nanos::from_seconds(count * 3_600)
}

/// What is taken when no provider has a figure for the time in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What the figures are to include. Without a wish it is what those of the first provider do, and without
    /// a provider what the zone's yearly figure does.
    pub basis: Option<Basis>,
    /// How long after its time a last figure is used; without a wish three times as long as the time that it
    /// is for, 3 h at least and 6 h at the most.
    pub max_age: Option<Nanos>,
    /// Whether a figure that includes something else is better than one further down the chain.
    pub other_basis: OtherBasis,
    /// Whether forecasts are asked for and used.
    pub forecast: Forecasts,
    /// Of so many of the days before an hour must be known for a profile; `None` for no profile.
    pub profile_days: Option<u64>,
}

/// What becomes of figures that include something else than the wanted ones.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum OtherBasis {
    /// They are passed over.
    #[default]
    Refused,
    /// They are used like the others, after those that include what is wanted.
    Allowed,
}

/// What becomes of forecasts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Forecasts {
    /// They are asked for, and used where no figure is.
    #[default]
    Used,
    /// Neither.
    Unused,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            basis: None,
            max_age: None,
            other_basis: OtherBasis::default(),
            forecast: Forecasts::default(),
            // One day may have been a holiday; two that agree are a pattern.
            profile_days: Some(2),
        }
    }
}

impl Limits {
    /// How long after its end a figure for a time of this length is used.
    fn max_age(&self, length: Nanos, floor: Nanos) -> Nanos {
        let lengths = Nanos::new(length.get().saturating_mul(MAX_AGE_LENGTHS));
        let usual = lengths.max(floor).min(MAX_AGE_CEILING);
        self.max_age.unwrap_or(usual)
    }
}
