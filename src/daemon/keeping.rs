//! Opening the store: who we are, whether another process has it, and what becomes of the counters.

use super::{Signals, StartError};
use crate::clock;
use crate::config::Settings;
use crate::kernel_file::read_text;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::snapshot::{Pushed, StoreState};
use crate::sampler::Past;
use crate::store::lock::{Holder, Lock, LockError};
use crate::store::trouble::StoreError;
use crate::store::{Identity, OpenError, Store, witness};
use ring::digest::{SHA256, digest};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In a rolling update the old process has this long to let go.
const LONGEST_WAIT: Nanos = Nanos::from_seconds(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What keeps this process's counters.
pub(super) enum Keeping {
    /// A store.
    Store(Box<Store>, StoreState),
    /// Nothing: as wished, or because of what the state says.
    Nothing(Option<StoreState>),
}

impl Keeping {
    /// What an earlier process was acknowledged, if pushes are differences.
    pub(super) fn pushed(&self) -> Vec<Pushed> {
        match self {
            Keeping::Store(store, _) => store.pushed(),
            Keeping::Nothing(_) => Vec::new(),
        }
    }

    /// The folders that must stay writable.
    pub(super) fn folders<'a>(&self, settings: &'a Settings) -> Vec<&'a Path> {
        match self {
            Keeping::Store(..) => {
                settings.store.iter().chain(&settings.runtime).map(PathBuf::as_path).collect()
            }
            Keeping::Nothing(_) => Vec::new(),
        }
    }
}

/// Waits for the store if another process has it, and opens it. `None`: a signal came first.
///
/// # Errors
/// The other process does not let go, or the store was written by a newer version.
pub(super) async fn open(
    settings: &Settings,
    signals: &mut Signals,
) -> Result<Option<(Keeping, Past)>, StartError> {
    let runtime = settings.runtime.as_deref();
    let Some(folder) = &settings.store else {
        tracing::info!(
            "no store is wanted, or there is no folder for one (--store.path): counters start at 0 with each process"
        );
        return Ok(Some(unkept(settings, None)));
    };
    let identity = identity(settings);
    let holder = Holder { pid: std::process::id(), boot: identity.boot.clone(), host: identity.host.clone() };
    let lock = tokio::select! {
        lock = wait_for(folder, &holder) => lock?,
        () = signals.stop() => return Ok(None),
    };
    let lock = match lock {
        Ok(lock) => lock,
        Err(error) => return Ok(Some(without(settings, folder, &error))),
    };
    match Store::open(lock, runtime, &identity, &clock::now()) {
        Ok((store, restored)) => {
            tracing::info!(path = %store.path().display(), "store: {}", restored.how);
            if let Some(why) = store.witness().why_nowhere() {
                tracing::warn!("{why}: after a crash counters start at 0 (see --path.runtime)");
            }
            let state = StoreState {
                path: store.path().display().to_string().into(),
                restored: restored.how,
                ..StoreState::default()
            };
            let past = Past {
                checkpoint: restored.checkpoint,
                floors: restored.floors,
                next_number: restored.next_number,
            };
            Ok(Some((Keeping::Store(Box::new(store), state), past)))
        }
        Err(error @ OpenError::Newer { .. }) => Err(StartError::Store(error)),
        Err(OpenError::Unusable(error)) => Ok(Some(without(settings, folder, &error))),
    }
}

/// There is no store to be had.
fn without(settings: &Settings, folder: &Path, error: &StoreError) -> (Keeping, Past) {
    tracing::error!("{error}; the metrics go on, and counters start at 0 with each process");
    let path = folder.display().to_string().into();
    let restored = "no store: counters start at 0".into();
    let state = StoreState { path, restored, reason: error.trouble.as_str().into(), ..StoreState::default() };
    unkept(settings, Some(state))
}

/// What is shown from now on is in no store: one that is found later must not go on from what it has, or
/// all of that would seem to have been used since.
fn unkept(settings: &Settings, state: Option<StoreState>) -> (Keeping, Past) {
    if let Some(runtime) = &settings.runtime {
        witness::disown_all(runtime);
    }
    (Keeping::Nothing(state), Past::default())
}

/// Takes the store's lock; `Ok(Err(_))` means that there is no store to be had at all.
async fn wait_for(folder: &Path, own: &Holder) -> Result<Result<Lock, StoreError>, StartError> {
    let began = clock::monotonic();
    let mut has_told = false;
    loop {
        match Lock::take(folder, own) {
            Ok(lock) => return Ok(Ok(lock)),
            Err(LockError::Unusable(error)) => return Ok(Err(error)),
            Err(held @ LockError::Held { .. }) => {
                if clock::monotonic().saturating_sub(began) > LONGEST_WAIT {
                    return Err(StartError::StoreInUse(held));
                }
                if !std::mem::replace(&mut has_told, true) {
                    tracing::info!("{held}; waiting for it for up to 60 s");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

/// This boot of this machine: by what the firmware says, or the installed system where that is closed to
/// us. These ids are not for everybody's eyes, so only a digest is kept.
pub(super) fn identity(settings: &Settings) -> Identity {
    let text = |path: &Path| read_text(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let ids = [settings.sysfs.join("class/dmi/id/product_uuid"), "/etc/machine-id".into()];
    let id = ids.iter().map(|path| text(path)).find(|id| !id.is_empty());
    let machine: Name = id.map_or("".into(), |id| {
        let digest = digest(&SHA256, id.as_bytes());
        let hex: Vec<String> = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        hex.concat().into()
    });
    let boot = text(&settings.procfs.join("sys/kernel/random/boot_id"));
    Identity { boot: boot.as_str().into(), machine, host: settings.host_label().as_str().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags::Flags;
    use crate::engine::Engine;
    use crate::model::reading::{Accounting, IdlePolicy, Machine};
    use crate::model::time::Moment;
    use std::sync::Arc;

    #[test]
    fn a_store_does_not_go_on_after_a_process_that_had_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = folder.path().join("run");
        let open = || {
            let holder = Holder { pid: 1, boot: "boot".into(), host: "h".into() };
            let lock = Lock::take(&folder.path().join("state"), &holder).expect("free");
            let identity = Identity { boot: "boot".into(), machine: "m".into(), host: "h".into() };
            Store::open(lock, Some(&runtime), &identity, &Moment::default()).expect("writable")
        };
        let kept = Engine::new(Arc::new(machine()), accounting());
        let checkpoint =
            || kept.checkpoint(Moment::default(), Arc::new(kept.totals()), Vec::new(), nowhere());
        let (store, _) = open();
        store.close(&checkpoint()).expect("kept");
        let (store, restored) = open();
        assert_eq!(&*restored.how, "continued");
        store.close(&checkpoint()).expect("kept");
        let flags = Flags { store: Some("none".into()), runtime: Some(runtime.clone()), ..Flags::default() };
        let settings = Settings::load(&flags).expect("valid");
        assert!(settings.store.is_none());
        unkept(&settings, None);
        assert!(open().1.checkpoint.is_none(), "its counters would jump from what was shown meanwhile");
    }

    fn machine() -> Machine {
        Machine { host: "h".into(), cpu_model: "".into(), kernel: "".into(), domains: Vec::new() }
    }

    fn accounting() -> Accounting {
        let idle = IdlePolicy::Separate;
        Accounting {
            idle,
            retention: Nanos::ZERO,
            max_jobs: 1,
            floors: Vec::new(),
            group_kinds: Vec::new(),
            group_hold: Nanos::ZERO,
        }
    }

    fn nowhere() -> (Name, bool) {
        ("".into(), false)
    }
}
