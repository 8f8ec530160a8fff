//! The shipped rules, alerts and their tests: every name is in the catalogue or a rule's, every label can be there,
//! and nothing is without its test and its place in the runbook.

mod budgets;
mod labels;

use crate::dashboards::known::LEVELS;
use labels::{Known, check};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
pub(crate) struct RuleFile {
    pub(crate) groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) interval: String,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(default)]
    pub(crate) record: String,
    #[serde(default)]
    pub(crate) alert: String,
    pub(crate) expr: String,
    #[serde(default, rename = "for")]
    pub(crate) duration: String,
    #[serde(default, rename = "keep_firing_for")]
    pub(crate) keeps: String,
    #[serde(default)]
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    rule_files: Vec<String>,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    #[serde(default)]
    promql_expr_test: Vec<QueryTest>,
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct QueryTest {
    expr: String,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<serde::de::IgnoredAny>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn shipped(path: &str) -> Vec<Rule> {
    read(&text(path))
}

/// The rules of a file's text, in their order.
pub(crate) fn read(text: &str) -> Vec<Rule> {
    let file: RuleFile = serde_saphyr::from_str(text).expect("a rule file");
    let mut names = BTreeSet::new();
    for group in &file.groups {
        assert!(names.insert(group.name.clone()), "two groups {}", group.name);
        assert!(!group.interval.is_empty(), "{} says how often", group.name);
    }
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn test_files() -> Vec<(PathBuf, TestFile)> {
    let entries = std::fs::read_dir(root().join("tests/promtool")).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let parse = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("read");
        let file =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, file)
    };
    files.into_iter().map(parse).collect()
}

/// Checks rules one after the other; each may use those before it, and itself. Gives what is then known.
pub(crate) fn check_rules(known: &mut Known, rules: &[Rule]) {
    let mut written: Vec<(String, BTreeSet<String>)> = Vec::new();
    for rule in rules {
        let name = if rule.record.is_empty() { &rule.alert } else { &rule.record };
        if let Some((level, _)) = rule.record.split_once(':') {
            // A rule may read what it recorded itself: by its name its labels are known.
            let of_level = LEVELS.iter().find(|(name, _)| *name == level);
            let (_, all) = of_level.unwrap_or_else(|| panic!("{name}: {level} is no level"));
            known.add(&rule.record, all.iter().copied());
        }
        let labels =
            check(known, &rule.expr).unwrap_or_else(|error| panic!("{name}: {error}\n{}", rule.expr));
        if rule.record.is_empty() {
            continue;
        }
        let labels: BTreeSet<String> = labels.into_iter().chain(rule.labels.keys().cloned()).collect();
        for label in &labels {
            assert!(known.has(&rule.record, label), "{name} has {label}, which its level has not");
        }
        known.add(&rule.record, labels.iter().map(String::as_str));
        written.push((rule.record.clone(), labels));
    }
    // The same name twice has the same labels, or sums over it mean nothing.
    for (name, labels) in &written {
        let same = written.iter().filter(|(other, _)| other == name);
        for (_, others) in same {
            assert_eq!(labels, others, "{name}");
        }
    }
}

#[test]
fn recorded_names_and_labels_are_of_the_catalogue() {
    let mut known = Known::catalogue();
    let rules = shipped("deploy/prometheus/recording.yaml");
    assert!(rules.len() > 40, "the rules were read");
    check_rules(&mut known, &rules);
    for Rule { record, .. } in &rules {
        let parts: Vec<&str> = record.split(':').collect();
        let [level, metric, operations] = parts[..] else {
            panic!("{record} is not level:metric:operations")
        };
        let exact = LEVELS.iter().find(|(name, _)| *name == level).expect("checked").1;
        // Grams by node and group have their zone; joules have none.
        let exact = exact
            .iter()
            .filter(|label| level != "node_group" || **label != "grid_zone" || metric.contains("co2e"));
        let exact: BTreeSet<&str> = exact.copied().collect();
        assert_eq!(known.labels(record), exact, "{record}");
        // A quantity of the catalogue without _total, or one that is made of several.
        let derived = ["jouleprint_measured_share", "jouleprint_idle_share"]
            .into_iter()
            .chain(["jouleprint_effective_intensity_grams_per_kilowatt_hour"])
            .chain(["jouleprint_group_energy_with_overhead_joules"])
            .chain(["jouleprint_group_emissions_with_overhead_co2e_grams"]);
        let total = format!("{metric}_total");
        let is_known =
            known.is_metric(metric) || known.is_metric(&total) || derived.clone().any(|name| name == metric);
        assert!(is_known, "{record}: the catalogue has no {metric}");
        let is_operation =
            ["rate5m", "rate1h", "increase1h", "last1h", "max_over_time1h", "sum", "ratio_rate1h"]
                .iter()
                .any(|end| operations == *end || operations.ends_with(&format!("_{end}")));
        assert!(is_operation, "{record}: {operations}");
    }
}

#[test]
fn what_is_wrong_with_a_query_is_seen() {
    let mut known = Known::catalogue();
    known.add("node:hw_host_energy_joules:rate5m", ["cluster", "host"]);
    for (query, complaint) in [
        ("jouleprint_job_energy_joules", "no metric"),
        ("sum by (cluster, pod) (rate(jouleprint_job_energy_joules_total[5m]))", "pod"),
        ("jouleprint_job_energy_joules_total{account=\"idle\"}", "account"),
        ("rate(hw_host_energy_joules_total[5m])", "origin"),
        ("hw_energy_joules_total{hw_type=\"cpu\"}", "origin"),
        ("node:hw_host_energy_joules:rate5m{grid_zone=\"FR\"}", "grid_zone"),
        ("up * on (cluster, host) jouleprint_pue_ratio", "host"),
        ("sum by (host) (node:hw_host_energy_joules:rate5m) * on (cluster) jouleprint_pue_ratio", "cluster"),
        ("jouleprint_pue_ratio * on (host) group_left (grid_zone) jouleprint_store_up", "grid_zone"),
        ("sum(", "unclosed"),
    ] {
        let error = check(&known, query).expect_err(query);
        assert!(error.contains(complaint), "{query}: {error}");
    }
}

#[test]
fn alerts_are_whole_and_explained() {
    let mut known = Known::catalogue();
    check_rules(&mut known, &shipped("deploy/prometheus/recording.yaml"));
    let alerts = shipped("deploy/prometheus/alerts.yaml");
    assert!(alerts.len() >= 15, "the alerts were read");
    check_rules(&mut known, &alerts);
    let runbook = text("docs/runbook.md");
    let mut sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for rule in &alerts {
        complete(rule);
        let words = rule.alert.strip_prefix("Jouleprint").expect("the common first word");
        assert!(words.starts_with(|first: char| first.is_ascii_uppercase()), "{}", rule.alert);
        let end = format!("/docs/runbook.md#{}", rule.alert.to_lowercase());
        assert!(rule.annotations["runbook_url"].ends_with(&end), "{}", rule.alert);
        assert!(sections.remove(rule.alert.as_str()), "docs/runbook.md has no section {}", rule.alert);
    }
    assert!(sections.is_empty(), "sections without an alert: {sections:?}");
}

/// An alert has a severity, three annotations, and names only labels that it has.
pub(crate) fn complete(rule: &Rule) {
    let Rule { alert, labels, annotations, .. } = rule;
    assert!(["critical", "warning", "info"].contains(&labels["severity"].as_str()), "{alert}: {labels:?}");
    let keys: Vec<&str> = annotations.keys().map(String::as_str).collect();
    assert_eq!(keys, ["description", "runbook_url", "summary"], "{alert}");
    let summary = &annotations["summary"];
    assert!(summary.ends_with('.') && !summary.contains("{{"), "{alert}: the summary is one fixed sentence");
    assert!(
        rule.duration.is_empty() || rule.duration.ends_with(['m', 'h']),
        "{alert}: for {}",
        rule.duration
    );
    assert!(["", "1d"].contains(&rule.keeps.as_str()), "{alert}: keep_firing_for {}", rule.keeps);
}

#[test]
fn every_rule_and_alert_has_its_test() {
    let files = test_files();
    assert!(files.len() >= 7, "the tests were read");
    let queries: Vec<&str> = files
        .iter()
        .flat_map(|(_, file)| &file.tests)
        .flat_map(|test| &test.promql_expr_test)
        .map(|query| query.expr.as_str())
        .collect();
    let recorded = shipped("deploy/prometheus/recording.yaml");
    let of_budgets = shipped("deploy/prometheus/budget-rules.yaml");
    for Rule { record, .. } in recorded.iter().chain(&of_budgets).filter(|rule| rule.alert.is_empty()) {
        let is_named = queries.iter().any(|query| {
            let mut at =
                query.match_indices(record).map(|(at, found)| query[at + found.len()..].chars().next());
            at.any(|next| next.is_none_or(|next| !next.is_alphanumeric() && next != '_'))
        });
        assert!(is_named, "no query of tests/promtool reads {record}");
    }
    let alerts: Vec<&AlertTest> =
        files.iter().flat_map(|(_, file)| &file.tests).flat_map(|test| &test.alert_rule_test).collect();
    let own = shipped("deploy/prometheus/alerts.yaml");
    for Rule { alert, .. } in own.iter().chain(&of_budgets).filter(|rule| rule.record.is_empty()) {
        let mut of_it = alerts.iter().filter(|test| test.alertname == *alert);
        assert!(of_it.clone().any(|test| !test.exp_alerts.is_empty()), "{alert} is never seen to fire");
        assert!(of_it.any(|test| test.exp_alerts.is_empty()), "{alert} is never seen to be silent");
    }
    for (path, file) in &files {
        for name in &file.rule_files {
            let rules = path.parent().expect("a folder").join(name);
            assert!(rules.exists(), "{}: no {name}", path.display());
        }
    }
}
