//! `{name: jouleprint, url: http://relay:14402}`: a relay of ours.

use crate::carbon::provider::jouleprint::{CADENCE, Door};
use crate::carbon::provider::{Key, Kind, Wish};
use crate::config::Seconds;
use crate::http_client::{TlsFiles, url};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config::grid) struct JouleprintSection {
    url: String,
    zone: Option<String>,
    interval: Option<Seconds>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl JouleprintSection {
    pub(in crate::config::grid) fn resolve(self) -> Result<Wish, String> {
        let relay = url(&self.url).map_err(|error| format!("url: {error}"))?;
        if relay.query().is_some() || relay.authority().is_some_and(|place| place.as_str().contains('@')) {
            return Err(
                "url: it has a user or a query (write http://relay:14402, and set user and password_file)"
                    .to_owned(),
            );
        }
        let user = match (self.user, self.password_file) {
            (Some(user), Some(file)) => Some((user, Key::File(file))),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err("user and password_file go together".to_owned());
            }
        };
        let tls = TlsFiles { ca: self.ca_file, certificate: self.certificate_file, key: self.key_file };
        Ok(Wish {
            kind: Kind::Jouleprint(Door { user, tls }),
            zone: self.zone,
            basis: None,
            url: Some(self.url),
            interval: Some(self.interval.map_or(CADENCE, |Seconds(seconds)| Duration::from_secs(seconds))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Result<Wish, String> {
        let section: JouleprintSection =
            serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        section.resolve()
    }

    #[test]
    fn a_relay_is_a_url_and_how_to_be_let_in() {
        let plain = wish("url: http://relay:14402").expect("valid");
        assert_eq!(plain.kind, Kind::Jouleprint(Door::default()));
        let all = "{url: 'https://relay', user: me, password_file: /p, ca_file: /c, interval: 2m, zone: FR}";
        let all = wish(all).expect("valid");
        let Kind::Jouleprint(door) = all.kind;
        assert_eq!(door.user, Some(("me".to_owned(), Key::File("/p".into()))));
        assert_eq!((door.tls.ca, all.interval), (Some("/c".into()), Some(Duration::from_secs(120))));
        for (text, part) in [
            ("{url: relay:14402}", "url: "),
            ("{url: 'http://me:secret@relay'}", "password_file"),
            ("{url: 'http://relay?zone=FR'}", "it has a user or a query"),
            ("{url: 'http://relay', user: me}", "go together"),
            ("{url: 'http://relay', token: x}", "token"),
            ("{zone: FR}", "url"),
        ] {
            let error = wish(text).expect_err(text);
            assert!(error.contains(part) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
