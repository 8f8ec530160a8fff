//! Electricity Maps, version 4: the average of what is used in a zone, imports included, lifecycle or direct,
//! by the hour; the newest hours are estimates. One request brings the last 24 h, a second one the forecast
//! where the key covers it.

use super::asking::{Part, Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::slots::{About, Gathering, Slot, instant, minutes};
use super::{Ask, Heard, IntensityProvider, Key, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality, Series};
use crate::model::quantity::Nanos;
use bytes::Bytes;
use hyper::header::HeaderName;
use std::time::Duration;

/// Where it is.
pub const BASE: &str = "https://api.electricitymaps.com/v4";

const TOKEN: HeaderName = HeaderName::from_static("auth-token");

/// How far ahead a forecast may be asked for.
const HORIZONS: [u64; 4] = [6, 24, 48, 72];

/// The provider.
pub struct ElectricityMaps {
    site: Site,
    key: Key,
    basis: Basis,
    history: Part,
    forecast: Part,
}

impl ElectricityMaps {
    /// For a zone.
    #[must_use]
    pub fn new(site: Site, key: Key, basis: Basis) -> ElectricityMaps {
        ElectricityMaps { site, key, basis, history: Part::default(), forecast: Part::default() }
    }

    async fn get(&self, client: &Client, ask: Ask, what: &str, hours: Option<u64>) -> Result<Bytes, Refusal> {
        let mut question = Question::new(&self.site, &format!("/carbon-intensity/{what}"))
            .with("zone", &self.site.zone)
            .with("emissionFactorType", self.basis.as_str())
            .header(TOKEN, self.site.key(&self.key)?);
        if let Some(hours) = hours {
            question = question.with("horizonHours", &hours.to_string());
        }
        question.ask(client, ask).await
    }

    async fn heard(&mut self, client: &Client, ask: Ask) -> Result<Vec<Series>, Refusal> {
        let site = self.site.clone();
        let mut heard = Gathering::new(&site, ask);
        let mut refused = None;
        if self.history.is_open(ask) {
            let body = self.get(client, ask, "history", None).await;
            self.history.note(ask, &body);
            match body {
                Ok(body) => parse(&site, &body, self.basis, false, &mut heard)?,
                Err(refusal) => refused = Some(refusal),
            }
        }
        // What is wrong with the provider as a whole is not asked about twice.
        if let Some(refusal) = refused.take_if(|_| self.history.is_open(ask)) {
            return Err(refusal);
        }
        if !heard.is_current() {
            match self.get(client, ask, "latest", None).await {
                Ok(body) => {
                    parse(&site, &body, self.basis, false, &mut heard)?;
                    refused = None;
                }
                Err(refusal) => refused = Some(refusal),
            }
        }
        let ahead = ask.until.saturating_sub(ask.now).get().div_ceil(minutes(60).get());
        if ahead > 0 && refused.is_none() && self.forecast.is_open(ask) {
            let hours = HORIZONS.into_iter().find(|hours| *hours >= ahead).unwrap_or(HORIZONS[3]);
            let body = self.get(client, ask, "forecast", Some(hours)).await;
            self.forecast.note(ask, &body);
            match body.and_then(|body| parse(&site, &body, self.basis, true, &mut heard)) {
                Ok(()) => {}
                Err(refusal) => tracing::debug!("no forecast: {refusal}"),
            }
        }
        let outcome = heard.finish().map_err(|nothing| refused.unwrap_or(nothing));
        if outcome.is_err() {
            // It was not the plan: nothing is had by this key.
            self.history = Part::default();
        }
        outcome
    }
}

impl IntensityProvider for ElectricityMaps {
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
        Offer::average(self.basis)
    }

    fn fetch<'a>(&'a mut self, client: &'a Client, ask: Ask) -> Heard<'a> {
        Box::pin(self.heard(client, ask))
    }
}

/// An answer: the latest figure, or a list of them under `history`, `data` or `forecast`.
///
/// # Errors
/// It is no answer, or one about another zone or basis.
pub fn parse(
    site: &Site,
    body: &[u8],
    basis: Basis,
    is_forecast: bool,
    heard: &mut Gathering<'_>,
) -> Result<(), Refusal> {
    let answer = site.json(body)?;
    let list = ["history", "data", "forecast"].into_iter().find_map(|name| answer.get(name));
    let length = match answer.get("temporalGranularity").and_then(Node::text).as_deref() {
        None | Some("hourly") => minutes(60),
        Some("15_minutes") => minutes(15),
        Some("5_minutes") => minutes(5),
        Some(_) => return Err(site.malformed("figures of days or longer (ask the plain hourly ones)")),
    };
    same(site, answer, basis)?;
    let points = match list {
        Some(list) => list.items().ok_or_else(|| site.malformed("no list of figures where one should be"))?,
        None if answer.get("datetime").is_some() => vec![answer],
        None => return Err(site.malformed("an answer without a figure's time (is that its address?)")),
    };
    for point in points {
        same(site, point, basis)?;
        point_of(point, basis, length, is_forecast, heard);
    }
    Ok(())
}

/// That the zone and basis, where they are named, are those that were asked for.
fn same(site: &Site, point: Node<'_>, basis: Basis) -> Result<(), Refusal> {
    let named = |name: &str| point.get(name).and_then(Node::text);
    if named("zone").is_some_and(|zone| zone != site.zone) {
        return Err(site.malformed("it answers for another zone (see the provider's zone and url)"));
    }
    if named("emissionFactorType").is_some_and(|given| given != basis.as_str()) {
        return Err(
            site.malformed("it answers on another basis (set the provider's basis to the one it has)")
        );
    }
    Ok(())
}

fn point_of(point: Node<'_>, basis: Basis, length: Nanos, is_forecast: bool, heard: &mut Gathering<'_>) {
    // Nothing is known of this hour yet.
    let Some(figure) = point.get("carbonIntensity") else { return };
    let Some(start) = point.get("datetime").and_then(Node::text).and_then(|text| instant(&text)) else {
        return;
    };
    let is_estimate = point.get("isEstimated").is_some_and(Node::is_true);
    let quality = match (is_forecast, is_estimate) {
        (true, _) => Quality::Forecast,
        (false, true) => Quality::Estimated,
        (false, false) => Quality::Measured,
    };
    let about = About::average(basis, Boundary::Consumption);
    let text = figure.number().unwrap_or_default();
    heard.add(
        about,
        Slot { start, end: start + length, quality },
        intensity(&text, Unit::GramsPerKilowattHour),
    );
}
