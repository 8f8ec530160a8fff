//! `grid.providers`: who is asked for intensities, the first that answers before the others. Keys stand in
//! files or in the environment, never here.

use crate::carbon::provider::figure::Unit;
use crate::carbon::provider::http_json::Shape;
use crate::carbon::provider::jouleprint::Door;
use crate::carbon::provider::json::Path as JsonPath;
use crate::carbon::provider::slots::About;
use crate::carbon::provider::{Key, Kind, Wish};
use crate::config::Seconds;
use crate::http_client::{self, Secret, TlsFiles};
use crate::model::grid::{Basis, Boundary, GRAIN, Signal};
use crate::model::quantity::Nanos;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A file for a header is one secret; nobody needs more of them.
const MAX_HEADERS: usize = 16;

/// Once a day at least.
const LONGEST_INTERVAL: u64 = 24 * 3_600;

/// Looks a variable up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that some provider knows; which of it this one does is seen afterwards.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderSection {
    name: String,
    zone: Option<String>,
    basis: Option<Basis>,
    url: Option<String>,
    interval: Option<Seconds>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    signals: Option<Vec<Signal>>,
    path: Option<PathBuf>,
    list: Option<String>,
    value: Option<String>,
    time: Option<String>,
    unit: Option<String>,
    accounting: Option<Boundary>,
    signal: Option<Signal>,
    slot: Option<Seconds>,
    header_files: Option<BTreeMap<String, PathBuf>>,
    header_env: Option<BTreeMap<String, String>>,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    token: Option<IgnoredAny>,
    password: Option<IgnoredAny>,
    headers: Option<IgnoredAny>,
}

/// The names of all providers, and the keys that each knows beside `name`, `zone` and `interval`.
const KNOWN: &[(&str, &[&str])] = &[
    ("electricity_maps", &["token_file", "token_env", "basis", "url"]),
    ("watttime", &["user", "password_file", "password_env", "signals", "url"]),
    ("gb", &["url"]),
    ("rte", &["url"]),
    ("energi_data", &["url"]),
    ("entsoe", &["token_file", "token_env", "basis", "url"]),
    ("eia", &["token_file", "token_env", "basis", "url"]),
    ("file", &["path", "list", "value", "time", "unit", "basis", "accounting", "signal", "slot"]),
    (
        "http_json",
        &[
            "url",
            "list",
            "value",
            "time",
            "unit",
            "basis",
            "accounting",
            "signal",
            "slot",
            "header_files",
            "header_env",
        ],
    ),
    (
        "jouleprint",
        &["url", "user", "password_file", "password_env", "ca_file", "certificate_file", "key_file"],
    ),
];

impl ProviderSection {
    /// The provider, checked.
    pub(super) fn resolve(mut self, environment: Environment<'_>) -> Result<Wish, String> {
        let Some((name, known)) = KNOWN.iter().find(|(name, _)| *name == self.name) else {
            let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
            return Err(format!("{:?} is no provider (name one of {})", self.name, names.join(", ")));
        };
        if let Some(said) = self.said_in_the_open() {
            return Err(format!("{said} does not stand here (put it into a file, and name that)"));
        }
        if let Some(unknown) = self.given().into_iter().find(|key| !known.contains(key)) {
            return Err(format!("{name} has no {unknown} (it has {}, zone, interval)", known.join(", ")));
        }
        let url = self.url.take().map(|url| address(&url, *name == "http_json")).transpose()?;
        if self.interval.is_some_and(|interval| !(1..=LONGEST_INTERVAL).contains(&interval.0)) {
            return Err("interval: it is outside 1s to 1440m".to_owned());
        }
        Ok(Wish {
            zone: self.zone.clone().filter(|zone| !zone.is_empty()),
            basis: self.basis,
            interval: self.interval.map(|interval| Duration::from_secs(interval.0)),
            kind: self.kind(environment, url.is_some())?,
            url,
        })
    }

    fn kind(self, environment: Environment<'_>, has_url: bool) -> Result<Kind, String> {
        let token = |section: &ProviderSection| {
            key("token", section.token_file.clone(), section.token_env.clone(), environment)
        };
        Ok(match self.name.as_str() {
            "electricity_maps" => Kind::ElectricityMaps(token(&self)?),
            "entsoe" => Kind::Entsoe(token(&self)?),
            "eia" => Kind::Eia(token(&self)?),
            "gb" => Kind::GreatBritain,
            "rte" => Kind::Rte,
            "energi_data" => Kind::EnergiData,
            "watttime" => {
                let user = self.user.filter(|user| !user.is_empty() && !user.contains(':'));
                let user = user.ok_or("user: watttime knows us by name and password (give both)")?;
                let password = key("password", self.password_file, self.password_env, environment)?;
                let mut signals = self.signals.unwrap_or_else(|| vec![Signal::Average, Signal::Marginal]);
                signals.sort_unstable();
                signals.dedup();
                if signals.is_empty() {
                    return Err("signals: none is asked for (name average, marginal or both)".to_owned());
                }
                Kind::WattTime { user, password, signals }
            }
            "jouleprint" => {
                if !has_url {
                    return Err("url: no relay is named (such as http://relay:14402)".to_owned());
                }
                let has_password = self.password_file.is_some() || self.password_env.is_some();
                let user = match (self.user, has_password) {
                    (Some(user), true) => {
                        Some((user, key("password", self.password_file, self.password_env, environment)?))
                    }
                    (None, false) => None,
                    (Some(_), false) | (None, true) => {
                        return Err("user: a user and a password go together (give both or none)".to_owned());
                    }
                };
                let tls =
                    TlsFiles { ca: self.ca_file, certificate: self.certificate_file, key: self.key_file };
                Kind::Jouleprint(Door { user, tls })
            }
            "file" => {
                let path = self.path.clone().ok_or("path: no file is named (give its path)")?;
                Kind::File { path, shape: self.shape()? }
            }
            _ => {
                if !has_url {
                    return Err("url: no address is named (give the whole URL)".to_owned());
                }
                if self.value.is_none() {
                    return Err(
                        "value: it does not say where the figure is (such as data[0].value)".to_owned()
                    );
                }
                let headers = self.secret_headers(environment)?;
                Kind::HttpJson { shape: self.shape()?, headers }
            }
        })
    }

    fn shape(self) -> Result<Shape, String> {
        let path = |name: &str, text: Option<String>| {
            text.map(|text| JsonPath::new(&text).map_err(|error| format!("{name}: {error}"))).transpose()
        };
        let is_json = self.value.is_some();
        let basis =
            self.basis.ok_or("basis: it must be said what the figures include (lifecycle or direct)")?;
        let unit = match (is_json, self.unit) {
            (true, Some(unit)) => Unit::parse(&unit).map_err(|error| format!("unit: {error}"))?,
            (true, None) => return Err("unit: it must be said (such as g/kWh)".to_owned()),
            // The column of a table says it.
            (false, None) => Unit::GramsPerKilowattHour,
            (false, Some(_)) => return Err("unit: a CSV table is in gco2e_per_kwh (leave it out)".to_owned()),
        };
        if !is_json && (self.list.is_some() || self.time.is_some()) {
            return Err("value: list and time are of JSON, which needs a value too".to_owned());
        }
        let slot = self.slot.map(|slot| Nanos::from_seconds(slot.0));
        if slot.is_some_and(|slot| slot.get() == 0 || slot.get() % GRAIN.get() != 0) {
            return Err("slot: it is no multiple of 5m (write 60m for an hour)".to_owned());
        }
        Ok(Shape {
            value: path("value", self.value)?,
            list: path("list", self.list)?,
            time: path("time", self.time)?,
            unit,
            about: About {
                signal: self.signal.unwrap_or_default(),
                basis,
                accounting: self.accounting.unwrap_or(Boundary::Production),
            },
            slot,
        })
    }

    fn secret_headers(&self, environment: Environment<'_>) -> Result<Vec<(String, Key)>, String> {
        let mut headers = Vec::new();
        for (name, path) in self.header_files.iter().flatten() {
            headers.push((header_name("header_files", name)?, Key::File(path.clone())));
        }
        for (name, variable) in self.header_env.iter().flatten() {
            let key = of_environment("header_env", variable, environment)?;
            headers.push((header_name("header_env", name)?, key));
        }
        if headers.len() > MAX_HEADERS {
            return Err(format!("header_files: more than {MAX_HEADERS} headers (none needs so many)"));
        }
        Ok(headers)
    }

    /// A secret written where everybody who may read the configuration reads it.
    fn said_in_the_open(&self) -> Option<&'static str> {
        [
            (self.token.is_some(), "token"),
            (self.password.is_some(), "password"),
            (self.headers.is_some(), "headers"),
        ]
        .into_iter()
        .find_map(|(is_there, name)| is_there.then_some(name))
    }

    fn given(&self) -> Vec<&'static str> {
        [
            (self.basis.is_some(), "basis"),
            (self.url.is_some(), "url"),
            (self.token_file.is_some(), "token_file"),
            (self.token_env.is_some(), "token_env"),
            (self.user.is_some(), "user"),
            (self.password_file.is_some(), "password_file"),
            (self.password_env.is_some(), "password_env"),
            (self.signals.is_some(), "signals"),
            (self.path.is_some(), "path"),
            (self.list.is_some(), "list"),
            (self.value.is_some(), "value"),
            (self.time.is_some(), "time"),
            (self.unit.is_some(), "unit"),
            (self.accounting.is_some(), "accounting"),
            (self.signal.is_some(), "signal"),
            (self.slot.is_some(), "slot"),
            (self.header_files.is_some(), "header_files"),
            (self.header_env.is_some(), "header_env"),
            (self.ca_file.is_some(), "ca_file"),
            (self.certificate_file.is_some(), "certificate_file"),
            (self.key_file.is_some(), "key_file"),
        ]
        .into_iter()
        .filter_map(|(is_there, name)| is_there.then_some(name))
        .collect()
    }
}

/// From a file or a variable, one of the two.
fn key(
    what: &str,
    file: Option<PathBuf>,
    variable: Option<String>,
    environment: Environment<'_>,
) -> Result<Key, String> {
    match (file, variable) {
        (Some(path), None) => Ok(Key::File(path)),
        (None, Some(variable)) => of_environment(&format!("{what}_env"), &variable, environment),
        (Some(_), Some(_)) => Err(format!("{what}_env: there is a {what}_file too (give one of them)")),
        (None, None) => Err(format!("{what}_file: it asks for a key (name the file that holds it)")),
    }
}

fn of_environment(from: &str, variable: &str, environment: Environment<'_>) -> Result<Key, String> {
    let is_name = variable.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if variable.is_empty() || !is_name || variable.starts_with(|first: char| first.is_ascii_digit()) {
        // It may be the key itself, and is not repeated.
        return Err(format!("{from}: this is no name of a variable (write the name, not what it holds)"));
    }
    let value = environment(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| {
        format!("{from}: the environment has no {variable} (set it, or name a file instead)")
    })?;
    Ok(Key::Environment { name: variable.to_owned(), value: Secret::new(value) })
}

fn header_name(from: &str, name: &str) -> Result<String, String> {
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_name { Ok(name.to_ascii_lowercase()) } else { Err(format!("{from}: a name that no header has")) }
}

/// A URL without a user; what is wrong with it is said without repeating it.
fn address(text: &str, may_ask: bool) -> Result<String, String> {
    let url = http_client::url(text).map_err(|error| format!("url: {error}"))?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("url: a user in the URL (put what proves us into a file)".to_owned());
    }
    if url.query().is_some() && !may_ask {
        return Err(
            "url: a query in the URL (give the provider's base, which it puts paths behind)".to_owned()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Result<Wish, String> {
        let section: ProviderSection =
            serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        section.resolve(&|name| (name == "MY_KEY").then(|| " k3y-of-mine\n".to_owned()))
    }

    #[test]
    fn every_provider_is_understood() {
        let file = |path: &str| Key::File(path.into());
        let kind = |text: &str| wish(text).expect(text).kind;
        assert_eq!(kind("{name: electricity_maps, token_file: /k}"), Kind::ElectricityMaps(file("/k")));
        let of_environment = kind("{name: eia, token_env: MY_KEY}");
        let Kind::Eia(Key::Environment { name, value }) = &of_environment else {
            panic!("{of_environment:?}")
        };
        assert_eq!((name.as_str(), value.reveal()), ("MY_KEY", "k3y-of-mine"));
        assert!(!format!("{of_environment:?}").contains("k3y"));
        assert_eq!(kind("{name: entsoe, token_file: /k, zone: FR}"), Kind::Entsoe(file("/k")));
        assert_eq!(kind("{name: gb, zone: GB-13}"), Kind::GreatBritain);
        assert_eq!((kind("{name: rte}"), kind("{name: energi_data}")), (Kind::Rte, Kind::EnergiData));
        assert_eq!(
            kind("{name: watttime, user: me, password_file: /p, signals: [marginal, average, marginal]}"),
            Kind::WattTime {
                user: "me".into(),
                password: file("/p"),
                signals: vec![Signal::Average, Signal::Marginal],
            }
        );
        assert_eq!(kind("{name: jouleprint, url: 'http://relay:14402'}"), Kind::Jouleprint(Door::default()));
        let let_in = "{name: jouleprint, url: 'https://relay', user: me, password_file: /p, ca_file: /c}";
        let Kind::Jouleprint(door) = kind(let_in) else { panic!("a relay") };
        assert_eq!((door.user, door.tls.ca), (Some(("me".to_owned(), file("/p"))), Some("/c".into())));
        let Kind::File { shape, .. } = kind("{name: file, path: /f.csv, basis: direct, slot: 30m}") else {
            panic!("a file");
        };
        assert_eq!((shape.value, shape.slot), (None, Some(Nanos::from_seconds(1_800))));
        let text = "{name: http_json, url: 'https://a/b?c=d', value: 'data[0].v', time: /t, unit: lb/MWh, \
                    basis: lifecycle, accounting: consumption, signal: marginal, interval: 10m, \
                    header_files: {X-Key: /k}, header_env: {Authorization: MY_KEY}}";
        let found = wish(text).expect("valid");
        assert!(!format!("{found:?}").contains("c=d"), "{found:?}");
        assert_eq!(found.interval, Some(Duration::from_secs(600)));
        let Kind::HttpJson { shape, headers } = found.kind else { panic!("http_json") };
        assert_eq!((shape.unit, shape.about.signal), (Unit::PoundsPerMegawattHour, Signal::Marginal));
        assert_eq!(
            headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["x-key", "authorization"]
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_repeated() {
        for (text, part) in [
            ("{name: emaps}", "\"emaps\" is no provider (name one of electricity_maps, "),
            ("{name: electricity_maps}", "token_file: it asks for a key"),
            ("{name: electricity_maps, token: s3cret}", "token does not stand here (put it into a file"),
            ("{name: watttime, user: me, password: s3cret}", "password does not stand here"),
            ("{name: http_json, headers: {a: s3cret}}", "headers does not stand here"),
            ("{name: electricity_maps, token_env: UNSET}", "the environment has no UNSET"),
            ("{name: electricity_maps, token_env: s3cret-with-dashes}", "no name of a variable"),
            ("{name: eia, token_file: /k, token_env: MY_KEY}", "there is a token_file too"),
            ("{name: gb, token_file: /k}", "gb has no token_file (it has url, zone, interval)"),
            ("{name: rte, basis: lifecycle}", "rte has no basis"),
            ("{name: rte, zoen: FR}", "zoen"),
            ("{name: rte, url: 'https://me:s3cret@a'}", "a user in the URL"),
            ("{name: rte, url: 'https://a?key=s3cret'}", "a query in the URL"),
            ("{name: rte, url: 'ftp://s3cret'}", "http://"),
            ("{name: rte, interval: 0s}", "interval"),
            ("{name: watttime, password_file: /p}", "name and password"),
            ("{name: watttime, user: 'a:s3cret', password_file: /p}", "name and password"),
            ("{name: watttime, user: me, password_file: /p, signals: []}", "signals"),
            ("{name: file, basis: direct}", "path: "),
            ("{name: file, path: /f}", "basis: it must be said"),
            ("{name: file, path: /f, basis: direct, unit: g/kWh}", "unit: a CSV table"),
            ("{name: file, path: /f, basis: direct, list: a}", "value: list and time"),
            ("{name: file, path: /f, basis: direct, slot: 7m}", "slot: it is no multiple of 5m"),
            ("{name: jouleprint}", "url: no relay is named"),
            ("{name: jouleprint, url: 'http://relay', user: me}", "go together"),
            ("{name: jouleprint, url: 'http://relay', password_file: /p}", "go together"),
            ("{name: http_json, value: a}", "url: no address"),
            ("{name: http_json, url: 'http://a'}", "value: it does not say"),
            ("{name: http_json, url: 'http://a', value: a, basis: direct}", "unit: it must be said"),
            ("{name: http_json, url: 'http://a', value: a, basis: direct, unit: g}", "\"g\" is no unit"),
            (
                "{name: http_json, url: 'http://a', value: 'a..b', basis: direct, unit: g/kWh}",
                "value: \"a..b\"",
            ),
            (
                "{name: http_json, url: 'http://a', value: a, basis: direct, unit: g/kWh, header_files: {'a b': /k}}",
                "no header has",
            ),
        ] {
            let error = wish(text).expect_err(text);
            assert!(error.contains(part) && !error.contains("s3cret"), "{text}: {error}");
        }
    }
}
