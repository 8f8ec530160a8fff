//! `jouleprint regions`: what the same energy would emit in other regions of a cloud, or in other zones. It
//! needs no network: figures are those of the tables, yearly means.

pub mod compare;

use super::report::amount::{Unit, decimal};
use super::report::table::fitted;
use super::report::{say, terminal_width};
use crate::carbon::location::{self, NOWHERE};
use crate::carbon::regions::{self, Region};
use crate::carbon::{Choice, ChoiceError, table};
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings};
use crate::model::grid::Basis;
use crate::model::quantity::{Pue, parse_decimal};
use clap::{Args, ValueEnum};
use comfy_table::CellAlignment;
use compare::{Comparison, Line, Site, compare, figure, has_own};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io;

/// One kWh in µJ.
const KILOWATT_HOUR: u128 = 3_600_000_000_000;

/// Lines of a table that fit a screen; JSON has all.
const MAX_LINES: usize = 25;

/// Proposals that are named.
const MAX_PROPOSED: usize = 3;

/// Places named in a message at the most.
const MAX_NAMED: usize = 8;

/// More than a country uses in an hour.
const MAX_KILOWATT_HOURS: u64 = 1_000_000_000;

/// What stands below every comparison.
const CAUTION: &str = "yearly means: what one more kWh would emit differs, and moving data costs energy too";

/// Of `jouleprint regions`.
#[derive(Debug, Args)]
pub struct RegionsArguments {
    /// Regions of this cloud: aws, gcp, azure, … [default: the one we are in, else all]
    #[arg(long, value_name = "CLOUD", value_delimiter = ',')]
    pub provider: Vec<String>,
    /// The region to compare with, as eu-west-3 or aws/eu-west-3 [default: where this machine is]
    #[arg(long, value_name = "REGION")]
    pub from: Option<String>,
    /// Only these regions or zones
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub to: Vec<String>,
    /// Which figures are compared [default: those that the place to compare with has]
    #[arg(long, value_enum, value_name = "BASIS")]
    pub basis: Option<BasisName>,
    /// How much energy, in kWh
    #[arg(long, value_name = "KWH", default_value = "1", value_parser = kilowatt_hours)]
    pub energy: u64,
    /// Lines at most [default: 25 in a table]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What figures include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BasisName {
    /// Fuel supply and construction too
    Lifecycle,
    /// What leaves the stack
    Direct,
}

/// kWh as mWh: whole numbers.
pub(super) fn kilowatt_hours(text: &str) -> Result<u64, String> {
    let wrong = || format!("it is no number of kWh between 0 and {MAX_KILOWATT_HOURS}");
    let milli_watt_hours = parse_decimal(text, 6).map_err(|_| wrong())?;
    if milli_watt_hours > MAX_KILOWATT_HOURS * 1_000_000 { Err(wrong()) } else { Ok(milli_watt_hours) }
}

/// In µJ.
pub(super) fn microjoules(milli_watt_hours: u64) -> u128 {
    u128::from(milli_watt_hours) * (KILOWATT_HOUR / 1_000_000)
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum RegionsError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such zone.
    #[error(transparent)]
    Zone(#[from] ChoiceError),
    /// There is no such cloud.
    #[error("--provider: {text:?} is none of {known}")]
    Cloud {
        /// What was asked for.
        text: String,
        /// Those there are.
        known: String,
    },
    /// There is no such region.
    #[error(
        "there is no region {text:?}{hint} (write it as aws/eu-west-3; regions stand in data/cloud_regions.csv)"
    )]
    Region {
        /// What was asked for.
        text: String,
        /// What may be meant.
        hint: String,
    },
    /// Nobody says where we are.
    #[error("where this machine is nobody says: give --from REGION or --zone ZONE")]
    Nowhere,
    /// They have nothing in common.
    #[error("figures on different bases are not compared: {here}; {there}{hint}")]
    Bases {
        /// What here has.
        here: String,
        /// What the others have.
        there: String,
        /// What can be compared.
        hint: String,
    },
    /// Looking for the place failed.
    #[error("looking for the place of this machine: {0}")]
    Look(io::Error),
    /// It cannot be written.
    #[error("writing the comparison: {0}")]
    Write(#[from] io::Error),
    /// It cannot be put as JSON.
    #[error("writing the comparison as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Prints the comparison.
///
/// # Errors
/// The question has no answer.
pub fn run(flags: &Flags, arguments: &RegionsArguments) -> Result<(), RegionsError> {
    let settings = Settings::load(flags)?;
    let clouds = clouds(&arguments.provider)?;
    let here = match &arguments.from {
        Some(text) => Site::of_region(region(text, &clouds)?),
        None => here(&settings)?,
    };
    let (others, are_named) = others(arguments, clouds, &here)?;
    let basis = basis(arguments, &settings, &here);
    refuse_mixtures(&here, &others, basis, are_named)?;
    let energy = microjoules(arguments.energy);
    let found = compare(&here, others, basis, energy).ok_or(RegionsError::Nowhere)?;
    let text = match arguments.json {
        true => json(&here, &found, basis, arguments)?,
        false => written(&here, &found, basis, arguments),
    };
    Ok(say(&text)?)
}

fn clouds(texts: &[String]) -> Result<Vec<String>, RegionsError> {
    let known = |text: &String| {
        regions::cloud(text)
            .ok_or_else(|| RegionsError::Cloud { text: text.clone(), known: regions::clouds().join(", ") })
    };
    texts.iter().map(known).collect()
}

/// By `cloud/region`, or by its id alone where only one of these clouds has it.
fn region(text: &str, clouds: &[String]) -> Result<Region, RegionsError> {
    let (cloud, id) = match text.split_once('/') {
        Some((cloud, id)) => (regions::cloud(cloud), id),
        None => (None, text),
    };
    let is_wanted = |row: &Region| match &cloud {
        Some(cloud) => row.cloud == *cloud,
        None => clouds.is_empty() || clouds.contains(&row.cloud),
    };
    let all = regions::rows().filter(|row| row.region.eq_ignore_ascii_case(id) && is_wanted(row));
    let mut all: Vec<Region> = all.collect();
    match all.len() {
        1 => Ok(all.swap_remove(0)),
        0 => {
            let best = regions::rows()
                .filter(is_wanted)
                .map(|row| (strsim::jaro_winkler(&row.region, &id.to_lowercase()), row))
                .max_by(|one, other| one.0.total_cmp(&other.0));
            let hint = best.filter(|(likeness, _)| *likeness > 0.7);
            let hint = hint.map(|(_, row)| format!("; did you mean {}/{}?", row.cloud, row.region));
            Err(RegionsError::Region { text: text.to_owned(), hint: hint.unwrap_or_default() })
        }
        _ => {
            let clouds: Vec<String> = all.into_iter().map(|row| row.cloud).collect();
            let hint = format!(": {} have one each", clouds.join(", "));
            Err(RegionsError::Region { text: text.to_owned(), hint })
        }
    }
}

/// As configured, else as it is found.
fn here(settings: &Settings) -> Result<Site, RegionsError> {
    let pue = settings.pue;
    match &settings.carbon {
        Choice::Zone { zone, .. } => Ok(Site { pue, ..Site::of_zone(&table::find(zone, None)?) }),
        Choice::Own { intensity, zone, basis } => {
            let zone = zone.clone().unwrap_or_else(|| "custom".to_owned());
            Ok(Site { region: None, name: zone.clone(), zone, own: Some((*intensity, *basis)), pue })
        }
        Choice::Unknown => {
            let found = location::locate_at_once(&settings.grid.location).map_err(RegionsError::Look)?;
            let place = &found.place;
            if let Some(row) = regions::find(&place.cloud, &place.region) {
                let site = Site::of_region(row);
                return Ok(Site { pue: pue.or(site.pue), ..site });
            }
            if &*place.zone == NOWHERE {
                return Err(RegionsError::Nowhere);
            }
            Ok(Site { pue, ..Site::of_zone(&table::find(&place.zone, None)?) })
        }
    }
}

/// Those that were named, else all of the clouds in question; without the place itself.
fn others(
    arguments: &RegionsArguments,
    mut clouds: Vec<String>,
    here: &Site,
) -> Result<(Vec<Site>, bool), RegionsError> {
    if !arguments.to.is_empty() {
        let site = |text: &String| match table::find(text, None) {
            Ok(row) => Ok(Site::of_zone(&row)),
            Err(error) => match region(text, &clouds) {
                Ok(row) => Ok(Site::of_region(row)),
                // What looks like a region is meant as one.
                Err(other) if text.contains(|char: char| char == '/' || char.is_ascii_lowercase()) => {
                    Err(other)
                }
                Err(_) => Err(error.into()),
            },
        };
        return Ok((arguments.to.iter().map(site).collect::<Result<_, _>>()?, true));
    }
    if clouds.is_empty() {
        clouds.extend(here.region.as_ref().map(|row| row.cloud.clone()));
    }
    let is_it = |row: &Region| {
        here.region.as_ref().is_some_and(|here| (&here.cloud, &here.region) == (&row.cloud, &row.region))
    };
    let rows = regions::rows().filter(|row| clouds.is_empty() || clouds.contains(&row.cloud));
    Ok((rows.filter(|row| !is_it(row)).map(Site::of_region).collect(), false))
}

/// As wished, else as configured, else one that the place to compare with has of its own.
fn basis(arguments: &RegionsArguments, settings: &Settings, here: &Site) -> Basis {
    let asked = arguments.basis.map(|basis| match basis {
        BasisName::Lifecycle => Basis::Lifecycle,
        BasisName::Direct => Basis::Direct,
    });
    let configured = match (&settings.carbon, &arguments.from) {
        (Choice::Zone { basis, .. } | Choice::Own { basis, .. }, None) => *basis,
        _ => None,
    };
    asked.or(configured).unwrap_or_else(|| {
        if has_own(here, Basis::Lifecycle) || !has_own(here, Basis::Direct) {
            Basis::Lifecycle
        } else {
            Basis::Direct
        }
    })
}

/// A place that was named has to be in the comparison, and here always.
fn refuse_mixtures(here: &Site, others: &[Site], basis: Basis, are_named: bool) -> Result<(), RegionsError> {
    let lacks = |site: &&Site| figure(site, basis).is_none();
    let missing: Vec<&Site> = others.iter().filter(lacks).collect();
    let is_missing = figure(here, basis).is_none();
    if !is_missing && (missing.is_empty() || !are_named && missing.len() < others.len()) {
        return Ok(());
    }
    let told = |sites: &[&Site]| {
        let mut told: Vec<String> = sites.iter().take(MAX_NAMED).map(|site| has(site)).collect();
        if sites.len() > MAX_NAMED {
            told.push(format!("{} more", sites.len() - MAX_NAMED));
        }
        told.join(", ")
    };
    let all: Vec<&Site> = others.iter().collect();
    let there = if missing.is_empty() { told(&all) } else { told(&missing) };
    let other = if basis == Basis::Lifecycle { Basis::Direct } else { Basis::Lifecycle };
    let can_be = std::iter::once(here).chain(others).all(|site| figure(site, other).is_some());
    let hint = if can_be {
        format!(
            " (--basis {} compares them, by the whole country's figure where there is no other)",
            other.as_str()
        )
    } else {
        " (--to names places that have the same)".to_owned()
    };
    Err(RegionsError::Bases { here: has(here), there, hint })
}

fn has(site: &Site) -> String {
    let both = [Basis::Lifecycle, Basis::Direct];
    let there: Vec<&str> =
        both.into_iter().filter(|basis| has_own(site, *basis)).map(Basis::as_str).collect();
    match there.is_empty() {
        true => format!("{} has none", site.label()),
        false => format!("{} has {}", site.label(), there.join(" and ")),
    }
}

fn tenth_of_percent(ppm: i64) -> String {
    let tenths = (ppm.unsigned_abs() + 500) / 1_000;
    let sign = if ppm < 0 && tenths > 0 { "-" } else { "" };
    format!("{sign}{}.{}", tenths / 10, tenths % 10)
}

/// For people.
fn written(here: &Site, found: &Comparison, basis: Basis, arguments: &RegionsArguments) -> String {
    let energy = decimal(u128::from(arguments.energy), 6);
    let largest = found.lines.iter().map(|line| line.emissions).chain([found.emissions]).max().unwrap_or(0);
    let unit = Unit::of_emissions(largest);
    let pue = |pue: Option<Pue>| pue.map_or("-".to_owned(), |pue| pue.to_string());
    let proxy =
        |proxy: &Option<String>| proxy.as_ref().map(|zone| format!("figure of {zone}")).unwrap_or_default();
    let limit = arguments.limit.unwrap_or(MAX_LINES);
    let (left, right) = (CellAlignment::Left, CellAlignment::Right);
    let heads = [
        ("region", left),
        ("place", left),
        ("zone", left),
        ("g/kWh", right),
        ("PUE", right),
        (unit.name, right),
        ("saves %", right),
        ("km", right),
        ("law", left),
        ("", left),
    ];
    let home = vec![
        here.label(),
        here.name.clone(),
        here.zone.clone(),
        found.figure.intensity.to_string(),
        pue(here.pue),
        unit.write(found.emissions),
        "here".to_owned(),
        String::new(),
        here.jurisdiction().to_owned(),
        proxy(&found.figure.proxy),
    ];
    let line = |line: &Line| {
        vec![
            line.site.label(),
            line.site.name.clone(),
            line.site.zone.clone(),
            line.figure.intensity.to_string(),
            pue(line.pue),
            unit.write(line.emissions),
            line.saving_ppm.map_or("-".to_owned(), tenth_of_percent),
            line.kilometres.map_or(String::new(), |far| format!("{far:.0}")),
            line.site.jurisdiction().to_owned(),
            proxy(&line.figure.proxy),
        ]
    };
    let lines = std::iter::once(home).chain(found.lines.iter().take(limit).map(line)).collect();
    let mut text =
        format!("{energy} kWh, {} figures\n\n{}", basis.as_str(), fitted(&heads, lines, terminal_width()));
    if found.lines.len() > limit {
        text.push_str(&format!("… {} more (--limit N)\n", found.lines.len() - limit));
    }
    text.push('\n');
    for line in proposals(found) {
        let saves = line.saving_ppm.map_or(String::new(), |ppm| format!("saves {} %", tenth_of_percent(ppm)));
        let same = if line.is_same_law { ", the same law" } else { "" };
        text.push_str(&format!("proposed: {} ({}), {saves}{same}\n", line.site.label(), line.site.name));
    }
    for note in notes(found, basis) {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

/// What is worth moving for: under the same law first, then what saves most.
fn proposals(found: &Comparison) -> Vec<&Line> {
    let mut all: Vec<&Line> = found.lines.iter().filter(|line| line.is_proposed).collect();
    all.sort_by_key(|line| !line.is_same_law);
    all.truncate(MAX_PROPOSED);
    all
}

fn notes(found: &Comparison, basis: Basis) -> Vec<String> {
    let mut notes = vec![CAUTION.to_owned()];
    if proposals(found).is_empty() {
        let why =
            if found.figure.proxy.is_some() { ", since the figure of here is another zone's" } else { "" };
        notes.push(format!(
            "nothing is proposed{why}: that takes 30 % less, by figures of the places themselves"
        ));
    }
    if !found.left_out.is_empty() {
        notes.push(format!(
            "{} places have no {} figure and are left out (--basis)",
            found.left_out.len(),
            basis.as_str()
        ));
    }
    notes
}

type Number = Box<RawValue>;

fn number(value: u128, places: u32) -> Number {
    RawValue::from_string(decimal(value, places)).expect("digits are JSON")
}

fn signed(value: i128, places: u32) -> Number {
    let sign = if value < 0 { "-" } else { "" };
    RawValue::from_string(format!("{sign}{}", decimal(value.unsigned_abs(), places)))
        .expect("digits are JSON")
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    basis: &'static str,
    energy_kilowatt_hours: Number,
    from: Object<'a>,
    regions: Vec<Object<'a>>,
    left_out: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Object<'a> {
    provider: Option<&'a str>,
    region: Option<&'a str>,
    location: &'a str,
    zone: &'a str,
    grams_per_kilowatt_hour: Number,
    source: &'a str,
    year: &'a str,
    proxy: Option<&'a str>,
    pue: Option<Number>,
    emissions_grams: Number,
    saving_grams: Number,
    saving_ratio: Option<Number>,
    distance_kilometres: Option<u64>,
    jurisdiction: &'a str,
    carbon_free_ratio: Option<Number>,
    proposed: bool,
}

fn json(
    here: &Site,
    found: &Comparison,
    basis: Basis,
    arguments: &RegionsArguments,
) -> Result<String, serde_json::Error> {
    let document = Document {
        version: 1,
        basis: basis.as_str(),
        energy_kilowatt_hours: number(u128::from(arguments.energy), 6),
        from: object(here, &found.figure, here.pue, found.emissions),
        regions: found.lines.iter().take(arguments.limit.unwrap_or(usize::MAX)).map(of_line).collect(),
        left_out: found.left_out.iter().map(Site::label).collect(),
        notes: notes(found, basis),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn of_line(line: &Line) -> Object<'_> {
    Object {
        saving_grams: signed(line.saving, 9),
        saving_ratio: line.saving_ppm.map(|ppm| signed(i128::from(ppm), 6)),
        distance_kilometres: line.kilometres.and_then(whole),
        proposed: line.is_proposed,
        ..object(&line.site, &line.figure, line.pue, line.emissions)
    }
}

fn object<'a>(site: &'a Site, figure: &'a compare::Figure, pue: Option<Pue>, emissions: u128) -> Object<'a> {
    let row = site.region.as_ref();
    let share = row.and_then(|row| row.own.as_ref()).and_then(|own| own.carbon_free_ppm);
    Object {
        provider: row.map(|row| row.cloud.as_str()),
        region: row.map(|row| row.region.as_str()),
        location: &site.name,
        zone: &site.zone,
        grams_per_kilowatt_hour: number(u128::from(figure.intensity.as_milligrams()), 3),
        source: &figure.source,
        year: &figure.year,
        proxy: figure.proxy.as_deref(),
        pue: pue.map(|pue| number(u128::from(pue.as_ppm()), 6)),
        emissions_grams: number(emissions, 9),
        saving_grams: number(0, 9),
        saving_ratio: (emissions > 0).then(|| number(0, 6)),
        distance_kilometres: row.map(|_| 0),
        jurisdiction: site.jurisdiction(),
        carbon_free_ratio: share.map(|ppm| number(u128::from(ppm), 6)),
        proposed: false,
    }
}

/// Kilometres; half the earth is 20,015 of them.
fn whole(kilometres: f64) -> Option<u64> {
    format!("{kilometres:.0}").parse().ok()
}
