//! Energi Data Service of Energinet: Denmark west (DK1) and east (DK2) every 5 min, direct CO2 of what is used,
//! and a prognosis. No key.

use super::asking::{Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::round::Questions;
use super::slots::{About, Gathering, Slot, instant, minutes, written};
use super::{Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality};
use crate::model::quantity::Nanos;

/// Where it is.
pub const BASE: &str = "https://api.energidataservice.dk";

/// Three days of slots are 864.
const MAX_RECORDS: &str = "1000";

/// The provider. Its zones are `DK1` and `DK2`.
pub struct EnergiData;

impl EnergiData {
    async fn set(
        client: &Client,
        heard: &mut Gathering<'_>,
        (set, quality): (&str, Quality),
        (start, end): (Nanos, Option<Nanos>),
    ) -> Result<(), Refusal> {
        let site = heard.site();
        let time = |time| written(time, "%Y-%m-%dT%H:%M");
        // Without a time zone theirs would be taken, whose days have 23 and 25 hours.
        let mut question = Question::new(site, &format!("/dataset/{set}"))
            .with("start", &time(start))
            .with("timezone", "UTC")
            .with("filter", &format!("{{\"PriceArea\":[\"{}\"]}}", site.zone))
            .with("sort", "Minutes5UTC desc")
            .with("limit", MAX_RECORDS);
        if let Some(end) = end {
            question = question.with("end", &time(end));
        }
        let body = question.ask(client, heard.ask()).await?;
        heard.take(|site, heard| parse(site, &body, quality, heard))
    }
}

impl Questions for EnergiData {
    fn offer(&self) -> Offer {
        Offer::average(Basis::Direct)
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let ask = heard.ask();
        EnergiData::set(client, heard, ("CO2Emis", Quality::Measured), (ask.from, None)).await?;
        if ask.until > ask.now {
            let ahead = (ask.now, Some(ask.until));
            EnergiData::set(client, heard, ("CO2EmisProg", Quality::Forecast), ahead).await?;
        }
        Ok(())
    }
}

/// Records of either data set.
///
/// # Errors
/// It is no answer, or one about another area.
pub fn parse(site: &Site, body: &[u8], quality: Quality, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
    let records = site.json(body)?.get("records").and_then(Node::items);
    let records =
        records.ok_or_else(|| site.malformed("an answer without records (is that its address?)"))?;
    for record in records {
        if record.get("PriceArea").and_then(Node::text).is_some_and(|area| area != site.zone) {
            return Err(site.malformed("it answers for another area (see the provider's zone and url)"));
        }
        let Some(figure) = record.get("CO2Emission") else { continue };
        let time = record.get("Minutes5UTC").and_then(Node::text);
        let Some(start) = time.and_then(|text| instant(&text)) else { continue };
        let text = figure.number().unwrap_or_default();
        let about = About::average(Basis::Direct, Boundary::Consumption);
        let slot = Slot { start, end: start + minutes(5), quality };
        heard.add(about, slot, intensity(&text, Unit::GramsPerKilowattHour));
    }
    Ok(())
}
