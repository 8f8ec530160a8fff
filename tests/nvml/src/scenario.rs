//! What the stand-in answers: read from `scenario.json` beside it, anew whenever that has changed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file's name.
pub const FILE: &str = "scenario.json";

/// The name under which programs look for the library.
pub const LIBRARY: &str = "libnvidia-ml.so.1";

/// Each call appends a line to this file beside the library: the function and the device.
pub const CALLS: &str = "calls";

/// A machine with NVIDIA's driver, or without.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// The driver's version.
    pub driver: String,
    /// What initialisation answers, if not that all is well: 9 no driver, 18 another version, 4 not allowed.
    pub init_error: u32,
    /// How often the driver was loaded: whoever initialised before the last time holds nothing of worth.
    pub loads: u32,
    /// Every call hangs until this is gone again.
    pub blocks: bool,
    /// The monotonic clock, if it is made up.
    pub now_ms: Option<u64>,
    /// The devices by index.
    pub devices: Vec<Device>,
    /// Energies by UUID, in place of what stands with the device: a line for each.
    pub energy_mj: BTreeMap<String, u64>,
}

/// A GPU.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// What it is called for good.
    pub uuid: String,
    /// The model.
    pub name: String,
    /// Its place on the bus, `00000000:3B:00.0`.
    pub pci: String,
    /// The number of its device file.
    pub minor: u32,
    /// How often it was reset or plugged in: whoever initialised before the last time has lost it, or has
    /// never seen it.
    pub resets: u32,
    /// What every call for it answers, if not what is asked: 15 lost, 999 unknown.
    pub error: u32,
    /// Every call for it hangs until this is gone again.
    pub blocks: bool,
    /// Every call for it takes so long.
    pub delay_ms: u64,
    /// Where its counter stands, if no profile says so.
    pub energy_mj: u64,
    /// The counter is the integral of this.
    pub profile: Option<Profile>,
    /// Whether it has a counter (Volta and newer).
    pub has_energy: bool,
    /// The power, if no profile says so.
    pub power_mw: u32,
    /// Power and energy of the GPU alone are refused, and that of the module around it is this.
    pub module_mw: Option<u32>,
    /// Its limit.
    pub limit_mw: u32,
    /// How busy it is, in percent.
    pub utilization: u32,
    /// Who has a context.
    pub processes: Vec<Process>,
    /// What each process used; `None` where that is not told.
    pub samples: Option<Vec<Sample>>,
    /// Samples are handed out again, however new the caller wants them.
    pub redelivers: bool,
    /// Whether it can be divided, and into what it is.
    pub mig: Option<Mig>,
    /// Whether it samples how busy an instance is (Hopper and newer).
    pub has_gpm: bool,
}

/// A power that goes up and down: high for the first part of each period.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Above.
    pub high_mw: u64,
    /// Below.
    pub low_mw: u64,
    /// How long both take.
    pub period_ms: u64,
    /// How much of that it is high, in percent.
    pub duty: u64,
}

impl Profile {
    /// Always the same.
    #[must_use]
    pub const fn constant(power_mw: u64) -> Profile {
        Profile { high_mw: power_mw, low_mw: power_mw, period_ms: 1_000, duty: 100 }
    }

    /// The power at this time of the monotonic clock.
    #[must_use]
    pub const fn power_mw(&self, at_ms: u64) -> u64 {
        let is_high = at_ms % self.period_ms * 100 < self.period_ms * self.duty;
        if is_high { self.high_mw } else { self.low_mw }
    }

    /// The energy from the beginning of the monotonic clock until then, in µJ.
    #[must_use]
    pub fn energy_uj(&self, at_ms: u64) -> u64 {
        let high_ms = self.period_ms * self.duty / 100;
        let (rounds, rest) = (at_ms / self.period_ms, at_ms % self.period_ms);
        let high = rounds * high_ms + rest.min(high_ms);
        high * self.high_mw + (at_ms - high) * self.low_mw
    }
}

/// A process with a context.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Which.
    pub pid: u32,
    /// On which GPU instance.
    pub gpu_instance: Option<u32>,
    /// On which compute instance there.
    pub compute_instance: Option<u32>,
}

/// How much one process used the device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Which.
    pub pid: u32,
    /// When, on the wall clock.
    pub time_us: u64,
    /// How much of the multiprocessors, in percent.
    pub sm: u32,
}

/// A device that can be divided.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mig {
    /// Whether it is.
    pub is_on: bool,
    /// Into what, by index.
    pub instances: Vec<Instance>,
}

/// A part of a divided device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Instance {
    /// What it is called.
    pub uuid: String,
    /// `1g.10gb`.
    pub profile: String,
    /// The number of its GPU instance.
    pub gpu_instance: u32,
    /// The number of its compute instance there.
    pub compute_instance: u32,
    /// The slices of the GPU instance.
    pub slices: u32,
    /// The slices of the compute instance; all of them if it is 0.
    pub compute_slices: u32,
    /// How busy the GPU instance is, in percent.
    pub activity: f64,
}

impl Default for Scenario {
    fn default() -> Scenario {
        Scenario {
            driver: "580.82.07".to_owned(),
            init_error: 0,
            loads: 1,
            blocks: false,
            now_ms: None,
            devices: Vec::new(),
            energy_mj: BTreeMap::new(),
        }
    }
}

impl Default for Device {
    fn default() -> Device {
        Device {
            uuid: String::new(),
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            pci: String::new(),
            minor: 0,
            resets: 0,
            error: 0,
            blocks: false,
            delay_ms: 0,
            energy_mj: 0,
            profile: None,
            has_energy: true,
            power_mw: 70_000,
            module_mw: None,
            limit_mw: 700_000,
            utilization: 0,
            processes: Vec::new(),
            samples: None,
            redelivers: false,
            mig: None,
            has_gpm: false,
        }
    }
}

impl Device {
    /// The device with this number, as a board has them: one bus each.
    #[must_use]
    pub fn numbered(number: u32) -> Device {
        Device {
            uuid: format!("GPU-{number:08x}-0000-4000-8000-000000000000"),
            pci: format!("00000000:{:02X}:00.0", 0x10 + number),
            minor: number,
            samples: Some(Vec::new()),
            ..Device::default()
        }
    }
}

impl Scenario {
    /// Writes it beside the library, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let next = folder.join("scenario.next");
        std::fs::write(&next, serde_json::to_string_pretty(self)?)?;
        std::fs::rename(next, folder.join(FILE))
    }

    /// The energy of the device with this index, in mJ.
    #[must_use]
    pub fn energy(&self, index: usize, at_ms: u64) -> u64 {
        let device = &self.devices[index];
        match (self.energy_mj.get(&device.uuid), device.profile) {
            (Some(energy), _) => *energy,
            (None, Some(profile)) => profile.energy_uj(self.now_ms.unwrap_or(at_ms)) / 1_000,
            (None, None) => device.energy_mj,
        }
    }

    /// The power of the device with this index, in mW.
    #[must_use]
    pub fn power(&self, index: usize, at_ms: u64) -> u64 {
        let device = &self.devices[index];
        let profiled = device.profile.map(|profile| profile.power_mw(self.now_ms.unwrap_or(at_ms)));
        profiled.unwrap_or(u64::from(device.power_mw))
    }
}
