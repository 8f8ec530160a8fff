//! Which processes are jobs: the busiest of the last minutes, with a lead that who has a place keeps it by.

use std::cmp::Reverse;

/// A unit of work is this much weight when it is new; each tick a sixteenth of all weight is lost. At a tick
/// of 5 s half of it is gone after 55 s.
const UNIT: u64 = 1 << 10;
const LOSS: u64 = 16;

/// Who wants another's place must be this many times as busy, so that two of a kind do not take turns.
const LEAD: u64 = 2;

/// Looks that a process must have lived through before it can be a job: a thousand short ones in a row would
/// make a thousand series.
const NOVICE: u8 = 2;

/// In 1/100 s: as much as a first weight is worked out for.
const NOMINAL_TICK: u64 = 500;

/// How busy a process has been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    recent: u64,
    looks: u8,
}

impl Weight {
    /// Of a process that was there before us: as if it had always worked as much as over its whole life.
    #[must_use]
    pub fn over_life(own: u64, age: u64) -> Weight {
        let per_tick = u128::from(own) * u128::from(NOMINAL_TICK * UNIT * LOSS) / u128::from(age.max(1));
        Weight { recent: u64::try_from(per_tick).unwrap_or(u64::MAX), looks: NOVICE }
    }

    /// One look, and what was used since the last.
    pub fn add(&mut self, used: u64) {
        let kept = self.recent - self.recent.div_ceil(LOSS);
        self.recent = kept.saturating_add(used.saturating_mul(UNIT));
        self.looks = self.looks.saturating_add(1);
    }
}

/// Who gets a place, and who loses it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// In order of their weight.
    pub enter: Vec<u32>,
    /// The same.
    pub leave: Vec<u32>,
}

/// Fills `top` places. Of each process its number, its weight and whether it has a place.
#[must_use]
pub fn choose(processes: Vec<(u32, Weight, bool)>, top: usize) -> Change {
    let mut holders = Vec::new();
    let mut others = Vec::new();
    for (pid, weight, has_place) in processes {
        if has_place {
            holders.push((Reverse(weight.recent), pid));
        } else if weight.recent > 0 && weight.looks > NOVICE {
            others.push((Reverse(weight.recent), pid));
        }
    }
    // No more than these can get one.
    if others.len() > top {
        others.select_nth_unstable(top);
        others.truncate(top);
    }
    others.sort_unstable();
    holders.sort_unstable();
    let pids = |all: &[(Reverse<u64>, u32)]| all.iter().map(|(_, pid)| *pid).collect::<Vec<u32>>();
    // The bound was lowered.
    let mut leave = pids(&holders[top.min(holders.len())..]);
    holders.truncate(top);
    let free = (top - holders.len()).min(others.len());
    let mut enter = pids(&others[..free]);
    for ((wants, pid), (has, holder)) in others[free..].iter().zip(holders.iter().rev()) {
        if wants.0 <= has.0.saturating_mul(LEAD) {
            break;
        }
        enter.push(*pid);
        leave.push(*holder);
    }
    Change { enter, leave }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weight(recent: u64) -> Weight {
        Weight { recent, looks: 9 }
    }

    #[test]
    fn places_go_to_the_busiest_and_are_kept_by_a_lead() {
        for (processes, top, enter, leave) in [
            (
                vec![(1, weight(5), false), (2, weight(7), false), (3, weight(0), false)],
                3,
                vec![2, 1],
                vec![],
            ),
            (vec![(1, weight(5), false), (2, weight(5), false)], 1, vec![1], vec![]),
            // Twice as busy is not enough, more than that is.
            (vec![(1, weight(5), true), (2, weight(10), false)], 1, vec![], vec![]),
            (vec![(1, weight(5), true), (2, weight(11), false)], 1, vec![2], vec![1]),
            (vec![(1, weight(0), true), (2, weight(1), false)], 1, vec![2], vec![1]),
            // The bound was lowered: the weakest go.
            (vec![(1, weight(5), true), (2, weight(3), true), (3, weight(9), true)], 1, vec![], vec![1, 2]),
            (vec![(1, weight(5), true)], 0, vec![], vec![1]),
            // Too young.
            (vec![(1, Weight { recent: 9, looks: 2 }, false)], 1, vec![], vec![]),
        ] {
            let shown = format!("{processes:?}");
            assert_eq!(choose(processes, top), Change { enter, leave }, "{shown}");
        }
    }

    #[test]
    fn two_that_work_alike_do_not_take_turns() {
        let mut weights = [Weight::default(); 2];
        let mut place = None;
        let mut changes = 0;
        for tick in 0..1_000 {
            // By turns, each for four ticks.
            let busy = tick / 4 % 2;
            weights[busy].add(500);
            weights[1 - busy].add(0);
            let of = |pid: u32| (pid, weights[pid as usize], place == Some(pid));
            let change = choose(vec![of(0), of(1)], 1);
            changes += change.enter.len();
            place = change.enter.first().copied().or(place);
        }
        assert_eq!(changes, 1);
    }

    #[test]
    fn a_life_of_work_weighs_like_work() {
        let mut steady = Weight::default();
        (0..200).for_each(|_| steady.add(250));
        let lived = Weight::over_life(50_000, 100_000);
        assert!(lived.recent.abs_diff(steady.recent) < steady.recent / 10, "{lived:?} {steady:?}");
        assert_eq!(Weight::over_life(u64::MAX, 0).recent, u64::MAX);
    }

    proptest! {
        #[test]
        fn no_place_is_given_twice_and_none_beyond_the_bound(
            all in prop::collection::vec((0..50_u64, any::<bool>(), 0..5_u8), 0..40),
            top in 0..30_usize,
        ) {
            let processes: Vec<_> = (0..).zip(&all)
                .map(|(pid, (recent, has, looks))| (pid, Weight { recent: *recent, looks: *looks }, *has))
                .collect();
            let change = choose(processes.clone(), top);
            let mut places: Vec<u32> =
                processes.iter().filter(|process| process.2).map(|process| process.0).collect();
            for pid in &change.leave {
                let at = places.iter().position(|place| place == pid);
                places.swap_remove(at.expect("only a holder leaves"));
            }
            for pid in &change.enter {
                prop_assert!(!processes[*pid as usize].2);
                places.push(*pid);
            }
            places.sort_unstable();
            places.dedup();
            prop_assert!(places.len() <= top);
        }
    }
}
