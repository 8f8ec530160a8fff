//! A made-up /proc, read tick by tick.

use super::*;
use proptest::prelude::*;

/// A process of the made-up machine, in 1/100 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fake {
    own: u64,
    waited: u64,
    start: u64,
}

struct Proc {
    folder: tempfile::TempDir,
    all: BTreeMap<u32, Fake>,
    uptime: u64,
    born: u64,
}

impl Proc {
    fn new() -> Proc {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let proc = Proc { folder, all: BTreeMap::new(), uptime: 100_000, born: 0 };
        proc.write();
        proc
    }

    fn path(&self, pid: u32) -> PathBuf {
        self.folder.path().join(pid.to_string())
    }

    fn write(&self) {
        let uptime = format!("{}.{:02} 1.00\n", self.uptime / 100, self.uptime % 100);
        std::fs::write(self.folder.path().join("uptime"), uptime).expect("written");
        for (pid, fake) in &self.all {
            std::fs::create_dir_all(self.path(*pid)).expect("made");
            let Fake { own, waited, start } = fake;
            let stat = format!(
                "{pid} (p {pid}) S 1 1 1 0 -1 4194560 1 2 3 4 {} {} {} 0 20 0 1 0 {start} 9 9 9\n",
                own / 2,
                own - own / 2,
                waited
            );
            std::fs::write(self.path(*pid).join("stat"), stat).expect("written");
        }
    }

    /// A process that is born now.
    fn bear(&mut self, pid: u32) {
        self.born += 1;
        self.all.insert(pid, Fake { own: 0, waited: 0, start: self.uptime + self.born });
    }

    fn work(&mut self, pid: u32, hundredths: u64) {
        self.all.get_mut(&pid).expect("it lives").own += hundredths;
    }

    /// It ends, and `parent` waits for it, if anybody does.
    fn end(&mut self, pid: u32, parent: Option<u32>) {
        let gone = self.all.remove(&pid).expect("it lives");
        if let Some(parent) = parent.and_then(|parent| self.all.get_mut(&parent)) {
            parent.waited += gone.own + gone.waited;
        }
        // A file that was opened before would still be read here, where the kernel says ESRCH.
        let nobody = format!("{pid} (gone) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 0\n");
        std::fs::write(self.path(pid).join("stat"), nobody).ok();
        std::fs::remove_dir_all(self.path(pid)).ok();
    }

    fn processes(&self, charge: Charge, max_open: usize) -> Processes {
        let ground = Ground { procfs: self.folder.path().to_owned(), max_open, cpus: 4, own: None };
        Processes::new(ground, charge)
    }
}

/// What the engine would charge, in 1/100 s, by account.
#[derive(Debug, Default)]
struct Book {
    names: BTreeMap<u32, String>,
    last: BTreeMap<u32, u64>,
    charged: BTreeMap<String, u64>,
    births: usize,
}

impl Book {
    fn tick(&mut self, proc: &mut Proc, processes: &mut Processes) -> Groups {
        proc.uptime += 500;
        proc.write();
        let groups = processes.collect(&mut Buffer::default());
        self.births += groups.births.len();
        for birth in &groups.births {
            let name = match &birth.role {
                GroupRole::Job(id) => id.id().to_string(),
                GroupRole::Residual(residual) => residual.as_str().to_owned(),
                GroupRole::Slice(_) | GroupRole::Passage => panic!("{birth:?}"),
            };
            assert!(self.names.insert(birth.slot.0, name).is_none(), "{:?} is in use", birth.slot);
            if birth.is_new {
                self.last.insert(birth.slot.0, 0);
            }
        }
        for reading in &groups.readings {
            let name = &self.names[&reading.slot.0];
            let usage = reading.usage.get() / TICK;
            let before = self.last.insert(reading.slot.0, usage).unwrap_or(usage);
            *self.charged.entry(name.clone()).or_default() +=
                usage.checked_sub(before).expect("counts only rise");
        }
        for slot in &groups.deaths {
            self.names.remove(&slot.0).expect("it lived");
            self.last.remove(&slot.0);
        }
        groups
    }

    fn of(&self, name: &str) -> u64 {
        self.charged.get(name).copied().unwrap_or(0)
    }
}

#[test]
fn the_busiest_are_jobs_and_the_others_are_added_up() {
    let mut proc = Proc::new();
    for pid in [10, 20, 30] {
        proc.all.insert(pid, Fake { own: u64::from(pid) * 100, waited: 0, start: 50 });
    }
    let mut processes = proc.processes(Charge::Each(2), 100);
    let mut book = Book::default();
    // What was there before us is not ours; the two that have worked most have a place at once.
    book.tick(&mut proc, &mut processes);
    assert_eq!(
        book.names.values().map(String::as_str).collect::<Vec<_>>(),
        ["overflow", "ended", "p_30/30/50", "p_20/20/50"]
    );
    assert_eq!(book.charged.values().sum::<u64>(), 0);
    for (pid, used) in [(10, 3), (20, 50), (30, 100)] {
        proc.work(pid, used);
    }
    book.tick(&mut proc, &mut processes);
    assert_eq!((book.of("p_30/30/50"), book.of("p_20/20/50"), book.of("overflow")), (100, 50, 3));
}

#[test]
fn what_was_charged_stays_where_it_is_when_places_change_hands() {
    let mut proc = Proc::new();
    for pid in [10, 20] {
        proc.all.insert(pid, Fake { own: 0, waited: 0, start: 50 });
    }
    let mut processes = proc.processes(Charge::Each(1), 100);
    let mut book = Book::default();
    book.tick(&mut proc, &mut processes);
    let mut truth = 0;
    for tick in 0..60 {
        // 10 works at first, then 20.
        let busy = if tick < 10 { 10 } else { 20 };
        proc.work(busy, 300);
        truth += 300;
        let before = book.charged.clone();
        book.tick(&mut proc, &mut processes);
        for (name, charged) in &before {
            assert!(book.of(name) >= *charged, "{name} fell");
        }
        assert_eq!(book.charged.values().sum::<u64>(), truth, "tick {tick}");
    }
    assert_eq!(book.of("p_10/10/50"), 3_000);
    // It took some ticks until 20 was twice as busy as 10 had been; then all of it was its own.
    let late = book.of("overflow");
    assert!((300..300 * 20).contains(&late) && late + book.of("p_20/20/50") == 300 * 50, "{book:?}");
}

#[test]
fn a_child_that_is_waited_for_is_charged_once() {
    let mut proc = Proc::new();
    proc.all.insert(1, Fake { own: 0, waited: 7_000, start: 0 });
    let mut processes = proc.processes(Charge::Each(9), 100);
    let mut book = Book::default();
    book.tick(&mut proc, &mut processes);
    proc.bear(2);
    proc.work(2, 40);
    book.tick(&mut proc, &mut processes);
    assert_eq!((book.of("overflow"), book.of("ended")), (40, 0));
    // It works on, and is gone before it is read again: only what is new is added.
    proc.work(2, 25);
    proc.end(2, Some(1));
    book.tick(&mut proc, &mut processes);
    assert_eq!((book.of("overflow"), book.of("ended")), (40, 25));
    // One that came and went unseen.
    proc.bear(3);
    proc.work(3, 11);
    proc.end(3, Some(1));
    book.tick(&mut proc, &mut processes);
    assert_eq!((book.of("overflow"), book.of("ended")), (40, 36));
    // One whose parent was read just before it waited: the parent's word comes a tick late.
    proc.bear(4);
    proc.work(4, 30);
    book.tick(&mut proc, &mut processes);
    proc.end(4, None);
    book.tick(&mut proc, &mut processes);
    proc.all.get_mut(&1).expect("it lives").waited += 30;
    book.tick(&mut proc, &mut processes);
    assert_eq!((book.of("overflow"), book.of("ended")), (70, 36));
    // The life of one that was never seen is more than the machine can have done in a tick.
    proc.all.get_mut(&1).expect("it lives").waited += 500 * 4 + 1;
    book.tick(&mut proc, &mut processes);
    assert_eq!(book.of("ended"), 36);
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let mut proc = Proc::new();
    proc.all.insert(10, Fake { own: 500, waited: 0, start: 50 });
    for max_open in [100, 0] {
        let mut processes = proc.processes(Charge::Each(5), max_open);
        let mut book = Book::default();
        book.tick(&mut proc, &mut processes);
        proc.work(10, 100);
        book.tick(&mut proc, &mut processes);
        let first = book.names[&2].clone();
        assert_eq!(book.of(&first), 100);
        // The same number and name, started since.
        proc.bear(10);
        proc.work(10, 30);
        let groups = book.tick(&mut proc, &mut processes);
        assert_eq!(groups.deaths, [GroupSlot(2)]);
        assert_eq!((book.of(&first), book.of("overflow")), (100, 30), "{max_open} open");
        for _ in 0..3 {
            proc.work(10, 10);
            book.tick(&mut proc, &mut processes);
        }
        let second = book.names.values().find(|name| name.starts_with("p_10")).expect("a job by now");
        assert_ne!(*second, first);
        assert_eq!(book.of(second) + book.of("overflow"), 60);
        proc.all.insert(10, Fake { own: 500, waited: 0, start: 50 });
    }
}

#[test]
fn one_that_cannot_be_read_costs_itself_alone_and_is_tried_again() {
    let mut proc = Proc::new();
    for pid in [10, 20, 30] {
        proc.all.insert(pid, Fake { own: 100, waited: 0, start: 50 });
    }
    proc.write();
    // A link to itself: there, and not to be opened.
    let stat = proc.path(20).join("stat");
    std::fs::remove_file(&stat).expect("removed");
    std::os::unix::fs::symlink("stat", &stat).expect("linked");
    proc.all.remove(&20);
    let mut processes = proc.processes(Charge::Each(5), 100);
    let mut book = Book::default();
    for _ in 0..=TURNS {
        proc.work(10, 5);
        proc.work(30, 5);
        book.tick(&mut proc, &mut processes);
    }
    assert_eq!((book.of("p_10/10/50"), book.of("p_30/30/50")), (60, 60));
    assert_eq!((processes.unreadable(), processes.state().hidden), (1, 0));
    assert_eq!(processes.state().errors, [(Fault::Io, 2)], "tried at first and once in its turn");
    // It can be read: what it did before is not charged.
    std::fs::remove_file(&stat).expect("removed");
    proc.all.insert(20, Fake { own: 9_000, waited: 0, start: 50 });
    for _ in 0..=TURNS {
        book.tick(&mut proc, &mut processes);
    }
    assert_eq!((processes.unreadable(), book.of("overflow")), (0, 0));
    proc.work(20, 7);
    book.tick(&mut proc, &mut processes);
    assert_eq!(book.of("p_20/20/50"), 7);
}

#[test]
fn kernel_threads_are_the_system_s_and_our_own_process_is_nobody_s() {
    let mut proc = Proc::new();
    proc.all.insert(10, Fake { own: 100, waited: 0, start: 50 });
    proc.all.insert(11, Fake { own: 100, waited: 0, start: 50 });
    proc.write();
    std::fs::create_dir_all(proc.path(2)).expect("made");
    let kernel = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 9 0 0 20 0 1 0 1 0 0";
    std::fs::write(proc.path(2).join("stat"), kernel).expect("written");
    let pod = JobId::new(JobKind::Pod, "uid");
    let mut processes = proc.processes(Charge::Together(pod), 100);
    processes.ground.own = Some(11);
    let mut book = Book::default();
    book.tick(&mut proc, &mut processes);
    proc.work(10, 40);
    proc.work(11, 50);
    book.tick(&mut proc, &mut processes);
    assert_eq!((book.of("uid"), processes.state().observed), (40, 1));
    // Work of processes that ended is the pod's too.
    proc.bear(12);
    proc.work(12, 9);
    proc.end(12, Some(10));
    book.tick(&mut proc, &mut processes);
    assert_eq!(book.of("uid"), 49);
}

#[test]
fn names_and_uptimes_are_taken_with_care() {
    assert_eq!(&*escaped(b"a b/c\xff\"{}"), "a_b_c_\"{}");
    assert_eq!(hundredths(b"12345.67 9.0\n"), Some(1_234_567));
    assert_eq!(hundredths(b"12345.6 9.0\n"), Some(1_234_560));
    for wrong in ["", "12345", "x.1", "1.x", "-1.00"] {
        assert_eq!(hundredths(wrong.as_bytes()), None, "{wrong}");
    }
    for (groups, expected) in [
        ("2:cpuacct:/a\n0::/b\n", "/a"),
        ("2:cpuacct:/\n0::/b\n", "/b"),
        ("2:cpuacct:/\n0::/\n", "/"),
        ("0::/b\n", "/b"),
        ("2:cpuacct:/\n", "/"),
        ("", ""),
    ] {
        assert_eq!(innermost(groups), expected, "{groups:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// All that processes use is charged to somebody and once, if all that end are waited for. Slots, places and counters keep their rules on the way.
    #[test]
    fn work_is_charged_once(
        steps in prop::collection::vec((0..5_u8, 2..12_u32, 0..200_u64), 1..120),
        top in 1..5_u32,
        max_open in 0..6_usize,
    ) {
        let mut proc = Proc::new();
        proc.all.insert(1, Fake { own: 50, waited: 900, start: 0 });
        let mut processes = proc.processes(Charge::Each(top), max_open);
        processes.ground.cpus = 0;
        let mut book = Book::default();
        book.tick(&mut proc, &mut processes);
        let mut truth = 0;
        for (what, pid, amount) in steps {
            match (what, proc.all.contains_key(&pid)) {
                (0, false) => proc.bear(pid),
                (1 | 2, true) => {
                    proc.work(pid, amount);
                    truth += amount;
                }
                (3, true) => proc.end(pid, Some(1)),
                (4, _) => { book.tick(&mut proc, &mut processes); }
                (_, _) => {}
            }
            prop_assert!(book.names.len() <= top as usize + 2);
            prop_assert!(book.charged.values().sum::<u64>() <= truth);
            let open = processes.known.values().filter(|process| process.file.is_some()).count();
            prop_assert!(processes.open == open && open <= max_open);
        }
        book.tick(&mut proc, &mut processes);
        prop_assert_eq!(book.charged.values().sum::<u64>(), truth);
    }
}
