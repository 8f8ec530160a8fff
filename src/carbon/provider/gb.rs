//! The Carbon Intensity API of Great Britain (NESO): half hours, direct CO2 of what is used, imports and losses
//! included, for the whole or for one of 17 regions. No key. The regions have a forecast and never an actual
//! figure; that of the whole may stay away, and then its forecast is the best there is.

use super::asking::{Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::round::Questions;
use super::slots::{About, Gathering, Slot, instant, written};
use super::{Offer, Refusal};
use crate::carbon::zones;
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality};
use crate::model::quantity::Nanos;
use bytes::Bytes;

/// Where it is.
pub const BASE: &str = "https://api.carbonintensity.org.uk";

/// The provider. Its zones are `GB` and its regions.
pub struct GreatBritain;

/// What a place is called here: `GB`, or `GB-13` for one of its regions; a bare number will do.
#[must_use]
pub fn zone(said: &str) -> Option<String> {
    let name = if said.parse::<u8>().is_ok() { format!("GB-{said}") } else { said.to_ascii_uppercase() };
    let ids = zones::ids(&name)?;
    (ids.zone == "GB" || ids.gb_region.is_some()).then_some(ids.zone)
}

impl GreatBritain {
    async fn get(client: &Client, heard: &Gathering<'_>, from: Nanos, to: &str) -> Result<Bytes, Refusal> {
        let from = written(from, "%Y-%m-%dT%H:%MZ");
        let path = match region(heard.site()) {
            None => format!("/intensity/{from}/{to}"),
            Some(region) => format!("/regional/intensity/{from}/{to}/regionid/{region}"),
        };
        Question::new(heard.site(), &path).ask(client, heard.ask()).await
    }
}

impl Questions for GreatBritain {
    fn offer(&self) -> Offer {
        Offer::average(Basis::Direct)
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let ask = heard.ask();
        let to = written(ask.now, "%Y-%m-%dT%H:%MZ");
        let past = GreatBritain::get(client, heard, ask.from, &to).await?;
        if let Err(refusal) = heard.take(|site, heard| parse(site, &past, heard)) {
            heard.miss(refusal);
        }
        // The slot that runs stands at the head of the forecast, if not at the end of the past.
        if ask.until > ask.now || !heard.is_current() {
            let ahead = GreatBritain::get(client, heard, ask.now, "fw48h").await?;
            heard.take(|site, heard| parse(site, &ahead, heard))?;
        }
        Ok(())
    }
}

fn region(site: &Site) -> Option<u8> {
    zones::ids(&site.zone).and_then(|ids| ids.gb_region)
}

/// An answer: a list of slots, or a region, or a list of one, with such a list inside.
///
/// # Errors
/// It is no answer, or one about another region.
pub fn parse(site: &Site, body: &[u8], heard: &mut Gathering<'_>) -> Result<(), Refusal> {
    let Some(data) = site.json(body)?.get("data") else {
        return Err(site.malformed("an empty answer in status 200 (its own fault; it is asked again)"));
    };
    for item in data.items().unwrap_or_else(|| vec![data]) {
        let Some(inner) = item.get("data") else {
            slot(item, heard);
            continue;
        };
        let named = item.get("regionid").and_then(Node::number);
        let wanted = region(site).map(|region| region.to_string());
        if named.is_some() && named.as_deref() != wanted.as_deref() {
            return Err(site.malformed("it answers for another region (see the provider's zone and url)"));
        }
        inner.items().unwrap_or_default().into_iter().for_each(|item| slot(item, heard));
    }
    Ok(())
}

fn slot(item: Node<'_>, heard: &mut Gathering<'_>) {
    let time = |name: &str| item.get(name).and_then(Node::text).and_then(|text| instant(&text));
    let (Some(start), Some(end), Some(figures)) = (time("from"), time("to"), item.get("intensity")) else {
        return;
    };
    let (figure, quality) = match (figures.get("actual"), figures.get("forecast")) {
        (Some(actual), _) => (actual, Quality::Measured),
        // Its time has come and nothing better will: ahead of now it becomes a forecast again.
        (None, Some(forecast)) => (forecast, Quality::Estimated),
        (None, None) => return,
    };
    let text = figure.number().unwrap_or_default();
    let about = About::average(Basis::Direct, Boundary::Consumption);
    heard.add(about, Slot { start, end, quality }, intensity(&text, Unit::GramsPerKilowattHour));
}
