//! Who says how much an hour's electricity emits: one file for each provider, all asked in the same way.
//!
//! [`round`] is what they have in common, [`asking`] sends requests and tells what an answer's status means,
//! [`disk`] reads files that may hang, [`json`] and [`figure`] read numbers without a float between, [`slots`]
//! sorts what was heard into series, [`mix`] makes an intensity out of
//! what was generated.

pub mod asking;
pub mod disk;
pub mod eia;
pub mod electricity_maps;
pub mod energi_data;
pub mod entsoe;
pub mod figure;
pub mod file;
pub mod gb;
pub mod http_json;
pub mod jouleprint;
pub mod json;
pub mod mix;
pub mod round;
pub mod rte;
pub mod slots;
pub mod watttime;

use super::regions;
use super::zones::{self, Ids};
use crate::http_client::{self, Bounds, Client, MAX_SECRET_BYTES, Secret};
use crate::model::grid::{Basis, Place, Series, Signal};
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use asking::Site;
use disk::Unread;
use round::Questions;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// What is waited for and taken of any provider: the largest answer, three days of a country's generation,
/// is 1 MB.
pub const BOUNDS: Bounds =
    Bounds { connect: Duration::from_secs(5), answer: Duration::from_secs(5), bytes: 4 << 20 };

/// A provider as the user describes it, checked; keys in files are read when they are needed.
#[derive(Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who, and what it has to be told.
    pub kind: Kind,
    /// What the provider calls the place; without it the place's own zone decides.
    pub zone: Option<String>,
    /// Which figures, of a provider that has both; else its own choice.
    pub basis: Option<Basis>,
    /// Instead of the provider's own address, for proxies.
    pub url: Option<String>,
    /// How often it is asked, never oftener than it may be.
    pub interval: Option<Duration>,
}

impl Wish {
    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        let is_plain = self.url.as_ref().is_some_and(|url| url.starts_with("http://"));
        !is_plain && !matches!(self.kind, Kind::File { .. })
    }
}

impl fmt::Debug for Wish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wish")
            .field("kind", &self.kind)
            .field("zone", &self.zone)
            .field("basis", &self.basis)
            .field("url", &self.url.as_deref().map(http_client::bare))
            .field("interval", &self.interval)
            .finish()
    }
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Electricity Maps, by its key.
    ElectricityMaps(Key),
    /// WattTime, which knows us by name.
    WattTime {
        /// The name.
        user: String,
        /// Its password.
        password: Key,
        /// What is asked for.
        signals: Vec<Signal>,
    },
    /// The Carbon Intensity API of Great Britain.
    GreatBritain,
    /// éCO2mix of RTE, France.
    Rte,
    /// Energi Data Service, Denmark.
    EnergiData,
    /// The transparency platform of ENTSO-E, by its key.
    Entsoe(Key),
    /// EIA-930, by its key.
    Eia(Key),
    /// A file on this machine.
    File {
        /// Which.
        path: PathBuf,
        /// What is in it.
        shape: http_json::Shape,
    },
    /// Any server that answers JSON.
    HttpJson {
        /// What is in its answer.
        shape: http_json::Shape,
        /// Headers of the request, with what their values are read from.
        headers: Vec<(String, Key)>,
    },
    /// A relay of ours.
    Jouleprint(jouleprint::Door),
}

impl Kind {
    /// As the configuration and the `source` label call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Kind::ElectricityMaps(_) => "electricity_maps",
            Kind::WattTime { .. } => "watttime",
            Kind::GreatBritain => "gb",
            Kind::Rte => "rte",
            Kind::EnergiData => "energi_data",
            Kind::Entsoe(_) => "entsoe",
            Kind::Eia(_) => "eia",
            Kind::File { .. } => "file",
            Kind::HttpJson { .. } => "http_json",
            Kind::Jouleprint(_) => "jouleprint",
        }
    }

    /// How often it is asked unless the user says otherwise, and the oftenest that makes sense or is allowed.
    #[must_use]
    pub const fn cadences(&self) -> (Duration, Duration) {
        match self {
            Kind::ElectricityMaps(_) | Kind::Rte | Kind::Entsoe(_) => (QUARTER, QUARTER),
            Kind::WattTime { .. } | Kind::EnergiData => (FIVE_MINUTES, FIVE_MINUTES),
            Kind::GreatBritain => (HALF_HOUR, QUARTER),
            Kind::Eia(_) => (HOUR, QUARTER),
            Kind::File { .. } => (MINUTE, MINUTE),
            Kind::HttpJson { .. } => (FIVE_MINUTES, MINUTE),
            Kind::Jouleprint(_) => (jouleprint::CADENCE, jouleprint::SHORTEST_PAUSE),
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const QUARTER: Duration = Duration::from_secs(900);
const HALF_HOUR: Duration = Duration::from_secs(1_800);
const HOUR: Duration = Duration::from_secs(3_600);

/// Where a key is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// In a file, read anew for each request: keys are renewed.
    File(PathBuf),
    /// In the environment, which was read when the program started.
    Environment {
        /// The variable.
        name: String,
        /// What it held.
        value: Secret,
    },
}

impl Key {
    /// The key itself.
    ///
    /// # Errors
    /// The file cannot be used, or is not there in time; one line that names it.
    pub async fn read(&self) -> Result<Secret, Unread> {
        let path = match self {
            Key::Environment { value, .. } => return Ok(value.clone()),
            Key::File(path) => path,
        };
        let secret = match disk::read(path, MAX_SECRET_BYTES, None).await {
            Ok(content) => Secret::of_file(&content.bytes)
                .map_err(|cause| Unread { fault: Fault::Malformed, cause: cause.to_owned() }),
            Err(unread) => Err(unread),
        };
        secret.map_err(|Unread { fault, cause }| {
            // Whatever is wrong with a file of ours, it is not the provider that refuses us.
            let fault = if fault == Fault::Timeout { fault } else { Fault::Missing };
            let path = path.display();
            Unread { fault, cause: format!("reading {path}: {cause} (it must hold the secret alone)") }
        })
    }
}

/// What is wanted to be known; a provider gives what it has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The wall time.
    pub now: Nanos,
    /// Since when: the past that is not known or may have been revised. Never more than 72 h back.
    pub from: Nanos,
    /// Until when a forecast is wanted; `now` for none.
    pub until: Nanos,
}

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// As on the page.
    pub fault: Fault,
    /// One line: what was asked of whom, why it failed, the way out. No secrets: no key, no query.
    pub message: String,
    /// What the provider said about when to come again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Whether the provider is not to be asked anything else now.
    #[must_use]
    pub fn wants_a_pause(&self) -> bool {
        self.fault == Fault::Limit || self.retry_after.is_some()
    }
}

/// What a provider has to say, as far as that is known before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// Its own figures.
    Own {
        /// What its average figures include; `None` if it has none.
        average: Option<Basis>,
        /// Whether it has marginal ones.
        marginal: bool,
    },
    /// What others say, or whatever stands in a file: its answers tell.
    AsHeard {
        /// What a relay wants its average figures to include, once it has said so.
        basis: Option<Basis>,
        /// Of each series of the last answer, in its order, where it stands in the relay's chain; empty if the
        /// answer does not tell.
        ranks: Vec<u32>,
    },
}

impl Offer {
    /// Nothing is known before it is asked.
    pub const UNTOLD: Offer = Offer::AsHeard { basis: None, ranks: Vec::new() };

    /// Average figures on this basis, and nothing else.
    #[must_use]
    pub const fn average(basis: Basis) -> Offer {
        Offer::Own { average: Some(basis), marginal: false }
    }

    /// Whether there may be average figures among it.
    #[must_use]
    pub const fn has_average(&self) -> bool {
        match self {
            Offer::Own { average, .. } => average.is_some(),
            Offer::AsHeard { .. } => true,
        }
    }

    /// Figures of one kind.
    #[must_use]
    pub fn about(about: slots::About) -> Offer {
        let is_average = about.signal == Signal::Average;
        Offer::Own { average: is_average.then_some(about.basis), marginal: !is_average }
    }
}

/// What is heard, or why not.
pub type Heard<'a> = Pin<Box<dyn Future<Output = Result<Vec<Series>, Refusal>> + Send + 'a>>;

/// One provider, for one place.
pub trait IntensityProvider: Send {
    /// The `source` label: `electricity_maps`.
    fn source(&self) -> &'static str;

    /// What the provider calls the place.
    fn zone(&self) -> &str;

    /// What tells it from others of its source and zone, where these do not say what is asked: a few letters that
    /// stay the same as long as the question does.
    fn mark(&self) -> Option<String> {
        None
    }

    /// Asking oftener than this brings nothing new, or is not allowed.
    fn cadence(&self) -> Duration;

    /// What it has to say. Who comes first, and what the figures are to include, is settled by it and not by
    /// what happens to have been heard.
    fn offer(&self) -> Offer {
        Offer::UNTOLD
    }

    /// After which pause the next answer will be another one, if the last one told. It takes the place of the
    /// next slot, and is no reason to ask oftener than the cadence.
    fn comes_again(&self) -> Option<Duration> {
        None
    }

    /// What of the last answer was refused, though the rest was heard.
    fn missed(&self) -> Option<&Refusal> {
        None
    }

    /// Asks once. Average and marginal figures, or the past and a forecast, may be several series.
    fn fetch<'a>(&'a mut self, client: &'a Client, ask: Ask) -> Heard<'a>;
}

/// A provider for a place. Nobody is asked yet.
///
/// # Errors
/// The provider does not cover the place, or calls it in a way that has to be said.
pub fn open(wish: &Wish, place: &Place) -> Result<Box<dyn IntensityProvider>, Refusal> {
    let site = |base: &str, zone: String| Site {
        source: wish.kind.name(),
        base: wish.url.as_deref().unwrap_or(base).trim_end_matches('/').to_owned(),
        zone,
        cadence: wish.interval.map_or(wish.kind.cadences().0, |wanted| wanted.max(wish.kind.cadences().1)),
    };
    let zone = || resolve(wish, place);
    let basis = wish.basis.unwrap_or_default();
    Ok(match wish.kind.clone() {
        Kind::ElectricityMaps(key) => {
            at(site(electricity_maps::BASE, zone()?), electricity_maps::ElectricityMaps::new(key, basis))
        }
        Kind::WattTime { user, password, signals } => {
            at(site(watttime::BASE, zone()?), watttime::WattTime::new(user, password, signals))
        }
        Kind::GreatBritain => at(site(gb::BASE, zone()?), gb::GreatBritain),
        Kind::Rte => at(site(rte::BASE, zone()?), rte::Rte),
        Kind::EnergiData => at(site(energi_data::BASE, zone()?), energi_data::EnergiData),
        Kind::Entsoe(key) => at(site(entsoe::BASE, zone()?), entsoe::Entsoe { key, basis }),
        Kind::Eia(key) => at(site(eia::BASE, zone()?), eia::Eia { key, basis }),
        Kind::File { path, shape } => at(site("", zone()?), file::File::new(path, shape)),
        Kind::HttpJson { shape, headers } => at(site("", zone()?), http_json::HttpJson { shape, headers }),
        Kind::Jouleprint(door) => {
            let Site { base, zone, cadence, .. } = site("", zone()?);
            let finer = finer_zone(wish, place);
            Box::new(jouleprint::Jouleprint::new(&base, &zone, door, cadence).or_finer(finer))
        }
    })
}

/// What the grid of a cloud's region is called by those who tell more of them apart than the yearly table.
fn finer_zone(wish: &Wish, place: &Place) -> Option<String> {
    let region = regions::find(&place.cloud, &place.region)?;
    let finer =
        region.electricity_maps_zone.filter(|_| wish.zone.is_none() && *region.zone == *place.zone)?;
    (!finer.eq_ignore_ascii_case(&place.zone)).then_some(finer)
}

fn at(site: Site, questions: impl Questions + 'static) -> Box<dyn IntensityProvider> {
    Box::new(round::Provider::new(site, questions))
}

/// What the provider calls the place.
fn resolve(wish: &Wish, place: &Place) -> Result<String, Refusal> {
    let said = wish.zone.as_deref();
    let zone = said.unwrap_or(&place.zone);
    // A region of a cloud says more exactly than the yearly table which grid it hangs on.
    let region = regions::find(&place.cloud, &place.region);
    let region = region.filter(|region| said.is_none() && *region.zone == *place.zone);
    let finer = region.as_ref().and_then(|region| region.electricity_maps_zone.as_deref());
    let ids = zones::ids(finer.unwrap_or(zone));
    let known = |of: fn(&Ids) -> Option<String>| ids.as_ref().and_then(of);
    let found = match &wish.kind {
        Kind::ElectricityMaps(_) => known(|ids| ids.electricity_maps.clone()),
        Kind::WattTime { .. } => {
            let of_region = region.as_ref().and_then(|region| region.watttime_region.clone());
            of_region.or_else(|| known(|ids| ids.watttime.clone()))
        }
        Kind::Entsoe(_) => known(|ids| ids.entsoe.clone()),
        Kind::Eia(_) => known(|ids| ids.eia.clone()),
        Kind::EnergiData => {
            let area = ["DK1", "DK2"].into_iter().find(|area| zone.eq_ignore_ascii_case(area));
            area.map(str::to_owned).or_else(|| known(|ids| ids.energi_data.clone()))
        }
        Kind::GreatBritain => gb::zone(zone),
        Kind::Rte => zone.eq_ignore_ascii_case("FR").then(|| "FR".to_owned()),
        Kind::File { .. } | Kind::HttpJson { .. } | Kind::Jouleprint(_) => Some(zone.to_owned()),
    };
    // Providers have more zones than our table of names: what the user says is theirs to know.
    let is_free = matches!(
        wish.kind,
        Kind::ElectricityMaps(_) | Kind::WattTime { .. } | Kind::Entsoe(_) | Kind::Eia(_)
    );
    found.or_else(|| said.filter(|_| is_free).map(str::to_owned)).ok_or_else(|| {
        let inside: Vec<String> = zones::inside(zone).into_iter().map(|ids| ids.zone).collect();
        let there = if inside.len() > 1 { format!("; inside it are {}", inside.join(", ")) } else { String::new() };
        Refusal {
            fault: Fault::Unsupported,
            message: format!(
                "asking {}: it has no zone that is {zone}{there} (set the provider's zone, or leave the provider out)",
                wish.kind.name()
            ),
            retry_after: None,
        }
    })
}
