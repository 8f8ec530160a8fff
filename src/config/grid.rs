//! The section `grid`: where the machine is looked for, who says what its electricity emits, and what is
//! taken when nobody does; and what a relay serves.

mod chain;
mod location;
mod providers;
mod relay;

use crate::carbon::Wishes;
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
    /// What is wanted, checked.
    pub(super) fn resolve(self) -> Result<(Wishes, Relay), String> {
        let mut providers = Vec::with_capacity(self.providers.len());
        for (place, section) in self.providers.into_iter().enumerate() {
            providers.push(
                section
                    .resolve(&super::otlp::of_the_process)
                    .map_err(|error| format!("grid.providers[{place}]: {error}"))?,
            );
        }
        let wishes = Wishes { location: self.location.resolve()?, providers, chain: self.chain.resolve()? };
        Ok((wishes, self.relay.resolve()?))
    }
}
