//! Accelerators: what their driver shows of them, and who holds and uses each in one tick.

use super::identity::{JobId, Name};
use super::reading::Fault;
use serde::{Deserialize, Serialize};

/// Who made a device; its tools and variables have names of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl Vendor {
    /// The `hw_vendor` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Vendor::Nvidia => "nvidia",
            Vendor::Amd => "amd",
            Vendor::Intel => "intel",
        }
    }
}

/// A physical device as it was last seen: everything about it but its energy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// What it is called for good: its UUID; where there is none, its place on the bus.
    pub gpu: Name,
    /// Whose.
    pub vendor: Vendor,
    /// What its driver calls the model.
    pub model: Name,
    /// The driver's version.
    pub driver: Name,
    /// Its place on the bus, `0000:3b:00.0`.
    pub pci: Name,
    /// By which its vendor's tools and variables name it; it may be another one after a reset.
    pub index: Option<u32>,
    /// Its device files, major and minor: what a device control group permits.
    pub nodes: Vec<(u32, u32)>,
    /// What it is divided into, where it is.
    pub partition: Partition,
    /// Who uses it, as the driver says; why it does not.
    pub processes: Result<Vec<Process>, Fault>,
}

/// How a device is divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Partition {
    /// Not at all.
    #[default]
    Whole,
    /// Into instances that share nothing but the power supply (MIG).
    Instances {
        /// The slices of the whole device.
        slices: u32,
        /// Those that there are now.
        instances: Vec<Instance>,
    },
}

/// A part of a device that is given away like a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its UUID.
    pub uuid: Name,
    /// The number of its GPU instance on the device.
    pub gpu_instance: u32,
    /// The number of its compute instance there.
    pub compute_instance: u32,
    /// What it is, `1g.10gb`.
    pub profile: Name,
    /// The device's slices that are its own.
    pub slices: u32,
    /// How busy they were since they were last looked at, in ppm, where that can be told.
    pub activity: Option<u32>,
}

/// A process on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// In the namespace of whoever reads /proc beside us.
    pub pid: u32,
    /// The UUID of the instance it runs on; empty on a device that is not divided.
    pub instance: Name,
    /// How much it used the device since the list before this one, in proportion to the others; `None`
    /// where that is not told (MPS, MIG, some drivers).
    pub used: Option<u64>,
}

/// Who holds and uses a device in one tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Which device: as in the domains.
    pub gpu: Name,
    /// Whether it is known who uses it: if not, that nobody claims it means nothing.
    pub is_known: bool,
    /// The slices of the whole device; 1 if it is not divided.
    pub slices: u32,
    /// One for each instance; one that has no name for a device that is not divided.
    pub parts: Vec<Part>,
}

/// A part of a device and its claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The instance's UUID; empty for the whole device.
    #[serde(default)]
    pub instance: Name,
    /// Its slices.
    pub slices: u32,
    /// How busy they were, in ppm.
    #[serde(default)]
    pub activity: Option<u32>,
    /// Who holds or uses it.
    pub claims: Vec<Claim>,
}

/// Somebody who may be charged with a part of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which job; `None` for what is no job.
    pub job: Option<JobId>,
    /// In how many equal shares it was allocated by those who run the job; 0 if it only uses it.
    #[serde(default)]
    pub allocated: u32,
    /// How much it used the part, in proportion to the other claims; `None` where that is not known.
    #[serde(default)]
    pub used: Option<u64>,
}

/// How a device's energy was divided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Nobody holds it.
    #[default]
    None,
    /// One holds it.
    Exclusive,
    /// By what the driver says of each process.
    Utilization,
    /// By the slices of its instances, and how busy they were.
    SliceActivity,
    /// By the slices of its instances.
    Slices,
    /// In equal parts, for want of anything better.
    Equal,
}

impl Method {
    /// The `method` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::None => "none",
            Method::Exclusive => "exclusive",
            Method::Utilization => "utilization",
            Method::SliceActivity => "slice_activity",
            Method::Slices => "slices",
            Method::Equal => "equal",
        }
    }
}
