//! `grid.chain`: what is taken when no provider has a figure for the time in question.

use crate::carbon::chain::{Forecasts, Limits, OtherBasis, PROFILE_DAYS};
use crate::config::Seconds;
use crate::model::quantity::Nanos;
use serde::{Deserialize, Deserializer, de};

/// The oldest figure that says anything about now.
const MAX_AGE_SECONDS: u64 = 24 * 3_600;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChainSection {
    max_age: Option<Seconds>,
    other_basis: OtherBasisText,
    forecast: Option<Switch>,
    profile: Option<ProfileText>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OtherBasisText {
    #[default]
    Refuse,
    Allow,
}

/// `auto` or `off`.
#[derive(Debug, Clone, Copy)]
enum Switch {
    Auto,
    Off,
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "auto" => Ok(Switch::Auto),
            "off" => Ok(Switch::Off),
            other => Err(de::Error::custom(format!("{other:?} is neither auto nor off"))),
        }
    }
}

/// Days, or `off`.
#[derive(Debug, Clone, Copy)]
struct ProfileText(Option<u64>);

impl<'de> Deserialize<'de> for ProfileText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "off" => Ok(ProfileText(None)),
            days => match days.parse() {
                Ok(days) if (1..=PROFILE_DAYS).contains(&days) => Ok(ProfileText(Some(days))),
                Ok(_) | Err(_) => Err(de::Error::custom(format!(
                    "{text:?} is neither off nor a number of days, 1 to {PROFILE_DAYS}"
                ))),
            },
        }
    }
}

impl ChainSection {
    pub(super) fn resolve(self) -> Result<Limits, String> {
        let usual = Limits::default();
        let max_age = match self.max_age {
            Some(Seconds(seconds)) if seconds > MAX_AGE_SECONDS => {
                return Err(format!("grid.chain.max_age: {seconds}s is above {MAX_AGE_SECONDS}s"));
            }
            other => other.map(|Seconds(seconds)| Nanos::from_seconds(seconds)),
        };
        Ok(Limits {
            basis: None,
            max_age,
            other_basis: match self.other_basis {
                OtherBasisText::Refuse => OtherBasis::Refused,
                OtherBasisText::Allow => OtherBasis::Allowed,
            },
            forecast: match self.forecast {
                None | Some(Switch::Auto) => Forecasts::Used,
                Some(Switch::Off) => Forecasts::Unused,
            },
            profile_days: self.profile.map_or(usual.profile_days, |profile| profile.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Result<Limits, String> {
        let section: ChainSection =
            serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        section.resolve()
    }

    #[test]
    fn what_is_left_out_is_usual_and_what_is_wrong_is_named() {
        assert_eq!(limits("{}").expect("valid"), Limits::default());
        let all = limits("{max_age: 90m, other_basis: allow, forecast: off, profile: off}").expect("valid");
        assert_eq!(all.max_age, Some(Nanos::from_seconds(5_400)));
        assert_eq!((all.other_basis, all.forecast), (OtherBasis::Allowed, Forecasts::Unused));
        assert_eq!(all.profile_days, None);
        assert_eq!(limits("profile: 3").expect("valid").profile_days, Some(3));
        for (text, part) in [
            ("max_age: 25h", "90000s is above 86400s"),
            ("max_age: 1w", "is no duration"),
            ("max_age: 1500m", "grid.chain.max_age: 90000s is above 86400s"),
            ("profile: 5", "1 to 4"),
            ("profile: 0", "1 to 4"),
            ("forecast: never", "neither auto nor off"),
            ("other_basis: maybe", "expected one of refuse, allow"),
            ("age: 1m", "age"),
        ] {
            let error = limits(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
