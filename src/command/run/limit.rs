//! How much a command may use, and what happens when it will not be enough.

use super::summary::{grams, joules};
use crate::model::quantity::{Emissions, Energy, parse_decimal};
use crate::model::speech::Prediction;
use std::fmt;

/// What of a limit is used when that is worth a line, in %.
const NEARLY: u64 = 80;

/// An amount that may be emitted or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many grams.
    Emissions(Emissions),
    /// So many joules.
    Energy(Energy),
}

/// How a command stands with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing to say.
    Within,
    /// Nearly all of it is used.
    Nearly,
    /// It will rather not be enough: the middle of the prediction is above it.
    Exceeding,
    /// It is used up, or it will surely not be enough: nine of ten predictions are above it.
    Exceeded,
}

/// What no amount is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: write {example}")]
pub struct LimitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// Units with their size in µJ or ng.
const GRAMS: [(&str, u64); 4] =
    [("mg", 1_000_000), ("kg", 1_000_000_000_000), ("t", 1_000_000_000_000_000), ("g", 1_000_000_000)];
const JOULES: [(&str, u64); 7] = [
    ("MWh", 3_600_000_000_000_000),
    ("kWh", 3_600_000_000_000),
    ("Wh", 3_600_000_000),
    ("GJ", 1_000_000_000_000_000),
    ("MJ", 1_000_000_000_000),
    ("kJ", 1_000_000_000),
    ("J", 1_000_000),
];

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Emissions(emissions) => f.write_str(&grams(u128::from(emissions.as_nano()))),
            Limit::Energy(energy) => f.write_str(&joules(u128::from(energy.as_micro()))),
        }
    }
}

impl Limit {
    /// Grams, as `500g` or `1.5kg`.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse_emissions(text: &str) -> Result<Limit, LimitError> {
        let amount = amount(text, &GRAMS);
        let error = || LimitError { text: text.to_owned(), what: "mass of CO2e", example: "500g or 1.5kg" };
        amount.map(|nanograms| Limit::Emissions(Emissions::from_nano(nanograms))).ok_or_else(error)
    }

    /// Energy, as `2kWh` or `500kJ`.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse_energy(text: &str) -> Result<Limit, LimitError> {
        let amount = amount(text, &JOULES);
        let error = || LimitError { text: text.to_owned(), what: "energy", example: "2kWh or 500kJ" };
        amount.map(|microjoules| Limit::Energy(Energy::from_micro(microjoules))).ok_or_else(error)
    }

    /// How a command stands that has used so much, and is predicted to use so much.
    #[must_use]
    pub fn standing(self, used: (Energy, Emissions), prediction: Option<&Prediction>) -> Standing {
        let (limit, used, predicted) = match self {
            Limit::Energy(limit) => {
                let predicted = prediction.map(|prediction| prediction.energy.map(Energy::as_micro));
                (limit.as_micro(), used.0.as_micro(), predicted)
            }
            Limit::Emissions(limit) => {
                let predicted = prediction.map(|prediction| prediction.emissions.map(Emissions::as_nano));
                (limit.as_nano(), used.1.as_nano(), predicted)
            }
        };
        let is_above = |quantile: usize| predicted.is_some_and(|predicted| predicted[quantile] > limit);
        if used >= limit || is_above(0) {
            Standing::Exceeded
        } else if is_above(1) {
            Standing::Exceeding
        } else if predicted.is_none() && used >= limit / 100 * NEARLY {
            Standing::Nearly
        } else {
            Standing::Within
        }
    }
}

/// A decimal and one of these units; more than 0.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, size) = units.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)))?;
    let millionths = parse_decimal(number.trim_end(), 6).ok()?;
    let amount = u128::from(millionths) * u128::from(size) / 1_000_000;
    u64::try_from(amount).ok().filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Nanos;
    use crate::model::speech::Ahead;

    #[test]
    fn amounts_are_read_with_their_units_alone() {
        for (text, expected) in [
            ("500g", Some(500_000_000_000)),
            ("1.5 kg", Some(1_500_000_000_000)),
            ("20mg", Some(20_000_000)),
            ("2t", Some(2_000_000_000_000_000)),
            ("500", None),
            ("0g", None),
            ("-1g", None),
            ("g", None),
            ("1e3g", None),
            ("20000000000t", None),
        ] {
            let limit = Limit::parse_emissions(text).ok();
            assert_eq!(limit, expected.map(|nano| Limit::Emissions(Emissions::from_nano(nano))), "{text}");
        }
        for (text, expected) in [
            ("2kWh", Some(7_200_000_000_000)),
            ("1MJ", Some(1_000_000_000_000)),
            ("0.5J", Some(500_000)),
            ("2kw", None),
        ] {
            let limit = Limit::parse_energy(text).ok();
            assert_eq!(limit, expected.map(|micro| Limit::Energy(Energy::from_micro(micro))), "{text}");
        }
        assert_eq!(
            Limit::parse_energy("2 horses").map_err(|error| error.to_string()),
            Err("\"2 horses\" is no energy: write 2kWh or 500kJ".to_owned())
        );
    }

    #[test]
    fn a_limit_is_exceeded_when_it_is_used_or_surely_will_be() {
        let prediction = |grams: [u64; 3]| Prediction {
            blocks: 9,
            energy: [Energy::ZERO; 3],
            duration: [Nanos::ZERO; 3],
            emissions: grams.map(Emissions::from_nano),
            intensity: Ahead::InForce,
        };
        let limit = Limit::Emissions(Emissions::from_nano(1_000));
        for (used, predicted, expected) in [
            (0, None, Standing::Within),
            (799, None, Standing::Within),
            (800, None, Standing::Nearly),
            (1_000, None, Standing::Exceeded),
            (10, Some([500, 1_000, 2_000]), Standing::Within),
            (900, Some([910, 950, 990]), Standing::Within),
            (10, Some([900, 1_001, 2_000]), Standing::Exceeding),
            (10, Some([1_001, 1_500, 2_000]), Standing::Exceeded),
            (1_000, Some([1, 2, 3]), Standing::Exceeded),
        ] {
            let prediction = predicted.map(prediction);
            let standing = limit.standing((Energy::ZERO, Emissions::from_nano(used)), prediction.as_ref());
            assert_eq!(standing, expected, "{used} {predicted:?}");
        }
    }
}
