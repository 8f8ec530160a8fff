//! The regions of public clouds, from data/cloud_regions.csv and data/provider_pue.csv: which grid they draw
//! from, where they are, and what their operators publish of them.

use crate::model::quantity::{Intensity, Pue, parse_share};

const REGIONS: &str = include_str!("../../data/cloud_regions.csv");
const FLEETS: &str = include_str!("../../data/provider_pue.csv");

/// The radius of a sphere of the earth's volume.
const EARTH_KILOMETRES: f64 = 6_371.0;

/// The members of the European Union, within which data may move as inside one country.
const EUROPEAN_UNION: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT",
    "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// What people call a cloud, and what OpenTelemetry does (`cloud.provider`).
const NAMES: [(&str, &str); 8] = [
    ("alibaba", "alibaba_cloud"),
    ("amazon", "aws"),
    ("google", "gcp"),
    ("ibm", "ibm_cloud"),
    ("microsoft", "azure"),
    ("oci", "oracle_cloud"),
    ("oracle", "oracle_cloud"),
    ("ovhcloud", "ovh"),
];

/// A place on earth, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// North of the equator.
    pub latitude: f64,
    /// East of Greenwich.
    pub longitude: f64,
}

impl Point {
    /// Along the great circle, in km.
    #[must_use]
    pub fn distance_kilometres(self, other: Point) -> f64 {
        let (one, two) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half = |degrees: f64| (degrees.to_radians() / 2.0).sin().powi(2);
        let across = half(other.longitude - self.longitude);
        let chord = half(other.latitude - self.latitude) + one.cos() * two.cos() * across;
        2.0 * EARTH_KILOMETRES * chord.sqrt().min(1.0).asin()
    }
}

/// What a year's electricity of a building was, over that of its machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PueFigure {
    /// The figure.
    pub pue: Pue,
    /// Of when.
    pub year: String,
    /// Who says so.
    pub source: String,
    /// Whether it is of this region alone, and not of the provider's whole fleet.
    pub is_of_region: bool,
}

/// What an operator publishes of the grid at a region of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFigure {
    /// Direct emissions.
    pub direct: Intensity,
    /// The share of the energy that is matched with carbon-free energy, contracts included, in ppm.
    pub carbon_free_ppm: Option<u32>,
    /// Of when.
    pub year: String,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// In OpenTelemetry's words.
    pub cloud: String,
    /// The provider's own id.
    pub region: String,
    /// The city or area.
    pub location: String,
    /// ISO 3166-1.
    pub country: String,
    /// A key of data/grid_intensity.csv.
    pub zone: String,
    /// The same grid at Electricity Maps; finer than `zone` in some places.
    pub electricity_maps_zone: Option<String>,
    /// The same grid at WattTime.
    pub watttime_region: Option<String>,
    /// Where that city is.
    pub point: Point,
    /// What its operator publishes of its buildings.
    pub pue: Option<PueFigure>,
    /// What its operator publishes of its grid.
    pub own: Option<OwnFigure>,
}

impl Region {
    /// The European Union, or the country: within it data may mostly move as they like.
    #[must_use]
    pub fn jurisdiction(&self) -> &str {
        jurisdiction(&self.country)
    }
}

/// The European Union for its members, else the country itself.
#[must_use]
pub fn jurisdiction(country: &str) -> &str {
    if EUROPEAN_UNION.contains(&country) { "EU" } else { country }
}

/// All rows, read anew: the table is looked at once or twice in the life of a process.
pub fn rows() -> impl Iterator<Item = Region> {
    let fleets: Vec<(String, PueFigure)> = records(FLEETS)
        .map(|row| {
            let pue = Pue::parse(&row[1]).expect("a plausible PUE; a test reads them all");
            let figure =
                PueFigure { pue, year: row[2].to_owned(), source: row[3].to_owned(), is_of_region: false };
            (row[0].to_owned(), figure)
        })
        .collect();
    records(REGIONS).map(move |row| {
        let text = |at: usize| Some(row[at].to_owned()).filter(|text| !text.is_empty());
        let degrees = |at: usize| row[at].parse::<f64>().expect("degrees; a test reads them all");
        let own_pue = text(9).map(|pue| PueFigure {
            pue: Pue::parse(&pue).expect("a plausible PUE; a test reads them all"),
            year: row[10].to_owned(),
            source: row[11].to_owned(),
            is_of_region: true,
        });
        let of_fleet = || fleets.iter().find(|(cloud, _)| *cloud == row[0]).map(|(_, figure)| figure.clone());
        Region {
            cloud: row[0].to_owned(),
            region: row[1].to_owned(),
            location: row[2].to_owned(),
            country: row[3].to_owned(),
            zone: row[4].to_owned(),
            electricity_maps_zone: text(5),
            watttime_region: text(6),
            point: Point { latitude: degrees(7), longitude: degrees(8) },
            pue: own_pue.or_else(of_fleet),
            own: text(12).map(|direct| OwnFigure {
                direct: Intensity::parse_grams(&direct).expect("a plausible figure; a test reads them all"),
                carbon_free_ppm: text(13).and_then(|share| parse_share(&share).ok()),
                year: row[14].to_owned(),
            }),
        }
    })
}

fn records(table: &'static str) -> impl Iterator<Item = csv::StringRecord> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(table.as_bytes());
    reader.into_records().map(|row| row.expect("the table is well formed; a test reads it whole"))
}

/// The region of that id, whatever the case of its letters.
#[must_use]
pub fn find(cloud: &str, region: &str) -> Option<Region> {
    rows().find(|row| row.cloud == cloud && row.region.eq_ignore_ascii_case(region))
}

/// A cloud of the table, by OpenTelemetry's name or one that people use.
#[must_use]
pub fn cloud(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let known = NAMES.iter().find(|(name, _)| *name == text).map_or(text.as_str(), |(_, cloud)| cloud);
    rows().find(|row| row.cloud == known).map(|row| row.cloud)
}

/// All clouds of the table.
#[must_use]
pub fn clouds() -> Vec<String> {
    let mut all: Vec<String> = rows().map(|row| row.cloud).collect();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::table;
    use std::collections::BTreeSet;

    #[test]
    fn every_region_has_a_zone_with_a_figure_and_no_provider_lost_any() {
        let zones: BTreeSet<String> = table::rows().map(|row| row.zone).collect();
        let all: Vec<Region> = rows().collect();
        for row in &all {
            assert!(zones.contains(&row.zone), "{row:?}");
            assert!(row.country.len() == 2 && row.zone.starts_with(&row.country), "{row:?}");
            assert!(row.pue.as_ref().is_none_or(|figure| figure.pue.as_ppm() <= 2_000_000), "{row:?}");
        }
        let keys: BTreeSet<(&str, &str)> =
            all.iter().map(|row| (row.cloud.as_str(), row.region.as_str())).collect();
        assert_eq!(keys.len(), all.len(), "no region twice");
        for (cloud, least) in [("aws", 30), ("gcp", 40), ("azure", 55), ("oracle_cloud", 35), ("ovh", 10)] {
            let count = all.iter().filter(|row| row.cloud == cloud).count();
            assert!(count >= least, "{cloud}: {count}");
        }
        assert_eq!(clouds().len(), 10, "the table is sorted by cloud");
    }

    #[test]
    fn a_region_has_its_own_pue_else_its_fleets_else_none() {
        for (cloud, region, zone, pue, is_own) in [
            ("aws", "eu-central-1", "DE", Some(1_320_000), true),
            ("aws", "eu-west-3", "FR", Some(1_150_000), false),
            ("gcp", "us-central1", "US-MROW", Some(1_110_000), true),
            ("azure", "WestEurope", "NL", Some(1_122_000), true),
            ("scaleway", "nl-ams", "NL", Some(1_200_000), true),
            ("hetzner", "fsn1", "DE", None, false),
        ] {
            let row = find(cloud, region).expect(region);
            let found = row.pue.as_ref().map(|figure| (figure.pue.as_ppm(), figure.is_of_region));
            assert_eq!((row.zone.as_str(), found), (zone, pue.map(|pue| (pue, is_own))), "{region}");
        }
        assert_eq!(find("aws", "eu-west-9"), None);
        assert_eq!(find("gcp", "eu-west-3"), None, "a region is its cloud's");
        let paris = find("gcp", "europe-west9").and_then(|row| row.own).expect("published");
        assert_eq!((paris.direct.as_milligrams(), paris.carbon_free_ppm), (16_300, Some(960_000)));
    }

    #[test]
    fn clouds_have_several_names() {
        for (text, expected) in [
            ("aws", Some("aws")),
            ("Amazon", Some("aws")),
            ("google", Some("gcp")),
            ("oci", Some("oracle_cloud")),
            ("alibaba_cloud", Some("alibaba_cloud")),
            ("nimbus", None),
            ("", None),
        ] {
            assert_eq!(cloud(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn distances_are_those_of_the_map() {
        let point = |latitude, longitude| Point { latitude, longitude };
        for (one, other, kilometres) in [
            (point(48.9, 2.4), point(59.3, 18.1), 1_543.0),
            (point(39.0, -77.5), point(51.5, -0.1), 5_919.0),
            (point(0.0, 0.0), point(0.0, 180.0), 20_015.0),
            (point(-33.9, 151.2), point(-33.9, 151.2), 0.0),
        ] {
            let found = one.distance_kilometres(other);
            assert!((found - kilometres).abs() < 15.0, "{one:?} {other:?}: {found}");
            assert!((found - other.distance_kilometres(one)).abs() < 1e-6);
        }
        assert_eq!((jurisdiction("SE"), jurisdiction("NO"), jurisdiction("US")), ("EU", "NO", "US"));
    }
}
