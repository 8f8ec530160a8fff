//! The section `grid`: where the machine is looked for, who says what its electricity emits, and what is
//! taken when nobody does.

mod chain;
mod location;
mod providers;

use crate::carbon::Wishes;
use chain::ChainSection;
use location::LocationSection;
use providers::ProviderSection;
use serde::Deserialize;

/// `grid: {location: …, providers: […], chain: …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GridSection {
    location: LocationSection,
    providers: Vec<ProviderSection>,
    chain: ChainSection,
}

impl GridSection {
    /// What is wanted, checked.
    pub(super) fn resolve(self) -> Result<Wishes, String> {
        let mut providers = Vec::with_capacity(self.providers.len());
        for (place, section) in self.providers.into_iter().enumerate() {
            providers.push(
                section
                    .resolve(&super::otlp::of_the_process)
                    .map_err(|error| format!("grid.providers[{place}]: {error}"))?,
            );
        }
        Ok(Wishes { location: self.location.resolve()?, providers, chain: self.chain.resolve()? })
    }
}
