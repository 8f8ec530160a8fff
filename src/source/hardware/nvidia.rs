//! What NVIDIA's driver says of its devices in /proc/driver/nvidia, where its library may not be used:
//! which there are, and no power.

use crate::kernel_file::read_text;
use crate::model::gpu::{Partition, Sight, Vendor};
use crate::model::reading::Fault;
use std::path::Path;

/// The major number of /dev/nvidia0 and its like.
const NVIDIA_MAJOR: u32 = 195;

/// Devices at the most.
const MAX_DEVICES: usize = 64;

/// A device as the driver lists it; what is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// `NVIDIA A100-SXM4-80GB`.
    pub model: String,
    /// `GPU-…`; empty until somebody has used the device.
    pub uuid: String,
    /// Its place on the bus, `0000:3b:00.0`.
    pub pci: String,
    /// The minor number of /dev/nvidiaN.
    pub minor: Option<u32>,
}

impl Device {
    /// The same as its library would show it, as far as this goes.
    #[must_use]
    pub fn sight(&self, index: u32, driver: &str) -> Sight {
        let gpu = match self.uuid.as_str() {
            "" => format!("pci-{}", self.pci),
            uuid => uuid.to_owned(),
        };
        Sight {
            gpu: gpu.into(),
            vendor: Vendor::Nvidia,
            model: self.model.as_str().into(),
            driver: driver.into(),
            pci: self.pci.as_str().into(),
            index: Some(index),
            nodes: self.minor.map(|minor| (NVIDIA_MAJOR, minor)).into_iter().collect(),
            partition: Partition::Whole,
            processes: Err(Fault::Unsupported),
        }
    }
}

/// The devices in the order of the bus, and the driver's version.
#[must_use]
pub fn read(procfs: &Path) -> (Vec<Device>, String) {
    let folder = procfs.join("driver/nvidia");
    let Ok(entries) = std::fs::read_dir(folder.join("gpus")) else { return (Vec::new(), String::new()) };
    let mut devices: Vec<Device> = entries
        .flatten()
        .take(MAX_DEVICES)
        .filter_map(|entry| {
            let device = parse(&read_text(&entry.path().join("information")).ok()?);
            // The folder is called by the place on the bus.
            let place = entry.file_name().into_string().unwrap_or_default();
            Some(Device { pci: if device.pci.is_empty() { place } else { device.pci }, ..device })
        })
        .collect();
    devices.sort_by(|one, other| one.pci.cmp(&other.pci));
    (devices, version(&read_text(&folder.join("version")).unwrap_or_default()))
}

/// From the text of one device's `information`.
#[must_use]
pub fn parse(text: &str) -> Device {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).unwrap_or_default().to_owned()
    };
    // A device that was never used shows question marks.
    let uuid = Some(field("GPU UUID")).filter(|uuid| uuid.starts_with("GPU-") && !uuid.contains('?'));
    Device {
        model: Some(field("Model")).filter(|model| model != "Unknown").unwrap_or_default(),
        uuid: uuid.unwrap_or_default(),
        pci: field("Bus Location").to_ascii_lowercase(),
        minor: field("Device Minor").parse().ok(),
    }
}

/// `535.104.05` of the driver's first line.
#[must_use]
pub fn version(text: &str) -> String {
    let is_version =
        |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let line = text.lines().next().unwrap_or_default();
    line.split_whitespace().find(is_version).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_the_drivers_version_are_read() {
        let text = "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 219\n\
                    GPU UUID: \t GPU-7c1cbf37-9d2e-4d1a-b3d0-0f6d2b0c6b7e\nVideo BIOS: \t 92.00.45.00.05\n\
                    Bus Type: \t PCIe\nBus Location: \t 0000:C7:00.0\nDevice Minor: \t 3\nGPU Excluded:\t No\n";
        let device = parse(text);
        assert_eq!(
            (&*device.model, &*device.pci, device.minor),
            ("NVIDIA A100-SXM4-80GB", "0000:c7:00.0", Some(3))
        );
        assert_eq!(device.uuid, "GPU-7c1cbf37-9d2e-4d1a-b3d0-0f6d2b0c6b7e");
        let asleep = parse("Model: \t Unknown\nGPU UUID: \t GPU-????????-????-????-????-????????????\n");
        assert_eq!(asleep, Device::default());
        let first =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023";
        assert_eq!(version(&format!("{first}\nGCC version:  gcc 12.2.0\n")), "535.104.05");
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build";
        assert_eq!((&*version(open), &*version("")), ("550.54.15", ""));
    }

    #[test]
    fn devices_come_in_the_order_of_the_bus() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (place, model) in [("0000:c7:00.0", "Tesla T4"), ("0000:07:00.0", "NVIDIA L4")] {
            let device = folder.path().join("driver/nvidia/gpus").join(place);
            std::fs::create_dir_all(&device).expect("made");
            std::fs::write(device.join("information"), format!("Model: {model}\n")).expect("written");
        }
        let (devices, version) = read(folder.path());
        let seen: Vec<(&str, &str)> = devices.iter().map(|device| (&*device.pci, &*device.model)).collect();
        assert_eq!(seen, [("0000:07:00.0", "NVIDIA L4"), ("0000:c7:00.0", "Tesla T4")]);
        assert_eq!(version, "");
    }
}
