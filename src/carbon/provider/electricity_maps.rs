//! Electricity Maps, version 4: the average of what is used in a zone, imports included, lifecycle or direct,
//! by the hour; the newest hours are estimates. One request brings the last 24 h, another one what lies further
//! back, if that is asked for, and one the forecast, where the key covers them.

use super::asking::{Part, Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::round::Questions;
use super::slots::{About, Gathering, Slot, instant, minutes, written};
use super::{Key, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality};
use crate::model::quantity::Nanos;
use bytes::Bytes;
use hyper::header::HeaderName;

/// Where it is.
pub const BASE: &str = "https://api.electricitymaps.com/v4";

const TOKEN: HeaderName = HeaderName::from_static("auth-token");

/// How far ahead a forecast may be asked for.
const HORIZONS: [u64; 4] = [6, 24, 48, 72];

/// What the history covers, for certain: of the hour a day ago it may have the end alone.
const HISTORY: Nanos = minutes(23 * 60);

/// The provider.
pub struct ElectricityMaps {
    key: Key,
    basis: Basis,
    history: Part,
    long_past: Part,
    forecast: Part,
}

impl ElectricityMaps {
    /// With a key, which may not cover all of it.
    #[must_use]
    pub fn new(key: Key, basis: Basis) -> ElectricityMaps {
        ElectricityMaps {
            key,
            basis,
            history: Part::default(),
            long_past: Part::default(),
            forecast: Part::default(),
        }
    }

    async fn get(
        &self,
        client: &Client,
        heard: &Gathering<'_>,
        (what, more): (&str, &[(&str, String)]),
    ) -> Result<Bytes, Refusal> {
        let site = heard.site();
        let key = site.key(&self.key).await?;
        let question = Question::new(site, &format!("/carbon-intensity/{what}"))
            .with("zone", &site.zone)
            .with("emissionFactorType", self.basis.as_str())
            .header(TOKEN, key);
        let question = more.iter().fold(question, |question, (name, value)| question.with(name, value));
        question.ask(client, heard.ask()).await
    }

    async fn past(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let (ask, basis) = (heard.ask(), self.basis);
        if self.history.is_open(ask) {
            let body = self.get(client, heard, ("history", &[])).await;
            self.history.note(ask, &body);
            match body {
                Ok(body) => heard.take(|site, heard| parse(site, &body, basis, false, heard))?,
                // What is wrong with the provider as a whole is not asked about twice.
                Err(refusal) if self.history.is_open(ask) => return Err(refusal),
                Err(refusal) => heard.miss(refusal),
            }
        }
        if !heard.is_current() {
            let body = self.get(client, heard, ("latest", &[])).await?;
            heard.take(|site, heard| parse(site, &body, basis, false, heard))?;
        }
        Ok(())
    }

    /// What the history does not reach, after an outage and now and then. An answer holds ten days, and never more
    /// than three are asked for.
    async fn long_past(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let (ask, basis) = (heard.ask(), self.basis);
        let whole = |time: Nanos| Nanos::new(time.get() - time.get() % minutes(60).get());
        let (start, end) = (whole(ask.from), whole(ask.now.saturating_sub(HISTORY)));
        // A key that does not open the history will not open this.
        let is_wanted = ask.from < ask.now.saturating_sub(minutes(24 * 60)) && self.history.is_open(ask);
        if !is_wanted || !self.long_past.is_open(ask) {
            return Ok(());
        }
        let time = |time| written(time, "%Y-%m-%dT%H:%M:%SZ");
        let more = [("start", time(start)), ("end", time(end))];
        let body = self.get(client, heard, ("past-range", &more)).await;
        self.long_past.note(ask, &body);
        let outcome = match body {
            Ok(body) => heard.take(|site, heard| parse(site, &body, basis, false, heard)),
            Err(refusal) => Err(refusal),
        };
        match outcome {
            // The forecast is another question, unless none is wanted now.
            Err(refusal) if !refusal.wants_a_pause() => {
                heard.miss(refusal);
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn ahead(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let (ask, basis) = (heard.ask(), self.basis);
        let ahead = ask.until.saturating_sub(ask.now).get().div_ceil(minutes(60).get());
        if ahead == 0 || !self.forecast.is_open(ask) {
            return Ok(());
        }
        let hours = HORIZONS.into_iter().find(|hours| *hours >= ahead).unwrap_or(HORIZONS[3]);
        let more = [("horizonHours", hours.to_string())];
        let body = self.get(client, heard, ("forecast", &more)).await;
        self.forecast.note(ask, &body);
        let body = body?;
        heard.take(|site, heard| parse(site, &body, basis, true, heard))
    }
}

impl Questions for ElectricityMaps {
    fn offer(&self) -> Offer {
        Offer::average(self.basis)
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let mut outcome = self.past(client, heard).await;
        if outcome.is_ok() {
            outcome = self.long_past(client, heard).await;
        }
        if outcome.is_ok() {
            outcome = self.ahead(client, heard).await;
        }
        if heard.is_empty() {
            // It was not the plan: nothing is had by this key.
            self.history = Part::default();
        }
        outcome
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
