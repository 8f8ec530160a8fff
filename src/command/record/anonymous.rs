//! A recording that tells nobody's name: numbers in place of names, the same number for the same name, and
//! times that begin on a fixed day. What the machine is and does stays: processor, meters, use and joules.

use crate::model::identity::{JobId, JobKind, Name};
use crate::model::quantity::Nanos;
use crate::model::reading::{Domain, GroupRole, Header, Place, Tick};
use crate::model::speech::Statement;
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
    phases: HashMap<Name, usize>,
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
            phases: HashMap::new(),
        }
    }

    /// Takes the names out of a header.
    pub fn header(&mut self, header: &mut Header) {
        header.machine.host = "host".into();
        self.domains(&mut header.machine.domains);
        for (id, _) in &mut header.accounting.floors {
            *id = self.part(id);
        }
    }

    /// Devices have serial numbers for names; where a domain stands is told by names of others.
    fn domains(&mut self, domains: &mut [Domain]) {
        // Each device has its number before anything is named after it.
        for domain in domains.iter_mut().filter(|domain| !domain.gpu.is_empty()) {
            self.device(&domain.gpu);
        }
        for domain in domains {
            domain.id = self.part(&domain.id);
            domain.gpu = self.part(&domain.gpu);
            match &mut domain.place {
                Place::Inside(around) => *around = self.part(around),
                Place::Around(inside) => inside.iter_mut().for_each(|name| *name = self.part(name)),
                Place::Counted | Place::Beside => {}
            }
        }
    }

    /// The number of a device, or of an instance of one.
    fn device(&mut self, name: &Name) -> Name {
        if name.is_empty() {
            return name.clone();
        }
        let count = self.devices.len();
        let number = *self.devices.entry(name.clone()).or_insert(count);
        format!("gpu-{number}").as_str().into()
    }

    /// A name with the names of devices in it replaced.
    fn part(&self, name: &Name) -> Name {
        // One name may begin another.
        let named = self.devices.iter().filter(|(device, _)| name.contains(&***device));
        let of = named.max_by_key(|(device, _)| device.len());
        of.map_or_else(
            || name.clone(),
            |(device, number)| name.replace(&**device, &format!("gpu-{number}")).as_str().into(),
        )
    }

    fn phase(&mut self, name: &Name) -> Name {
        let count = self.phases.len();
        let number = *self.phases.entry(name.clone()).or_insert(count);
        format!("phase-{number}").as_str().into()
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
        for heard in &mut tick.speech {
            heard.id = self.job(&heard.id);
            for said in &mut heard.said {
                said.at = self.moment(Moment { monotonic: said.at, ..self.began }).monotonic;
                if let Statement::Begin(name) | Statement::End(name) = &mut said.statement {
                    *name = self.phase(name);
                }
            }
        }
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
        for used in &mut tick.gpus {
            used.gpu = self.device(&used.gpu);
            for part in &mut used.parts {
                part.instance = self.device(&part.instance);
                for job in part.claims.iter_mut().filter_map(|claim| claim.job.as_mut()) {
                    *job = self.job(job);
                }
            }
        }
        let count = self.zones.len();
        let number = *self.zones.entry(tick.factor.zone.clone()).or_insert(count);
        tick.factor.zone = format!("zone-{number}").as_str().into();
        // The hours of figures would tell the place. A tick without a plan is charged by its factor.
        tick.plan = None;
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
    fn devices_have_the_same_number_wherever_they_are_named() {
        use crate::model::gpu::{Claim, Part, Use};
        use crate::model::identity::{HwType, Origin};
        use crate::model::quantity::MicroWatts;
        use crate::model::reading::Measurement;
        let ceiling = MicroWatts::new(1);
        let domain = |id: &str, gpu: &str, place| Domain {
            id: id.into(),
            hw_type: HwType::Gpu,
            origin: Origin::Measured,
            gpu: gpu.into(),
            source: "nvml".into(),
            place,
            socket: None,
            measurement: Measurement::MeanPower { ceiling },
            floor: None,
            uncertainty_ppm: 0,
        };
        let mut domains = vec![
            domain("node", "", Place::Around(vec!["GPU-secret-1".into(), "package-0".into()])),
            domain("package-0", "", Place::Inside("node".into())),
            domain("GPU-secret-1", "GPU-secret-1", Place::Counted),
            domain("GPU-secret-2-memory", "GPU-secret-2", Place::Inside("GPU-secret-1".into())),
        ];
        let mut anonymous = Anonymous::new(clock_at_zero());
        anonymous.domains(&mut domains);
        let ids: Vec<&str> = domains.iter().map(|domain| &*domain.id).collect();
        assert_eq!(ids, ["node", "package-0", "gpu-0", "gpu-1-memory"]);
        assert_eq!(domains[0].place, Place::Around(vec!["gpu-0".into(), "package-0".into()]));
        assert_eq!(domains[3].place, Place::Inside("gpu-0".into()));
        let claim =
            |name: &str| Claim { job: Some(JobId::new(JobKind::Pod, name)), allocated: 1, used: None };
        let part = |instance: &str, name: &str| Part {
            instance: instance.into(),
            slices: 1,
            activity: None,
            claims: vec![claim(name), Claim { job: None, allocated: 0, used: Some(1) }],
        };
        let used = |gpu: &str| Use {
            gpu: gpu.into(),
            is_known: true,
            slices: 7,
            parts: vec![part("MIG-secret", "secret-uid"), part("", "secret-uid")],
        };
        let mut tick = empty_tick();
        tick.domains = Some(vec![domain("GPU-secret-2", "GPU-secret-2", Place::Counted)]);
        tick.gpus = vec![used("GPU-secret-2"), used("GPU-secret-1")];
        anonymous.tick(&mut tick);
        let text = serde_json::to_string(&tick).expect("JSON");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!((&*tick.gpus[0].gpu, &*tick.gpus[1].gpu), ("gpu-1", "gpu-0"));
        assert_eq!((&*tick.gpus[0].parts[0].instance, &*tick.gpus[0].parts[1].instance), ("gpu-2", ""));
        let claims = &tick.gpus[0].parts[0].claims;
        assert_eq!(claims[0].job, Some(JobId::new(JobKind::Pod, "job-0")));
    }

    fn clock_at_zero() -> Moment {
        Moment { monotonic: Nanos::ZERO, boottime: Nanos::ZERO, wall: Nanos::ZERO }
    }

    fn empty_tick() -> Tick {
        let factor =
            crate::carbon::resolve(&crate::carbon::Choice::Unknown, crate::model::quantity::Pue::ONE);
        Tick {
            domains: None,
            gpus: Vec::new(),
            at: clock_at_zero(),
            meters: Vec::new(),
            busy: Vec::new(),
            cpus: 1,
            groups: Groups::default(),
            namings: Vec::new(),
            speech: Vec::new(),
            plan: None,
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
            speech: Vec::new(),
            plan: None,
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
