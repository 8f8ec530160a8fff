//! The series that queries may ask for, each with its labels: the catalogue, what Prometheus adds, and what
//! the recording rules leave.

use super::board::root;
use super::query::{Check, parsed};
use jouleprint::output::catalogue::{Family, Kind, families, relay_families};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Labels that Prometheus gives to every series of a target; `cluster` is set by the shipped scrape configuration.
const TARGET: [&str; 3] = ["cluster", "instance", "job"];

/// What Prometheus says of each target itself.
const OF_TARGETS: [&str; 3] = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];

/// The levels of recorded series, and the labels that each may have.
pub(crate) const LEVELS: [(&str, &[&str]); 10] = [
    ("node", &["cluster", "host"]),
    ("node_zone", &["cluster", "host", "grid_zone"]),
    ("node_group", &["cluster", "host", "grid_zone", "group_kind", "group"]),
    ("cluster", &["cluster"]),
    ("zone", &["cluster", "grid_zone"]),
    ("organization", &[]),
    ("group", &["cluster", "group_kind", "group"]),
    ("job_host", &["cluster", "host", "job_kind", "job_id"]),
    ("job_id", &["cluster", "job_kind", "job_id"]),
    ("budget", &["budget", "owner", "period"]),
];

pub(crate) struct Known(BTreeMap<String, BTreeSet<String>>);

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn rules(file: &str) -> impl Iterator<Item = Rule> {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let file: File = serde_saphyr::from_str(&text).expect("rules");
    file.groups.into_iter().flat_map(|group| group.rules)
}

impl Known {
    pub(crate) fn load() -> Known {
        let mut known = Known(BTreeMap::new());
        families().for_each(|family| known.family(family));
        relay_families().for_each(|family| known.family(family));
        for name in OF_TARGETS {
            known.add(name, &TARGET);
        }
        for file in ["deploy/prometheus/recording.yaml", "deploy/prometheus/budget-rules.yaml"] {
            for rule in rules(file) {
                // Alerts stand beside the rules of budgets.
                let Some(name) = rule.record else { continue };
                // One may read what it recorded itself: by its name its labels are known.
                if let Some((level, _)) = name.split_once(':').filter(|_| rule.expr.contains(&name)) {
                    let of_level = LEVELS.iter().find(|(known, _)| *known == level);
                    known.add(&name, of_level.unwrap_or_else(|| panic!("{name}: no such level")).1);
                }
                let labels = known.left_by(&name, &rule.expr);
                known.add(
                    &name,
                    &labels.iter().chain(rule.labels.keys()).map(String::as_str).collect::<Vec<_>>(),
                );
            }
        }
        known
    }

    /// The labels that a rule leaves.
    fn left_by(&self, name: &str, expr: &str) -> BTreeSet<String> {
        let expr = parsed(expr).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut check = Check::new(self);
        let labels = check.labels(&expr);
        assert!(check.faults.is_empty(), "{name}: {:?}", check.faults);
        labels
    }

    fn add(&mut self, name: &str, labels: &[&str]) {
        let labels = labels.iter().map(|label| (*label).to_owned());
        self.0.entry(name.to_owned()).or_default().extend(labels);
    }

    fn family<S>(&mut self, family: &Family<S>) {
        let name = family.name;
        let labels: Vec<&str> = family.labels.iter().chain(&TARGET).copied().collect();
        match family.kind {
            Kind::Counter => self.add(&format!("{name}_total"), &labels),
            Kind::Gauge => self.add(name, &labels),
            Kind::Info => self.add(&format!("{name}_info"), &labels),
            Kind::Histogram => {
                self.add(&format!("{name}_sum"), &labels);
                self.add(&format!("{name}_count"), &labels);
                self.add(&format!("{name}_bucket"), &[&labels[..], &["le"]].concat());
            }
        }
    }

    /// The labels of a series; nothing if there is none of that name.
    pub(crate) fn labels(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.0.get(name)
    }
}
