//! What is known of one place, in a file: a restart, or an outage, goes on with it. It holds nothing that
//! cannot be asked for again: a damaged file is left alone until the next writing replaces it.

use super::chain::{Book, Page};
use crate::model::grid::{Basis, Boundary, Place, Quality, Sample, Series, Signal};
use crate::model::identity::Name;
use crate::model::quantity::{Intensity, Nanos, Pue};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// What the file is called, in the store's folder.
pub const FILE: &str = "grid.json";

/// The one version that is written and read.
const VERSION: u32 = 1;

/// 32 pages of 2,880 samples in two layers, at 50 bytes each.
const MAX_BYTES: u64 = 10 << 20;

const SECOND: u64 = 1_000_000_000;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where the machine stands, if that was settled.
    pub place: Place,
    /// What the building adds, if the place told.
    pub pue: Option<Pue>,
    /// What was said.
    pub book: Book,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    place: Place,
    pue: Option<Pue>,
    order: Vec<Name>,
    // Files of earlier versions have none.
    #[serde(default)]
    told: Vec<(Name, Basis)>,
    pages: Vec<WrittenPage>,
}

#[derive(Serialize, Deserialize)]
struct WrittenPage {
    provider: Name,
    position: u32,
    source: Name,
    zone: Name,
    signal: Signal,
    basis: Basis,
    accounting: Boundary,
    said: Vec<WrittenSample>,
    forecast: Vec<WrittenSample>,
}

/// Start, end, intensity, quality, fetched; times in s since 1970.
#[derive(Serialize, Deserialize)]
struct WrittenSample(u64, u64, Intensity, Quality, u64);

impl WrittenSample {
    fn of(sample: &Sample) -> WrittenSample {
        let seconds = |time: Nanos| time.get() / SECOND;
        WrittenSample(
            seconds(sample.start),
            seconds(sample.end),
            sample.intensity,
            sample.quality,
            seconds(sample.fetched),
        )
    }

    fn sample(&self) -> Sample {
        let nanos = |seconds: u64| Nanos::new(seconds.saturating_mul(SECOND));
        Sample {
            start: nanos(self.0),
            end: nanos(self.1),
            intensity: self.2,
            quality: self.3,
            fetched: nanos(self.4),
        }
    }
}

/// Reads what was kept; `None` if nothing was.
///
/// # Errors
/// The file cannot be used; one line says why.
pub fn read(path: &Path, now: Nanos) -> Result<Option<Kept>, String> {
    let wrong = |cause: String| format!("reading {}: {cause} (it is written anew)", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let written: Written = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if written.version != VERSION {
        return Err(wrong(format!("it has version {}, not {VERSION}", written.version)));
    }
    let pages = written.pages.into_iter().map(|page| {
        let samples = |written: Vec<WrittenSample>| written.iter().map(WrittenSample::sample).collect();
        let said = Series {
            source: page.source,
            zone: page.zone,
            signal: page.signal,
            basis: page.basis,
            accounting: page.accounting,
            samples: samples(page.said),
        };
        Page { provider: page.provider, position: page.position, said, forecast: samples(page.forecast) }
    });
    let book = Book::of(written.order, written.told, pages.collect(), now);
    Ok(Some(Kept { place: written.place, pue: written.pue, book }))
}

/// Replaces the file; a reader sees the old one or the new one.
///
/// # Errors
/// The disk's.
pub fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let samples = |samples: &[Sample]| samples.iter().map(WrittenSample::of).collect();
    let pages = kept.book.pages().iter().map(|page| WrittenPage {
        provider: page.provider.clone(),
        position: page.position,
        source: page.said.source.clone(),
        zone: page.said.zone.clone(),
        signal: page.said.signal,
        basis: page.said.basis,
        accounting: page.said.accounting,
        said: samples(&page.said.samples),
        forecast: samples(&page.forecast),
    });
    let written = Written {
        version: VERSION,
        place: kept.place.clone(),
        pue: kept.pue,
        order: kept.book.order().to_vec(),
        told: kept.book.told(),
        pages: pages.collect(),
    };
    let text = serde_json::to_vec(&written)?;
    // Commands that are measured side by side each write one.
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let put = || {
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        // Without it a power loss may leave the name with nothing behind it.
        file.sync_data()?;
        std::fs::rename(&new, path)
    };
    put().inspect_err(|_| drop(std::fs::remove_file(&new)))
}
