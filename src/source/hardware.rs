//! What the machine is made of, as far as estimates need it: processor, memory, cloud instance, accelerators.

pub mod nvidia;

use crate::kernel_file::read_text;
use std::path::Path;

/// Facts about the machine; what is not known is empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// `vendor_id`, or ARM's `CPU implementer`.
    pub vendor: String,
    /// `cpu family`, or ARM's `CPU part`.
    pub family: String,
    /// `model`, or ARM's `CPU variant`.
    pub model: u32,
    /// `model name`.
    pub model_name: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// Sockets.
    pub sockets: u32,
    /// `MemTotal`, in kB.
    pub memory_kb: u64,
    /// A hypervisor runs this machine.
    pub is_virtual: bool,
    /// `aws/c5.large`, where the firmware tables say so.
    pub instance_type: Option<String>,
    /// NVIDIA's devices, as the driver in the kernel lists them.
    pub nvidia: Vec<nvidia::Device>,
    /// That driver's version.
    pub nvidia_driver: String,
}

impl Hardware {
    /// Reads /proc and the firmware tables.
    #[must_use]
    pub fn read(procfs: &Path, sysfs: &Path, sockets: u32) -> Hardware {
        let cpuinfo = read_text(&procfs.join("cpuinfo")).unwrap_or_default();
        let meminfo = read_text(&procfs.join("meminfo")).unwrap_or_default();
        let dmi = |file: &str| read_text(&sysfs.join("class/dmi/id").join(file)).unwrap_or_default();
        let instance_type = (dmi("sys_vendor") == "Amazon EC2")
            .then(|| format!("aws/{}", dmi("product_name")))
            .filter(|name| name.contains('.'));
        let (nvidia, nvidia_driver) = nvidia::read(procfs);
        Hardware { sockets, instance_type, nvidia, nvidia_driver, ..parse(&cpuinfo, &meminfo) }
    }
}

/// From the text of /proc/cpuinfo and /proc/meminfo.
#[must_use]
pub fn parse(cpuinfo: &str, meminfo: &str) -> Hardware {
    let field = |names: &[&str]| {
        let value = |line: &str| {
            let (key, value) = line.split_once(':')?;
            names.contains(&key.trim()).then(|| value.trim().to_owned())
        };
        cpuinfo.lines().find_map(value).unwrap_or_default()
    };
    let model = field(&["model", "CPU variant"]);
    let model = match model.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => model.parse().ok(),
    };
    let cpus =
        cpuinfo.lines().filter(|line| line.split(':').next().is_some_and(|key| key.trim() == "processor"));
    let memory = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    Hardware {
        vendor: field(&["vendor_id", "CPU implementer"]),
        family: field(&["cpu family", "CPU part"]),
        model: model.unwrap_or(0),
        model_name: field(&["model name"]),
        cpus: u32::try_from(cpus.count()).unwrap_or(0),
        sockets: 1,
        memory_kb: memory.unwrap_or(0),
        is_virtual: field(&["flags"]).split(' ').any(|flag| flag == "hypervisor"),
        ..Hardware::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn x86_and_arm_are_read() {
        let x86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\n\
                   model name\t: AMD EPYC\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\n";
        let seen = parse(x86, "MemFree: 1 kB\nMemTotal:       24632344 kB\n");
        assert_eq!((seen.vendor.as_str(), seen.family.as_str(), seen.model), ("AuthenticAMD", "26", 2));
        assert_eq!((seen.cpus, seen.memory_kb, seen.is_virtual), (2, 24_632_344, true));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n";
        let seen = parse(arm, "");
        assert_eq!((seen.vendor.as_str(), seen.family.as_str(), seen.model), ("0x41", "0xd0c", 3));
        assert_eq!((seen.memory_kb, seen.is_virtual), (0, false));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(cpuinfo in "\\PC{0,80}(\n[a-z ]{0,9}:\\PC{0,20}){0,5}", meminfo in "\\PC{0,60}") {
            let _ = parse(&cpuinfo, &meminfo);
        }
    }
}
