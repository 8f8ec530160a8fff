//! `grid.location`: who may be asked where the machine is.

use crate::carbon::location::Wish;
use crate::carbon::location::labels::Labels;
use crate::carbon::regions;
use crate::http_client;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::path::PathBuf;

/// What the manifests set from the node's labels, by the downward API.
const REGION: &str = "NODE_REGION";
const ZONE: &str = "NODE_ZONE";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LocationSection {
    metadata: Switch,
    provider: Option<String>,
    labels_file: Option<PathBuf>,
    ip: Option<Address>,
    pue: Switch,
}

/// Whether something is done by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Switch {
    #[default]
    Auto,
    Off,
}

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Switch, D::Error> {
        // To YAML 1.1 `off` is a boolean, to 1.2 a word.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Switch(bool),
            Text(String),
        }
        match Word::deserialize(deserializer)? {
            Word::Switch(true) => Ok(Switch::Auto),
            Word::Switch(false) => Ok(Switch::Off),
            Word::Text(text) if text == "auto" => Ok(Switch::Auto),
            Word::Text(text) if text == "off" => Ok(Switch::Off),
            Word::Text(text) => Err(D::Error::custom(format!("{text:?} is neither auto nor off"))),
        }
    }
}

/// `off`, or who is asked.
#[derive(Debug)]
struct Address(Option<String>);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Switch(bool),
            Text(String),
        }
        match Word::deserialize(deserializer)? {
            Word::Switch(false) => Ok(Address(None)),
            Word::Text(text) if text == "off" => Ok(Address(None)),
            Word::Text(text) => Ok(Address(Some(text))),
            // There is nobody that is asked by itself.
            Word::Switch(true) => Ok(Address(Some("on".to_owned()))),
        }
    }
}

impl LocationSection {
    pub(super) fn resolve(self) -> Result<Wish, String> {
        self.resolve_with(|name| std::env::var(name).ok())
    }

    fn resolve_with(self, environment: impl Fn(&str) -> Option<String>) -> Result<Wish, String> {
        let label =
            |name| environment(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let cloud = match self.provider {
            Some(text) => Some(regions::cloud(&text).ok_or_else(|| {
                format!("grid.location.provider: {text:?} is none of {}", regions::clouds().join(", "))
            })?),
            None => None,
        };
        let address = self.ip.and_then(|address| address.0);
        if let Some(url) = &address {
            http_client::url(url).map_err(|error| format!("grid.location.ip: {error}"))?;
        }
        Ok(Wish {
            metadata: self.metadata == Switch::Auto,
            cloud,
            labels: Labels { region: label(REGION), zone: label(ZONE) },
            labels_file: self.labels_file.filter(|path| !path.as_os_str().is_empty()),
            address,
            pue: self.pue == Switch::Auto,
            ..Wish::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Result<Wish, String> {
        let section: LocationSection =
            serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        section.resolve_with(|name| (name == REGION).then(|| " eu-west-3 ".to_owned()))
    }

    #[test]
    fn who_may_be_asked() {
        let wish_of = |text| wish(text).expect("valid");
        let plain = wish_of("{}");
        assert!(plain.metadata && plain.pue && plain.address.is_none(), "{plain:?}");
        assert_eq!((plain.labels.region.as_deref(), plain.labels.zone), (Some("eu-west-3"), None));
        let off = wish_of("{metadata: off, pue: off, ip: off}");
        assert!(!off.metadata && !off.pue && off.address.is_none(), "{off:?}");
        let all = wish_of("{provider: Google, labels_file: /etc/podinfo/labels, ip: 'https://x.example/ip'}");
        assert_eq!(all.cloud.as_deref(), Some("gcp"));
        assert_eq!(all.address.as_deref(), Some("https://x.example/ip"));
        for (text, part) in [
            ("{metadata: never}", "\"never\" is neither auto nor off"),
            ("{provider: nimbus}", "\"nimbus\" is none of alibaba_cloud, aws"),
            ("{ip: x.example}", "grid.location.ip: "),
            ("{ip: on}", "grid.location.ip: "),
            ("{where: here}", "where"),
        ] {
            let error = wish(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
