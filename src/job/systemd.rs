//! systemd's units: services and scopes are jobs, slices are where jobs live.

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};

/// Knows systemd's unit names.
#[derive(Debug)]
pub struct Systemd;

/// Slices that systemd makes by itself: what is left over in them is the system's.
const OWN_SLICES: [&str; 7] = ["-", "system", "user", "machine", "app", "session", "background"];

impl JobResolver for Systemd {
    fn resolve(&self, path: &[&str]) -> Verdict {
        let Some(name) = path.last() else { return Verdict::Unknown };
        match name.rsplit_once('.') {
            Some((_, "service" | "scope")) => Verdict::Named(JobId::new(JobKind::Unit, name)),
            Some((stem, "slice")) if is_own_slice(stem) => Verdict::Part,
            Some((_, "slice")) => Verdict::Slice(JobId::new(JobKind::Unit, name)),
            Some((_, "mount" | "socket" | "swap")) => Verdict::Part,
            _ => Verdict::Unknown,
        }
    }
}

/// `system-getty.slice` is made for a template unit, `user-1000.slice` for a user.
fn is_own_slice(stem: &str) -> bool {
    OWN_SLICES.contains(&stem) || stem.starts_with("system-") || stem.starts_with("user-")
}
