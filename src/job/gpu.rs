//! Who holds and uses which accelerator. Those who run jobs say whom they gave a device (the kubelet, Slurm,
//! a device control group), the driver says which processes use it, and of both come the claims of a tick.
//! Allocation decides who may be charged, activity how much; the engine divides.
//!
//! What cannot be told is said to be unknown, and charged to nobody.

pub mod claims;
pub mod device;
pub mod grant;
pub mod permitted;
pub mod processes;

use super::consumers::Consumers;
use super::register::{Callers, Stand};
use crate::kernel_file::read_text;
use crate::model::gpu::{Claim, Sight, Use, Vendor};
use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::model::reading::{Fault, GroupRole, GroupSlot, Groups, Hierarchy};
use crate::model::snapshot::SourceState;
use crate::model::time::Moment;
use claims::Draft;
use device::Found;
use grant::{Given, Grants};
use processes::{Listed, Owner};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The source names of the processes that drivers list, and of pods that hold devices and are not known.
pub const PROCESSES: &str = "gpu_processes";
/// See [`PROCESSES`].
pub const HOLDERS: &str = "gpu_holders";

/// A list of the kubelet's is believed for so long while no newer one is to be had: a kubelet is restarted in
/// seconds and upgraded in a minute or two, and by then a pod may have come that it has not told of.
const BELIEVED: Nanos = Nanos::from_seconds(300);

/// A pod has its name within seconds of its birth; one that is not known for longer is told on the page.
const PATIENCE: Nanos = Nanos::from_seconds(60);

/// A device control group is written to after it is made, and then hardly again: in its first ticks it is
/// read at each of them, and later every half minute, like other attributes.
const FIRST_LOOKS: u32 = 3;
const LOOK_AGAIN: Nanos = Nanos::from_seconds(30);

/// Who uses a device that was just found is asked behind its first reading; nothing is missed until this.
const FIRST_LIST: Nanos = Nanos::from_seconds(15);

/// Devices of one tick. A machine has 16.
const MAX_SIGHTS: usize = 256;

/// A process that is not found is an ended one, once or twice; one that is not found so often cannot be seen.
const MAX_MISSES: u32 = 3;

/// Finds out who holds and uses accelerators.
#[derive(Debug)]
pub struct Holders {
    callers: Callers,
    // Whether the driver's process numbers are those of /proc.
    are_numbers_ours: bool,
    // Where version 1 keeps what device files may be opened.
    devices: Option<PathBuf>,
    listed: Listed,
    slots: HashMap<GroupSlot, JobId>,
    jobs: HashMap<JobId, Alive>,
    last_pod: Nanos,
    // Of each pod on the kubelet's list, by its name: when it was last there to hold its devices.
    held: HashMap<Name, Nanos>,
    // By device and instance: who had it at the last tick.
    before: HashMap<(Name, Name), Vec<Claim>>,
    // Since when a pod holds a device and is not known.
    unknown_since: Option<Nanos>,
    misses: u32,
    // Devices of which nothing was told yet, and since when; `None` once it was.
    untold: HashMap<Name, Option<Nanos>>,
    states: BTreeMap<&'static str, SourceState>,
}

/// A job with a control group, or a process.
#[derive(Debug)]
struct Alive {
    groups: u32,
    born: Nanos,
    // In the first hierarchy; devices have the same path in theirs.
    path: Option<Name>,
    permitted: Vec<(u32, u32)>,
    looks: u32,
    looked: Nanos,
}

/// What else is known at a tick.
pub struct Around<'a> {
    /// Who came and went.
    pub groups: &'a Groups,
    /// What was given to whom.
    pub grants: &'a Grants,
    /// Who is looked at; processes of one's own where they are.
    pub consumers: Option<&'a Consumers>,
}

impl Holders {
    /// With this /proc, what tells the job of a process, and the control groups of this host.
    #[must_use]
    pub fn new(procfs: &Path, callers: Callers, cgroupfs: &Path) -> Holders {
        Holders {
            callers,
            are_numbers_ours: processes::are_numbers_of(procfs, std::process::id()),
            devices: Some(cgroupfs.join("devices")).filter(|path| path.join("devices.list").exists()),
            listed: Listed::new(procfs),
            slots: HashMap::new(),
            jobs: HashMap::new(),
            last_pod: Nanos::ZERO,
            held: HashMap::new(),
            before: HashMap::new(),
            unknown_since: None,
            misses: 0,
            untold: HashMap::new(),
            states: BTreeMap::new(),
        }
    }

    /// Recognises processes by other rules from now on.
    pub fn recognise(&mut self, callers: Callers) {
        self.callers = callers;
    }

    /// How its sources fare; none where there are no accelerators.
    #[must_use]
    pub fn states(&self) -> Vec<SourceState> {
        self.states.values().cloned().collect()
    }

    /// Who holds and uses each of these at this tick. A job that has ended since the last one is among them
    /// still: what was used meanwhile was its own.
    pub fn assign(&mut self, sights: &[&Sight], around: &Around<'_>, at: &Moment) -> Vec<Use> {
        let sights = &sights[..sights.len().min(MAX_SIGHTS)];
        self.admit(around.groups, at.monotonic);
        let uses = if sights.is_empty() { Vec::new() } else { self.claims(sights, around, at) };
        self.bury(around.groups);
        uses
    }

    fn claims(&mut self, sights: &[&Sight], around: &Around<'_>, at: &Moment) -> Vec<Use> {
        let now = at.monotonic;
        let mut draft = Draft::new(sights);
        self.note_pods(&mut draft, sights, around.grants, now);
        self.note_jobs(&mut draft, sights, around.grants);
        let are_listed = self.note_processes(&mut draft, sights, around.consumers);
        self.note_permitted(&mut draft, sights, &are_listed, now);
        self.note_hints(&mut draft, sights, around.grants, now);
        let mut uses = draft.finish(|place| are_listed[place]);
        self.carry(sights, &mut uses);
        self.note_states(sights, &uses, at);
        uses
    }

    /// What the kubelet gave. That nobody is on its list does not mean that nobody uses a device: processes on
    /// the host and other runtimes do not ask it.
    fn note_pods(&mut self, draft: &mut Draft, sights: &[&Sight], grants: &Grants, now: Nanos) {
        let list = grants.pods.as_ref().filter(|list| now.saturating_sub(list.at) < BELIEVED);
        let mut has_unknown = false;
        let mut held = HashMap::new();
        for pod in list.iter().flat_map(|list| &list.pods) {
            let asked = list.map_or(Nanos::ZERO, |list| list.at);
            // Of two pods of one name the later one is meant: a name is free when its pod is gone. One that
            // came after the list is not the one on it.
            let alive = pod.ids.iter().filter_map(|id| Some((self.jobs.get(id)?.born, id)));
            let job = alive.filter(|(born, _)| *born <= asked).max().map(|(_, id)| id);
            let last = job.map(|_| now).or_else(|| self.held.get(&pod.called).copied());
            held.extend(last.map(|last| (pod.called.clone(), last)));
            // It had its name, and ended after the list was made, or nobody came since who could have it.
            let has_ended = job.is_none() && last.is_some_and(|end| asked <= end || self.last_pod < end);
            if has_ended {
                continue;
            }
            for given in &pod.devices {
                let found = given.device.find(sights, given.vendor);
                match job {
                    Some(job) => draft.allot(found, job, given.shares),
                    None => {
                        has_unknown |= found != Found::Nothing;
                        draft.allot_unknown(found, given.shares);
                    }
                }
            }
            // What is called in a way that nobody knows may be any device of its vendor.
            let lost =
                pod.devices.iter().filter(|given| given.device.find(sights, given.vendor) == Found::Nothing);
            let lost: Vec<Vendor> =
                lost.filter_map(|given| given.vendor).chain(pod.unclear.iter().copied()).collect();
            for (place, _) in sights.iter().enumerate().filter(|(_, sight)| lost.contains(&sight.vendor)) {
                draft.unclear(place);
            }
        }
        if list.is_some() {
            self.held = held;
        }
        self.unknown_since = has_unknown.then(|| self.unknown_since.unwrap_or(now));
    }

    /// What Slurm gave.
    fn note_jobs(&self, draft: &mut Draft, sights: &[&Sight], grants: &Grants) {
        for (job, devices) in grants.jobs.iter().filter(|(job, _)| self.jobs.contains_key(job)) {
            for given in &devices.given {
                draft.allot(find(given, sights), job, given.shares);
            }
        }
    }

    /// What device control groups permit. Instances have no device file of their own there. Slurm permits what
    /// it gave; a container that looks after devices may open them all and use none.
    fn note_permitted(&mut self, draft: &mut Draft, sights: &[&Sight], are_listed: &[bool], now: Nanos) {
        let Some(devices) = &self.devices else { return };
        for (id, job) in &mut self.jobs {
            let Some(path) = job.path.as_deref() else { continue };
            if job.looks < FIRST_LOOKS || now.saturating_sub(job.looked) >= LOOK_AGAIN {
                job.looks = job.looks.saturating_add(1);
                job.looked = now;
                let place = devices.join(path.trim_start_matches('/')).join("devices.list");
                let list = read_text(&place).ok().and_then(|list| permitted::parse(&list));
                job.permitted = list.unwrap_or_default();
            }
            for (place, sight) in sights.iter().enumerate().filter(|_| !job.permitted.is_empty()) {
                let is_permitted = sight.nodes.iter().any(|node| job.permitted.contains(node));
                if !is_permitted || draft.is_divided(place) {
                    continue;
                }
                match id.kind() {
                    JobKind::Slurm => draft.allot(Found::Device(place), id, 1),
                    _ if !are_listed[place] => draft.hint(Found::Device(place), id),
                    _ => {}
                }
            }
        }
    }

    /// What the driver says. Returns for each device whether all that use it are told.
    fn note_processes(
        &mut self,
        draft: &mut Draft,
        sights: &[&Sight],
        consumers: Option<&Consumers>,
    ) -> Vec<bool> {
        if !self.are_numbers_ours {
            return vec![false; sights.len()];
        }
        let numbers = sights.iter().flat_map(|sight| sight.processes.iter().flatten()).map(|one| one.pid);
        let stand_of = |pid| -> Stand {
            consumers
                .and_then(|consumers| consumers.stand_of(pid))
                .unwrap_or_else(|| self.callers.stand_of(pid))
        };
        let owners = self.listed.look(numbers, stand_of);
        let mut has_miss = false;
        let mut are_listed = Vec::with_capacity(sights.len());
        for (place, sight) in sights.iter().enumerate() {
            let mut is_listed = sight.processes.is_ok();
            for process in sight.processes.iter().flatten() {
                match owners.get(&process.pid) {
                    Some(Owner::In(jobs)) => draft.process(place, &process.instance, jobs, process.used),
                    Some(Owner::Ended) => {}
                    Some(Owner::Unknown) | None => {
                        is_listed = false;
                        draft.unclear(place);
                        // Whose it is cannot be told, and what it used is not the others'.
                        draft.process(place, &process.instance, &[], process.used);
                    }
                }
            }
            has_miss |= !is_listed && sight.processes.is_ok();
            are_listed.push(is_listed);
        }
        self.misses = if has_miss { self.misses.saturating_add(1) } else { 0 };
        are_listed
    }

    /// What processes were told to use, where nothing better says who does: a user may have told them.
    fn note_hints(&self, draft: &mut Draft, sights: &[&Sight], grants: &Grants, now: Nanos) {
        let has_list = grants.pods.as_ref().is_some_and(|list| now.saturating_sub(list.at) < BELIEVED);
        for (job, devices) in &grants.jobs {
            let Some(alive) = self.jobs.get(job) else { continue };
            // A number counts within what it was given, and that is known. So it is of the kubelet's pods.
            if !devices.given.is_empty() || has_list && job.kind() == JobKind::Pod {
                continue;
            }
            for given in &devices.visible {
                let found = find(given, sights);
                let (Found::Device(place) | Found::Instance(place, _)) = found else { continue };
                let is_permitted = |node: &(u32, u32)| alive.permitted.contains(node);
                if !alive.permitted.is_empty() && !sights[place].nodes.iter().any(is_permitted) {
                    continue;
                }
                // Of one that is listed and cannot be told nobody knows whether it is the job's.
                let is_silent = !self.are_numbers_ours || sights[place].processes.is_err();
                match job.kind() {
                    _ if is_silent => draft.hint(found, job),
                    // Slurm gave it none.
                    JobKind::Slurm => {}
                    _ => draft.reserve(found, job),
                }
            }
        }
    }

    /// Whoever had a part to the last moment, and has given it back since, is charged with the interval in
    /// which he did: the same claims are carried over once. While a driver hangs they are carried over at every
    /// tick: what it will have counted when it is back was used by those who used it before.
    fn carry(&mut self, sights: &[&Sight], uses: &mut [Use]) {
        let mut now = HashMap::new();
        for (sight, used) in sights.iter().zip(uses) {
            let does_hang = sight.processes == Err(Fault::Timeout);
            let is_known = used.is_known;
            for part in &mut used.parts {
                let key = (used.gpu.clone(), part.instance.clone());
                let is_there =
                    |claim: &&Claim| claim.job.as_ref().is_none_or(|job| self.jobs.contains_key(job));
                let before =
                    self.before.get(&key).filter(|_| does_hang || is_known && part.claims.is_empty());
                let before: Vec<Claim> = before.into_iter().flatten().filter(is_there).cloned().collect();
                if does_hang {
                    let is_new = |claim: &Claim| before.iter().all(|known| known.job != claim.job);
                    part.claims.retain(is_new);
                    part.claims.splice(0..0, before);
                } else if part.claims.is_empty() {
                    part.claims = before;
                    continue;
                }
                if !part.claims.is_empty() {
                    now.insert(key, part.claims.clone());
                }
            }
        }
        self.before = now;
    }

    fn admit(&mut self, groups: &Groups, now: Nanos) {
        for birth in &groups.births {
            let (GroupRole::Job(id) | GroupRole::Slice(id)) = &birth.role else { continue };
            self.slots.insert(birth.slot, id.clone());
            if id.kind() == JobKind::Pod {
                self.last_pod = now;
            }
            let has_devices = matches!(id.kind(), JobKind::Slurm | JobKind::Container);
            let path = Some(&birth.path).filter(|_| has_devices && birth.hierarchy == Hierarchy::Primary);
            let alive = self.jobs.entry(id.clone()).or_insert_with(|| Alive {
                groups: 0,
                born: now,
                path: path.cloned(),
                permitted: Vec::new(),
                looks: 0,
                looked: now,
            });
            alive.groups += 1;
        }
    }

    fn bury(&mut self, groups: &Groups) {
        for slot in &groups.deaths {
            let Some(id) = self.slots.remove(slot) else { continue };
            let Some(alive) = self.jobs.get_mut(&id) else { continue };
            alive.groups = alive.groups.saturating_sub(1);
            if alive.groups == 0 {
                self.jobs.remove(&id);
            }
        }
    }

    fn note_states(&mut self, sights: &[&Sight], uses: &[Use], at: &Moment) {
        let refused = sights.iter().find_map(|sight| Some((sight, *sight.processes.as_ref().err()?)));
        let is_too_early = self.are_numbers_ours && self.is_too_early(sights, at.monotonic);
        let (fault, detail) = match refused {
            _ if !self.are_numbers_ours => (
                Some(Fault::PrivateNamespace),
                "process numbers mean nothing outside the host's PID namespace (hostPID: true); allocations are used alone".to_owned(),
            ),
            Some((sight, fault)) => (Some(fault), format!("the driver lists no processes of {}", sight.gpu)),
            None if self.misses > MAX_MISSES => (
                Some(Fault::Missing),
                "processes that the driver lists are not in /proc, or outside the control groups that can be seen".to_owned(),
            ),
            None => (None, "by the driver's lists and /proc/PID/cgroup".to_owned()),
        };
        if !is_too_early {
            self.note(PROCESSES, fault, detail, at);
        }
        let is_long = self.unknown_since.is_some_and(|since| at.monotonic.saturating_sub(since) >= PATIENCE);
        let held = uses.iter().filter(|used| !used.is_known).count();
        let (fault, detail) = match is_long {
            true => (
                Some(Fault::Missing),
                format!(
                    "pods hold devices ({held} of them) and have no UID here: mount /var/log/pods, or let the kubelet be asked"
                ),
            ),
            false => (None, format!("{} devices", uses.len())),
        };
        self.note(HOLDERS, fault, detail, at);
    }

    /// Whether the lists of a device that is new are on their way.
    fn is_too_early(&mut self, sights: &[&Sight], now: Nanos) -> bool {
        self.untold.retain(|gpu, _| sights.iter().any(|sight| sight.gpu == *gpu));
        let mut is_too_early = false;
        for sight in sights {
            let since = self.untold.entry(sight.gpu.clone()).or_insert(Some(now));
            if sight.processes != Err(Fault::Timeout) {
                *since = None;
            }
            is_too_early |= since.is_some_and(|since| now.saturating_sub(since) < FIRST_LIST);
        }
        is_too_early
    }

    fn note(&mut self, source: &'static str, fault: Option<Fault>, detail: String, at: &Moment) {
        let state = self.states.entry(source).or_insert_with(|| SourceState {
            source: source.into(),
            hw_id: "".into(),
            fault: None,
            last_success: None,
            errors: Vec::new(),
            detail: "".into(),
        });
        if state.fault != fault {
            match fault {
                Some(fault) => {
                    tracing::warn!(source, detail, "not all holders of accelerators are known: {fault}")
                }
                None => tracing::info!(source, "holders of accelerators are known again"),
            }
        }
        state.fault = fault;
        state.detail = detail.into();
        match fault {
            None => state.last_success = Some(at.wall),
            Some(fault) => match state.errors.iter_mut().find(|(known, _)| *known == fault) {
                Some((_, count)) => *count += 1,
                None => state.errors.push((fault, 1)),
            },
        }
    }
}

/// Among those of its vendor. Where that is not told it is the one whose devices batch systems count first.
fn find(given: &Given, sights: &[&Sight]) -> Found {
    let vendors = [Vendor::Nvidia, Vendor::Amd, Vendor::Intel];
    let is_there = |vendor: &Vendor| sights.iter().any(|sight| sight.vendor == *vendor);
    let vendor = given.vendor.or_else(|| vendors.into_iter().find(is_there));
    given.device.find(sights, vendor)
}

#[cfg(test)]
mod tests;
