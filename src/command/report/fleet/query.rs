//! The questions in PromQL. Counters of hosts are asked for by `increase()`, which bears restarts and
//! extrapolates to the ends of its window. Jobs are asked for by how far their counter was shown at the end
//! less how far it was before: exact to the scrape, also for jobs that lived for one scrape only, of which
//! `increase()` sees nothing.

use crate::command::report::question::Filter;

/// How far before a window its first value is looked for: an exporter may have been away for so long. A job
/// that was away for longer counts anew.
const BEFORE: &str = "1h";

/// What tells a job's counters apart.
const JOB: &str = "host,job_kind,job_id,hw_type,gpu,gpu_instance,origin";

/// A query, of which the window is still open.
#[derive(Debug, Clone)]
pub struct Query {
    text: String,
}

/// What is put in for the window's length.
const WINDOW: &str = "$window";

impl Query {
    /// For a window of so many ms.
    #[must_use]
    pub fn over(&self, milliseconds: u64) -> String {
        self.text.replace(WINDOW, &format!("{milliseconds}ms"))
    }

    fn increase(name: &str, matchers: &str, by: &str) -> Query {
        Query { text: format!("sum by ({by}) (increase({name}{{{matchers}}}[{WINDOW}]))") }
    }

    /// Instances are taken together first: the same host behind a new address is the same job.
    fn rise(name: &str, matchers: &str, each: &str, by: &str) -> Query {
        let series = format!("{name}{{{matchers}}}");
        let end = format!("max by ({each}) (max_over_time({series}[{WINDOW}]))");
        let start = format!("max by ({each}) (last_over_time({series}[{BEFORE}] offset {WINDOW}))");
        // A counter that is lower than before began anew.
        Query { text: format!("sum by ({by}) ({end} - {start} >= 0 or {end})") }
    }

    /// Each meter's energy, by host.
    #[must_use]
    pub fn meters(filter: &Filter) -> Query {
        let matchers = matchers(filter, Part { has_hardware: true, ..Part::default() });
        Query::increase("hw_energy_joules_total", &matchers, "host,hw_type,gpu,origin")
    }

    /// The hosts' emissions.
    #[must_use]
    pub fn host_emissions(filter: &Filter) -> Query {
        let matchers = matchers(filter, Part::default());
        Query::increase("jouleprint_host_emissions_co2e_grams_total", &matchers, "host,origin,grid_zone")
    }

    /// What no job is charged with: energy, then emissions.
    #[must_use]
    pub fn residual(filter: &Filter) -> [Query; 2] {
        let matchers = matchers(filter, Part { has_hardware: true, ..Part::default() });
        let by = "host,account,hw_type,gpu,origin";
        [
            Query::increase("jouleprint_residual_energy_joules_total", &matchers, by),
            Query::increase(
                "jouleprint_residual_emissions_co2e_grams_total",
                &matchers,
                &format!("{by},grid_zone"),
            ),
        ]
    }

    /// What jobs are charged with, by kind: energy, then emissions.
    #[must_use]
    pub fn kinds(filter: &Filter) -> [Query; 2] {
        Query::job_counters(filter, "host,job_kind,hw_type,gpu,origin")
    }

    /// What each job is charged with: energy, then emissions.
    #[must_use]
    pub fn jobs(filter: &Filter) -> [Query; 2] {
        Query::job_counters(filter, "host,job_kind,job_id,hw_type,gpu,origin")
    }

    fn job_counters(filter: &Filter, by: &str) -> [Query; 2] {
        let matchers = matchers(filter, Part { has_hardware: true, has_jobs: true, has_origin: true });
        let (name, each) = ("jouleprint_job_emissions_co2e_grams_total", format!("{JOB},grid_zone"));
        [
            Query::rise("jouleprint_job_energy_joules_total", &matchers, JOB, by),
            Query::rise(name, &matchers, &each, &format!("{by},grid_zone")),
        ]
    }

    /// Each job's CPU time.
    #[must_use]
    pub fn cpu(filter: &Filter) -> Query {
        let by = "host,job_kind,job_id";
        Query::rise("jouleprint_job_cpu_seconds_total", &self::lives(filter), by, by)
    }

    /// When each job was first and last shown, looked for every `step_seconds`.
    #[must_use]
    pub fn seen(filter: &Filter, step_seconds: u64) -> [Query; 2] {
        let series = format!("timestamp(jouleprint_job_cpu_seconds_total{{{}}})", lives(filter));
        ["min", "max"].map(|which| Query {
            text: format!(
                "{which} by (host,job_kind,job_id) ({which}_over_time({series}[{WINDOW}:{step_seconds}s]))"
            ),
        })
    }
}

fn lives(filter: &Filter) -> String {
    matchers(filter, Part { has_hardware: false, has_jobs: true, has_origin: false })
}

/// Which labels a metric has beside the host.
#[derive(Debug, Clone, Copy)]
struct Part {
    has_hardware: bool,
    has_jobs: bool,
    has_origin: bool,
}

impl Default for Part {
    fn default() -> Part {
        Part { has_hardware: false, has_jobs: false, has_origin: true }
    }
}

/// Zones are not matched: a host's energy is told by zone from all the zones that it was in.
fn matchers(filter: &Filter, part: Part) -> String {
    let mut matchers = Vec::new();
    if part.has_origin {
        // Other exporters have series of these names, without an origin.
        matchers.push("origin!=\"\"".to_owned());
    }
    if let Some(host) = &filter.host {
        matchers.push(format!("host={}", quoted(host)));
    }
    if let Some(hardware) = filter.hardware.filter(|_| part.has_hardware) {
        matchers.push(format!("hw_type={}", quoted(hardware.as_str())));
    }
    if part.has_jobs {
        matchers.extend(filter.kind.map(|kind| format!("job_kind={}", quoted(kind.as_str()))));
        let job = filter.job.as_ref();
        matchers.extend(job.map(|pattern| format!("job_id=~{}", quoted(pattern.regex()))));
    }
    matchers.join(",")
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::report::question::Pattern;
    use crate::model::identity::{HwType, JobKind};

    #[test]
    fn queries_are_these() {
        let none = Filter::default();
        let all = Filter {
            host: Some("a\"b\\".into()),
            hardware: Some(HwType::Gpu),
            kind: Some(JobKind::Unit),
            job: Pattern::new("*.service").ok(),
            ..Filter::default()
        };
        assert_eq!(
            Query::meters(&none).over(3_600_000),
            "sum by (host,hw_type,gpu,origin) (increase(hw_energy_joules_total{origin!=\"\"}[3600000ms]))"
        );
        assert_eq!(
            Query::host_emissions(&all).over(1),
            "sum by (host,origin,grid_zone) (increase(jouleprint_host_emissions_co2e_grams_total\
             {origin!=\"\",host=\"a\\\"b\\\\\"}[1ms]))"
        );
        assert_eq!(
            Query::cpu(&all).over(5),
            "sum by (host,job_kind,job_id) (max by (host,job_kind,job_id) (max_over_time(\
             jouleprint_job_cpu_seconds_total{host=\"a\\\"b\\\\\",job_kind=\"unit\",job_id=~\".*\\\\.service\"}\
             [5ms])) - max by (host,job_kind,job_id) (last_over_time(jouleprint_job_cpu_seconds_total\
             {host=\"a\\\"b\\\\\",job_kind=\"unit\",job_id=~\".*\\\\.service\"}[1h] offset 5ms)) >= 0 or \
             max by (host,job_kind,job_id) (max_over_time(jouleprint_job_cpu_seconds_total\
             {host=\"a\\\"b\\\\\",job_kind=\"unit\",job_id=~\".*\\\\.service\"}[5ms])))"
        );
        let [energy, emissions] = Query::jobs(&all);
        assert!(energy.over(1).contains("hw_type=\"gpu\"") && !energy.over(1).contains("grid_zone"));
        assert!(emissions.over(1).contains("origin,grid_zone)"));
        let [first, _] = Query::seen(&none, 60);
        assert!(first.over(7).contains("[7ms:60s]"), "{first:?}");
    }
}
