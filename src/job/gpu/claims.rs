//! Who may be charged with each part of a device: who was given it, and who uses it. Pure: everything that
//! is known is noted down, and [`Draft::finish`] makes claims of it.

use super::device::Found;
use crate::model::gpu::{Claim, Part, Partition, Sight, Use};
use crate::model::identity::{JobId, Name};
use std::collections::BTreeMap;

/// Claims on one part: more than a device serves processes. Beyond it who uses it is not known.
const MAX_CLAIMS: usize = 1_024;

/// What is known of one tick's devices so far.
#[derive(Debug)]
pub struct Draft {
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    gpu: Name,
    slices: u32,
    is_divided: bool,
    // Somebody holds or uses some of it who is not known.
    is_unclear: bool,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    instance: Name,
    slices: u32,
    activity: Option<u32>,
    marks: BTreeMap<Option<JobId>, Mark>,
    processes: Vec<(Vec<JobId>, Option<u64>)>,
    // They were told to use it, by whoever started them.
    reserved: Vec<JobId>,
    // Given to somebody whose job is not known yet.
    unknown_shares: u32,
}

/// What one job has of a part.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    allocated: u32,
    use_of: Usage,
}

/// What a job's processes do on a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Usage {
    /// It has none there.
    #[default]
    None,
    /// So much.
    Known(u64),
    /// Some, and how much is not told.
    Unknown,
}

impl Usage {
    fn add(&mut self, used: Option<u64>) {
        *self = match (*self, used) {
            (Usage::None, Some(used)) => Usage::Known(used),
            (Usage::Known(sum), Some(used)) => Usage::Known(sum.saturating_add(used)),
            (Usage::Unknown, _) | (_, None) => Usage::Unknown,
        };
    }
}

impl Draft {
    /// Nothing is known yet of these devices.
    #[must_use]
    pub fn new(sights: &[&Sight]) -> Draft {
        Draft { devices: sights.iter().map(|sight| Device::new(sight)).collect() }
    }

    /// A job was given a device. Two sources that say so say it of the same shares.
    pub fn allot(&mut self, found: Found, job: &JobId, shares: u32) {
        for piece in self.pieces(found) {
            let mark = piece.mark(Some(job.clone()));
            if let Some(mark) = mark {
                mark.allocated = mark.allocated.max(shares);
            }
        }
    }

    /// Somebody was given a device, and it is not known yet who that is.
    pub fn allot_unknown(&mut self, found: Found, shares: u32) {
        for piece in self.pieces(found) {
            piece.unknown_shares = piece.unknown_shares.saturating_add(shares);
        }
        if let Found::Device(at) | Found::Instance(at, _) = found {
            self.unclear(at);
        }
    }

    /// A job may use a device, and nothing tells whether it does.
    pub fn hint(&mut self, found: Found, job: &JobId) {
        for piece in self.pieces(found) {
            if let Some(mark) = piece.mark(Some(job.clone())) {
                mark.use_of.add(None);
            }
        }
    }

    /// A job was told to use a device by whoever started it, and all that use it are told: it holds it unless
    /// somebody was given it, or somebody else is there. A whole device that is divided nobody can use.
    pub fn reserve(&mut self, found: Found, job: &JobId) {
        if matches!(found, Found::Device(at) if self.is_divided(at)) {
            return;
        }
        for piece in self.pieces(found).filter(|piece| piece.reserved.len() < MAX_CLAIMS) {
            piece.reserved.push(job.clone());
        }
    }

    /// A process of these jobs, the innermost first, uses the instance; the whole if that has no name.
    pub fn process(&mut self, at: usize, instance: &str, jobs: &[JobId], used: Option<u64>) {
        let Some(device) = self.devices.get_mut(at) else { return };
        let piece = device.pieces.iter_mut().find(|piece| *piece.instance == *instance);
        match piece.filter(|piece| piece.processes.len() < MAX_CLAIMS) {
            Some(piece) => piece.processes.push((jobs.to_vec(), used)),
            None => device.is_unclear = true,
        }
    }

    /// Somebody uses some of this device who cannot be told.
    pub fn unclear(&mut self, at: usize) {
        if let Some(device) = self.devices.get_mut(at) {
            device.is_unclear = true;
        }
    }

    /// Whether it is divided into instances.
    #[must_use]
    pub fn is_divided(&self, at: usize) -> bool {
        self.devices.get(at).is_some_and(|device| device.is_divided)
    }

    fn pieces(&mut self, found: Found) -> impl Iterator<Item = &mut Piece> {
        let (at, only) = match found {
            Found::Nothing => (None, None),
            Found::Device(at) => (Some(at), None),
            Found::Instance(at, instance) => (Some(at), Some(instance)),
            Found::Unclear(at) => {
                self.unclear(at);
                (None, None)
            }
        };
        let device = at.and_then(|at| self.devices.get_mut(at));
        let pieces = device.into_iter().flat_map(|device| device.pieces.iter_mut().enumerate());
        pieces.filter(move |(place, _)| only.is_none_or(|only| only == *place)).map(|(_, piece)| piece)
    }

    /// The claims. `are_all_listed` tells of a device, by its place, whether all that use it are told: whether
    /// nobody's claim means that nobody uses it, and a job without a process there does not.
    #[must_use]
    pub fn finish(self, are_all_listed: impl Fn(usize) -> bool) -> Vec<Use> {
        let uses = self.devices.into_iter().enumerate().map(|(at, device)| Use {
            gpu: device.gpu,
            is_known: are_all_listed(at) && !device.is_unclear,
            slices: device.slices,
            parts: {
                let parts = device.pieces.into_iter();
                parts.map(|piece| piece.finish(are_all_listed(at), device.is_unclear)).collect()
            },
        });
        uses.collect()
    }
}

impl Device {
    fn new(sight: &Sight) -> Device {
        let (slices, pieces) = match &sight.partition {
            Partition::Whole => (1, vec![Piece::new("".into(), 1, None)]),
            Partition::Instances { slices, instances } => {
                let pieces = instances
                    .iter()
                    .map(|instance| Piece::new(instance.uuid.clone(), instance.slices, instance.activity));
                (*slices, pieces.collect())
            }
        };
        let is_divided = matches!(sight.partition, Partition::Instances { .. });
        Device { gpu: sight.gpu.clone(), slices, is_divided, is_unclear: false, pieces }
    }
}

impl Piece {
    fn new(instance: Name, slices: u32, activity: Option<u32>) -> Piece {
        let (marks, processes) = (BTreeMap::new(), Vec::new());
        Piece { instance, slices, activity, marks, processes, reserved: Vec::new(), unknown_shares: 0 }
    }

    fn mark(&mut self, job: Option<JobId>) -> Option<&mut Mark> {
        if self.marks.len() >= MAX_CLAIMS && !self.marks.contains_key(&job) {
            return None;
        }
        Some(self.marks.entry(job).or_default())
    }

    fn finish(mut self, are_all_listed: bool, is_unclear: bool) -> Part {
        if !is_unclear {
            self.honour_reservations();
        }
        self.charge_innermost();
        // Nobody is charged with a share of somebody else who is not known yet.
        let has_holder = self.marks.values().any(|mark| mark.allocated > 0);
        let unknown_shares = self.unknown_shares;
        if has_holder
            && unknown_shares > 0
            && let Some(mark) = self.mark(None)
        {
            mark.allocated = mark.allocated.saturating_add(unknown_shares);
        }
        // Where one's use is not told, the others' cannot be compared with it; where all is told, who does
        // nothing has used nothing.
        let has = |wanted: fn(&Usage) -> bool| self.marks.values().any(|mark| wanted(&mark.use_of));
        let is_comparable = !has(|usage| *usage == Usage::Unknown);
        let has_idle = has(|usage| *usage == Usage::None);
        let is_all_told = are_all_listed && has(|usage| *usage != Usage::None);
        let claims = self.marks.into_iter().map(|(job, mark)| Claim {
            job,
            allocated: mark.allocated,
            used: match mark.use_of {
                Usage::None => Some(0).filter(|_| is_all_told),
                Usage::Known(used) if is_comparable => Some(used),
                // Those who use it have equal parts, and who does nothing there has none.
                Usage::Known(_) | Usage::Unknown => Some(1).filter(|_| is_all_told && has_idle),
            },
        });
        let (instance, slices, activity) = (self.instance, self.slices, self.activity);
        Part { instance, slices, activity, claims: claims.collect() }
    }

    /// What a job said of itself never makes it pay for another.
    fn honour_reservations(&mut self) {
        let is_given = self.unknown_shares > 0 || self.marks.values().any(|mark| mark.allocated > 0);
        let is_own = |jobs: &[JobId]| jobs.iter().any(|job| self.reserved.contains(job));
        if is_given || !self.processes.iter().all(|(jobs, _)| is_own(jobs)) {
            return;
        }
        for job in std::mem::take(&mut self.reserved) {
            if let Some(mark) = self.mark(Some(job)) {
                mark.allocated = 1;
            }
        }
    }

    /// A process belongs to the innermost job around it. What an outer one was given is the inner one's then,
    /// and the outer one's too if it has processes of its own there.
    fn charge_innermost(&mut self) {
        let processes = std::mem::take(&mut self.processes);
        let mut lent: Vec<JobId> = Vec::new();
        for (jobs, used) in &processes {
            let inner = jobs.first().cloned();
            let is_given = |job: &JobId| {
                self.marks
                    .get(&Some(job.clone()))
                    .filter(|mark| mark.allocated > 0)
                    .map(|mark| mark.allocated)
            };
            let of_outer = jobs.iter().find_map(|job| Some((job.clone(), is_given(job)?)));
            let Some(mark) = self.mark(inner.clone()) else { continue };
            mark.use_of.add(*used);
            if let Some((outer, allocated)) = of_outer.filter(|(outer, _)| Some(outer) != inner.as_ref()) {
                mark.allocated = allocated;
                lent.push(outer);
            }
        }
        for outer in lent {
            let has_own = processes.iter().any(|(jobs, _)| jobs.first() == Some(&outer));
            if !has_own {
                self.marks.remove(&Some(outer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::gpu::device::tests::{divided, whole};
    use crate::model::identity::JobKind;
    use proptest::prelude::*;

    fn job(name: &str) -> JobId {
        JobId::new(JobKind::Unit, name)
    }

    /// `a:allocated/used`, `-` for nobody and for what is not known.
    fn words(part: &Part) -> String {
        let word = |claim: &Claim| {
            let job = claim.job.as_ref().map_or("-", |job| job.id());
            let used = claim.used.map_or("-".to_owned(), |used| used.to_string());
            format!("{job}:{}/{used}", claim.allocated)
        };
        part.claims.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Shares by job, `?` for one that is not known; processes by jobs, innermost first, and use.
    fn claims(given: &[(&str, u32)], processes: &[(&[&str], Option<u64>)], are_all_listed: bool) -> String {
        let sight = whole(0);
        let mut draft = Draft::new(&[&sight]);
        for (name, shares) in given {
            match *name {
                "?" => draft.allot_unknown(Found::Device(0), *shares),
                name => draft.allot(Found::Device(0), &job(name), *shares),
            }
        }
        for (jobs, used) in processes {
            let jobs: Vec<JobId> = jobs.iter().map(|name| job(name)).collect();
            draft.process(0, "", &jobs, *used);
        }
        let uses = draft.finish(|_| are_all_listed);
        let known = if uses[0].is_known || !are_all_listed { "" } else { " ?" };
        format!("{}{known}", words(&uses[0].parts[0]))
    }

    #[test]
    fn claims_are_of_those_who_were_given_it_and_those_who_use_it() {
        for (given, processes, are_all_listed, expected) in [
            (&[][..], &[][..], true, ""),
            (&[("a", 1)], &[], true, "a:1/-"),
            (&[("a", 1), ("a", 1)], &[], true, "a:1/-"),
            (&[("a", 2), ("b", 1)], &[], true, "a:2/- b:1/-"),
            (&[], &[(&["a"][..], Some(3)), (&["a"], Some(4)), (&["b"], Some(0))], true, "a:0/7 b:0/0"),
            (&[], &[(&["a"], Some(3)), (&["a"], None)], true, "a:0/-"),
            (&[], &[(&["a"], Some(3)), (&["b"], None)], true, "a:0/- b:0/-"),
            (&[], &[(&[], Some(3))], true, "-:0/3"),
            (&[("a", 1)], &[(&["a"], Some(3))], true, "a:1/3"),
            // Who holds a share and does nothing has used nothing, if that can be told.
            (&[("a", 1), ("b", 1)], &[(&["a"], Some(3))], true, "a:1/3 b:1/0"),
            (&[("a", 1), ("b", 1)], &[(&["a"], Some(3))], false, "a:1/3 b:1/-"),
            (&[("a", 1), ("b", 1)], &[(&["a"], None)], true, "a:1/1 b:1/0"),
            (&[("a", 1), ("b", 1)], &[(&["a"], None)], false, "a:1/- b:1/-"),
            (&[("a", 2), ("b", 1)], &[(&["a"], None), (&["b"], Some(5))], true, "a:2/- b:1/-"),
            (
                &[("a", 2), ("b", 1), ("c", 1)],
                &[(&["a"], None), (&["b"], Some(5))],
                true,
                "a:2/1 b:1/1 c:1/0",
            ),
            (&[("a", 1)], &[(&["b"], Some(3))], true, "a:1/0 b:0/3"),
            // A pod whose name is not known yet.
            (&[("?", 1)], &[], true, " ?"),
            (&[("?", 1)], &[(&["a"], Some(3))], true, "a:0/3 ?"),
            (&[("a", 1), ("?", 2)], &[], true, "-:2/- a:1/- ?"),
            // A job inside a job that holds it.
            (&[("a", 1)], &[(&["in", "a"], Some(3))], true, "in:1/3"),
            (&[("a", 1)], &[(&["in", "a"], Some(3)), (&["a"], Some(1))], true, "a:1/1 in:1/3"),
            (&[("a", 1), ("in", 1)], &[(&["in", "a"], Some(3))], true, "a:1/0 in:1/3"),
            (&[("b", 1)], &[(&["in", "a"], Some(3))], true, "b:1/0 in:0/3"),
        ] {
            assert_eq!(claims(given, processes, are_all_listed), expected, "{given:?} {processes:?}");
        }
    }

    #[test]
    fn of_a_device_in_instances_each_has_claims_of_its_own() {
        let sights = [divided(0), whole(1)];
        let mut draft = Draft::new(&sights.iter().collect::<Vec<_>>());
        draft.allot(Found::Instance(0, 1), &job("a"), 1);
        draft.allot(Found::Device(0), &job("all"), 1);
        draft.hint(Found::Instance(0, 2), &job("b"));
        draft.process(0, "MIG-0b1100000-0000-5000-8000-000000000000", &[job("c")], Some(5));
        draft.process(1, "", &[], None);
        assert!(draft.is_divided(0) && !draft.is_divided(1));
        let uses = draft.finish(|_| true);
        let found: Vec<String> = uses[0].parts.iter().map(words).collect();
        assert_eq!(found, ["all:1/0 c:0/5", "a:1/- all:1/-", "all:1/0 b:0/1"]);
        assert_eq!((uses[0].slices, uses[0].parts[2].slices, uses[0].is_known), (7, 4, true));
        assert_eq!((uses[1].slices, words(&uses[1].parts[0]).as_str()), (1, "-:0/-"));
        // On a device that is divided, what runs on no instance that is known.
        let mut draft = Draft::new(&sights.iter().collect::<Vec<_>>());
        draft.process(0, "", &[job("a")], Some(1));
        draft.allot(Found::Unclear(1), &job("a"), 1);
        let uses = draft.finish(|_| true);
        assert_eq!(uses.iter().map(|found| found.is_known).collect::<Vec<_>>(), [false, false]);
    }

    proptest! {
        /// A job has one claim on a part, whatever is said of it, and no use is lost.
        #[test]
        fn each_job_has_one_claim(
            given in prop::collection::vec((0_u8..4, 1_u32..4), 0..6),
            used in prop::collection::vec((prop::collection::vec(0_u8..4, 0..3), 0_u64..9), 0..12),
        ) {
            let sight = whole(0);
            let mut draft = Draft::new(&[&sight]);
            for (number, shares) in &given {
                draft.allot(Found::Device(0), &job(&number.to_string()), *shares);
            }
            for (jobs, used) in &used {
                let jobs: Vec<JobId> = jobs.iter().map(|number| job(&number.to_string())).collect();
                draft.process(0, "", &jobs, Some(*used));
            }
            let uses = draft.finish(|_| true);
            let claims = &uses[0].parts[0].claims;
            for (at, claim) in claims.iter().enumerate() {
                prop_assert!(claims[at + 1..].iter().all(|other| other.job != claim.job));
            }
            let total: u64 = claims.iter().filter_map(|claim| claim.used).sum();
            prop_assert_eq!(total, used.iter().map(|(_, used)| used).sum::<u64>());
        }
    }
}
