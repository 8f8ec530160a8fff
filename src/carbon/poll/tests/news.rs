//! What is worth keeping and what is not; who is who after the list of providers has changed.

use super::*;
use crate::carbon::chain::Book;
use crate::carbon::provider::figure::Unit;
use crate::carbon::provider::http_json::Shape;
use crate::carbon::provider::slots::About;
use crate::carbon::provider::{Kind, Wish, json};
use crate::model::identity::Name;

/// The hours that were over at noon, heard at another time.
fn past(fetched: Nanos) -> Vec<Series> {
    let ask = Ask { now: NOON, from: NOON.saturating_sub(hours(60)), until: NOON };
    let mut said = hourly(ask).expect("figures");
    said[0].samples.iter_mut().for_each(|sample| sample.fetched = fetched);
    said
}

#[test]
fn an_answer_that_says_nothing_new_is_not_worth_keeping() {
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(|ask| Ok(past(ask.now))));
    block(async {
        let mut lookout = lookout(&script, setting("FR"), NOON);
        assert!(lookout.turn(NOON).await, "something is heard");
        let mut now = lookout.next().expect("a provider");
        for _ in 0..3 {
            assert!(!lookout.turn(now).await, "the time of asking is new, and no news");
            now = lookout.next().expect("a provider");
        }
        let revised = |ask: Ask| {
            let mut said = past(ask.now);
            let last = said[0].samples.last_mut().expect("a figure");
            last.intensity = Intensity::from_milligrams(7).expect("plausible");
            Ok(said)
        };
        script.lock().expect("not poisoned").answer = Some(Box::new(revised));
        assert!(lookout.turn(now).await, "a figure was revised");
        // Shortly after a restart who was heard is not asked: his first answer is kept for the sake of its time.
        let kept = lookout.kept();
        let mut again =
            Lookout::restored(setting("FR"), opening(&script, 900), kept, now).expect("configured");
        let now = again.next().expect("a provider");
        assert!(again.turn(now).await);
        let now = again.next().expect("a provider");
        assert!(!again.turn(now).await);
    });
}

fn wish(url: &str, value: &str) -> Wish {
    let shape = Shape {
        value: Some(json::Path::new(value).expect("a path")),
        list: None,
        time: None,
        unit: Unit::GramsPerKilowattHour,
        about: About::average(Basis::Lifecycle, Boundary::Consumption),
        slot: None,
    };
    let kind = Kind::HttpJson { shape, headers: Vec::new() };
    Wish { kind, zone: None, basis: None, url: Some(url.to_owned()), interval: None }
}

fn with(wishes: &[&Wish]) -> Setting {
    let providers = wishes.iter().copied().cloned().collect();
    Setting { wishes: Wishes { providers, ..Wishes::default() }, ..setting("FR") }
}

fn names(wishes: &[&Wish]) -> Vec<Name> {
    let lookout = Lookout::restored(with(wishes), super::open(), None, NOON).expect("configured");
    lookout.kept().expect("settled").book.order().to_vec()
}

/// A book in which each of these has said how much the hour around noon emits.
fn said(all: &[(&Name, u32)]) -> Kept {
    let mut book = Book::default();
    book.arrange(all.iter().map(|(name, _)| (*name).clone()).collect());
    for (name, grams) in all {
        let mut series =
            hourly(Ask { now: NOON, from: NOON.saturating_sub(hours(1)), until: NOON }).expect("figures");
        series[0].samples[0].end = NOON + hours(1);
        series[0].samples[0].intensity = Intensity::from_milligrams(grams * 1_000).expect("plausible");
        book.hear(name, series, NOON);
    }
    Kept { place: setting("FR").place().expect("configured"), pue: None, book }
}

#[test]
fn what_a_server_was_asked_decides_whose_figures_are_whose() {
    let (one, other) = (wish("http://a/now?for=one", "g"), wish("http://a/now?for=other", "g"));
    let of = names(&[&one, &other]);
    let charged = |kept: Kept, wishes: &[&Wish]| {
        let lookout = Lookout::restored(with(wishes), super::open(), Some(kept), NOON).expect("configured");
        let factor = Arc::clone(lookout.grid(NOON).plan.at(NOON));
        (factor.fallback, factor.intensity.as_milligrams() / 1_000)
    };
    let both = || said(&[(&of[0], 100), (&of[1], 200)]);
    assert_eq!(charged(both(), &[&one, &other]), (Step::Wanted, 100));
    assert_eq!(charged(both(), &[&other, &one]), (Step::Wanted, 200), "each has its own");
    assert_eq!(charged(both(), &[&wish("http://a/now?for=third", "g")]).0, Step::Table, "another is asked");
    // A file of an earlier version: one of that name goes on with it, of two nobody knows which.
    let earlier = || said(&[(&"http_json/FR".into(), 300)]);
    assert_eq!(charged(earlier(), &[&one]), (Step::Wanted, 300));
    assert_eq!(charged(earlier(), &[&one, &other]).0, Step::Table);
}

#[test]
fn a_question_has_the_same_name_until_it_is_another_and_a_key_is_no_part_of_it() {
    let name = |url: &str, value: &str| names(&[&wish(url, value)])[0].clone();
    let first = name("http://a/now?for=one&api_key=s3cret", "g");
    assert!(first.starts_with("http_json/FR~") && !first.contains("s3cret"), "{first}");
    assert_eq!(first, name("http://a/now?for=one&api_key=another", "g"), "keys are renewed");
    for (url, value) in [
        ("http://a/now?for=two&api_key=s3cret", "g"),
        ("http://b/now?for=one&api_key=s3cret", "g"),
        ("http://a/now?for=one&api_key=s3cret", "h"),
    ] {
        assert_ne!(first, name(url, value), "{url} {value}");
    }
    let twice = wish("http://a/now?for=one&api_key=s3cret", "g");
    let of = names(&[&twice, &twice]);
    assert_eq!((&of[0], of[1].strip_suffix("#2")), (&first, Some(&*first)));
}
