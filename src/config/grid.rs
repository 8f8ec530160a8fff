//! The section `grid`: where the machine is looked for, who says what its electricity emits, and what is
//! taken when nobody does; and what a relay serves.

mod chain;
mod location;
mod providers;
mod relay;

use crate::carbon::Wishes;
use crate::model::grid::Basis;
use chain::ChainSection;
use location::LocationSection;
use providers::ProviderSection;
pub use relay::Relay;
use relay::RelaySection;
use serde::Deserialize;

/// `grid: {location: …, providers: […], chain: …, relay: …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GridSection {
    location: LocationSection,
    providers: Vec<ProviderSection>,
    chain: ChainSection,
    relay: RelaySection,
}

impl GridSection {
    /// What is wanted, checked. A provider that has both kinds of figures is asked for those of `basis`, unless
    /// it is told otherwise.
    pub(super) fn resolve(self, basis: Option<Basis>) -> Result<(Wishes, Relay), String> {
        let mut providers = Vec::with_capacity(self.providers.len());
        for (place, section) in self.providers.into_iter().enumerate() {
            let mut wish = section
                .resolve(&super::otlp::of_the_process)
                .map_err(|error| format!("grid.providers[{place}]: {error}"))?;
            wish.basis = wish.basis.or(basis);
            providers.push(wish);
        }
        let wishes = Wishes { location: self.location.resolve()?, providers, chain: self.chain.resolve()? };
        Ok((wishes, self.relay.resolve()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wanted_basis_is_asked_for_unless_a_provider_is_told_otherwise() {
        let text = "providers:\n- {name: electricity_maps, token_file: /k}\n\
                    - {name: entsoe, token_file: /k, basis: lifecycle}\n";
        for (wanted, expected) in [
            (None, [None, Some(Basis::Lifecycle)]),
            (Some(Basis::Direct), [Some(Basis::Direct), Some(Basis::Lifecycle)]),
        ] {
            let section: GridSection = serde_saphyr::from_str(text).expect("valid");
            let (wishes, _) = section.resolve(wanted).expect("valid");
            assert_eq!(wishes.providers.iter().map(|wish| wish.basis).collect::<Vec<_>>(), expected);
        }
        let section: GridSection =
            serde_saphyr::from_str("providers: [{name: rte}, {name: rta}]").expect("valid");
        let error = section.resolve(None).expect_err("no provider");
        assert!(error.starts_with("grid.providers[1]: \"rta\" is no provider"), "{error}");
    }
}
