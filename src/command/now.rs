//! What the exporter of this host says of its jobs at one moment, for people who watch it: `jobs` and `top`.

use super::local::{AskError, Local};
use crate::model::description::Attribute;
use hyper::Method;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The exporter answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest and the longest tick there is.
const TICKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// What the exporter says, as far as it is shown.
#[derive(Debug, Clone, Deserialize)]
pub struct Now {
    /// The host label.
    pub host: String,
    /// When everything was read, RFC 3339.
    pub at: String,
    /// How often that is done.
    pub tick_seconds: f64,
    /// The electricity.
    pub grid: Grid,
    /// What the host draws: the sum of all that follows.
    pub power_watts: f64,
    /// What is no job's.
    pub accounts: Vec<Account>,
    /// The jobs, those that have just ended among them.
    pub jobs: Vec<Job>,
}

/// The electricity and the building.
#[derive(Debug, Clone, Deserialize)]
pub struct Grid {
    /// Where the machine is.
    pub grid_zone: String,
    /// The intensity in force.
    pub grams_per_kilowatt_hour: f64,
    /// The building's overhead.
    pub pue: f64,
    /// Who says so.
    pub source: String,
    /// Of which year, if it is a yearly figure.
    #[serde(default)]
    pub year: String,
    /// How good it is.
    #[serde(default)]
    pub quality: String,
}

/// Energy that is charged to no job.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// `idle`, `system`, …
    pub account: String,
    /// What it draws.
    pub power_watts: f64,
    /// What it has drawn.
    pub energy: Vec<Energy>,
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its kind.
    pub job_kind: String,
    /// Its id among its kind.
    pub job_id: String,
    /// `live` or `ended`.
    pub state: String,
    /// Since when it is known, RFC 3339.
    pub first_seen: String,
    /// What it is called.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// What it calls itself.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it draws.
    pub power_watts: f64,
    /// CPU time that it has used.
    #[serde(default)]
    pub cpu_seconds: f64,
    /// Accelerators that it was given.
    #[serde(default)]
    pub gpus: Vec<Held>,
    /// What it has used.
    pub energy: Vec<Energy>,
    /// What it has emitted.
    #[serde(default)]
    pub emissions: Vec<Emissions>,
    /// How far it says it has come.
    pub progress: Option<Progress>,
    /// What it will come to.
    pub prediction: Option<Prediction>,
    /// What it says it was at.
    #[serde(default)]
    pub phases: Vec<Phase>,
}

/// An accelerator that a job was given.
#[derive(Debug, Clone, Deserialize)]
pub struct Held {
    /// Which.
    pub gpu: String,
    /// Which part of it, if not all.
    #[serde(default)]
    pub gpu_instance: String,
    /// How much of it, 0 to 1.
    pub allocated: f64,
}

/// Energy of one kind of hardware and origin.
#[derive(Debug, Clone, Deserialize)]
pub struct Energy {
    /// Of which kind of hardware.
    #[serde(default)]
    pub hw_type: String,
    /// Which accelerator, if it is one.
    #[serde(default)]
    pub gpu: String,
    /// `measured` or `estimated`.
    pub origin: String,
    /// How much.
    pub joules: f64,
}

/// Emissions of one of them.
#[derive(Debug, Clone, Deserialize)]
pub struct Emissions {
    /// How much.
    pub co2e_grams: f64,
}

/// How far a job says it has come.
#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    pub done: f64,
    /// Steps there are.
    pub total: f64,
    /// The part of them that is done.
    pub ratio: f64,
    /// When it said so, RFC 3339.
    pub at: String,
}

/// What the whole of a job will come to.
#[derive(Debug, Clone, Deserialize)]
pub struct Prediction {
    /// On how much of what has been done it rests.
    pub blocks: u64,
    /// All that it will have used.
    pub energy_joules: Quantiles,
    /// All that it will have taken.
    pub duration_seconds: Quantiles,
    /// All that it will have emitted.
    pub co2e_grams: Quantiles,
    /// When it is over by the median, RFC 3339.
    pub end: String,
    /// `forecast` or `in_force`.
    pub intensity: String,
}

/// A figure and how sure it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Quantiles {
    /// Only one time in ten it is less.
    #[serde(rename = "0.1")]
    pub low: f64,
    /// The median.
    #[serde(rename = "0.5")]
    pub median: f64,
    /// Only one time in ten it is more.
    #[serde(rename = "0.9")]
    pub high: f64,
}

/// What a job says it was at.
#[derive(Debug, Clone, Deserialize)]
pub struct Phase {
    /// Its name.
    pub phase: String,
    /// Whether it goes on.
    pub is_open: bool,
    /// How long it took.
    pub seconds: f64,
    /// What was used in it.
    pub energy_joules: f64,
    /// What was emitted in it.
    pub co2e_grams: f64,
}

/// Power that is shown beside the jobs, so that all lines add up to the host's.
#[derive(Debug, Clone, PartialEq)]
pub struct Rest {
    /// What people call it.
    pub name: String,
    /// What it draws.
    pub watts: f64,
    /// What it has drawn, if that is known of it.
    pub joules: Option<f64>,
}

impl Now {
    /// Asks.
    ///
    /// # Errors
    /// There is no answer, or not one that can be understood.
    pub fn ask(exporter: &Local) -> Result<Now, AskError> {
        let body = exporter.ask(&Method::GET, "/api/v1/jobs", Vec::new(), PATIENCE)?;
        serde_json::from_slice(&body).map_err(|error| AskError::Broken {
            path: "its socket".to_owned(),
            why: format!("this is no list of jobs ({error}; is it of another version?)"),
        })
    }

    /// When there is something new.
    #[must_use]
    pub fn tick(&self) -> Duration {
        Duration::try_from_secs_f64(self.tick_seconds).unwrap_or(TICKS[1]).clamp(TICKS[0], TICKS[1])
    }

    /// What so many watts emit.
    #[must_use]
    pub fn grams_per_hour(&self, watts: f64) -> f64 {
        watts / 1e3 * self.grid.grams_per_kilowatt_hour * self.grid.pue
    }

    /// The measured part of all energy that was counted; `None` before there is any.
    #[must_use]
    pub fn share_measured(&self) -> Option<f64> {
        let accounts = self.accounts.iter().flat_map(|account| &account.energy);
        let all = accounts.chain(self.jobs.iter().flat_map(|job| &job.energy));
        let (measured, sum) = all.fold((0.0, 0.0), |(measured, sum), energy| {
            let its = if energy.origin == "measured" { energy.joules } else { 0.0 };
            (measured + its, sum + energy.joules)
        });
        (sum > 0.0).then(|| measured / sum)
    }

    /// What draws power and is no live job: those that have just ended, then the accounts; idle and system
    /// always.
    #[must_use]
    pub fn rest(&self) -> Vec<Rest> {
        let ended = self.jobs.iter().filter(|job| !job.is_live() && job.power_watts > 0.0);
        let (count, watts) = ended.fold((0, 0.0), |(count, sum), job| (count + 1, sum + job.power_watts));
        let ended = Rest { name: format!("({count} just ended)"), watts, joules: None };
        let is_usual = |account: &&Account| {
            matches!(account.account.as_str(), "idle" | "system") || account.power_watts > 0.0
        };
        let accounts = self.accounts.iter().filter(is_usual).map(|account| Rest {
            name: format!("({})", printable(&account.account)),
            watts: account.power_watts,
            joules: Some(sum(&account.energy)),
        });
        (count > 0).then_some(ended).into_iter().chain(accounts).collect()
    }
}

impl Job {
    /// Whether it goes on.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == "live"
    }

    /// What is known of it under this name.
    #[must_use]
    pub fn get(&self, attribute: Attribute) -> Option<&str> {
        self.attributes.get(attribute.as_str()).map(String::as_str)
    }

    /// By what people know it.
    #[must_use]
    pub fn name(&self) -> String {
        let known = match (self.get(Attribute::Namespace), self.get(Attribute::Pod)) {
            (Some(namespace), Some(pod)) => Some(format!("{namespace}/{pod}")),
            _ => None,
        };
        let slurm = || self.get(Attribute::SlurmJobName).map(|name| format!("{name} ({})", self.job_id));
        let container = || self.get(Attribute::Container).map(str::to_owned);
        let run = || match (self.get(Attribute::Executable), self.get(Attribute::Project)) {
            (Some(program), Some(project)) => Some(format!("{program} ({project})")),
            (program, _) => program.map(str::to_owned),
        };
        let known = known.or_else(slurm).or_else(container).or_else(run);
        printable(&known.unwrap_or_else(|| self.job_id.clone()))
    }

    /// All that it has used.
    #[must_use]
    pub fn joules(&self) -> f64 {
        sum(&self.energy)
    }

    /// All that it has emitted.
    #[must_use]
    pub fn grams(&self) -> f64 {
        self.emissions.iter().map(|emissions| emissions.co2e_grams).sum()
    }
}

/// All of it.
#[must_use]
pub fn sum(energy: &[Energy]) -> f64 {
    energy.iter().map(|energy| energy.joules).sum()
}

/// Nothing that a terminal takes for a command: no control character, none that turns the direction of what
/// follows, and no end of a line.
#[must_use]
pub fn printable(text: &str) -> String {
    let is_harmless = |char: char| {
        let turns = matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !(char.is_control() || turns || matches!(char, '\u{2028}' | '\u{2029}'))
    };
    text.chars().map(|char| if is_harmless(char) { char } else { '\u{fffd}' }).collect()
}

/// A time of the exporter's.
#[must_use]
pub fn moment(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_moves_the_cursor_or_turns_the_line() {
        for (name, expected) in [
            ("plain", "plain"),
            ("a\u{1b}[2Jb\r\n\t", "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}"),
            ("c\u{9b}1mz", "c\u{fffd}1mz"),
            ("evil\u{202e}txt", "evil\u{fffd}txt"),
            ("训练 🚀 שלום", "训练 🚀 שלום"),
        ] {
            assert_eq!(printable(name), expected);
        }
    }

    #[test]
    fn what_a_job_says_of_itself_may_be_there_or_not() {
        let job = |more: &str| -> Job {
            let text = format!(
                r#"{{"job_kind":"run","job_id":"7","state":"live","first_seen":"2026-11-22T08:00:00Z",
                "attributes":{{}},"labels":{{}},"power_watts":1.5,"cpu_seconds":2,"energy":[],"emissions":[]{more}}}"#
            );
            serde_json::from_str(&text).expect("a job")
        };
        let silent = job("");
        assert!(silent.progress.is_none() && silent.prediction.is_none() && silent.phases.is_empty());
        let quantiles = r#"{"0.1":1.0,"0.5":2.0,"0.9":3.0}"#;
        let said = job(&format!(
            r#","progress":{{"done":3,"total":100,"ratio":0.03,"at":"2026-11-22T21:00:00Z"}},
            "prediction":{{"blocks":12,"energy_joules":{quantiles},"duration_seconds":{quantiles},
            "co2e_grams":{quantiles},"end":"2026-11-22T23:00:00Z","intensity":"forecast"}},
            "phases":[{{"phase":"train","is_open":true,"seconds":12.5,"energy_joules":12.5,"co2e_grams":0.01}}]"#
        ));
        assert_eq!(said.progress.expect("it has come some way").ratio, 0.03);
        assert_eq!(said.prediction.expect("predicted").co2e_grams.high, 3.0);
        assert!(said.phases[0].is_open);
    }
}
