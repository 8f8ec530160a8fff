//! éCO2mix of RTE, by the open data platform of the French networks: quarters of an hour, direct CO2 of what is
//! generated in France. No key. The rows of a day are there from its morning on, without figures, so only
//! those with one are asked for.

use super::asking::{Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::slots::{About, Gathering, Slot, instant, minutes, written};
use super::{Ask, Heard, IntensityProvider, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality, Series};
use crate::model::quantity::Nanos;
use std::time::Duration;

/// Where it is.
pub const BASE: &str = "https://odre.opendatasoft.com/api/explore/v2.1";

/// The platform gives no more rows at once.
const PAGE: usize = 100;

/// Pages for three days of quarters, and one in reserve.
const MAX_PAGES: usize = 4;

/// The provider.
pub struct Rte {
    site: Site,
}

impl Rte {
    /// For France.
    #[must_use]
    pub const fn new(site: Site) -> Rte {
        Rte { site }
    }

    async fn heard(&self, client: &Client, ask: Ask) -> Result<Vec<Series>, Refusal> {
        let mut heard = Gathering::new(&self.site, ask);
        let since = written(ask.from, "taux_co2 is not null and date_heure >= '%Y-%m-%d'");
        for page in 0..MAX_PAGES {
            // In Paris an hour of autumn is there twice; in UTC none is.
            let question = Question::new(&self.site, "/catalog/datasets/eco2mix-national-tr/records")
                .with("select", "taux_co2,date_heure,nature")
                .with("where", &since)
                .with("order_by", "date_heure desc")
                .with("limit", &PAGE.to_string())
                .with("offset", &(page * PAGE).to_string())
                .with("timezone", "UTC");
            let body = question.ask(client, ask).await?;
            let rows = parse(&self.site, &body, &mut heard)?;
            if rows.count < PAGE || rows.oldest.is_none_or(|oldest| oldest <= ask.from) {
                break;
            }
        }
        heard.finish()
    }
}

impl IntensityProvider for Rte {
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

/// What a page held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Rows.
    pub count: usize,
    /// The time of the oldest.
    pub oldest: Option<Nanos>,
}

/// A page of rows.
///
/// # Errors
/// It is no answer.
pub fn parse(site: &Site, body: &[u8], heard: &mut Gathering<'_>) -> Result<Page, Refusal> {
    let rows = site.json(body)?.get("results").and_then(Node::items);
    let rows = rows.ok_or_else(|| site.malformed("an answer without results (is that its address?)"))?;
    let mut page = Page { count: rows.len(), oldest: None };
    for row in rows {
        let Some(start) = row.get("date_heure").and_then(Node::text).and_then(|text| instant(&text)) else {
            continue;
        };
        page.oldest = Some(page.oldest.map_or(start, |oldest| oldest.min(start)));
        let Some(figure) = row.get("taux_co2") else { continue };
        let text = figure.number().unwrap_or_default();
        let slot = Slot { start, end: start + minutes(15), quality: Quality::Measured };
        let about = About::average(Basis::Direct, Boundary::Production);
        heard.add(about, slot, intensity(&text, Unit::GramsPerKilowattHour));
    }
    Ok(page)
}
