//! What people call a job: attributes that are found out after its birth, and never a part of its identity.
//! A counter carries the id alone; these stand in an info series, and jobs are grouped by them.

use super::identity::{JobId, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value is cut after this many bytes: longer ones are no names.
pub const MAX_VALUE_BYTES: usize = 200;

/// Labels of one job beside its attributes.
pub const MAX_LABELS: usize = 16;

/// What can be known of a job. The order is that of the labels on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// The namespace of a pod.
    Namespace,
    /// The name of a pod.
    Pod,
    /// What made the pod, as far up as its controllers tell: `Deployment`, `CronJob`.
    WorkloadKind,
    /// The name of that.
    WorkloadName,
    /// The name of a container outside Kubernetes.
    Container,
    /// Its image.
    Image,
    /// The name of a Slurm job.
    SlurmJobName,
    /// The account that a Slurm job is charged to.
    SlurmAccount,
    /// The partition it runs in.
    SlurmPartition,
    /// Its cluster.
    SlurmCluster,
    /// Of a task of an array, the array.
    SlurmArrayJobId,
    /// And which it is.
    SlurmArrayTaskId,
    /// The unit of systemd in which it runs.
    Unit,
    /// The slice that unit stands in.
    Slice,
    /// The user's name.
    UserName,
    /// The user's number.
    UserId,
    /// The program that was started.
    Executable,
    /// What its user says it belongs to.
    Project,
    /// And which attempt it is.
    Experiment,
}

impl Attribute {
    /// Every attribute, in the order of the page.
    pub const ALL: [Attribute; 19] = [
        Attribute::Namespace,
        Attribute::Pod,
        Attribute::WorkloadKind,
        Attribute::WorkloadName,
        Attribute::Container,
        Attribute::Image,
        Attribute::SlurmJobName,
        Attribute::SlurmAccount,
        Attribute::SlurmPartition,
        Attribute::SlurmCluster,
        Attribute::SlurmArrayJobId,
        Attribute::SlurmArrayTaskId,
        Attribute::Unit,
        Attribute::Slice,
        Attribute::UserName,
        Attribute::UserId,
        Attribute::Executable,
        Attribute::Project,
        Attribute::Experiment,
    ];

    /// OpenTelemetry's name where it has one; with `_` for `.` it is the label of the info series.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Attribute::Namespace => "k8s.namespace.name",
            Attribute::Pod => "k8s.pod.name",
            Attribute::WorkloadKind => "k8s.workload.kind",
            Attribute::WorkloadName => "k8s.workload.name",
            Attribute::Container => "container.name",
            Attribute::Image => "container.image.name",
            Attribute::SlurmJobName => "slurm.job.name",
            Attribute::SlurmAccount => "slurm.account",
            Attribute::SlurmPartition => "slurm.partition",
            Attribute::SlurmCluster => "slurm.cluster.name",
            Attribute::SlurmArrayJobId => "slurm.array.job.id",
            Attribute::SlurmArrayTaskId => "slurm.array.task.id",
            Attribute::Unit => "systemd.unit",
            Attribute::Slice => "systemd.slice",
            Attribute::UserName => "user.name",
            Attribute::UserId => "user.id",
            Attribute::Executable => "process.executable.name",
            Attribute::Project => "project",
            Attribute::Experiment => "experiment",
        }
    }

    /// The attribute with this name.
    #[must_use]
    pub fn of_name(text: &str) -> Option<Attribute> {
        Attribute::ALL.into_iter().find(|attribute| attribute.as_str() == text)
    }
}

/// What is known of one job. What is not there is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    #[serde(default)]
    attributes: BTreeMap<Attribute, Name>,
    /// Labels of a pod that were asked for, and those that a job's user gave it.
    #[serde(default)]
    labels: BTreeMap<Name, Name>,
}

impl Description {
    /// Notes one attribute; nothing is known from an empty text.
    pub fn set(&mut self, attribute: Attribute, value: &str) {
        if !value.is_empty() {
            self.attributes.insert(attribute, bounded(value));
        }
    }

    /// Notes a label, if there is room for it.
    pub fn label(&mut self, key: &str, value: &str) {
        let key = bounded(key);
        if !key.is_empty() && (self.labels.len() < MAX_LABELS || self.labels.contains_key(&key)) {
            self.labels.insert(key, bounded(value));
        }
    }

    /// What is known of this; empty for nothing.
    #[must_use]
    pub fn get(&self, attribute: Attribute) -> &str {
        self.attributes.get(&attribute).map_or("", |value| value)
    }

    /// The labels, by key.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<Name, Name> {
        &self.labels
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.labels.is_empty()
    }

    /// Takes over what `other` knows and this does not.
    pub fn fill(&mut self, other: &Description) {
        for (attribute, value) in &other.attributes {
            self.attributes.entry(*attribute).or_insert_with(|| value.clone());
        }
        for (key, value) in &other.labels {
            if !self.labels.contains_key(key) {
                self.label(key, value);
            }
        }
    }
}

/// The first bytes of a text that is too long for a label, without half a character at the end.
fn bounded(text: &str) -> Name {
    let mut end = text.len().min(MAX_VALUE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// What has become known of a job since the last tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// Of whom.
    pub id: JobId,
    /// Everything that is known by now.
    pub description: Arc<Description>,
    /// The groups that are decided, by kind; an empty name for none. A group once decided stays.
    #[serde(default)]
    pub groups: Vec<(Name, Name)>,
    /// Nothing more is to be expected: the job is in no group of the kinds that are not decided.
    #[serde(default)]
    pub is_final: bool,
}

impl Naming {
    /// This, as what has become known after `earlier`: what was decided then stays.
    #[must_use]
    pub fn after(mut self, earlier: Naming) -> Naming {
        let later = std::mem::replace(&mut self.groups, earlier.groups);
        for (kind, group) in later {
            if self.groups.iter().all(|(decided, _)| *decided != kind) {
                self.groups.push((kind, group));
            }
        }
        self.is_final |= earlier.is_final;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded_and_what_is_known_is_not_overwritten() {
        let mut one = Description::default();
        one.set(Attribute::Pod, &"ä".repeat(5_000));
        one.set(Attribute::Image, "");
        for number in 0..100 {
            one.label(&format!("key-{number}"), "x\n\"y\"");
        }
        assert_eq!((one.get(Attribute::Pod).len(), one.labels().len()), (MAX_VALUE_BYTES, MAX_LABELS));
        assert_eq!(one.get(Attribute::Image), "");
        let mut other = Description::default();
        other.set(Attribute::Pod, "web-0");
        other.fill(&one);
        assert_eq!(other.get(Attribute::Pod), "web-0");
        assert_eq!(other.labels().len(), MAX_LABELS);
        for attribute in Attribute::ALL {
            assert_eq!(Attribute::of_name(attribute.as_str()), Some(attribute));
        }
    }
}
