//! The accelerators of one command: of those that it may use it has what its processes do there. A device that
//! nobody else uses is its own meanwhile; of one that others use too it has its share of the use.

use crate::job::gpu::claims::Draft;
use crate::job::gpu::device::{Device, Found};
use crate::job::gpu::processes::are_numbers_of;
use crate::model::gpu::{Claim, Sight, Use, Vendor};
use crate::model::identity::{JobId, Name};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// What we were told to use, by the variables of each vendor: the command is told the same.
pub type Visible = Vec<(Vendor, String)>;

/// What is known of the command's devices.
#[derive(Debug)]
pub struct Accelerators {
    job: JobId,
    visible: Visible,
    are_numbers_ours: bool,
    // Whether a process that was listed was the command's, for as long as it is listed.
    known: HashMap<u32, bool>,
    // By device and instance: who had it at the last tick.
    before: HashMap<(Name, Name), Vec<Claim>>,
    untold: BTreeSet<Name>,
    assumed: BTreeSet<Name>,
}

impl Accelerators {
    /// Of this run.
    #[must_use]
    pub fn new(job: JobId, visible: Visible) -> Accelerators {
        Accelerators {
            job,
            visible,
            are_numbers_ours: are_numbers_of(Path::new("/proc"), std::process::id()),
            known: HashMap::new(),
            before: HashMap::new(),
            untold: BTreeSet::new(),
            assumed: BTreeSet::new(),
        }
    }

    /// Who uses each of them now. `is_own` tells of a process whether it is the command's, `None` if it is
    /// there no more.
    pub fn uses(&mut self, sights: &[&Sight], is_own: impl Fn(u32) -> Option<bool>) -> Vec<Use> {
        let mut draft = Draft::new(sights);
        let numbers = sights.iter().flat_map(|sight| sight.processes.iter().flatten()).map(|one| one.pid);
        // One that has ended stays whose it was until it is off the list.
        let owner = |pid| Some((pid, self.known.get(&pid).copied().or_else(|| is_own(pid))?));
        self.known = numbers.filter_map(owner).collect();
        let mut are_known = Vec::new();
        for (place, sight) in sights.iter().enumerate() {
            let visible = self.visible(sights, sight.vendor);
            let may_use = visible.as_ref().is_none_or(|all| all.iter().any(|found| is_of(*found, place)));
            let is_told = self.are_numbers_ours && sight.processes.is_ok();
            if is_told {
                for process in sight.processes.iter().flatten() {
                    let is_own = may_use && self.known.get(&process.pid) == Some(&true);
                    let jobs = if is_own { std::slice::from_ref(&self.job) } else { &[] };
                    draft.process(place, &process.instance, jobs, process.used);
                }
            } else if may_use {
                // Whoever names a device means it for the command.
                for found in visible.iter().flatten().filter(|found| is_of(**found, place)) {
                    draft.hint(*found, &self.job);
                }
                let told = if visible.is_some() { &mut self.assumed } else { &mut self.untold };
                told.insert(sight.gpu.clone());
            }
            are_known.push(is_told || !may_use);
        }
        let mut uses = draft.finish(|place| are_known[place]);
        self.carry(&mut uses);
        uses
    }

    /// What must be said of them.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let list = |all: &BTreeSet<Name>| all.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        let mut notes = Vec::new();
        if !self.untold.is_empty() {
            notes.push(format!(
                "who uses {} cannot be told: what it drew is the machine's alone (name the command's devices in CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES or ZE_AFFINITY_MASK)",
                list(&self.untold)
            ));
        }
        if !self.assumed.is_empty() {
            notes.push(format!(
                "who uses {} cannot be told: all it drew is taken for the command's, which was told to use it",
                list(&self.assumed)
            ));
        }
        notes
    }

    /// What we were told to use of one vendor's; `None` if nothing was said.
    fn visible(&self, sights: &[&Sight], vendor: Vendor) -> Option<Vec<Found>> {
        let (_, text) = self.visible.iter().find(|(of, _)| *of == vendor)?;
        let devices = Device::parse_visible(text).into_iter();
        Some(devices.map(|device| device.find(sights, Some(vendor))).collect())
    }

    /// A command that ends leaves an empty list behind: what was drawn up to then was its own.
    fn carry(&mut self, uses: &mut [Use]) {
        let mut now = HashMap::new();
        for used in uses.iter_mut().filter(|used| used.is_known) {
            for part in &mut used.parts {
                let key = (used.gpu.clone(), part.instance.clone());
                match self.before.remove(&key) {
                    Some(claims) if part.claims.is_empty() => part.claims = claims,
                    Some(_) | None => drop(now.insert(key, part.claims.clone())),
                }
            }
        }
        self.before = now;
    }
}

fn is_of(found: Found, place: usize) -> bool {
    match found {
        Found::Nothing => false,
        Found::Device(at) | Found::Instance(at, _) | Found::Unclear(at) => at == place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::{Partition, Process};
    use crate::model::identity::JobKind;
    use crate::model::reading::Fault;

    fn gpu(number: u32, processes: Result<&[(u32, u64)], Fault>) -> Sight {
        let process =
            |(pid, used): &(u32, u64)| Process { pid: *pid, instance: "".into(), used: Some(*used) };
        Sight {
            gpu: format!("GPU-{number}").as_str().into(),
            vendor: Vendor::Nvidia,
            model: "".into(),
            driver: "".into(),
            pci: "".into(),
            index: Some(number),
            nodes: Vec::new(),
            partition: Partition::Whole,
            processes: processes.map(|all| all.iter().map(process).collect()),
        }
    }

    /// `run` and `-` for others, by device.
    fn words(uses: &[Use]) -> String {
        let claim = |claim: &Claim| {
            let who = if claim.job.is_some() { "run" } else { "-" };
            format!("{who}:{}", claim.used.map_or("?".to_owned(), |used| used.to_string()))
        };
        let device = |used: &Use| {
            let claims = used.parts.iter().flat_map(|part| &part.claims).map(claim).collect::<Vec<_>>();
            format!("{}{}", claims.join(" "), if used.is_known { "" } else { "?" })
        };
        uses.iter().map(device).collect::<Vec<_>>().join("|")
    }

    fn accelerators(visible: Option<&str>) -> Accelerators {
        let visible = visible.map(|text| (Vendor::Nvidia, text.to_owned()));
        let job = JobId::new(JobKind::Run, "1");
        Accelerators { are_numbers_ours: true, ..Accelerators::new(job, visible.into_iter().collect()) }
    }

    /// Numbers below 100 are the command's, from 900 on nobody's.
    fn is_own(pid: u32) -> Option<bool> {
        (pid < 900).then_some(pid < 100)
    }

    #[test]
    fn a_command_has_what_its_processes_use_of_the_devices_it_may() {
        let unsupported = Err(Fault::Unsupported);
        for (visible, first, second, expected, notes) in [
            (None, Ok(&[(7, 3), (8, 4)][..]), Ok(&[][..]), "run:7|", 0),
            (None, Ok(&[(7, 3), (107, 4)]), Ok(&[(107, 1)]), "-:4 run:3|-:1", 0),
            (Some("1"), Ok(&[(7, 3)]), Ok(&[(7, 4)]), "-:3|run:4", 0),
            (Some(""), Ok(&[(7, 3)]), Ok(&[(7, 4)]), "-:3|-:4", 0),
            (None, unsupported, unsupported, "?|?", 1),
            (Some("GPU-1"), unsupported, unsupported, "|run:??", 1),
            (Some("0,1"), unsupported, Ok(&[(7, 4)]), "run:??|run:4", 1),
        ] {
            let mut accelerators = accelerators(visible);
            let sights = [gpu(0, first), gpu(1, second)];
            let uses = accelerators.uses(&sights.iter().collect::<Vec<_>>(), is_own);
            assert_eq!(words(&uses), expected, "{visible:?} {first:?} {second:?}");
            assert_eq!(accelerators.notes().len(), notes, "{expected}");
        }
    }

    #[test]
    fn what_was_drawn_up_to_its_end_is_the_command_s() {
        let mut accelerators = accelerators(None);
        let mut look = |processes: &[(u32, u64)], is_own: &dyn Fn(u32) -> Option<bool>| {
            words(&accelerators.uses(&[&gpu(0, Ok(processes))], is_own))
        };
        assert_eq!(look(&[(7, 3)], &is_own), "run:3");
        assert_eq!(look(&[(7, 3)], &|_| None), "run:3", "it has ended, and the list is an old one");
        assert_eq!(look(&[], &is_own), "run:3", "the interval in which it ended");
        assert_eq!(look(&[], &is_own), "");
        assert_eq!(look(&[(907, 3)], &is_own), "-:3", "whoever that was");
    }

    #[test]
    fn elsewhere_process_numbers_are_not_believed() {
        let mut accelerators = Accelerators { are_numbers_ours: false, ..accelerators(None) };
        assert_eq!(words(&accelerators.uses(&[&gpu(0, Ok(&[(7, 3)]))], is_own)), "?");
    }
}
