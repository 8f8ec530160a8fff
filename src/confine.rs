//! Gives up what is no longer needed once everything is open: all capabilities but the one to read, and
//! all rights to change files. It must happen before the first thread starts: a thread that runs already
//! keeps what it has.

use landlock::{ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What could be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// No capability but CAP_DAC_READ_SEARCH is left.
    pub capabilities: bool,
    /// No file can be written, made or removed; the kernel may be too old for it.
    pub files: bool,
}

/// Gives up what can be given up.
#[must_use]
pub fn confine() -> Confinement {
    Confinement { capabilities: drop_capabilities(), files: forbid_writing() }
}

fn drop_capabilities() -> bool {
    let Ok(now) = capabilities(None) else { return false };
    // `energy_uj` is for its owner's eyes only; everything else can be read by anybody.
    let kept = now.permitted & CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).is_ok()
}

fn forbid_writing() -> bool {
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_write(ABI::V5))
        .and_then(|ruleset| ruleset.create())
        .and_then(|created| created.no_new_privs(true).restrict_self());
    restricted.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}
