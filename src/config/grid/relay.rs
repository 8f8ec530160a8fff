//! `grid.relay`: what `jouleprint grid` serves to a fleet.

use crate::carbon::{Choice, resolve};
use crate::model::quantity::Pue;
use serde::Deserialize;

/// 44.02: beside the exporter.
const DEFAULT_ADDRESS: &str = ":14402";

/// Each zone is one more question to every provider, a cadence.
const MAX_ZONES: usize = 64;

/// What a relay serves, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The zones that nodes may ask for; no others are asked of a provider.
    pub zones: Vec<String>,
    /// Where it listens, unless a flag says otherwise.
    pub listen: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RelaySection {
    zones: Vec<String>,
    listen_addresses: Option<Vec<String>>,
}

impl RelaySection {
    pub(super) fn resolve(self) -> Result<Relay, String> {
        if self.zones.len() > MAX_ZONES {
            return Err(format!("grid.relay.zones: {} zones are more than {MAX_ZONES}", self.zones.len()));
        }
        let mut zones: Vec<String> = Vec::new();
        for zone in self.zones {
            let found = resolve(&Choice::Zone { zone, basis: None }, Pue::ONE);
            let zone = found.map_err(|error| format!("grid.relay.zones: {error}"))?.zone.to_string();
            if zones.contains(&zone) {
                return Err(format!("grid.relay.zones: {zone} stands there twice"));
            }
            zones.push(zone);
        }
        let listen = self.listen_addresses.unwrap_or_else(|| vec![DEFAULT_ADDRESS.to_owned()]);
        Ok(Relay { zones, listen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(text: &str) -> Result<Relay, String> {
        let section: RelaySection =
            serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
        section.resolve()
    }

    #[test]
    fn zones_are_those_of_the_table_each_once() {
        let usual = relay("zones: [fr, NO]").expect("valid");
        assert_eq!((usual.zones, usual.listen), (vec!["FR".into(), "NO".into()], vec![":14402".into()]));
        assert_eq!(relay("{}").expect("valid").zones, Vec::<String>::new());
        for (text, part) in [
            ("zones: [FR, fr]", "FR stands there twice"),
            ("zones: [Frnce]", "did you mean FR (France)?"),
            ("zone: FR", "zone"),
        ] {
            let error = relay(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        let many: Vec<String> = (0..65).map(|_| "FR".to_owned()).collect();
        assert!(
            relay(&format!("zones: [{}]", many.join(", "))).is_err_and(|error| error.contains("65 zones"))
        );
    }
}
