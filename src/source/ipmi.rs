//! The node's own meter behind its BMC, by IPMI DCMI: through the kernel (`/dev/ipmi0`), found by itself,
//! or over the network, if that is configured. A BMC is slow (10 to 300 ms, seconds when it is busy) and
//! shared with others, so it is asked on a thread of its own and not more often than every 10 s.

pub mod dcmi;
pub mod device;
pub mod lan;
pub mod packet;
pub mod rakp;

use super::background::{Freshness, Pulse, SlowSource};
use super::cut::Scope;
use super::node::{self, Telling};
use crate::clock;
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Value};
use dcmi::{Capabilities, Refusal};
use device::Device;
use lan::{Lan, Line};
use rakp::Refused;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The source's name on the page, and its domain's.
pub const SOURCE: &str = "ipmi";

/// Others ask the BMC as well, and some of them wait for us.
pub const PERIOD: Nanos = Nanos::from_seconds(10);

/// What SMBIOS has for a BMC: type 38, IPMI device information.
const FIRMWARE_ENTRY: &str = "firmware/dmi/entries/38-0";

/// What the user says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wish {
    /// Do not ask.
    #[default]
    Off,
    /// Ask the machine's own BMC, if it is below this folder.
    Automatic(PathBuf),
    /// Ask this one.
    Lan(Lan),
}

/// A way to a BMC.
pub trait Channel: Send {
    /// Asks one thing; completion code and data of the answer.
    ///
    /// # Errors
    /// There was none.
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, Trouble>;
}

/// Why there is no reading, in words and as a fault.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The BMC's own reason.
    #[error("the BMC refuses: {0}")]
    Refused(Refusal),
    /// It answers, and not what DCMI says.
    #[error("the BMC's answer is no power reading")]
    Malformed,
    /// It answers nothing.
    #[error("the BMC does not answer")]
    Silent,
    /// The kernel or the network.
    #[error("{0}")]
    Io(std::io::Error),
    /// The name of the BMC leads nowhere.
    #[error("the BMC's name has no address")]
    Unknown,
    /// The file with the password.
    #[error("reading the password file: {0}")]
    Password(std::io::Error),
    /// No session over the network.
    #[error("{0}")]
    Session(Refused),
    /// It was read and is not to be counted.
    #[error("{0}")]
    Worthless(Fault),
}

impl Trouble {
    /// The fault it is on the page.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Trouble::Refused(refusal) => refusal.fault(),
            Trouble::Malformed | Trouble::Session(Refused::Malformed) => Fault::Malformed,
            Trouble::Silent => Fault::Timeout,
            Trouble::Unknown => Fault::Unreachable,
            Trouble::Io(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused
                | std::io::ErrorKind::HostUnreachable
                | std::io::ErrorKind::NetworkUnreachable => Fault::Unreachable,
                std::io::ErrorKind::ResourceBusy | std::io::ErrorKind::WouldBlock => Fault::Limit,
                _ => Fault::from(error),
            },
            Trouble::Password(error) => Fault::from(error),
            Trouble::Session(Refused::Login(_) | Refused::Password | Refused::TooLong) => {
                Fault::PermissionDenied
            }
            Trouble::Session(Refused::Suite) => Fault::Untrusted,
            Trouble::Session(Refused::Other(_)) => Fault::Limit,
            Trouble::Worthless(fault) => *fault,
        }
    }
}

/// The meter: what was shown last, and the way to ask for more.
pub struct Meter {
    channel: Box<dyn Channel>,
    freshness: Freshness,
}

impl Meter {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(channel: Box<dyn Channel>) -> Meter {
        Meter { channel, freshness: Freshness::default() }
    }

    /// The power now, as the BMC sees it at `at`.
    ///
    /// # Errors
    /// It does not say, or what it says is not to be counted.
    pub fn read(&mut self, at: Nanos) -> Result<MicroWatts, Trouble> {
        let data = self.ask(dcmi::GET_POWER, &dcmi::POWER_REQUEST)?;
        let reading = dcmi::parse_power(&data).ok_or(Trouble::Malformed)?;
        let pulse = if reading.timestamp == 0 { Pulse::None } else { Pulse::Shown };
        let mut shown = DefaultHasher::new();
        reading.hash(&mut shown);
        let fresh = self.freshness.check(shown.finish(), pulse, at);
        reading.power().and_then(|power| fresh.map(|()| power)).map_err(Trouble::Worthless)
    }

    /// What the BMC says of itself.
    ///
    /// # Errors
    /// It does not say.
    pub fn capabilities(&mut self) -> Result<Capabilities, Trouble> {
        let data = self.ask(dcmi::GET_CAPABILITIES, &dcmi::CAPABILITIES_REQUEST)?;
        dcmi::parse_capabilities(&data).ok_or(Trouble::Malformed)
    }

    fn ask(&mut self, command: u8, data: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut answer = self.channel.ask(dcmi::GROUP_EXTENSION, command, data)?;
        match answer.first() {
            None => Err(Trouble::Malformed),
            Some(0) => Ok(answer.split_off(1)),
            Some(code) => Err(Trouble::Refused(Refusal(*code))),
        }
    }
}

/// The node as the BMC sees it.
pub struct Ipmi {
    domains: Vec<Domain>,
    meter: Meter,
    telling: Telling,
}

impl Ipmi {
    /// Reads by this meter.
    #[must_use]
    pub fn new(meter: Meter) -> Ipmi {
        Ipmi { domains: vec![node::domain(SOURCE)], meter, telling: Telling::new(SOURCE) }
    }
}

impl SlowSource for Ipmi {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, _: usize) -> Scope {
        Scope::Node
    }

    fn read(&mut self, at: Nanos) -> Vec<Result<Value, Fault>> {
        let outcome = self.meter.read(at).map_err(|trouble| (trouble.fault(), trouble.to_string()));
        vec![self.telling.note(outcome).map(Value::MeanPower)]
    }
}

/// Looks for the machine's own BMC and asks it once, so that one without power readings is not counted
/// on; or takes the one that is configured, without a word to it.
pub fn discover(sysfs: &Path, wish: &Wish) -> (Option<Ipmi>, Vec<Finding>) {
    let folder = match wish {
        Wish::Off => return (None, Vec::new()),
        Wish::Lan(lan) => {
            let found = node::finding(SOURCE, SOURCE, None, &format!("DCMI at {}", lan.address));
            return (Some(Ipmi::new(Meter::new(Box::new(Line::new(lan.clone()))))), vec![found]);
        }
        Wish::Automatic(folder) => folder,
    };
    let Some(path) = device::find(folder) else {
        // Most machines have no BMC, and nothing is missing there.
        let has_bmc = sysfs.join("class/ipmi").exists() || sysfs.join(FIRMWARE_ENTRY).exists();
        let text = format!("no {}, though the firmware tells of a BMC", folder.join("ipmi0").display());
        let missing = has_bmc.then(|| node::finding(SOURCE, "", Some(Fault::Missing), &text));
        return (None, missing.into_iter().collect());
    };
    let shown = path.display();
    match Device::open(&path) {
        Ok(device) => probe(Meter::new(Box::new(device)), &shown.to_string()),
        Err(error) => {
            let fault = Fault::from(&error);
            (None, vec![node::finding(SOURCE, "", Some(fault), &format!("{shown}: {error}"))])
        }
    }
}

/// Whether a meter shows power, or will. What never will is no meter.
fn probe(mut meter: Meter, place: &str) -> (Option<Ipmi>, Vec<Finding>) {
    let capabilities = meter.capabilities();
    let version = match &capabilities {
        Ok(Capabilities { version: (major, minor), .. }) => format!("{place}, DCMI {major}.{minor}"),
        Err(_) => place.to_owned(),
    };
    let Err(trouble) = meter.read(clock::monotonic()) else {
        return (Some(Ipmi::new(meter)), vec![node::finding(SOURCE, SOURCE, None, &version)]);
    };
    let fault = trouble.fault();
    // A BMC that is busy now and manages power will show it in a while.
    let is_passing = matches!(fault, Fault::Timeout | Fault::Limit | Fault::Io);
    let detail = format!("{version}: {trouble}");
    if is_passing && capabilities.is_ok_and(|capabilities| capabilities.has_power) {
        return (Some(Ipmi::new(meter)), vec![node::finding(SOURCE, SOURCE, Some(fault), &detail)]);
    }
    (None, vec![node::finding(SOURCE, "", Some(fault), &detail)])
}

#[cfg(test)]
mod tests;
