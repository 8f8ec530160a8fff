//! Phases, their sums, and the course of a job.

use super::*;
use crate::engine::prediction::course::MAX_POINTS;
use crate::model::identity::{JobId, JobKind, Origin};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn used(at: u64, cpu: u64, joules: &[(HwType, u64)]) -> Mark {
    let mut amounts = Amounts::default();
    for (hw_type, micro) in joules {
        let (energy, emissions) = (Energy::from_micro(*micro), Emissions::from_nano(micro * 3 + 1));
        amounts.add(Amount { hw_type: *hw_type, origin: Origin::Measured, energy, emissions });
    }
    Mark { at: Nanos::new(at), amounts, cpu: CpuTime::new(cpu) }
}

fn heard(said: &[(u64, Option<u64>, Statement)], cpu: Option<u64>) -> Heard {
    let one = |(at, cpu, statement): &(u64, Option<u64>, Statement)| Said {
        at: Nanos::new(*at),
        cpu: cpu.map(CpuTime::new),
        statement: statement.clone(),
    };
    let id = JobId::new(JobKind::Run, "1");
    Heard { id, said: said.iter().map(one).collect(), cpu: cpu.map(CpuTime::new) }
}

fn begins(name: &str) -> Statement {
    Statement::Begin(name.into())
}

fn ends(name: &str) -> Statement {
    Statement::End(name.into())
}

fn has_done(done: u64, total: u64) -> Statement {
    Statement::Progress(Progress { done, total })
}

/// `name=µJ` of each phase by now.
fn shown(voice: &Voice, now: &Mark) -> String {
    let phases = voice.speech().phases.at(now.at, &now.amounts, now.cpu);
    let one = |phase: &Phase| format!("{}={}", phase.name, phase.amounts.energy().as_micro());
    phases.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_phase_within_a_tick_has_its_share_by_cpu_time_and_of_accelerators_by_time() {
    let mut voice = Voice::default();
    let (before, after) =
        (used(0, 0, &[]), used(10 * SECOND, 1_000, &[(HwType::Cpu, 1_000), (HwType::Gpu, 1_000)]));
    // Half of the CPU time in a tenth of the time.
    let said = [(2 * SECOND, Some(5_100), begins("load")), (3 * SECOND, Some(5_600), ends("load"))];
    voice.hear(&heard(&said, Some(5_700)), &before, &after, Nanos::ZERO);
    assert_eq!(shown(&voice, &after), "load=600");
    let phase = &voice.speech().phases.all[0];
    assert_eq!((phase.time, phase.cpu), (Nanos::new(SECOND), CpuTime::new(500)));
    assert_eq!(phase.amounts.0[0].energy, Energy::from_micro(500));
    assert_eq!(phase.amounts.0[1].energy, Energy::from_micro(100));
}

#[test]
fn without_cpu_time_the_clock_divides_and_without_both_the_end_has_all() {
    for (at, end, expected) in [(4, 10, "x=600"), (10, 10, "x=0"), (0, 0, "x=1000"), (99, 10, "x=0")] {
        let mut voice = Voice::default();
        let (before, after) = (used(0, 0, &[]), used(end, 0, &[(HwType::Cpu, 1_000)]));
        voice.hear(&heard(&[(at, None, begins("x"))], None), &before, &after, Nanos::ZERO);
        assert_eq!(shown(&voice, &after), expected, "{at} of {end}");
    }
}

#[test]
fn the_phase_that_was_begun_last_is_charged_until_it_ends() {
    let mut voice = Voice::default();
    let mut now = 0;
    let mut total = 0;
    for (statement, expected) in [
        (begins("a"), "a=0"),
        (begins("b"), "a=10 b=0"),
        // Overlapping: b goes on.
        (ends("a"), "a=10 b=10"),
        (ends("b"), "a=10 b=20"),
        // Outside of all.
        (begins("a"), "a=10 b=20"),
        // The same inside itself.
        (begins("a"), "a=20 b=20"),
        (ends("a"), "a=30 b=20"),
        (ends("a"), "a=40 b=20"),
        // Nothing of that name is open.
        (ends("a"), "a=40 b=20"),
        (ends("never"), "a=40 b=20"),
    ] {
        // Each statement at the end of a tick of 10 µJ.
        let before = used(now, 0, &[(HwType::Cpu, total)]);
        (now, total) = (now + SECOND, total + 10);
        let after = used(now, 0, &[(HwType::Cpu, total)]);
        voice.hear(&heard(&[(now, None, statement)], None), &before, &after, Nanos::ZERO);
        assert_eq!(shown(&voice, &after), expected);
    }
    assert_eq!(voice.speech().phases.refused, 2);
    // Ticks without a mark are the open phase's, whoever asks when.
    let before = used(now, 0, &[(HwType::Cpu, total)]);
    voice.hear(&heard(&[(now, None, begins("b"))], None), &before, &before, Nanos::ZERO);
    assert_eq!(shown(&voice, &used(now + 1, 0, &[(HwType::Cpu, total + 7)])), "a=40 b=27");
}

#[test]
fn what_a_job_was_at_ends_with_it() {
    let mut voice = Voice::default();
    let (before, after) = (used(0, 0, &[]), used(SECOND, 0, &[(HwType::Cpu, 10)]));
    let said = [(0, None, begins("a")), (0, None, has_done(5, 10))];
    voice.hear(&heard(&said, None), &before, &after, Nanos::ZERO);
    voice.begin_anew(&after);
    let later = used(9 * SECOND, 0, &[(HwType::Cpu, 90)]);
    assert_eq!((shown(&voice, &later).as_str(), voice.speech().progress), ("a=10", None));
    assert!(voice.speech().course.is_empty());
    assert_eq!(voice.speech().phases.at(later.at, &later.amounts, later.cpu)[0].time, Nanos::new(SECOND));
    // An end of what was never begun closes nothing of another name.
    let said = [(9 * SECOND, None, begins("other")), (9 * SECOND, None, ends("never"))];
    voice.hear(&heard(&said, None), &later, &later, Nanos::ZERO);
    assert_eq!((voice.speech().phases.open.len(), voice.speech().phases.refused), (1, 1));
}

#[test]
fn names_and_depth_are_bounded() {
    let mut voice = Voice::default();
    let nothing = used(0, 0, &[]);
    for number in 0..100 {
        let said = [(0, None, begins(&format!("p{number}"))), (0, None, ends(&format!("p{number}")))];
        voice.hear(&heard(&said, None), &nothing, &nothing, Nanos::ZERO);
    }
    let phases = voice.speech().phases;
    assert_eq!((phases.all.len(), phases.open.len(), phases.refused), (MAX_PHASES + 1, 0, 0));
    assert_eq!(&*phases.all[MAX_PHASES].name, OTHER);
    let deep: Vec<_> = (0..100).map(|_| (0, None, begins("p1"))).collect();
    voice.hear(&heard(&deep, None), &nothing, &nothing, Nanos::ZERO);
    let phases = voice.speech().phases;
    assert_eq!((phases.open.len(), phases.refused as usize), (MAX_DEPTH, 100 - MAX_DEPTH));
}

#[test]
fn the_way_is_kept_in_few_points_and_begins_anew_when_the_job_does() {
    let mut voice = Voice::default();
    let at = |step: u64| used(step * SECOND, 0, &[(HwType::Cpu, step * 100)]);
    for step in 1..=10_000 {
        let said = [(step * SECOND, None, has_done(step, 20_000))];
        voice.hear(&heard(&said, None), &at(step - 1), &at(step), Nanos::ZERO);
    }
    let course = voice.speech().course;
    assert_eq!(course.len(), MAX_POINTS);
    assert!(
        course.is_sorted_by(|one, next| (one.done, one.at, one.energy) < (next.done, next.at, next.energy))
    );
    assert_eq!(course[0], Point { at: Nanos::new(SECOND), done: 1, energy: Energy::from_micro(100) });
    assert!(course.iter().all(|point| point.energy.as_micro() == point.done * 100));
    assert_eq!(voice.speech().progress.map(|(progress, _)| progress.done), Some(10_000));
    // Another process of the job is not as far; that is no beginning.
    for behind in [9_999, 5_000] {
        let said = [(10_000 * SECOND, None, has_done(behind, 20_000))];
        voice.hear(&heard(&said, None), &at(10_000), &at(10_000), Nanos::ZERO);
        assert_eq!(
            (voice.speech().course.len(), voice.speech().progress.map(|it| it.0.done)),
            (MAX_POINTS, Some(10_000))
        );
    }
    let said = [(10_001 * SECOND, None, has_done(1, 20_000))];
    voice.hear(&heard(&said, None), &at(10_000), &at(10_001), Nanos::ZERO);
    assert_eq!(voice.speech().course.len(), 1);
    // Twice the same is no way.
    voice.hear(&heard(&said, None), &at(10_001), &at(10_002), Nanos::ZERO);
    assert_eq!(voice.speech().course.len(), 1);
}

proptest! {
    #[test]
    fn phases_and_the_rest_are_the_job_to_the_last_unit(
        ticks in proptest::collection::vec(
            (
                proptest::collection::vec((0_u64..12, proptest::option::of(0_u64..50), 0_u8..8, 0_usize..3), 0..6),
                0_u64..1_000, 0_u64..1_000, 0_u64..40, proptest::option::of(0_u64..200),
            ),
            1..20,
        )
    ) {
        let mut voice = Voice::default();
        let (mut at, mut cpu, mut energy, mut gpu) = (0, 0, 0, 0);
        let mut outside = Amounts::default();
        for (said, joules, of_gpu, cpu_used, end) in ticks {
            let before = used(at, cpu, &[(HwType::Cpu, energy), (HwType::Gpu, gpu)]);
            let is_outside = voice.speech().phases.open.is_empty();
            let mut said: Vec<_> = said.iter().map(|(time, cpu, kind, name)| {
                let name = ["a", "b", "c"][*name];
                let statement = match kind {
                    0..3 => begins(name),
                    3..6 => ends(name),
                    done => has_done(u64::from(*done), 10),
                };
                (at + time, *cpu, statement)
            }).collect();
            said.sort_by_key(|(time, ..)| *time);
            (at, cpu, energy, gpu) = (at + 10, cpu + cpu_used, energy + joules, gpu + of_gpu);
            let after = used(at, cpu, &[(HwType::Cpu, energy), (HwType::Gpu, gpu)]);
            let phases_before = voice.speech().phases.at(before.at, &before.amounts, before.cpu);
            voice.hear(&heard(&said, end), &before, &after, Nanos::ZERO);
            let phases = voice.speech().phases.at(after.at, &after.amounts, after.cpu);
            // No phase ever falls, none has more than there is.
            for (phase, before) in phases.iter().zip(&phases_before) {
                prop_assert!(phase.amounts.energy() >= before.amounts.energy() && phase.time >= before.time);
            }
            let sum: u64 = phases.iter().map(|phase| phase.amounts.energy().as_micro()).sum();
            let grams: u64 = phases.iter().map(|phase| phase.amounts.emissions().as_nano()).sum();
            prop_assert!(sum <= energy + gpu);
            let has_mark = said.iter().any(|(.., statement)| !matches!(statement, Statement::Progress(_)));
            if is_outside && !has_mark {
                let new = after.amounts.since(&before.amounts);
                new.0.into_iter().for_each(|amount| outside.add(amount));
            } else {
                let in_phases = Energy::from_micro(sum);
                let rest = (energy + gpu).checked_sub(in_phases.as_micro());
                prop_assert!(rest >= Some(outside.energy().as_micro()), "what was outside stays outside");
                let all = after.amounts.emissions().as_nano();
                prop_assert!(grams <= all);
                outside = Amounts(vec![Amount {
                    hw_type: HwType::Cpu,
                    origin: Origin::Measured,
                    energy: Energy::from_micro(rest.unwrap_or_default()),
                    emissions: Emissions::from_nano(all - grams),
                }]);
            }
            prop_assert_eq!(sum + outside.energy().as_micro(), energy + gpu);
            prop_assert_eq!(phases.iter().map(|phase| phase.cpu.get()).sum::<u64>() <= cpu, true);
        }
    }
}
