//! What the edges hand to the engine: the machine as it was found once, and one [`Tick`] of readings
//! after another. A recording is a [`Header`] and its ticks; the same ticks give the same page.

use super::description::Naming;
use super::gpu::Use;
use super::grid::{Plan, Step};
use super::identity::{HwType, JobId, Name, Origin, Residual};
use super::quantity::{CpuTime, Energy, Intensity, MicroWatts, Nanos, Pue};
use super::speech::Heard;
use super::time::Moment;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The machine as discovery found it. It does not change while the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The `host` label.
    pub host: Name,
    /// The processor's name for itself.
    #[serde(default)]
    pub cpu_model: Name,
    /// The kernel's release.
    #[serde(default)]
    pub kernel: Name,
    /// Everything that gives joules or watts.
    pub domains: Vec<Domain>,
}

/// Something that has an energy of its own: a RAPL zone, a GPU, an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// The `hw_id` label, unique on the host.
    pub id: Name,
    /// What kind of hardware it covers.
    pub hw_type: HwType,
    /// Read or worked out.
    pub origin: Origin,
    /// The device's UUID for a GPU, else empty.
    #[serde(default)]
    pub gpu: Name,
    /// What it is read by: `rapl`, `estimate`.
    pub source: Name,
    /// Where it stands among the meters that contain one another.
    pub place: Place,
    /// The socket it belongs to, where it belongs to one.
    #[serde(default)]
    pub socket: Option<u32>,
    /// What a reading of it is.
    pub measurement: Measurement,
    /// The power drawn whether or not anything runs, where it is known beforehand.
    #[serde(default)]
    pub floor: Option<Floor>,
    /// For an estimate, half the width of its error as a share of the value, in ppm.
    #[serde(default)]
    pub uncertainty_ppm: u32,
}

/// Where a domain stands in the containment tree. Totals add the counted ones and no others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A leaf of the cut, split over jobs; unless one is around it, a root too and in the host's total.
    Counted,
    /// Inside the named domain, which is counted.
    Inside(Name),
    /// A second view of counted domains: shown, never added.
    Beside,
    /// A root around these counted ones: the host's total is its own, and what it draws beyond theirs is
    /// a leaf of the cut like them.
    Around(Vec<Name>),
}

impl Domain {
    /// Whether its energy is divided over accounts: all of it, or what is left of a root's.
    #[must_use]
    pub fn is_leaf(&self) -> bool {
        matches!(self.place, Place::Counted | Place::Around(_))
    }
}

/// A power floor that is not learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// How much.
    pub power: MicroWatts,
    /// Who says so.
    pub method: FloorMethod,
}

/// Where an idle floor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloorMethod {
    /// Set in the configuration.
    Configured,
    /// The estimate's own value at no load.
    Model,
    /// The 5 % quantile of enough idle windows.
    Learnt,
    /// Not enough idle windows yet: 0 is used.
    Unlearnt,
}

impl FloorMethod {
    /// The `method` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FloorMethod::Configured => "configured",
            FloorMethod::Model => "model",
            FloorMethod::Learnt => "learnt",
            FloorMethod::Unlearnt => "unlearnt",
        }
    }
}

/// What a domain's readings are, declared once at discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measurement {
    /// A running total that wraps after `range`, if it is known; a rise above `ceiling` is no energy.
    Counter {
        /// Where it wraps.
        range: Option<Energy>,
        /// The largest power this domain can draw.
        ceiling: MicroWatts,
    },
    /// The mean power since the previous reading.
    MeanPower {
        /// The largest power this domain can draw.
        ceiling: MicroWatts,
    },
}

/// One value of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// The running total.
    Counter(Energy),
    /// The mean power since the previous reading.
    MeanPower(MicroWatts),
}

/// Why a reading is missing: at once the error, the `match` arm and the `reason` label.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// EACCES, EPERM.
    #[error("permission denied")]
    PermissionDenied,
    /// ENOENT, ENODEV: it was there, or should be.
    #[error("not there")]
    Missing,
    /// The directory is there and its target is not: a container runtime hides it.
    #[error("hidden by the container runtime")]
    Masked,
    /// EIO, EAGAIN and whatever else the kernel answers.
    #[error("read error")]
    Io,
    /// It could be read and is not what the kernel's documentation says.
    #[error("not a number where one should be")]
    Malformed,
    /// A counter that stands still while the machine runs, as in a virtual machine.
    #[error("does not advance")]
    NotAdvancing,
    /// A value outside the counter's own range: all ones, as a dead bus gives.
    #[error("out of range")]
    OutOfRange,
    /// More power than the hardware can draw.
    #[error("implausible power")]
    Implausible,
    /// Only our own control group can be seen, not the host's tree.
    #[error("only a private cgroup namespace is visible")]
    PrivateNamespace,
    /// A bound of our own or of the kernel is reached.
    #[error("a limit is reached")]
    Limit,
    /// A device or a server that has not answered for too long.
    #[error("no answer in time")]
    Timeout,
    /// No connection to a server.
    #[error("cannot be reached")]
    Unreachable,
    /// A server whose certificate nobody we trust has signed.
    #[error("its certificate is not trusted")]
    Untrusted,
    /// The same value for so long that nobody measures any more.
    #[error("shows an old value")]
    Stale,
    /// The device says that it is not measuring.
    #[error("measuring is switched off")]
    Inactive,
    /// The hardware or its driver has no such thing.
    #[error("not supported here")]
    Unsupported,
    /// The library is of another version than the driver in the kernel.
    #[error("library and driver are of different versions")]
    Mismatch,
    /// It has fallen off the bus, and must be reset.
    #[error("the device is lost")]
    Lost,
}

impl Fault {
    /// Every fault, in the order of the page.
    pub const ALL: [Fault; 18] = [
        Fault::PermissionDenied,
        Fault::Missing,
        Fault::Masked,
        Fault::Io,
        Fault::Malformed,
        Fault::NotAdvancing,
        Fault::OutOfRange,
        Fault::Implausible,
        Fault::PrivateNamespace,
        Fault::Limit,
        Fault::Timeout,
        Fault::Unreachable,
        Fault::Untrusted,
        Fault::Stale,
        Fault::Inactive,
        Fault::Unsupported,
        Fault::Mismatch,
        Fault::Lost,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::PermissionDenied => "permission_denied",
            Fault::Missing => "missing",
            Fault::Masked => "masked",
            Fault::Io => "io",
            Fault::Malformed => "malformed",
            Fault::NotAdvancing => "not_advancing",
            Fault::OutOfRange => "out_of_range",
            Fault::Implausible => "implausible",
            Fault::PrivateNamespace => "private_namespace",
            Fault::Limit => "limit",
            Fault::Timeout => "timeout",
            Fault::Unreachable => "unreachable",
            Fault::Untrusted => "untrusted",
            Fault::Stale => "stale",
            Fault::Inactive => "inactive",
            Fault::Unsupported => "unsupported",
            Fault::Mismatch => "mismatch",
            Fault::Lost => "lost",
        }
    }
}

impl From<&std::io::Error> for Fault {
    fn from(error: &std::io::Error) -> Fault {
        // ENODEV is what an open file of a removed cgroup or zone gives; std has no kind for it.
        const ENODEV: i32 = 19;
        const ENXIO: i32 = 6;
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Fault::PermissionDenied,
            std::io::ErrorKind::NotFound => Fault::Missing,
            std::io::ErrorKind::InvalidData => Fault::Malformed,
            _ if matches!(error.raw_os_error(), Some(ENODEV | ENXIO)) => Fault::Missing,
            _ => Fault::Io,
        }
    }
}

/// A control group while it lives; the number is not used again before the tick after its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupSlot(pub u32);

/// Which of two hierarchies of a hybrid host a group stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hierarchy {
    /// The one whose accounting is taken first.
    Primary,
    /// Counts only for jobs that the primary one does not know.
    Supplement,
}

/// What a control group is to the account keeping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupRole {
    /// A job: its use less that of the jobs inside it.
    Job(JobId),
    /// A slice: what its members leave over is its own, but in a tick in which one of them came or went.
    Slice(JobId),
    /// On the way to jobs; what it uses itself is the system's.
    Passage,
    /// What is added up because it is no job: its use goes to this account.
    Residual(Residual),
}

/// A group came into sight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Its number from now on.
    pub slot: GroupSlot,
    /// The group around it, unless that is the root.
    #[serde(default)]
    pub parent: Option<GroupSlot>,
    /// The hierarchy it stands in.
    pub hierarchy: Hierarchy,
    /// What it is.
    pub role: GroupRole,
    /// Its path from the root of the hierarchy.
    pub path: Name,
    /// Its directory's inode; 0 if it is not known.
    #[serde(default)]
    pub inode: u64,
    /// The id of the user whose slice it stands in.
    #[serde(default)]
    pub user: Option<u32>,
    /// Whether it was made while we looked on, so that all it ever used belongs to now.
    pub is_new: bool,
}

/// What a group had used when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReading {
    /// Which group.
    pub slot: GroupSlot,
    /// CPU time since its birth, dead members included.
    pub usage: CpuTime,
    /// The same by socket, where the kernel says so (v1 on several sockets).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_socket: Option<Box<[CpuTime]>>,
}

/// What is read of a group at its birth and every half minute.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// The sockets its cpuset leaves it; empty for all.
    #[serde(default)]
    pub sockets: Vec<u32>,
    /// CPUs reserved for it, in thousandths.
    #[serde(default)]
    pub reserved_millicpus: u32,
    /// Its processes stand in a job of the primary hierarchy too, which is charged with them.
    #[serde(default)]
    pub is_double: bool,
}

/// What happened to the control groups since the previous tick.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Made or found, parents before children.
    #[serde(default)]
    pub births: Vec<Birth>,
    /// Gone, children before parents.
    #[serde(default)]
    pub deaths: Vec<GroupSlot>,
    /// Groups whose attributes were read anew.
    #[serde(default)]
    pub attributes: Vec<(GroupSlot, Attributes)>,
    /// What each had used; a group without one could not be read this time.
    #[serde(default)]
    pub readings: Vec<GroupReading>,
    /// Groups with a child that is not looked at, for want of a descriptor or a slot.
    #[serde(default)]
    pub crowded: Vec<GroupSlot>,
}

/// The intensity in force, and all that must be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// Where the machine is, as far as it is known.
    pub zone: Name,
    /// Grams for each kilowatt-hour.
    pub intensity: Intensity,
    /// What the building adds to the machine.
    pub pue: Pue,
    /// `lifecycle` or `direct`.
    pub basis: Name,
    /// `production` or `consumption`.
    pub accounting: Name,
    /// `static` for a table's yearly figure, `configured` for the user's own.
    pub quality: Name,
    /// Whose figure it is.
    pub source: Name,
    /// The year it describes; empty if the user gave it, or for a figure of an hour.
    pub year: Name,
    /// How far down the chain it stands.
    #[serde(default, skip_serializing_if = "is_wanted")]
    pub fallback: Step,
}

fn is_wanted(step: &Step) -> bool {
    *step == Step::Wanted
}

/// Everything read at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// When.
    pub at: Moment,
    /// Everything that gives joules or watts from this tick on, where that has changed: what was there
    /// before, in its order, and then what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<Domain>>,
    /// One outcome for each of [`Machine::domains`], in their order.
    pub meters: Vec<Result<Value, Fault>>,
    /// Busy time of each socket since start; only rises.
    pub busy: Vec<CpuTime>,
    /// Logical CPUs online.
    pub cpus: u32,
    /// The control groups.
    pub groups: Groups,
    /// Who holds and uses the accelerators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Use>,
    /// What has become known of jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namings: Vec<Naming>,
    /// What jobs have said of themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speech: Vec<Heard>,
    /// Which figure is charged when, where that has changed. A tick before the first one charges `factor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Arc<Plan>>,
    /// What is in force at its end.
    pub factor: Factor,
}

/// How the engine is to account; from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Who pays for what is drawn whether or not anything runs.
    pub idle: IdlePolicy,
    /// How long an ended job stays on the page.
    pub retention: Nanos,
    /// Jobs on the page at the most.
    pub max_jobs: u32,
    /// Floors set by the user, by `hw_id`.
    #[serde(default)]
    pub floors: Vec<(Name, MicroWatts)>,
    /// By what jobs are grouped: the groups of each kind divide the whole host.
    #[serde(default)]
    pub group_kinds: Vec<Name>,
    /// How long a new group is shown at 0, so that a scrape has seen it before it rises.
    #[serde(default)]
    pub group_hold: Nanos,
}

/// Who pays for the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdlePolicy {
    /// Nobody: it has an account of its own.
    Separate,
    /// Who uses the machine, in proportion.
    Usage,
    /// Who has reserved CPUs, in proportion to all CPUs; the rest has the account of its own.
    Reserved,
}

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    pub jouleprint_recording: u32,
    /// The machine.
    pub machine: Machine,
    /// How to account.
    pub accounting: Accounting,
    /// The tick's nominal length.
    pub interval: Nanos,
}

impl Header {
    /// The one version that is written and read.
    pub const VERSION: u32 = 1;
}

/// How busy the machine was since the previous tick; estimates are made from it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// When it was asked for, by the monotonic clock.
    pub at: Nanos,
    /// The busy share of all CPUs, in ppm.
    pub busy_ppm: u32,
}

/// What was found, or not, when the machine was looked over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `rapl`, `estimate`, `cgroup`, `cpu`.
    pub source: Name,
    /// The domain; empty for the source as a whole.
    pub hw_id: Name,
    /// Why it is not used; `None` if it is.
    pub fault: Option<Fault>,
    /// Path, method, value: for people.
    pub detail: Name,
}
