//! `jouleprint simulate`: a made-up fleet, for load tests and demonstrations. Readings are made up; what
//! becomes of them (accounting, series, pages) is the real thing, so that every identity of a page holds.

pub mod backfill;
pub mod day;
pub mod fleet;
pub mod hardware;
pub mod host;
pub mod jobs;
pub mod scenario;
pub mod serve;

use crate::clock;
use crate::config::flags::Flags;
use crate::model::quantity::Nanos;
use clap::Args;
use fleet::Fleet;
use scenario::{Scenario, ZoneError};
use serve::ServeError;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// What is simulated.
#[derive(Debug, Clone, Args)]
pub struct SimulateArguments {
    /// Hosts
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub hosts: u32,
    /// Jobs on each host at a time
    #[arg(long, value_name = "M", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub jobs: u32,
    /// Accelerators of every fourth host of a cluster; the last of several is divided
    #[arg(long, value_name = "G", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16))]
    pub gpus: u32,
    /// Grid zones; of three or more the last has its yearly figure only
    #[arg(long, value_name = "ZONE", value_delimiter = ',', default_value = "FR,DE,SE,PL")]
    pub zones: Vec<String>,
    /// Clusters; every second one runs Slurm, the others Kubernetes
    #[arg(long, value_name = "C", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub clusters: u32,
    /// Teams
    #[arg(long, value_name = "T", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub teams: u32,
    /// The same seed makes the same fleet
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Seconds between two ticks of a host
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub tick: u64,
    /// How often the pages are read, in seconds: a new group is shown at 0 until it was read so
    #[arg(long = "scrape-interval-hint", value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub hint: u64,
    /// The hosts' clocks run so many times as fast as ours: a scrape finds so many times the watts
    #[arg(long, value_name = "X", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub speed: u32,
    /// At first nothing draws anything for so many seconds: everything is read once at 0
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub starts_after: u64,
    /// So many seconds after the start everything comes to rest: what is read then is all there will be
    #[arg(long, value_name = "SECONDS")]
    pub stops_after: Option<u64>,
    /// Write the list of targets for file_sd_configs
    #[arg(long, value_name = "FILE")]
    pub sd_file: Option<PathBuf>,
    /// Serve nothing: write the last days (30d) or hours (36h) as OpenMetrics with times, a sample each tick
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub backfill: Option<Nanos>,
    /// Where to, unless to standard output
    #[arg(long, value_name = "FILE", requires = "backfill")]
    pub output: Option<PathBuf>,
}

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// There is no such zone.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// A tick covers more than a plan.
    #[error("--tick × --speed: {0} s are more than a day (choose a smaller one)")]
    Step(u64),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// It cannot be written.
    #[error("writing {path}: {error}")]
    Write {
        /// Where to.
        path: String,
        /// Why not.
        error: io::Error,
    },
}

/// Serves a fleet until it is told to stop, or writes its past.
///
/// # Errors
/// What is asked for cannot be, or it could not start.
pub fn run(flags: &Flags, asked: &SimulateArguments) -> Result<(), SimulateError> {
    let scenario = asked.scenario()?;
    let now = clock::now().wall;
    match asked.backfill {
        None => Ok(serve::run(flags, Fleet::new(scenario, now), asked.sd_file.as_deref())?),
        Some(past) => write(asked, scenario, past, now),
    }
}

fn write(
    asked: &SimulateArguments,
    scenario: Scenario,
    past: Nanos,
    now: Nanos,
) -> Result<(), SimulateError> {
    let ticks = past.get() / scenario.step().get().max(1);
    let fleet = Fleet::new(scenario, now.saturating_sub(past));
    let path =
        asked.output.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
    let failed = |error| SimulateError::Write { path: path.clone(), error };
    let mut to: Box<dyn Write> = match &asked.output {
        Some(file) => Box::new(BufWriter::new(File::create(file).map_err(failed)?)),
        None => Box::new(BufWriter::new(io::stdout().lock())),
    };
    backfill::write(&fleet, ticks, &mut to).map_err(failed)
}

impl SimulateArguments {
    /// What that amounts to.
    ///
    /// # Errors
    /// A zone does not exist, or a tick is too long.
    pub fn scenario(&self) -> Result<Scenario, SimulateError> {
        let scenario = Scenario {
            hosts: self.hosts,
            jobs: self.jobs,
            gpus: self.gpus,
            zones: scenario::zones(&self.zones)?,
            clusters: self.clusters,
            teams: self.teams,
            seed: self.seed,
            interval: Nanos::from_seconds(self.tick),
            hint: Nanos::from_seconds(self.hint),
            speed: self.speed,
            starts_after: Nanos::from_seconds(self.starts_after),
            stops_after: self.stops_after.map(Nanos::from_seconds),
        };
        if host::is_covered(scenario.step()) {
            Ok(scenario)
        } else {
            Err(SimulateError::Step(scenario.step().get() / 1_000_000_000))
        }
    }
}

/// A year at the most: a longer one is a mistake.
const LONGEST_HOURS: u64 = 366 * 24;

/// Days or hours.
fn span(text: &str) -> Result<Nanos, String> {
    let hours = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => days.parse::<u64>().ok().and_then(|days| days.checked_mul(24)),
        (_, Some(hours)) => hours.parse().ok(),
        (None, None) => None,
    };
    match hours.filter(|hours| (1..=LONGEST_HOURS).contains(hours)) {
        Some(hours) => Ok(Nanos::from_seconds(hours * 3_600)),
        None => Err("write days (30d) or hours (36h), a year at the most".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        asked: SimulateArguments,
    }

    fn asked(words: &[&str]) -> Result<SimulateArguments, String> {
        let line = Line::try_parse_from(["simulate"].iter().chain(words));
        line.map(|line| line.asked).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_simulated_is_refused_with_its_name() {
        for (words, expected) in [
            (&["--zones", "FR,DX"][..], "DX"),
            (&["--tick", "3600", "--speed", "24"], "86400 s"),
            (&["--hosts", "0"], "--hosts"),
            (&["--backfill", "30"], "30d"),
            (&["--backfill", "400d"], "a year"),
            (&["--output", "x"], "--backfill"),
        ] {
            let outcome = asked(words).and_then(|asked| asked.scenario().map_err(|error| error.to_string()));
            let said = outcome.err().unwrap_or_default();
            assert!(said.contains(expected), "{words:?}: {said}");
        }
        let past = asked(&["--backfill", "2d"]).expect("a good line").backfill;
        assert_eq!(past, Some(Nanos::from_seconds(48 * 3_600)));
    }

    #[test]
    fn hosts_are_spread_over_clusters_and_those_over_zones() {
        for (clusters, expected) in [("2", 4), ("4", 4), ("8", 4), ("1", 4)] {
            let scenario = asked(&["--clusters", clusters]).expect("a good line").scenario().expect("sound");
            let places: std::collections::BTreeSet<_> = (0..64).map(|host| scenario.place(host)).collect();
            let zones: std::collections::BTreeSet<_> = places.iter().map(|(_, zone)| zone).collect();
            assert_eq!(zones.len(), expected, "{clusters} clusters: {places:?}");
            let names: std::collections::BTreeSet<_> = (0..64).map(|host| scenario.host(host)).collect();
            assert_eq!(names.len(), 64);
        }
    }
}
