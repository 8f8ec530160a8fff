//! Pods, as the kubelet lays them out: both drivers, every class, static pods, any root.

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};

/// Knows the kubelet's paths.
#[derive(Debug)]
pub struct Kubernetes;

impl JobResolver for Kubernetes {
    fn resolve(&self, path: &[&str]) -> Verdict {
        if let Some(uid) = pod_uid(path) {
            return Verdict::Job(JobId::new(JobKind::Pod, &uid));
        }
        let is_in_pod = path.split_last().is_some_and(|(_, around)| pod_uid(around).is_some());
        let is_class = path.last().is_some_and(|name| {
            name.strip_suffix(".slice").is_some_and(|stem| stem.split('-').any(|part| part == "kubepods"))
        });
        if is_in_pod || is_class { Verdict::Part } else { Verdict::Unknown }
    }
}

/// The UID of the pod whose own group this is.
fn pod_uid(path: &[&str]) -> Option<String> {
    let (name, around) = path.split_last()?;
    // systemd driver: `[root-]kubepods[-class]-pod<uid>.slice`, the UID with `_` for `-`.
    if let Some(stem) = name.strip_suffix(".slice") {
        let (class, uid) = stem.rsplit_once("-pod")?;
        let is_kubelets = class.split('-').any(|part| part == "kubepods");
        return (is_kubelets && is_uid(uid)).then(|| uid.replace('_', "-"));
    }
    // cgroupfs driver: `kubepods[/class]/pod<uid>`.
    let uid = name.strip_prefix("pod")?;
    let is_kubelets = around.iter().rev().take(2).any(|name| *name == "kubepods");
    (is_kubelets && is_uid(uid)).then(|| uid.to_owned())
}

/// Whether this can be a pod's UID.
#[must_use]
pub fn is_pod_uid(text: &str) -> bool {
    is_uid(text) && !text.contains('_')
}

/// A UUID with either separator, or the 32 hex digits of a static pod's configuration.
fn is_uid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let separators = text.bytes().filter(|byte| matches!(byte, b'-' | b'_')).count();
    digits == 32 && digits + separators == text.len() && matches!(separators, 0 | 4)
}
