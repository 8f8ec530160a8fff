//! What a push was asked to be: where to, how, and what is said about this machine.

use crate::http_client::{Secret, TlsFiles};
use std::path::PathBuf;
use std::time::Duration;

/// The transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `http/protobuf`: a POST for each message.
    Http,
    /// `grpc`: the same message over HTTP/2.
    Grpc,
}

impl Transport {
    /// As in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Http => "http/protobuf",
            Transport::Grpc => "grpc",
        }
    }
}

/// Whether totals or differences are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporality {
    /// Totals since each series began.
    Cumulative,
    /// What was added since the last push that was acknowledged.
    Delta,
    /// Differences where they need no memory of ours. All our counters are observed totals, which the
    /// specification keeps cumulative here; only the histogram is not.
    LowMemory,
}

impl Temporality {
    /// As in `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Temporality::Cumulative => "cumulative",
            Temporality::Delta => "delta",
            Temporality::LowMemory => "lowmemory",
        }
    }
}

/// All of it, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// The whole URL; for gRPC without a path.
    pub endpoint: String,
    /// The transport.
    pub transport: Transport,
    /// Headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// Headers whose values are in files, read again for each push.
    pub header_files: Vec<(String, PathBuf)>,
    /// Whether bodies are compressed with gzip.
    pub is_compressed: bool,
    /// Certificates.
    pub tls: TlsFiles,
    /// A request has this long.
    pub timeout: Duration,
    /// A push with all its requests has this long.
    pub push_timeout: Duration,
    /// From one push to the next.
    pub interval: Duration,
    /// Totals or differences.
    pub temporality: Temporality,
    /// Resource attributes that the environment gives; they override our own.
    pub resource: Vec<(String, String)>,
}

impl Wishes {
    /// Whether the endpoint is asked over TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.endpoint.starts_with("https://")
    }
}
