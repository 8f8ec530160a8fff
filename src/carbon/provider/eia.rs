//! EIA-930, version 2 of the API: what each fuel generated in a US balancing authority by the hour, of which an
//! intensity of production is made. Numbers may be text, null or less than nothing; the key stands in the
//! query, as their guide says.

use super::asking::{Question, Site};
use super::figure::Decimal;
use super::json::Node;
use super::mix::{Codes, Mix};
use super::round::Questions;
use super::slots::{Gathering, instant, minutes, written};
use super::{Key, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::Basis;
use crate::model::quantity::Nanos;

/// Where it is.
pub const BASE: &str = "https://api.eia.gov/v2";

/// Which fuels are large is seen over a day.
const SEEN_OVER: Nanos = minutes(25 * 60);

/// Three days of 16 fuels are 1,168 rows; the provider gives 5,000 at most.
const MAX_ROWS: &str = "2000";

/// The newest hour often has only some fuels.
const ALWAYS: [&str; 4] = ["COL", "NG", "NUC", "WAT"];

/// Without a storage and with one.
const BY_DAY: [&str; 2] = ["SUN", "SNB"];

/// The provider.
pub struct Eia {
    /// What proves us.
    pub key: Key,
    /// Which factors the mix is weighed with.
    pub basis: Basis,
}

impl Questions for Eia {
    fn offer(&self) -> Offer {
        Offer::average(self.basis)
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let (site, ask) = (heard.site(), heard.ask());
        let key = site.secret(&self.key).await?;
        let from = ask.from.min(ask.now.saturating_sub(SEEN_OVER));
        let question = Question::new(site, "/electricity/rto/fuel-type-data/data/")
            .with("api_key", key.reveal())
            .with("frequency", "hourly")
            .with("data[0]", "value")
            .with("facets[respondent][]", &site.zone)
            .with("start", &written(from, "%Y-%m-%dT%H"))
            .with("sort[0][column]", "period")
            .with("sort[0][direction]", "desc")
            .with("offset", "0")
            .with("length", MAX_ROWS);
        let body = question.ask(client, ask).await?;
        let mix = parse(site, &body)?;
        heard.take(|site, heard| mix.intensities(site, Codes::Eia, self.basis, (&ALWAYS, &BY_DAY), heard))
    }
}

/// Rows: what each fuel generated, in thousandths of a MWh.
///
/// # Errors
/// It is no answer, or one about another respondent or unit.
pub fn parse(site: &Site, body: &[u8]) -> Result<Mix, Refusal> {
    let rows =
        site.json(body)?.get("response").and_then(|response| response.get("data")).and_then(Node::items);
    let rows =
        rows.ok_or_else(|| site.malformed("an answer without response.data (is that its address?)"))?;
    let mut mix = Mix::default();
    for row in rows {
        let named = |name: &str| row.get(name).and_then(Node::text);
        if named("respondent").is_some_and(|respondent| respondent != site.zone) {
            return Err(site.malformed("it answers for another respondent (see the provider's zone and url)"));
        }
        if named("value-units").is_some_and(|unit| unit != "megawatthours") {
            return Err(site.malformed("amounts in another unit than megawatthours (they are not used)"));
        }
        let (Some(period), Some(fuel)) = (named("period"), named("fueltype")) else { continue };
        // A negative amount is the own use of a station that stands still, or a storage that is filled:
        // nothing is generated.
        let amount = row.get("value").and_then(Node::number);
        let amount = amount.and_then(|text| Decimal::parse(&text)).and_then(Decimal::thousandths);
        // A period is called by the hour at which it ends.
        let (Some(end), Some(amount)) = (instant(&period), amount) else { continue };
        mix.set(end.saturating_sub(minutes(60)), end, &fuel, amount);
    }
    Ok(mix)
}
