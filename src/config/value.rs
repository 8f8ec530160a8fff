//! Values as the file writes them: decimals and durations.

use super::hardware::Share;
use crate::model::quantity::{Intensity, MicroWatts, Pue};
use serde::{Deserialize, Deserializer, de};

/// A decimal, taken as text so that no float comes between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parsed<T>(pub(super) T);

pub(super) trait Decimal: Sized {
    const WHAT: &'static str;
    fn decimal(text: &str) -> Result<Self, String>;
}

impl Decimal for Intensity {
    const WHAT: &'static str = "grams per kWh between 0 and 5000";
    fn decimal(text: &str) -> Result<Intensity, String> {
        Intensity::parse_grams(text).map_err(|error| error.to_string())
    }
}

impl Decimal for Pue {
    const WHAT: &'static str = "a ratio between 1 and 10";
    fn decimal(text: &str) -> Result<Pue, String> {
        Pue::parse(text).map_err(|error| error.to_string())
    }
}

impl Decimal for MicroWatts {
    const WHAT: &'static str = "watts, 0 or more";
    fn decimal(text: &str) -> Result<MicroWatts, String> {
        MicroWatts::parse_watts(text).map_err(|error| error.to_string())
    }
}

impl Decimal for Share {
    const WHAT: &'static str = "a share between 0 and 1";
    fn decimal(text: &str) -> Result<Share, String> {
        Share::parse(text).map_err(|error| error.to_string())
    }
}

pub(super) fn decimal<T: Decimal>(text: &str) -> Result<T, String> {
    T::decimal(text).map_err(|error| format!("{text:?} {error} (give {})", T::WHAT))
}

impl<'de, T: Decimal> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decimal(&text).map(Parsed).map_err(de::Error::custom)
    }
}

/// `5s` or `2m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(pub(super) u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (digits, factor) = match text.strip_suffix('m') {
            Some(digits) => (digits, 60),
            None => (text.strip_suffix('s').unwrap_or(&text), 1),
        };
        let seconds = digits.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
        seconds
            .map(Seconds)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no duration (write 5s or 1m)")))
    }
}
