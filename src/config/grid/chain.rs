//! `grid.chain`: what is taken when no provider has a figure for the time in question.

use crate::carbon::chain::Limits;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChainSection {}

impl ChainSection {
    pub(super) fn resolve(self) -> Result<Limits, String> {
        Ok(Limits::default())
    }
}
