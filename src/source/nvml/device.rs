//! One physical GPU: who it is, how its energy can be read, and reading it.

use super::SOURCE;
use super::library::{Session, fault};
use super::raw;
use crate::model::gpu::{Partition, Sight, Vendor};
use crate::model::identity::{HwType, Name, Origin};
use crate::model::quantity::{Energy, MicroWatts};
use crate::model::reading::{Domain, Fault, Measurement, Place, Value};
use crate::source::cut::Scope;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// The major number of NVIDIA's device files.
const MAJOR: u32 = 195;

/// What no GPU draws: ten times its limit, since a short tick may meet 100 ms of energy at once, and at
/// least this much.
const LEAST_CEILING: MicroWatts = MicroWatts::from_watts(4_000);
const CEILING_FACTOR: u64 = 10;

/// How a device's energy is read, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Its own energy counter, in mJ since the driver was loaded (Volta and newer).
    Counter,
    /// Its power, integrated by us.
    Power,
    /// The power of the module around it, where the GPU alone tells none.
    Module,
}

impl Method {
    const fn words(self) -> &'static str {
        match self {
            Method::Counter => "its energy counter",
            Method::Power => "its power, integrated",
            Method::Module => "the power of the module around it (processor and GPU), integrated",
        }
    }
}

/// What a device is found by after its handle has become worthless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    uuid: Option<String>,
    bus: String,
}

impl Identity {
    /// Its handle in this session.
    pub(super) fn find<'a>(&self, session: &'a Session) -> Result<Device<'a>, NvmlError> {
        match &self.uuid {
            Some(uuid) => session.nvml.device_by_uuid(uuid.as_str()),
            None => session.nvml.device_by_pci_bus_id(self.bus.as_str()),
        }
    }
}

/// A device as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) sight: Sight,
    /// How it is read; why it is not.
    pub(super) method: Result<Method, Fault>,
    pub(super) ceiling: MicroWatts,
}

impl Found {
    /// Looks at a device for the first time, or again.
    pub(super) fn look(session: &Session, device: &Device, index: u32) -> Result<Found, NvmlError> {
        let bus = match device.pci_info() {
            Ok(info) => info.bus_id,
            Err(NvmlError::NotSupported) => String::new(),
            Err(error) => return Err(error),
        };
        let uuid = match device.uuid() {
            Ok(uuid) => Some(uuid),
            Err(NvmlError::NotSupported) => None,
            Err(error) => return Err(error),
        };
        let pci = pci(&bus);
        let gpu = uuid.clone().unwrap_or_else(|| format!("pci-{pci}"));
        let limits = [
            device.enforced_power_limit(),
            device.power_management_limit_constraints().map(|constraints| constraints.max_limit),
        ];
        let limit = limits.into_iter().flatten().max().unwrap_or(0);
        let ceiling = MicroWatts::new(u64::from(limit) * 1_000 * CEILING_FACTOR).max(LEAST_CEILING);
        let sight = Sight {
            gpu: gpu.as_str().into(),
            vendor: Vendor::Nvidia,
            model: device.name().unwrap_or_default().as_str().into(),
            driver: session.driver.clone(),
            pci: pci.as_str().into(),
            index: Some(index),
            nodes: device.minor_number().map(|minor| (MAJOR, minor)).into_iter().collect(),
            partition: Partition::Whole,
            // Nobody has asked yet.
            processes: Err(Fault::Timeout),
        };
        Ok(Found { identity: Identity { uuid, bus }, sight, method: method(device)?, ceiling })
    }

    /// The meter that it is.
    pub(super) fn domain(&self, method: Method) -> Domain {
        let ceiling = self.ceiling;
        Domain {
            id: self.sight.gpu.clone(),
            hw_type: HwType::Gpu,
            origin: Origin::Measured,
            gpu: self.sight.gpu.clone(),
            source: SOURCE.into(),
            place: Place::Counted,
            socket: None,
            measurement: match method {
                Method::Counter => Measurement::Counter { range: None, ceiling },
                Method::Power | Method::Module => Measurement::MeanPower { ceiling },
            },
            floor: None,
            uncertainty_ppm: 0,
        }
    }

    /// For people: what it is, where, and how it is read.
    pub(super) fn words(&self) -> Name {
        let Sight { model, pci, .. } = &self.sight;
        let how = match self.method {
            Ok(method) => method.words(),
            Err(_) => "neither energy nor power (the driver tells none of this model)",
        };
        format!("{model} at {pci}: {how}").as_str().into()
    }
}

/// What a meter read by this method stands around.
pub(super) const fn scope(method: Method) -> Scope {
    match method {
        Method::Counter | Method::Power => Scope::Own,
        Method::Module => Scope::Module,
    }
}

/// The first question that it answers. An error that says nothing of the device's abilities is an error.
fn method(device: &Device) -> Result<Result<Method, Fault>, NvmlError> {
    for method in [Method::Counter, Method::Power, Method::Module] {
        match read(device, method) {
            Ok(_) => return Ok(Ok(method)),
            Err(error) if is_inability(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Err(Fault::Unsupported))
}

fn is_inability(error: &NvmlError) -> bool {
    fault(error) == Fault::Unsupported
}

/// Reads a device once.
pub(super) fn read(device: &Device, method: Method) -> Result<Value, NvmlError> {
    let power = |milliwatts: u32| Value::MeanPower(MicroWatts::new(u64::from(milliwatts) * 1_000));
    match method {
        Method::Counter => {
            let millijoules = device.total_energy_consumption()?;
            // Half a million years of 1 kW; beyond it the number is none.
            let micro = millijoules.checked_mul(1_000).ok_or(NvmlError::UnexpectedVariant(0))?;
            Ok(Value::Counter(Energy::from_micro(micro)))
        }
        Method::Power => device.power_usage().map(power),
        Method::Module => raw::module_power(device).map(power),
    }
}

/// `00000000:3B:00.0` as the kernel writes it.
fn pci(bus: &str) -> String {
    let lower = bus.to_ascii_lowercase();
    match lower.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 && domain.starts_with("0000") => {
            format!("{}:{rest}", &domain[4..])
        }
        Some(_) | None => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_the_kernel_does() {
        for (given, expected) in [
            ("00000000:3B:00.0", "0000:3b:00.0"),
            ("00010000:01:00.0", "00010000:01:00.0"),
            ("0000:3b:00.0", "0000:3b:00.0"),
            ("", ""),
        ] {
            assert_eq!(pci(given), expected);
        }
    }
}
