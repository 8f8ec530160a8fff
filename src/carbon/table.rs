//! The yearly figures, by zone and basis, each with its source, year and licence.

use super::{ChoiceError, zones};
use crate::model::grid::Basis;
use crate::model::quantity::Intensity;

const TABLE: &str = include_str!("../../data/grid_intensity.csv");

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub zone: String,
    /// In English.
    pub name: String,
    /// Where to look for what is missing here; empty for the world.
    pub parent: String,
    /// The figure.
    pub intensity: Intensity,
    /// `lifecycle` or `direct`.
    pub basis: String,
    /// `production` or `consumption`.
    pub accounting: String,
    /// The year it describes.
    pub year: String,
    /// `reported`, or `proxy:ZONE` where it is another's figure, `stale`, `estimate:WHY`.
    pub quality: String,
    /// Whose figure it is.
    pub source: String,
}

/// All rows, read anew: the table is looked at once or twice in the life of a process, and not
/// worth keeping.
pub fn rows() -> impl Iterator<Item = Row> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(TABLE.as_bytes());
    reader.into_records().map(|row| {
        let row = row.expect("data/grid_intensity.csv is well formed; a test reads it whole");
        Row {
            zone: row[0].to_owned(),
            name: row[1].to_owned(),
            parent: row[2].to_owned(),
            intensity: Intensity::parse_grams(&row[3]).expect("a plausible figure; a test reads them all"),
            basis: row[4].to_owned(),
            accounting: row[5].to_owned(),
            year: row[6].to_owned(),
            quality: row[7].to_owned(),
            source: row[8].to_owned(),
        }
    })
}

/// The row of a zone, whatever the case of its letters; for a zone that only others speak of, such as
/// `SE-SE3`, the row of the one that stands in for it, under its own name. Without a wish for a basis it is
/// the lifecycle figure, or the only one there is.
///
/// # Errors
/// There is no such zone, or it has a figure on another basis only.
pub fn find(zone: &str, basis: Option<Basis>) -> Result<Row, ChoiceError> {
    let mut there: Vec<Row> = rows().filter(|row| row.zone.eq_ignore_ascii_case(zone)).collect();
    if there.is_empty()
        && let Some(alias) = zones::rows().find(|alias| alias.zone.eq_ignore_ascii_case(zone))
    {
        let named = |row| Row { zone: alias.zone.clone(), name: alias.name.clone(), ..row };
        there = rows().filter(|row| row.zone == alias.table).map(named).collect();
    }
    if there.is_empty() {
        return Err(ChoiceError::NoSuchZone { zone: zone.to_owned(), nearest: nearest(zone) });
    }
    let wanted = basis.unwrap_or_default().as_str();
    let found = there.iter().position(|row| row.basis == wanted);
    match found.or_else(|| basis.is_none().then_some(0)) {
        Some(found) => Ok(there.swap_remove(found)),
        None => Err(ChoiceError::NoSuchBasis {
            zone: zone.to_owned(),
            wanted,
            there: there.into_iter().map(|row| row.basis).collect(),
        }),
    }
}

/// The zone whose code or name is most like the text, if any is.
fn nearest(text: &str) -> Option<(String, String)> {
    const ALIKE: f64 = 0.7;
    let wanted = text.to_lowercase();
    let likeness = |(zone, name): &(String, String)| {
        let by_name = strsim::jaro_winkler(&wanted, &name.to_lowercase());
        let by_code = strsim::jaro_winkler(&wanted, &zone.to_lowercase());
        by_name.max(by_code)
    };
    // The last of equals is taken: the table's own zones come after the others.
    let named = zones::rows().map(|row| (row.zone, row.name)).chain(rows().map(|row| (row.zone, row.name)));
    let best = named.map(|row| (likeness(&row), row)).max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_covers_the_world_and_every_row_says_where_it_comes_from() {
        let mut keys = BTreeSet::new();
        for row in rows() {
            assert!(
                !row.source.is_empty() && row.year.parse::<u32>().is_ok_and(|year| year > 2000),
                "{row:?}"
            );
            assert!(matches!(row.basis.as_str(), "lifecycle" | "direct"), "{row:?}");
            assert!(matches!(row.accounting.as_str(), "production" | "consumption"), "{row:?}");
            assert!(keys.insert((row.zone.clone(), row.basis.clone())), "twice: {row:?}");
        }
        let countries = keys.iter().filter(|(zone, _)| zone.len() == 2 && zone != "EU").count();
        assert!(countries >= 200, "{countries} countries");
        let of = |prefix: &str| keys.iter().filter(|(zone, _)| zone.starts_with(prefix)).count();
        assert!(
            of("US-") >= 77 && of("CA-") >= 10 && of("AU-") >= 7,
            "{} {} {}",
            of("US-"),
            of("CA-"),
            of("AU-")
        );
    }

    #[test]
    fn known_figures_and_the_basis_they_are_on() {
        for (zone, basis, milligrams, on) in [
            ("WORLD", None, 473_010, "lifecycle"),
            ("no", None, 30_750, "lifecycle"),
            ("GB", None, 210_890, "lifecycle"),
            ("GB", Some(Basis::Direct), 130_960, "direct"),
            ("US-CAMX", None, 195_030, "direct"),
            // Zones of others: the figure of the country, or of the subregion that they lie in.
            ("se-se3", None, 35_820, "lifecycle"),
            ("US-CAL-CISO", None, 195_030, "direct"),
            ("GB-13", Some(Basis::Direct), 130_960, "direct"),
        ] {
            let row = find(zone, basis).expect(zone);
            assert_eq!((row.intensity.as_milligrams(), row.basis.as_str()), (milligrams, on), "{zone}");
            assert!(row.zone.eq_ignore_ascii_case(zone), "{zone} is called {}", row.zone);
        }
    }

    #[test]
    fn a_wrong_zone_gets_the_nearest_one_and_a_wrong_basis_the_ones_there_are() {
        let message = |zone, basis| find(zone, basis).expect_err("not to be had").to_string();
        for (zone, basis, part) in [
            ("Germny", None, "did you mean DE (Germany)?"),
            ("US-CAMXX", None, "did you mean US-CAMX"),
            ("SE-SE33", None, "did you mean SE-SE3"),
            ("US-CAMX", Some(Basis::Lifecycle), "only direct"),
        ] {
            assert!(message(zone, basis).contains(part), "{}", message(zone, basis));
        }
        assert!(!message("§§§", None).contains("did you mean"), "{}", message("§§§", None));
    }
}
