//! The push's settings: the file's `otlp` section, then OpenTelemetry's environment variables, those for
//! metrics before the general ones, then `--otlp.endpoint`.

use super::{ConfigError, Seconds};
use crate::http_client::{self, Secret, TlsFiles, Uri};
use crate::output::otlp::wishes::{Temporality, Transport, Wishes};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Where a Collector listens unless it is told otherwise, by transport.
const DEFAULT_HTTP: &str = "http://localhost:4318";
const DEFAULT_GRPC: &str = "http://localhost:4317";

/// What the general endpoint is the base of.
const METRICS_PATH: &str = "/v1/metrics";

/// Faster than a tick is of no use, and of harm only far below that.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// A time-out of 0 means none to OpenTelemetry; nothing here waits for longer.
const LONGEST: Duration = Duration::from_secs(600);

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    endpoint: Option<String>,
    protocol: Option<String>,
    headers: BTreeMap<String, String>,
    header_files: BTreeMap<String, PathBuf>,
    compression: Option<String>,
    insecure: Option<bool>,
    timeout: Option<Seconds>,
    interval: Option<Seconds>,
    temporality: Option<String>,
    tls: TlsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsSection {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// Looks a variable up; empty ones are not set.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub(super) fn of_the_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A value and the setting that it comes from, for messages.
struct Given {
    from: String,
    text: String,
}

impl Given {
    fn wrong(&self, message: &str) -> ConfigError {
        // The value is not repeated: endpoints and headers may hold secrets.
        ConfigError::Otlp { name: self.from.clone(), message: message.to_owned() }
    }
}

/// What the push is to be; `None` if there is to be none.
pub(super) fn wishes(
    section: Section,
    environment: Environment<'_>,
    flag: Option<&str>,
) -> Result<Option<Wishes>, ConfigError> {
    let look =
        |name: &str| environment(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    // The variable for metrics before the general one, and both before the file.
    let setting = |name: &str, file: Option<&str>, of_file: Option<String>| -> Option<Given> {
        for from in [format!("OTEL_EXPORTER_OTLP_METRICS_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")] {
            if let Some(text) = look(&from) {
                return Some(Given { from, text });
            }
        }
        let text = of_file.filter(|text| !text.is_empty())?;
        Some(Given { from: format!("otlp.{}", file.unwrap_or_default()), text })
    };
    let flag = flag.filter(|flag| !flag.is_empty());
    let is_disabled = look("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let exporters = look("OTEL_METRICS_EXPORTER");
    let is_chosen = exporters.as_deref().map(|list| list.split(',').any(|name| name.trim() == "otlp"));
    let endpoint = match flag {
        Some(text) => Some(Given { from: "--otlp.endpoint".to_owned(), text: text.to_owned() }),
        None => setting("ENDPOINT", Some("endpoint"), section.endpoint),
    };
    // A page is always there for who scrapes: `prometheus` and `none` mean the same to the push.
    let is_wanted = flag.is_some() || is_chosen.unwrap_or(endpoint.is_some());
    if is_disabled || !is_wanted {
        return Ok(None);
    }

    let transport = match setting("PROTOCOL", Some("protocol"), section.protocol) {
        None => Transport::Http,
        Some(given) => match given.text.as_str() {
            "http/protobuf" => Transport::Http,
            "grpc" => Transport::Grpc,
            "http/json" => return Err(given.wrong("http/json is not spoken (choose http/protobuf or grpc)")),
            _ => return Err(given.wrong("no such protocol (choose http/protobuf or grpc)")),
        },
    };
    let is_insecure =
        match setting("INSECURE", Some("insecure"), section.insecure.map(|flag| flag.to_string())) {
            None => false,
            Some(given) => boolean(&given)?,
        };
    let endpoint = match transport {
        Transport::Http => http_endpoint(endpoint)?,
        Transport::Grpc => grpc_endpoint(endpoint, is_insecure)?,
    };
    let is_compressed = match setting("COMPRESSION", Some("compression"), section.compression) {
        None => true,
        Some(given) => match given.text.as_str() {
            "gzip" => true,
            "none" => false,
            _ => return Err(given.wrong("no such compression (choose gzip or none)")),
        },
    };
    let preference = setting("TEMPORALITY_PREFERENCE", Some("temporality"), section.temporality);
    let temporality = match preference {
        None => Temporality::Cumulative,
        Some(given) => match given.text.to_ascii_lowercase().as_str() {
            "cumulative" => Temporality::Cumulative,
            "delta" => Temporality::Delta,
            "lowmemory" => Temporality::LowMemory,
            _ => return Err(given.wrong("no such temporality (choose cumulative, delta or lowmemory)")),
        },
    };
    if let Some(given) = setting("DEFAULT_HISTOGRAM_AGGREGATION", None, None)
        && given.text != "explicit_bucket_histogram"
    {
        return Err(given.wrong("the one histogram has fixed buckets (choose explicit_bucket_histogram)"));
    }
    let path = |name: &str, file: &str, of_file: Option<PathBuf>| {
        let of_file = of_file.map(|path| path.display().to_string());
        setting(name, Some(file), of_file).map(|given| PathBuf::from(given.text))
    };
    let tls = TlsFiles {
        ca: path("CERTIFICATE", "tls.ca_file", section.tls.ca_file),
        certificate: path("CLIENT_CERTIFICATE", "tls.cert_file", section.tls.cert_file),
        key: path("CLIENT_KEY", "tls.key_file", section.tls.key_file),
    };
    let duration = |given: Option<Given>, of_file: Option<Seconds>, default: u64| match (given, of_file) {
        (Some(given), _) => milliseconds(&given),
        (None, Some(Seconds(seconds))) => Ok(Duration::from_secs(seconds)),
        (None, None) => Ok(Duration::from_millis(default)),
    };
    let given = |name: &str| look(name).map(|text| Given { from: name.to_owned(), text });
    let timeout = duration(setting("TIMEOUT", None, None), section.timeout, 10_000)?;
    let interval = duration(given("OTEL_METRIC_EXPORT_INTERVAL"), section.interval, 60_000)?;
    let push_timeout = duration(given("OTEL_METRIC_EXPORT_TIMEOUT"), None, 30_000)?;
    let bounded = |time: Duration| if time.is_zero() { LONGEST } else { time.min(LONGEST) };

    // Names are the same in capitals.
    let mut headers: BTreeMap<String, String> =
        section.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let mut header_files: BTreeMap<String, PathBuf> =
        section.header_files.into_iter().map(|(name, file)| (name.to_ascii_lowercase(), file)).collect();
    if let Some(given) = setting("HEADERS", None, None) {
        for (name, value) in pairs(&given)? {
            let name = name.to_ascii_lowercase();
            header_files.remove(&name);
            headers.insert(name, value);
        }
    }
    for (name, value) in &headers {
        check_header(name, value)?;
    }
    for name in header_files.keys() {
        check_header(name, "")?;
    }
    Ok(Some(Wishes {
        endpoint,
        transport,
        headers: headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        header_files: header_files.into_iter().collect(),
        is_compressed,
        tls,
        timeout: bounded(timeout),
        push_timeout: bounded(push_timeout),
        interval: interval.max(SHORTEST_INTERVAL),
        temporality,
        resource: resource(&look)?,
    }))
}

/// The general endpoint is a base, the one for metrics is the URL as it stands; ours (file, flag) are
/// either: without a path they are a base.
fn http_endpoint(given: Option<Given>) -> Result<String, ConfigError> {
    let Some(given) = given else { return Ok(format!("{DEFAULT_HTTP}{METRICS_PATH}")) };
    let url = checked(&given, &given.text)?;
    let is_base = match given.from.as_str() {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => true,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" => false,
        _ => url.path() == "/",
    };
    if !is_base {
        return Ok(url.to_string());
    }
    if url.query().is_some() {
        return Err(
            given.wrong("a base has no query (give the whole URL in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT)")
        );
    }
    Ok(format!("{}{METRICS_PATH}", url.to_string().trim_end_matches('/')))
}

/// A URL that can be asked; who asks is said in a header, not there.
fn checked(given: &Given, text: &str) -> Result<Uri, ConfigError> {
    let url = http_client::url(text).map_err(|error| given.wrong(&error.to_string()))?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(given.wrong("a user in the URL (set the header authorization)"));
    }
    Ok(url)
}

/// Scheme, host and port; the scheme may be missing.
fn grpc_endpoint(given: Option<Given>, is_insecure: bool) -> Result<String, ConfigError> {
    let Some(given) = given else { return Ok(DEFAULT_GRPC.to_owned()) };
    let text = match (given.text.contains("://"), is_insecure) {
        (true, _) => given.text.clone(),
        (false, true) => format!("http://{}", given.text),
        (false, false) => format!("https://{}", given.text),
    };
    let url = checked(&given, &text)?;
    if url.path() != "/" || url.query().is_some() {
        return Err(given.wrong("gRPC has no path (write http://host:port)"));
    }
    Ok(url.to_string().trim_end_matches('/').to_owned())
}

fn boolean(given: &Given) -> Result<bool, ConfigError> {
    match given.text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(given.wrong("neither true nor false")),
    }
}

fn milliseconds(given: &Given) -> Result<Duration, ConfigError> {
    let count =
        given.text.parse().map_err(|_| given.wrong("no number of milliseconds (write 10000 for 10 s)"))?;
    Ok(Duration::from_millis(count))
}

/// `name=value,name=value`, percent-encoded, as in W3C Baggage.
fn pairs(given: &Given) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs = Vec::new();
    for pair in given.text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let wrong = || given.wrong("not name=value,name=value with values percent-encoded");
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let decoded = (decode(name.trim()), decode(value.trim()));
        let (Some(name), Some(value)) = decoded else { return Err(wrong()) };
        if name.is_empty() {
            return Err(wrong());
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// `%41` as the byte that it stands for; `None` if what comes out is no text or an escape is cut.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn check_header(name: &str, value: &str) -> Result<(), ConfigError> {
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_value = value.bytes().all(|byte| byte >= b' ' && byte != 0x7f || byte == b'\t');
    if is_name && is_value {
        return Ok(());
    }
    let message = if is_name { "a value that no header can carry" } else { "a name that no header has" };
    // What is no name may be half a secret: `authorization: Basic ...=` cut at its padding.
    let name = if is_name { format!("otlp header {name:?}") } else { "an otlp header".to_owned() };
    Err(ConfigError::Otlp { name, message: format!("{message} (write name=value)") })
}

/// What the environment says about this process, the name on top.
fn resource(look: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, ConfigError> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let mut attributes = BTreeMap::new();
    for (variable, attribute) in [
        ("NODE_NAME", "k8s.node.name"),
        ("POD_NAME", "k8s.pod.name"),
        ("POD_NAMESPACE", "k8s.namespace.name"),
    ] {
        if let Some(value) = look(variable) {
            attributes.insert(attribute.to_owned(), value);
        }
    }
    if let Some(text) = look(NAME) {
        attributes.extend(pairs(&Given { from: NAME.to_owned(), text })?);
    }
    if let Some(name) = look("OTEL_SERVICE_NAME") {
        attributes.insert("service.name".to_owned(), name);
    }
    Ok(attributes.into_iter().collect())
}

#[cfg(test)]
mod tests;
