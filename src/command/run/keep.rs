//! The result in the user's own store, which `report` and `jobs` read. Many runs may end at the same time: each
//! has the store for some ms.

use super::outcome::Outcome;
use crate::clock::{self, Jitter};
use crate::model::checkpoint::Checkpoint;
use crate::model::history::JobRecord;
use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::store::append::append;
use crate::store::lock::{Holder, Lock, LockError};
use crate::store::trouble::StoreError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// So long others are waited for.
const PATIENCE: Nanos = Nanos::from_seconds(2);

/// Between two tries, at the most.
const PAUSE: Duration = Duration::from_millis(10);

/// Why a run was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Somebody has the store.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds the run to the store in `folder`.
///
/// # Errors
/// It is not kept.
pub fn keep(folder: &Path, outcome: &Outcome, user: u32, checkpoint: &Checkpoint) -> Result<(), KeepError> {
    let lock = lock(folder, &outcome.host)?;
    let energy = outcome.parts.iter().map(|part| (part.column.clone(), part.energy));
    let emissions = outcome.parts.iter().flat_map(|part| {
        part.emissions.iter().map(|(zone, emissions)| (zone.clone(), part.column.clone(), *emissions))
    });
    let job = JobRecord {
        host: outcome.host.as_str().into(),
        id: Some(JobId::new(JobKind::Run, &outcome.id)),
        count: 1,
        user: Some(user),
        cgroup: Name::from(""),
        first_seen: outcome.started,
        last_seen: outcome.ended(),
        is_live: false,
        description: Arc::new(outcome.description.clone()),
        phases: outcome.phases.clone(),
        cpu: outcome.cpu,
        energy: energy.collect(),
        emissions: emissions.collect(),
    };
    Ok(append(&lock, &job, checkpoint)?)
}

fn lock(folder: &Path, host: &str) -> Result<Lock, LockError> {
    let holder = Holder { pid: std::process::id(), boot: "".into(), host: host.into() };
    let began = clock::monotonic();
    let mut jitter = Jitter::new(host);
    loop {
        match Lock::take(folder, &holder) {
            Err(LockError::Held { .. }) if clock::monotonic().saturating_sub(began) < PATIENCE => {
                let pause = jitter.within(PAUSE).as_nanos();
                clock::sleep(Nanos::new(u64::try_from(pause).expect("some ms")));
            }
            taken => return taken,
        }
    }
}
