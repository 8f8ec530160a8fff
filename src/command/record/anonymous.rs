//! A recording that tells nobody's name: numbers in place of names, the same number for the same name, and
//! times that begin on a fixed day. What the machine is and does stays: processor, meters, use and joules.

use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::model::reading::{GroupRole, Header, Tick};
use crate::model::time::Moment;
use std::collections::HashMap;

/// 2026-01-01, and some minutes after boot.
const WALL: Nanos = Nanos::from_seconds(1_767_225_600);
const BOOT: Nanos = Nanos::from_seconds(1_000);

/// The names met so far.
#[derive(Debug)]
pub struct Anonymous {
    began: Moment,
    jobs: HashMap<(JobKind, Name), usize>,
    zones: HashMap<Name, usize>,
    users: HashMap<u32, u32>,
    devices: HashMap<Name, usize>,
}

impl Anonymous {
    /// A recording that begins at this time.
    #[must_use]
    pub fn new(began: Moment) -> Anonymous {
        Anonymous {
            began,
            jobs: HashMap::new(),
            zones: HashMap::new(),
            users: HashMap::new(),
            devices: HashMap::new(),
        }
    }

    /// Takes the names out of a header.
    pub fn header(&mut self, header: &mut Header) {
        header.machine.host = "host".into();
        for domain in &mut header.machine.domains {
            if !domain.gpu.is_empty() {
                let count = self.devices.len();
                let number = *self.devices.entry(domain.gpu.clone()).or_insert(count);
                let name: Name = format!("gpu-{number}").as_str().into();
                domain.id = domain.id.replace(&*domain.gpu, &name).as_str().into();
                domain.gpu = name;
            }
        }
    }

    /// Takes the names out of a tick.
    pub fn tick(&mut self, tick: &mut Tick) {
        tick.at = self.moment(tick.at);
        tick.namings.clear();
        for birth in &mut tick.groups.births {
            birth.path = format!("/group-{}", birth.slot.0).as_str().into();
            birth.inode = 0;
            birth.user = birth.user.map(|user| {
                let next = u32::try_from(self.users.len()).unwrap_or(u32::MAX).saturating_add(1_000);
                *self.users.entry(user).or_insert(next)
            });
            if let GroupRole::Job(id) | GroupRole::Slice(id) = &mut birth.role {
                let count = self.jobs.len();
                let number = *self.jobs.entry((id.kind(), id.id().clone())).or_insert(count);
                *id = JobId::new(id.kind(), &format!("job-{number}"));
            }
        }
        let count = self.zones.len();
        let number = *self.zones.entry(tick.factor.zone.clone()).or_insert(count);
        tick.factor.zone = format!("zone-{number}").as_str().into();
        tick.factor.source = "".into();
        tick.factor.year = "".into();
    }

    fn moment(&self, at: Moment) -> Moment {
        let since = |at: Nanos, began: Nanos, from: Nanos| (from + at).saturating_sub(began);
        Moment {
            monotonic: since(at.monotonic, self.began.monotonic, BOOT),
            boottime: since(at.boottime, self.began.boottime, BOOT),
            wall: since(at.wall, self.began.wall, WALL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::{Birth, GroupSlot, Groups, Hierarchy};

    #[test]
    fn the_same_name_has_the_same_number_and_times_keep_their_distance() {
        let at = |second: u64| Moment {
            monotonic: Nanos::from_seconds(second),
            boottime: Nanos::from_seconds(second + 7),
            wall: Nanos::from_seconds(1_800_000_000 + second),
        };
        let birth = |slot: u32, name: &str| Birth {
            slot: GroupSlot(slot),
            parent: None,
            hierarchy: Hierarchy::Primary,
            role: GroupRole::Job(JobId::new(JobKind::Unit, name)),
            path: format!("/system.slice/{name}").as_str().into(),
            inode: 4_711,
            user: Some(70_001),
            is_new: true,
        };
        let factor =
            crate::carbon::resolve(&crate::carbon::Choice::Unknown, crate::model::quantity::Pue::ONE);
        let births = vec![birth(1, "secret.service"), birth(2, "other.service"), birth(3, "secret.service")];
        let mut tick = Tick {
            domains: None,
            gpus: Vec::new(),
            at: at(500),
            meters: Vec::new(),
            busy: Vec::new(),
            cpus: 1,
            groups: Groups { births, ..Groups::default() },
            namings: Vec::new(),
            factor: factor.expect("the world"),
        };
        let mut anonymous = Anonymous::new(at(495));
        anonymous.tick(&mut tick);
        let text = serde_json::to_string(&tick).expect("JSON");
        for name in ["secret", "other", "4711", "70001", "WORLD", "1800000"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
        let ids: Vec<&str> = tick
            .groups
            .births
            .iter()
            .map(|birth| match &birth.role {
                GroupRole::Job(id) | GroupRole::Slice(id) => &**id.id(),
                GroupRole::Residual(_) | GroupRole::Passage => "",
            })
            .collect();
        assert_eq!(ids, ["job-0", "job-1", "job-0"]);
        assert_eq!(tick.at.monotonic, BOOT + Nanos::from_seconds(5));
        assert_eq!(tick.at.boottime, tick.at.monotonic, "no sleep between them");
        assert_eq!(tick.at.wall, WALL + Nanos::from_seconds(5));
    }
}
