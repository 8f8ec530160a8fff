//! Who pushes, and how labels are called there: a label whose name is that of an OpenTelemetry attribute
//! has its dots again, and comes out of the translation to Prometheus as the label that it was.

use super::wishes::Wishes;
use crate::model::description::Attribute;
use crate::output::catalogue::ARCHITECTURE;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::BTreeMap;

/// Labels and the attributes of the semantic conventions that they are.
const NAMES: &[(&str, &str)] = &[
    ("hw_id", "hw.id"),
    ("hw_type", "hw.type"),
    ("host_arch", "host.arch"),
    ("host_cpu_model_name", "host.cpu.model.name"),
    ("os_version", "os.version"),
    ("process_linux_cgroup", "process.linux.cgroup"),
    ("container_id", "container.id"),
    ("k8s_container_name", "k8s.container.name"),
    ("k8s_node_name", "k8s.node.name"),
    ("k8s_pod_uid", "k8s.pod.uid"),
];

/// The attribute for a label.
pub(super) fn attribute_name(label: &'static str) -> &'static str {
    let of_job = || Attribute::ALL.into_iter().map(Attribute::as_str).find(|name| is_translated(name, label));
    let known = NAMES.iter().find(|(known, _)| *known == label).map(|(_, name)| *name);
    known.or_else(of_job).unwrap_or(label)
}

fn is_translated(name: &str, label: &str) -> bool {
    name.len() == label.len()
        && name.bytes().zip(label.bytes()).all(|(name, label)| name == label || (name, label) == (b'.', b'_'))
}

/// One attribute.
pub(super) fn key_value(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The machine, as far as it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// What tells it from all others, the same after a restart; its name if it has nothing else.
    pub id: String,
    /// The `host` label.
    pub name: String,
}

/// The resource, encoded: ours, and over it what the environment says.
#[must_use]
pub fn resource(machine: &Machine, wishes: &Wishes) -> Vec<u8> {
    let id = if machine.id.is_empty() { &machine.name } else { &machine.id };
    let mut attributes = BTreeMap::from([
        ("service.name", "jouleprint"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", id),
        ("host.id", id),
        ("host.name", &machine.name),
        ("host.arch", ARCHITECTURE),
        ("os.type", "linux"),
    ]);
    attributes.extend(wishes.resource.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let attributes = attributes.into_iter().map(|(name, value)| key_value(name, value)).collect();
    Resource { attributes, ..Resource::default() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::catalogue::families;

    #[test]
    fn an_attribute_is_the_label_again_after_the_translation() {
        for label in families().flat_map(|family| family.labels).copied() {
            let translated = attribute_name(label).replace(|char: char| !char.is_ascii_alphanumeric(), "_");
            assert_eq!(translated, label);
        }
        for (label, name) in NAMES {
            assert_eq!(name.replace('.', "_"), *label);
        }
    }
}
