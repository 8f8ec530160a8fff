//! From what each kind of power station generated to an intensity, by data/fuel_factors.csv.
//!
//! The newest hours come fuel by fuel: an hour without its gas or coal would look cleaner than it was, so
//! only hours that have all the large ones are used: those that are much of the electricity, and those that are
//! much of what it emits.

use super::Refusal;
use super::asking::Site;
use super::figure::Odd;
use super::slots::{About, Gathering, Slot};
use crate::model::grid::{Basis, Boundary, Quality};
use crate::model::quantity::{Intensity, Nanos};
use std::collections::BTreeMap;
use std::sync::Once;

const TABLE: &str = include_str!("../../../data/fuel_factors.csv");

/// A fuel is large from this share on, in percent, of all that was generated or emitted.
const LARGE_PERCENT: u128 = 5;

/// A fuel that is large by its emissions alone is run for some hours, or published late by some. One that generated
/// within this time before a slot and is not in it is late; one that did not stands still.
const RECENT: Nanos = Nanos::from_seconds(6 * 3_600);

/// So many are named in a message.
const MAX_NAMED: usize = 8;

/// Codes are two to four letters; what is longer is none of theirs.
const MAX_CODE: usize = 8;

/// What is not generated at night is asked for only if it was there a day before.
const DAY: Nanos = Nanos::from_seconds(24 * 3_600);

/// A fuel of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fuel {
    /// `hard_coal`.
    pub name: String,
    /// Grams for a kWh with fuel supply and construction; none for a storage.
    pub lifecycle: Option<Intensity>,
    /// Grams that leave the stack; none for a storage.
    pub direct: Option<Intensity>,
    /// ENTSO-E's code.
    pub entsoe: String,
    /// EIA's codes.
    pub eia: Vec<String>,
}

/// All fuels.
pub fn fuels() -> impl Iterator<Item = Fuel> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(TABLE.as_bytes());
    reader.into_records().map(|row| {
        let row = row.expect("data/fuel_factors.csv is well formed; a test reads it whole");
        let factor = |text: &str| {
            (!text.is_empty()).then(|| Intensity::parse_grams(text).expect("a plausible factor"))
        };
        Fuel {
            name: row[0].to_owned(),
            lifecycle: factor(&row[1]),
            direct: factor(&row[2]),
            entsoe: row[3].to_owned(),
            eia: row[4].split('|').map(str::to_owned).collect(),
        }
    })
}

/// Whose codes a mix is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// `B14`.
    Entsoe,
    /// `NUC`.
    Eia,
}

/// What a code stands for on a basis: a factor, or nothing for a storage.
type Factors = BTreeMap<String, Option<Intensity>>;

fn factors(codes: Codes, basis: Basis) -> Factors {
    let mut found = Factors::new();
    for fuel in fuels() {
        let factor = match basis {
            Basis::Lifecycle => fuel.lifecycle,
            Basis::Direct => fuel.direct,
        };
        let names = match codes {
            Codes::Entsoe => vec![fuel.entsoe],
            Codes::Eia => fuel.eia,
        };
        // Of two fuels with one code (offshore wind beside onshore) the later one of the table stands.
        found.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (name, factor)));
    }
    found
}

/// Without which slots a fuel's absence spoils the figure.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// Each: much of the electricity is of it.
    Each,
    /// Those in or shortly after a time in which it ran: little of the electricity is of it, much of what it emits.
    WhereItRan,
}

/// What was generated when, by the provider's code of the fuel, in thousandths of its unit.
#[derive(Debug, Default)]
pub struct Mix {
    slots: BTreeMap<(Nanos, Nanos), BTreeMap<String, u64>>,
}

impl Mix {
    /// Takes what a fuel generated from `start` to `end`; a later word on the same replaces the earlier.
    pub fn set(&mut self, start: Nanos, end: Nanos, code: &str, amount: u64) {
        let is_code =
            code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let code = if is_code { code } else { "?" };
        self.slots.entry((start, end)).or_default().insert(code.to_owned(), amount);
    }

    /// The intensities of the slots that are whole. `always` are the codes without which no slot is, if they
    /// occur at all; `by_day` are those that may be missing at night.
    ///
    /// # Errors
    /// A large share is of a fuel that the table does not know.
    pub fn intensities(
        &self,
        site: &Site,
        codes: Codes,
        basis: Basis,
        (always, by_day): (&[&str], &[&str]),
        heard: &mut Gathering<'_>,
    ) -> Result<(), Refusal> {
        let factors = factors(codes, basis);
        let mut totals: BTreeMap<&str, u128> = BTreeMap::new();
        for (code, amount) in self.slots.values().flatten() {
            *totals.entry(code).or_default() += u128::from(*amount);
        }
        let all: u128 = totals.values().sum();
        let is_large = |amount: u128| amount > 0 && amount * 100 >= all * LARGE_PERCENT;
        let unknown: Vec<&str> = totals.keys().copied().filter(|code| !factors.contains_key(*code)).collect();
        if is_large(unknown.iter().map(|code| totals[code]).sum()) {
            let unknown = unknown.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", ");
            return Err(site.malformed(&format!(
                "much of its electricity is of fuels without a factor: {unknown} (ask for a newer version)"
            )));
        }
        if !unknown.is_empty() {
            let named = unknown.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
            // It stays so until this program knows them; once is enough.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                tracing::warn!(
                    "asking {} for {}: fuels without a factor are left out: {named} (ask for a newer version)",
                    site.source,
                    site.zone
                );
            });
        }
        let emitted = |code: &str, amount: u128| {
            let factor = factors.get(code).copied().flatten();
            amount * factor.map_or(0, |factor| u128::from(factor.as_milligrams()))
        };
        let all_emitted: u128 = totals.iter().map(|(code, amount)| emitted(code, *amount)).sum();
        let need = |(code, amount): (&&'_ str, &u128)| {
            let emitted = emitted(code, *amount);
            if is_large(*amount) || always.contains(code) && *amount > 0 {
                Some(Need::Each)
            } else {
                (emitted > 0 && emitted * 100 >= all_emitted * LARGE_PERCENT).then_some(Need::WhereItRan)
            }
        };
        let needed: BTreeMap<&str, Need> =
            totals.iter().filter_map(|one| need(one).map(|need| (*one.0, need))).collect();
        let about = About::average(basis, Boundary::Production);
        for ((start, end), amounts) in &self.slots {
            let had_it = |code: &str| {
                let before = (start.saturating_sub(DAY), end.saturating_sub(DAY));
                self.slots.get(&before).is_some_and(|amounts| amounts.get(code).is_some_and(|one| *one > 0))
            };
            let ran = |code: &str| {
                let before =
                    self.slots.range((start.saturating_sub(RECENT), Nanos::ZERO)..(*start, Nanos::ZERO));
                before.into_iter().any(|(_, amounts)| amounts.get(code).is_some_and(|one| *one > 0))
            };
            let is_there = |(code, need): (&&str, &Need)| {
                amounts.contains_key(*code)
                    || match need {
                        _ if by_day.contains(code) => !had_it(code),
                        Need::Each => false,
                        Need::WhereItRan => !ran(code),
                    }
            };
            if !needed.iter().all(is_there) {
                continue;
            }
            let known = amounts.iter().filter_map(|(code, amount)| {
                Some((u128::from(*amount), u128::from(factors.get(code).copied()??.as_milligrams())))
            });
            let (sum, weighted) = known
                .fold((0, 0), |(sum, weighted), (amount, factor)| (sum + amount, weighted + amount * factor));
            let Some(milligrams) = (weighted + sum / 2).checked_div(sum) else { continue };
            let figure = u32::try_from(milligrams).ok().and_then(Intensity::from_milligrams);
            let slot = Slot { start: *start, end: *end, quality: Quality::Measured };
            heard.add(about, slot, figure.ok_or(Odd::TooLarge));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::provider::Ask;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const NOON: Nanos = Nanos::from_seconds(1_795_262_400);
    const HOUR: Nanos = Nanos::from_seconds(3_600);

    fn intensities(rows: &[(u64, &str, u64)], basis: Basis) -> Result<Vec<(u64, u32)>, String> {
        let site =
            Site { source: "eia", base: String::new(), zone: "CISO".into(), cadence: Duration::from_secs(1) };
        let ask = Ask { now: NOON, from: NOON.saturating_sub(DAY), until: NOON };
        let mut mix = Mix::default();
        let at = |hours: u64| NOON.saturating_sub(Nanos::new(HOUR.get() * hours));
        for (hours_ago, code, amount) in rows {
            mix.set(at(*hours_ago), at(*hours_ago) + HOUR, code, amount * 1_000);
        }
        let mut heard = Gathering::new(&site, ask);
        let codes = (&["COL", "NG", "NUC", "WAT"][..], &["SUN", "SNB"][..]);
        mix.intensities(&site, Codes::Eia, basis, codes, &mut heard).map_err(|refusal| refusal.message)?;
        let series = heard.finish().map_err(|refusal| refusal.message)?;
        let hours = |start: Nanos| NOON.saturating_sub(start).get() / HOUR.get();
        Ok(series[0].samples.iter().map(|slot| (hours(slot.start), slot.intensity.as_milligrams())).collect())
    }

    #[test]
    fn the_table_has_a_factor_for_all_but_storage_and_each_code_once() {
        let mut seen = BTreeSet::new();
        for fuel in fuels() {
            let is_storage = matches!(fuel.name.as_str(), "hydro_pumped" | "battery_discharge");
            assert_eq!(fuel.lifecycle.is_none(), is_storage, "{fuel:?}");
            assert_eq!(fuel.direct.is_none(), is_storage, "{fuel:?}");
            assert!(seen.insert(fuel.entsoe.clone()), "{fuel:?}");
        }
        let eia = factors(Codes::Eia, Basis::Lifecycle);
        for code in ["COL", "NG", "NUC", "OIL", "WAT", "SUN", "WND", "OTH", "GEO", "SNB", "WNB"] {
            assert!(eia[code].is_some(), "{code}");
        }
        for code in ["BAT", "PS", "UES", "OES"] {
            assert_eq!(eia[code], None, "{code}");
        }
        assert_eq!((1..=20).filter(|code| seen.contains(&format!("B{code:02}"))).count(), 20);
    }

    #[test]
    fn a_mix_is_weighed_and_storage_left_out() {
        let rows = [(1, "COL", 100), (1, "NG", 200), (1, "NUC", 500), (1, "WND", 200), (1, "BAT", 70)];
        // (100 × 820 + 200 × 490 + 500 × 12 + 200 × 11) / 1000, and the same with 900, 370, 0, 0.
        assert_eq!(intensities(&rows, Basis::Lifecycle), Ok(vec![(1, 188_200)]));
        assert_eq!(intensities(&rows, Basis::Direct), Ok(vec![(1, 164_000)]));
        assert_eq!(intensities(&[(1, "WAT", 5)], Basis::Direct), Ok(vec![(1, 0)]));
    }

    #[test]
    fn an_hour_without_a_large_fuel_is_none_and_the_night_needs_no_sun() {
        let mut rows = vec![(0, "NUC", 500), (0, "NG", 100)];
        for hour in 1..=26 {
            rows.extend([(hour, "NUC", 500), (hour, "NG", 400), (hour, "COL", 10)]);
            // From 12 to 26 hours ago the sun shone.
            if hour >= 12 {
                rows.push((hour, "SUN", 300));
            }
        }
        let found = intensities(&rows, Basis::Direct).expect("figures");
        let hours: Vec<u64> = found.iter().map(|(hour, _)| *hour).collect();
        // The newest has no coal yet, which is small and asked for; 1 and 2 hours ago the sun should have shone.
        assert_eq!(hours, (3..=26).rev().collect::<Vec<_>>());
    }

    #[test]
    fn an_hour_without_a_fuel_that_is_small_and_emits_much_is_none_unless_it_stands_still() {
        // Of 1,000 MWh 40 are of oil: 4 % of the electricity, 70 % of 37 g/kWh. Hours ago with oil; what is left out.
        let all: Vec<u64> = (0..26).collect();
        let until = |last: u64| all.iter().copied().filter(|hour| *hour >= last).collect::<Vec<_>>();
        let evening: Vec<u64> = (12..16).collect();
        for (what, with_oil, with_zero, left_out) in [
            ("it is there", all.clone(), vec![], vec![]),
            ("the newest hours are late", until(3), vec![], vec![0, 1, 2]),
            ("it has stood still for long, and is not said to", until(10), vec![], (4..10).collect()),
            ("it is said to stand still", until(3), vec![0, 1, 2], vec![]),
            ("a gap", all.iter().copied().filter(|hour| *hour != 12).collect(), vec![], vec![12]),
            ("it has stood still before it ran", (0..4).collect(), vec![], vec![]),
            ("an evening, and nothing is said of it before and after", evening, vec![], (6..12).collect()),
        ] {
            let mut rows = Vec::new();
            for hour in &all {
                rows.extend([(*hour, "NUC", 960), (*hour, "WAT", 5)]);
                let oil =
                    [(&with_oil, 40), (&with_zero, 0)].into_iter().find(|(hours, _)| hours.contains(hour));
                rows.extend(oil.map(|(_, amount)| (*hour, "OIL", amount)));
            }
            for basis in [Basis::Lifecycle, Basis::Direct] {
                let found: Vec<u64> =
                    intensities(&rows, basis).expect(what).into_iter().map(|(hour, _)| hour).collect();
                let expected: Vec<u64> =
                    all.iter().rev().copied().filter(|hour| !left_out.contains(hour)).collect();
                assert_eq!(found, expected, "{what}");
            }
        }
        // What is small in both is not waited for.
        let mut rows: Vec<_> = (0..26).flat_map(|hour| [(hour, "NUC", 500), (hour, "NG", 500)]).collect();
        rows.extend((1..26).map(|hour| (hour, "OIL", 10)));
        assert_eq!(intensities(&rows, Basis::Direct).expect("figures").len(), 26);
    }

    #[test]
    fn sun_with_a_battery_may_be_missing_at_night_too() {
        let mut rows = Vec::new();
        for hour in 1..=26 {
            rows.extend([(hour, "NUC", 500), (hour, "OES", 900)]);
            if hour >= 12 {
                rows.push((hour, "SNB", 300));
            }
        }
        let found = intensities(&rows, Basis::Lifecycle).expect("figures");
        assert_eq!(
            found.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(),
            (3..=26).rev().collect::<Vec<_>>()
        );
        // What a storage gives back counts as the average of the rest.
        assert_eq!(found.last(), Some(&(3, 12_000)));
    }

    #[test]
    fn much_of_an_unknown_fuel_is_refused_and_little_is_not() {
        let rows = |much| [(1, "NG", 100), (1, "XYZ", much)];
        assert_eq!(intensities(&rows(4), Basis::Direct), Ok(vec![(1, 370_000)]));
        assert!(intensities(&rows(10), Basis::Direct).is_err_and(|message| message.contains("XYZ")));
    }
}
