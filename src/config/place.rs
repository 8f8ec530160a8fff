//! Where this program may write, unless it is told otherwise.

use crate::model::gpu::Vendor;
use std::path::{Path, PathBuf};

/// Means that nothing is to be kept.
const NONE: &str = "none";

/// The store's folder: as `wanted`, else the one that systemd made, else root's or the user's own.
#[must_use]
pub fn store(wanted: Option<PathBuf>) -> Option<PathBuf> {
    match wanted.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) if path == Path::new(NONE) => None,
        Some(path) => Some(path),
        None => from_systemd("STATE_DIRECTORY").or_else(|| {
            if is_root() {
                return Some("/var/lib/jouleprint".into());
            }
            let own = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
            Some(own?.join("jouleprint"))
        }),
    }
}

/// The folder for what must not outlive the boot.
#[must_use]
pub fn runtime() -> Option<PathBuf> {
    from_systemd("RUNTIME_DIRECTORY").or_else(|| {
        if is_root() {
            return Some("/run/jouleprint".into());
        }
        Some(absolute("XDG_RUNTIME_DIR")?.join("jouleprint"))
    })
}

/// The socket for the jobs of this host: as `wanted`, else beside the rest in `runtime`.
#[must_use]
pub fn job_socket(wanted: Option<PathBuf>, runtime: Option<&Path>) -> Option<PathBuf> {
    match wanted.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) if path == Path::new(NONE) => None,
        Some(path) => Some(path),
        None => Some(runtime?.join("job.sock")),
    }
}

/// Where the exporter of this host may be asked: as `wanted`, else root's, else the user's own.
#[must_use]
pub fn job_sockets(wanted: Option<PathBuf>) -> Vec<PathBuf> {
    let wanted = wanted.filter(|path| !path.as_os_str().is_empty());
    match wanted {
        Some(path) if path == Path::new(NONE) => Vec::new(),
        Some(path) => vec![path],
        None => {
            let own = absolute("XDG_RUNTIME_DIR").map(|folder| folder.join("jouleprint"));
            let folders = [Some(PathBuf::from("/run/jouleprint")), own].into_iter().flatten();
            folders.map(|folder| folder.join("job.sock")).collect()
        }
    }
}

/// Whether this process was started by `jouleprint run`.
#[must_use]
pub fn is_inside_run() -> bool {
    std::env::var_os("JOULEPRINT_RUN_ID").is_some()
}

/// The folder in which a command's own socket is made.
#[must_use]
pub fn of_sockets() -> PathBuf {
    absolute("XDG_RUNTIME_DIR").filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// Which accelerators what we start is told to use, by the variables of each vendor. Of AMD's two the one
/// counts within what the other leaves.
#[must_use]
pub fn visible_devices() -> Vec<(Vendor, String)> {
    let of = |vendor, name| Some((vendor, std::env::var(name).ok()?));
    let amd = of(Vendor::Amd, "ROCR_VISIBLE_DEVICES").or_else(|| of(Vendor::Amd, "HIP_VISIBLE_DEVICES"));
    let all = [of(Vendor::Nvidia, "CUDA_VISIBLE_DEVICES"), amd, of(Vendor::Intel, "ZE_AFFINITY_MASK")];
    all.into_iter().flatten().collect()
}

/// Whether the terminal can do more than to print line after line.
#[must_use]
pub fn is_screen() -> bool {
    std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether colours are welcome (no-color.org).
#[must_use]
pub fn has_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The folder in which a user's own runs are kept: as `wanted`, else below the user's state.
#[must_use]
pub fn runs(wanted: Option<PathBuf>) -> Option<PathBuf> {
    match wanted.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) if path == Path::new(NONE) => None,
        Some(path) => Some(path),
        None => {
            let own = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
            Some(own?.join("jouleprint/runs"))
        }
    }
}

/// systemd gives several folders with colons between them; the first is ours.
fn from_systemd(variable: &str) -> Option<PathBuf> {
    let text = std::env::var(variable).ok()?;
    let first = PathBuf::from(text.split(':').next()?);
    first.is_absolute().then_some(first)
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var(variable).ok().map(PathBuf::from).filter(|path| path.is_absolute())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
