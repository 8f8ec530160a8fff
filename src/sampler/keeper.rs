//! Shown means durable: a snapshot is published when its checkpoint is in the store. The disk has a
//! thread of its own; if it does not answer for ten seconds the page goes on without it, the witness says
//! so, and the next start begins at 0.

use crate::clock;
use crate::model::checkpoint::Checkpoint;
use crate::model::quantity::Nanos;
use crate::model::snapshot::{Pushed, Snapshot, StoreState};
use crate::store::trouble::StoreError;
use crate::store::witness::Witness;
use crate::store::{Committed, Size, Store};
use arc_swap::ArcSwapOption;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// A page is not held back for longer than this by a disk that does not answer.
pub const LONGEST_WAIT: Nanos = Nanos::from_seconds(10);

/// The last push has this long after the last tick to be acknowledged, if that is to be kept.
const LAST_PUSH: Duration = Duration::from_millis(900);

/// What is said while the disk does not answer at all.
const NO_ANSWER: &str = "no_answer";

/// Takes what the sampler makes, and shows it once it is kept.
pub struct Keeper {
    shared: Arc<Shared>,
    // `None`: there is no store.
    thread: Option<JoinHandle<()>>,
}

/// What the sampler's thread and the store's have in common.
struct Shared {
    latest: Arc<ArcSwapOption<Snapshot>>,
    witness: Option<Witness>,
    patience: Nanos,
    inbox: Mutex<Inbox>,
    filled: Condvar,
    // The order of witness and page is kept under this lock; the disk is never waited for under it.
    shown: Mutex<Shown>,
    // Monotonic ns of the newest tick in the store.
    committed: AtomicU64,
    // Since when something waits for the store, in monotonic ns; 0 for nothing. Changed with the inbox in hand.
    waiting: AtomicU64,
}

/// The newest state, never a queue: one that is skipped is part of the next.
#[derive(Default)]
struct Inbox {
    work: Option<Box<(Snapshot, Checkpoint)>>,
    is_last: bool,
    pushed: Option<Vec<Pushed>>,
    pushes: Pushes,
}

/// Whether acknowledgements of pushes are still to come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Pushes {
    /// None are kept, or the last one was.
    #[default]
    Over,
    /// Somebody pushes.
    Expected,
}

/// What the store's thread has to do next.
enum Work {
    Tick(Box<(Snapshot, Checkpoint)>, bool),
    Pushed(Vec<Pushed>),
}

struct Shown {
    /// `None` if no store is wanted.
    state: Option<StoreState>,
    /// The newest tick that was shown without being in the store.
    ahead: Nanos,
    /// The log knows that the witness cannot be written.
    has_told: bool,
}

impl Keeper {
    /// Keeps nothing; `state` says why, and is `None` if that is what was asked for.
    #[must_use]
    pub fn without_store(latest: Arc<ArcSwapOption<Snapshot>>, state: Option<StoreState>) -> Keeper {
        Keeper { shared: Arc::new(Shared::new(latest, None, state, LONGEST_WAIT)), thread: None }
    }

    /// Starts the store's thread. A page waits for it for `patience` since its last answer.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        latest: Arc<ArcSwapOption<Snapshot>>,
        store: Store,
        state: StoreState,
        patience: Nanos,
    ) -> io::Result<Keeper> {
        let shared = Arc::new(Shared::new(latest, Some(store.witness()), Some(state), patience));
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || keep(&shared, store)
        })?;
        Ok(Keeper { shared, thread: Some(thread) })
    }

    /// The monotonic time up to which everything is kept.
    #[must_use]
    pub fn committed_through(&self) -> Nanos {
        match self.thread {
            Some(_) => Nanos::new(self.shared.committed.load(Ordering::Acquire)),
            None => Nanos::new(u64::MAX),
        }
    }

    /// Where acknowledgements of pushes go: all that has arrived each time, and whether it is the last time.
    /// The store stays open for the last one, for a short while.
    pub fn acknowledgements(&self) -> impl Fn(Vec<Pushed>, bool) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        shared.inbox().pushes = Pushes::Expected;
        move |pushed, is_last| {
            let mut inbox = shared.inbox();
            inbox.pushed = Some(pushed);
            if is_last {
                inbox.pushes = Pushes::Over;
            }
            shared.filled.notify_one();
        }
    }

    /// Keeps and shows the state after a tick. It does not wait.
    pub fn take(&self, snapshot: Snapshot, checkpoint: Checkpoint) {
        if self.thread.is_none() {
            return self.shared.show_ahead(snapshot);
        }
        if self.shared.is_silent() {
            self.shared.show_ahead(snapshot.clone());
        }
        self.shared.hand_over(snapshot, checkpoint, false);
    }

    /// The last state: kept, shown, and marked as the last. Waits until that is done.
    pub fn close(self, snapshot: Snapshot, checkpoint: Checkpoint) {
        let Some(thread) = self.thread else { return self.shared.show_ahead(snapshot) };
        self.shared.hand_over(snapshot, checkpoint, true);
        if thread.join().is_err() {
            tracing::error!("the store's thread ended before its work");
        }
    }
}

impl Shared {
    fn new(
        latest: Arc<ArcSwapOption<Snapshot>>,
        witness: Option<Witness>,
        state: Option<StoreState>,
        patience: Nanos,
    ) -> Shared {
        Shared {
            latest,
            witness,
            patience,
            inbox: Mutex::default(),
            filled: Condvar::new(),
            shown: Mutex::new(Shown { state, ahead: Nanos::ZERO, has_told: false }),
            committed: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    fn hand_over(&self, snapshot: Snapshot, checkpoint: Checkpoint, is_last: bool) {
        let mut inbox = self.inbox();
        if self.waiting.load(Ordering::Acquire) == 0 {
            self.waiting.store(clock::monotonic().get(), Ordering::Release);
        }
        inbox.work = Some(Box::new((snapshot, checkpoint)));
        inbox.is_last = is_last;
        self.filled.notify_one();
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("nothing panics with the inbox in hand")
    }

    fn next(&self) -> Work {
        let mut inbox = self.inbox();
        loop {
            if let Some(work) = inbox.work.take() {
                return Work::Tick(work, inbox.is_last);
            }
            if let Some(pushed) = inbox.pushed.take() {
                return Work::Pushed(pushed);
            }
            inbox = self.filled.wait(inbox).expect("nothing panics with the inbox in hand");
        }
    }

    /// What was acknowledged in the end; waits for it for a while.
    fn last_pushed(&self) -> Option<Vec<Pushed>> {
        let inbox = self.inbox();
        let still = |inbox: &mut Inbox| inbox.pushes == Pushes::Expected;
        let waited = self.filled.wait_timeout_while(inbox, LAST_PUSH, still);
        waited.expect("nothing panics with the inbox in hand").0.pushed.take()
    }

    /// Something was kept; what has come meanwhile waits since now.
    fn answer(&self, now: Nanos) {
        let inbox = self.inbox();
        let since = if inbox.work.is_some() { now.get() } else { 0 };
        self.waiting.store(since, Ordering::Release);
    }

    fn is_silent(&self) -> bool {
        let now = clock::monotonic();
        let since = match self.waiting.load(Ordering::Acquire) {
            0 => now,
            since => Nanos::new(since),
        };
        now.saturating_sub(since) >= self.patience
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().expect("nothing panics while it shows a page")
    }

    /// Shows what is not in the store. If this process ends now, its counters cannot go on.
    fn show_ahead(&self, mut snapshot: Snapshot) {
        let mut shown = self.shown();
        if shown.ahead == Nanos::ZERO
            && let Some(Err(error)) = self.witness.as_ref().map(Witness::disown)
        {
            // The next start could not know that more was shown than it finds.
            return tracing::error!("the witness cannot be written, no page is shown: {error}");
        }
        shown.ahead = snapshot.at.monotonic.max(Nanos::new(1));
        if let Some(state) = shown.state.as_mut().filter(|state| state.reason.is_empty()) {
            state.reason = NO_ANSWER.into();
            tracing::error!(
                path = &*state.path,
                "the store does not answer; pages go on, and counters start at 0 if this process ends now"
            );
        }
        snapshot.store.clone_from(&shown.state);
        self.latest.store(Some(Arc::new(snapshot)));
    }

    /// Shows what is in the store as `generation`, unless something newer is shown already.
    fn show_kept(&self, mut snapshot: Snapshot, generation: u64) {
        let mut shown = self.shown();
        if snapshot.at.monotonic < shown.ahead {
            return;
        }
        if let Some(Err(error)) = self.witness.as_ref().map(|witness| witness.set(generation))
            && !std::mem::replace(&mut shown.has_told, true)
        {
            // It then speaks of an older commit, or of none: the next start is as careful, or more so.
            tracing::error!("the witness of what is shown cannot be written: {error}");
        }
        shown.ahead = Nanos::ZERO;
        snapshot.store.clone_from(&shown.state);
        self.latest.store(Some(Arc::new(snapshot)));
    }

    /// Notes how a commit went.
    fn note(&self, outcome: Result<&Committed, &StoreError>, size: Size, took: Nanos) {
        let mut shown = self.shown();
        let Some(state) = &mut shown.state else { return };
        let path = Arc::clone(&state.path);
        match outcome {
            Ok(committed) => {
                state.last_commit = Some(clock::now().wall);
                state.commits += 1;
                state.commit_time += took;
                (state.bytes, state.job_records) = (size.bytes, size.job_records);
                if let Some(name) = &committed.set_aside {
                    tracing::error!(
                        path = &*path,
                        "the file was damaged; it is kept as {name}, and its history with it"
                    );
                }
                if !state.reason.is_empty() {
                    state.reason = "".into();
                    tracing::info!(path = &*path, "the store can be written again");
                }
            }
            Err(error) => fail(state, error),
        }
    }

    fn fail(&self, error: &StoreError) {
        if let Some(state) = &mut self.shown().state {
            fail(state, error);
        }
    }
}

/// Counts a failure, with one line in the log for each change.
fn fail(state: &mut StoreState, error: &StoreError) {
    let reason = error.trouble.as_str();
    if &*state.reason != reason {
        tracing::error!("{error}");
        state.reason = reason.into();
    }
    match state.errors.iter_mut().find(|(known, _)| &**known == reason) {
        Some((_, count)) => *count += 1,
        None => state.errors.push((reason.into(), 1)),
    }
}

/// The store's thread.
fn keep(shared: &Shared, mut store: Store) {
    loop {
        let (work, is_last) = match shared.next() {
            Work::Tick(work, is_last) => (work, is_last),
            Work::Pushed(pushed) => {
                keep_pushed(&mut store, &pushed);
                continue;
            }
        };
        let (snapshot, checkpoint) = *work;
        if is_last {
            return close(shared, store, snapshot, &checkpoint);
        }
        let began = clock::monotonic();
        let outcome = store.commit(&checkpoint);
        let now = clock::monotonic();
        shared.note(outcome.as_ref(), store.size(), now.saturating_sub(began));
        if let Ok(committed) = outcome {
            shared.committed.store(checkpoint.at.monotonic.get(), Ordering::Release);
            shared.answer(now);
            shared.show_kept(snapshot, committed.generation);
        }
        if let Err(error) = store.maintain(&checkpoint.at) {
            shared.fail(&error);
        }
    }
}

/// What arrived is told to the log alone if it cannot be kept: commits have the same trouble.
fn keep_pushed(store: &mut Store, pushed: &[Pushed]) {
    if let Err(error) = store.keep_pushed(pushed) {
        tracing::warn!("{error}; after a restart the last push is made once more");
    }
}

/// The last state: shown whatever becomes of it, since nobody will be told again.
fn close(shared: &Shared, mut store: Store, mut snapshot: Snapshot, checkpoint: &Checkpoint) {
    if shared.inbox().pushes == Pushes::Expected
        && let Ok(committed) = store.commit(checkpoint)
    {
        // It must be seen to be pushed, and what came of that must be known before the store is closed.
        shared.show_kept(snapshot.clone(), committed.generation);
        if let Some(pushed) = shared.last_pushed() {
            keep_pushed(&mut store, &pushed);
        }
    }
    match store.close(checkpoint) {
        Ok(()) => {
            snapshot.store.clone_from(&shared.shown().state);
            shared.latest.store(Some(Arc::new(snapshot)));
        }
        Err(error) => {
            shared.fail(&error);
            shared.show_ahead(snapshot);
        }
    }
}
