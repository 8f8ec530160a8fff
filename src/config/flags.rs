//! The flags; each may also come from the environment.

use clap::Args;
use std::path::PathBuf;

/// What was given on the command line or in the environment.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Exporter")]
pub struct Flags {
    /// YAML file with settings
    #[arg(long = "config.file", value_name = "FILE", env = "JOULEPRINT_CONFIG_FILE", global = true)]
    pub config_file: Option<PathBuf>,
    /// The host label [default: NODE_NAME, else the host name]
    #[arg(long = "host.name", value_name = "NAME", env = "JOULEPRINT_HOST_NAME", global = true)]
    pub host_name: Option<String>,
    /// Grid zone: ISO country code, US-XXXX for an eGRID subregion, US-CA for a state
    #[arg(long, value_name = "ZONE", env = "JOULEPRINT_ZONE", global = true)]
    pub zone: Option<String>,
    /// Power usage effectiveness of the building, 1 or more
    #[arg(long, value_name = "RATIO", env = "JOULEPRINT_PUE", global = true)]
    pub pue: Option<String>,
    /// Address to listen on, may be given several times [default: :14401]
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        env = "JOULEPRINT_WEB_LISTEN_ADDRESS",
        value_delimiter = ',',
        global = true
    )]
    pub listen_addresses: Vec<String>,
    /// YAML file with TLS and users, as of exporter-toolkit
    #[arg(long = "web.config.file", value_name = "FILE", env = "JOULEPRINT_WEB_CONFIG_FILE", global = true)]
    pub web_config: Option<PathBuf>,
    /// Path of the metrics [default: /metrics]
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        env = "JOULEPRINT_WEB_TELEMETRY_PATH",
        global = true
    )]
    pub telemetry_path: Option<String>,
    /// Scrapes that are answered at a time, 0 for no bound [default: 40]
    #[arg(long = "web.max-requests", value_name = "N", env = "JOULEPRINT_WEB_MAX_REQUESTS", global = true)]
    pub max_requests: Option<usize>,
    /// Where proc is mounted [default: /proc]
    #[arg(long = "path.procfs", value_name = "DIR", env = "JOULEPRINT_PATH_PROCFS", global = true)]
    pub procfs: Option<PathBuf>,
    /// Where sysfs is mounted [default: /sys]
    #[arg(long = "path.sysfs", value_name = "DIR", env = "JOULEPRINT_PATH_SYSFS", global = true)]
    pub sysfs: Option<PathBuf>,
    /// Where the control groups are mounted [default: fs/cgroup below sysfs]
    #[arg(long = "path.cgroupfs", value_name = "DIR", env = "JOULEPRINT_PATH_CGROUPFS", global = true)]
    pub cgroupfs: Option<PathBuf>,
    /// Start although a part of the host that is mounted elsewhere (--path.sysfs /host/sys) can be written
    #[arg(
        long = "path.allow-writable",
        value_name = "BOOL",
        env = "JOULEPRINT_PATH_ALLOW_WRITABLE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true
    )]
    pub allow_writable: Option<bool>,
    /// Where the store is kept, `none` for no store [default: STATE_DIRECTORY, else /var/lib/jouleprint
    /// for root, else ~/.local/state/jouleprint]
    #[arg(long = "store.path", value_name = "DIR", env = "JOULEPRINT_STORE_PATH", global = true)]
    pub store: Option<PathBuf>,
    /// Where what must not outlive the boot is kept [default: RUNTIME_DIRECTORY, else /run/jouleprint for
    /// root, else below XDG_RUNTIME_DIR]
    #[arg(long = "path.runtime", value_name = "DIR", env = "JOULEPRINT_PATH_RUNTIME", global = true)]
    pub runtime: Option<PathBuf>,
    /// Push to an OTLP backend too, such as http://collector:4318 (see docs/otlp.md)
    #[arg(
        long = "otlp.endpoint",
        value_name = "URL",
        env = "JOULEPRINT_OTLP_ENDPOINT",
        hide_env_values = true,
        global = true
    )]
    pub otlp_endpoint: Option<String>,
    /// As a sidecar: the UID of our own pod, the only job then [default: POD_UID]
    #[arg(long = "job.pod-uid", value_name = "UID", env = "JOULEPRINT_JOB_POD_UID", global = true)]
    pub pod_uid: Option<String>,
    /// Unix socket on which jobs of this host ask and speak, `none` for none [default: job.sock below
    /// --path.runtime]
    #[arg(long = "job.socket", value_name = "PATH", env = "JOULEPRINT_JOB_SOCKET", global = true)]
    pub job_socket: Option<PathBuf>,
    /// NVIDIA's management library [default: libnvidia-ml.so.1, where the linker looks]
    #[arg(long = "nvml.library", value_name = "FILE", env = "JOULEPRINT_NVML_LIBRARY", global = true)]
    pub nvml_library: Option<PathBuf>,
    /// The tick in ms, for tests that cannot wait
    #[arg(long = "test.tick", value_name = "MS", hide = true, global = true)]
    pub test_tick: Option<u64>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long = "log.level", value_name = "LEVEL", env = "JOULEPRINT_LOG_LEVEL", global = true)]
    pub log_level: Option<String>,
    /// logfmt or json [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT", env = "JOULEPRINT_LOG_FORMAT", global = true)]
    pub log_format: Option<String>,
}
