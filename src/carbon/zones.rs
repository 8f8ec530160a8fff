//! What the same grid is called by those who speak of it: `SE-SE3`, `10Y1001A1001A46L`, `SE` all mean the
//! south-middle of Sweden. Names only; the yearly figures are in [`super::table`].

const ALIASES: &str = include_str!("../../data/zone_aliases.csv");
const GB_REGIONS: &str = include_str!("../../data/gb_regions.csv");

/// What a region of Great Britain is called here, before its number.
const GB_PREFIX: &str = "GB-";

/// A zone and its names elsewhere, as far as they are known.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ids {
    /// As it is written: `SE-SE3`.
    pub zone: String,
    /// In English.
    pub name: String,
    /// The key of data/grid_intensity.csv whose figure stands in for it.
    pub table: String,
    /// At Electricity Maps: `SE-SE3`.
    pub electricity_maps: Option<String>,
    /// At ENTSO-E, an EIC code: `10Y1001A1001A46L`.
    pub entsoe: Option<String>,
    /// At EIA, a balancing authority: `CISO`.
    pub eia: Option<String>,
    /// At WattTime: `CAISO_NORTH`.
    pub watttime: Option<String>,
    /// At Energi Data Service, a price area: `DK1`.
    pub energi_data: Option<String>,
    /// At the Carbon Intensity API of Great Britain, a region from 1 to 17; none for the whole of it.
    pub gb_region: Option<u8>,
}

/// All zones of the two tables, read anew: they are looked at a few times in the life of a process.
pub fn rows() -> impl Iterator<Item = Ids> {
    records(ALIASES)
        .map(|row| {
            let given = |column: usize| (!row[column].is_empty()).then(|| row[column].to_owned());
            Ids {
                zone: row[0].to_owned(),
                name: row[1].to_owned(),
                table: row[2].to_owned(),
                electricity_maps: given(0),
                entsoe: given(3),
                eia: given(4),
                watttime: given(5),
                energi_data: given(6),
                gb_region: None,
            }
        })
        .chain(records(GB_REGIONS).map(|row| Ids {
            zone: format!("{GB_PREFIX}{}", &row[0]),
            name: row[1].to_owned(),
            table: "GB".to_owned(),
            gb_region: row[0].parse().ok(),
            ..Ids::default()
        }))
}

fn records(table: &'static str) -> impl Iterator<Item = csv::StringRecord> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(table.as_bytes());
    reader.into_records().map(|row| row.expect("the tables are well formed; a test reads them whole"))
}

/// The names of a zone, whatever the case of its letters: by its own name, else by that of the table if it
/// stands in for one zone alone. `US-CAMX` is several at Electricity Maps, and none of them is chosen.
#[must_use]
pub fn ids(zone: &str) -> Option<Ids> {
    if let Some(found) = rows().find(|row| row.zone.eq_ignore_ascii_case(zone)) {
        return Some(found);
    }
    let mut inside = inside(zone);
    if inside.len() == 1 { inside.pop() } else { None }
}

/// The zones whose figure this zone of the table stands in for.
#[must_use]
pub fn inside(table: &str) -> Vec<Ids> {
    rows().filter(|row| row.table.eq_ignore_ascii_case(table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::table;
    use std::collections::BTreeSet;

    #[test]
    fn every_zone_is_named_once_and_has_a_yearly_figure() {
        let known: BTreeSet<String> = table::rows().map(|row| row.zone).collect();
        let (mut zones, mut areas) = (BTreeSet::new(), BTreeSet::new());
        for row in rows() {
            assert!(known.contains(&row.table), "{row:?}");
            assert!(!known.contains(&row.zone) || row.zone == row.table, "{row:?}");
            assert!(zones.insert(row.zone.to_lowercase()), "twice: {row:?}");
            for area in [&row.entsoe, &row.eia, &row.energi_data].into_iter().flatten() {
                assert!(areas.insert(area.clone()), "two zones are {area}");
            }
            assert!(row.entsoe.is_none_or(|eic| eic.len() == 16 && eic.starts_with("10Y")), "{}", row.zone);
        }
        assert_eq!(zones.len(), 352 + 17);
    }

    #[test]
    fn a_zone_is_found_by_its_own_name_and_by_that_of_the_table_if_it_is_clear() {
        let found = |zone: &str| ids(zone).map(|ids| ids.zone);
        for (asked, expected) in [
            ("se-se3", Some("SE-SE3")),
            ("FR", Some("FR")),
            ("GB", Some("GB")),
            ("GB-13", Some("GB-13")),
            // One balancing authority lies in it, or several.
            ("US-ERCT", Some("US-TEX-ERCO")),
            ("US-CAMX", None),
            ("US-CA", None),
            ("", None),
        ] {
            assert_eq!(found(asked).as_deref(), expected, "{asked}");
        }
        let london = ids("GB-13").expect("London");
        assert_eq!((london.gb_region, london.table.as_str()), (Some(13), "GB"));
        assert_eq!(ids("DE").expect("Germany").entsoe.as_deref(), Some("10Y1001A1001A83F"));
        assert!(inside("US-CAMX").len() > 1);
    }
}
