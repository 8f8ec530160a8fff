//! What is predicted of made-up runs, and of a real one, beside what they came to and beside Carbontracker's rule; the
//! tables of it in the documentation.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up figures, none of them large"
)]

mod traces;

use jouleprint::engine::prediction::course::note;
use jouleprint::engine::prediction::{Outlook, predict};
use jouleprint::model::quantity::{Energy, Nanos};
use jouleprint::model::speech::{Point, STEP};
use std::path::Path;
use std::sync::Mutex;
use traces::{CLASSES, Class, Trace, trace};

/// Of each class. The program's constants were chosen on runs with other seeds, not on these.
const RUNS: u64 = 40;
const FIRST_SEED: u64 = 20_260_000;

const SHARES: [u64; 4] = [5, 10, 25, 50];

/// The share at which the prediction must be good.
const JUDGED: u64 = 10;

/// Errors of one prediction as shares of what it came to in the end.
struct Judged {
    energy: f64,
    time: f64,
    is_energy_within: bool,
    is_time_within: bool,
    /// The mean of the epochs so far times their number, and the first one alone.
    by_epochs: f64,
    by_first_epoch: f64,
}

/// What is known when so many hundredths are done.
fn until(trace: &Trace, share: u64) -> Vec<Point> {
    let mut points = Vec::new();
    for report in &trace.reports {
        note(&mut points, *report);
        if u128::from(report.done) * 100 >= u128::from(trace.total) * u128::from(share) {
            break;
        }
    }
    points
}

fn judge(trace: &Trace, outlook: &Outlook, share: u64) -> Judged {
    let end = trace.end();
    let energy = outlook.energy.map(|energy| energy.as_joules());
    let time = outlook.duration.map(|time| time.as_seconds());
    // Its rule is about epochs alone: what was used before them is in neither of its figures.
    let epochs = trace.epochs.len() - 1;
    let whole = end.joules - trace.epochs[0].joules;
    let by_rule = |measured: usize| {
        let mean = (trace.epochs[measured].joules - trace.epochs[0].joules) / measured as f64;
        (mean * epochs as f64 / whole - 1.0).abs()
    };
    let measured = (epochs * usize::try_from(share).unwrap() / 100).max(1);
    Judged {
        energy: (energy[1] / end.joules - 1.0).abs(),
        time: (time[1] / end.seconds - 1.0).abs(),
        is_energy_within: (energy[0]..=energy[2]).contains(&end.joules),
        is_time_within: (time[0]..=time[2]).contains(&end.seconds),
        by_epochs: by_rule(measured),
        by_first_epoch: by_rule(1),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn share_of(judged: &[Judged], is: fn(&Judged) -> bool) -> f64 {
    judged.iter().filter(|judged| is(judged)).count() as f64 / judged.len() as f64
}

/// The figures of a line of the tables.
struct Line {
    energy: f64,
    energy_within: f64,
    time: f64,
    time_within: f64,
    by_epochs: f64,
    by_first_epoch: f64,
}

impl Line {
    fn of(judged: &[Judged]) -> Line {
        Line {
            energy: median(judged.iter().map(|judged| judged.energy)),
            energy_within: share_of(judged, |judged| judged.is_energy_within),
            time: median(judged.iter().map(|judged| judged.time)),
            time_within: share_of(judged, |judged| judged.is_time_within),
            by_epochs: median(judged.iter().map(|judged| judged.by_epochs)),
            by_first_epoch: median(judged.iter().map(|judged| judged.by_first_epoch)),
        }
    }

    fn cells(&self) -> String {
        let percent = |share: f64| share * 100.0;
        format!(
            "{:.1} % | {:.0} % | {:.1} % | {:.0} % | {:.1} % | {:.1} % |",
            percent(self.energy),
            percent(self.energy_within),
            percent(self.time),
            percent(self.time_within),
            percent(self.by_epochs),
            percent(self.by_first_epoch),
        )
    }
}

const HEAD: &str = "energy: error | within | duration: error | within | mean of the epochs: error | first epoch: error |\n\
                    |---|---|---|---|---|---|---|---|\n";

#[test]
fn four_of_five_runs_end_within_what_was_predicted_and_the_docs_show_it_beside_carbontrackers_rule() {
    let traces: Vec<(Class, u64, Trace)> = CLASSES
        .into_iter()
        .zip(0..)
        .flat_map(|((class, _), place)| (0..RUNS).map(move |run| (class, FIRST_SEED + place * RUNS + run)))
        .map(|(class, seed)| (class, seed, trace(class, seed)))
        .collect();
    assert!(traces.len() >= 200);
    let mut lines = format!("| done | runs, refused | {HEAD}");
    let mut by_class = format!("| at {JUDGED} %: runs that have | runs, refused | {HEAD}");
    for share in SHARES {
        let mut judged: Vec<(Class, Judged)> = Vec::new();
        for (class, seed, trace) in &traces {
            if let Some(outlook) = predict(&until(trace, share), trace.total, *seed) {
                judged.push((*class, judge(trace, &outlook, share)));
            }
        }
        if share == JUDGED {
            for (class, name) in CLASSES {
                let of: Vec<Judged> =
                    judged.extract_if(.., |(its, _)| *its == class).map(|(_, judged)| judged).collect();
                let refused = usize::try_from(RUNS).unwrap() - of.len();
                by_class += &format!("| {name} | {}, {refused} | {}\n", of.len(), Line::of(&of).cells());
                judged.extend(of.into_iter().map(|judged| (class, judged)));
            }
        }
        let refused = traces.len() - judged.len();
        let judged: Vec<Judged> = judged.into_iter().map(|(_, judged)| judged).collect();
        let line = Line::of(&judged);
        lines += &format!("| {share} % | {}, {refused} | {}\n", judged.len(), line.cells());
        assert!(line.energy < line.by_epochs && line.energy < line.by_first_epoch, "at {share} %:\n{lines}");
        if share == JUDGED {
            assert!(line.energy <= 0.05 && line.time <= 0.05, "at {share} %:\n{lines}");
            for within in [line.energy_within, line.time_within] {
                assert!((0.75..=0.85).contains(&within), "at {share} %:\n{lines}");
            }
        }
    }
    let tables = format!("{lines}\n{by_class}");
    println!("{tables}");
    keep("<!-- printed by tests/it/prediction.rs -->\n", &tables);
}

/// A training loop that ran once (tests/slow/train.py), 5 W for each processor that it kept busy.
fn recorded() -> (Vec<Point>, u64) {
    const WATTS: f64 = 5.0;
    let text = include_str!("prediction/digits.csv");
    let mut total = 0;
    let mut points = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<f64> = line.split(',').map(|field| field.parse().unwrap()).collect();
        let [seconds, done, all, busy] = fields[..] else { panic!("{line}") };
        total = all as u64 * STEP;
        points.push(Point {
            at: Nanos::new((seconds * 1e9) as u64),
            done: done as u64 * STEP,
            energy: Energy::from_micro((busy * WATTS * 1e6) as u64),
        });
    }
    (points, total)
}

#[test]
fn a_training_loop_that_ran_ended_as_predicted() {
    let (course, total) = recorded();
    let end = course[course.len() - 1];
    assert_eq!(end.done, total);
    let (joules, seconds) = (end.energy.as_joules(), end.at.as_seconds());
    let mut lines = String::from(
        "| done | energy, J | it was | duration, s | it was | mean of the epochs, J |\n|---|---|---|---|---|---|\n",
    );
    for share in SHARES {
        let so_far = course.iter().position(|point| point.done * 100 >= total * share).unwrap();
        let outlook = predict(&course[..=so_far], total, 1).unwrap();
        let energy = outlook.energy.map(|energy| energy.as_joules());
        let time = outlook.duration.map(|time| time.as_seconds());
        let (first, last) = (course[0], course[so_far]);
        let epochs = (last.done - first.done) as f64;
        let rule = (last.energy.as_joules() - first.energy.as_joules()) / epochs * total as f64;
        lines += &format!(
            "| {share} % | {:.0} ({:.0} to {:.0}) | {joules:.0} | {:.0} ({:.0} to {:.0}) | {seconds:.0} | {rule:.0} |\n",
            energy[1], energy[0], energy[2], time[1], time[0], time[2],
        );
        // Later on the machine had other work, which nobody could know.
        assert!((energy[1] / joules - 1.0).abs() <= 0.10, "at {share} %:\n{lines}");
        if share <= JUDGED {
            assert!((energy[0]..=energy[2]).contains(&joules), "at {share} %:\n{lines}");
        }
    }
    println!("{lines}");
    keep("<!-- of a real run, printed by tests/it/prediction.rs -->\n", &lines);
}

/// The docs hold what was printed, after this line.
fn keep(begin: &str, printed: &str) {
    // Two tests write to one file.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/prediction.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(begin).expect("the docs have a place for the table");
    let (written, tail) = rest.split_once("<!-- until here -->").expect("and its end");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, format!("{head}{begin}{printed}<!-- until here -->{tail}")).unwrap();
    } else {
        assert_eq!(written, printed, "run: UPDATE=1 cargo test --test it prediction");
    }
}
