//! What a file of budgets says: who may emit how much in which time.

use crate::model::quantity::parse_decimal;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use std::fmt;

/// An organisation has hundreds; each costs about fifteen rules.
pub const MAX_BUDGETS: usize = 1_000;

/// Names are labels of every rule.
const MAX_NAME_CHARACTERS: usize = 200;

/// What one matcher lists; a longer list is a group of its own.
const MAX_VALUES: usize = 200;

/// Prometheus rarely keeps more.
const MAX_DAYS: u64 = 366;

/// A budget, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its name, which no other has.
    pub name: String,
    /// Who is told.
    pub owner: String,
    /// Whose emissions count.
    pub selection: Selection,
    /// Milligrams a period.
    pub milligrams: u64,
    /// How long.
    pub period: Period,
    /// The share at which the owner hears of it, in ppm.
    pub soft: u64,
    /// The share at which it is spent, in ppm.
    pub hard: u64,
    /// What else is charged.
    pub overhead: Overhead,
    /// The most that can be emitted in an hour, in mg, where that is known.
    pub peak: Option<u64>,
}

/// Whose emissions: all of them, where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Values by label, of which each must match; in the order of the page.
    pub matchers: Vec<(&'static str, Vec<String>)>,
}

impl Selection {
    /// Whether a label is asked for.
    #[must_use]
    pub fn has(&self, label: &str) -> bool {
        self.matchers.iter().any(|(known, _)| *known == label)
    }
}

/// In which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The last so many days, at any time.
    Rolling {
        /// How many.
        days: u64,
    },
    /// The calendar's month, in UTC.
    Month,
}

/// Whether a group pays for what nobody used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overhead {
    /// Only what its jobs used.
    #[default]
    None,
    /// Its share of idle and system too.
    Proportional,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    budgets: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Name,
    owner: Name,
    #[serde(default, rename = "match")]
    selection: Selection,
    grams: Grams,
    period: Period,
    #[serde(default)]
    soft: Option<Share>,
    #[serde(default)]
    hard: Option<Share>,
    #[serde(default)]
    overhead: Overhead,
    #[serde(default)]
    peak_grams_per_hour: Option<Grams>,
}

struct Name(String);
struct Grams(u64);
struct Share(u64);

/// Reads a file's text.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse(text: &str) -> Result<Vec<Budget>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    if file.budgets.len() > MAX_BUDGETS {
        return Err(format!("{} budgets are more than {MAX_BUDGETS} (split the file)", file.budgets.len()));
    }
    let mut budgets: Vec<Budget> = Vec::with_capacity(file.budgets.len());
    for entry in file.budgets {
        let (line, column) = (entry.referenced.line(), entry.referenced.column());
        let wrong = |message: String| format!("{message} at line {line}, column {column}");
        let budget = check(entry.value).map_err(wrong)?;
        if budgets.iter().any(|other| other.name == budget.name) {
            return Err(wrong(format!("two budgets {:?} (give each a name of its own)", budget.name)));
        }
        budgets.push(budget);
    }
    Ok(budgets)
}

fn check(entry: Entry) -> Result<Budget, String> {
    let name = entry.name.0;
    let (soft, hard) =
        (entry.soft.map_or(800_000, |share| share.0), entry.hard.map_or(1_000_000, |share| share.0));
    let selection = entry.selection;
    if soft >= hard {
        return Err(format!("budget {name:?}: soft must be below hard (0.8 and 1 if they are left out)"));
    }
    if entry.grams.0 == 0 {
        return Err(format!("budget {name:?}: grams must be more than 0"));
    }
    if selection.has("group") != selection.has("group_kind") {
        return Err(format!(
            "budget {name:?}: group and group_kind belong together (every kind has all the energy of a host once)"
        ));
    }
    if entry.overhead == Overhead::Proportional {
        if !selection.has("group") {
            return Err(format!(
                "budget {name:?}: overhead: proportional is for groups; hosts, zones and clusters have it all already"
            ));
        }
        let is_nobody =
            |(label, values): &(&str, Vec<String>)| *label == "group" && values.iter().any(String::is_empty);
        if selection.matchers.iter().any(is_nobody) {
            return Err(format!(
                "budget {name:?}: overhead is shared out over groups that have a name (leave out group \"\", or overhead)"
            ));
        }
        if selection.has("host") || selection.has("grid_zone") {
            return Err(format!(
                "budget {name:?}: overhead is shared out over a cluster, not by host or grid_zone \
                 (leave these out, or overhead)"
            ));
        }
    }
    Ok(Budget {
        name,
        owner: entry.owner.0,
        selection,
        milligrams: entry.grams.0,
        period: entry.period,
        soft,
        hard,
        overhead: entry.overhead,
        peak: entry.peak_grams_per_hour.map(|peak| peak.0).filter(|peak| *peak > 0),
    })
}

/// Why a label cannot be matched.
fn refusal(label: &str) -> String {
    let why = match label {
        "job_kind" | "job_id" => {
            "a job's series end with it, and what ended would leave the budget: match its group"
        }
        "gpu" | "gpu_instance" | "hw_type" | "hw_id" | "origin" => {
            "the hours are recorded for all hardware together"
        }
        "job" | "instance" | "pod" | "namespace" | "container" | "endpoint" => {
            "it says who was scraped, not whose emissions they are: match host, or a group"
        }
        _ => "the recorded hours do not have it; what is outside of a Prometheus is its cluster",
    };
    format!("{label:?} cannot be matched: {why} (cluster, host, grid_zone, group_kind and group can)")
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Matchers;
        impl<'de> Visitor<'de> for Matchers {
            type Value = Selection;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("labels and their values, such as {group_kind: namespace, group: web}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Selection, A::Error> {
                const LABELS: [&str; 5] = ["cluster", "host", "grid_zone", "group_kind", "group"];
                let mut matchers: Vec<(&'static str, Vec<String>)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let label = LABELS.into_iter().find(|label| *label == key);
                    let label = label.ok_or_else(|| de::Error::custom(refusal(&key)))?;
                    let values: Values = map.next_value()?;
                    if label == "group_kind" && values.0.len() > 1 {
                        return Err(de::Error::custom(
                            "group_kind: one kind, since every kind has all the energy of a host once",
                        ));
                    }
                    matchers.push((label, values.0));
                }
                matchers.sort_by_key(|(label, _)| LABELS.iter().position(|known| known == label));
                Ok(Selection { matchers })
            }
        }
        deserializer.deserialize_map(Matchers)
    }
}

/// One value, or a list of them.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Values;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a list of texts (put true, NO and numbers in quotes)")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element::<String>()? {
                    values.push(value);
                    if values.len() > MAX_VALUES {
                        return Err(de::Error::custom(format!("more than {MAX_VALUES} values")));
                    }
                }
                if values.is_empty() {
                    return Err(de::Error::custom("an empty list matches nothing"));
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() || text.chars().count() > MAX_NAME_CHARACTERS {
            let message = format!("{text:?} is no name (1 to {MAX_NAME_CHARACTERS} characters)");
            return Err(de::Error::custom(message));
        }
        Ok(Name(text))
    }
}

impl<'de> Deserialize<'de> for Grams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        let units = [("kg", 6), ("t", 9), ("g", 3)];
        let (digits, places) = units
            .into_iter()
            .find_map(|(unit, places)| Some((text.strip_suffix(unit)?, places)))
            .unwrap_or((text, 3));
        parse_decimal(digits, places)
            .map(Grams)
            .map_err(|error| de::Error::custom(format!("{text:?} {error} (write 900g, 120kg or 1.5t)")))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Ten times the budget.
        const MOST: u64 = 10_000_000;
        let text = String::deserialize(deserializer)?;
        match parse_decimal(&text, 6) {
            Ok(share @ 1..=MOST) => Ok(Share(share)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is no share of a budget (write 0.8; 10 at the most)"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        match (text.as_str(), days) {
            ("month", _) => Ok(Period::Month),
            (_, Some(days @ 1..=MAX_DAYS)) => Ok(Period::Rolling { days }),
            _ => Err(de::Error::custom(format!(
                "{text:?} is no period (write month, or days that roll on: 30d; {MAX_DAYS}d at the most)"
            ))),
        }
    }
}
