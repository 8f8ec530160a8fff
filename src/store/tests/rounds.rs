//! What goes in comes out: whole states, hours and records, through skips, retirements and restarts.

use super::*;
use proptest::prelude::*;

/// Names that would break a careless writer.
const NAMES: [&str; 6] = ["alice", "bob's \"lab\"", "ünï 漢", "a\nb", "", "x|y,z\u{0}"];

/// Ticks, commits some of them, kills and restarts; returns the model of what was committed.
fn run(sim: &mut Sim, disk: &Disk, ticks: usize, longest: u64) -> (Store, Sim) {
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    let mut committed = None;
    for _ in 0..ticks {
        let seconds = 1 + sim.random.next() % longest;
        sim.tick(seconds);
        if committed.is_some() && sim.random.one_in(3) {
            continue;
        }
        publish(&mut store, sim);
        committed = Some(sim.clone());
        if sim.random.one_in(10) {
            drop(store);
            let (opened, restored) = disk.open(&identity(), &sim.state.at);
            assert_eq!(&*restored.how, "continued");
            let found = restored.checkpoint.as_ref().expect("continued");
            assert_same(&image_of(found), &image_of(&sim.state));
            sim.resume(restored);
            store = opened;
        }
    }
    (store, committed.expect("some commit"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_comes_back_as_it_was_committed(
        seed in any::<u64>(),
        names in proptest::collection::vec(".{0,12}", 1..5),
        ticks in 1usize..40,
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let disk = Disk::new();
        let (store, model) = run(&mut Sim::new(seed, &names), &disk, ticks, 5);
        drop(store);
        let (_, restored) = disk.open(&identity(), &model.state.at);
        let found = restored.checkpoint.expect("continued");
        assert_same(&image_of(&found), &image_of(&model.state));
        prop_assert_eq!(restored.next_number, model.state.next_number);
    }

    #[test]
    fn the_past_is_what_was_charged(seed in any::<u64>(), ticks in 1usize..80) {
        let disk = Disk::new();
        let (store, model) = run(&mut Sim::new(seed, &NAMES), &disk, ticks, 1200);
        let live = disk.read();
        drop(store);
        let stopped = disk.read();
        for history in [live, stopped] {
            prop_assert_eq!(&history.damaged, &Vec::<String>::new());
            prop_assert_eq!(charged_of(&history), model.charged.clone());
            prop_assert_eq!(jobs_of(&history), model.recorded.clone());
            prop_assert_eq!(history.until, model.state.at.wall);
        }
    }
}

#[test]
fn a_retired_job_keeps_what_it_was_last_committed_with() {
    let disk = Disk::new();
    let mut sim = Sim::new(1, &NAMES);
    sim.tick(5);
    while sim.state.totals.jobs.is_empty() {
        sim.open_job();
    }
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    publish(&mut store, &mut sim);
    let job = sim.state.totals.jobs[0].job.clone();
    let before = disk.read().jobs;
    assert!(before.iter().any(|record| record.is_live && record.id.as_ref() == Some(&job.id)));
    sim.end_or_retire_job();
    let ended = sim.state.at.wall;
    while !sim.state.totals.jobs.is_empty() {
        sim.end_or_retire_job();
    }
    sim.tick(5);
    publish(&mut store, &mut sim);
    let after = disk.read().jobs;
    let record = after.iter().find(|record| record.id.as_ref() == Some(&job.id)).expect("closed");
    assert!(!record.is_live);
    assert_eq!((record.first_seen, record.last_seen), (job.started.wall, ended));
    assert_eq!(record.cgroup, job.cgroup);
    assert_eq!(store.size().job_records, after.iter().filter(|record| !record.is_live).count() as u64);
}

#[test]
fn an_hour_filled_by_two_processes_is_added_up() {
    let disk = Disk::new();
    let mut sim = Sim::new(3, &NAMES);
    for _ in 0..2 {
        let (mut store, restored) = disk.open(&identity(), &sim.state.at);
        if restored.checkpoint.is_some() {
            sim.resume(restored);
        }
        for _ in 0..5 {
            sim.tick(5);
            publish(&mut store, &mut sim);
        }
    }
    assert_eq!(charged_of(&disk.read()), sim.charged);
}

#[test]
fn reading_while_committing_sees_whole_commits() {
    let disk = Disk::new();
    let mut sim = Sim::new(4, &NAMES);
    let (mut store, _) = disk.open(&identity(), &sim.state.at);
    sim.tick(5);
    publish(&mut store, &mut sim);
    let path = disk.path().to_owned();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut last = Nanos::ZERO;
            for _ in 0..50 {
                let history = read(&path).expect("readable");
                assert_eq!(history.damaged, Vec::<String>::new());
                assert!(history.until >= last);
                last = history.until;
                let host = |kind: &str| -> u64 {
                    let of_kind = history.sums.iter().filter(|sum| &*sum.group.kind == kind);
                    of_kind.map(|sum| sum.energy.as_micro()).sum()
                };
                assert_eq!(host("user"), host("account"), "one commit");
            }
        });
        while !reader.is_finished() {
            sim.tick(5);
            publish(&mut store, &mut sim);
        }
    });
}

/// The other process of the test below: ticks and publishes until it is killed.
fn publish_until_killed(path: &Path, run: &Path) {
    let mut sim = Sim::new(60, &NAMES);
    let holder = Holder { pid: std::process::id(), boot: "boot-1".into(), host: "node-1".into() };
    let lock = Lock::take(path, &holder).expect("free");
    let (mut store, _) = Store::open(lock, Some(run), &identity(), &sim.state.at).expect("a store");
    for tick in 1.. {
        sim.tick(5);
        publish(&mut store, &mut sim);
        store.maintain(&sim.state.at).expect("a step");
        println!("shown {tick}");
    }
}

#[test]
fn a_killed_process_is_continued_from_no_less_than_it_has_shown() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    const NAME: &str = "store::tests::rounds::a_killed_process_is_continued_from_no_less_than_it_has_shown";
    // To the test program they are names of tests that are not there.
    const FOLDERS: &str = "folders=";
    let folders = std::env::args().find_map(|argument| Some(argument.strip_prefix(FOLDERS)?.to_owned()));
    if let Some((store, run)) = folders.as_deref().and_then(|folders| folders.split_once(':')) {
        return publish_until_killed(Path::new(store), Path::new(run));
    }
    for kill_after in [1, 7, 40, 65, 130] {
        let disk = Disk::new();
        let folders = format!("{FOLDERS}{}:{}", disk.path().display(), disk.run.path().display());
        let mut child = Command::new(std::env::current_exe().expect("a test program"))
            .args(["--exact", "--nocapture", NAME, &folders])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next = || -> Option<usize> {
            let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains("shown "))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        let mut shown = 0;
        while shown < kill_after {
            shown = next().expect("it goes on until it is killed");
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
        while let Some(later) = next() {
            shown = later;
        }
        let mut sim = Sim::new(60, &NAMES);
        let (_, restored) = disk.open(&identity(), &sim.state.at);
        let found = image_of(&restored.checkpoint.expect("continued"));
        (0..shown).for_each(|_| sim.tick(5));
        // The last commit may be one that was never shown.
        let is_shown = found == image_of(&sim.state);
        sim.tick(5);
        assert!(is_shown || found == image_of(&sim.state), "after {shown} ticks");
    }
}
