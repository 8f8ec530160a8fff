//! Answers of providers of intensities: anything is series in good order, or refused in one line.

use jouleprint::carbon::provider::asking::Site;
use jouleprint::carbon::provider::figure::{Decimal, Unit, intensity};
use jouleprint::carbon::provider::http_json::{self, Shape};
use jouleprint::carbon::provider::json::Path;
use jouleprint::carbon::provider::mix::{Codes, Mix};
use jouleprint::carbon::provider::slots::{About, Gathering, floor, instant};
use jouleprint::carbon::provider::{
    Ask, Refusal, eia, electricity_maps, energi_data, entsoe, file, gb, rte, watttime,
};
use jouleprint::model::grid::{Basis, Boundary, Quality, Signal};
use jouleprint::model::quantity::Nanos;
use std::time::Duration;

/// 2026-11-21T20:10:00Z.
const NOW: Nanos = Nanos::from_seconds(1_795_291_800);

/// The first byte chooses the provider, the rest is its answer.
pub(crate) fn answer(bytes: &[u8]) {
    let Some((chosen, body)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(body);
    let _ = (instant(&text), Decimal::parse(&text), Unit::parse(&text));
    if let Ok(intensity) = intensity(&text, Unit::PoundsPerMegawattHour) {
        assert!(intensity.as_milligrams() <= 5_000_000);
    }
    let zones = ["FR", "DE", "GB-13", "FR", "DK1", "10YFR-RTE------C", "CISO", "FR", "FR"];
    let site = Site {
        source: "fuzz",
        base: String::new(),
        zone: zones[usize::from(*chosen) % zones.len()].to_owned(),
        cadence: Duration::from_secs(300),
    };
    let ask = Ask {
        now: NOW,
        from: NOW.saturating_sub(Nanos::from_seconds(86_400)),
        until: NOW + Nanos::from_seconds(86_400),
    };
    let mut heard = Gathering::new(&site, ask);
    let outcome = read(usize::from(*chosen) % zones.len(), &site, body, &text, &mut heard);
    match outcome.and_then(|()| heard.finish()) {
        Ok(series) => {
            for series in series {
                assert!(series.samples.windows(2).all(|pair| pair[0].end <= pair[1].start));
                for slot in &series.samples {
                    assert!(
                        slot.start < slot.end
                            && slot.start == floor(slot.start)
                            && slot.end == floor(slot.end)
                    );
                }
            }
        }
        Err(refusal) => assert!(!refusal.message.contains('\n'), "{refusal}"),
    }
}

fn read(
    which: usize,
    site: &Site,
    body: &[u8],
    text: &str,
    heard: &mut Gathering<'_>,
) -> Result<(), Refusal> {
    let mixed = |mix: Mix, codes, heard: &mut Gathering<'_>| {
        mix.intensities(site, codes, Basis::Lifecycle, (&["NG"], &["SUN"]), heard)
    };
    match which {
        0 => electricity_maps::parse(site, body, Basis::Lifecycle, false, heard),
        1 => watttime::parse(site, body, Signal::Marginal, true, heard),
        2 => gb::parse(site, body, heard),
        3 => rte::parse(site, body, heard).map(drop),
        4 => energi_data::parse(site, body, Quality::Measured, heard),
        5 => entsoe::parse(site, body).and_then(|mix| mixed(mix, Codes::Entsoe, heard)),
        6 => eia::parse(site, body).and_then(|mix| mixed(mix, Codes::Eia, heard)),
        7 => file::parse(site, body, &shape(""), heard),
        _ => {
            // A path, then a document.
            let (path, document) = text.split_once('\n').unwrap_or(("", text));
            http_json::parse(site, document.as_bytes(), &shape(path), heard)
        }
    }
}

fn shape(path: &str) -> Shape {
    let path = Path::new(path).ok();
    Shape {
        list: path.clone(),
        value: path.clone(),
        time: path,
        unit: Unit::GramsPerKilowattHour,
        about: About::average(Basis::Direct, Boundary::Production),
        slot: None,
    }
}
