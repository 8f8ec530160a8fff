//! Opening the library, and what its errors mean: a fault for the page, and for people what to do.

use super::raw;
use crate::model::identity::Name;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use std::ffi::OsStr;
use std::path::Path;

/// The name under which the driver's package installs it.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// A library that is not there is looked for this often: a search along the linker's path.
const ABSENT: Nanos = Nanos::from_seconds(60);

/// After a failure the next attempt comes so much later, and each time twice as much.
const SHORTEST_PAUSE: Nanos = Nanos::from_seconds(5);

/// After this many failures in a row the pauses stop doubling: five minutes.
const MAX_DOUBLINGS: u32 = 6;
const LONGEST_PAUSE: Nanos = Nanos::from_seconds(300);

/// The vendor and the class of a display or 3D controller, as sysfs has them.
const NVIDIA: &str = "0x10de";
const DISPLAY: &str = "0x03";

/// More entries of the PCI bus are not looked at.
const MAX_PCI: usize = 4_096;

/// The library, initialised. It is shut down when the last who uses it lets go.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) nvml: Nvml,
    pub(super) driver: Name,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) fault: Fault,
    /// In words; nothing if nobody misses the library.
    pub(super) detail: String,
    /// It is the library that is not there.
    pub(super) is_absent: bool,
}

impl Trouble {
    /// What is to be said beside these cards on the bus: a library that is not there is missed only by them.
    pub(super) fn beside(self, bus: &[String]) -> Trouble {
        if !self.is_absent {
            return self;
        }
        let detail = bus.first().map(|first| {
            format!(
                "there is an NVIDIA GPU at {first} and no libnvidia-ml.so.1 (on a host install the driver's \
                 library; in a container set NVIDIA_DRIVER_CAPABILITIES=utility, in Kubernetes with \
                 runtimeClassName: nvidia)"
            )
        });
        Trouble { detail: detail.unwrap_or_default(), ..self }
    }
}

/// Opens the library and initialises it.
pub(super) fn open(library: Option<&Path>) -> Result<Session, Trouble> {
    let path = library.map_or_else(|| OsStr::new(LIBRARY), Path::as_os_str);
    let nvml = Nvml::builder().lib_path(path).init().map_err(|error| trouble(path, &error))?;
    let driver = nvml.sys_driver_version().unwrap_or_default();
    Ok(Session { nvml, driver: driver.as_str().into() })
}

impl Session {
    /// Shuts the library down and initialises it again, without letting go of its file: after an upgrade the
    /// file on the disk is of another version than the driver that is loaded, and would be refused.
    pub(super) fn start_anew(&mut self) -> Result<(), NvmlError> {
        raw::start_anew(&mut self.nvml)?;
        self.driver = self.nvml.sys_driver_version().unwrap_or_default().as_str().into();
        Ok(())
    }
}

fn trouble(path: &OsStr, error: &NvmlError) -> Trouble {
    let path = path.display();
    let (fault, detail) = match error {
        NvmlError::LibloadingError(error) => {
            // The linker's own words say which library was not found; of another one it is no absence.
            let text = error_text(error);
            let is_absent =
                text.contains("cannot open shared object file") && text.contains(&path.to_string());
            let fault = if is_absent { Fault::Missing } else { Fault::Unsupported };
            let detail = format!("opening {path}: {text}");
            return Trouble { fault, detail, is_absent };
        }
        NvmlError::DriverNotLoaded => (
            Fault::Missing,
            format!(
                "{path} is there and NVIDIA's driver is not loaded (modprobe nvidia; in a container use a \
                 node that has it)"
            ),
        ),
        NvmlError::LibRmVersionMismatch => (
            Fault::Mismatch,
            format!(
                "{path} is of another version than the driver in the kernel (reload the driver or reboot; \
                 in a container restart it)"
            ),
        ),
        NvmlError::NoPermission | NvmlError::OperatingSystem => (
            Fault::PermissionDenied,
            format!(
                "{path}: the driver refuses us (we need /dev/nvidiactl and /dev/nvidia*, in a container by \
                 runtimeClassName: nvidia)"
            ),
        ),
        other => (fault(other), format!("initialising {path}: {other}")),
    };
    Trouble { fault, detail, is_absent: false }
}

/// The cause and not only the operation.
fn error_text(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| source.to_string())
}

/// What an error is on the page.
pub(super) fn fault(error: &NvmlError) -> Fault {
    /// NVML_ERROR_GPU_NOT_FOUND, which the wrapper does not know.
    const GPU_NOT_FOUND: u32 = 28;
    match error {
        NvmlError::GpuLost | NvmlError::ResetRequired => Fault::Lost,
        NvmlError::NotFound | NvmlError::DriverNotLoaded | NvmlError::UnexpectedVariant(GPU_NOT_FOUND) => {
            Fault::Missing
        }
        NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            Fault::Unsupported
        }
        NvmlError::NoPermission | NvmlError::OperatingSystem => Fault::PermissionDenied,
        NvmlError::LibRmVersionMismatch => Fault::Mismatch,
        NvmlError::Timeout => Fault::Timeout,
        NvmlError::Utf8Error(_) | NvmlError::NulError(_) | NvmlError::UnexpectedVariant(_) => {
            Fault::Malformed
        }
        _ => Fault::Io,
    }
}

/// When to try again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pause {
    failures: u32,
    until: Option<Nanos>,
}

impl Pause {
    pub(super) fn is_over(&self, at: Nanos) -> bool {
        self.until.is_none_or(|until| at >= until)
    }

    /// It failed at this time: each pause is twice the one before.
    pub(super) fn lengthen(&mut self, at: Nanos) {
        self.lengthen_between(at, SHORTEST_PAUSE, LONGEST_PAUSE);
    }

    /// The same with pauses of a length of their own.
    pub(super) fn lengthen_between(&mut self, at: Nanos, shortest: Nanos, longest: Nanos) {
        let factor = 1_u64 << self.failures.min(MAX_DOUBLINGS);
        let pause = Nanos::new(shortest.get() * factor).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(at + pause);
    }

    /// It was not even tried: the same attempt is due so much later.
    pub(super) fn postpone(&mut self, at: Nanos, pause: Nanos) {
        self.until = Some(at + pause);
    }

    /// Nothing is expected to change soon.
    pub(super) fn rest(&mut self, at: Nanos) {
        *self = Pause { failures: 0, until: Some(at + ABSENT) };
    }
}

/// NVIDIA's display and 3D controllers on the PCI bus: what the kernel sees whoever drives it.
pub(super) fn on_the_bus(sysfs: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(sysfs.join("bus/pci/devices")).into_iter().flatten().flatten();
    let is = |path: &Path, start: &str| {
        std::fs::read_to_string(path).is_ok_and(|text| text.trim().starts_with(start))
    };
    let ours = entries.take(MAX_PCI).filter_map(|entry| {
        let path = entry.path();
        let is_ours = is(&path.join("vendor"), NVIDIA) && is(&path.join("class"), DISPLAY);
        is_ours.then(|| entry.file_name().to_string_lossy().into_owned())
    });
    let mut ours: Vec<String> = ours.collect();
    ours.sort_unstable();
    ours
}

/// Those of these cards that NVIDIA's driver drives: others may be handed on to a virtual machine.
pub(super) fn driven(sysfs: &Path, bus: &[String]) -> Vec<String> {
    let is_driven = |card: &&String| {
        let driver = std::fs::read_link(sysfs.join("bus/pci/devices").join(card).join("driver"));
        driver.is_ok_and(|driver| driver.file_name() == Some(OsStr::new("nvidia")))
    };
    bus.iter().filter(is_driven).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Nanos {
        Nanos::from_seconds(count)
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let mut pause = Pause::default();
        assert!(pause.is_over(seconds(0)), "nothing has failed yet");
        for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
            pause.lengthen(seconds(1_000));
            assert!(!pause.is_over(seconds(999 + expected)), "{expected}");
            assert!(pause.is_over(seconds(1_000 + expected)), "{expected}");
        }
        pause.rest(seconds(0));
        assert!(!pause.is_over(seconds(59)) && pause.is_over(seconds(60)));
    }

    #[test]
    fn a_library_that_is_not_there_is_told_from_one_that_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libnvidia-ml.so.1");
        let absent = open(Some(&path)).expect_err("nothing is there");
        assert!(absent.is_absent && absent.fault == Fault::Missing, "{absent:?}");
        std::fs::write(&path, "no library").expect("written");
        let odd = open(Some(&path)).expect_err("a text is no library");
        assert!(!odd.is_absent && odd.fault == Fault::Unsupported, "{odd:?}");
        assert!(odd.detail.contains("libnvidia-ml.so.1"), "{odd:?}");
    }

    #[test]
    fn only_nvidia_s_display_controllers_are_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        for (address, vendor, class) in [
            ("0000:3b:00.0", "0x10de", "0x030200"),
            ("0000:3b:00.1", "0x10de", "0x040300"),
            ("0000:02:00.0", "0x8086", "0x030000"),
            ("0000:1a:00.0", "0x10de", "0x030000"),
        ] {
            let device = folder.path().join("bus/pci/devices").join(address);
            std::fs::create_dir_all(&device).expect("made");
            std::fs::write(device.join("vendor"), format!("{vendor}\n")).expect("written");
            std::fs::write(device.join("class"), format!("{class}\n")).expect("written");
        }
        assert_eq!(on_the_bus(folder.path()), ["0000:1a:00.0", "0000:3b:00.0"]);
        assert_eq!(on_the_bus(&folder.path().join("none")), [""; 0]);
    }
}
