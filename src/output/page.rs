//! The landing page: what this is, what it sees, where to go.

use crate::model::quantity::Energy;
use crate::model::snapshot::Snapshot;

/// The page, without a script and without anything from elsewhere.
#[must_use]
pub fn landing(snapshot: Option<&Snapshot>, telemetry_path: &str) -> String {
    let mut page = head("Energy and emissions counters by host, GPU and job.");
    let path = escape(telemetry_path);
    page.push_str(&format!(
        "<p><a href=\"{path}\">Metrics</a> · <a href=\"/-/healthy\">Health</a> · <a href=\"/-/ready\">Readiness</a></p>"
    ));
    if let Some(snapshot) = snapshot {
        meters(snapshot, &mut page);
        sources(snapshot, &mut page);
    } else {
        page.push_str("<p>The first reading is under way.</p>");
    }
    page.push_str(&format!("<p>Version {}</p></body></html>\n", env!("CARGO_PKG_VERSION")));
    page
}

/// How every page of ours begins.
pub(super) fn head(what: &str) -> String {
    let style = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>jouleprint</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>\
         :root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}\
         table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem 1rem .25rem 0;text-align:left;border-bottom:1px solid #8884}\
         td.n{text-align:right;font-variant-numeric:tabular-nums}.down{color:#b3261e}@media(prefers-color-scheme:dark){.down{color:#ff8a80}}\
         </style></head><body><h1>jouleprint</h1>";
    format!("{style}<p>{what}</p>")
}

fn meters(snapshot: &Snapshot, page: &mut String) {
    let factor = &snapshot.factor;
    page.push_str(&format!(
        "<p>Host <b>{}</b>, {} jobs, grid zone <b>{}</b> at {} g/kWh ({} {}), PUE {}.</p>\
         <table><tr><th>Meter</th><th>Hardware</th><th>Origin</th><th>Power</th><th>Energy</th></tr>",
        escape(&snapshot.machine.host),
        snapshot.totals.live_jobs,
        escape(&factor.zone),
        factor.intensity,
        escape(&factor.source),
        escape(&factor.year),
        factor.pue,
    ));
    for (domain, totals) in snapshot.machine.domains.iter().zip(&snapshot.totals.domains) {
        let power = totals.power.map_or("—".to_owned(), |power| format!("{:.1} W", power.as_watts()));
        page.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{power}</td><td class=\"n\">{}</td></tr>",
            escape(&domain.id),
            domain.hw_type.as_str(),
            domain.origin.as_str(),
            joules(totals.energy),
        ));
    }
    page.push_str("</table>");
}

fn joules(energy: Energy) -> String {
    match energy.as_joules() {
        joules if joules < 1e4 => format!("{joules:.1} J"),
        joules if joules < 1e7 => format!("{:.1} kJ", joules / 1e3),
        joules => format!("{:.1} MJ", joules / 1e6),
    }
}

fn sources(snapshot: &Snapshot, page: &mut String) {
    page.push_str("<table><tr><th>Source</th><th>Part</th><th>State</th><th>How</th></tr>");
    for state in &snapshot.sources {
        let text = state.fault.map_or("ok".to_owned(), |fault| fault.to_string());
        let class = if state.fault.is_some() { " class=\"down\"" } else { "" };
        page.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td{class}>{text}</td><td>{}</td></tr>",
            escape(&state.source),
            escape(&state.hw_id),
            escape(&state.detail),
        ));
    }
    page.push_str("</table>");
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
