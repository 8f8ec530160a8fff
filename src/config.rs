//! Settings: a YAML file, then the environment, then flags, each overriding what came before. Every
//! value is checked where it stands, so that an error can name the line.

mod bmc;
pub mod flags;
mod gpus;
pub mod grid;
mod hardware;
pub mod jobs;
pub mod names;
mod otlp;
pub mod place;
mod value;

use crate::carbon::{self, Choice};
use crate::job::grouping::Grouping;
use crate::job::rule::RuleError;
use crate::model::grid::Basis;
use crate::model::quantity::{Intensity, MicroWatts, Nanos, Pue};
use crate::model::reading::IdlePolicy;
use crate::output::otlp::wishes::Wishes;
use crate::source::rapl::Probe;
use crate::source::{self, estimate};
use bmc::{IpmiSection, RedfishSection};
use flags::Flags;
use gpus::GpusSection;
use grid::{GridSection, Relay};
use hardware::{EstimateSection, InstanceType, Sensor};
use jobs::{Jobs, JobsSection};
use names::GroupsSection;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use value::{Parsed, Seconds, decimal};

/// No configuration is larger; a file that is, is another one.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// 44.01 g/mol is the molar mass of CO2.
pub const DEFAULT_PORT: u16 = 14401;

/// Readings closer together than this tell mostly of themselves; further apart than 15 s a 32-bit
/// counter in 15 µJ units may wrap twice at 700 W.
const TICKS: std::ops::RangeInclusive<u64> = 1..=15;

/// Everything that can be set, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `host` label, if it was set.
    pub host: Option<String>,
    /// The electricity.
    pub carbon: Choice,
    /// Who says where the machine is and what its electricity emits.
    pub grid: carbon::Wishes,
    /// What a relay serves.
    pub relay: Relay,
    /// The building, as the user says it.
    pub pue: Option<Pue>,
    /// The tick.
    pub interval: Nanos,
    /// How often somebody scrapes.
    pub scrape_interval_hint: Nanos,
    /// Who pays for idle.
    pub idle: IdlePolicy,
    /// Floors by `hw_id`.
    pub floors: BTreeMap<String, MicroWatts>,
    /// Which jobs are looked for.
    pub jobs: Jobs,
    /// By what they are grouped.
    pub grouping: Grouping,
    /// What the user knows of the hardware.
    pub hardware: source::Wishes,
    /// Where to listen.
    pub listen: Vec<String>,
    /// TLS and users.
    pub web_config: Option<PathBuf>,
    /// The metrics' path.
    pub telemetry_path: String,
    /// Scrapes at a time.
    pub max_requests: usize,
    /// /proc.
    pub procfs: PathBuf,
    /// /sys.
    pub sysfs: PathBuf,
    /// The control groups.
    pub cgroupfs: PathBuf,
    /// Whether mounted parts of the host may be writable.
    pub allow_writable: bool,
    /// The store's folder; `None` if none is wanted or there is no place for it.
    pub store: Option<PathBuf>,
    /// The folder for what must not outlive the boot.
    pub runtime: Option<PathBuf>,
    /// The socket for the jobs of this host; `None` if none is wanted or there is no place for it.
    pub job_socket: Option<PathBuf>,
    /// The push over OTLP, if there is one.
    pub otlp: Option<Wishes>,
}

/// What is wrong with the settings, in one line, with the way out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading {path}: {error} (name a readable file with --config.file)")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no configuration of ours.
    #[error("{path}: {message}")]
    Malformed {
        /// Which.
        path: String,
        /// Where and what.
        message: String,
    },
    /// A flag or variable has an impossible value.
    #[error("{name}: {message}")]
    Flag {
        /// Which.
        name: &'static str,
        /// What.
        message: String,
    },
    /// A setting of the push is impossible.
    #[error("{name}: {message}")]
    Otlp {
        /// Which.
        name: String,
        /// What; never the value, which may hold a secret.
        message: String,
    },
    /// A rule is wrong.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    host: HostSection,
    // Beside an intensity of one's own it is a name; else it must be a key of the table.
    zone: Option<Spanned<String>>,
    intensity_basis: Option<Basis>,
    intensity: Option<Parsed<Intensity>>,
    pue: Option<Parsed<Pue>>,
    tick: Option<Seconds>,
    scrape_interval_hint: Option<Seconds>,
    idle: IdleSection,
    jobs: JobsSection,
    groups: GroupsSection,
    hardware: HardwareSection,
    estimate: EstimateSection,
    ipmi: IpmiSection,
    redfish: Option<RedfishSection>,
    gpus: GpusSection,
    grid: GridSection,
    web: WebSection,
    path: PathSection,
    store: StoreSection,
    otlp: otlp::Section,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostSection {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IdleSection {
    policy: Option<IdlePolicy>,
    floor_watts: BTreeMap<String, Parsed<MicroWatts>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HardwareSection {
    instance_type: Option<InstanceType>,
    cpu_tdp_watts: Option<Parsed<MicroWatts>>,
    hwmon: Vec<Sensor>,
    batteries: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebSection {
    config_file: Option<PathBuf>,
    listen_addresses: Option<Vec<String>>,
    telemetry_path: Option<String>,
    max_requests: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PathSection {
    procfs: Option<PathBuf>,
    sysfs: Option<PathBuf>,
    cgroupfs: Option<PathBuf>,
    allow_writable: bool,
    job_socket: Option<PathBuf>,
    runtime: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreSection {
    path: Option<PathBuf>,
}

impl Settings {
    /// Reads the file that `flags` name, if any, and puts the flags on top.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(flags: &Flags) -> Result<Settings, ConfigError> {
        match &flags.config_file {
            Some(path) => Settings::parse(&read(path)?, &path.display().to_string(), flags),
            None => Settings::parse("", "", flags),
        }
    }

    /// From the text of the file at `path`, with the flags on top.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str, path: &str, flags: &Flags) -> Result<Settings, ConfigError> {
        let malformed = |message: String| ConfigError::Malformed { path: path.to_owned(), message };
        let file = parse(text).map_err(malformed)?;
        let flag_zone = flags.zone.clone().filter(|zone| !zone.is_empty());
        let place = file.zone.as_ref().map(|zone| (zone.referenced.line(), zone.referenced.column()));
        let place = place.filter(|_| flag_zone.is_none());
        let zone = flag_zone.or(file.zone.map(|zone| zone.value));
        let pue = match flags.pue.as_deref().filter(|pue| !pue.is_empty()) {
            Some(text) => {
                Some(decimal(text).map_err(|message| ConfigError::Flag { name: "--pue", message })?)
            }
            None => file.pue.map(|pue| pue.0),
        };
        let basis = file.intensity_basis;
        let carbon = match (file.intensity, zone) {
            (Some(Parsed(intensity)), zone) => Choice::Own { intensity, zone, basis },
            (None, Some(zone)) => Choice::Zone { zone, basis },
            (None, None) => Choice::Unknown,
        };
        if let Err(error) = carbon::resolve(&carbon, pue.unwrap_or(Pue::ONE)) {
            let message = error.to_string();
            return Err(match place {
                Some((line, column)) => malformed(format!("zone: {message} at line {line}, column {column}")),
                None => ConfigError::Flag { name: "--zone", message },
            });
        }
        let interval = file.tick.map_or(5, |tick| tick.0);
        if !TICKS.contains(&interval) {
            return Err(malformed(format!("tick: {interval}s is outside 1s to 15s")));
        }
        let jobs = file.jobs.resolve(flags.pod_uid.clone()).map_err(malformed)?;
        let (mut grid, relay) = file.grid.resolve(basis).map_err(malformed)?;
        grid.chain.basis = basis;
        let grouping = file.groups.resolve().map_err(malformed)?;
        let sysfs = flags.sysfs.clone().or(file.path.sysfs).unwrap_or_else(|| "/sys".into());
        grid.location.sysfs.clone_from(&sysfs);
        let listen = if flags.listen_addresses.is_empty() {
            file.web.listen_addresses.unwrap_or_else(|| vec![format!(":{DEFAULT_PORT}")])
        } else {
            flags.listen_addresses.clone()
        };
        let telemetry_path =
            flags.telemetry_path.clone().or(file.web.telemetry_path).unwrap_or_else(|| "/metrics".to_owned());
        if !telemetry_path.starts_with('/') || telemetry_path == "/" {
            return Err(ConfigError::Flag {
                name: "--web.telemetry-path",
                message: format!("{telemetry_path:?} must begin with / and be more than that"),
            });
        }
        let runtime = flags.runtime.clone().or(file.path.runtime).or_else(place::runtime);
        Ok(Settings {
            host: flags.host_name.clone().or(file.host.name).filter(|name| !name.is_empty()),
            carbon,
            grid,
            relay,
            pue,
            interval: flags.test_tick.map_or(Nanos::from_seconds(interval), |ms| Nanos::new(ms * 1_000_000)),
            scrape_interval_hint: Nanos::from_seconds(file.scrape_interval_hint.map_or(60, |hint| hint.0)),
            idle: file.idle.policy.unwrap_or(IdlePolicy::Separate),
            floors: file.idle.floor_watts.into_iter().map(|(id, power)| (id, power.0)).collect(),
            jobs,
            grouping,
            hardware: source::Wishes {
                estimate: estimate::Wishes {
                    instance_type: file.hardware.instance_type.map(|kind| kind.0),
                    tdp: file.hardware.cpu_tdp_watts.map(|tdp| tdp.0),
                    gpu: file.estimate.gpu(),
                },
                hwmon: file.hardware.hwmon.into_iter().map(|row| row.0).collect(),
                batteries: file.hardware.batteries,
                ipmi: file.ipmi.0,
                redfish: file.redfish.map(|section| section.0),
                nvml: file.gpus.nvml(flags.nvml_library.clone()),
                has_no_threads: false,
                probe: Probe::default(),
            },
            listen,
            web_config: flags.web_config.clone().or(file.web.config_file),
            telemetry_path,
            max_requests: flags.max_requests.or(file.web.max_requests).unwrap_or(40),
            procfs: flags.procfs.clone().or(file.path.procfs).unwrap_or_else(|| "/proc".into()),
            cgroupfs: flags
                .cgroupfs
                .clone()
                .or(file.path.cgroupfs)
                .unwrap_or_else(|| sysfs.join("fs/cgroup")),
            allow_writable: flags.allow_writable.unwrap_or(file.path.allow_writable),
            store: place::store(flags.store.clone().or(file.store.path)),
            otlp: otlp::wishes(file.otlp, &otlp::of_the_process, flags.otlp_endpoint.as_deref())?,
            job_socket: place::job_socket(
                flags.job_socket.clone().or(file.path.job_socket),
                runtime.as_deref(),
            ),
            runtime,
            sysfs,
        })
    }

    /// The `host` label: as set, else the node's name from the downward API, else the host's own.
    #[must_use]
    pub fn host_label(&self) -> String {
        self.host
            .clone()
            .or_else(|| std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty()))
            .or_else(|| sysinfo::System::host_name().ok())
            .unwrap_or_else(|| "localhost".to_owned())
    }

    /// The places of the host that were named, with the key that names each.
    pub fn host_places(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let kernels: [(&'static str, &Path); 3] =
            [("path.sysfs", &self.sysfs), ("path.procfs", &self.procfs), ("path.cgroupfs", &self.cgroupfs)];
        kernels.into_iter().chain(self.jobs.names.kubernetes.places())
    }

    /// How long an ended job stays on the page.
    #[must_use]
    pub fn retention(&self) -> Nanos {
        Nanos::new((self.scrape_interval_hint.get() * 3).max(Nanos::from_seconds(300).get()))
    }

    /// How long a new group is shown at 0: a scrape that missed the first page has the next.
    #[must_use]
    pub fn group_hold(&self) -> Nanos {
        Nanos::new(self.scrape_interval_hint.get() * 2) + self.interval
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { path: path.display().to_string(), error };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn parse(text: &str) -> Result<File, String> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    // One line: where and what. The reader has the file.
    serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
}

/// The sockets for a listen address: `:14401`, `127.0.0.1:14401`, `[::1]:14401`, `name:14401`.
///
/// # Errors
/// It is none of these.
pub fn socket_addresses(text: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    let wrong = |message: String| ConfigError::Flag { name: "--web.listen-address", message };
    if let Some(port) = text.strip_prefix(':') {
        let port: u16 = port.parse().map_err(|_| wrong(format!("{text:?}: {port:?} is no port")))?;
        // Both families by the one wildcard, where the machine has IPv6; else IPv4.
        return Ok(vec![
            SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
            SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port)),
        ]);
    }
    match text.to_socket_addrs() {
        Ok(addresses) => Ok(addresses.take(1).collect()),
        Err(error) => {
            Err(wrong(format!("{text:?}: {error} (write address:port, such as 127.0.0.1:{DEFAULT_PORT})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("jouleprint.yaml");
        std::fs::write(&path, text).expect("written");
        let flags = Flags { config_file: Some(path), ..Flags::default() };
        Settings::load(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_can_be_left_out() {
        let settings = load("").expect("an empty file is a configuration");
        assert_eq!(settings.interval, Nanos::from_seconds(5));
        assert_eq!(settings.retention(), Nanos::from_seconds(300));
        assert_eq!(settings.carbon, Choice::Unknown);
        assert_eq!(settings.listen, [":14401"]);
    }

    #[test]
    fn a_full_file_is_understood() {
        let settings = load(
            "host: {name: n1}\nzone: NO\npue: 1.25\ntick: 2s\nscrape_interval_hint: 3m\n\
             idle:\n  policy: reserved\n  floor_watts: {package-0: 12.5}\n\
             jobs:\n  kinds: [pod]\n  max: 10\n  rules:\n  - {name: batch, pattern: '^/b/(?P<id>.+)$'}\n\
             \x20 kubernetes: {logs: /host/log, kubelet: 'https://n1:10250', token: /t, ca: /c, labels: [app]}\n\
             \x20 slurm: {scontrol: off}\n\
             groups:\n  project: {from: [project, label.project], pattern: '[a-z0-9-]{1,40}'}\n\
             hardware: {instance_type: aws/c5.large, cpu_tdp_watts: 150}\n\
             estimate: {gpu: off, gpu_utilization: 0.45}\n\
             web: {listen_addresses: ['127.0.0.1:1'], telemetry_path: /m, max_requests: 0}\n\
             path: {sysfs: /host/sys}\n",
        )
        .expect("valid");
        assert_eq!(settings.carbon, Choice::Zone { zone: "NO".into(), basis: None });
        assert_eq!(settings.pue.map(Pue::as_ppm), Some(1_250_000));
        assert_eq!(settings.idle, IdlePolicy::Reserved);
        assert_eq!(settings.floors["package-0"].get(), 12_500_000);
        assert_eq!(settings.cgroupfs, Path::new("/host/sys/fs/cgroup"));
        assert_eq!(settings.retention(), Nanos::from_seconds(540));
        let gpu = settings.hardware.estimate.gpu;
        assert_eq!((gpu.is_on, gpu.utilization_ppm), (false, 450_000));
        assert_eq!(settings.jobs.rules.len(), 1);
        let names = settings.jobs.names(&settings.grouping);
        let kubelet = names.kubelet.expect("it is configured");
        assert_eq!((kubelet.url.as_str(), kubelet.labels.len()), ("https://n1:10250", 2));
        assert_eq!((names.pod_logs.as_deref(), names.scontrol), (Some(Path::new("/host/log")), None));
        assert_eq!(names.containers, None, "only pods are looked for");
        assert_eq!(settings.grouping.kinds()[3].describe(), "project from project, label.project");
    }

    #[test]
    fn norway_is_no_boolean_and_numbers_are_no_zones() {
        for (text, part) in
            [("zone: NO", None), ("zone: 010", Some("\"010\"")), ("zone: 1e3", Some("\"1e3\""))]
        {
            let loaded = load(text);
            match part {
                None => assert!(loaded.is_ok(), "{text}: {loaded:?}"),
                Some(part) => {
                    assert!(loaded.clone().is_err_and(|error| error.contains(part)), "{text}: {loaded:?}")
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_way_out() {
        for (text, parts) in [
            ("zoen: FR", vec!["zoen", "line 1"]),
            ("pue: 0.9", vec!["\"0.9\" is too small", "between 1 and 10", "line 1"]),
            ("\npue: -1", vec!["\"-1\" is not a plain decimal", "line 2"]),
            ("pue: [1]", vec!["line 1"]),
            ("zone: Germny", vec!["no grid zone \"Germny\"", "did you mean DE (Germany)?", "line 1"]),
            ("zone: US-CAMX\nintensity_basis: lifecycle", vec!["only direct"]),
            ("intensity: 473010", vec!["too large", "grams per kWh"]),
            ("intensity: .nan", vec!["not a plain decimal"]),
            ("tick: 60s", vec!["tick: 60s is outside 1s to 15s"]),
            ("tick: soon", vec!["\"soon\" is no duration"]),
            ("idle: {policy: none}", vec!["line 1"]),
            ("idle: {floor_watts: {package-0: -3}}", vec!["not a plain decimal", "line 1"]),
            ("jobs: {rules: [{name: x, pattern: '('}]}", vec!["rule \"x\""]),
            ("jobs: {rules: [{name: x, pattern: 'a'}]}", vec!["no group named `id`"]),
            ("jobs: {kinds: [pods]}", vec!["pods", "line 1"]),
            ("jobs: {kinds: [process, pod]}", vec!["jobs.kinds: process stands alone"]),
            (
                "jobs: {kinds: [process], rules: [{name: x, pattern: '(?P<id>a)'}]}",
                vec!["jobs.kinds: process stands alone"],
            ),
            ("jobs: {sidecar: yes}", vec!["line 1"]),
            ("jobs: {pod_uid: web-0}", vec!["jobs.pod_uid: \"web-0\" is no UID", "metadata.uid"]),
            ("jobs: {kinds: [process], sidecar: host-cgroups}", vec!["process looks at no pod"]),
            ("jobs: {processes: {top: 0}}", vec!["jobs.processes.top: 0 is outside 1 to 1000"]),
            ("jobs: {slurm: {cluster: 'a.b'}}", vec!["jobs.slurm: \"a.b\" is no name of a cluster"]),
            ("jobs: {slurm: {nodes: {n1: ''}}}", vec!["jobs.slurm: \"\" is no name of a cluster"]),
            ("jobs: {kubernetes: {log: /x}}", vec!["log", "line 1"]),
            ("jobs: {kubernetes: {logs: pods}}", vec!["\"pods\" is no place", "line 1"]),
            (
                "\njobs: {kubernetes: {kubelet: 'http://n1:10255'}}",
                vec!["is no kubelet", "https://", "line 2"],
            ),
            ("jobs: {slurm: {scontrol: scontrol}}", vec!["is no place", "line 1"]),
            ("jobs: {slurm: {environment: on}}", vec!["line 1"]),
            (
                "groups: {team: {from: [team]}}",
                vec!["\"team\" is nothing that is known", "label.KEY", "line 1"],
            ),
            ("groups: {team: {form: [project]}}", vec!["form", "line 1"]),
            ("groups: {team: {from: [project], pattern: '('}}", vec!["groups: team: "]),
            ("groups: {user: {from: [project]}}", vec!["groups: user is always a kind"]),
            ("groups: {Team: {from: [project]}}", vec!["groups: \"Team\" is no name of a kind"]),
            ("hardware: {instance_type: c5.large}", vec!["no known instance type", "aws/c5.large"]),
            (
                "estimate: {gpu_utilization: 30}",
                vec!["\"30\" is too large", "a share between 0 and 1", "line 1"],
            ),
            ("estimate: {gpu: nvidia}", vec!["line 1"]),
            ("web: {telemetry_path: metrics}", vec!["--web.telemetry-path", "must begin with /"]),
            ("zone: FR\nzone: DE", vec!["line 2"]),
            ("a: b: c", vec!["line 1"]),
        ] {
            let error = load(text).expect_err(text);
            for part in parts {
                assert!(error.contains(part), "{text:?} gives {error:?}, which lacks {part:?}");
            }
        }
    }

    #[test]
    fn flags_override_the_file_and_are_checked_alike() {
        let flags = |zone: &str, pue: &str| {
            let flags = Flags { zone: Some(zone.into()), pue: Some(pue.into()), ..Flags::default() };
            Settings::load(&flags).map_err(|error| error.to_string())
        };
        assert_eq!(flags("fr", "1.1").expect("valid").pue.map(Pue::as_ppm), Some(1_100_000));
        assert!(flags("Frnce", "1").expect_err("no zone").starts_with("--zone: "));
        assert!(flags("FR", "0").expect_err("no ratio").starts_with("--pue: "));
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(socket_addresses(":9").expect("valid").len(), 2);
        assert_eq!(socket_addresses("127.0.0.1:9").expect("valid").len(), 1);
        for wrong in ["", "14401", ":x", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(socket_addresses(wrong).is_err(), "{wrong:?}");
        }
    }
}
