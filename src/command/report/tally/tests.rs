//! Every key, every filter: rows add up to their total, and every view of the same part to the same total.

use super::*;
use crate::command::report::example::{AWKWARD, GPU, NOW, everything, history, spans};
use crate::command::report::order::{Sort, arrange};
use crate::command::report::question::{Filter, Life, Pattern};
use crate::model::identity::{HwType, JobKind};

const ALL: Span = Span { start: Nanos::ZERO, end: NOW };

fn past() -> Past {
    Past::of_store(history(), "store".to_owned())
}

fn ask(keys: &[Key], filter: Filter, period: Span) -> Tally {
    let question = Question::new(keys, filter, period).expect("an answer");
    let tally = tally(&past(), &question);
    check(&tally);
    tally
}

/// The rows add up to the total, origin by origin.
fn check(tally: &Tally) {
    let mut sum = Row::default();
    tally.rows.iter().for_each(|row| sum.absorb(row));
    assert_eq!((sum.measured, sum.estimated), (tally.total.measured, tally.total.estimated));
}

fn filter() -> Filter {
    Filter::default()
}

fn both(row: &Row) -> [(u128, u128); 2] {
    [row.measured, row.estimated].map(|part| (part.energy.unwrap_or(0), part.emissions.unwrap_or(0)))
}

fn cells(tally: &Tally) -> Vec<String> {
    tally.rows.iter().map(|row| row.cells.join("|")).collect()
}

#[test]
fn every_view_adds_up_to_what_was_used() {
    let everything = [everything(Origin::Measured), everything(Origin::Estimated)];
    for keys in [
        &[Key::Day][..],
        &[Key::Hour],
        &[Key::Host],
        &[Key::Zone],
        &[Key::Kind],
        &[Key::User],
        &[Key::Hardware],
        &[Key::Day, Key::Zone, Key::Host, Key::Hardware],
        &[Key::Hour, Key::User],
        &[Key::Kind, Key::Day],
        &[Key::Job],
        &[Key::Job, Key::Hardware],
        &[Key::Phase],
        &[Key::Job, Key::Phase],
        &[Key::Job, Key::Zone, Key::User, Key::Kind, Key::Host],
    ] {
        assert_eq!(both(&ask(keys, filter(), ALL).total), everything, "{keys:?}");
    }
    let by_user = Filter { group: Some(("user".into(), None)), ..filter() };
    assert_eq!(both(&ask(&[Key::Group], by_user, ALL).total), everything);
}

#[test]
fn each_key_makes_its_rows() {
    for (keys, expected) in [
        (&[Key::Host][..], &["n1", "n2"][..]),
        (&[Key::Zone], &["DE", "FR"]),
        (&[Key::Kind], &["custom", "idle", "pod", "system", "unit"]),
        (&[Key::User], &["", "0", "1000"]),
        (&[Key::Hardware], &["cpu|", "gpu|GPU-5d3f", "memory|"]),
        (&[Key::Day], &["2026-11-16", "2026-11-17", "2026-11-18", "before 2026-11-16"]),
        (
            &[Key::Hour],
            &[
                "2026-11-16",
                "2026-11-17",
                "2026-11-18T08:00:00Z",
                "2026-11-18T09:00:00Z",
                "2026-11-18T10:00:00Z",
                "before 2026-11-16",
            ],
        ),
        (&[Key::Zone, Key::Host], &["DE|n2", "FR|n1", "FR|n2"]),
    ] {
        assert_eq!(cells(&ask(keys, filter(), ALL)), expected, "{keys:?}");
    }
    let group = Filter { group: Some(("user".into(), Some("1000".into()))), ..filter() };
    assert_eq!(cells(&ask(&[Key::Group], group, ALL)), ["user|1000"]);
}

#[test]
fn phases_and_the_rest_are_the_job() {
    let mut history = history();
    let pod = &mut history.jobs[0];
    let all = whole(pod);
    let part = |name: &str, share: u64, cpu| speech::Phase {
        name: name.into(),
        time: Nanos::from_seconds(5),
        cpu: Nanos::new(cpu),
        amounts: Amounts(
            all.0
                .iter()
                .map(|amount| speech::Amount {
                    energy: Energy::from_micro(amount.energy.as_micro() / share),
                    emissions: Emissions::from_nano(amount.emissions.as_nano() / share),
                    ..*amount
                })
                .collect(),
        ),
    };
    let (load, train) = (part("load", 7, 1_000), part("train", 3, 2_000));
    pod.phases = vec![load.clone(), train];
    let cpu = pod.cpu;
    let past = Past::of_store(history, "store".to_owned());
    let asked = |keys: &[Key], filter| {
        let question = Question::new(keys, filter, ALL).expect("an answer");
        let tally = tally(&past, &question);
        check(&tally);
        tally
    };
    let of_pod = || Filter { kind: Some(JobKind::Pod), ..filter() };
    let phases = asked(&[Key::Job, Key::Phase], of_pod());
    let names: Vec<&str> = phases.rows.iter().map(|row| &*row.cells[4]).collect();
    assert_eq!(names, ["", "load", "train"]);
    assert_eq!(both(&phases.total), both(&asked(&[Key::Job], of_pod()).total));
    let [loaded, ..] = both(&phases.rows[1]);
    let measured = load.amounts.0.iter().filter(|amount| amount.origin == Origin::Measured);
    let energy: u128 = measured.map(|amount| u128::from(amount.energy.as_micro())).sum();
    assert_eq!(loaded.0, energy);
    let cpus = phases.rows.iter().map(|row| row.jobs.expect("jobs").cpu);
    assert_eq!(cpus.collect::<Vec<_>>(), [u128::from(cpu.get()) - 3_000, 1_000, 2_000]);
    assert_eq!(phases.total.jobs.expect("jobs").count, 1);
    // Of all jobs, and with what no job is charged with, it is still everything.
    let every = asked(&[Key::Phase], filter());
    assert_eq!(both(&every.total), [everything(Origin::Measured), everything(Origin::Estimated)]);
}

#[test]
fn each_filter_takes_its_part() {
    let kind = |kind| Filter { kind: Some(kind), ..filter() };
    let host = |host: &str| Filter { host: Some(host.into()), ..filter() };
    let zone = |zone: &str| Filter { zone: Some(zone.into()), ..filter() };
    let hardware = |hardware| Filter { hardware: Some(hardware), ..filter() };
    let user = |user| Filter { user: Some(user), ..filter() };
    // The same part seen twice: once picked out, once as a row.
    for (filter_by, key, row) in [
        (kind(JobKind::Pod), Key::Kind, "pod"),
        (host("n2"), Key::Host, "n2"),
        (zone("de"), Key::Zone, "DE"),
        (hardware(HwType::Gpu), Key::Hardware, "gpu|GPU-5d3f"),
        (user(1000), Key::User, "1000"),
    ] {
        let rows = ask(&[key], filter(), ALL);
        let found = rows.rows.iter().find(|found| found.cells.join("|") == row).expect(row);
        let picked = ask(&[Key::Day], filter_by, ALL);
        assert_eq!(both(&picked.total), both(found), "{row}");
        assert_ne!(both(&picked.total), both(&rows.total), "{row}");
    }
    let nobody = ask(&[Key::Day], host("n3"), ALL);
    assert!(nobody.rows.is_empty() && nobody.total.measured.is_missing());
}

#[test]
fn measured_and_estimated_are_never_together_and_what_is_missing_is_not_0() {
    let rows = ask(&[Key::Hardware], filter(), ALL).rows;
    for row in &rows {
        let is_memory = &*row.cells[0] == "memory";
        assert_eq!(row.measured.is_missing(), is_memory, "{row:?}");
        assert_eq!(row.estimated.is_missing(), !is_memory, "{row:?}");
    }
    assert_eq!(&*rows[1].cells[1], GPU);
}

#[test]
fn time_takes_whole_slots_and_says_so() {
    let [_, _, yesterday, eight, _, _] = spans();
    let inside = |start: Nanos, end: Nanos| ask(&[Key::Hour], filter(), Span { start, end });
    let whole = inside(yesterday.start, eight.start);
    assert_eq!((cells(&whole), whole.notes.len()), (vec!["2026-11-17".to_owned()], 0));
    let second = Nanos::from_seconds(1);
    let cut = inside(yesterday.start + second, eight.start + second);
    assert_eq!(cells(&cut), ["2026-11-17", "2026-11-18T08:00:00Z"]);
    assert_eq!(cut.notes, ["slots of up to 1d 00h that are only partly in the period are counted whole"]);
    assert_eq!(both(&cut.rows[0]), both(&whole.rows[0]));
    // The hour that is being filled holds nothing yet of what is to come.
    assert!(inside(eight.start, NOW).notes.is_empty());
    let hour = inside(eight.start + second, NOW).notes;
    assert_eq!(hour, ["slots of up to 1h 00m that are only partly in the period are counted whole"]);
    let old = ask(&[Key::Day], filter(), Span { start: second, end: NOW });
    assert_eq!(old.notes, ["what was used before 2026-11-16 is kept as one sum, and counted whole"]);
    assert_eq!(&*old.rows[3].cells[0], "before 2026-11-16");
}

#[test]
fn jobs_are_whole_and_adding_them_to_the_rest_says_when_it_is_more_than_the_period() {
    let tally = ask(&[Key::Job], filter(), ALL);
    let places: Vec<Place> = tally.rows.iter().map(|row| row.place).collect();
    assert_eq!(places.iter().filter(|place| **place == Place::Folded).count(), 1);
    assert_eq!(places.iter().filter(|place| **place == Place::NoJob).count(), 2, "one a host");
    assert_eq!(tally.total.jobs.as_ref().map(|lives| lives.count), Some(4 + 7));
    assert!(tally.notes.is_empty(), "{:?}", tally.notes);
    let today = Span { start: spans()[3].start, end: NOW };
    let tally = ask(&[Key::Job], filter(), today);
    assert_eq!(tally.rows.iter().filter(|row| row.place == Place::Ordinary).count(), 4);
    assert_eq!(tally.notes, ["3 jobs reach beyond the period and are counted with all they used"]);
    // What no job is charged with is of the period alone.
    let kinds = ask(&[Key::Kind], filter(), today);
    let rest = |tally: &Tally, is: &dyn Fn(&Row) -> bool| {
        let mut sum = Row::default();
        tally.rows.iter().filter(|row| is(row)).for_each(|row| sum.absorb(row));
        both(&sum)
    };
    let in_kinds = rest(&kinds, &|row| ["system", "idle"].contains(&&*row.cells[0]));
    assert_eq!(rest(&tally, &|row| row.place == Place::NoJob), in_kinds);
}

#[test]
fn filters_of_jobs_leave_out_the_rest() {
    let job = |pattern| Filter { job: Pattern::new(pattern).ok(), ..filter() };
    let life = |life| Filter { life, ..filter() };
    for (filter_by, expected) in [
        (job("ssh"), vec!["n1|unit|ssh.service|", "n2|unit|ssh.service|"]),
        (job("*ssh"), vec![]),
        (Filter { host: Some("n2".into()), ..job("ssh*") }, vec!["n2|unit|ssh.service|"]),
        (
            Filter { kind: Some(JobKind::Pod), ..filter() },
            vec!["n1|pod|5c1a8a0e-1c5e-4a5c-9d0e-8f6f5b7f2d11|1000"],
        ),
        (Filter { user: Some(0), ..filter() }, vec!["n2|custom|näme, \"quoted\"\n|0"]),
        (life(Life::Live), vec!["n1|unit|ssh.service|", "n2|unit|ssh.service|"]),
    ] {
        let shown = format!("{filter_by:?}");
        assert_eq!(cells(&ask(&[Key::Job], filter_by, ALL)), expected, "{shown}");
    }
    let ended = ask(&[Key::Job], life(Life::Ended), ALL);
    assert_eq!(ended.rows.len(), 3, "two, and those that are folded: {:?}", cells(&ended));
    let notes = ask(&[Key::Job], job("ssh"), ALL).notes;
    assert_eq!(notes, ["7 older jobs are folded together and can no longer be picked out"]);
}

#[test]
fn a_job_that_saw_two_zones_tells_its_grams_by_zone_and_its_energy_not() {
    let tally = ask(&[Key::Job, Key::Zone], Filter { user: Some(0), ..filter() }, ALL);
    let zones: Vec<&str> = tally.rows.iter().map(|row| &*row.cells[4]).collect();
    assert_eq!(zones, ["", "DE", "FR"]);
    assert!(tally.rows[0].measured.energy.is_some() && tally.rows[0].measured.emissions.is_none());
    assert!(tally.rows[1].measured.energy.is_none() && tally.rows[1].measured.emissions.is_some());
    assert!(tally.notes[0].contains("1 jobs from more than one grid zone"), "{:?}", tally.notes);
    let lives = tally.total.jobs.expect("a job");
    assert_eq!((lives.count, lives.cpu), (1, 6_000_000_000), "a job in three rows is one job");
    let german = ask(&[Key::Job], Filter { zone: Some("DE".into()), ..filter() }, ALL);
    assert_eq!(german.rows.iter().filter(|row| row.place == Place::Ordinary).count(), 2);
}

#[test]
fn a_job_that_has_used_nothing_is_listed() {
    let mut past = past();
    for job in &mut past.jobs {
        job.energy.clear();
        job.emissions.clear();
    }
    let question = |filter| Question::new(&[Key::Job], filter, ALL).expect("an answer");
    let rows = |filter| records(&past, &question(filter)).rows.len();
    assert_eq!(rows(filter()), 5);
    assert_eq!(rows(Filter { hardware: Some(HwType::Cpu), ..filter() }), 0);
}

#[test]
fn records_are_one_row_each_though_a_job_came_back() {
    let mut past = past();
    let again = JobRecord { first_seen: NOW, last_seen: NOW, ..past.jobs[1].clone() };
    past.jobs.push(again);
    let question = Question::new(&[Key::Job], filter(), Span { end: NOW + Nanos::new(1), ..ALL });
    let question = question.expect("an answer");
    let mut each = records(&past, &question);
    check(&each);
    assert_eq!(each.rows.len(), 6);
    arrange(&mut each, Sort::Time, Some(2));
    let order: Vec<&str> = each.rows.iter().map(|row| &*row.cells[2]).collect();
    // The newest first; folded ones are last, and always there.
    assert_eq!(order, ["ssh.service", "ssh.service", ""]);
    assert_eq!(each.rows[0].start, NOW);
    let (count, sum) = each.more.as_ref().expect("more");
    assert_eq!((*count, sum.jobs.map(|lives| lives.count)), (3, Some(3)));
    assert_eq!(tally(&past, &question).rows.len(), 5 + 2, "by job, the two lives are one row");
}

#[test]
fn order_and_limit_keep_the_sums() {
    let energy = |row: &Row| both(row)[0].0 + both(row)[1].0;
    for sort in [Sort::Energy, Sort::Emissions, Sort::Name, Sort::Time] {
        for limit in [None, Some(0), Some(1), Some(99)] {
            let mut tally = ask(&[Key::Job], filter(), ALL);
            let total = tally.total.clone();
            arrange(&mut tally, sort, limit);
            let mut sum = tally.more.as_ref().map(|(_, sum)| sum.clone()).unwrap_or_default();
            tally.rows.iter().for_each(|row| sum.absorb(row));
            assert_eq!(both(&sum), both(&total), "{sort:?} {limit:?}");
            let places: Vec<Place> = tally.rows.iter().map(|row| row.place).collect();
            assert!(places.is_sorted(), "{places:?}");
        }
    }
    let mut days = ask(&[Key::Day], filter(), ALL);
    arrange(&mut days, Sort::Time, None);
    assert_eq!(&*days.rows[0].cells[0], "before 2026-11-16");
    arrange(&mut days, Sort::Energy, None);
    assert!(days.rows.is_sorted_by_key(|row| std::cmp::Reverse(energy(row))));
    assert!(AWKWARD.contains(','));
}

#[test]
fn hosts_whose_sums_are_of_other_kinds_add_up_too() {
    // n2 tells users only in one span; any kind is the host's whole.
    let mut past = past();
    past.sums.retain(|part| &*part.host != "n2" || part.span != spans()[2] || &*part.group.kind == "user");
    let question = Question::new(&[Key::Host], filter(), ALL).expect("an answer");
    let total = tally(&past, &question).total;
    assert_eq!(both(&total), [everything(Origin::Measured), everything(Origin::Estimated)]);
}
