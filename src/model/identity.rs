//! Who is who: jobs, accounts, hardware types, origins, host. Only stable ids; names come later and elsewhere.

use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// Names of jobs and groups are no longer, in bytes; a longer one is cut and marked by its fingerprint.
const MAX_NAME_BYTES: usize = 200;

/// A short text that is copied often and never changed.
pub type Name = Arc<str>;

/// What runs a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A Kubernetes pod, by its UID.
    Pod,
    /// A container outside Kubernetes, by its id, or by its name if it has one (LXC).
    Container,
    /// A systemd service, scope or slice, by its unit name.
    Unit,
    /// What a rule of the configuration names, and any kind that another version knows and this one does not.
    Custom,
    /// A job of Slurm, by cluster and number.
    Slurm,
    /// A virtual machine or another guest of systemd-machined, by its name.
    Machine,
    /// A single process, by name, number and start.
    Process,
    /// A command that `jouleprint run` measures, by the time of its start and a number.
    Run,
}

impl JobKind {
    /// Every kind. The order is that of the tie-breaks: new ones come last.
    pub const ALL: [JobKind; 8] = [
        JobKind::Pod,
        JobKind::Container,
        JobKind::Unit,
        JobKind::Custom,
        JobKind::Slurm,
        JobKind::Machine,
        JobKind::Process,
        JobKind::Run,
    ];

    /// The kind with this `job_kind` label.
    #[must_use]
    pub fn of_label(text: &str) -> Option<JobKind> {
        JobKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The `job_kind` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            JobKind::Pod => "pod",
            JobKind::Container => "container",
            JobKind::Unit => "unit",
            JobKind::Custom => "custom",
            JobKind::Slurm => "slurm",
            JobKind::Machine => "machine",
            JobKind::Process => "process",
            JobKind::Run => "run",
        }
    }
}

/// A job: the same wherever and whenever it is met on this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    #[serde(deserialize_with = "known_kind")]
    kind: JobKind,
    id: Name,
}

impl JobId {
    /// A job of `kind`; an id too long for a label keeps its first bytes and a fingerprint of the whole.
    #[must_use]
    pub fn new(kind: JobKind, id: &str) -> JobId {
        JobId { kind, id: bounded_name(id) }
    }

    /// What runs it.
    #[must_use]
    pub const fn kind(&self) -> JobKind {
        self.kind
    }

    /// The `job_id` label.
    #[must_use]
    pub fn id(&self) -> &Name {
        &self.id
    }

    /// A number that orders jobs the same way whatever order they were found in.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.id.as_bytes()) ^ (self.kind as u64)
    }
}

/// A name that fits a label: one that is too long keeps its first bytes and a fingerprint of the whole.
#[must_use]
pub fn bounded_name(text: &str) -> Name {
    if text.len() <= MAX_NAME_BYTES {
        return text.into();
    }
    let mut end = MAX_NAME_BYTES - 17;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{:016x}", &text[..end], fingerprint(text.as_bytes())).into()
}

/// A newer version's jobs keep their counters: a kind that is not known yet is no reason to lose them.
fn known_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobKind, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(JobKind::of_label(&text).unwrap_or(JobKind::Custom))
}

/// FNV-1a, fixed for ever: goldens and tie-breaks depend on it.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Where energy goes that no job is charged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// Used by processes outside any job, the kernel among them.
    System,
    /// Drawn whether or not anything runs.
    Idle,
    /// Used by jobs that came and went between two readings.
    Ended,
    /// Used by jobs beyond the bound on their number.
    Overflow,
    /// Drawn while nobody was seen to use the machine.
    Unattributed,
}

impl Residual {
    /// Every residual account, in the order of the page.
    pub const ALL: [Residual; 5] =
        [Residual::System, Residual::Idle, Residual::Ended, Residual::Overflow, Residual::Unattributed];

    /// The `account` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Residual::System => "system",
            Residual::Idle => "idle",
            Residual::Ended => "ended",
            Residual::Overflow => "overflow",
            Residual::Unattributed => "unattributed",
        }
    }
}

/// The kind of hardware, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HwType {
    /// Processor packages.
    Cpu,
    /// Main memory.
    Memory,
    /// Accelerators.
    Gpu,
    /// Everything else inside a node meter.
    Other,
}

impl HwType {
    /// The `hw_type` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HwType::Cpu => "cpu",
            HwType::Memory => "memory",
            HwType::Gpu => "gpu",
            HwType::Other => "other",
        }
    }
}

/// Whether a joule was read from a meter or worked out from a model. The two never share a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Read from a meter.
    Measured,
    /// Worked out from a model.
    Estimated,
}

impl Origin {
    /// Both, in the order of the page.
    pub const ALL: [Origin; 2] = [Origin::Measured, Origin::Estimated];

    /// The `origin` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::Measured => "measured",
            Origin::Estimated => "estimated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_another_version_is_read_as_custom() {
        for (kind, expected) in
            [("pod", JobKind::Pod), ("machine", JobKind::Machine), ("wasm", JobKind::Custom)]
        {
            let id: JobId =
                serde_json::from_str(&format!("{{\"kind\":\"{kind}\",\"id\":\"x\"}}")).expect("read");
            assert_eq!(id.kind(), expected, "{kind}");
        }
        for kind in JobKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("written"), kind.as_str());
        }
    }

    #[test]
    fn a_long_id_is_cut_and_stays_distinct() {
        let long = "ä".repeat(150);
        let (one, other) = (format!("{long}1"), format!("{long}2"));
        let (one, other) = (JobId::new(JobKind::Custom, &one), JobId::new(JobKind::Custom, &other));
        assert!(one.id().len() <= MAX_NAME_BYTES);
        assert_ne!(one, other);
    }
}
