//! What is asked of a Prometheus, and what becomes of its answers.

use super::client::tests::{Does, Server, ok, with};
use super::*;
use crate::command::report::question::{Filter, Pattern};
use crate::command::report::tally::{Place, Row, Tally, records, tally};

/// 2026-11-18T10:26:40Z.
const NOW: u64 = 1_794_997_600;

fn vector(series: &[(&str, &str)]) -> Does {
    let series: Vec<String> = series
        .iter()
        .map(|(labels, value)| format!(r#"{{"metric":{{{labels}}},"value":[{NOW},"{value}"]}}"#))
        .collect();
    ok(&format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, series.join(",")))
}

fn labels(text: &str) -> String {
    let pairs = text.split(' ').map(|pair| pair.split_once('=').expect("a pair"));
    pairs.map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect::<Vec<_>>().join(",")
}

/// Asks a server with these answers; gives what came of it, and the requests.
fn ask(
    keys: &[Key],
    filter: Filter,
    seconds: u64,
    answers: Vec<Does>,
) -> (Result<Past, String>, Vec<String>) {
    let server = Server::start(answers);
    let now = Nanos::from_seconds(NOW);
    let url = format!("http://{}", server.address);
    let mut fleet = Fleet::open(&url, &Selection::default(), now).expect("a client");
    let question = question(keys, filter, seconds);
    let past = fleet.ask(&question).map_err(|error| error.to_string());
    let asked =
        server.asked().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect();
    (past, asked)
}

fn question(keys: &[Key], filter: Filter, seconds: u64) -> Question {
    let now = Nanos::from_seconds(NOW);
    let period = Span { start: Nanos::from_seconds(NOW - seconds), end: now };
    Question::new(keys, filter, period).expect("an answer")
}

fn rows(tally: &Tally) -> Vec<(String, Option<u128>, Option<u128>)> {
    let row = |row: &Row| (row.cells.join("|"), row.measured.energy, row.measured.emissions);
    tally.rows.iter().map(row).collect()
}

#[test]
fn hosts_have_their_meters_and_their_grams() {
    let one = labels("host=n1 hw_type=cpu gpu= origin=measured");
    let two = labels("host=n2 hw_type=gpu gpu=G origin=measured");
    let other = labels("host=n3 hw_type=cpu");
    let fr = labels("host=n1 origin=measured grid_zone=FR");
    let [de, pl] = ["DE", "PL"].map(|zone| labels(&format!("host=n2 origin=measured grid_zone={zone}")));
    let answers = || {
        vec![
            vector(&[(&one, "12.5"), (&two, "1e+10"), (&other, "7"), (&one, "NaN")]),
            vector(&[(&fr, "0.000000001"), (&de, "2"), (&pl, "3")]),
        ]
    };
    let (past, asked) = ask(&[Key::Host], Filter::default(), 3_600, answers());
    let past = past.expect("an answer");
    assert!(asked[0].starts_with("GET /api/v1/query?query=sum%20by"), "{}", asked[0]);
    assert!(asked[0].contains("3600000ms") && asked[0].contains("time=1794997600.000"), "{}", asked[0]);
    let hosts = tally(&past, &question(&[Key::Host], Filter::default(), 3_600));
    assert_eq!(
        rows(&hosts),
        [
            ("n1".to_owned(), Some(12_500_000), Some(1)),
            ("n2".to_owned(), Some(10_000_000_000_000_000), Some(5_000_000_000)),
        ]
    );
    assert!(hosts.notes.iter().any(|note| note.contains("extrapolates")), "{:?}", hosts.notes);
    // Of a host in two zones the grams can be told apart, the energy cannot.
    let zones = tally(&past, &question(&[Key::Zone], Filter::default(), 3_600));
    let names: Vec<&str> = zones.rows.iter().map(|row| &*row.cells[0]).collect();
    assert_eq!(names, ["", "DE", "FR", "PL"]);
    assert_eq!(zones.rows[2].measured.energy, Some(12_500_000));
    assert!(zones.notes.iter().any(|note| note.contains("more than one grid zone")), "{:?}", zones.notes);
}

#[test]
fn days_are_asked_for_at_once_and_whole() {
    let metric = labels("host=n1 hw_type=cpu gpu= origin=measured");
    let matrix = format!(
        r#"{{"status":"success","warnings":["half is missing"],"data":{{"resultType":"matrix","result":[
        {{"metric":{{{metric}}},"values":[[1794960000,"1"],[1795046400,"2"]]}}]}}}}"#
    );
    let (past, asked) = ask(&[Key::Day], Filter::default(), 86_400, vec![ok(&matrix), vector(&[])]);
    let past = past.expect("an answer");
    let range = "start=1794960000.000&end=1795046400.000&step=86400.000";
    assert!(asked[0].starts_with("GET /api/v1/query_range?") && asked[0].contains(range), "{}", asked[0]);
    let days = tally(&past, &question(&[Key::Day], Filter::default(), 86_400));
    assert_eq!(
        rows(&days),
        [("2026-11-17".to_owned(), Some(1_000_000), None), ("2026-11-18".to_owned(), Some(2_000_000), None)]
    );
    assert!(days.notes.contains(&"Prometheus warns: half is missing".to_owned()), "{:?}", days.notes);
    assert!(days.notes.iter().any(|note| note.contains("1d 00h")), "{:?}", days.notes);
}

#[test]
fn jobs_come_with_their_times_and_what_no_job_is_charged_with() {
    let pod = "host=n1 job_kind=pod job_id=p";
    let old = "host=n1 job_kind=unit job_id=gone.service";
    let column = "hw_type=cpu gpu= origin=measured";
    let [pod_column, old_column] = [pod, old].map(|job| labels(&format!("{job} {column}")));
    let zone = labels(&format!("{pod} {column} grid_zone=FR"));
    let idle = labels("host=n1 account=idle hw_type=cpu gpu= origin=measured");
    let idle_zone = labels("host=n1 account=idle hw_type=cpu gpu= origin=measured grid_zone=FR");
    let [pod, old] = [pod, old].map(labels);
    let [early, late] = [NOW - 3_000, NOW - 30].map(|seconds| seconds.to_string());
    let (past, asked) = ask(
        &[Key::Job],
        Filter::default(),
        3_600,
        vec![
            vector(&[(&pod, &early), (&old, &early)]),
            vector(&[(&pod, &late), (&old, &early)]),
            vector(&[(&pod, "4.5"), (&old, "0")]),
            vector(&[(&pod_column, "100"), (&old_column, "0")]),
            vector(&[(&zone, "1")]),
            vector(&[(&idle, "50")]),
            vector(&[(&idle_zone, "2")]),
        ],
    );
    let past = past.expect("an answer");
    assert_eq!(asked.len(), 7);
    assert!(asked[0].contains("min_over_time") && asked[0].contains("15s"), "{}", asked[0]);
    let question = question(&[Key::Job], Filter::default(), 3_600);
    let jobs = tally(&past, &question);
    assert_eq!(
        rows(&jobs),
        [
            ("n1|pod|p|".to_owned(), Some(100_000_000), Some(1_000_000_000)),
            ("n1|||".to_owned(), Some(50_000_000), Some(2_000_000_000)),
        ],
        "a series that lingers is no job"
    );
    assert_eq!(jobs.rows[1].place, Place::NoJob);
    let lives = jobs.rows[0].jobs.expect("a job");
    assert_eq!((lives.cpu, lives.is_live), (4_500_000_000, true));
    assert_eq!(lives.first_seen, Nanos::from_seconds(NOW - 3_000));
    assert_eq!(records(&past, &question).rows.len(), 1);
}

#[test]
fn what_is_too_much_at_once_is_asked_in_halves() {
    let metric = labels("host=n1 hw_type=cpu gpu= origin=measured");
    let too_much = || {
        let error = "query processing would load too many samples into memory in query execution";
        Does::Answers(with("422 Unprocessable", &format!(r#"{{"status":"error","error":"{error}"}}"#)))
    };
    let (past, asked) = ask(
        &[Key::Host],
        Filter::default(),
        3_600,
        vec![too_much(), vector(&[(&metric, "1")]), vector(&[(&metric, "2")]), vector(&[])],
    );
    let past = past.expect("an answer");
    assert!(asked[1].contains("1800000ms") && asked[1].contains("time=1794995800.000"), "{}", asked[1]);
    assert!(asked[2].contains("1800000ms") && asked[2].contains("time=1794997600.000"), "{}", asked[2]);
    let hosts = tally(&past, &question(&[Key::Host], Filter::default(), 3_600));
    assert_eq!(rows(&hosts), [("n1".to_owned(), Some(3_000_000), None)]);
    let (past, _) = ask(&[Key::Host], Filter::default(), 900, vec![too_much()]);
    let error = past.expect_err("too much");
    assert!(error.contains("too many samples") && error.contains("--query.max-samples"), "{error}");
}

#[test]
fn each_question_asks_what_it_needs() {
    let empty = |count| (0..count).map(|_| vector(&[])).collect::<Vec<_>>();
    let kind = || Filter { kind: Some(JobKind::Pod), ..Filter::default() };
    let hardware = || Filter { hardware: Some(HwType::Gpu), ..Filter::default() };
    let job = || Filter { job: Pattern::new("x").ok(), ..Filter::default() };
    for (keys, filter, count, part) in [
        (&[Key::Kind][..], Filter::default(), 4, "account"),
        (&[Key::Kind], kind(), 2, "job_kind%3D%22pod%22"),
        (&[Key::Hardware], Filter::default(), 3, "hw_energy_joules_total"),
        (&[Key::Host], hardware(), 3, "hw_type%3D%22gpu%22"),
        (&[Key::Zone], Filter { host: Some("n1".into()), ..Filter::default() }, 2, "host%3D%22n1%22"),
        (&[Key::Job], job(), 5, "job_id%3D~%22.%2Ax.%2A%22"),
    ] {
        let (past, asked) = ask(keys, filter, 3_600, empty(count));
        let past = past.expect("an answer");
        assert!(past.is_empty() && asked.len() == count, "{keys:?}: {asked:?}");
        assert!(asked.iter().any(|line| line.contains(part)), "{keys:?} lacks {part}: {asked:?}");
    }
}

#[test]
fn what_it_has_no_series_for_is_said_before_it_is_asked() {
    let user = Filter { user: Some(1), ..Filter::default() };
    let group = Filter { group: Some(("team".into(), None)), ..Filter::default() };
    let project = Key::Attribute(crate::model::description::Attribute::Project);
    for (keys, filter) in [
        (&[Key::User][..], Filter::default()),
        (&[Key::Day], user),
        (&[Key::Group], group),
        (&[project], Filter::default()),
        (&[Key::Label("label:x")], Filter::default()),
    ] {
        let (past, asked) = ask(keys, filter, 60, vec![]);
        let error = past.expect_err("no series");
        assert!(error.contains("--store") && asked.is_empty(), "{error}");
    }
    let refused = Does::Answers(with("400 Bad", r#"{"status":"error","errorType":"bad_data","error":"no"}"#));
    let (past, _) = ask(&[Key::Host], Filter::default(), 60, vec![refused]);
    let error = past.expect_err("refused");
    assert!(
        error.starts_with("asking http://127.0.0.1:") && error.ends_with("refuses the query: no"),
        "{error}"
    );
}
