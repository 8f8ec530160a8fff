//! The push over OTLP: every interval the newest snapshot goes to a backend.
//!
//! There is no queue. What did not arrive is made up for by the next push, which says everything again
//! (totals) or goes from what was acknowledged last (differences); a backend that is slow or away costs a
//! counter, and neither memory nor a tick nor a scrape.

pub mod attributes;
mod backend;
pub mod baseline;
pub mod message;
pub mod wishes;

use crate::clock::{self, Jitter};
use crate::http_client::ClientError;
use crate::model::quantity::Nanos;
use crate::model::snapshot::{PushOutcome, PushState, Pushed, Snapshot};
use arc_swap::ArcSwapOption;
use attributes::Machine;
use backend::{Backend, Reply};
use baseline::Baselines;
use message::{Content, Cursor, MAX_MESSAGE_BYTES};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};
use wishes::{Temporality, Wishes};

/// The first push does not wait for a whole interval; nodes that start together do not push together.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Before the first snapshot, and for the last one, this is how often it is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// It doubles up to the interval, or to this if pushes are more frequent.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// At the stop, a push under way has this long, and the last snapshot this long to come.
const UNDER_WAY: Duration = Duration::from_millis(400);
const LAST_SNAPSHOT: Duration = Duration::from_millis(900);

/// Somebody at a terminal waits for this.
const PROBE: Duration = Duration::from_secs(3);

/// At the most this many series are kept as a baseline; beyond it a restart repeats their last push.
const MAX_KEPT: usize = 1 << 18;

/// Takes what has arrived, whole each time; the flag says that it is the last.
pub type Acknowledge = Box<dyn Fn(Vec<Pushed>, bool) + Send>;

/// A pusher, ready to run.
pub struct Push {
    wishes: Wishes,
    backend: Backend,
    resource: Vec<u8>,
    baselines: Baselines,
    // What the backend has seen: the last push that arrived whole, and the last that arrived in part.
    known: Vec<Arc<Snapshot>>,
    state: Arc<Mutex<PushState>>,
    acknowledge: Option<Acknowledge>,
    jitter: Jitter,
    told: Option<(PushOutcome, String)>,
}

/// What became of a push.
struct Outcome {
    reply: Reply,
    pause: Option<Duration>,
}

impl Push {
    /// Reads certificates; nobody is asked yet. `kept` is what an earlier process was acknowledged.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn open(wishes: &Wishes, machine: &Machine, kept: Vec<Pushed>) -> Result<Push, ClientError> {
        Ok(Push {
            backend: Backend::open(wishes)?,
            resource: attributes::resource(machine, wishes),
            wishes: wishes.clone(),
            baselines: Baselines::new(kept),
            known: Vec::new(),
            state: Arc::default(),
            acknowledge: None,
            jitter: Jitter::new(&machine.name),
            told: None,
        })
    }

    /// Tells `acknowledge` from now on what has arrived, where that must outlive this process.
    pub fn tell(&mut self, acknowledge: Acknowledge) {
        self.acknowledge = Some(acknowledge).filter(|_| self.keeps());
    }

    /// How it fares, for whoever makes snapshots.
    #[must_use]
    pub fn state(&self) -> Arc<Mutex<PushState>> {
        Arc::clone(&self.state)
    }

    /// Whether what has arrived must outlive this process.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.wishes.temporality == Temporality::Delta
    }

    /// Pushes until `stop` says when it was told to, in monotonic time; then once more.
    pub async fn run(mut self, latest: Arc<ArcSwapOption<Snapshot>>, mut stop: Receiver<Option<Nanos>>) {
        let mut wait = self.jitter.within(self.wishes.interval.min(FIRST_WAIT));
        let mut failures = 0_u32;
        let told = loop {
            tokio::select! {
                () = sleep(wait) => {}
                told = told(&mut stop) => break told,
            }
            let Some(snapshot) = latest.load_full() else {
                wait = LOOK_AGAIN;
                continue;
            };
            let began = clock::monotonic();
            let limit = self.wishes.push_timeout;
            let outcome = {
                let pushing = self.push(&snapshot, limit);
                tokio::pin!(pushing);
                tokio::select! {
                    outcome = &mut pushing => outcome,
                    told = told(&mut stop) => {
                        let _ = timeout(UNDER_WAY, pushing).await;
                        break told;
                    }
                }
            };
            let took = Duration::from_nanos(clock::monotonic().saturating_sub(began).get());
            wait = self.wishes.interval.saturating_sub(took);
            match outcome.reply.outcome {
                PushOutcome::Accepted | PushOutcome::Partial | PushOutcome::Refused => failures = 0,
                PushOutcome::Deferred | PushOutcome::Unreachable | PushOutcome::Timeout => {
                    wait = self.pause(failures, outcome.pause);
                    failures += 1;
                }
            }
        };
        self.last(&latest, told).await;
    }

    /// The pause before the next try: what the backend asks for, else longer with each failure.
    fn pause(&mut self, failures: u32, asked: Option<Duration>) -> Duration {
        let longest = self.wishes.interval.max(LONGEST_PAUSE);
        let doubled = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(longest);
        // Half of it is chance, so that a fleet does not come back as one.
        let own = doubled / 2 + self.jitter.within(doubled / 2);
        // One that asks for no pause at all gets ours.
        asked.map_or(own, |asked| own.max(asked + self.jitter.within(asked / 10)))
    }

    /// The last state, once it is there; whoever waits for this has bounded it.
    async fn last(&mut self, latest: &ArcSwapOption<Snapshot>, told: Nanos) {
        let newest = async {
            loop {
                match latest.load_full().filter(|snapshot| snapshot.at.monotonic >= told) {
                    Some(snapshot) => return snapshot,
                    None => sleep(LOOK_AGAIN).await,
                }
            }
        };
        let snapshot = timeout(LAST_SNAPSHOT, newest).await.ok().or_else(|| latest.load_full());
        if let Some(snapshot) = snapshot {
            self.push(&snapshot, self.wishes.push_timeout).await;
        }
        self.acknowledge(true);
    }

    fn acknowledge(&self, is_last: bool) {
        if let Some(acknowledge) = &self.acknowledge {
            let mut arrived = self.baselines.all();
            arrived.truncate(MAX_KEPT);
            acknowledge(arrived, is_last);
        }
    }

    /// One push, in as many messages as it takes.
    async fn push(&mut self, snapshot: &Arc<Snapshot>, limit: Duration) -> Outcome {
        let began = clock::monotonic();
        let mut all = Outcome { reply: accepted(), pause: None };
        let mut cursor = Some(Cursor::default());
        let mut has_arrived = false;
        let mut series = HashSet::new();
        if let Err(error) = self.backend.refresh() {
            tracing::error!("OTLP: the certificates in use stay: {error}");
        }
        while let Some(from) = cursor {
            let content = Content {
                snapshot,
                known: &self.known,
                temporality: self.wishes.temporality,
                baselines: &self.baselines,
                resource: &self.resource,
            };
            let part = content.part(from, MAX_MESSAGE_BYTES);
            let passed = Duration::from_nanos(clock::monotonic().saturating_sub(began).get());
            let left = limit.saturating_sub(passed).min(self.wishes.timeout);
            let reply = self.backend.send(part.bytes, left).await;
            if !reply.outcome.is_final() {
                all = Outcome { pause: reply.pause, reply };
                break;
            }
            tracing::debug!(points = part.points, "pushed over OTLP");
            has_arrived = true;
            series.extend(part.pushed.iter().map(|pushed| pushed.series));
            self.baselines.learn(&part.pushed);
            if reply.outcome == PushOutcome::Partial {
                let rejected = all.reply.rejected.saturating_add(reply.rejected.min(part.points as u64));
                all.reply = Reply { rejected, ..reply };
            }
            cursor = part.next;
        }
        if all.reply.outcome.is_final() {
            self.known = vec![Arc::clone(snapshot)];
            self.baselines.forget_all_but(&series);
        } else if has_arrived {
            self.known.truncate(1);
            self.known.push(Arc::clone(snapshot));
        }
        if has_arrived {
            self.acknowledge(false);
        }
        self.note(&all.reply, snapshot, clock::monotonic().saturating_sub(began));
        all
    }

    /// Counts a push, with one line in the log for each change.
    fn note(&mut self, reply: &Reply, snapshot: &Snapshot, took: Nanos) {
        let mut state = self.state.lock().expect("nothing panics with it");
        *state.pushes.entry(reply.outcome).or_default() += 1;
        state.last = Some(reply.outcome);
        state.rejected = state.rejected.saturating_add(reply.rejected);
        state.duration += took;
        if reply.outcome.is_final() {
            state.last_success = Some(snapshot.at.wall);
        }
        drop(state);
        let is_same = match &self.told {
            Some((outcome, reason)) => {
                *outcome == reply.outcome
                    && (*reason == reply.reason || reply.outcome != PushOutcome::Partial)
            }
            None => false,
        };
        if is_same {
            return;
        }
        let endpoint = crate::http_client::bare(&self.wishes.endpoint);
        match reply.outcome {
            PushOutcome::Accepted => tracing::info!(endpoint, "OTLP: pushes arrive"),
            PushOutcome::Partial => tracing::warn!(
                endpoint,
                rejected = reply.rejected,
                "OTLP: the backend rejects data points: {}",
                reply.reason
            ),
            PushOutcome::Deferred | PushOutcome::Unreachable | PushOutcome::Timeout => {
                tracing::warn!(
                    endpoint,
                    "OTLP: a push did not arrive, the next makes up for it: {}",
                    reply.reason
                );
            }
            PushOutcome::Refused => tracing::error!(endpoint, "OTLP: a push was refused: {}", reply.reason),
        }
        self.told = Some((reply.outcome, reply.reason.clone()));
    }
}

/// Asks the backend to take a message without a single point; what it says against it, in one line.
///
/// # Errors
/// It is not there, or would not take ours.
pub fn probe(wishes: &Wishes, machine: &Machine) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| told(&error))?;
    let message = message::empty(&attributes::resource(machine, wishes));
    let reply = runtime.block_on(async {
        let backend = Backend::open(wishes).map_err(|error| told(&error))?;
        Ok::<Reply, String>(backend.send(message, PROBE).await)
    });
    runtime.shutdown_background();
    let reply = reply?;
    if reply.outcome.is_final() { Ok(()) } else { Err(reply.reason) }
}

fn accepted() -> Reply {
    Reply { outcome: PushOutcome::Accepted, rejected: 0, reason: String::new(), pause: None }
}

/// Waits for the end; one who cannot tell any more is gone, which is the end too.
async fn told(stop: &mut Receiver<Option<Nanos>>) -> Nanos {
    let told = stop.wait_for(Option::is_some).await.ok().and_then(|told| *told);
    told.unwrap_or_else(clock::monotonic)
}
