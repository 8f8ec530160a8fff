//! What is printed around the rows: damages, reasons for nothing, the overview.

use super::*;
use crate::command::report::example::{NOW, history};
use crate::model::history::History;

fn session(format: Format, host: Option<&str>) -> Session {
    let selection = Selection { format, host: host.map(str::to_owned), ..Selection::default() };
    Session::new(&selection, Life::All, Nanos::ZERO, NOW).expect("a session")
}

fn compose(session: &Session, past: &Past, key: Key) -> Parts {
    let question = Question::new(&[key], session.filter.clone(), session.period).expect("an answer");
    session.compose(&title(&question), past, &question, tally(past, &question)).expect("a report")
}

fn damaged() -> Past {
    let mut history = history();
    history.damaged = vec!["page 7: checksum".to_owned()];
    Past::of_store(history, "/store".to_owned())
}

#[test]
fn damages_are_told_once_and_in_json_too() {
    let past = damaged();
    let text = "damaged and left out: page 7: checksum";
    for format in [Format::Table, Format::Csv, Format::Json] {
        let parts = compose(&session(format, None), &past, Key::Day);
        assert_eq!(parts.damaged.iter().collect::<Vec<_>>(), [text], "{format:?}");
        assert_eq!(parts.text.contains(text), format == Format::Json, "{format:?}");
    }
    let session = session(Format::Table, None);
    let mut parts = Parts::default();
    for (key, _) in OVERVIEW {
        let question = Question::new(&[key], Filter::default(), session.period).expect("an answer");
        session.add(&title(&question), &past, &question, tally(&past, &question), &mut parts);
    }
    assert_eq!((parts.damaged.len(), parts.text.matches("from /store").count()), (1, 1));
    assert_eq!(parts.text.matches("Energy and emissions by").count(), 3);
}

#[test]
fn the_total_is_compared_with_everyday_things_unless_that_is_not_wanted() {
    let like = |format, no_equivalents| {
        let selection = Selection { format, no_equivalents, ..Selection::default() };
        let session = Session::new(&selection, Life::All, Nanos::ZERO, NOW).expect("a session");
        let parts = compose(&session, &Past::of_store(history(), "/store".to_owned()), Key::Kind);
        (parts.like, parts.text.contains("\"equivalents\": [") && parts.text.contains("\"id\": \"tv_hour\""))
    };
    let (line, _) = like(Format::Table, false);
    // The example is 0.58 kWh and 2.2 g or so.
    assert!(
        line.as_deref().is_some_and(|line| line.ends_with("charges of a smartphone (EPA 2024)")),
        "{line:?}"
    );
    assert_eq!(like(Format::Json, false), (None, true));
    for format in [Format::Table, Format::Json, Format::Csv] {
        assert_eq!(like(format, true), (None, false), "{format:?}");
    }
}

#[test]
fn nothing_says_why() {
    let empty = Past::of_store(History::default(), "/store".to_owned());
    let parts = compose(&session(Format::Table, None), &empty, Key::Day);
    assert!(parts.notes[0].contains("/store holds nothing"), "{:?}", parts.notes);
    let parts = compose(&session(Format::Table, Some("n3")), &damaged(), Key::Host);
    let note = &parts.notes[0];
    assert!(note.contains("nothing fits: /store holds from 2026-11-15"), "{note}");
    assert!(note.contains("of n1, n2") && note.contains("account, user"), "{note}");
    let parts = compose(&session(Format::Csv, Some("n3")), &damaged(), Key::Host);
    assert!(parts.asides[0].contains("nothing fits") && parts.text.lines().count() == 1);
    let parts = compose(&session(Format::Json, Some("n3")), &damaged(), Key::Host);
    assert!(parts.text.contains("nothing fits") && parts.text.contains("\"rows\": []"), "{}", parts.text);
}

#[test]
fn a_machine_that_knows_the_user_knows_the_number() {
    let selection = Selection { user: Some("4000000000".to_owned()), ..Selection::default() };
    let session = Session::new(&selection, Life::All, Nanos::ZERO, NOW).expect("a session");
    assert_eq!(session.filter.user, Some(4_000_000_000));
}
