//! A root stands around other meters: a BMC around processors and memory. The host's total follows the
//! root; what it draws beyond its parts is a leaf like them. The parts are read at another moment than
//! the root, which may be slow or coarse: what they are ahead of it is carried until it has caught up,
//! and while it is silent the host draws what its parts draw. Nothing is counted twice or taken back.

use crate::model::checkpoint::RootPosition;
use crate::model::quantity::{Energy, Nanos};
use crate::model::snapshot::RootTotals;

/// A root that has been silent for so long may not come back: its parts stand for it.
const LONGEST_SILENCE: Nanos = Nanos::from_seconds(60);

/// A root that has shown less than its parts for so long is not around them.
const LONGEST_LAG: Nanos = Nanos::from_seconds(600);

/// What became of a root's reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Energy since the last good reading.
    Energy(Energy),
    /// The same, and the reading before was a glitch: it is the energy of that interval too.
    Recovered(Energy),
    /// A first reading, or one after which the energy before it will not come.
    Nothing,
    /// A reading that was not believed; if it was a glitch the next one makes up for it.
    Doubted,
    /// No reading.
    Silent,
}

/// What follows from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rest {
    /// Drawn beyond the parts.
    pub energy: Energy,
    /// What the parts were ahead and the root has never shown: it is no root of theirs.
    pub disbelieved: Energy,
}

/// How a root stands with its parts.
#[derive(Debug, Clone, Default)]
pub struct Root {
    position: RootPosition,
}

impl Root {
    /// Goes on from where an earlier process stopped. What the parts were ahead is kept only if the root's
    /// readings go on too.
    pub fn resume(&mut self, position: RootPosition, totals: &mut RootTotals) {
        if position.read.is_none() {
            totals.ahead = Energy::ZERO;
        }
        self.position = position;
    }

    /// Where it stands.
    #[must_use]
    pub const fn position(&self) -> RootPosition {
        self.position
    }

    /// Takes in one tick: what the parts drew in it, and what the root shows.
    pub fn step(&mut self, now: Nanos, parts: Energy, shown: Shown, totals: &mut RootTotals) -> Rest {
        let position = &mut self.position;
        totals.ahead += parts;
        position.since += parts;
        let energy = match shown {
            Shown::Energy(energy) => {
                position.doubted = Energy::ZERO;
                energy
            }
            Shown::Recovered(energy) => {
                position.advanced += std::mem::take(&mut position.doubted);
                energy
            }
            Shown::Nothing => {
                // Neither what it owed nor what it would have paid with will ever be known.
                self.credit(totals);
                totals.ahead = Energy::ZERO;
                self.position.behind = None;
                self.position.advanced = Energy::ZERO;
                self.position.doubted = Energy::ZERO;
                self.position.read = Some(now);
                return Rest::default();
            }
            Shown::Doubted => {
                self.credit(totals);
                self.position.doubted = std::mem::take(&mut self.position.advanced);
                self.position.read = Some(now);
                return Rest::default();
            }
            Shown::Silent => {
                let silent = position.read.map(|read| now.saturating_sub(read));
                if silent.is_none_or(|silent| silent > LONGEST_SILENCE) {
                    position.behind = None;
                    self.credit(totals);
                }
                return Rest::default();
            }
        };
        position.read = Some(now);
        position.since = Energy::ZERO;
        // The host has been credited with a part of it already.
        let known = position.advanced.min(energy);
        position.advanced = less(position.advanced, known);
        let new = less(energy, known);
        let rest = less(new, totals.ahead);
        totals.ahead = less(totals.ahead, new);
        Rest { energy: rest, disbelieved: self.lag(now, totals) }
    }

    /// The host drew at least what its parts did.
    fn credit(&mut self, totals: &mut RootTotals) {
        let since = std::mem::take(&mut self.position.since);
        totals.ahead = less(totals.ahead, since);
        self.position.advanced += since;
    }

    fn lag(&mut self, now: Nanos, totals: &mut RootTotals) -> Energy {
        if totals.ahead == Energy::ZERO {
            self.position.behind = None;
            return Energy::ZERO;
        }
        let since = *self.position.behind.get_or_insert(now);
        if now.saturating_sub(since) <= LONGEST_LAG {
            return Energy::ZERO;
        }
        self.position.behind = Some(now);
        std::mem::take(&mut totals.ahead)
    }
}

fn less(from: Energy, what: Energy) -> Energy {
    from.checked_sub(what).unwrap_or(Energy::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn joules(count: u64) -> Energy {
        Energy::from_micro(count * 1_000_000)
    }

    /// Ticks of 5 s: what the parts drew and what the root shows; gives the rests and what is carried.
    fn run(ticks: &[(u64, Shown)]) -> Vec<(u64, u64)> {
        let mut root = Root::default();
        let mut totals = RootTotals::default();
        let first = root.step(Nanos::ZERO, Energy::ZERO, Shown::Nothing, &mut totals);
        assert_eq!(first, Rest::default());
        (1..)
            .zip(ticks)
            .map(|(tick, (parts, shown))| {
                let rest = root.step(Nanos::new(tick * 5 * SECOND), joules(*parts), *shown, &mut totals);
                (rest.energy.as_micro() / 1_000_000, totals.ahead.as_micro() / 1_000_000)
            })
            .collect()
    }

    fn shows(count: u64) -> Shown {
        Shown::Energy(joules(count))
    }

    #[test]
    fn what_a_root_draws_beyond_its_parts_is_the_rest() {
        assert_eq!(run(&[(50, shows(80)), (50, shows(50)), (0, shows(30))]), [(30, 0), (0, 0), (30, 0)]);
    }

    #[test]
    fn a_root_that_lags_owes_its_parts_and_pays_them_back() {
        // A step of load, seen by the parts at once and by the BMC a tick later.
        let seen = run(&[(50, shows(80)), (150, shows(80)), (150, shows(180)), (50, shows(180))]);
        assert_eq!(seen, [(30, 0), (0, 70), (0, 40), (90, 0)]);
        let rests: u64 = seen.iter().map(|(rest, _)| rest).sum();
        assert_eq!(rests, 80 + 80 + 180 + 180 - 400, "over all it is exact");
    }

    #[test]
    fn a_slow_root_is_compared_over_its_own_interval() {
        let seen = run(&[(50, Shown::Silent), (50, Shown::Silent), (50, shows(240))]);
        assert_eq!(seen, [(0, 50), (0, 100), (90, 0)]);
    }

    #[test]
    fn while_a_root_is_silent_for_long_its_parts_stand_for_it_and_nothing_counts_twice() {
        let mut ticks = vec![(50, Shown::Silent); 14];
        ticks.push((50, shows(15 * 80)));
        ticks.push((50, shows(80)));
        let seen = run(&ticks);
        assert_eq!(seen[11], (0, 600), "60 s: it may come back");
        assert_eq!(seen[12], (0, 0), "it may not");
        assert_eq!(seen[14], (15 * 30, 0), "a counter comes back with all of it");
        assert_eq!(seen[15], (30, 0));
        // A power meter comes back without the energy of the gap.
        let mut ticks = vec![(50, Shown::Silent); 14];
        ticks.extend([(50, Shown::Nothing), (50, shows(80))]);
        assert_eq!(run(&ticks)[14..], [(0, 0), (30, 0)]);
    }

    #[test]
    fn a_glitch_is_made_up_for_and_a_reset_is_not() {
        let glitch = Shown::Recovered(joules(160));
        assert_eq!(run(&[(50, Shown::Doubted), (50, glitch), (50, shows(80))]), [(0, 0), (60, 0), (30, 0)]);
        assert_eq!(run(&[(50, Shown::Doubted), (50, shows(80))]), [(0, 0), (30, 0)]);
    }

    #[test]
    fn a_meter_that_shows_less_than_its_parts_for_ten_minutes_is_no_root() {
        let mut root = Root::default();
        let mut totals = RootTotals::default();
        root.step(Nanos::ZERO, Energy::ZERO, Shown::Nothing, &mut totals);
        let mut disbelieved = Vec::new();
        for tick in 1..=245 {
            let rest = root.step(Nanos::new(tick * 5 * SECOND), joules(100), shows(40), &mut totals);
            assert_eq!(rest.energy, Energy::ZERO);
            if rest.disbelieved > Energy::ZERO {
                disbelieved.push((tick, rest.disbelieved));
            }
        }
        assert_eq!(disbelieved, [(122, joules(122 * 60)), (243, joules(121 * 60))]);
    }

    #[test]
    fn a_gap_makes_no_debt_older_and_none_outlives_it() {
        let mut root = Root::default();
        let mut totals = RootTotals::default();
        root.step(Nanos::ZERO, Energy::ZERO, Shown::Nothing, &mut totals);
        root.step(Nanos::new(5 * SECOND), joules(150), shows(80), &mut totals);
        assert_eq!(totals.ahead, joules(70));
        root.step(Nanos::new(660 * SECOND), Energy::ZERO, Shown::Nothing, &mut totals);
        assert_eq!(totals.ahead, Energy::ZERO);
        let rest = root.step(Nanos::new(665 * SECOND), joules(100), shows(80), &mut totals);
        assert_eq!((rest, totals.ahead), (Rest::default(), joules(20)), "it is behind since now");
    }

    #[test]
    fn another_boot_owes_nothing() {
        let mut totals = RootTotals { ahead: joules(7), ..RootTotals::default() };
        let mut root = Root::default();
        root.resume(RootPosition { read: Some(Nanos::new(5)), ..RootPosition::default() }, &mut totals);
        assert_eq!(totals.ahead, joules(7));
        root.resume(RootPosition::default(), &mut totals);
        assert_eq!(totals.ahead, Energy::ZERO);
    }
}
