//! WattTime, version 3: pounds of CO2 for a MWh every 5 min, on average (`co2_aoer`) and of one MWh more
//! (`co2_moer`), which is another signal and never mixed with it. A token is had for a name and a password
//! and lasts half an hour.

use super::asking::{Part, Question, Site};
use super::figure::{Unit, intensity};
use super::json::Node;
use super::round::Questions;
use super::slots::{About, Gathering, Slot, instant, minutes, written};
use super::{Ask, Key, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::{Basis, Boundary, Quality, Signal};
use crate::model::quantity::Nanos;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};

/// Where it is.
pub const BASE: &str = "https://api.watttime.org";

/// A token is renewed before it ends, after 30 min.
const RENEWED_AFTER: Nanos = minutes(25);

/// The longest forecast there is.
const MAX_HORIZON_HOURS: u64 = 72;

/// Their steps are 5 min; what is said to be longer than this is none of theirs.
const LONGEST_PERIOD: Nanos = minutes(60);

/// The provider.
pub struct WattTime {
    user: String,
    password: Key,
    signals: Vec<Wanted>,
    token: Option<(HeaderValue, Nanos)>,
}

/// A signal, of which the plan may have all, the past alone, or nothing.
struct Wanted {
    signal: Signal,
    whole: Part,
    forecast: Part,
}

impl Wanted {
    fn new(signal: Signal) -> Wanted {
        Wanted { signal, whole: Part::default(), forecast: Part::default() }
    }
}

impl WattTime {
    /// For somebody whom it knows.
    #[must_use]
    pub fn new(user: String, password: Key, signals: Vec<Signal>) -> WattTime {
        let signals = signals.into_iter().map(Wanted::new).collect();
        WattTime { user, password, signals, token: None }
    }

    async fn token(&mut self, client: &Client, site: &Site, ask: Ask) -> Result<HeaderValue, Refusal> {
        if let Some((token, since)) = &self.token {
            // A clock that was set back says nothing about the token's age.
            let is_fresh = *since <= ask.now && ask.now.saturating_sub(*since) < RENEWED_AFTER;
            if is_fresh {
                return Ok(token.clone());
            }
        }
        self.token = None;
        let password = site.secret(&self.password).await?;
        let pair = BASE64_STANDARD.encode(format!("{}:{}", self.user, password.reveal()));
        let question =
            Question::new(site, "/login").header(AUTHORIZATION, site.header(&format!("Basic {pair}"))?);
        let body = question.ask(client, ask).await?;
        let token = site.json(&body)?.get("token").and_then(Node::text);
        let token = token.ok_or_else(|| site.malformed("a login without a token (is that its address?)"))?;
        let token = site.header(&format!("Bearer {token}"))?;
        self.token = Some((token.clone(), ask.now));
        Ok(token)
    }

    /// Asks with a token, and with a new one if it was not taken: theirs may end early.
    async fn get(
        &mut self,
        client: &Client,
        heard: &Gathering<'_>,
        (path, more): (&str, &[(&str, &str)]),
    ) -> Result<Bytes, Refusal> {
        let (site, ask) = (heard.site(), heard.ask());
        let make = |token| {
            let question = Question::new(site, path).header(AUTHORIZATION, token).with("region", &site.zone);
            more.iter().fold(question, |question, (name, value)| question.with(name, value))
        };
        let had_one = self.token.is_some();
        let token = self.token(client, site, ask).await?;
        let first = make(token).send(client).await?;
        if !had_one || !first.is_unknown_caller() {
            return first.body(site, ask);
        }
        self.token = None;
        let token = self.token(client, site, ask).await?;
        make(token).ask(client, ask).await
    }

    async fn past(
        &mut self,
        client: &Client,
        heard: &mut Gathering<'_>,
        signal: Signal,
    ) -> Result<(), Refusal> {
        let ask = heard.ask();
        let time = |time| written(time, "%Y-%m-%dT%H:%M+00:00");
        let (from, now) = (time(ask.from.min(ask.now.saturating_sub(minutes(10)))), time(ask.now));
        let more = [("start", from.as_str()), ("end", &now), ("signal_type", kind(signal))];
        let past = self.get(client, heard, ("/v3/historical", &more)).await?;
        heard.take(|site, heard| parse(site, &past, signal, false, heard))
    }

    async fn ahead(
        &mut self,
        client: &Client,
        heard: &mut Gathering<'_>,
        signal: Signal,
    ) -> Result<(), Refusal> {
        let ask = heard.ask();
        let hours =
            ask.until.saturating_sub(ask.now).get().div_ceil(minutes(60).get()).min(MAX_HORIZON_HOURS);
        let more = [("signal_type", kind(signal)), ("horizon_hours", &hours.to_string())];
        let ahead = self.get(client, heard, ("/v3/forecast", &more)).await?;
        heard.take(|site, heard| parse(site, &ahead, signal, true, heard))
    }
}

impl Questions for WattTime {
    fn offer(&self) -> Offer {
        let has = |signal| self.signals.iter().any(|wanted| wanted.signal == signal);
        Offer::Own { average: has(Signal::Average).then_some(Basis::Direct), marginal: has(Signal::Marginal) }
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let ask = heard.ask();
        let mut outcome = Ok(());
        for place in 0..self.signals.len() {
            if !self.signals[place].whole.is_open(ask) {
                continue;
            }
            let signal = self.signals[place].signal;
            outcome = self.past(client, heard, signal).await;
            self.signals[place].whole.note(ask, &outcome);
            if outcome.is_ok() && self.signals[place].forecast.is_open(ask) {
                outcome = self.ahead(client, heard, signal).await;
                self.signals[place].forecast.note(ask, &outcome);
            }
            match outcome.as_ref().err().cloned() {
                // It wants to be left alone, by the other signal too.
                Some(refusal) if refusal.wants_a_pause() => break,
                Some(refusal) => heard.miss(refusal),
                None => {}
            }
        }
        if heard.is_empty() {
            // It was not the plan: nothing is had by this name.
            self.signals.iter_mut().for_each(|wanted| wanted.whole = Part::default());
        }
        outcome
    }
}

const fn kind(signal: Signal) -> &'static str {
    match signal {
        Signal::Average => "co2_aoer",
        Signal::Marginal => "co2_moer",
    }
}

/// An answer of `/v3/historical` or `/v3/forecast`.
///
/// # Errors
/// It is no answer, or one about another region, signal or unit.
pub fn parse(
    site: &Site,
    body: &[u8],
    signal: Signal,
    is_forecast: bool,
    heard: &mut Gathering<'_>,
) -> Result<(), Refusal> {
    let answer = site.json(body)?;
    let (Some(points), Some(meta)) = (answer.get("data").and_then(Node::items), answer.get("meta")) else {
        return Err(site.malformed("an answer without data and meta (is that its address?)"));
    };
    let named = |name: &str| meta.get(name).and_then(Node::text);
    if named("units").as_deref() != Some("lbs_co2_per_mwh") {
        return Err(site.malformed("figures in another unit than lbs_co2_per_mwh (they are not used)"));
    }
    if named("region").is_some_and(|region| region != site.zone) {
        return Err(site.malformed("it answers for another region (see the provider's zone and url)"));
    }
    if named("signal_type").is_some_and(|given| given != kind(signal)) {
        return Err(site.malformed("it answers with another signal (see the provider's url)"));
    }
    let seconds = meta.get("data_point_period_seconds").and_then(Node::number);
    let seconds = seconds.and_then(|text| text.parse::<u32>().ok()).filter(|seconds| *seconds > 0);
    let length = Nanos::from_seconds(seconds.map_or(300, u64::from)).min(LONGEST_PERIOD);
    let about = About { signal, basis: Basis::Direct, accounting: Boundary::Production };
    let now = heard.ask().now;
    for point in points {
        let Some(figure) = point.get("value") else { continue };
        let Some(start) = point.get("point_time").and_then(Node::text).and_then(|text| instant(&text)) else {
            continue;
        };
        let is_made_up = point.get("imputed_data_used").is_some_and(Node::is_true);
        let end = start + length;
        let quality = match is_forecast {
            // The slot that runs is what WattTime calls the nowcast: its figure for this time.
            true if start <= now && now < end => Quality::Estimated,
            true => Quality::Forecast,
            false if is_made_up => Quality::Estimated,
            false => Quality::Measured,
        };
        let text = figure.number().unwrap_or_default();
        heard.add(about, Slot { start, end, quality }, intensity(&text, Unit::PoundsPerMegawattHour));
    }
    Ok(())
}
