//! A recording that tells nobody's name: numbers in place of names, the same number for the same name, and
//! times that begin on a fixed day. What the machine is and does stays: processor, meters, use and joules.

use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::model::reading::{Domain, GroupRole, Header, Place, Tick};
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
        self.domains(&mut header.machine.domains);
    }

    /// Devices are numbered first: a meter around one stands before it or behind it.
    fn domains(&mut self, domains: &mut [Domain]) {
        for domain in domains.iter_mut().filter(|domain| !domain.gpu.is_empty()) {
            domain.gpu = self.device(&domain.gpu);
        }
        for domain in domains {
            self.rename(&mut domain.id);
            match &mut domain.place {
                Place::Inside(around) => self.rename(around),
                Place::Around(parts) => parts.iter_mut().for_each(|part| self.rename(part)),
                Place::Counted | Place::Beside => {}
            }
        }
    }

    /// The number of a device, or of an instance of one.
    fn device(&mut self, name: &Name) -> Name {
        let count = self.devices.len();
        let number = *self.devices.entry(name.clone()).or_insert(count);
        format!("gpu-{number}").into()
    }

    /// A meter of a device is called like it, or like it and a part of it.
    fn rename(&self, name: &mut Name) {
        let is_its = |device: &&Name| name.starts_with(&***device);
        if let Some((device, number)) = self.devices.iter().find(|(device, _)| is_its(device)) {
            *name = format!("gpu-{number}{}", &name[device.len()..]).into();
        }
    }

    fn job(&mut self, id: &JobId) -> JobId {
        let count = self.jobs.len();
        let number = *self.jobs.entry((id.kind(), id.id().clone())).or_insert(count);
        JobId::new(id.kind(), &format!("job-{number}"))
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
                *id = self.job(id);
            }
        }
        if let Some(domains) = &mut tick.domains {
            self.domains(domains);
        }
        for usage in &mut tick.gpus {
            usage.gpu = self.device(&usage.gpu);
            for part in &mut usage.parts {
                if !part.instance.is_empty() {
                    part.instance = self.device(&part.instance);
                }
                for job in part.claims.iter_mut().filter_map(|claim| claim.job.as_mut()) {
                    *job = self.job(job);
                }
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
    use crate::model::gpu::{Claim, Part, Use};
    use crate::model::identity::{HwType, Origin};
    use crate::model::quantity::MicroWatts;
    use crate::model::reading::{Birth, GroupSlot, Groups, Hierarchy, Measurement};

    fn domain(id: &str, gpu: &str, place: Place) -> Domain {
        Domain {
            id: id.into(),
            hw_type: HwType::Gpu,
            origin: Origin::Measured,
            gpu: gpu.into(),
            source: "test".into(),
            place,
            socket: None,
            measurement: Measurement::MeanPower { ceiling: MicroWatts::from_watts(1_000) },
            floor: None,
            uncertainty_ppm: 0,
        }
    }

    #[test]
    fn devices_have_one_number_wherever_they_are_named() {
        let mut anonymous = Anonymous::new(Moment { monotonic: BOOT, boottime: BOOT, wall: WALL });
        let mut domains = vec![
            domain("node", "", Place::Around(vec!["GPU-7c1c".into(), "package-0".into()])),
            domain("GPU-7c1c", "GPU-7c1c", Place::Counted),
            domain("pci-0000:4d:00.0-tile-0", "pci-0000:4d:00.0", Place::Inside("pci-0000:4d:00.0".into())),
        ];
        anonymous.domains(&mut domains);
        let places: Vec<String> =
            domains.iter().map(|domain| format!("{} {:?}", domain.id, domain.place)).collect();
        assert_eq!(
            places,
            ["node Around([\"gpu-0\", \"package-0\"])", "gpu-0 Counted", "gpu-1-tile-0 Inside(\"gpu-1\")"]
        );
        let claim = Claim { job: Some(JobId::new(JobKind::Pod, "secret")), allocated: 1, used: None };
        let part = Part { instance: "MIG-9d2e".into(), slices: 1, activity: None, claims: vec![claim] };
        let mut tick = empty_tick();
        tick.gpus = vec![Use { gpu: "GPU-7c1c".into(), is_known: true, slices: 7, parts: vec![part] }];
        anonymous.tick(&mut tick);
        let usage = serde_json::to_string(&tick.gpus).expect("JSON");
        assert!(
            usage.contains("\"gpu-0\"") && usage.contains("\"gpu-2\"") && usage.contains("job-0"),
            "{usage}"
        );
        assert!(!usage.contains("7c1c") && !usage.contains("9d2e") && !usage.contains("secret"), "{usage}");
    }

    fn empty_tick() -> Tick {
        let factor =
            crate::carbon::resolve(&crate::carbon::Choice::Unknown, crate::model::quantity::Pue::ONE);
        Tick {
            domains: None,
            gpus: Vec::new(),
            at: Moment { monotonic: BOOT, boottime: BOOT, wall: WALL },
            meters: Vec::new(),
            busy: Vec::new(),
            cpus: 1,
            groups: Groups::default(),
            namings: Vec::new(),
            factor: factor.expect("the world"),
        }
    }

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
