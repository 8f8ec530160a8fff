//! éCO2mix of RTE, by the open data platform of the French networks: quarters of an hour, direct CO2 of what is
//! generated in France. No key. The rows of a day are there from its morning on, without figures, so only
//! those with one are asked for.

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
pub const BASE: &str = "https://odre.opendatasoft.com/api/explore/v2.1";

/// The platform gives no more rows at once.
const PAGE: usize = 100;

/// Pages for three days of quarters, and one in reserve.
const MAX_PAGES: usize = 4;

/// The provider. It has one zone, France.
pub struct Rte;

impl Questions for Rte {
    fn offer(&self) -> Offer {
        Offer::average(Basis::Direct)
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let ask = heard.ask();
        let since = written(ask.from, "taux_co2 is not null and date_heure >= '%Y-%m-%d'");
        for page in 0..MAX_PAGES {
            // In Paris an hour of autumn is there twice; in UTC none is.
            let question = Question::new(heard.site(), "/catalog/datasets/eco2mix-national-tr/records")
                .with("select", "taux_co2,date_heure,nature")
                .with("where", &since)
                .with("order_by", "date_heure desc")
                .with("limit", &PAGE.to_string())
                .with("offset", &(page * PAGE).to_string())
                .with("timezone", "UTC");
            let body = question.ask(client, ask).await?;
            let mut rows = Page { count: 0, oldest: None };
            heard.take(|site, heard| parse(site, &body, heard).map(|page| rows = page))?;
            if rows.count < PAGE || rows.oldest.is_none_or(|oldest| oldest <= ask.from) {
                break;
            }
        }
        Ok(())
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
