//! What programs read: golden columns and figures, and names that are awkward.

use super::*;
use crate::command::report::example::{AWKWARD, NOW, history};
use crate::command::report::order::{Sort, arrange};
use crate::command::report::past::Past;
use crate::command::report::question::{Filter, Key, Question};
use crate::command::report::tally::tally;
use crate::model::checkpoint::Group;
use crate::model::history::Sum;
use crate::model::identity::JobKind;
use crate::model::quantity::{Emissions, Energy};
use serde_json::Value;

fn ask(keys: &[Key], filter: Filter) -> Tally {
    let period = Span { start: Nanos::ZERO, end: NOW };
    let question = Question::new(keys, filter, period).expect("an answer");
    let mut tally = tally(&Past::of_store(history(), "store".to_owned()), &question);
    arrange(&mut tally, Sort::Name, None);
    tally
}

fn as_json(tally: &Tally) -> String {
    let notes = ["a \"note\"".to_owned()];
    let period = Span { start: Nanos::ZERO, end: NOW };
    json(tally, &Frame { period, source: "store", notes: &notes, has_equivalents: true }).expect("JSON")
}

#[test]
fn csv_is_this() {
    let pods = Filter { kind: Some(JobKind::Pod), ..Filter::default() };
    assert_eq!(
        csv(&ask(&[Key::Hardware], pods.clone())).expect("CSV"),
        "hw_type,gpu,energy_measured_joules,energy_estimated_joules,emissions_measured_grams,emissions_estimated_grams,grams_per_kilowatt_hour,emissions_revision_grams\n\
         cpu,,171000.001197,,0.183000549,,3.853,\n\
         gpu,GPU-5d3f,174000.001218,,0.186000558,,3.848,\n\
         memory,,,177000.001239,,0.189000567,3.844,\n"
    );
    assert_eq!(
        csv(&ask(&[Key::Job], pods)).expect("CSV"),
        "host,job_kind,job_id,user,energy_measured_joules,energy_estimated_joules,emissions_measured_grams,emissions_estimated_grams,grams_per_kilowatt_hour,emissions_revision_grams,jobs,state,first_seen,last_seen,duration_seconds,cpu_seconds\n\
         n1,pod,5c1a8a0e-1c5e-4a5c-9d0e-8f6f5b7f2d11,1000,345000.002415,177000.001239,0.369001107,0.189000567,3.848,,1,ended,2026-11-17T00:01:00Z,2026-11-18T09:59:59.999999999Z,122339.999999999,7.5\n"
    );
}

#[test]
fn csv_and_json_tell_the_same_and_awkward_names_survive() {
    for keys in [&[Key::Job][..], &[Key::Day, Key::Zone, Key::User], &[Key::Kind, Key::Host]] {
        let tally = ask(keys, Filter::default());
        let text = csv(&tally).expect("CSV");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().expect("a header").clone();
        let document: Value = serde_json::from_str(&as_json(&tally)).expect("JSON");
        let rows = document["rows"].as_array().expect("rows");
        let records: Vec<_> = reader.records().map(|record| record.expect("as wide as the header")).collect();
        assert_eq!(records.len(), rows.len());
        for (record, row) in records.iter().zip(rows) {
            let row = row.as_object().expect("an object");
            assert_eq!(row.len(), header.len());
            for (name, value) in header.iter().zip(record) {
                let told = match &row[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    // Digits beyond a float's are in the text alone.
                    number => {
                        let [told, read] = [number.as_f64(), value.parse().ok()];
                        assert_eq!(told, read, "{name}");
                        value.to_owned()
                    }
                };
                assert_eq!(told, value, "{name}");
            }
        }
    }
    let text = csv(&ask(&[Key::Job], Filter::default())).expect("CSV");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert!(reader.records().any(|record| &record.expect("a record")[2] == AWKWARD));
}

#[test]
fn json_has_every_digit_and_a_total_with_the_same_columns() {
    let tally = ask(&[Key::Host], Filter::default());
    let text = as_json(&tally);
    let total = decimal(tally.total.measured.energy.expect("measured"), 6);
    assert!(text.contains(&format!("\"energy_measured_joules\": {total},")), "{text}");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["from"], Value::Null, "everything there is has no beginning");
    assert_eq!(document["until"], "2026-11-18T10:26:40Z");
    assert_eq!(document["source"], "store");
    assert_eq!(document["notes"][0], "a \"note\"");
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&document["total"]), names(&document["rows"][0]));
    assert_eq!(document["total"]["host"], Value::Null);
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("\"host\"")).collect();
    assert_eq!(rows.len(), 3, "keys stand in the order of the columns, host first");
}

#[test]
fn rows_of_jobs_say_what_they_are() {
    let tally = ask(&[Key::Job], Filter::default());
    let states: Vec<_> = tally.rows.iter().map(|row| state(row).expect("a state")).collect();
    assert_eq!(states, ["ended", "live", "ended", "live", "folded", "none", "none"]);
    assert_eq!(state(&tally.total), None);
}

#[test]
fn what_was_revised_later_stands_beside_what_was_charged() {
    let mut history = history();
    let first = history.sums[0].clone();
    for (name, nanograms) in [("-", 5_000_000_000), ("+", 1_000_000_000)] {
        history.sums.push(Sum {
            group: Group { kind: "#revision".into(), name: name.into() },
            energy: Energy::ZERO,
            emissions: Emissions::from_nano(nanograms),
            ..first.clone()
        });
    }
    let past = Past::of_store(history, "store".to_owned());
    let period = Span { start: Nanos::ZERO, end: NOW };
    for keys in [&[Key::Kind][..], &[Key::User], &[Key::Hour, Key::Zone], &[Key::Hardware]] {
        let tally = tally(&past, &Question::new(keys, Filter::default(), period).expect("an answer"));
        assert_eq!(tally.total.revision, Some(-4_000_000_000), "{keys:?}");
        assert_eq!(tally.rows.iter().filter_map(|row| row.revision).sum::<i128>(), -4_000_000_000);
        assert!(csv(&tally).expect("CSV").contains(",-"), "{keys:?}");
        let note = tally.notes.iter().find(|note| note.contains("were revised")).expect("a note");
        assert!(note.contains("4 g less in all"), "{note}");
    }
    let jobs = tally(&past, &Question::new(&[Key::Job], Filter::default(), period).expect("an answer"));
    assert_eq!(jobs.total.revision, None);
    assert!(jobs.notes.iter().any(|note| note.contains("not in the rows of jobs")), "{:?}", jobs.notes);
}
