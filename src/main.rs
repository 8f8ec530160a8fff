//! The command line: arguments, logging, exit code.

use anyhow::Error;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use jouleprint::command::doctor::{DoctorArguments, Health};
use jouleprint::command::job::JobArguments;
use jouleprint::command::record::RecordArguments;
use jouleprint::command::regions::RegionsArguments;
use jouleprint::command::report::Outcome;
use jouleprint::command::report::arguments::{JobsArguments, ReportArguments};
use jouleprint::command::rules::RulesArguments;
use jouleprint::command::run::arguments::RunArguments;
use jouleprint::command::run::child::follow;
use jouleprint::command::run::{Finish, OWN_FAILURE, STOPPED};
use jouleprint::command::simulate::SimulateArguments;
use jouleprint::command::top::Abilities;
use jouleprint::command::when::WhenArguments;
use jouleprint::command::{
    check, doctor, grid, job, jobs, metrics, record, regions, replay, report, rules, run, simulate, top, when,
};
use jouleprint::config::flags::Flags;
use jouleprint::config::{ConfigError, Settings, place};
use jouleprint::daemon::{self, StartError};
use jouleprint::output::prometheus::Format;
use std::io::Write;
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
    Doctor(DoctorArguments),
    /// Check the configuration and print what it amounts to
    Check,
    /// Ask the providers of carbon intensities once for a fleet, and serve its nodes
    ///
    /// Listens on :14402 unless told otherwise. Zones and providers are in the configuration: grid.relay.zones,
    /// grid.providers. Nodes name it as their provider: {name: jouleprint, url: http://relay:14402}.
    Grid,
    /// Print the reference of all series, in Markdown
    Metrics,
    /// Print recording rules and alerts for Prometheus, and those of emission budgets
    Rules(RulesArguments),
    /// Run a recording of ticks through the accounting and print the page it gives
    Replay {
        /// The recording: a header line, then one tick a line, as JSON
        file: PathBuf,
        /// The page's format
        #[arg(long, value_enum, default_value = "openmetrics")]
        format: FormatName,
    },
    /// Record the ticks of this machine, for replay, a bug report or a test
    ///
    /// Everything that the accounting is made from, a line each tick; neither store nor port is opened.
    Record(RecordArguments),
    /// Say what was used: by day, job, user, hardware, zone, host …
    ///
    /// Energy that was measured and energy that was estimated are columns of their own. Days are UTC days.
    /// Exit code 1: a part of the store is damaged, and missing here.
    Report(Box<ReportArguments>),
    /// Show what the jobs draw now, by power, or list those that were seen, with what they used
    ///
    /// Without an option the exporter of this host is asked, if one is running; otherwise, and with any option
    /// about records, they are read from the store.
    Jobs(Box<JobsArguments>),
    /// Say what the job around us is at and how far it has come, or show what it has used and will use
    ///
    /// The exporter of this host is told, or `jouleprint run` around us. Who is speaking the kernel says.
    Job(JobArguments),
    /// Watch the jobs of this host by power: g/h, energy, progress, details of each
    ///
    /// Keys: ? lists them. Without a terminal there is one listing. An exporter must be running.
    Top,
    /// Run a command, and say what it used
    ///
    /// Its exit code, streams, signals and terminal are as without us; the summary goes to standard error.
    /// Exit code 124: it was ended for what it used (--stop); 125: we failed, and it was not run; 126, 127: it
    /// cannot be started, there is no such command.
    Run(Box<RunArguments>),
    /// Compare what the same energy would emit in other regions of a cloud, or in other grid zones
    ///
    /// By the yearly figures of the tables, without a network. Figures on different bases are not compared.
    Regions(RegionsArguments),
    /// Say when something that takes some hours is best started, and what that saves
    ///
    /// Exit code 3: nobody knows the hours ahead.
    When(WhenArguments),
    /// Serve the pages of a made-up fleet, for load tests and demonstrations
    ///
    /// Listens on 127.0.0.1:14410 unless told otherwise: /hosts/NAME/metrics, /sd for Prometheus'
    /// http_sd_configs, /truth for what was drawn. The accounting and the pages are the real ones.
    Simulate(Box<SimulateArguments>),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatName {
    Openmetrics,
    Text,
}

/// Says what is wrong with the command line, or what was asked of it (help). Beside a command's own codes a
/// mistake of ours needs one that is told from them.
fn refuse(error: &clap::Error) -> ! {
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    let _ = error.print();
    std::process::exit(if is_run && error.use_stderr() { i32::from(OWN_FAILURE) } else { error.exit_code() })
}

/// Where standard error is full or closed, nobody is left to be told.
fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "jouleprint: {message}");
}

fn main() -> ExitCode {
    let matches = Arguments::command().try_get_matches().unwrap_or_else(|error| refuse(&error));
    let mut arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| refuse(&error));
    forget_environment(&mut arguments, &matches);
    let arguments = match with_own_store(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(2);
        }
    };
    // Beside somebody else's output, or an answer of our own, only what is wrong is worth a line.
    let (usual, own_failure) = match arguments.command {
        Some(Command::Run(_)) => ("error", OWN_FAILURE),
        Some(Command::Regions(_) | Command::Rules(_) | Command::Top | Command::When(_)) => ("error", 2),
        _ => ("info", 2),
    };
    if let Err(message) = start_log(&arguments.flags, usual) {
        complain(&message);
        return ExitCode::from(own_failure);
    }
    match start(&arguments) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            let is_in_use = matches!(error.downcast_ref(), Some(StartError::StoreInUse(_)));
            ExitCode::from(if is_in_use { 1 } else { 2 })
        }
    }
}

fn start(arguments: &Arguments) -> Result<ExitCode, Error> {
    match &arguments.command {
        None => daemon::run(&arguments.flags)?,
        Some(Command::Doctor(asked)) => {
            return Ok(match doctor::run(&arguments.flags, asked)? {
                Health::Sound => ExitCode::SUCCESS,
                Health::Mendable => ExitCode::from(1),
            });
        }
        Some(Command::Check) => check::run(&arguments.flags)?,
        Some(Command::Grid) => grid::run(&arguments.flags)?,
        Some(Command::Metrics) => metrics::run(),
        Some(Command::Rules(arguments)) => rules::run(arguments)?,
        Some(Command::Replay { file, format }) => {
            let format = match format {
                FormatName::Openmetrics => Format::OpenMetrics,
                FormatName::Text => Format::Text,
            };
            replay::run(file, format)?;
        }
        Some(Command::Record(recording)) => record::run(&arguments.flags, recording)?,
        Some(Command::Report(arguments)) => return Ok(ExitCode::from(code(report::run(arguments)?))),
        Some(Command::Job(arguments_of_job)) => {
            let sockets = place::job_sockets(arguments.flags.job_socket.clone());
            return Ok(ExitCode::from(job::run(arguments_of_job, sockets).unwrap_or_else(|error| {
                complain(&error.to_string());
                1
            })));
        }
        Some(Command::Jobs(jobs)) => {
            let sockets = place::job_sockets(arguments.flags.job_socket.clone());
            return Ok(ExitCode::from(code(jobs::run(jobs, sockets)?)));
        }
        Some(Command::Top) => {
            let sockets = place::job_sockets(arguments.flags.job_socket.clone());
            let abilities = Abilities { is_screen: place::is_screen(), has_colours: place::has_colours() };
            top::run(sockets, abilities)?;
        }
        Some(Command::Regions(asked)) => regions::run(&arguments.flags, asked)?,
        Some(Command::When(asked)) => {
            if let Err(error) = when::run(&arguments.flags, asked) {
                complain(&error.to_string());
                return Ok(ExitCode::from(error.exit_code()));
            }
        }
        Some(Command::Simulate(asked)) => simulate::run(&arguments.flags, asked)?,
        Some(Command::Run(command)) => return Ok(ExitCode::from(measure(&arguments.flags, command))),
    }
    Ok(ExitCode::SUCCESS)
}

/// The command's own end is ours too, be it by a signal.
fn measure(flags: &Flags, command: &RunArguments) -> u8 {
    match run::run(flags, command) {
        Ok(Finish::Followed(end)) => follow(end),
        Ok(Finish::Stopped) => STOPPED,
        Err(error) => {
            complain(&error.to_string());
            error.exit_code()
        }
    }
}

/// To a report --zone is a filter, and --store a question; what the environment says of this machine's own is
/// neither.
fn forget_environment(arguments: &mut Arguments, matches: &ArgMatches) {
    let is_typed = |name: &str| {
        let is_typed =
            |(_, matches): (&str, &ArgMatches)| matches.value_source(name) == Some(ValueSource::CommandLine);
        matches.subcommand().is_some_and(is_typed)
    };
    // Inside `run` that is its socket, where its command speaks, and no exporter's.
    let asks = matches!(arguments.command, Some(Command::Jobs(_) | Command::Job(_) | Command::Top));
    let source = matches.subcommand().map_or(matches, |(_, matches)| matches).value_source("job_socket");
    let is_inherited = source == Some(ValueSource::EnvVariable);
    if place::is_inside_run() && is_inherited && !asks {
        arguments.flags.job_socket = None;
    }
    if !is_typed("zone") {
        match &mut arguments.command {
            Some(Command::Report(report)) => report.selection.zone = None,
            Some(Command::Jobs(jobs)) => jobs.selection.zone = None,
            _ => {}
        }
    }
    if let Some(Command::Jobs(jobs)) = &mut arguments.command {
        jobs.is_of_now = jobs.ask_for_now(is_typed("store"));
    }
}

/// A report is asked of this machine's own store, unless another or a server is named.
fn with_own_store(mut arguments: Arguments) -> Result<Arguments, ConfigError> {
    let (selection, is_of_runs) = match &mut arguments.command {
        Some(Command::Report(report)) => {
            let is_of_runs = report.is_of_runs();
            (&mut report.selection, is_of_runs)
        }
        Some(Command::Jobs(jobs)) => {
            let is_of_runs = jobs.selection.runs;
            (&mut jobs.selection, is_of_runs)
        }
        _ => return Ok(arguments),
    };
    if selection.store.is_none() && selection.prometheus.is_none() && is_of_runs {
        selection.choose_runs();
    } else if selection.store.is_none() && selection.prometheus.is_none() {
        let flags = Flags { zone: None, ..arguments.flags.clone() };
        selection.store = Settings::load(&flags)?.store;
    }
    Ok(arguments)
}

const fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Whole => 0,
        Outcome::Damaged => 1,
    }
}

fn start_log(flags: &Flags, usual: &str) -> Result<(), String> {
    let level = flags.log_level.as_deref().filter(|level| !level.is_empty()).unwrap_or(usual);
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
