//! What `doctor` tells of the grid: where the machine stands and who says so, what each provider answers to one
//! question, and what would be charged now.

use crate::carbon::chain::{Book, Terms, hours};
use crate::carbon::location::{self, Found};
use crate::carbon::provider::{self, Ask, BOUNDS, IntensityProvider, Kind, Refusal, Wish};
use crate::carbon::{Choice, resolve};
use crate::clock;
use crate::command::report::amount::minute;
use crate::config::Settings;
use crate::http_client::{Client, Protocol, TlsFiles};
use crate::model::grid::{Basis, Sample, Series, Signal};
use crate::model::identity::Name;
use crate::model::quantity::{Nanos, Pue};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Somebody waits for the whole; a provider may need two requests for its answer.
const DEADLINE: Duration = Duration::from_secs(8);

/// The newest figure may be so old: EIA's is a day late.
const BACK: Nanos = hours(25);

/// A provider after its question.
struct Asked {
    source: &'static str,
    zone: String,
    provider: Box<dyn IntensityProvider>,
    heard: Result<Vec<Series>, String>,
}

/// In lines, and whether nothing is to be mended. Offline nobody is asked over the network.
#[must_use]
pub fn examine(settings: &Settings, is_offline: bool) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let found = place(settings, is_offline);
    let is_placed = place_in_words(settings, &found, &mut lines);
    let (pue, whose) = pue(settings, &found);
    lines.push(format!("PUE {pue}, {whose}"));
    let now = clock::now().wall;
    let (asked, closed) = ask(settings, &found, now, is_offline);
    let mut book = Book::default();
    book.arrange((0..asked.len()).map(key).collect());
    for (at, one) in asked.iter().enumerate() {
        book.offer(&key(at), one.provider.offer());
        if let Ok(series) = &one.heard {
            book.hear(&key(at), series.clone(), now);
        }
    }
    let mut is_heard = closed.is_empty();
    for (at, one) in asked.iter().enumerate() {
        let passed_over = book.refused(&key(at), &settings.grid.chain);
        let (mark, said) = match (&one.heard, passed_over) {
            (Err(why), _) => ("-- ", why.clone()),
            (Ok(_), Some(basis)) => ("-- ", not_wanted(basis)),
            (Ok(series), None) => ("ok ", newest(series, now)),
        };
        is_heard &= mark == "ok ";
        lines.push(format!("{mark}  {} {}: {said}", one.source, one.zone));
    }
    lines.extend(closed.iter().map(|why| format!("--   {why}")));
    if !is_heard {
        lines.push(
            "  → mend grid.providers (docs/carbon.md); meanwhile the figure below is charged".to_owned(),
        );
    }
    let has_providers = !settings.grid.providers.is_empty();
    if !has_providers {
        lines.push("no provider is configured: the figure of the year is charged at all hours".to_owned());
    } else if is_offline {
        lines.push("providers that answer over the network are not asked (--offline)".to_owned());
    }
    let terms =
        Terms { zone: &found.place.zone, pue, choice: &settings.carbon, limits: &settings.grid.chain };
    let plan = book.plan(now, &terms);
    let factor = plan.at(now);
    let words = [&*factor.basis, &*factor.source, &*factor.year, factor.fallback.as_str()];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let when = if is_offline && has_providers { "charged without them" } else { "charged now" };
    lines.push(format!("{when}: {} g/kWh ({}), PUE {}", factor.intensity, words.join(", "), factor.pue));
    (lines, is_placed && is_heard)
}

fn not_wanted(basis: Basis) -> String {
    let basis = basis.as_str();
    format!("its figures are {basis}, not the wanted ones (intensity_basis, grid.chain.other_basis)")
}

/// As configured, else as it is found.
fn place(settings: &Settings, is_offline: bool) -> Found {
    let configured = resolve(&settings.carbon, Pue::ONE).ok();
    let wish = &settings.grid.location;
    match (&settings.carbon, configured) {
        (Choice::Zone { .. } | Choice::Own { .. }, Some(factor)) => location::configured(&factor.zone),
        (_, _) if is_offline => found(&location::Wish { metadata: false, address: None, ..wish.clone() }),
        (_, _) => found(wish),
    }
}

fn found(wish: &location::Wish) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let seek = |runtime: tokio::runtime::Runtime| {
        let found = runtime.block_on(location::seek(wish));
        // A name server or a disk that hangs is not waited for.
        runtime.shutdown_background();
        found
    };
    runtime.map_or_else(|_| location::configured(location::NOWHERE), seek)
}

/// Returns whether it is known.
fn place_in_words(settings: &Settings, found: &Found, lines: &mut Vec<String>) -> bool {
    let place = &found.place;
    let region = [&*place.cloud, &*place.region].join(" ");
    match (&settings.carbon, found.is_nowhere()) {
        (Choice::Zone { .. } | Choice::Own { .. }, _) => {
            lines.push(format!("place {}, as configured", place.zone));
        }
        (Choice::Unknown, false) => {
            lines.push(format!("place {}, by {} ({})", place.zone, place.source, region.trim()));
        }
        (Choice::Unknown, true) => {
            let why = found.sources.iter().find(|source| source.fault.is_some());
            let why = why.map_or(String::new(), |source| format!(": {}", source.detail));
            lines.push(format!("place unknown{why}; this is the world's average"));
            lines.push("  → set `zone: XX` in the configuration, or --zone XX".to_owned());
            return false;
        }
    }
    true
}

/// What the building adds, and who says so.
fn pue(settings: &Settings, found: &Found) -> (Pue, &'static str) {
    let published = found.pue.filter(|_| settings.grid.location.pue);
    match (settings.pue, published) {
        (Some(pue), _) => (pue, "as configured"),
        (None, Some(pue)) => (pue, "as is published of that region"),
        (None, None) => (Pue::ONE, "nobody says: the building's own use is not counted (set `pue`)"),
    }
}

/// Everybody at once, each with one question; and those who cannot be asked for that place.
fn ask(settings: &Settings, found: &Found, now: Nanos, is_offline: bool) -> (Vec<Asked>, Vec<String>) {
    let is_asked = |wish: &&Wish| !is_offline || matches!(wish.kind, Kind::File { .. });
    let wishes: Vec<&Wish> = settings.grid.providers.iter().filter(is_asked).collect();
    if wishes.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let is_secure = wishes.iter().any(|wish| wish.is_secure());
    let client = Client::open(Protocol::Http1, is_secure, &TlsFiles::default(), BOUNDS);
    let client = client.map_err(|error| error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (client, runtime) = match (client, runtime.map_err(|error| error.to_string())) {
        (Ok(client), Ok(runtime)) => (client, runtime),
        (Err(why), _) | (_, Err(why)) => return (Vec::new(), vec![why]),
    };
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for wish in wishes {
        match provider::open(wish, &found.place) {
            Ok(provider) => opened.push(provider),
            Err(refusal) => closed.push(refusal.message),
        }
    }
    let question = Ask { now, from: now.saturating_sub(BACK), until: now };
    let asked = runtime.block_on(async {
        let mut asking = JoinSet::new();
        for (at, mut provider) in opened.into_iter().enumerate() {
            let client = client.clone();
            asking.spawn(async move {
                let heard = timeout(DEADLINE, provider.fetch(&client, question)).await;
                let late = |_| Err(too_late(provider.source()));
                let heard = heard.map(|heard| heard.map_err(|Refusal { message, .. }| message));
                let heard = heard.unwrap_or_else(late);
                (at, Asked { source: provider.source(), zone: provider.zone().to_owned(), heard, provider })
            });
        }
        let mut asked = asking.join_all().await;
        asked.sort_by_key(|(at, _)| *at);
        asked.into_iter().map(|(_, asked)| asked).collect()
    });
    runtime.shutdown_background();
    (asked, closed)
}

fn too_late(source: &str) -> String {
    let seconds = DEADLINE.as_secs();
    format!("asking {source}: no answer within {seconds} s (see whether it is reachable from here)")
}

/// A name in the book: the place in the user's list.
fn key(at: usize) -> Name {
    at.to_string().as_str().into()
}

/// The newest figure of a time that has begun, in words.
fn newest(series: &[Series], now: Nanos) -> String {
    let average = series.iter().filter(|series| series.signal == Signal::Average);
    let begun = average.flat_map(|series| series.samples.iter().map(move |sample| (series, sample)));
    let begun = begun.filter(|(_, sample): &(&Series, &Sample)| sample.start <= now);
    match begun.max_by_key(|(_, sample)| sample.start) {
        Some((series, sample)) => format!(
            "{} g/kWh ({}, {}, {}) from {} UTC on",
            sample.intensity,
            series.basis.as_str(),
            series.accounting.as_str(),
            sample.quality.as_str(),
            minute(sample.start)
        ),
        None => "it answers, and has no average figure of the last day".to_owned(),
    }
}
