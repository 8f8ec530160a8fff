//! Energi Data Service of Energinet: Denmark west (DK1) and east (DK2) every 5 min, direct CO2 of what is used,
//! and a prognosis. No key.

use super::asking::{Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::slots::{About, Gathering, Slot, instant, minutes, written};
use super::{Ask, Heard, IntensityProvider, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality, Series};
use crate::model::quantity::Nanos;
use bytes::Bytes;
use std::time::Duration;

/// Where it is.
pub const BASE: &str = "https://api.energidataservice.dk";

/// Three days of slots are 864.
const MAX_RECORDS: &str = "1000";

/// The provider.
pub struct EnergiData {
    site: Site,
}

impl EnergiData {
    /// For `DK1` or `DK2`.
    #[must_use]
    pub const fn new(site: Site) -> EnergiData {
        EnergiData { site }
    }

    async fn get(
        &self,
        client: &Client,
        ask: Ask,
        set: &str,
        times: (Nanos, Option<Nanos>),
    ) -> Result<Bytes, Refusal> {
        let time = |time| written(time, "%Y-%m-%dT%H:%M");
        // Without a time zone theirs would be taken, whose days have 23 and 25 hours.
        let mut question = Question::new(&self.site, &format!("/dataset/{set}"))
            .with("start", &time(times.0))
            .with("timezone", "UTC")
            .with("filter", &format!("{{\"PriceArea\":[\"{}\"]}}", self.site.zone))
            .with("sort", "Minutes5UTC desc")
            .with("limit", MAX_RECORDS);
        if let Some(end) = times.1 {
            question = question.with("end", &time(end));
        }
        question.ask(client, ask).await
    }

    async fn heard(&self, client: &Client, ask: Ask) -> Result<Vec<Series>, Refusal> {
        let mut heard = Gathering::new(&self.site, ask);
        let past = self.get(client, ask, "CO2Emis", (ask.from, None)).await?;
        parse(&self.site, &past, Quality::Measured, &mut heard)?;
        if ask.until > ask.now {
            let ahead = self.get(client, ask, "CO2EmisProg", (ask.now, Some(ask.until))).await;
            let ahead = ahead.and_then(|body| parse(&self.site, &body, Quality::Forecast, &mut heard));
            if let Err(refusal) = ahead {
                tracing::debug!("no forecast: {refusal}");
            }
        }
        heard.finish()
    }
}

impl IntensityProvider for EnergiData {
    fn source(&self) -> &'static str {
        self.site.source
    }

    fn zone(&self) -> &str {
        &self.site.zone
    }

    fn cadence(&self) -> Duration {
        self.site.cadence
    }

    fn offer(&self) -> Offer {
        Offer::average(Basis::Direct)
    }

    fn fetch<'a>(&'a mut self, client: &'a Client, ask: Ask) -> Heard<'a> {
        Box::pin(self.heard(client, ask))
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
