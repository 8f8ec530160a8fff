//! The metric reference, printed from the catalogue; docs/metrics.md is this text.

use super::catalogue::{HTTP_REQUESTS, Kind, families};

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
    let mut row = |name: &str, kind: &str, labels: &[&str], help: &str, otel: (&str, &str)| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let otel = match otel {
            ("", _) => String::new(),
            (name, "") => format!("`{name}`"),
            (name, unit) => format!("`{name}`, {unit}"),
        };
        text.push_str(&format!("| `{name}` | {kind} | {} | {help}. | {otel} |\n", labels.join(", ")));
    };
    for family in families() {
        let (suffix, kind) = match family.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Info => ("_info", "info"),
            Kind::Histogram => ("", "histogram"),
        };
        row(&format!("{}{suffix}", family.name), kind, family.labels, family.help, family.otel);
    }
    row(&format!("{}_total", HTTP_REQUESTS.0), "counter", &["code"], HTTP_REQUESTS.1, ("", ""));
    text
}
