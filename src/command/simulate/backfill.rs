//! The past of a fleet as OpenMetrics with times, for `promtool tsdb create-blocks-from openmetrics`: what
//! the dashboards' long ranges and the rules of a month need, without the jobs.

use super::fleet::Fleet;
use crate::model::quantity::Nanos;
use crate::output::catalogue::{Family, families};
use crate::output::prometheus::{declare, render_at};
use std::io::{self, Write};

/// The families that are written: by host, by group and of the grid. Jobs of a month would be the bulk.
const FAMILIES: [&str; 17] = [
    "hw_host_energy_joules",
    "hw_host_power_watts",
    "hw_energy_joules",
    "jouleprint_residual_energy_joules",
    "jouleprint_residual_emissions_co2e_grams",
    "jouleprint_host_emissions_co2e_grams",
    "jouleprint_group_energy_joules",
    "jouleprint_group_pending_energy_joules",
    "jouleprint_group_emissions_co2e_grams",
    "jouleprint_group_pending_emissions_co2e_grams",
    "jouleprint_grid_carbon_intensity_grams_per_kilowatt_hour",
    "jouleprint_grid_intensity",
    "jouleprint_pue_ratio",
    "jouleprint_jobs",
    "jouleprint_snapshot_timestamp_seconds",
    "jouleprint_host",
    "jouleprint_gpu",
];

/// The `job` label that the shipped scrape configuration gives.
const JOB: &str = "jouleprint";

/// Writes so many ticks of every host. The samples of a family stand apart, by their times: what a reader
/// needs that holds one block after the other, and less than the format asks for.
///
/// # Errors
/// It cannot be written.
pub fn write(fleet: &Fleet, ticks: u64, to: &mut dyn Write) -> io::Result<()> {
    let chosen: Vec<&'static Family> = families().filter(|family| FAMILIES.contains(&family.name)).collect();
    let mut text = Vec::new();
    declare(chosen.iter().copied(), &mut text);
    // Alerts look at it, and no scrape writes it here.
    text.extend_from_slice(b"# TYPE up gauge\n");
    to.write_all(&text)?;
    let names = fleet.names();
    for _ in 0..ticks {
        for (place, (host, cluster)) in names.iter().enumerate() {
            fleet.tick(place);
            let Some(snapshot) = fleet.snapshot(place) else { continue };
            let target = [("cluster", &**cluster), ("instance", &**host), ("job", JOB)];
            text.clear();
            let at = Nanos::new(snapshot.at.wall.get());
            render_at(chosen.iter().copied(), &snapshot, &target, at, &mut text);
            let seconds = at.get() / 1_000_000_000;
            writeln!(text, "up{{cluster=\"{cluster}\",instance=\"{host}\",job=\"{JOB}\"}} 1 {seconds}")?;
            to.write_all(&text)?;
        }
    }
    to.write_all(b"# EOF\n")?;
    to.flush()
}
