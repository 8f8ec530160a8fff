//! The transparency platform of ENTSO-E: what each kind of power station generated (document A75), in XML, of
//! which an intensity of production is made. The key stands in the query, as their guide says.

use super::asking::{Question, Site};
use super::figure::Decimal;
use super::mix::{Codes, Mix};
use super::round::Questions;
use super::slots::{Gathering, instant, minutes, written};
use super::{Key, Offer, Refusal};
use crate::http_client::Client;
use crate::model::grid::Basis;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use hyper::header::{ACCEPT, HeaderValue};
use roxmltree::{Document, Node, ParsingOptions};

/// Where it is.
pub const BASE: &str = "https://web-api.tp.entsoe.eu";

/// Which fuels are large is seen over a day.
const SEEN_OVER: Nanos = minutes(25 * 60);

/// All fuels are brought on this grain, the finest that is published.
const CELL: Nanos = minutes(15);

/// Of three days in cells there are 292; a period that is longer is not what was asked for.
const MAX_CELLS: u64 = 400;

/// Three days of 20 fuels in quarters are 40,000 elements of a point and its two numbers.
const MAX_NODES: u32 = 300_000;

/// The provider. A zone is an area by its EIC code.
pub struct Entsoe {
    /// What proves us.
    pub key: Key,
    /// Which factors the mix is weighed with.
    pub basis: Basis,
}

impl Questions for Entsoe {
    fn offer(&self) -> Offer {
        Offer::average(self.basis)
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let (site, ask) = (heard.site(), heard.ask());
        let key = site.secret(&self.key).await?;
        let hour = minutes(60).get();
        let from = ask.from.min(ask.now.saturating_sub(SEEN_OVER)).get() / hour * hour;
        let to = ask.now.get().div_ceil(hour) * hour;
        let question = Question::new(site, "/api")
            .header(ACCEPT, HeaderValue::from_static("application/xml"))
            .with("securityToken", key.reveal())
            .with("documentType", "A75")
            .with("processType", "A16")
            .with("in_Domain", &site.zone)
            .with("periodStart", &written(Nanos::new(from), "%Y%m%d%H%M"))
            .with("periodEnd", &written(Nanos::new(to), "%Y%m%d%H%M"));
        let body = question.ask(client, ask).await?;
        let mix = parse(site, &body)?;
        heard.take(|site, heard| mix.intensities(site, Codes::Entsoe, self.basis, (&[], &["B16"]), heard))
    }
}

/// A child by its local name: the name space changes with the version of the document.
fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

fn children<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

fn text<'a>(node: Node<'a, '_>, path: &[&str]) -> Option<&'a str> {
    let last = path.iter().try_fold(node, |node, name| child(node, name))?;
    last.text().map(str::trim).filter(|text| !text.is_empty())
}

/// A document: what was generated in cells of a quarter of an hour, in thousandths of a MW.
///
/// # Errors
/// It is no such document, says that there are no data, or is about another area or unit.
pub fn parse(site: &Site, body: &[u8]) -> Result<Mix, Refusal> {
    let body = std::str::from_utf8(body).map_err(|_| site.malformed("the answer is no text"))?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(body, options)
        .map_err(|_| site.malformed("the answer is no XML, or too much of it (is that its address?)"))?;
    let root = document.root_element();
    match root.tag_name().name() {
        "GL_MarketDocument" => {}
        "Acknowledgement_MarketDocument" => {
            return Err(site.refusal(
                Fault::Missing,
                "it has no data for these hours (they come late; or it has none for this area)",
            ));
        }
        _ => return Err(site.malformed("a document of another kind (is that its address?)")),
    }
    let mut mix = Mix::default();
    for series in children(root, "TimeSeries") {
        // What goes out of an area into its own storage is consumed, not generated.
        let is_consumption = child(series, "outBiddingZone_Domain.mRID").is_some();
        let area = text(series, &["inBiddingZone_Domain.mRID"]);
        if area.is_some_and(|area| area != site.zone) {
            return Err(site.malformed("it answers for another area (see the provider's zone and url)"));
        }
        if text(series, &["quantity_Measure_Unit.name"]).is_some_and(|unit| unit != "MAW") {
            return Err(site.malformed("amounts in another unit than MAW (they are not used)"));
        }
        let Some(fuel) = text(series, &["MktPSRType", "psrType"]) else { continue };
        if is_consumption {
            continue;
        }
        // Curve A01 has all its points; of A03, the usual one, those that are equal to the one before are missing.
        let is_filled = text(series, &["curveType"]) != Some("A01");
        for period in children(series, "Period") {
            read_period(site, period, fuel, is_filled, &mut mix)?;
        }
    }
    Ok(mix)
}

fn read_period(
    site: &Site,
    period: Node<'_, '_>,
    fuel: &str,
    is_filled: bool,
    mix: &mut Mix,
) -> Result<(), Refusal> {
    let time = |end| text(period, &["timeInterval", end]).and_then(instant);
    let (Some(start), Some(end)) = (time("start"), time("end")) else {
        return Err(site.malformed("a period without a time (is that its address?)"));
    };
    let cells = match text(period, &["resolution"]) {
        Some("PT15M") => 1,
        Some("PT30M") => 2,
        Some("PT60M") => 4,
        Some(_) | None => {
            return Err(site.malformed("a resolution that is none of its own (they are 15, 30 and 60 min)"));
        }
    };
    let last = end.saturating_sub(start).get() / CELL.get() / cells;
    if last * cells > MAX_CELLS {
        return Err(site.malformed("a period of more than four days (nothing of ours asks for one)"));
    }
    let mut points: Vec<(u64, u64)> = Vec::new();
    for point in children(period, "Point") {
        let position = text(point, &["position"]).and_then(|text| text.parse::<u64>().ok());
        let amount = text(point, &["quantity"]).and_then(Decimal::parse).and_then(Decimal::thousandths);
        let (Some(position), Some(amount)) = (position, amount) else { continue };
        if (1..=last).contains(&position) {
            points.push((position, amount));
        }
    }
    points.sort_by_key(|point| point.0);
    for (place, (position, amount)) in points.iter().enumerate() {
        let next = points.get(place + 1).map_or(last + 1, |next| next.0);
        let until = if is_filled { next } else { position + 1 };
        for cell in (position - 1) * cells..(until - 1) * cells {
            let from = start + Nanos::new(CELL.get() * cell);
            mix.set(from, from + CELL, fuel, *amount);
        }
    }
    Ok(())
}
