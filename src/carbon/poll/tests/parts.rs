//! Answers of which a part was refused, and providers whose code breaks down.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_wait_that_a_part_asks_for_holds_for_all_and_what_was_heard_is_kept() {
    for (missed, least, most) in [
        (refusal(Fault::Limit, Some(7_200)), 7_200, 7_920),
        (refusal(Fault::Io, Some(7_200)), 7_200, 7_920),
        (refusal(Fault::Limit, Some(5)), 900, 1_800),
        (refusal(Fault::Io, None), 900, 1_800),
        (refusal(Fault::Limit, Some(u64::MAX)), 86_400, 95_040),
    ] {
        let script = Shared::default();
        let fault = missed.fault;
        let wants_a_pause = missed.wants_a_pause();
        {
            let mut script = script.lock().expect("unused");
            script.answer = Some(Box::new(hourly));
            script.missed = Some(missed);
        }
        block(async {
            let mut lookout = lookout(&script, setting("FR"), NOON);
            assert!(lookout.turn(NOON).await, "something was heard");
            let grid = lookout.grid(NOON);
            assert_eq!(grid.plan.at(NOON.saturating_sub(hours(1))).fallback, Step::Wanted);
            assert_eq!((grid.sources[0].fault, grid.sources[0].errors.clone()), (None, vec![(fault, 1)]));
            let due = lookout.next().expect("a provider");
            let range = Nanos::from_seconds(least)..=Nanos::from_seconds(most);
            assert!(range.contains(&due.saturating_sub(NOON)), "{fault:?}: {due:?}");
            lookout.take_up(setting("FR"), None, NOON);
            assert_eq!(lookout.next(), Some(due), "a reload does not shorten it");
            script.lock().expect("not poisoned").missed = None;
            lookout.turn(due).await;
        });
        let asked = std::mem::take(&mut script.lock().expect("not poisoned").asked);
        let is_early = asked[1].now.saturating_sub(asked[0].now) < hours(1);
        assert_eq!(
            asked[1].until > asked[1].now,
            wants_a_pause || !is_early,
            "{fault:?}: who says when to come again is asked for the same then"
        );
    }
}

#[test]
fn a_part_that_is_refused_is_told_when_that_begins() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    let ((), lines) = logged(|| {
        block(async {
            let mut lookout = lookout(&script, setting("FR"), NOON);
            let (no, shut) = (refusal(Fault::Io, None), refusal(Fault::PermissionDenied, None));
            let rounds = [Some(&no), Some(&no), None, Some(&no), Some(&shut), None, None, Some(&shut)];
            let mut now = NOON;
            for missed in rounds {
                script.lock().expect("not poisoned").missed = missed.cloned();
                lookout.turn(now).await;
                now = lookout.next().expect("a provider");
            }
        });
    });
    let told = lines.iter().filter(|line| line.contains("the rest of what it says is used")).count();
    assert_eq!(told, 3, "each of the two beginnings, and what the key does not open once: {lines:#?}");
}

#[test]
fn all_is_asked_for_again_after_an_hour_if_a_part_of_it_was_refused() {
    for (fault, expected) in [(Fault::Io, 2), (Fault::PermissionDenied, 1)] {
        let script = Shared::default();
        {
            let mut script = script.lock().expect("unused");
            script.answer = Some(Box::new(hourly));
            script.missed = Some(refusal(fault, None));
        }
        block(async {
            let mut lookout = lookout(&script, setting("FR"), NOON);
            lookout.turn(NOON).await;
            script.lock().expect("not poisoned").missed = None;
            let begin = lookout.next().expect("a provider");
            pass(&mut lookout, begin, NOON + hours(8)).await;
        });
        let asked = std::mem::take(&mut script.lock().expect("not poisoned").asked);
        let all: Vec<&Ask> =
            asked.iter().filter(|ask| ask.from == ask.now.saturating_sub(hours(72))).collect();
        assert_eq!(all.len(), expected, "{fault:?}");
        let last = all.last().expect("the first").now;
        assert!(expected == 1 || (NOON + hours(1)..NOON + hours(2)).contains(&last), "{last:?}");
    }
}

/// Panics at once the first time that one of them is asked, and answers when it was opened again.
struct Fragile {
    opened: usize,
}

impl IntensityProvider for Fragile {
    fn source(&self) -> &'static str {
        "fragile"
    }

    fn zone(&self) -> &str {
        "X"
    }

    fn cadence(&self) -> Duration {
        Duration::from_secs(900)
    }

    fn fetch<'a>(&'a mut self, _: &'a Client, ask: Ask) -> Heard<'a> {
        assert!(self.opened != 1, "at the first word");
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(self.opened != 2, "later");
            hourly(ask)
        })
    }
}

#[test]
fn who_breaks_down_is_seen_keeps_its_counts_and_is_opened_anew_after_a_pause() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let script = Shared::default();
    let other = opening(&script, 900);
    let open: Open = Arc::new(move |wishes, place| {
        let fragile = Fragile { opened: count.fetch_add(1, Ordering::SeqCst) + 1 };
        other(wishes, place)
            .into_iter()
            .chain([Ok(Box::new(fragile) as Box<dyn IntensityProvider>)])
            .collect()
    });
    let ((), lines) = logged(|| {
        block(async {
            let mut lookout = Lookout::restored(setting("FR"), open, None, NOON).expect("configured");
            let mut now = NOON;
            for breakdowns in 1..=2 {
                lookout.turn(now).await;
                let state = lookout.grid(now).sources[1].clone();
                assert_eq!((&*state.source, state.fault), ("fragile", Some(Fault::Io)));
                assert_eq!(state.errors, [(Fault::Io, breakdowns)]);
                // Not before the pause, which grows.
                let asked = opened.load(Ordering::SeqCst);
                lookout.turn(now + Nanos::from_seconds(800)).await;
                assert_eq!(opened.load(Ordering::SeqCst), asked);
                now += Nanos::from_seconds(900 * breakdowns + 90 * breakdowns);
            }
            assert!(lookout.turn(now).await);
            let grid = lookout.grid(now);
            assert_eq!((grid.sources[1].fault, grid.sources[1].errors.clone()), (None, vec![(Fault::Io, 2)]));
            assert_eq!(opened.load(Ordering::SeqCst), 3, "once at the start and once after each");
        });
    });
    let told = lines.iter().filter(|line| line.contains("fragile")).count();
    assert_eq!(told, 2, "when it begins and when it ends: {lines:#?}");
}
