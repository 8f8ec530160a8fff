//! The command line: arguments, logging, exit code.

use anyhow::Error;
use clap::{Parser, Subcommand, ValueEnum};
use jouleprint::command::doctor::Health;
use jouleprint::command::{check, doctor, metrics, replay};
use jouleprint::config::Flags;
use jouleprint::daemon;
use jouleprint::output::prometheus::Format;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

/// Energy and emissions counters by host, GPU and job, for Prometheus and OpenTelemetry.
///
/// Without a command the exporter runs until it gets SIGTERM or SIGINT; SIGHUP makes it read its
/// configuration again.
#[derive(Debug, Parser)]
#[command(name = "jouleprint", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what was found on this machine, what was not, why, and what mends it
    ///
    /// Exit code 0: all is well; 1: something could be mended; 2: the exporter would not start.
    Doctor,
    /// Check the configuration and print what it amounts to
    Check,
    /// Print the reference of all series, in Markdown
    Metrics,
    /// Run a recording of ticks through the accounting and print the page it gives
    Replay {
        /// The recording: a header line, then one tick a line, as JSON
        file: PathBuf,
        /// The page's format
        #[arg(long, value_enum, default_value = "openmetrics")]
        format: FormatName,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatName {
    Openmetrics,
    Text,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(message) = start_log(&arguments.flags) {
        eprintln!("jouleprint: {message}");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jouleprint: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    match &arguments.command {
        None => daemon::run(&arguments.flags)?,
        Some(Command::Doctor) => {
            return Ok(match doctor::run(&arguments.flags)? {
                Health::Sound => ExitCode::SUCCESS,
                Health::Mendable => ExitCode::from(1),
            });
        }
        Some(Command::Check) => check::run(&arguments.flags)?,
        Some(Command::Metrics) => metrics::run(),
        Some(Command::Replay { file, format }) => {
            let format = match format {
                FormatName::Openmetrics => Format::OpenMetrics,
                FormatName::Text => Format::Text,
            };
            replay::run(file, format)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start_log(flags: &Flags) -> Result<(), String> {
    let level = flags.log_level.as_deref().filter(|level| !level.is_empty()).unwrap_or("info");
    let level: LevelFilter = level
        .parse()
        .map_err(|_| format!("--log.level: {level:?} is none of error, warn, info, debug, trace, off"))?;
    // The log goes to standard error, so that commands can be piped.
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    match flags.log_format.as_deref().filter(|format| !format.is_empty()).unwrap_or("logfmt") {
        "logfmt" => log.with_ansi(false).init(),
        "json" => log.json().init(),
        other => return Err(format!("--log.format: {other:?} is neither logfmt nor json")),
    }
    Ok(())
}
