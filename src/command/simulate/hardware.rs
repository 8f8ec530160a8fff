//! A made-up machine: what its meters are called, and what they count at a load. It keeps its own sum, from
//! which the truth is told: the accounting has no part in it.

use super::scenario::Scenario;
use crate::model::gpu::{Instance, Partition, Sight, Vendor};
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::{Energy, MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Floor, FloorMethod, Machine, Measurement, Place, Value};

/// CPUs of a socket.
const CPUS_A_SOCKET: u32 = 48;

/// CPUs of a virtual machine.
const VIRTUAL_CPUS: u32 = 16;

/// More than any of it draws: nothing that it counts is implausible.
const CEILING: MicroWatts = MicroWatts::from_watts(20_000);

/// Idle and largest power, in W.
const PACKAGE: (u64, u64) = (58, 250);
const MEMORY: (u64, u64) = (7, 22);
const GPU: (u64, u64) = (64, 640);
const VIRTUAL: (u64, u64) = (22, 84);
/// Fans, disks and network.
const AROUND: u64 = 74;

/// How a divided accelerator is divided: profile and slices.
const INSTANCES: [(&str, u32); 3] = [("3g.40gb", 3), ("2g.20gb", 2), ("2g.20gb", 2)];
/// All slices of one.
pub const SLICES: u32 = 7;

/// By what a host's energy is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Energy counters of processors and memory.
    Server,
    /// The same, and a meter around all of it.
    Metered,
    /// Nothing can be read: it is estimated.
    Virtual,
}

/// A part of an accelerator, or all of one, that a job may hold.
#[derive(Debug, Clone)]
pub struct Device {
    /// Which accelerator.
    pub gpu: Name,
    /// Its place on the bus.
    pub pci: Name,
    /// The parts: one without a name if it is whole.
    pub parts: Vec<(Name, u32)>,
}

/// How busy everything was over an interval, in ppm.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Of each socket.
    pub sockets: Vec<u64>,
    /// Of each accelerator.
    pub gpus: Vec<u64>,
    /// Nothing is drawn, idle power neither.
    pub is_at_rest: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Hardware {
    /// By what it is known.
    pub build: Build,
    /// Its accelerators.
    pub devices: Vec<Device>,
    /// Logical CPUs.
    pub cpus: u32,
    meters: Vec<Meter>,
    has_started: bool,
}

/// A running total and what is left of its last µJ.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    total: Energy,
    remainder: u64,
}

impl Hardware {
    /// The machine of the host with this number.
    #[must_use]
    pub fn new(scenario: &Scenario, number: u32) -> Hardware {
        let of_cluster = number / scenario.clusters.max(1);
        let has_gpus = scenario.gpus > 0 && of_cluster % 4 == 3;
        let build = match of_cluster % 10 {
            _ if has_gpus && of_cluster % 8 == 7 => Build::Metered,
            _ if has_gpus => Build::Server,
            0 | 4 => Build::Metered,
            2 | 9 => Build::Virtual,
            _ => Build::Server,
        };
        let cpus = if build == Build::Virtual { VIRTUAL_CPUS } else { 2 * CPUS_A_SOCKET };
        let count = if has_gpus { scenario.gpus } else { 0 };
        let devices = (0..count).map(|index| {
            let mut chance = scenario.chance("gpu", u64::from(number) << 8 | u64::from(index));
            let gpu = uuid("GPU", &mut chance);
            // The last of several is divided.
            let is_divided = index > 0 && index + 1 == count;
            let instances = INSTANCES.iter().map(|(_, slices)| (uuid("MIG", &mut chance), *slices));
            let parts = if is_divided { instances.collect() } else { vec![("".into(), SLICES)] };
            Device { gpu, pci: format!("0000:{:02x}:00.0", 0x1b + index * 0x11).into(), parts }
        });
        let devices: Vec<Device> = devices.collect();
        let mut hardware = Hardware { build, devices, cpus, meters: Vec::new(), has_started: false };
        hardware.meters = vec![Meter::default(); hardware.domains().len()];
        hardware
    }

    /// Sockets.
    #[must_use]
    pub const fn sockets(&self) -> usize {
        match self.build {
            Build::Server | Build::Metered => 2,
            Build::Virtual => 1,
        }
    }

    /// As discovery would find it.
    #[must_use]
    pub fn machine(&self, host: Name) -> Machine {
        let cpu_model = match self.build {
            Build::Server | Build::Metered => "Intel(R) Xeon(R) Platinum 8468",
            Build::Virtual => "AMD EPYC 9V74 80-Core Processor",
        };
        Machine { host, cpu_model: cpu_model.into(), kernel: "6.12.0-sim".into(), domains: self.domains() }
    }

    /// The accelerators as their driver would show them.
    #[must_use]
    pub fn sights(&self) -> Vec<Sight> {
        let sight = |(index, device): (u32, &Device)| Sight {
            gpu: device.gpu.clone(),
            vendor: Vendor::Nvidia,
            model: "NVIDIA H100 80GB HBM3".into(),
            driver: "580.82.07".into(),
            pci: device.pci.clone(),
            index: Some(index),
            nodes: Vec::new(),
            partition: device.partition(),
            processes: Ok(Vec::new()),
        };
        (0..).zip(&self.devices).map(sight).collect()
    }

    /// Lets the meters count over an interval, and says what they show then, in the order of the domains,
    /// and what the host drew as far as it is metered. What was drawn before the first look is nobody's.
    pub fn draw(&mut self, load: &Load, elapsed: Nanos) -> (Vec<Result<Value, Fault>>, Energy) {
        let powers = self.powers(load);
        let mut drawn = Vec::with_capacity(powers.len());
        for (meter, power) in self.meters.iter_mut().zip(powers) {
            let energy = power.over(elapsed, &mut meter.remainder);
            meter.total += energy;
            drawn.push(energy);
        }
        let sum = match self.build {
            Build::Metered => drawn.last().copied().unwrap_or_default(),
            Build::Server | Build::Virtual => drawn.into_iter().sum(),
        };
        let is_first = !std::mem::replace(&mut self.has_started, true);
        let values = self.meters.iter().map(|meter| Ok(Value::Counter(meter.total))).collect();
        (values, if is_first { Energy::ZERO } else { sum })
    }

    fn powers(&self, load: &Load) -> Vec<MicroWatts> {
        if load.is_at_rest {
            return vec![MicroWatts::ZERO; self.meters.len()];
        }
        let mut powers = Vec::with_capacity(self.meters.len());
        for &busy in &load.sockets {
            match self.build {
                Build::Server | Build::Metered => {
                    powers.push(power(PACKAGE, busy));
                    powers.push(power(MEMORY, busy));
                }
                Build::Virtual => powers.push(power(VIRTUAL, busy)),
            }
        }
        powers.extend(load.gpus.iter().map(|&busy| power(GPU, busy)));
        if self.build == Build::Metered {
            let parts: u64 = powers.iter().map(|power| power.get()).sum();
            // Losses of the power supply.
            powers.push(MicroWatts::new((parts + AROUND * 1_000_000) / 100 * 104));
        }
        powers
    }

    fn domains(&self) -> Vec<Domain> {
        let mut domains = Vec::new();
        for socket in 0..u32::try_from(self.sockets()).unwrap_or(1) {
            match self.build {
                Build::Server | Build::Metered => {
                    let package = counter(&format!("package-{socket}"), HwType::Cpu, "rapl", PACKAGE.0);
                    domains.push(Domain { socket: Some(socket), ..package });
                    let memory = counter(&format!("dram-{socket}"), HwType::Memory, "rapl", MEMORY.0);
                    domains.push(Domain { socket: Some(socket), ..memory });
                }
                Build::Virtual => domains.push(Domain {
                    origin: Origin::Estimated,
                    floor: Some(Floor {
                        power: MicroWatts::from_watts(VIRTUAL.0),
                        method: FloorMethod::Model,
                    }),
                    uncertainty_ppm: 250_000,
                    ..counter("cpu", HwType::Cpu, "estimate", VIRTUAL.0)
                }),
            }
        }
        for device in &self.devices {
            let gpu = device.gpu.clone();
            domains.push(Domain { gpu, ..counter(&device.gpu, HwType::Gpu, "nvml", GPU.0) });
        }
        if self.build == Build::Metered {
            let ids = domains.iter().map(|domain| domain.id.clone()).collect();
            let node = counter("node", HwType::Other, "redfish", AROUND);
            domains.push(Domain { place: Place::Around(ids), ..node });
        }
        domains
    }
}

impl Device {
    /// Whether it is given away in parts.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.parts.len() > 1
    }

    fn partition(&self) -> Partition {
        if !self.is_divided() {
            return Partition::Whole;
        }
        let mut instances = Vec::new();
        for (number, ((uuid, slices), (profile, _))) in (1..).zip(self.parts.iter().zip(INSTANCES)) {
            instances.push(Instance {
                uuid: uuid.clone(),
                gpu_instance: number,
                compute_instance: 0,
                profile: profile.into(),
                slices: *slices,
                activity: None,
            });
        }
        Partition::Instances { slices: SLICES, instances }
    }
}

/// A meter of joules whose idle power is known.
fn counter(id: &str, hw_type: HwType, source: &str, idle_watts: u64) -> Domain {
    Domain {
        id: id.into(),
        hw_type,
        origin: Origin::Measured,
        gpu: "".into(),
        source: source.into(),
        place: Place::Counted,
        socket: None,
        measurement: Measurement::Counter { range: None, ceiling: CEILING },
        floor: Some(Floor { power: MicroWatts::from_watts(idle_watts), method: FloorMethod::Configured }),
        uncertainty_ppm: 0,
    }
}

fn power((idle, most): (u64, u64), busy_ppm: u64) -> MicroWatts {
    MicroWatts::new(idle * 1_000_000 + (most - idle) * busy_ppm.min(1_000_000))
}

/// An identifier as the vendor writes them.
fn uuid(prefix: &str, chance: &mut crate::clock::Jitter) -> Name {
    format!(
        "{prefix}-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        chance.below(1 << 32),
        chance.below(1 << 16),
        chance.below(1 << 16),
        chance.below(1 << 16),
        chance.below(1 << 48)
    )
    .into()
}
