//! A file of figures: CSV with a line for each time, or JSON in a shape that the user describes. It is read anew
//! when it has changed. A CSV table without times, such as a yearly one by zone, holds at all times.

use super::asking::Site;
use super::disk::{self, Content, Unread};
use super::figure::{Unit, intensity};
use super::http_json::{self, Shape, ends};
use super::round::Questions;
use super::slots::{About, Gathering, Slot, floor, instant};
use super::{BOUNDS, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, GRAIN, Quality};
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use csv::StringRecord;
use std::path::PathBuf;
use std::sync::Arc;

/// The provider.
pub struct File {
    path: PathBuf,
    shape: Shape,
    read: Option<Content>,
}

impl File {
    /// A file that has not been read yet.
    #[must_use]
    pub const fn new(path: PathBuf, shape: Shape) -> File {
        File { path, shape, read: None }
    }

    /// What is in the file.
    async fn content(&mut self, site: &Site) -> Result<Arc<[u8]>, Refusal> {
        let most = u64::try_from(BOUNDS.bytes).unwrap_or(u64::MAX);
        let content = disk::read(&self.path, most, self.read.clone()).await.map_err(|Unread { fault, cause }| {
            let path = self.path.display();
            site.refusal(fault, &format!("reading {path}: {cause} (see the provider's path; of a long table some days are enough)"))
        })?;
        Ok(Arc::clone(&self.read.insert(content).bytes))
    }
}

impl Questions for File {
    fn offer(&self) -> Offer {
        // A CSV file may say in each line what its figure includes.
        self.shape.value.as_ref().map_or(Offer::UNTOLD, |_| Offer::about(self.shape.about))
    }

    fn described(&self, _: &Site) -> Option<String> {
        Some(format!("{} {}", self.path.display(), self.shape.described()))
    }

    async fn hear(&mut self, _: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let shape = self.shape.clone();
        let content = self.content(heard.site()).await?;
        heard.take(|site, heard| match shape.value {
            Some(_) => http_json::parse(site, &content, &shape, heard),
            None => parse(site, &content, &shape, heard),
        })
    }
}

/// Columns by the names that are known.
struct Columns {
    time: Option<usize>,
    zone: Option<usize>,
    figure: usize,
    forecast: Option<usize>,
    basis: Option<usize>,
    accounting: Option<usize>,
}

impl Columns {
    fn of(head: &StringRecord) -> Option<Columns> {
        let place = |names: &[&str]| head.iter().position(|name| names.contains(&name.trim()));
        Some(Columns {
            time: place(&["timestamp", "time", "datetime"]),
            zone: place(&["zone", "em_zone", "grid_zone"]),
            figure: place(&["gco2e_per_kwh", "grams_per_kilowatt_hour"])?,
            forecast: place(&["forecast"]),
            basis: place(&["basis"]),
            accounting: place(&["accounting"]),
        })
    }
}

/// A CSV table: `timestamp,zone,gco2e_per_kwh[,forecast]`, or without times.
///
/// # Errors
/// It is no such table, has no line of the zone, or a time in it is none.
pub fn parse(site: &Site, content: &[u8], shape: &Shape, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).from_reader(content);
    let head = reader.headers().map_err(|_| site.malformed("the file is no CSV table of text"))?;
    let columns = Columns::of(head).ok_or_else(|| {
        site.malformed("the file has no column gco2e_per_kwh (write timestamp,zone,gco2e_per_kwh)")
    })?;
    let mut found: Vec<(Option<Nanos>, StringRecord)> = Vec::new();
    for row in reader.into_records() {
        let row = row.map_err(|_| site.malformed("the file has a line that is no text"))?;
        let field = |column: Option<usize>| column.and_then(|column| row.get(column)).map(str::trim);
        if field(columns.zone).is_some_and(|zone| !zone.eq_ignore_ascii_case(&site.zone)) {
            continue;
        }
        let time = field(columns.time).map(|text| {
            instant(text).ok_or_else(|| {
                let line = row.position().map_or(0, csv::Position::line);
                let message = format!("line {line} of the file has no time (write 2026-11-21T20:00Z)");
                site.malformed(&message)
            })
        });
        found.push((time.transpose()?, row));
    }
    if found.is_empty() {
        return Err(
            site.refusal(Fault::Missing, "the file has no line of this zone (see the provider's zone)")
        );
    }
    found.sort_by_key(|(time, _)| *time);
    let ask = heard.ask();
    let starts: Vec<Nanos> = found.iter().map(|(time, _)| time.unwrap_or_default()).collect();
    for ((time, row), end) in found.iter().zip(ends(&starts, shape.slot)) {
        let field = |column: Option<usize>| column.and_then(|column| row.get(column)).map(str::trim);
        let is_forecast = matches!(field(columns.forecast), Some("1" | "true" | "yes"));
        let slot = match time {
            Some(start) => {
                let quality = if is_forecast { Quality::Forecast } else { Quality::Measured };
                Slot { start: *start, end, quality }
            }
            // Until somebody asks again, and somewhat longer.
            None => Slot {
                start: floor(ask.from),
                end: floor(ask.until.max(ask.now)) + Nanos::new(GRAIN.get() * 12),
                quality: Quality::Static,
            },
        };
        let Some(text) = row.get(columns.figure).map(str::trim).filter(|text| !text.is_empty()) else {
            continue;
        };
        let about = about(shape.about, field(columns.basis), field(columns.accounting));
        heard.add(about, slot, intensity(text, Unit::GramsPerKilowattHour));
    }
    Ok(())
}

/// What a line says of itself goes before what was said of the file.
fn about(of_the_file: About, basis: Option<&str>, accounting: Option<&str>) -> About {
    let basis = match basis {
        Some("lifecycle") => Basis::Lifecycle,
        Some("direct") => Basis::Direct,
        Some(_) | None => of_the_file.basis,
    };
    let accounting = match accounting {
        Some("production") => Boundary::Production,
        Some("consumption") => Boundary::Consumption,
        Some(_) | None => of_the_file.accounting,
    };
    About { basis, accounting, ..of_the_file }
}
