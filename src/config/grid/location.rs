//! `grid.location`: who may be asked where the machine is.

use crate::carbon::location::Wish;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LocationSection {}

impl LocationSection {
    pub(super) fn resolve(self) -> Result<Wish, String> {
        Ok(Wish::default())
    }
}
