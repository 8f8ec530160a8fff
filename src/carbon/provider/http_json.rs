//! Any server that answers JSON: the user says where in it the figures are and what they mean.

use super::asking::{Question, Site};
use super::figure::{Decimal, Unit, intensity};
use super::json::{Node, Path};
use super::round::Questions;
use super::slots::{About, Gathering, Slot, floor, instant};
use super::{Key, Offer, Refusal};
use crate::http_client::{self, Client};
use crate::model::grid::Quality;
use crate::model::quantity::Nanos;
use hyper::header::HeaderName;

/// What the user says of figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The figure: in an item of the list, or in the whole. Without it a file is CSV.
    pub value: Option<Path>,
    /// A list of items; none if there is one figure.
    pub list: Option<Path>,
    /// When the figure begins to hold, beside it; without it that is now.
    pub time: Option<Path>,
    /// Its unit.
    pub unit: Unit,
    /// What it is about.
    pub about: About,
    /// How long it holds; without it until the next.
    pub slot: Option<Nanos>,
}

impl Shape {
    /// What is read from where, in words.
    pub(super) fn described(&self) -> String {
        let Shape { value, list, time, unit, about, slot } = self;
        format!("{list:?} {value:?} {time:?} {unit:?} {about:?} {slot:?}")
    }
}

/// A pair of a query with one of these among the words of its name may be a key, which is renewed.
const SECRET_WORDS: [&str; 12] = [
    "key",
    "apikey",
    "accesskey",
    "token",
    "authtoken",
    "accesstoken",
    "secret",
    "pass",
    "password",
    "auth",
    "sig",
    "signature",
];

/// How long a figure holds whose time is not said, and that no other follows.
const USUAL_SLOT: Nanos = Nanos::from_seconds(3_600);

/// Seconds since 1970 have ten digits until the year 2286; more are milliseconds.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// The provider. The base of its site is the whole URL.
pub struct HttpJson {
    /// What is in its answer.
    pub shape: Shape,
    /// Headers of the request, with what their values are read from.
    pub headers: Vec<(String, Key)>,
}

impl Questions for HttpJson {
    fn offer(&self) -> Offer {
        Offer::about(self.shape.about)
    }

    fn described(&self, site: &Site) -> Option<String> {
        let query = site.base.split_once('?').map_or("", |(_, query)| query);
        let is_open = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            !words(name).iter().any(|word| SECRET_WORDS.contains(&word.as_str()))
        };
        let query: Vec<&str> = query.split('&').filter(is_open).collect();
        Some(format!("{} {} {}", http_client::bare(&site.base), query.join("&"), self.shape.described()))
    }

    async fn hear(&mut self, client: &Client, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
        let site = heard.site();
        let mut question = Question::new(site, "");
        for (name, key) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let name = name.map_err(|_| site.malformed("a header whose name is none (see header_files)"))?;
            question = question.header(name, site.key(key).await?);
        }
        let body = question.ask(client, heard.ask()).await?;
        heard.take(|site, heard| parse(site, &body, &self.shape, heard))
    }
}

/// A document of this shape.
///
/// # Errors
/// It is no JSON, or the paths lead nowhere.
pub fn parse(site: &Site, body: &[u8], shape: &Shape, heard: &mut Gathering<'_>) -> Result<(), Refusal> {
    let document = site.json(body)?;
    let nowhere = |path: &Path| {
        site.malformed(&format!("there is nothing at {path:?} (see the provider's list, value and time)"))
    };
    let items = match &shape.list {
        None => vec![document],
        Some(path) => document.at(path).and_then(Node::items).ok_or_else(|| nowhere(path))?,
    };
    let whole = Path::new("").expect("an empty path is one");
    let value = shape.value.as_ref().unwrap_or(&whole);
    let mut found: Vec<(Nanos, Node<'_>)> = Vec::new();
    for item in &items {
        let Some(figure) = item.at(value) else {
            // One figure alone that is not there is a wrong path; in a list it is one not known yet.
            if shape.list.is_none() {
                return Err(nowhere(value));
            }
            continue;
        };
        let start = match &shape.time {
            None => floor(heard.ask().now),
            Some(path) => item.at(path).and_then(time).ok_or_else(|| nowhere(path))?,
        };
        found.push((start, figure));
    }
    found.sort_by_key(|(start, _)| *start);
    let ends = ends(&found.iter().map(|(start, _)| *start).collect::<Vec<_>>(), shape.slot);
    for ((start, figure), end) in found.into_iter().zip(ends) {
        let text = figure.number().unwrap_or_default();
        let slot = Slot { start, end, quality: Quality::Measured };
        heard.add(shape.about, slot, intensity(&text, shape.unit));
    }
    Ok(())
}

/// When slots end that begin at these times, in their order: as long after as is said, else where the next
/// begins; the last is as long as the one before.
pub(super) fn ends(starts: &[Nanos], slot: Option<Nanos>) -> Vec<Nanos> {
    let mut length = slot.unwrap_or(USUAL_SLOT);
    let mut found = Vec::with_capacity(starts.len());
    for (place, start) in starts.iter().enumerate() {
        let next = starts[place + 1..].iter().find(|next| *next > start);
        if let (None, Some(next)) = (slot, next) {
            length = next.saturating_sub(*start);
        }
        found.push(Nanos::new(start.get().saturating_add(length.get())));
    }
    found
}

/// A text, or seconds or milliseconds since 1970.
fn time(node: Node<'_>) -> Option<Nanos> {
    if let Some(time) = node.text().and_then(|text| instant(&text)) {
        return Some(time);
    }
    let thousandths = Decimal::parse(&node.number()?)?.thousandths()?;
    let milliseconds =
        if thousandths / 1_000 >= MILLISECONDS_FROM { thousandths / 1_000 } else { thousandths };
    milliseconds.checked_mul(1_000_000).map(Nanos::new)
}

/// The words of `apiKey`, `api_key` or `api-key`, in small letters: `authority` is none of a key's.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() || was_small && character.is_ascii_uppercase() {
            words.push(String::new());
        }
        was_small = character.is_ascii_lowercase();
        if let Some(word) = words.last_mut().filter(|_| character.is_ascii_alphanumeric()) {
            word.push(character.to_ascii_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_name_tell_keys_from_other_questions() {
        for (name, is_secret) in [
            ("key", true),
            ("apiKey", true),
            ("api_key", true),
            ("API-KEY", true),
            ("X-Auth-Token", true),
            ("accesstoken", true),
            ("sig", true),
            ("authority", false),
            ("signal", false),
            ("keyword", false),
            ("bypass", false),
            ("zone", false),
            ("", false),
        ] {
            let found = words(name).iter().any(|word| SECRET_WORDS.contains(&word.as_str()));
            assert_eq!(found, is_secret, "{name}");
        }
    }
}
