//! The metric reference, printed from the catalogue; docs/metrics.md is this text.

use super::catalogue::{Family, HTTP_REQUESTS, Kind, families, relay_families};

/// The reference in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nPrinted by `jouleprint metrics`; do not edit by hand.\n\n\
         Counters are exact: joules to the µJ, grams to the ng, seconds to the ns. On every page, for each\n\
         `hw_type`, `gpu` and `origin`, the `hw_energy_joules_total` add up to the job, residual and retired\n\
         energies to the last µJ; for each `origin` and `grid_zone` the same holds for the grams. So do, for\n\
         each `group_kind`, the groups and what is pending.\n\n\
         | series | type | labels | meaning | OpenTelemetry |\n|---|---|---|---|---|\n",
    );
    for family in families() {
        row(&mut text, family);
    }
    text.push_str(&requests());
    text.push_str(
        "\n## The relay\n\nWhat `jouleprint grid` shows; the first five are a node's, of each zone.\n\n\
         | series | type | labels | meaning | OpenTelemetry |\n|---|---|---|---|---|\n",
    );
    for family in relay_families() {
        row(&mut text, family);
    }
    text.push_str(&requests());
    text
}

fn row<S>(text: &mut String, family: &Family<S>) {
    let (suffix, kind) = match family.kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Gauge => ("", "gauge"),
        Kind::Info => ("_info", "info"),
        Kind::Histogram => ("", "histogram"),
    };
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let otel = match family.otel {
        ("", _) => String::new(),
        (name, "") => format!("`{name}`"),
        (name, unit) => format!("`{name}`, {unit}"),
    };
    let (name, labels, help) = (family.name, labels.join(", "), family.help);
    text.push_str(&format!("| `{name}{suffix}` | {kind} | {labels} | {help}. | {otel} |\n"));
}

fn requests() -> String {
    format!("| `{}_total` | counter | `code` | {}. |  |\n", HTTP_REQUESTS.0, HTTP_REQUESTS.1)
}
