//! `grid.providers`: who is asked for intensities, the first that answers before the others.

use crate::carbon::provider::Wish;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderSection {}

impl ProviderSection {
    pub(super) fn resolve(self) -> Result<Wish, String> {
        Ok(Wish {})
    }
}
