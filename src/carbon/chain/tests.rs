//! Each step of the chain by a table, and what is true of any book and any plan.

use super::*;
use crate::carbon::Choice;
use crate::carbon::provider::Offer;
use crate::model::grid::{Boundary, GRAIN, Plan, Quality, Sample, Series, Signal, Step};
use crate::model::identity::Name;
use crate::model::quantity::{Intensity, Pue};
use crate::model::reading::Factor;
use proptest::prelude::*;

/// A whole hour, the 22nd of November 2026 at 14:00 UTC.
const NOON: Nanos = Nanos::from_seconds(1_795_356_000);

fn minutes(count: u64) -> Nanos {
    Nanos::from_seconds(count * 60)
}

/// So many minutes after (or before) [`NOON`].
fn at(minute: i64) -> Nanos {
    let second = 1_795_356_000 + minute * 60;
    Nanos::from_seconds(u64::try_from(second).expect("after 1970"))
}

fn grams(value: u32) -> Intensity {
    Intensity::from_milligrams(value * 1_000).expect("plausible")
}

fn sample(from: i64, to: i64, value: u32, quality: Quality, fetched: i64) -> Sample {
    Sample { start: at(from), end: at(to), intensity: grams(value), quality, fetched: at(fetched) }
}

fn measured(from: i64, to: i64, value: u32) -> Sample {
    sample(from, to, value, Quality::Measured, -1)
}

fn forecast(from: i64, to: i64, value: u32) -> Sample {
    sample(from, to, value, Quality::Forecast, -1)
}

fn series(basis: Basis, samples: Vec<Sample>) -> Series {
    Series {
        source: "test".into(),
        zone: "X".into(),
        signal: Signal::Average,
        basis,
        accounting: Boundary::Production,
        samples,
    }
}

fn book(first: Vec<Sample>) -> Book {
    let mut book = Book::default();
    book.arrange(vec!["one".into(), "two".into()]);
    book.hear(&"one".into(), vec![series(Basis::Lifecycle, first)], NOON);
    book
}

fn plan_of(book: &Book, choice: &Choice, limits: &Limits, zone: &str) -> Plan {
    let zone: Name = zone.into();
    book.plan(NOON, &Terms { zone: &zone, pue: Pue::ONE, choice, limits })
}

fn plan(book: &Book, limits: &Limits) -> Plan {
    plan_of(book, &Choice::Unknown, limits, "FR")
}

/// What is charged so many minutes after noon: grams, step.
fn charged(plan: &Plan, minute: i64) -> (u32, Step) {
    let factor = plan.at(at(minute));
    (factor.intensity.as_milligrams() / 1_000, factor.fallback)
}

#[test]
fn each_step_of_the_chain_has_its_turn() {
    // Yesterday and the day before at 20:00: 100 and 300; then nothing but the last hour and a forecast.
    let day = 24 * 60;
    let mut book = book(vec![
        measured(6 * 60 - 2 * day, 7 * 60 - 2 * day, 100),
        measured(6 * 60 - day, 7 * 60 - day, 300),
        measured(-60, 0, 50),
        forecast(180, 240, 70),
    ]);
    let plan = |book: &Book| plan(book, &Limits::default());
    for (minute, expected) in [
        (-30, (50, Step::Wanted)),
        (0, (50, Step::Last)),
        (179, (50, Step::Last)),
        (180, (70, Step::Forecast)),
        (239, (70, Step::Forecast)),
        (240, (44, Step::Table)),
        (360, (200, Step::Profile)),
        (420, (44, Step::Table)),
        (6 * 60 + day, (200, Step::Profile)),
        (73 * 60, (44, Step::Table)),
    ] {
        assert_eq!(charged(&plan(&book), minute), expected, "minute {minute}");
    }
    book.hear(&"two".into(), vec![series(Basis::Lifecycle, vec![measured(0, 60, 90)])], NOON);
    assert_eq!(charged(&plan(&book), 30), (90, Step::Substitute));
    assert_eq!(charged(&plan(&book), 60), (50, Step::Last), "the first provider's last before the second's");
    assert_eq!(charged(&plan(&book), 150), (50, Step::Last));
    assert_eq!(charged(&plan(&book), 225), (90, Step::Last), "by then only the second's is young enough");
}

#[test]
fn a_last_figure_is_used_for_as_long_as_its_length_or_the_user_says() {
    for (length, max_age, last_minute) in [
        (5, None, 180),
        (15, None, 180),
        (60, None, 180),
        (90, None, 270),
        (24 * 60, None, 360),
        (60, Some(minutes(20)), 20),
        (5, Some(minutes(0)), 0),
        (5, Some(minutes(600)), 600),
    ] {
        let book = book(vec![measured(-length, 0, 50)]);
        let plan = plan(&book, &Limits { max_age, ..Limits::default() });
        assert_eq!(charged(&plan, -1), (50, Step::Wanted), "{length} {max_age:?}");
        if last_minute > 0 {
            assert_eq!(charged(&plan, last_minute - 1), (50, Step::Last), "{length} {max_age:?}");
        }
        assert_eq!(charged(&plan, last_minute), (44, Step::Table), "{length} {max_age:?}");
    }
}

#[test]
fn what_is_switched_off_is_not_used() {
    let day = 24 * 60;
    let known =
        vec![measured(-day, 60 - day, 10), measured(-2 * day, 60 - 2 * day, 30), forecast(60, 120, 70)];
    let book = book(known);
    let off = Limits { forecast: Forecasts::Unused, profile_days: None, ..Limits::default() };
    assert_eq!(charged(&plan(&book, &off), 30), (44, Step::Table));
    assert_eq!(charged(&plan(&book, &off), 90), (44, Step::Table));
    let three = Limits { profile_days: Some(3), ..Limits::default() };
    assert_eq!(charged(&plan(&book, &three), 30), (44, Step::Table), "two days are not three");
    assert_eq!(charged(&plan(&book, &Limits::default()), 30), (20, Step::Profile));
    assert_eq!(charged(&plan(&book, &Limits::default()), 90), (70, Step::Forecast));
}

#[test]
fn another_basis_is_passed_over_unless_it_is_allowed() {
    let mut book = book(vec![measured(-60, 0, 50)]);
    book.hear(&"two".into(), vec![series(Basis::Direct, vec![measured(0, 600, 9)])], NOON);
    let strict = Limits { max_age: Some(minutes(60)), ..Limits::default() };
    let lax = Limits { other_basis: OtherBasis::Allowed, ..strict.clone() };
    assert_eq!(charged(&plan(&book, &strict), 90), (44, Step::Table));
    assert_eq!(charged(&plan(&book, &lax), 90), (9, Step::Substitute));
    assert_eq!(&*plan(&book, &lax).at(at(90)).basis, "direct", "and it is said");
    assert_eq!(book.refused(&"two".into(), &strict), Some(Basis::Direct));
    assert_eq!(book.refused(&"two".into(), &lax), None);
    assert_eq!(book.refused(&"one".into(), &strict), None);
    // The wanted basis is the user's before it is the first provider's.
    let direct = Limits { basis: Some(Basis::Direct), ..strict };
    assert_eq!(charged(&plan(&book, &direct), -30).1, Step::Table);
    assert_eq!(charged(&plan(&book, &direct), 30), (9, Step::Substitute));
    assert_eq!(book.refused(&"one".into(), &direct), Some(Basis::Lifecycle));
}

#[test]
fn the_basis_is_that_of_who_is_configured_and_not_of_what_was_heard() {
    let (one, two): (Name, Name) = ("one".into(), "two".into());
    let limits = Limits { max_age: Some(Nanos::ZERO), ..Limits::default() };
    // The same provider, asked for direct figures since: what it said before decides nothing any more.
    let mut book = book(vec![measured(-60, 60, 50)]);
    assert_eq!(book.basis(&limits), Basis::Lifecycle);
    book.offer(&one, Offer::average(Basis::Direct));
    assert_eq!((book.basis(&limits), book.pages().len()), (Basis::Direct, 0));
    // The second is refused before it was heard, and whether or not the first one was.
    book.offer(&two, Offer::average(Basis::Lifecycle));
    assert_eq!(book.refused(&two, &limits), Some(Basis::Lifecycle));
    assert_eq!(book.refused(&one, &limits), None);
    book.hear(&two, vec![series(Basis::Lifecycle, vec![measured(-60, 60, 9)])], NOON);
    assert_eq!((book.basis(&limits), charged(&plan(&book, &limits), 0)), (Basis::Direct, (44, Step::Table)));
    book.hear(&one, vec![series(Basis::Direct, vec![measured(-60, 60, 80)])], NOON);
    assert_eq!(charged(&plan(&book, &limits), 0), (80, Step::Wanted));
    // Who has marginal figures only is not first, and what he said on average is forgotten.
    book.offer(&one, Offer::Own { average: None, marginal: true });
    assert_eq!(
        (book.basis(&limits), charged(&plan(&book, &limits), 0)),
        (Basis::Lifecycle, (9, Step::Wanted))
    );
    assert_eq!((book.refused(&one, &limits), book.refused(&two, &limits)), (None, None));
    let direct = Limits { basis: Some(Basis::Direct), ..limits.clone() };
    assert_eq!(book.refused(&two, &direct), Some(Basis::Lifecycle));
    // With nobody else the year's figure is what was asked for.
    book.arrange(vec![one]);
    assert_eq!(charged(&plan(&book, &limits), 0), (44, Step::Wanted));
}

#[test]
fn the_yearly_figure_keeps_the_basis_as_far_as_there_is_one() {
    let zone = |text: &str| -> Name { text.into() };
    let of = |place: &str, choice: &Choice, basis: Option<Basis>, other_basis: OtherBasis| {
        let limits = Limits { other_basis, ..Limits::default() };
        let terms = Terms { zone: &zone(place), pue: Pue::ONE, choice, limits: &limits };
        let factor = yearly(&terms, basis, Step::Table);
        assert_eq!(&*factor.zone, place, "the label says where the machine is");
        (factor.intensity.as_milligrams(), factor.basis.to_string(), factor.fallback)
    };
    let (strict, lax) = (OtherBasis::Refused, OtherBasis::Allowed);
    let (lifecycle, direct) = (Some(Basis::Lifecycle), Some(Basis::Direct));
    let unknown = Choice::Unknown;
    let own = |basis| Choice::Own { intensity: grams(12), zone: None, basis };
    for (place, choice, basis, other, expected) in [
        ("FR", &unknown, lifecycle, strict, (44_180, "lifecycle", Step::Table)),
        // California has a direct figure only; its country has both.
        ("US-CAMX", &unknown, direct, strict, (195_030, "direct", Step::Table)),
        ("US-CAMX", &unknown, lifecycle, strict, (383_550, "lifecycle", Step::Table)),
        ("US-CAMX", &unknown, lifecycle, lax, (195_030, "direct", Step::Table)),
        // Nobody has a direct figure: something must be charged, and the page says which.
        ("FR", &unknown, direct, strict, (44_180, "lifecycle", Step::Table)),
        ("WORLD", &unknown, None, strict, (473_010, "lifecycle", Step::World)),
        ("XY-1", &unknown, lifecycle, strict, (473_010, "lifecycle", Step::World)),
        ("custom", &own(None), direct, strict, (12_000, "", Step::Table)),
        ("custom", &own(direct), direct, strict, (12_000, "direct", Step::Table)),
        ("custom", &own(direct), lifecycle, strict, (473_010, "lifecycle", Step::World)),
        ("custom", &own(direct), lifecycle, lax, (12_000, "direct", Step::Table)),
        ("my-site", &own(direct), lifecycle, strict, (473_010, "lifecycle", Step::World)),
    ] {
        let (milligrams, on, step) = expected;
        assert_eq!(
            of(place, choice, basis, other),
            (milligrams, on.to_owned(), step),
            "{place} {choice:?} {basis:?}"
        );
    }
}

#[test]
fn without_providers_the_figure_of_the_year_is_what_was_asked_for() {
    let limits = Limits::default();
    let plain = plan_of(&Book::default(), &Choice::Unknown, &limits, "FR");
    assert_eq!((charged(&plain, 0), plain.stretches.len()), ((44, Step::Wanted), 0));
    let world = plan_of(&Book::default(), &Choice::Unknown, &limits, "WORLD");
    assert_eq!(charged(&world, 0), (473, Step::World));
}

#[test]
fn the_factor_says_whose_figure_it_is_and_where_the_machine_stands() {
    let book = book(vec![sample(-60, 0, 0, Quality::Estimated, -1)]);
    let zone: Name = "SE-SE3".into();
    let pue = Pue::parse("1.2").expect("valid");
    let (choice, limits) = (Choice::Unknown, Limits::default());
    let plan = book.plan(NOON, &Terms { zone: &zone, pue, choice: &choice, limits: &limits });
    let factor = plan.at(at(-1));
    let expected = Factor {
        zone,
        intensity: grams(0),
        pue,
        basis: "lifecycle".into(),
        accounting: "production".into(),
        quality: "estimated".into(),
        source: "test".into(),
        year: "".into(),
        fallback: Step::Wanted,
    };
    assert_eq!(**factor, expected, "and nothing emitted is no missing figure");
}

#[test]
fn marginal_figures_are_shown_and_never_charged() {
    let mut book = book(vec![]);
    let marginal = Series { signal: Signal::Marginal, ..series(Basis::Direct, vec![measured(-5, 5, 395)]) };
    book.hear(&"one".into(), vec![marginal], NOON);
    let (zone, choice, limits): (Name, _, _) = ("FR".into(), Choice::Unknown, Limits::default());
    let terms = Terms { zone: &zone, pue: Pue::ONE, choice: &choice, limits: &limits };
    let plan = book.plan(NOON, &terms);
    assert_eq!(charged(&plan, 0), (44, Step::Table));
    let stretch = book.marginal(NOON, &terms).expect("somebody says");
    assert_eq!((stretch.start, stretch.end), (at(-5), at(5)));
    assert_eq!(stretch.factor.intensity, grams(395));
    assert_eq!(book.basis(&limits), Basis::Lifecycle, "a marginal figure decides nothing");
    assert!(book.marginal(at(60), &terms).is_none(), "and it is too old after a quarter of an hour");
}

#[test]
fn a_real_value_replaces_an_estimate_and_both_replace_nothing_else() {
    let mut book = book(vec![
        sample(-120, -60, 80, Quality::Estimated, -50),
        sample(-60, 0, 90, Quality::Estimated, -50),
    ]);
    let later = series(Basis::Lifecycle, vec![sample(-120, -60, 60, Quality::Measured, -5)]);
    book.hear(&"one".into(), vec![later.clone()], NOON);
    let limits = Limits::default();
    assert_eq!(charged(&plan(&book, &limits), -90), (60, Step::Wanted));
    assert_eq!(charged(&plan(&book, &limits), -30), (90, Step::Wanted));
    // Of one answer the measured one counts, in whatever order they stand.
    for order in [[70, 75], [75, 70]] {
        let quality = |value| if value == 70 { Quality::Measured } else { Quality::Estimated };
        let both =
            order.map(|value| series(Basis::Lifecycle, vec![sample(-60, 0, value, quality(value), -1)]));
        let mut book = book.clone();
        book.hear(&"one".into(), both.to_vec(), NOON);
        assert_eq!(charged(&plan(&book, &limits), -30), (70, Step::Wanted));
    }
}

#[test]
fn what_a_relay_passes_on_keeps_its_order_and_its_sources() {
    let mut book = Book::default();
    book.arrange(vec!["relay".into()]);
    let of = |source: &str, from, to, value| Series {
        source: source.into(),
        ..series(Basis::Lifecycle, vec![measured(from, to, value)])
    };
    book.hear(&"relay".into(), vec![of("a", -120, -60, 10), of("b", -120, 0, 20)], NOON);
    let plan = plan(&book, &Limits::default());
    assert_eq!(charged(&plan, -90), (10, Step::Wanted));
    assert_eq!(charged(&plan, -30), (20, Step::Substitute));
    assert_eq!(&*plan.at(at(-30)).source, "b");
}

#[test]
fn who_has_this_book_for_a_provider_is_told_the_order_of_the_chain() {
    let kind = |basis, signal, source: &str| Series {
        source: source.into(),
        signal,
        ..series(basis, vec![measured(-60, 0, 9)])
    };
    let of = |source: &str| kind(Basis::Lifecycle, Signal::Average, source);
    let ranks = |book: &Book| -> Vec<(u32, String)> {
        book.series(at(-90)).into_iter().map(|(rank, series)| (rank, series.source.to_string())).collect()
    };
    let told = |expected: &[(u32, &str)]| -> Vec<(u32, String)> {
        expected.iter().map(|(rank, source)| (*rank, (*source).to_owned())).collect()
    };
    let mut book = Book::default();
    let (one, two, relay) = (Name::from("one"), Name::from("two"), Name::from("relay"));
    book.arrange(vec![one.clone(), relay.clone(), two.clone()]);
    book.offer(&two, Offer::average(Basis::Lifecycle));
    book.hear(&two, vec![of("two")], NOON);
    assert_eq!(ranks(&book), told(&[(1, "two")]), "the first place stays the first provider's");
    book.offer(&relay, Offer::AsHeard { basis: None, ranks: vec![7, 0] });
    book.hear(&relay, vec![of("late"), of("early")], NOON);
    assert_eq!(ranks(&book), told(&[(1, "early"), (2, "late"), (3, "two")]));
    book.hear(&one, vec![of("one")], NOON);
    assert_eq!(ranks(&book), told(&[(0, "one"), (1, "early"), (2, "late"), (3, "two")]));
    // One that has marginal figures alone is the first of those, and none of the others.
    book.offer(&one, Offer::Own { average: None, marginal: true });
    book.hear(&one, vec![kind(Basis::Direct, Signal::Marginal, "margin")], NOON);
    assert_eq!(ranks(&book), told(&[(0, "margin"), (0, "early"), (1, "late"), (2, "two")]));
    // A relay that tells no more than an old one says first what comes first.
    book.offer(&relay, Offer::UNTOLD);
    book.hear(&relay, vec![of("late"), of("early")], NOON);
    assert_eq!(ranks(&book), told(&[(0, "margin"), (0, "late"), (1, "early"), (2, "two")]));
}

#[test]
fn no_figure_holds_for_years() {
    let years = 60 * 24 * 365 * 3;
    let book = book(vec![measured(-60, years, 50), forecast(60, years, 60)]);
    assert_eq!(book.pages()[0].said.samples[0].end, at(24 * 60));
    assert_eq!(book.pages()[0].forecast[0].end, at(25 * 60));
    let plan = plan(&book, &Limits::default());
    assert_eq!(charged(&plan, 24 * 60 - 1), (50, Step::Wanted));
    assert_eq!(charged(&plan, 24 * 60), (50, Step::Last));
    assert_eq!(charged(&plan, 31 * 60), (44, Step::Table));
    let kept = Book::of(book.order().to_vec(), Vec::new(), book.pages().to_vec(), NOON);
    assert_eq!(kept.pages(), book.pages());
}

#[test]
fn a_book_is_bounded_and_a_clock_that_was_ahead_spoils_nothing() {
    let odd =
        |from: i64, to: i64| Sample { start: at(from) + Nanos::new(1), end: at(to), ..measured(from, to, 1) };
    let mut book = book(vec![
        measured(-60 * 24 * 8, -60 * 24 * 8 + 60, 1),
        measured(60 * 80, 60 * 81, 1),
        measured(30, 30, 1),
        odd(-4, -1),
    ]);
    assert_eq!(book.pages(), [], "and an empty page is none");
    // Said for the day after tomorrow, it is a forecast whatever it calls itself.
    book.hear(&"one".into(), vec![series(Basis::Lifecycle, vec![measured(60 * 30, 60 * 31, 5)])], NOON);
    assert_eq!((book.pages()[0].said.samples.len(), book.pages()[0].forecast.len()), (0, 1));
    // Heard in the future, by a clock that has been set since.
    let future = sample(-60, 0, 70, Quality::Measured, 600);
    book.hear(&"one".into(), vec![series(Basis::Lifecycle, vec![future])], at(600));
    book.hear(
        &"one".into(),
        vec![series(Basis::Lifecycle, vec![sample(-60, 0, 80, Quality::Measured, 0)])],
        NOON,
    );
    assert_eq!(charged(&plan(&book, &Limits::default()), -30), (80, Step::Wanted));
    for number in 0..100 {
        let other = Series { zone: number.to_string().as_str().into(), ..series(Basis::Lifecycle, vec![]) };
        book.hear(&"two".into(), vec![other], NOON);
    }
    assert!(book.pages().len() <= 32);
    book.arrange(vec!["one".into()]);
    assert!(book.pages().iter().all(|page| &*page.provider == "one"));
}

#[test]
fn series_for_others_have_no_overlaps_and_forecasts_only_where_nothing_is_known() {
    let book = book(vec![measured(-60, 0, 50), forecast(-120, 120, 70)]);
    let served = book.series(at(-90));
    let times: Vec<(Nanos, Nanos, u32)> = served[0]
        .1
        .samples
        .iter()
        .map(|sample| (sample.start, sample.end, sample.intensity.as_milligrams() / 1_000))
        .collect();
    assert_eq!(times, [(at(-120), at(-60), 70), (at(-60), at(0), 50), (at(0), at(120), 70)]);
}

/// Answers of one provider at different times: each without overlaps, in any lengths.
fn answers() -> impl Strategy<Value = Vec<Vec<Sample>>> {
    let piece = (0_i64..3, 1_i64..9, 0_u32..900, 0_u8..3);
    proptest::collection::vec(proptest::collection::vec(piece, 0..12), 1..6).prop_map(|answers| {
        let answer = |(number, pieces): (usize, Vec<(i64, i64, u32, u8)>)| {
            let mut time = -300;
            let mut samples = Vec::new();
            for (gap, length, value, quality) in pieces {
                let quality =
                    [Quality::Measured, Quality::Estimated, Quality::Forecast][usize::from(quality)];
                let start = time + gap * 5;
                time = start + length * 5;
                let fetched = i64::try_from(number).expect("few") - 100;
                samples.push(sample(start, time, value, quality, fetched));
            }
            samples
        };
        answers.into_iter().enumerate().map(answer).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_in_which_answers_come_does_not_matter(answers in answers(), seed in any::<u64>()) {
        let hear = |order: &[usize]| {
            let mut book = Book::default();
            book.arrange(vec!["one".into()]);
            for &index in order {
                book.hear(&"one".into(), vec![series(Basis::Lifecycle, answers[index].clone())], NOON);
            }
            book
        };
        let straight: Vec<usize> = (0..answers.len()).collect();
        let mut mixed = straight.clone();
        mixed.sort_by_key(|index| (*index as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let (one, other) = (hear(&straight), hear(&mixed));
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(plan(&one, &Limits::default()), plan(&other, &Limits::default()));
    }

    #[test]
    fn a_plan_has_no_overlap_and_every_word_on_a_time_is_charged_then(answers in answers()) {
        let mut book = Book::default();
        book.arrange(vec!["one".into()]);
        for answer in &answers {
            book.hear(&"one".into(), vec![series(Basis::Lifecycle, answer.clone())], NOON);
        }
        let plan = plan(&book, &Limits::default());
        for pair in plan.stretches.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start);
            prop_assert!(pair[0].end < pair[1].start || pair[0].factor != pair[1].factor, "not merged");
        }
        for stretch in &plan.stretches {
            prop_assert!(stretch.start < stretch.end);
            prop_assert_eq!(stretch.start.get() % GRAIN.get() + stretch.end.get() % GRAIN.get(), 0);
        }
        // The latest answer with a word on a time that has begun, by the definition.
        let mut minute = -400;
        while minute < 400 {
            let time = at(minute);
            let said = answers.iter().rev().flatten().find(|sample| {
                sample.quality != Quality::Forecast && sample.start <= time && time < sample.end && sample.start <= at(60)
            });
            let factor = plan.at(time);
            match said {
                Some(said) => prop_assert_eq!((factor.intensity, factor.fallback), (said.intensity, Step::Wanted)),
                None => prop_assert!(factor.fallback != Step::Wanted),
            }
            prop_assert_eq!(&*factor.basis, "lifecycle");
            minute += 5;
        }
    }

    #[test]
    fn the_basis_never_changes_silently(answers in answers(), others in answers(), first in any::<bool>()) {
        let (one, other) = if first { ("one", "two") } else { ("two", "one") };
        let mut book = Book::default();
        book.arrange(vec!["one".into(), "two".into()]);
        for answer in answers {
            book.hear(&one.into(), vec![series(Basis::Direct, answer)], NOON);
        }
        for answer in others {
            book.hear(&other.into(), vec![series(Basis::Lifecycle, answer)], NOON);
        }
        let wanted = book.basis(&Limits::default());
        // Great Britain has a yearly figure on either basis.
        let plan = plan_of(&book, &Choice::Unknown, &Limits::default(), "GB");
        prop_assert_eq!(&*plan.otherwise.basis, wanted.as_str());
        for stretch in &plan.stretches {
            prop_assert_eq!(&*stretch.factor.basis, wanted.as_str());
        }
    }

    #[test]
    fn the_past_stays_what_it_was_while_nothing_is_heard(answers in answers(), later in 1_u64..60) {
        let mut book = Book::default();
        book.arrange(vec!["one".into()]);
        for answer in answers {
            book.hear(&"one".into(), vec![series(Basis::Lifecycle, answer)], NOON);
        }
        let (zone, choice, limits): (Name, _, _) = ("FR".into(), Choice::Unknown, Limits::default());
        let terms = Terms { zone: &zone, pue: Pue::ONE, choice: &choice, limits: &limits };
        let before = book.plan(NOON, &terms);
        let now = NOON + hours(later);
        book.hear(&"one".into(), Vec::new(), now);
        let after = book.plan(now, &terms);
        let mut time = now.saturating_sub(PLANNED_BACK);
        while time < NOON + PLANNED_AHEAD {
            prop_assert_eq!(before.at(time), after.at(time));
            time += GRAIN;
        }
    }
}
