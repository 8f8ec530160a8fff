//! What `run` is told on the command line, and what the command and its records are told of it.

use super::limit::Limit;
use super::output::Pattern;
use crate::model::description::{Attribute, Description};
use crate::model::quantity::parse_decimal;
use clap::{ArgGroup, Args};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Of a command line so many bytes are kept: enough to know it again.
const MAX_COMMAND_BYTES: usize = 4_096;

/// Of `jouleprint run`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
#[command(group = ArgGroup::new("limit").args(["max_co2e", "max_energy"]).multiple(true))]
pub struct RunArguments {
    /// Write the result to this file as one JSON object; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Append the result to this file as a row of CSV; - is standard output
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// What it belongs to: `jouleprint report --by project` sums it up
    #[arg(long, value_name = "NAME", env = "JOULEPRINT_PROJECT")]
    pub project: Option<OsString>,
    /// Which attempt it is
    #[arg(long, value_name = "NAME", env = "JOULEPRINT_EXPERIMENT")]
    pub experiment: Option<OsString>,
    /// A label of your own, may be given up to 16 times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<OsString>,
    /// Leave the command line out of the result
    #[arg(long)]
    pub no_command: bool,
    /// No comparison with everyday things
    #[arg(long)]
    pub no_equivalents: bool,
    /// No summary; a result that cannot be written is still told
    #[arg(long, short)]
    pub quiet: bool,
    /// A live line on the terminal, also where the command writes to one
    #[arg(long, conflicts_with = "quiet")]
    pub live: bool,
    /// Where your runs are kept, `none` to keep nothing [default: ~/.local/state/jouleprint/runs]
    #[arg(long = "runs.path", value_name = "DIR", env = "JOULEPRINT_RUNS_PATH")]
    pub runs: Option<PathBuf>,
    /// Find the command's progress in what it prints: a regular expression with two groups, as
    /// 'epoch ([0-9]+)/([0-9]+)', or one called percent
    #[arg(long, value_name = "REGEX", value_parser = Pattern::parse)]
    pub progress_pattern: Option<Pattern>,
    /// Warn when it will emit more, as 500g: by its predicted emissions, or 80 % of it used
    #[arg(long, value_name = "MASS", value_parser = Limit::parse_emissions)]
    pub max_co2e: Option<Limit>,
    /// Warn when it will use more, as 2kWh
    #[arg(long, value_name = "ENERGY", value_parser = Limit::parse_energy)]
    pub max_energy: Option<Limit>,
    /// End the command (SIGTERM) when a limit is reached or surely will be; the exit code is then 124
    #[arg(long, requires = "limit")]
    pub stop: bool,
    /// When so much is done, hold the command and ask on the terminal whether it is to go on
    #[arg(long, value_name = "SHARE", value_parser = parse_percent)]
    pub confirm_after: Option<u32>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// A label that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("--label {0:?}: write KEY=VALUE")]
pub struct LabelError(String);

impl RunArguments {
    /// How much it may use.
    pub fn limits(&self) -> impl Iterator<Item = Limit> {
        self.max_co2e.into_iter().chain(self.max_energy)
    }

    /// What is known of the job, in the bounds that all descriptions have. What is no UTF-8 is made so.
    ///
    /// # Errors
    /// A label has no key.
    pub fn description(&self, user: u32, user_name: &str) -> Result<Description, LabelError> {
        let mut description = Description::default();
        let texts = [(Attribute::Project, &self.project), (Attribute::Experiment, &self.experiment)];
        for (attribute, text) in texts {
            description.set(attribute, &lossy(text.as_deref().unwrap_or_default()));
        }
        let program = self.command.first().map(|program| Path::new(program).file_name().unwrap_or(program));
        description.set(Attribute::Executable, &lossy(program.unwrap_or_default()));
        description.set(Attribute::UserId, &user.to_string());
        description.set(Attribute::UserName, user_name);
        for label in &self.labels {
            let text = lossy(label);
            match text.split_once('=') {
                Some((key, value)) if !key.is_empty() => description.label(key, value),
                Some(_) | None => return Err(LabelError(text.chars().take(80).collect())),
            }
        }
        Ok(description)
    }

    /// The command line as it is shown, cut where it is long.
    #[must_use]
    pub fn shown_command(&self) -> Option<Vec<String>> {
        if self.no_command {
            return None;
        }
        let mut left = MAX_COMMAND_BYTES;
        let mut words = Vec::new();
        for word in &self.command {
            let mut word = lossy(word);
            if word.len() > left {
                let end = (0..=left).rev().find(|end| word.is_char_boundary(*end)).unwrap_or(0);
                word.truncate(end);
                words.push(format!("{word}…"));
                return Some(words);
            }
            // An argument without a letter counts too.
            left = left.saturating_sub(word.len() + 1);
            words.push(word);
        }
        Some(words)
    }
}

/// A share as `2%`, in ppm.
fn parse_percent(text: &str) -> Result<u32, String> {
    let percent = text.trim().strip_suffix('%').and_then(|number| parse_decimal(number.trim_end(), 4).ok());
    let ppm = percent.and_then(|ppm| u32::try_from(ppm).ok());
    ppm.filter(|ppm| (1..1_000_000).contains(ppm)).ok_or_else(|| "write a share as 2%".to_owned())
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// What the command finds in its environment beside what was there.
#[must_use]
pub fn environment(
    id: &str,
    description: &Description,
    socket: Option<&Path>,
) -> Vec<(&'static str, OsString)> {
    let labels: BTreeMap<&str, &str> =
        description.labels().iter().map(|(key, value)| (&**key, &**value)).collect();
    // Texts to texts: JSON has room for every one of them.
    let labels = serde_json::to_string(&labels).unwrap_or_default();
    let mut variables = vec![("JOULEPRINT_RUN_ID", id.into()), ("JOULEPRINT_LABELS", labels.into())];
    for (name, attribute) in
        [("JOULEPRINT_PROJECT", Attribute::Project), ("JOULEPRINT_EXPERIMENT", Attribute::Experiment)]
    {
        let value = description.get(attribute);
        if !value.is_empty() {
            variables.push((name, value.replace('\0', "").into()));
        }
    }
    if let Some(socket) = socket {
        variables.push(("JOULEPRINT_JOB_SOCKET", socket.into()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::ffi::OsStrExt;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }

    fn parse(words: &[&[u8]]) -> RunArguments {
        let words = words.iter().map(|word| OsStr::from_bytes(word).to_owned());
        Line::try_parse_from([OsString::from("run")].into_iter().chain(words)).expect("valid").run
    }

    #[test]
    fn everything_behind_the_command_is_its_own() {
        let run = parse(&[b"--quiet", b"ls", b"--json", b"-l", b"--", b"x"]);
        assert_eq!((run.command.len(), run.quiet, run.json), (5, true, None));
        let run = parse(&[b"--", b"--odd-name", b"--quiet"]);
        assert_eq!((run.command.len(), run.quiet), (2, false));
    }

    #[test]
    fn who_wants_to_stop_says_at_what() {
        let is_taken = |words: &[&str]| Line::try_parse_from([&["run"], words, &["x"]].concat()).is_ok();
        assert!(!is_taken(&["--stop"]));
        assert!(!is_taken(&["--stop", "--confirm-after", "2%"]));
        assert!(is_taken(&["--stop", "--max-energy", "1J"]) && is_taken(&["--max-co2e", "1g", "--stop"]));
        assert!(is_taken(&["--stop", "--max-co2e", "1g", "--max-energy", "1J"]));
    }

    #[test]
    fn labels_are_bounded_and_made_text() {
        let long = [b"k=".to_vec(), b"v".repeat(10_000)].concat();
        let run = parse(&[
            b"--label",
            b"quote=\"a\n",
            b"--label",
            b"raw=\xff\xfe",
            b"--label",
            &long,
            b"--label",
            b"e=a=b",
            b"--project",
            b"p\xff",
            b"/usr/bin/x",
        ]);
        let known = run.description(7, "anna").expect("labels");
        let label = |key: &str| known.labels().get(key).map(|value| value.to_string());
        assert_eq!(label("quote").as_deref(), Some("\"a\n"));
        assert_eq!(label("raw").as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(label("k").map(|value| value.len()), Some(200));
        assert_eq!(label("e").as_deref(), Some("a=b"));
        assert_eq!((known.get(Attribute::Project), known.get(Attribute::Executable)), ("p\u{fffd}", "x"));
        let environment = environment("id", &known, Some(Path::new("/run/x.sock")));
        assert!(environment.contains(&("JOULEPRINT_PROJECT", "p\u{fffd}".into())), "{environment:?}");
        for wrong in [&b"novalue"[..], b"=x"] {
            let run = parse(&[b"--label", wrong, b"x"]);
            assert!(run.description(7, "").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_long_command_line_is_cut() {
        let long = b"\xc3\xa4".repeat(5_000);
        let shown = parse(&[b"x", b"y", &long, b"z"]).shown_command().expect("shown");
        assert_eq!(shown.len(), 3);
        assert!(shown[2].len() <= MAX_COMMAND_BYTES + 3 && shown[2].ends_with("ä…"), "{}", shown[2].len());
        assert_eq!(parse(&[b"--no-command", b"x"]).shown_command(), None);
    }
}
