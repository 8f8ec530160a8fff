//! The kernel's way to the machine's own BMC: `/dev/ipmi0` by ioctl. The library holds the unsafe code.
//! Everybody who opened the device has answers of his own; what comes too late for the last question
//! is dropped at the next. Kernel: Documentation/driver-api/ipmi.rst, include/uapi/linux/ipmi.h.

use super::{Channel, Trouble};
use ipmi_rs::File;
use ipmi_rs::connection::{IpmiConnection, LogicalUnit, Message, Request, RequestTargetAddress};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the first BMC may be found, in the order in which it is looked for.
pub const PATHS: [&str; 3] = ["ipmi0", "ipmi/0", "ipmidev/0"];

/// The kernel itself asks again for 5 s before it gives up on a BMC.
const DEADLINE: Duration = Duration::from_secs(2);

/// Late answers that may be waiting.
const MAX_LATE: u32 = 8;

/// An open device.
pub struct Device {
    file: File,
}

impl Device {
    /// Opens it. Reading is all that the kernel wants for it.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn open(path: &Path) -> std::io::Result<Device> {
        File::new(path, DEADLINE).map(|file| Device { file })
    }
}

/// The first device below `folder` (`/dev`).
#[must_use]
pub fn find(folder: &Path) -> Option<PathBuf> {
    PATHS.iter().map(|path| folder.join(path)).find(|path| path.exists())
}

impl Channel for Device {
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, Trouble> {
        let message = Message::new_raw(function, command, data.to_vec());
        let mut request = Request::new(message, RequestTargetAddress::Bmc(LogicalUnit::Zero));
        self.file.send(&mut request).map_err(Trouble::Io)?;
        for _ in 0..MAX_LATE {
            match self.file.recv() {
                Ok(answer) if answer.netfn_raw() == function | 1 && answer.cmd() == command => {
                    return Ok([&[answer.cc()], answer.data()].concat());
                }
                // To another question of ours, or a message that was no answer.
                Ok(_) => {}
                Err(error) => match error.kind() {
                    std::io::ErrorKind::Interrupted | std::io::ErrorKind::Other => {}
                    std::io::ErrorKind::WouldBlock => return Err(Trouble::Silent),
                    _ => return Err(Trouble::Io(error)),
                },
            }
        }
        Err(Trouble::Silent)
    }
}
