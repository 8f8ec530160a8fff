//! `jouleprint rules`: the recording rules and alerts of a fleet, as they stand in `deploy/prometheus`, and those
//! that a file of budgets makes. Nothing is asked and nothing is read but that file.

pub mod budget;
mod promql;
pub mod write;

use budget::Budget;
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The shipped files.
const SHIPPED: [&str; 2] = [
    include_str!("../../deploy/prometheus/recording.yaml"),
    include_str!("../../deploy/prometheus/alerts.yaml"),
];

/// A file of a thousand budgets has a tenth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Budgets of one PrometheusRule: about 190 kB in all. `kubectl apply` takes 256 kB, and the operator twice that.
const MOST_IN_A_RESOURCE: usize = 25;

/// Of `jouleprint rules`.
#[derive(Debug, Args)]
pub struct RulesArguments {
    /// Make rules of the emission budgets in this file too (docs/budgets.md)
    #[arg(long, value_name = "FILE")]
    pub budgets: Option<PathBuf>,
    /// A rule file for Prometheus, or a PrometheusRule for its operator
    #[arg(long, value_enum, default_value = "prometheus")]
    pub format: RulesFormat,
    /// Print the rules of the budgets alone, where the shipped ones are loaded already, as by the chart
    #[arg(long, requires = "budgets")]
    pub only_budgets: bool,
    /// Print no rules: say whether the file of budgets is valid
    #[arg(long, requires = "budgets")]
    pub check: bool,
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RulesFormat {
    /// `rule_files` of Prometheus, Thanos, Mimir and vmalert.
    Prometheus,
    /// `monitoring.coreos.com/v1`.
    Kubernetes,
}

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("reading {path}: {error} (name a readable file with --budgets)")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is no file of budgets.
    #[error("{path}: {message}")]
    Malformed {
        /// Which.
        path: String,
        /// Where and what.
        message: String,
    },
}

/// Prints them.
///
/// # Errors
/// The file of budgets cannot be read, or says what cannot be.
pub fn run(arguments: &RulesArguments) -> Result<(), RulesError> {
    let budgets = arguments.budgets.as_deref().map(load).transpose()?.unwrap_or_default();
    match &arguments.budgets {
        Some(path) if arguments.check => println!("{} is valid: {} budgets", path.display(), budgets.len()),
        _ => print!("{}", text(&budgets, arguments.format, arguments.only_budgets)),
    }
    Ok(())
}

fn load(path: &Path) -> Result<Vec<Budget>, RulesError> {
    let unreadable = |error| RulesError::Unreadable { path: path.display().to_string(), error };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE_BYTES {
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    budget::parse(&text)
        .map_err(|message| RulesError::Malformed { path: path.display().to_string(), message })
}

/// The rules as a file.
#[must_use]
pub fn text(budgets: &[Budget], format: RulesFormat, only_budgets: bool) -> String {
    // The comment before the groups, and the groups; a file of ours has both.
    let parts = |file: &str| {
        let (comment, rest) = file.split_once("groups:\n").unwrap_or(("", file));
        (comment.to_owned(), rest.to_owned())
    };
    let shipped = SHIPPED.into_iter().filter(|_| !only_budgets).map(parts);
    match format {
        RulesFormat::Prometheus => {
            let of_budgets = (!budgets.is_empty()).then(|| parts(&write::file(budgets)));
            let (heads, groups): (Vec<String>, Vec<String>) = shipped.chain(of_budgets).unzip();
            format!("{}groups:\n{}", heads.join("\n"), groups.join("\n"))
        }
        RulesFormat::Kubernetes => {
            let (heads, groups): (Vec<String>, Vec<String>) = shipped.unzip();
            let mut resources = Vec::new();
            if !groups.is_empty() {
                resources.push(resource("jouleprint", &heads.join("\n"), &groups.join("\n")));
            }
            let count = budgets.len().div_ceil(MOST_IN_A_RESOURCE);
            for (at, some) in budgets.chunks(MOST_IN_A_RESOURCE).enumerate() {
                let name = match at {
                    0 => "jouleprint-budgets".to_owned(),
                    _ => format!("jouleprint-budgets-{}", at + 1),
                };
                let groups = write::groups(some, at + 1 == count);
                resources.push(resource(&name, &write::head(some), &groups));
            }
            resources.join("---\n")
        }
    }
}

fn resource(name: &str, head: &str, groups: &str) -> String {
    let mut text = format!(
        "{head}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: {name}\n  \
         labels: {{app.kubernetes.io/name: jouleprint}}\nspec:\n  groups:\n"
    );
    for line in groups.lines() {
        let indent = if line.is_empty() { "" } else { "  " };
        let _ = writeln!(text, "{indent}{line}");
    }
    text
}
