//! The sections `ipmi` and `redfish`: which BMC is asked, and as whom. Passwords stand in files of their
//! own and are read when they are needed, never here.

use super::Seconds;
use crate::model::quantity::Nanos;
use crate::source::ipmi::lan::Lan;
use crate::source::ipmi::rakp::{MAX_USER, Privilege};
use crate::source::redfish::session::{Auth, Service};
use crate::source::{ipmi, redfish};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;

/// Where the kernel puts the device.
const DEVICES: &str = "/dev";

/// IPMI's own port.
const IPMI_PORT: u16 = 623;

/// `ipmi: auto`, `ipmi: off` or `ipmi: {lan: …}`.
#[derive(Debug, Clone)]
pub(super) struct IpmiSection(pub(super) ipmi::Wish);

impl Default for IpmiSection {
    fn default() -> IpmiSection {
        IpmiSection(ipmi::Wish::Automatic(DEVICES.into()))
    }
}

impl<'de> Deserialize<'de> for IpmiSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IpmiVisitor).map(IpmiSection)
    }
}

struct IpmiVisitor;

impl<'de> Visitor<'de> for IpmiVisitor {
    type Value = ipmi::Wish;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("auto, off, or {lan: {address, user, password_file}}")
    }

    // To YAML 1.1 `off` is a boolean, to 1.2 a word.
    fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<ipmi::Wish, E> {
        self.visit_str(if is_on { "auto" } else { "off" })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ipmi::Wish, E> {
        match text {
            "auto" => Ok(IpmiSection::default().0),
            "off" => Ok(ipmi::Wish::Off),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ipmi::Wish, A::Error> {
        let section = IpmiMap::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let LanSection { address, user, password_file, privilege } = section.lan;
        if user.is_empty() || user.len() > MAX_USER {
            return Err(de::Error::custom(format!("ipmi.lan.user: {user:?} has not 1 to {MAX_USER} bytes")));
        }
        // An IPv6 address has colons of its own and stands in brackets.
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        });
        let address = if has_port { address } else { format!("{address}:{IPMI_PORT}") };
        let privilege = privilege.unwrap_or(Privilege::User);
        Ok(ipmi::Wish::Lan(Lan { address, user, password_file, privilege }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IpmiMap {
    lan: LanSection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LanSection {
    address: String,
    user: String,
    password_file: PathBuf,
    privilege: Option<Privilege>,
}

/// `redfish: {url: …}`.
#[derive(Debug, Clone)]
pub(super) struct RedfishSection(pub(super) redfish::Wish);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedfishMap {
    url: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    chassis: Vec<String>,
    ca_file: Option<PathBuf>,
    auth: Option<Auth>,
    period: Option<Seconds>,
}

impl<'de> Deserialize<'de> for RedfishSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let section = RedfishMap::deserialize(deserializer)?;
        let wrong = |text: String| Err(de::Error::custom(format!("redfish.{text}")));
        let has_user = section.user.is_some();
        let base = match redfish::session::base(&section.url, has_user) {
            Ok(base) => base,
            Err(message) => return wrong(format!("url: {message}")),
        };
        if has_user != section.password_file.is_some() {
            return wrong("user and redfish.password_file go together".to_owned());
        }
        let period = section.period.map_or(*redfish::PERIODS.start(), |period| period.0);
        if !redfish::PERIODS.contains(&period) {
            return wrong(format!("period: {period}s is outside 10s to 60s"));
        }
        Ok(RedfishSection(redfish::Wish {
            service: Service {
                base,
                user: section.user,
                password_file: section.password_file,
                ca_file: section.ca_file,
                auth: section.auth.unwrap_or(Auth::Session),
            },
            chassis: section.chassis,
            period: Nanos::from_seconds(period),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipmi(text: &str) -> Result<ipmi::Wish, String> {
        serde_saphyr::from_str::<IpmiSection>(text)
            .map(|section| section.0)
            .map_err(|error| error.to_string())
    }

    fn redfish(text: &str) -> Result<redfish::Wish, String> {
        serde_saphyr::from_str::<RedfishSection>(text)
            .map(|section| section.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_bmc_by_ipmi_is_found_named_or_left_alone() {
        assert_eq!(ipmi("off"), Ok(ipmi::Wish::Off));
        assert_eq!(ipmi("false"), Ok(ipmi::Wish::Off));
        assert_eq!(ipmi("auto"), Ok(ipmi::Wish::Automatic("/dev".into())));
        for (address, expected) in [
            ("bmc17", "bmc17:623"),
            ("10.0.0.7:1623", "10.0.0.7:1623"),
            ("'[fe80::1]'", "[fe80::1]:623"),
            ("'[fe80::1]:624'", "[fe80::1]:624"),
        ] {
            let text = format!("lan: {{address: {address}, user: power, password_file: /etc/secret}}");
            let Ok(ipmi::Wish::Lan(lan)) = ipmi(&text) else { panic!("{text}: {:?}", ipmi(&text)) };
            assert_eq!((lan.address.as_str(), lan.privilege), (expected, Privilege::User));
        }
        for (text, part) in [
            ("maybe", "auto, off"),
            ("lan: {address: x, user: y}", "password_file"),
            ("lan: {address: x, user: y, password: z}", "password"),
            ("lan: {address: x, user: longer-than-16-bytes, password_file: z}", "16 bytes"),
            ("lan: {address: x, user: y, password_file: z, privilege: root}", "privilege"),
        ] {
            let error = ipmi(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_bmc_by_redfish_is_named_whole() {
        let wish =
            redfish("{url: 'https://bmc17/', user: power, password_file: /etc/secret}").expect("valid");
        assert_eq!((wish.service.base.as_str(), wish.service.auth), ("https://bmc17", Auth::Session));
        assert_eq!((wish.period, wish.chassis.len()), (Nanos::from_seconds(10), 0));
        assert_eq!(
            redfish("{url: 'http://127.0.0.1:8000'}").expect("valid").service.base,
            "http://127.0.0.1:8000"
        );
        for (text, part) in [
            ("{url: bmc17}", "https://"),
            ("{url: 'https://me:secret@bmc17'}", "redfish.user"),
            ("{url: 'https://bmc17/redfish/v1/Chassis/1'}", "without a path"),
            ("{url: 'http://bmc17', user: power, password_file: x}", "clear"),
            ("{url: 'https://bmc17', user: power}", "go together"),
            ("{url: 'https://bmc17', period: 1s}", "outside 10s to 60s"),
            ("{url: 'https://bmc17', insecure: true}", "insecure"),
            ("{user: power}", "url"),
        ] {
            let error = redfish(text).expect_err(text);
            assert!(error.contains(part) && !error.contains("secret@"), "{text}: {error}");
        }
    }
}
