//! The directory with sources that say what a test makes them say, when it does.

use super::clerk::Book;
use super::*;
use crate::job::names::{Look, Word};
use crate::model::reading::{Fault, Hierarchy};
use std::collections::HashSet;
use std::sync::Mutex;

const SECOND: Nanos = Nanos::from_seconds(1);

/// A directory whose sources say what a test makes them say, when it does.
struct Bench {
    directory: Directory,
    book: Arc<Mutex<Book>>,
    asked: watch::Receiver<Arc<Wanted>>,
    now: Nanos,
}

impl Bench {
    fn new(sources: &[SourceName], grouping: Grouping) -> Bench {
        let (wanted, asked) = watch::channel(Arc::default());
        let found = Arc::new(ArcSwap::from_pointee(Found::default()));
        let told = Arc::new(ArcSwap::from_pointee(Told::default()));
        let directory = Directory {
            clerk: None,
            wanted,
            seen: (found.load_full(), told.load_full()),
            found: Arc::clone(&found),
            told,
            wants_devices: WantsDevices::default(),
            grants: (found.load_full(), Arc::default()),
            asked_for: sources.to_vec(),
            grouping,
            is_told_later: false,
            jobs: HashMap::new(),
            ended: 0,
            slots: HashMap::new(),
        };
        let book = Book::new(sources.to_vec(), found);
        Bench { directory, book, asked, now: SECOND }
    }

    /// One tick: births of `(slot, path)`, and deaths.
    fn tick(&mut self, births: &[(u32, JobId, &str)], deaths: &[u32]) -> Vec<Naming> {
        let births = births.iter().map(|(slot, id, path)| Birth {
            slot: GroupSlot(*slot),
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(id.clone()),
            path: (*path).into(),
            inode: 0,
            user: crate::job::user_of(path),
            is_new: true,
        });
        let deaths = deaths.iter().copied().map(GroupSlot).collect();
        let groups = Groups { births: births.collect(), deaths, ..Groups::default() };
        self.now += SECOND;
        self.directory.follow(&groups, self.now)
    }

    fn say(&self, source: SourceName, words: Vec<(JobId, Word)>, outcome: Result<(), Fault>) {
        let mut book = self.book.lock().expect("nothing panics with it");
        book.take_up(&self.asked.borrow());
        book.note(source, Look { words, outcome, detail: "here".to_owned(), pods: None });
    }

    fn shown(&self) -> Vec<(String, Option<Fault>)> {
        let states = self.directory.sources();
        states.iter().map(|state| (state.source.to_string(), state.fault)).collect()
    }
}

fn pod(number: u32) -> JobId {
    JobId::new(JobKind::Pod, &format!("00000000-0000-4000-8000-{number:012x}"))
}

fn named(namespace: &str, label: &str) -> Word {
    let mut word = Word { is_last: true, ..Word::default() };
    word.description.set(Attribute::Namespace, namespace);
    if !label.is_empty() {
        word.description.label("team", label);
    }
    word
}

fn groups(naming: &Naming) -> Vec<String> {
    naming.groups.iter().map(|(kind, group)| format!("{kind}={group}")).collect()
}

fn teams() -> Grouping {
    let from = vec![grouping::Origin::of_name("label.team").expect("a label")];
    Grouping::with(vec![grouping::Kind::new("team", from, Some("[a-z]+")).expect("a kind")]).expect("kinds")
}

#[test]
fn a_unit_is_described_at_once_and_told_of_once() {
    let mut bench = Bench::new(&[SourceName::Kubelet], Grouping::default());
    let unit = JobId::new(JobKind::Unit, "run-7.scope");
    let told = bench.tick(&[(1, unit.clone(), "/batch.slice/batch-night.slice/run-7.scope")], &[]);
    assert_eq!(told.len(), 1);
    assert!(told[0].is_final);
    let of = |attribute| told[0].description.get(attribute);
    assert_eq!((of(Attribute::Unit), of(Attribute::Slice)), ("run-7.scope", "batch-night.slice"));
    assert_eq!(groups(&told[0]), ["namespace=", "slurm_account=", "user="]);
    assert!(bench.tick(&[], &[]).is_empty());
    assert!(bench.tick(&[], &[1]).is_empty());
    assert_eq!(bench.directory.jobs.len(), 0, "an ended job that has its name is forgotten");
    // Started again it is told of anew.
    assert_eq!(bench.tick(&[(1, unit, "/x/run-7.scope")], &[]).len(), 1);
}

#[test]
fn what_a_job_said_of_itself_ends_with_it() {
    let mut bench = Bench::new(&[], Grouping::default());
    let unit = JobId::new(JobKind::Unit, "batch.service");
    let register = crate::job::register::Register::new(bench.directory.told());
    let mut said = Description::default();
    said.set(Attribute::Project, "old");
    register.tell(unit.clone(), said, HashSet::new).expect("room");
    let told = bench.tick(&[(1, unit.clone(), "/system.slice/batch.service")], &[]);
    assert_eq!(told[0].description.get(Attribute::Project), "old");
    bench.tick(&[], &[1]);
    let told = bench.tick(&[(1, unit, "/system.slice/batch.service")], &[]);
    assert_eq!(told[0].description.get(Attribute::Project), "", "another has the id now");
}

#[test]
fn a_user_s_name_is_waited_for_where_the_path_tells_the_number() {
    let mut bench = Bench::new(&[SourceName::Users], Grouping::default());
    let unit = JobId::new(JobKind::Unit, "session-3.scope");
    let told = bench.tick(&[(1, unit.clone(), "/user.slice/user-1000.slice/session-3.scope")], &[]);
    assert!(!told[0].is_final && groups(&told[0]).is_empty());
    assert_eq!(told[0].description.get(Attribute::UserId), "1000");
    let mut word = Word { is_last: true, ..Word::default() };
    word.description.set(Attribute::UserName, "anna");
    bench.say(SourceName::Users, vec![(unit, word)], Ok(()));
    let told = bench.tick(&[], &[]);
    assert!(told[0].is_final);
    assert_eq!(groups(&told[0])[2], "user=anna");
}

#[test]
fn a_pod_is_final_when_the_best_source_has_told_of_it() {
    let sources = [SourceName::Kubelet, SourceName::PodLogs, SourceName::PodResources];
    let mut bench = Bench::new(&sources, teams());
    let told = bench.tick(&[(1, pod(1), "/kubepods/a"), (2, pod(2), "/kubepods/b")], &[]);
    assert!(told.is_empty(), "nothing is known yet: {told:?}");
    bench.say(SourceName::PodLogs, vec![(pod(1), named("shop", ""))], Ok(()));
    let told = bench.tick(&[], &[]);
    // The namespace is decided; the label may still come.
    assert_eq!(
        (told.len(), told[0].is_final, groups(&told[0])),
        (1, false, vec!["namespace=shop".to_owned()])
    );
    bench.say(SourceName::Kubelet, vec![(pod(1), named("shop", "blue"))], Ok(()));
    let told = bench.tick(&[], &[]);
    assert!(told[0].is_final);
    assert_eq!(groups(&told[0]), ["namespace=shop", "slurm_account=", "user=", "team=blue"]);
    // A label that changes is shown, and moves nothing.
    bench.say(SourceName::Kubelet, vec![(pod(1), named("shop", "red"))], Ok(()));
    let told = bench.tick(&[], &[]);
    assert_eq!(&*told[0].description.labels()["team"], "red");
    assert_eq!(groups(&told[0])[3], "team=blue");
    // The same again is nothing new, and neither is a source that says less.
    bench.say(SourceName::Kubelet, vec![(pod(1), named("shop", "red"))], Ok(()));
    assert!(bench.tick(&[], &[]).is_empty());
    bench.say(SourceName::Kubelet, Vec::new(), Err(Fault::Unreachable));
    assert!(bench.tick(&[], &[]).is_empty());
    assert_eq!(
        bench.shown(),
        [("kubelet".to_owned(), Some(Fault::Unreachable)), ("pod_logs".to_owned(), None)]
    );
}

#[test]
fn without_the_kubelet_the_logs_are_enough_and_a_dead_one_is_given_up() {
    let mut bench = Bench::new(&[SourceName::Kubelet, SourceName::PodLogs], teams());
    bench.tick(&[(1, pod(1), "/a"), (2, pod(2), "/b")], &[]);
    bench.say(SourceName::PodLogs, vec![(pod(1), named("shop", ""))], Ok(()));
    bench.say(SourceName::Kubelet, Vec::new(), Err(Fault::Missing));
    let told = bench.tick(&[], &[]);
    assert!(told.len() == 1 && told[0].is_final, "it is not there, and nothing is waited for");
    assert_eq!(bench.shown(), [("kubelet".to_owned(), Some(Fault::Missing)), ("pod_logs".to_owned(), None)]);
    bench.say(SourceName::Kubelet, Vec::new(), Err(Fault::Timeout));
    bench.tick(&[(3, pod(3), "/c")], &[]);
    bench.say(SourceName::PodLogs, vec![(pod(2), named("shop", "")), (pod(3), named("shop", ""))], Ok(()));
    assert!(bench.tick(&[], &[]).iter().all(|naming| !naming.is_final), "it may come back");
    bench.now += GIVE_UP;
    let told = bench.tick(&[], &[]);
    assert_eq!(told.iter().filter(|naming| naming.is_final).count(), 2);
    assert!(told.iter().all(|naming| groups(naming)[1..] == ["slurm_account=", "user=", "team="]));
}

#[test]
fn a_source_that_is_not_there_is_no_trouble_while_another_tells() {
    let mut bench =
        Bench::new(&[SourceName::Kubelet, SourceName::PodLogs, SourceName::PodResources], teams());
    bench.say(SourceName::PodResources, Vec::new(), Err(Fault::Missing));
    assert_eq!(bench.shown(), []);
    bench.tick(&[(1, pod(1), "/a")], &[]);
    bench.say(SourceName::PodLogs, Vec::new(), Err(Fault::Missing));
    assert_eq!(bench.shown(), [("pod_logs".to_owned(), Some(Fault::Missing))]);
    bench.say(SourceName::Kubelet, vec![(pod(1), named("shop", ""))], Ok(()));
    assert_eq!(bench.shown(), [("kubelet".to_owned(), None)]);
}

#[test]
fn a_job_that_ends_before_it_is_named_is_looked_for_and_then_forgotten() {
    let mut bench = Bench::new(&[SourceName::PodLogs], Grouping::default());
    bench.tick(&[(1, pod(1), "/a"), (2, pod(1), "/b"), (3, pod(2), "/c")], &[]);
    bench.tick(&[], &[1, 3]);
    assert_eq!(bench.asked.borrow().len(), 2);
    bench.say(SourceName::PodLogs, vec![(pod(1), named("a", "")), (pod(2), named("b", ""))], Ok(()));
    let told = bench.tick(&[], &[]);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|naming| naming.is_final));
    assert_eq!(bench.asked.borrow().len(), 1, "one of pod 1's groups lives on");
    bench.tick(&[], &[2]);
    assert_eq!((bench.asked.borrow().len(), bench.directory.ended), (0, 0));
    // One of which nobody ever tells is given up.
    bench.tick(&[(4, pod(4), "/d")], &[4]);
    assert_eq!(bench.asked.borrow().len(), 1);
    bench.now += GIVE_UP;
    let told = bench.tick(&[], &[]);
    assert!(told.len() == 1 && told[0].is_final && told[0].description.is_empty());
    assert_eq!(bench.asked.borrow().len(), 0);
}

#[test]
fn a_storm_of_short_jobs_is_bounded() {
    let mut bench = Bench::new(&[SourceName::PodLogs], Grouping::default());
    for number in 0..20_000 {
        bench.tick(&[(number, pod(number), "/a")], &[number]);
        assert!(bench.directory.jobs.len() <= MAX_ENDED + 1);
        if number > 300 {
            bench.now += GIVE_UP;
            break;
        }
    }
    bench.tick(&[], &[]);
    assert_eq!((bench.directory.jobs.len(), bench.directory.slots.len()), (0, 0));
}

#[test]
fn what_a_job_says_of_itself_reaches_the_next_tick_and_keeps_groups_open() {
    let mut bench = Bench::new(&[], teams());
    let run = JobId::new(JobKind::Run, "1");
    let unit = JobId::new(JobKind::Unit, "a.service");
    let told = bench.directory.told();
    let first = bench.tick(&[(1, run.clone(), "/jouleprint-run-1"), (2, unit.clone(), "/a.service")], &[]);
    assert!(first.iter().all(|naming| !naming.is_final), "it may say something");
    let say = |team: &str| {
        let mut said = Description::default();
        said.label("team", team);
        said.set(Attribute::Unit, "mine.service");
        told.store(Arc::new([(unit.clone(), Arc::new(said))].into()));
    };
    say("blue");
    let naming = bench.tick(&[], &[]);
    assert_eq!((naming.len(), naming[0].is_final, groups(&naming[0])[3].as_str()), (1, true, "team=blue"));
    assert_eq!(naming[0].description.get(Attribute::Unit), "a.service", "what is known it cannot change");
    say("red");
    let naming = bench.tick(&[], &[]);
    assert_eq!(
        (&*naming[0].description.labels()["team"], groups(&naming[0])[3].as_str()),
        ("red", "team=blue")
    );
    bench.now += GIVE_UP;
    let naming = bench.tick(&[], &[]);
    assert!(naming.len() == 1 && naming[0].id == run && naming[0].is_final);
}

#[test]
fn names_that_are_ids_already_are_names() {
    let mut bench = Bench::new(&[SourceName::Containers], Grouping::default());
    let lxc = JobId::new(JobKind::Container, "user@1000.service/web");
    let process = JobId::new(JobKind::Process, "python3/77/123");
    let slurm = JobId::new(JobKind::Slurm, "alpha.7");
    let told = bench.tick(&[(1, lxc, "/lxc/web"), (2, process, "/p"), (3, slurm, "/job_7")], &[]);
    let all = |attribute| {
        let mut values: Vec<&str> = told.iter().map(|naming| naming.description.get(attribute)).collect();
        values.sort_unstable();
        values.pop().unwrap_or_default().to_owned()
    };
    assert_eq!(
        (all(Attribute::Container), all(Attribute::Executable), all(Attribute::SlurmCluster)),
        ("web".into(), "python3".into(), "alpha".into())
    );
    assert!(told.iter().all(|naming| naming.is_final), "nobody else is to be asked");
}

#[test]
fn what_a_pod_was_given_is_found_by_its_name() {
    use crate::job::gpu::device::Device;
    use crate::job::gpu::grant::{Given, PodDevices};
    let mut bench = Bench::new(&[SourceName::PodLogs, SourceName::PodResources], Grouping::default());
    let (web, other) = (JobId::new(JobKind::Pod, "u1"), JobId::new(JobKind::Pod, "u2"));
    bench.tick(&[(1, web.clone(), "/a"), (2, other.clone(), "/b")], &[]);
    assert_eq!(bench.directory.grants().pods, None);
    let given = |index| vec![Given { vendor: None, device: Device::index(index), shares: 1 }];
    let pod = |name: &str, index| PodDevices {
        namespace: "shop".into(),
        name: name.into(),
        devices: given(index),
        unclear: Vec::new(),
    };
    let list = |pods| Some(PodList { at: SECOND, pods });
    let note = |bench: &Bench, outcome, pods| {
        let mut book = bench.book.lock().expect("nothing panics with it");
        book.take_up(&bench.asked.borrow());
        let detail = "here".to_owned();
        book.note(SourceName::PodResources, Look { words: Vec::new(), outcome, detail, pods });
    };
    note(&bench, Ok(()), list(vec![pod("web-0", 0), pod("job-1", 1)]));
    let found = |bench: &mut Bench| {
        let list = bench.directory.grants().pods.clone().expect("a list");
        list.pods.into_iter().map(|pod| (pod.ids, pod.devices)).collect::<Vec<_>>()
    };
    assert_eq!(found(&mut bench), [(vec![], given(0)), (vec![], given(1))], "names come later");
    let mut word = Word { is_last: true, ..Word::default() };
    word.description.set(Attribute::Namespace, "shop");
    word.description.set(Attribute::Pod, "web-0");
    bench.say(SourceName::PodLogs, vec![(web.clone(), word)], Ok(()));
    assert_eq!(found(&mut bench), [(vec![web.clone()], given(0)), (vec![], given(1))]);
    // The socket is gone: the list stays, and the page tells of it.
    note(&bench, Err(Fault::Missing), None);
    assert_eq!(found(&mut bench).len(), 2);
    assert!(bench.shown().contains(&("podresources".to_owned(), Some(Fault::Missing))));
    note(&bench, Ok(()), list(vec![]));
    assert!(found(&mut bench).is_empty(), "a newer list is the whole of it");
}
