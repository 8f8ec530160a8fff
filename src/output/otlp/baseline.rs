//! How far each series has arrived, for pushes of differences: changed only by an acknowledgement, kept by
//! the store, so that neither a failed push nor a restart loses or repeats anything.

use crate::model::snapshot::Pushed;
use rustc_hash::FxHashMap;
use std::collections::HashSet;

/// What has arrived, by series.
#[derive(Debug, Default)]
pub struct Baselines(FxHashMap<u128, Pushed>);

impl Baselines {
    /// As the store has it.
    pub fn new(kept: Vec<Pushed>) -> Baselines {
        Baselines(kept.into_iter().map(|pushed| (pushed.series, pushed)).collect())
    }

    /// What has arrived of a series.
    pub fn get(&self, series: u128) -> Option<Pushed> {
        self.0.get(&series).copied()
    }

    /// A message was acknowledged.
    pub fn learn(&mut self, pushed: &[Pushed]) {
        self.0.extend(pushed.iter().map(|pushed| (pushed.series, *pushed)));
    }

    /// A whole push was acknowledged: what was not in it has ended.
    pub fn forget_all_but(&mut self, series: &HashSet<u128>) {
        self.0.retain(|key, _| series.contains(key));
    }

    /// All of it, for the store.
    pub fn all(&self) -> Vec<Pushed> {
        self.0.values().copied().collect()
    }
}
