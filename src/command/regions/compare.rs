//! The same energy at several places, as pure arithmetic: intensity on one basis times PUE, relative to here.
//!
//! Figures on different bases are never compared. A figure that another zone lends is compared and said to be
//! one, and nothing is proposed by it.

use crate::carbon::regions::{Point, Region, jurisdiction};
use crate::carbon::table::{self, Row};
use crate::model::grid::Basis;
use crate::model::quantity::{Intensity, Pue};

/// What is less cleaner than this is not worth moving for: the figures themselves are no better.
const WORTHWHILE_PPM: i64 = 300_000;

/// Parents of a zone: subregion, country, world.
const MAX_PARENTS: usize = 3;

/// A place that electricity is used at.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// A cloud's region, if it is one.
    pub region: Option<Region>,
    /// The zone.
    pub zone: String,
    /// In English.
    pub name: String,
    /// The user's own figure for it, and the basis that it is on.
    pub own: Option<(Intensity, Option<Basis>)>,
    /// What is known of the building.
    pub pue: Option<Pue>,
}

impl Site {
    /// A cloud's region.
    #[must_use]
    pub fn of_region(region: Region) -> Site {
        Site {
            zone: region.zone.clone(),
            name: region.location.clone(),
            own: None,
            pue: region.pue.as_ref().map(|figure| figure.pue),
            region: Some(region),
        }
    }

    /// A zone of the table.
    #[must_use]
    pub fn of_zone(row: &Row) -> Site {
        Site { region: None, zone: row.zone.clone(), name: row.name.clone(), own: None, pue: None }
    }

    /// `aws eu-west-3`, or the zone.
    #[must_use]
    pub fn label(&self) -> String {
        self.region.as_ref().map_or_else(|| self.zone.clone(), |row| format!("{} {}", row.cloud, row.region))
    }

    /// The European Union, or the country.
    #[must_use]
    pub fn jurisdiction(&self) -> &str {
        match &self.region {
            Some(row) => row.jurisdiction(),
            None => jurisdiction(self.zone.split('-').next().unwrap_or_default()),
        }
    }

    fn point(&self) -> Option<Point> {
        self.region.as_ref().map(|row| row.point)
    }
}

/// A figure of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Grams for a kWh.
    pub intensity: Intensity,
    /// Whose it is.
    pub source: String,
    /// Of when.
    pub year: String,
    /// The zone whose figure stands in.
    pub proxy: Option<String>,
}

/// The figure on a basis: the user's own, what the operator publishes for the region, the zone's, or that of
/// the country around it.
#[must_use]
pub fn figure(site: &Site, basis: Basis) -> Option<Figure> {
    let text = str::to_owned;
    if let Some((intensity, on)) = site.own {
        let is_on = on.is_none_or(|on| on == basis);
        let (source, year) = (text("config"), String::new());
        return is_on.then_some(Figure { intensity, source, year, proxy: None });
    }
    if let (Some(own), Basis::Direct) = (site.region.as_ref().and_then(|row| row.own.as_ref()), basis) {
        let source = format!("{}, published", site.region.as_ref().map_or("", |row| row.cloud.as_str()));
        return Some(Figure { intensity: own.direct, source, year: own.year.clone(), proxy: None });
    }
    let mut zone = site.zone.clone();
    for _ in 0..MAX_PARENTS {
        if let Ok(row) = table::find(&zone, Some(basis)) {
            let lent = row.quality.strip_prefix("proxy:").map(text);
            let proxy = lent.or_else(|| (zone != site.zone).then(|| zone.clone()));
            return Some(Figure { intensity: row.intensity, source: row.source, year: row.year, proxy });
        }
        zone = table::find(&zone, None).ok()?.parent;
        // The world stands in for nothing in particular.
        if zone.is_empty() || zone == "WORLD" {
            return None;
        }
    }
    None
}

/// Whether the site has a figure of its own on this basis.
#[must_use]
pub fn has_own(site: &Site, basis: Basis) -> bool {
    figure(site, basis).is_some_and(|figure| figure.proxy.is_none())
}

/// One place beside here.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The place.
    pub site: Site,
    /// Its figure.
    pub figure: Figure,
    /// Its PUE, where it is counted: known here and there.
    pub pue: Option<Pue>,
    /// What the energy emits there, in ng.
    pub emissions: u128,
    /// What is saved, in ng; negative if it is more.
    pub saving: i128,
    /// The same in ppm of here; `None` where here is 0.
    pub saving_ppm: Option<i64>,
    /// Along the great circle.
    pub kilometres: Option<f64>,
    /// Whether the same law holds there.
    pub is_same_law: bool,
    /// Worth moving for, and known well enough.
    pub is_proposed: bool,
}

/// All places beside here, the cleanest first; of equals those under the same law, then the nearest.
#[must_use]
pub fn compare(here: &Site, others: Vec<Site>, basis: Basis, energy: u128) -> Option<Comparison> {
    let at_home = figure(here, basis)?;
    let mut lines = Vec::new();
    let mut left_out = Vec::new();
    for site in others {
        let Some(there) = figure(&site, basis) else {
            left_out.push(site);
            continue;
        };
        // A PUE counts where both are known: a hall of unknown overhead is neither better nor worse.
        let pues = site.pue.zip(here.pue);
        let (pue, pue_here) = (pues.map(|pair| pair.0), pues.map(|pair| pair.1));
        let score = score(there.intensity, pue);
        let score_here = self::score(at_home.intensity, pue_here);
        let emissions = grams(energy, score);
        let saving = signed(grams(energy, score_here)) - signed(emissions);
        let difference = signed(score_here) - signed(score);
        let saving_ppm = (difference * 1_000_000).checked_div(signed(score_here));
        let saving_ppm = saving_ppm.map(|ppm| i64::try_from(ppm).unwrap_or(i64::MIN));
        let is_sure = at_home.proxy.is_none() && there.proxy.is_none();
        lines.push(Line {
            is_proposed: is_sure && saving_ppm.is_some_and(|ppm| ppm >= WORTHWHILE_PPM),
            kilometres: here.point().zip(site.point()).map(|(one, other)| one.distance_kilometres(other)),
            is_same_law: here.jurisdiction() == site.jurisdiction(),
            site,
            figure: there,
            pue,
            emissions,
            saving,
            saving_ppm,
        });
    }
    let far = |line: &Line| line.kilometres.unwrap_or(f64::MAX);
    lines.sort_by(|one, other| {
        let by_saving = other.saving.cmp(&one.saving).then(other.saving_ppm.cmp(&one.saving_ppm));
        let by_law = other.is_same_law.cmp(&one.is_same_law);
        by_saving
            .then(by_law)
            .then(far(one).total_cmp(&far(other)))
            .then(one.site.label().cmp(&other.site.label()))
    });
    let emissions = grams(energy, score(at_home.intensity, here.pue));
    Some(Comparison { figure: at_home, emissions, lines, left_out })
}

/// Here, and everywhere else.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The figure of here.
    pub figure: Figure,
    /// What the energy emits here, in ng.
    pub emissions: u128,
    /// The other places.
    pub lines: Vec<Line>,
    /// Those without a figure on this basis.
    pub left_out: Vec<Site>,
}

/// mg/kWh times PUE in ppm.
fn score(intensity: Intensity, pue: Option<Pue>) -> u128 {
    u128::from(intensity.as_milligrams()) * u128::from(pue.unwrap_or(Pue::ONE).as_ppm())
}

/// ng, half up: µJ · mg/kWh · ppm / 3.6e12.
fn grams(energy: u128, score: u128) -> u128 {
    (energy * score + 1_800_000_000_000) / 3_600_000_000_000
}

fn signed(value: u128) -> i128 {
    i128::try_from(value).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::regions;

    const KILOWATT_HOUR: u128 = 3_600_000_000_000;

    fn region(cloud: &str, name: &str) -> Site {
        Site::of_region(regions::find(cloud, name).expect(name))
    }

    fn zone(name: &str) -> Site {
        Site::of_zone(&table::find(name, None).expect(name))
    }

    #[test]
    fn order_and_saving_are_those_computed_by_hand() {
        // FR 44.18 at 1.15; SE 35.82 at 1.12; DE 344.11 at 1.32; IE at 1.1; CH without a PUE of its own: 1.15.
        let here = region("aws", "eu-west-3");
        let others = ["eu-central-1", "eu-north-1", "us-east-1"].map(|name| region("aws", name)).to_vec();
        let found = compare(&here, others, Basis::Lifecycle, KILOWATT_HOUR).expect("FR has one");
        assert_eq!(found.emissions, 50_807_000_000);
        let told: Vec<_> = found
            .lines
            .iter()
            .map(|line| (line.site.label(), line.emissions, line.saving_ppm, line.figure.proxy.as_deref()))
            .collect();
        let label = str::to_owned;
        assert_eq!(told[0], (label("aws eu-north-1"), 40_118_400_000, Some(210_376), None));
        assert_eq!((told[1].0.as_str(), told[1].3), ("aws us-east-1", Some("US")));
        assert_eq!(told[2].0, "aws eu-central-1");
        assert_eq!(found.lines[0].saving, 50_807_000_000 - 40_118_400_000);
        assert!(found.lines[1].saving < 0 && found.lines[1].saving_ppm.is_some_and(|ppm| ppm < -1_000_000));
        assert!(found.lines.iter().all(|line| !line.is_proposed), "21 % is not worth moving for");
        assert_eq!(found.lines.iter().map(|line| line.is_same_law).collect::<Vec<_>>(), [true, false, true]);
        let kilometres = found.lines[0].kilometres.expect("both are on the map");
        assert!((1_500.0..1_600.0).contains(&kilometres), "{kilometres}");
    }

    #[test]
    fn what_is_proposed_saves_a_third_or_so_and_is_no_proxy() {
        let here = region("aws", "eu-central-1");
        let others = ["eu-west-3", "eu-north-1", "ca-central-1"].map(|name| region("aws", name)).to_vec();
        let found = compare(&here, others, Basis::Lifecycle, KILOWATT_HOUR).expect("DE has one");
        let proposed: Vec<(String, bool)> =
            found.lines.iter().map(|line| (line.site.label(), line.is_proposed)).collect();
        let label = |name: &str, is_proposed| (format!("aws {name}"), is_proposed);
        assert_eq!(proposed[0], label("eu-north-1", true));
        assert_eq!(proposed[1], label("eu-west-3", true));
        // The figure is Canada's as a whole, if there is one: cleaner, and not Quebec's.
        assert_eq!(proposed[2], label("ca-central-1", false));
        assert_eq!(found.lines[2].figure.proxy.as_deref(), Some("CA"));
        // By a proxy here nothing is proposed either.
        let found =
            compare(&region("aws", "us-east-1"), vec![region("aws", "eu-north-1")], Basis::Lifecycle, 1);
        assert!(found.is_some_and(|found| !found.lines[0].is_proposed));
    }

    #[test]
    fn bases_do_not_mix() {
        for (site, lifecycle, direct) in [
            (zone("FR"), true, false),
            (zone("GB"), true, true),
            (zone("US-CAMX"), false, true),
            (region("gcp", "europe-west9"), true, true),
            (region("aws", "eu-west-3"), true, false),
        ] {
            assert_eq!(
                (has_own(&site, Basis::Lifecycle), has_own(&site, Basis::Direct)),
                (lifecycle, direct)
            );
        }
        let found =
            compare(&zone("US-CAMX"), vec![zone("FR"), zone("CA-QC")], Basis::Direct, 1).expect("direct");
        assert_eq!((found.lines.len(), found.left_out.len()), (1, 1));
        assert_eq!(compare(&zone("FR"), vec![zone("US-CAMX")], Basis::Direct, 1), None);
        let published = figure(&region("gcp", "europe-west9"), Basis::Direct).expect("published");
        assert_eq!(
            (published.intensity.as_milligrams(), published.source.as_str()),
            (16_300, "gcp, published")
        );
    }

    #[test]
    fn nothing_is_saved_of_nothing() {
        let own = |milligrams| Site {
            own: Some((Intensity::from_milligrams(milligrams).expect("plausible"), None)),
            ..zone("IS")
        };
        let found = compare(&own(0), vec![zone("FR"), own(0)], Basis::Lifecycle, KILOWATT_HOUR).expect("own");
        assert_eq!(found.emissions, 0);
        let savings: Vec<_> = found.lines.iter().map(|line| (line.saving, line.saving_ppm)).collect();
        assert_eq!(savings, [(0, None), (-44_180_000_000, None)]);
        assert!(found.lines.iter().all(|line| !line.is_proposed));
        let found = compare(&zone("FR"), vec![own(0)], Basis::Lifecycle, KILOWATT_HOUR).expect("FR");
        assert_eq!((found.lines[0].saving_ppm, found.lines[0].is_proposed), (Some(1_000_000), true));
    }

    #[test]
    fn a_pue_counts_where_both_are_known() {
        let known = Site { pue: Some(Pue::parse("2").expect("a PUE")), ..zone("FR") };
        let found = compare(&known, vec![zone("FR"), known.clone()], Basis::Lifecycle, 1).expect("FR");
        assert!(found.lines.iter().all(|line| line.saving_ppm == Some(0)), "{:?}", found.lines);
        let cloud = region("aws", "eu-west-3");
        let found = compare(&known, vec![cloud], Basis::Lifecycle, 1).expect("FR");
        assert_eq!(found.lines[0].saving_ppm, Some(425_000), "1.15 instead of 2");
    }
}
