//! What people call the jobs: the sampler says which ones live, sources are asked about them by a thread of
//! its own (`clerk`), and what is new is handed to the engine with the next tick. Nothing here waits: a
//! source that is dead or slow costs names, never a tick or a counter.

mod clerk;

use super::container::lxc_name;
use super::gpu::grant::{Grants, JobDevices, PodGrant, PodGrants};
use super::grouping::{self, Grouping};
use super::names::environment::Reader;
use super::names::{Asked, PodList, SourceName, Wanted, WantsDevices, Wishes};
use crate::model::description::{Attribute, Description, Naming};
use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::model::reading::{Birth, GroupRole, GroupSlot, Groups};
use crate::model::snapshot::SourceState;
use arc_swap::ArcSwap;
use clerk::Clerk;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// Before the engine gives up by itself, at 120 s: a job whose sources have not all told of it by then gets no group from them; what they tell later is
/// shown all the same.
const GIVE_UP: Nanos = Nanos::from_seconds(110);

/// Jobs that are followed: those on the page at the most, and as many that came and went meanwhile.
const MAX_JOBS: usize = 200_000;

/// Ended jobs whose name is still looked for; beyond it a storm of short jobs has no names.
const MAX_ENDED: usize = 8_192;

/// What jobs have said of themselves: the newest of everything, never a change.
pub type Told = HashMap<JobId, Arc<Description>>;

/// What the sources have found.
#[derive(Debug, Default)]
pub struct Found {
    entries: Arc<HashMap<JobId, Arc<Entry>>>,
    sources: Vec<SourceState>,
    pods: Option<Arc<PodList>>,
}

/// What they say of one job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// By those who run it.
    pub sure: Description,
    /// By what it was given.
    pub likely: Description,
    /// By its user.
    pub own: Description,
    /// Which accelerators it was given.
    pub devices: Option<Arc<JobDevices>>,
    /// No source has more to say.
    pub is_complete: bool,
}

/// The sampler's side.
pub struct Directory {
    // Not yet started: threads are only when all rights but reading were given up.
    clerk: Option<Clerk>,
    wanted: watch::Sender<Arc<Wanted>>,
    found: Arc<ArcSwap<Found>>,
    told: Arc<ArcSwap<Told>>,
    seen: (Arc<Found>, Arc<Told>),
    wants_devices: WantsDevices,
    // What was given by that time.
    grants: (Arc<Found>, Arc<Grants>),
    asked_for: Vec<SourceName>,
    grouping: Grouping,
    is_told_later: bool,
    jobs: HashMap<JobId, Known>,
    ended: usize,
    slots: HashMap<GroupSlot, JobId>,
}

struct Known {
    asked: Asked,
    groups: u32,
    since: Nanos,
    // What the path alone tells.
    path: Description,
    entry: Option<Arc<Entry>>,
    told: Option<Arc<Description>>,
    naming: Naming,
}

impl Directory {
    /// Asks these sources. The reader of environments must run already.
    #[must_use]
    pub fn new(wishes: Wishes, reader: Option<Reader>, grouping: Grouping) -> Directory {
        let (wanted, asked) = watch::channel(Arc::default());
        let found = Arc::new(ArcSwap::from_pointee(Found::default()));
        let wants_devices = WantsDevices::default();
        let clerk = Clerk::new(wishes, reader, Arc::clone(&wants_devices), asked, Arc::clone(&found));
        let told = Arc::new(ArcSwap::from_pointee(Told::default()));
        Directory {
            asked_for: clerk.sources(),
            clerk: Some(clerk),
            wanted,
            seen: (found.load_full(), told.load_full()),
            wants_devices,
            grants: (found.load_full(), Arc::default()),
            found,
            told,
            grouping,
            is_told_later: false,
            jobs: HashMap::new(),
            ended: 0,
            slots: HashMap::new(),
        }
    }

    /// Where somebody may leave what jobs say of themselves. From then on a job's groups stay open for that
    /// as long as for a name, if what it says can decide them.
    pub fn told(&mut self) -> Arc<ArcSwap<Told>> {
        self.is_told_later = true;
        Arc::clone(&self.told)
    }

    /// How the sources fare.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceState> {
        self.found.load().sources.clone()
    }

    /// Says whether anybody wants to know who holds accelerators; nobody is asked often before.
    pub fn want_devices(&self, is_wanted: bool) {
        self.wants_devices.store(is_wanted, Ordering::Relaxed);
    }

    /// Which accelerators were given to whom, as far as the sources have told.
    pub fn grants(&mut self) -> Arc<Grants> {
        let found = self.found.load_full();
        if !self.grants.0.is_of(&found) {
            let grants = found.grants();
            self.grants = (found, Arc::new(grants));
        }
        Arc::clone(&self.grants.1)
    }

    /// Takes note of who came and went, and tells what has become known since the last call.
    pub fn follow(&mut self, groups: &Groups, at: Nanos) -> Vec<Naming> {
        if let Some(clerk) = self.clerk.take() {
            clerk.start();
        }
        let mut is_changed = false;
        for birth in &groups.births {
            is_changed |= self.admit(birth, at);
        }
        for slot in &groups.deaths {
            self.bury(*slot);
        }
        let namings = self.tell(at);
        is_changed |= self.forget();
        if is_changed {
            let wanted = self.jobs.iter().map(|(id, known)| (id.clone(), known.asked.clone()));
            self.wanted.send_replace(Arc::new(wanted.collect()));
        }
        namings
    }

    /// Returns whether it is a job that was not known.
    fn admit(&mut self, birth: &Birth, at: Nanos) -> bool {
        let (GroupRole::Job(id) | GroupRole::Slice(id)) = &birth.role else { return false };
        let is_new = !self.jobs.contains_key(id);
        if is_new && self.jobs.len() >= MAX_JOBS {
            return false;
        }
        let known = self.jobs.entry(id.clone()).or_insert_with(|| Known::new(id, birth, at));
        if known.groups == 0 && !is_new {
            self.ended -= 1;
        }
        known.groups += 1;
        self.slots.insert(birth.slot, id.clone());
        is_new
    }

    fn bury(&mut self, slot: GroupSlot) {
        let Some(id) = self.slots.remove(&slot) else { return };
        let Some(known) = self.jobs.get_mut(&id) else { return };
        known.groups = known.groups.saturating_sub(1);
        if known.groups == 0 {
            self.ended += 1;
        }
    }

    /// Ended jobs that have their names, or that nobody has room to look for.
    fn forget(&mut self) -> bool {
        if self.ended == 0 {
            return false;
        }
        let has_no_room = self.ended > MAX_ENDED;
        let mut forgotten = Vec::new();
        self.jobs.retain(|id, known| {
            let stays = known.groups > 0 || !known.naming.is_final && !has_no_room;
            if !stays {
                forgotten.push(id.clone());
            }
            stays
        });
        self.ended -= forgotten.len();
        // Who has the id next, as a service that is started again, says for itself what it is.
        let told = self.told.load();
        if forgotten.iter().any(|id| told.contains_key(id)) {
            self.told.rcu(|told| {
                let mut left = Told::clone(told);
                forgotten.iter().for_each(|id| drop(left.remove(id)));
                left
            });
        }
        !forgotten.is_empty()
    }

    fn tell(&mut self, at: Nanos) -> Vec<Naming> {
        let now = (self.found.load_full(), self.told.load_full());
        let is_new = !now.0.names_as(&self.seen.0) || !Arc::ptr_eq(&now.1, &self.seen.1);
        self.seen = now;
        let (found, told) = &self.seen;
        let waits_for_told = self.is_told_later && self.grouping.takes_own();
        let mut namings = Vec::new();
        for (id, known) in &mut self.jobs {
            if known.naming.is_final && !is_new {
                continue;
            }
            let is_known = known.take_up(found.entries.get(id), told.get(id));
            if !is_known && known.naming.is_final {
                continue;
            }
            let is_complete = || match &known.entry {
                Some(entry) => entry.is_complete,
                // Those that concern it have not looked yet.
                None => !self
                    .asked_for
                    .iter()
                    .any(|source| source.is_waited_for() && source.concerns(id, &known.asked)),
            };
            let is_old = at.saturating_sub(known.since) >= GIVE_UP;
            let is_final =
                known.naming.is_final || is_old || is_complete() && (!waits_for_told || known.told.is_some());
            let naming = known.naming(id, &self.grouping, is_final);
            if naming != known.naming {
                known.naming.clone_from(&naming);
                namings.push(naming);
            }
        }
        namings
    }
}

impl Found {
    /// Whether it names jobs as the other does: states of sources are new at each look.
    fn names_as(&self, other: &Found) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// Whether it tells the same of who holds accelerators, too.
    fn is_of(&self, other: &Found) -> bool {
        let pods = match (&self.pods, &other.pods) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        pods && self.names_as(other)
    }

    fn grants(&self) -> Grants {
        let devices = |(id, entry): (&JobId, &Arc<Entry>)| Some((id.clone(), entry.devices.clone()?));
        let mut jobs: Vec<(JobId, Arc<JobDevices>)> = self.entries.iter().filter_map(devices).collect();
        jobs.sort_by(|(one, _), (other, _)| one.cmp(other));
        let pods = self.pods.as_deref().map(|list| {
            // The list knows names, and the names were found for UIDs.
            let mut called: HashMap<(&str, &str), Vec<JobId>> = HashMap::new();
            for (id, entry) in self.entries.iter().filter(|(id, _)| id.kind() == JobKind::Pod) {
                let names = (entry.sure.get(Attribute::Namespace), entry.sure.get(Attribute::Pod));
                called.entry(names).or_default().push(id.clone());
            }
            let pods = list.pods.iter().map(|pod| {
                let mut ids = called.get(&(&*pod.namespace, &*pod.name)).cloned().unwrap_or_default();
                ids.sort();
                let called = format!("{}/{}", pod.namespace, pod.name).as_str().into();
                PodGrant { called, ids, devices: pod.devices.clone(), unclear: pod.unclear.clone() }
            });
            PodGrants { at: list.at, pods: pods.collect() }
        });
        Grants { pods, jobs }
    }
}

impl Known {
    fn new(id: &JobId, birth: &Birth, at: Nanos) -> Known {
        let asked = Asked { cgroup: Name::clone(&birth.path), hierarchy: birth.hierarchy, user: birth.user };
        let naming =
            Naming { id: id.clone(), description: Arc::default(), groups: Vec::new(), is_final: false };
        let path = by_path(id, &asked);
        Known { asked, groups: 0, since: at, path, entry: None, told: None, naming }
    }

    /// Whether anything is other than before.
    fn take_up(&mut self, entry: Option<&Arc<Entry>>, told: Option<&Arc<Description>>) -> bool {
        let mut is_new = false;
        // A source that has forgotten does not make it unknown.
        if let Some(entry) = entry
            && self.entry.as_ref().is_none_or(|known| !Arc::ptr_eq(known, entry))
        {
            self.entry = Some(Arc::clone(entry));
            is_new = true;
        }
        if let Some(told) = told
            && self.told.as_ref().is_none_or(|known| !Arc::ptr_eq(known, told))
        {
            self.told = Some(Arc::clone(told));
            is_new = true;
        }
        is_new
    }

    fn naming(&self, id: &JobId, grouping: &Grouping, is_final: bool) -> Naming {
        let nothing = Entry::default();
        let entry = self.entry.as_deref().unwrap_or(&nothing);
        let mut sure = self.path.clone();
        sure.fill(&entry.sure);
        // What a job says later counts more than what it was started with.
        let mut own = self.told.as_deref().cloned().unwrap_or_default();
        own.fill(&entry.own);
        let mut groups = self.naming.groups.clone();
        if !self.naming.is_final {
            let known = grouping::Known { sure: &sure, likely: &entry.likely, own: &own };
            grouping.decide(&known, is_final, &mut groups);
        }
        let mut description = sure;
        description.fill(&entry.likely);
        description.fill(&own);
        Naming { id: id.clone(), description: Arc::new(description), groups, is_final }
    }
}

/// What the id and the path tell by themselves.
fn by_path(id: &JobId, asked: &Asked) -> Description {
    let mut description = Description::default();
    if let Some(user) = asked.user {
        description.set(Attribute::UserId, &user.to_string());
    }
    match id.kind() {
        JobKind::Unit => {
            let mut names = asked.cgroup.rsplit('/');
            description.set(Attribute::Unit, names.next().unwrap_or_default());
            description
                .set(Attribute::Slice, names.find(|name| name.ends_with(".slice")).unwrap_or_default());
        }
        JobKind::Container => description.set(Attribute::Container, lxc_name(id.id()).unwrap_or_default()),
        JobKind::Process => {
            // `name/number/start`; a name has no slash.
            description.set(Attribute::Executable, id.id().split('/').next().unwrap_or_default());
        }
        JobKind::Slurm => {
            let number = id.id().rsplit('/').next().unwrap_or_default();
            let cluster = number.rsplit_once('.').map_or("", |(cluster, _)| cluster);
            description.set(Attribute::SlurmCluster, cluster);
        }
        JobKind::Pod | JobKind::Custom | JobKind::Machine | JobKind::Run => {}
    }
    description
}

#[cfg(test)]
mod tests;
