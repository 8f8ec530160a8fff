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

/// `5s`, `2m`, `1h` or `1d`; a bare number is of seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(pub(super) u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
        let split = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(*unit)?, *factor)));
        let (digits, factor) = split.unwrap_or((&text, 1));
        let seconds = digits.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
        seconds
            .map(Seconds)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no duration (write 5s, 1m or 1h)")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_of_up_to_days() {
        for (text, seconds) in
            [("5", 5), ("5s", 5), ("90m", 5_400), ("25h", 90_000), ("2d", 172_800), ("'7 m'", 420)]
        {
            let parsed: Seconds = serde_saphyr::from_str(text).expect(text);
            assert_eq!(parsed.0, seconds, "{text}");
        }
        for text in ["soon", "1.5h", "-5s", "s", "1w", "99999999999999999d"] {
            assert!(serde_saphyr::from_str::<Seconds>(text).is_err(), "{text}");
        }
    }
}
