//! The background side: one thread with a runtime of its own, in which each source is asked at its own pace
//! about the jobs that are wanted. What all of them say together is left for the sampler as a whole.

use super::{Entry, Found};
use crate::clock::{self, Jitter};
use crate::job::names::containers::Containers;
use crate::job::names::environment::{Environments, Reader};
use crate::job::names::kubelet::Kubelet;
use crate::job::names::pod_logs::PodLogs;
use crate::job::names::pod_resources::PodResourcesSource;
use crate::job::names::slurm::Scontrol;
use crate::job::names::users::Users;
use crate::job::names::visible::VisibleDevices;
use crate::job::names::{Look, NameSource, PodList, SourceName, Wanted, WantsDevices, Wishes, Word};
use crate::model::identity::JobId;
use crate::model::reading::Fault;
use crate::model::snapshot::SourceState;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A source that answers and does not know a job is asked again after pauses that double up to this: what
/// is not there after minutes hardly comes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Whatever a clock says, nobody asks more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// After this many doublings pauses stay as they are.
const MAX_DOUBLINGS: u32 = 10;

/// What will be asked, until it starts.
pub(super) struct Clerk {
    wishes: Wishes,
    reader: Option<Reader>,
    wants_devices: WantsDevices,
    wanted: watch::Receiver<Arc<Wanted>>,
    found: Arc<ArcSwap<Found>>,
}

impl Clerk {
    pub(super) fn new(
        wishes: Wishes,
        reader: Option<Reader>,
        wants_devices: WantsDevices,
        wanted: watch::Receiver<Arc<Wanted>>,
        found: Arc<ArcSwap<Found>>,
    ) -> Clerk {
        Clerk { wishes, reader, wants_devices, wanted, found }
    }

    /// Those that are asked.
    pub(super) fn sources(&self) -> Vec<SourceName> {
        let wishes = &self.wishes;
        let sources = [
            (SourceName::Kubelet, wishes.kubelet.is_some()),
            (SourceName::PodLogs, wishes.pod_logs.is_some()),
            (SourceName::PodResources, wishes.pod_resources.is_some()),
            (SourceName::Scontrol, wishes.scontrol.is_some()),
            (SourceName::Environment, self.reader.is_some() && wishes.environment),
            (SourceName::Containers, wishes.containers.is_some()),
            (SourceName::Users, true),
            (SourceName::Visible, self.reader.is_some() && wishes.visible),
        ];
        sources.into_iter().filter_map(|(source, is_asked)| is_asked.then_some(source)).collect()
    }

    /// Starts the thread. It ends when nobody wants anything any more.
    pub(super) fn start(self) {
        let thread = std::thread::Builder::new().name("names".to_owned());
        if let Err(error) = thread.spawn(move || self.work()) {
            tracing::error!("no thread to look for names: {error}; jobs keep their ids");
        }
    }

    fn work(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!("no runtime to look for names: {error}; jobs keep their ids");
                return;
            }
        };
        let book = Book::new(self.sources(), self.found);
        let (wishes, wanted) = (self.wishes, self.wanted);
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let desk = || Desk { book: Arc::clone(&book), wanted: wanted.clone() };
            if let Some(wish) = wishes.kubelet {
                tasks.spawn(attend(Kubelet::new(wish), desk()));
            }
            if let Some(folder) = wishes.pod_logs {
                tasks.spawn(attend(PodLogs(folder), desk()));
            }
            if let Some(folder) = wishes.pod_resources {
                tasks.spawn(attend(PodResourcesSource::new(folder, Arc::clone(&self.wants_devices)), desk()));
            }
            if let Some(wish) = wishes.scontrol {
                tasks.spawn(attend(Scontrol::new(wish), desk()));
            }
            if let Some(reader) = self.reader {
                if wishes.visible {
                    let wants = Arc::clone(&self.wants_devices);
                    tasks.spawn(attend(VisibleDevices::new(reader.clone(), wants), desk()));
                }
                if wishes.environment {
                    tasks.spawn(attend(Environments::new(reader, self.wants_devices), desk()));
                }
            }
            if let Some(places) = wishes.containers {
                tasks.spawn(attend(Containers::new(places), desk()));
            }
            tasks.spawn(attend(Users::new(wishes.users), desk()));
            while tasks.join_next().await.is_some() {}
        });
        // A question that hangs is left behind.
        runtime.shutdown_background();
    }
}

#[derive(Clone)]
struct Desk {
    book: Arc<Mutex<Book>>,
    wanted: watch::Receiver<Arc<Wanted>>,
}

/// Asks one source for as long as somebody wants to know.
async fn attend<S: NameSource>(mut source: S, mut desk: Desk) {
    let mut pace = Pace::new(S::NAME.as_str(), S::LONGEST_TROUBLE);
    let mut asked: HashSet<JobId> = HashSet::new();
    loop {
        let wanted = Arc::clone(&desk.wanted.borrow_and_update());
        let concerned = || wanted.iter().filter(|(id, job)| S::NAME.concerns(id, job)).map(|(id, _)| id);
        let open: Vec<JobId> = {
            let mut book = desk.book.lock().expect("nothing panics with the book");
            book.take_up(&wanted);
            concerned().filter(|id| book.is_open(S::NAME, id)).cloned().collect()
        };
        let has_new = open.iter().any(|id| !asked.contains(id));
        if has_new {
            pace.start_again();
        }
        let is_asked = !open.is_empty() || S::REFRESH.is_some() && concerned().next().is_some();
        // News wake everybody, also a source that has a pause to keep.
        if is_asked && pace.is_due() {
            let look = source.look(&open, &wanted).await;
            asked = open.into_iter().collect();
            let outcome = look.outcome;
            let mut book = desk.book.lock().expect("nothing panics with the book");
            book.note(S::NAME, look);
            let is_open =
                wanted.iter().any(|(id, job)| S::NAME.concerns(id, job) && book.is_open(S::NAME, id));
            pace.note(outcome, is_open, S::REST, S::REFRESH);
        }
        let pause = pace.pause(is_asked);
        // A storm of births is one look.
        let changed = async {
            let is_there = desk.wanted.changed().await.is_ok();
            if let Some(rest) = pace.rest_left().filter(|_| is_there) {
                sleep(rest).await;
            }
            is_there
        };
        let is_there = match pause {
            Some(pause) => timeout(pause, changed).await.unwrap_or(true),
            None => changed.await,
        };
        if !is_there || desk.wanted.has_changed().is_err() {
            return;
        }
    }
}

/// When a source is asked next.
struct Pace {
    jitter: Jitter,
    longest_trouble: Duration,
    failures: u32,
    misses: u32,
    // By the monotonic clock: not before, for those who are new; and for those who are not, or refreshing.
    rest: Option<u64>,
    due: Option<u64>,
    is_failing: bool,
}

fn now() -> u64 {
    clock::monotonic().get()
}

fn later(pause: Duration) -> u64 {
    now().saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX))
}

impl Pace {
    fn new(name: &str, longest_trouble: Duration) -> Pace {
        let jitter = Jitter::new(name);
        Pace { jitter, longest_trouble, failures: 0, misses: 0, rest: None, due: None, is_failing: false }
    }

    /// Somebody is new: the pauses for the others do not count.
    fn start_again(&mut self) {
        if !self.is_failing {
            self.misses = 0;
            self.due = self.rest;
        }
    }

    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| now() >= due)
    }

    /// How long until it is due. One that is asked for nothing waits for news alone, and so does one that has
    /// told everything.
    fn pause(&self, is_asked: bool) -> Option<Duration> {
        let due = self.due.filter(|due| is_asked && *due < u64::MAX)?;
        Some(Duration::from_nanos(due.saturating_sub(now())).max(SHORTEST_PAUSE))
    }

    fn rest_left(&self) -> Option<Duration> {
        self.rest.map(|rest| Duration::from_nanos(rest.saturating_sub(now())))
    }

    fn note(&mut self, outcome: Result<(), Fault>, is_open: bool, rest: Duration, refresh: Option<Duration>) {
        self.rest = Some(later(rest));
        self.is_failing = outcome.is_err();
        let pause = match outcome {
            Err(_) => {
                let pause = doubled(rest, self.failures).min(self.longest_trouble);
                self.failures += 1;
                self.misses = 0;
                // Whole fleets fail together, and must not come back together.
                Some(pause + self.jitter.within(pause / 2))
            }
            Ok(()) => {
                self.failures = 0;
                let again = is_open.then(|| doubled(rest, self.misses).min(LONGEST_PAUSE));
                self.misses += 1;
                let refresh = refresh.map(|pause| pause + self.jitter.within(pause / 10));
                [again, refresh].into_iter().flatten().min()
            }
        };
        self.due = Some(pause.map_or(u64::MAX, later));
    }
}

fn doubled(rest: Duration, times: u32) -> Duration {
    rest.saturating_mul(1 << times.min(MAX_DOUBLINGS))
}

/// What everybody has said.
pub(super) struct Book {
    sources: Vec<SourceName>,
    states: BTreeMap<SourceName, SourceState>,
    wanted: Arc<Wanted>,
    words: HashMap<JobId, BTreeMap<SourceName, Word>>,
    entries: Arc<HashMap<JobId, Arc<Entry>>>,
    pods: Option<Arc<PodList>>,
    found: Arc<ArcSwap<Found>>,
}

impl Book {
    pub(super) fn new(sources: Vec<SourceName>, found: Arc<ArcSwap<Found>>) -> Arc<Mutex<Book>> {
        let (states, words, entries) = (BTreeMap::new(), HashMap::new(), Arc::default());
        let wanted = Arc::default();
        Arc::new(Mutex::new(Book { sources, states, wanted, words, entries, pods: None, found }))
    }

    /// Forgets those that nobody wants any more.
    pub(super) fn take_up(&mut self, wanted: &Arc<Wanted>) {
        if !Arc::ptr_eq(&self.wanted, wanted) {
            self.wanted = Arc::clone(wanted);
            self.words.retain(|id, _| wanted.contains_key(id));
            Arc::make_mut(&mut self.entries).retain(|id, _| wanted.contains_key(id));
        }
    }

    /// Whether the source may have more to say of this job.
    pub(super) fn is_open(&self, source: SourceName, id: &JobId) -> bool {
        !self.words.get(id).and_then(|words| words.get(&source)).is_some_and(|word| word.is_last)
    }

    /// Takes down what came of a look, and leaves the whole of it for the sampler.
    pub(super) fn note(&mut self, source: SourceName, look: Look) {
        for (id, word) in look.words {
            if self.wanted.contains_key(&id) {
                self.words.entry(id).or_default().insert(source, word);
            }
        }
        // The last good list stays: how old it may become is for those to say who use it.
        if let Some(pods) = look.pods {
            self.pods = Some(Arc::new(pods));
        }
        self.note_state(source, look.outcome, &look.detail);
        let wanted = Arc::clone(&self.wanted);
        for (id, asked) in &*wanted {
            let waited_for: Vec<SourceName> = self
                .sources
                .iter()
                .copied()
                .filter(|source| source.is_waited_for() && source.concerns(id, asked))
                .collect();
            if waited_for.is_empty() && !self.words.contains_key(id) {
                continue;
            }
            let entry = self.entry(id, &waited_for);
            // Only where it is another: whoever reads them looks through all that are new.
            if self.entries.get(id).is_none_or(|known| **known != entry) {
                Arc::make_mut(&mut self.entries).insert(id.clone(), Arc::new(entry));
            }
        }
        let sources = self.states.iter().filter(|(source, state)| self.is_shown(**source, state));
        let sources = sources.map(|(_, state)| state.clone()).collect();
        self.found.store(Arc::new(Found {
            entries: Arc::clone(&self.entries),
            sources,
            pods: self.pods.clone(),
        }));
    }

    fn entry(&self, id: &JobId, waited_for: &[SourceName]) -> Entry {
        let mut entry = Entry::default();
        let words = self.words.get(id);
        for (source, word) in words.into_iter().flatten() {
            let rank = if source.is_sure() { &mut entry.sure } else { &mut entry.likely };
            rank.fill(&word.description);
            entry.own.fill(&word.own);
            entry.devices = entry.devices.or_else(|| word.devices.clone());
        }
        // What is not there cannot be waited for; what fails may come back.
        let is_absent = |source: &SourceName| {
            self.states.get(source).is_some_and(|state| state.fault == Some(Fault::Missing))
        };
        entry.is_complete = waited_for.iter().all(|source| !self.is_open(*source, id) || is_absent(source));
        entry
    }

    /// One of those that are looked for everywhere is no trouble if it is not there, while others tell
    /// what it could.
    fn is_shown(&self, source: SourceName, state: &SourceState) -> bool {
        if state.fault != Some(Fault::Missing) || !source.is_looked_for_everywhere() {
            return true;
        }
        // It was there, and holders of accelerators are missed.
        if source == SourceName::PodResources && self.pods.is_some() {
            return true;
        }
        let is_unnamed = |id: &JobId| {
            let words = self.words.get(id);
            !words
                .is_some_and(|words| words.values().any(|word| word.is_last && !word.description.is_empty()))
        };
        source.is_waited_for()
            && self.wanted.iter().any(|(id, asked)| source.concerns(id, asked) && is_unnamed(id))
    }

    fn note_state(&mut self, source: SourceName, outcome: Result<(), Fault>, detail: &str) {
        let fault = outcome.err();
        let is_first = !self.states.contains_key(&source);
        let state = self.states.entry(source).or_insert_with(|| SourceState {
            source: source.as_str().into(),
            hw_id: "".into(),
            fault: None,
            last_success: None,
            errors: Vec::new(),
            detail: "".into(),
        });
        if state.fault != fault {
            match fault {
                // Most nodes lack most sources.
                Some(Fault::Missing) => {
                    tracing::debug!(source = source.as_str(), detail, "no names from there")
                }
                Some(fault) => {
                    tracing::warn!(source = source.as_str(), detail, "no names from there: {fault}")
                }
                None if is_first => {}
                None => tracing::info!(source = source.as_str(), "names again"),
            }
        }
        state.fault = fault;
        state.detail = detail.into();
        match fault {
            None => state.last_success = Some(clock::now().wall),
            Some(fault) => match state.errors.iter_mut().find(|(known, _)| *known == fault) {
                Some((_, count)) => *count += 1,
                None => state.errors.push((fault, 1)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(2);
    const LONGEST_TROUBLE: Duration = Duration::from_secs(120);

    #[test]
    fn a_source_that_nobody_asks_sleeps_and_one_that_fails_waits_longer_and_longer() {
        let mut pace = Pace::new("test", LONGEST_TROUBLE);
        assert!(pace.is_due() && pace.pause(true).is_none());
        pace.note(Ok(()), true, REST, None);
        assert!(!pace.is_due() && pace.pause(true).is_some_and(|pause| pause <= REST));
        assert_eq!(pace.pause(false), None, "those it was asked for are gone");
        pace.note(Ok(()), false, REST, None);
        assert_eq!(pace.pause(true), None, "it has told everything");
        pace.start_again();
        assert!(
            pace.pause(true).is_some_and(|pause| pause <= REST),
            "somebody new has not to wait for longer"
        );
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            pace.note(Err(Fault::Timeout), true, REST, None);
            pace.start_again();
            let pause = pace.pause(true).expect("it is asked again");
            assert!(pause > last, "{pause:?} after {last:?}: newcomers hasten nobody who fails");
            last = pause.mul_f64(0.9);
        }
        for _ in 0..50 {
            pace.note(Err(Fault::Timeout), true, REST, None);
            assert!(pace.pause(true).is_some_and(|pause| pause <= LONGEST_TROUBLE.mul_f64(1.5)));
        }
        pace.note(Ok(()), true, REST, Some(Duration::from_secs(30)));
        assert!(pace.pause(true).is_some_and(|pause| pause <= REST), "an answer ends it");
        for _ in 0..50 {
            pace.note(Ok(()), true, REST, None);
            assert!(pace.pause(true).is_some_and(|pause| pause <= LONGEST_PAUSE));
        }
    }
}
