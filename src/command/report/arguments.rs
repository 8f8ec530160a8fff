//! What `report` and `jobs` are told on the command line.

use super::order::Sort;
use super::question::Key;
use crate::config::place;
use crate::model::description::Attribute;
use crate::model::identity::{HwType, JobKind};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Of `jouleprint report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// What makes a row, several with commas: day, hour, host, zone, hardware, kind, user, group, job; of jobs
    /// also project, experiment, executable, namespace, pod, workload, container, image, account, partition,
    /// unit, label:KEY [default: an overview; as CSV or JSON: day]
    #[arg(long, value_name = "KEY", value_parser = Key::parse, value_delimiter = ',')]
    pub by: Vec<Key>,
    /// Order of the rows [default: days and hours as they came, else most energy first]
    #[arg(long, value_enum, value_name = "ORDER")]
    pub sort: Option<Sort>,
    /// Rows at the most; the others are summed up in one line
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// What is asked of whom.
    #[command(flatten)]
    pub selection: Selection,
}

/// Of `jouleprint jobs`.
#[derive(Debug, Args)]
pub struct JobsArguments {
    /// Again at every tick, until Ctrl-C; only of what the jobs draw now
    #[arg(long, conflicts_with_all = ["all", "live", "ended", "sort"])]
    pub watch: bool,
    /// Whether nothing was said of the records that are looked for.
    #[arg(skip)]
    pub is_of_now: bool,
    /// The records of live and ended jobs
    #[arg(long, conflicts_with_all = ["live", "ended"])]
    pub all: bool,
    /// The records of jobs that live
    #[arg(long, conflicts_with = "ended")]
    pub live: bool,
    /// The records of jobs that have ended
    #[arg(long)]
    pub ended: bool,
    /// Order of the jobs [default: the newest first]
    #[arg(long, value_enum, value_name = "ORDER")]
    pub sort: Option<Sort>,
    /// Jobs at the most [default: 50 in a table]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// What is asked of whom.
    #[command(flatten)]
    pub selection: Selection,
}

impl JobsArguments {
    /// Whether it is asked what the jobs draw now, if somebody is there to tell, rather than for records.
    /// `has_store`: a store was named for this question.
    #[must_use]
    pub fn ask_for_now(&self, has_store: bool) -> bool {
        let Selection { since, until, zone, user, group, job, kind, hardware, host, .. } = &self.selection;
        let texts = [since, until, zone, user, group, job, host];
        let is_filtered = texts.iter().any(|text| text.is_some()) || kind.is_some() || hardware.is_some();
        let is_elsewhere = has_store || self.selection.prometheus.is_some();
        let are_records = self.selection.runs || self.all || self.live || self.ended || self.sort.is_some();
        !(are_records || is_filtered || is_elsewhere) && self.selection.format == Format::Table
    }
}

/// Of both.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// From when: 2026-11-17, 2026-11-17T08:00:00Z, 7d, 24h, today, yesterday, all (UTC)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Until when, itself not included [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    // The exporter's flag of the same name says where the machine is. Here it takes its place; `main`
    // forgets what the environment says for the exporter.
    /// Only this grid zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Only this user, by name or number
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only groups of this kind, or only this one of them
    #[arg(long, value_name = "KIND[=NAME]")]
    pub group: Option<String>,
    /// Only jobs whose id has this part, or fits this pattern with *
    #[arg(long, value_name = "PATTERN")]
    pub job: Option<String>,
    /// Only jobs of this kind: pod, slurm, machine, container, unit, process, run or custom
    #[arg(long, value_name = "KIND", value_parser = job_kind)]
    pub kind: Option<JobKind>,
    /// Only this hardware: cpu, memory, gpu or other
    #[arg(long = "hw", value_name = "HARDWARE", value_parser = hardware)]
    pub hardware: Option<HwType>,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The total is not compared with everyday things
    #[arg(long)]
    pub no_equivalents: bool,
    /// table for people; csv and json in joules and grams, with every digit
    #[arg(long, value_enum, default_value = "table", hide_possible_values = true)]
    pub format: Format,
    /// The store to read [default: the exporter's]
    #[arg(long, value_name = "PATH", conflicts_with = "prometheus")]
    pub store: Option<PathBuf>,
    /// Read the store of your own runs (`jouleprint run`); the default by project and experiment
    #[arg(long, conflicts_with_all = ["store", "prometheus"])]
    pub runs: bool,
    /// Where that is [default: ~/.local/state/jouleprint/runs]
    #[arg(long = "runs.path", value_name = "DIR", env = "JOULEPRINT_RUNS_PATH")]
    pub runs_path: Option<PathBuf>,
    /// Ask a Prometheus that scrapes many hosts, instead of a store
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// User for it, with a password file
    #[arg(
        long = "prometheus.user",
        value_name = "USER",
        requires = "prometheus",
        requires = "prometheus_password_file"
    )]
    pub prometheus_user: Option<String>,
    /// File with that user's password
    #[arg(long = "prometheus.password-file", value_name = "FILE", requires = "prometheus_user")]
    pub prometheus_password_file: Option<PathBuf>,
    /// File with a bearer token for it
    #[arg(
        long = "prometheus.bearer-token-file",
        value_name = "FILE",
        requires = "prometheus",
        conflicts_with = "prometheus_user"
    )]
    pub prometheus_bearer_token_file: Option<PathBuf>,
}

impl ReportArguments {
    /// Whether the user's own runs are asked: by what only they are told, unless a store is named.
    #[must_use]
    pub fn is_of_runs(&self) -> bool {
        let own = [Key::Attribute(Attribute::Project), Key::Attribute(Attribute::Experiment)];
        self.selection.runs || self.by.iter().any(|key| own.contains(key))
    }
}

impl Selection {
    /// The user's own store of runs takes the place of the exporter's.
    pub fn choose_runs(&mut self) {
        self.store = place::runs(self.runs_path.clone());
    }
}

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An aligned table
    #[default]
    Table,
    /// Comma-separated values
    Csv,
    /// One JSON object
    Json,
}

/// A `job_kind` label.
pub(super) fn job_kind(text: &str) -> Result<JobKind, String> {
    JobKind::of_label(text).ok_or_else(|| {
        let all: Vec<&str> = JobKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("it is none of {}", all.join(", "))
    })
}

/// An `hw_type` label.
pub(super) fn hardware(text: &str) -> Result<HwType, String> {
    let kinds = [HwType::Cpu, HwType::Memory, HwType::Gpu, HwType::Other];
    let found = kinds.into_iter().find(|kind| kind.as_str() == text);
    found.ok_or_else(|| "it is none of cpu, memory, gpu, other".to_owned())
}
