//! Gives up what is no longer needed once everything is open: all capabilities but the one to read, and
//! all rights to change files but the store's. It must happen before the first thread starts: a thread that
//! runs already keeps what it has. The two that do give up their own share by themselves: the one that reads
//! environments (`job::names::environment`), and the one that opens NVIDIA's library (`source::nvml`), with
//! all that descend from it.

use landlock::{ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::path::Path;

/// Where device files are.
const DEVICES: &str = "/dev";

/// What could be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// No capability but CAP_DAC_READ_SEARCH is left.
    pub capabilities: bool,
    /// No file elsewhere can be written, made or removed; the kernel may be too old for it.
    pub files: bool,
}

/// Gives up what can be given up; `folders` can be written as before.
#[must_use]
pub fn confine(folders: &[&Path]) -> Confinement {
    Confinement { capabilities: drop_capabilities(), files: forbid_writing(folders) }
}

/// Gives up everything but to write device files, for this thread and those that it starts.
pub fn confine_to_devices() {
    let _ = drop_capabilities();
    let _ = forbid_writing(&[Path::new(DEVICES)]);
}

fn drop_capabilities() -> bool {
    let Ok(now) = capabilities(None) else { return false };
    // `energy_uj` is for its owner's eyes only; everything else can be read by anybody.
    let kept = now.permitted & CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).is_ok()
}

fn forbid_writing(folders: &[&Path]) -> bool {
    let writing = AccessFs::from_write(ABI::V5);
    let restricted = Ruleset::default()
        .handle_access(writing)
        .and_then(|ruleset| ruleset.create())
        .and_then(|created| created.add_rules(path_beneath_rules(folders, writing)))
        .and_then(|created| created.no_new_privs(true).restrict_self());
    restricted.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}
