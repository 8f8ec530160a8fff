//! Whether counters may go on from what the file holds. One that comes back lower than it was shown is
//! read as a reset by every scraper, which adds its whole past again: in doubt, counters begin at 0.

use super::Identity;
use super::head::Head;
use super::witness::Found;
use crate::model::time::Moment;

/// A boot that began up to this long after a clean stop is the one that followed it. After a longer gap
/// the file may be an older copy, or a boot may lie between in which nothing could be written.
const MAX_GAP_SECONDS: i64 = 3600;

/// The wall clock may have been set a little between the stop and the start.
const MAX_OVERLAP_SECONDS: i64 = 5;

/// What may be taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything.
    Continue,
    /// Totals; positions are of another boot.
    ContinueTotals,
    /// Nothing, for this reason.
    Anew(&'static str),
}

impl Verdict {
    /// How the start took up what it found, in words.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Verdict::Continue => "continued",
            Verdict::ContinueTotals => "continued after a reboot",
            Verdict::Anew(why) => why,
        }
    }
}

/// Judges the state under `head`, met by `identity` at `at`.
pub(super) fn judge(head: &Head, identity: &Identity, at: &Moment, witness: Found) -> Verdict {
    if head.state.is_none() {
        return Verdict::Anew("nothing had been committed: counters start at 0");
    }
    if head.machine != identity.machine {
        return Verdict::Anew("the store is of another machine: counters start at 0");
    }
    if head.host != identity.host {
        return Verdict::Anew("the host has another name: counters start at 0");
    }
    match witness {
        Found::ShownBeyond => {
            return Verdict::Anew("what was last shown was not durable: counters start at 0");
        }
        Found::Foreign => {
            return Verdict::Anew("the witness of what was shown is damaged: counters start at 0");
        }
        Found::Shown(generation) if generation > head.generation => {
            return Verdict::Anew("the store is an older copy: counters start at 0");
        }
        Found::Shown(_) | Found::Nothing => {}
    }
    let is_same_boot = !identity.boot.is_empty() && head.boot == identity.boot;
    match (is_same_boot, &head.clean, witness) {
        (true, None, Found::Nothing) => {
            Verdict::Anew("no witness of what was last shown: counters start at 0")
        }
        (true, _, _) => Verdict::Continue,
        (false, None, _) => Verdict::Anew("another boot without a clean stop: counters start at 0"),
        (false, Some(stop), _) => {
            let began = seconds(at.wall.get()) - seconds(at.boottime.get());
            let gap = began - seconds(stop.wall.get());
            if (-MAX_OVERLAP_SECONDS..=MAX_GAP_SECONDS).contains(&gap) {
                return Verdict::ContinueTotals;
            }
            Verdict::Anew("the clean stop was not just before this boot: counters start at 0")
        }
    }
}

fn seconds(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX)
}
