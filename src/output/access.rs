//! TLS, users and response headers by `--web.config.file`, in the form of exporter-toolkit that node_exporter
//! and its family share. What cannot be honoured is refused, never ignored. The file and what it names
//! are looked at again for every connection, so that a renewed certificate needs no restart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Credentials that were found right are remembered, since bcrypt takes 70 ms on purpose.
const MAX_VERIFIED: usize = 64;

/// Headers that a file may set, as in exporter-toolkit.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// The hash of a password that was thrown away, so that an unknown user takes as long as a known one.
const NOBODY: &str = "$2y$10$XAfX/.Y3QM/RWhDvIBuozuyieyMiOJAC4Y7GJDwV2FdXxp752mdZC";

/// Why a web configuration was not taken.
#[derive(Debug, thiserror::Error)]
#[error("--web.config.file {path}: {message}")]
pub struct AccessError {
    path: String,
    message: String,
}

/// Who may ask, and how.
#[derive(Debug)]
pub struct Access {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stamps: Vec<(PathBuf, Option<(SystemTime, u64)>)>,
    rules: Arc<Rules>,
}

/// One version of the file.
#[derive(Debug, Default)]
pub struct Rules {
    /// TLS, if it is on.
    pub tls: Option<Arc<ServerConfig>>,
    /// Headers of every response.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    users: BTreeMap<String, String>,
    verified: Mutex<HashSet<[u8; 32]>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsSection>,
    http_server_config: HttpSection,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsSection {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    cert: Option<String>,
    key: Option<String>,
    client_ca_file: Option<PathBuf>,
    client_ca: Option<String>,
    client_auth_type: Option<String>,
    client_allowed_sans: Vec<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    // HTTP/1.1 serves both wishes: a client falls back to it by itself.
    #[allow(dead_code)]
    http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

impl Access {
    /// Reads the file; without one everybody may ask, in plain HTTP.
    ///
    /// # Errors
    /// It is wrong, or asks for what this server cannot do.
    pub fn load(path: Option<&Path>) -> Result<Access, AccessError> {
        let state = match path {
            Some(path) => read(path).map_err(|message| wrong(path, message))?,
            None => State { stamps: Vec::new(), rules: Arc::default() },
        };
        Ok(Access { path: path.map(Path::to_owned), state: Mutex::new(state) })
    }

    /// The rules in force. If the file or what it names has changed they are read anew; if the new
    /// ones are wrong the old ones stay.
    pub fn rules(&self) -> Arc<Rules> {
        let mut state = self.state.lock().expect("reading rules does not panic");
        let Some(path) = &self.path else { return Arc::clone(&state.rules) };
        if state.stamps.iter().any(|(path, stamp)| stamp_of(path) != *stamp) {
            match read(path) {
                Ok(new) => {
                    tracing::info!("web configuration read anew");
                    *state = new;
                }
                Err(message) => {
                    tracing::error!("the old web configuration stays in force: {}", wrong(path, message));
                    for (path, stamp) in &mut state.stamps {
                        *stamp = stamp_of(path);
                    }
                }
            }
        }
        Arc::clone(&state.rules)
    }
}

impl Rules {
    /// Whether anybody has to say who they are.
    #[must_use]
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether the credentials of an `Authorization` header are known to be right already.
    #[must_use]
    pub fn is_verified(&self, authorization: &str) -> bool {
        let digest = digest(authorization);
        self.verified.lock().expect("looking up does not panic").contains(&digest)
    }

    /// Checks credentials the slow way; remembers them if they are right.
    #[must_use]
    pub fn verify(&self, authorization: &str) -> bool {
        let credentials =
            authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let decoded = credentials.and_then(|(_, text)| STANDARD.decode(text.trim()).ok());
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let (user, password) = decoded.split_once(':').unwrap_or_default();
        let hash = self.users.get(user);
        let fits = bcrypt::verify(password, hash.map_or(NOBODY, String::as_str)).unwrap_or(false);
        if !fits || hash.is_none() {
            return false;
        }
        let mut verified = self.verified.lock().expect("looking up does not panic");
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(digest(authorization));
        true
    }
}

fn digest(text: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn wrong(path: &Path, message: String) -> AccessError {
    AccessError { path: path.display().to_string(), message }
}

fn stamp_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<State, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("reading it: {error}"))?;
    let file: File = if text.trim().is_empty() {
        File::default()
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.without_snippet().to_string())?
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut named = vec![path.to_owned()];
    let tls = match &file.tls_server_config {
        Some(section) => {
            for other in
                [&section.cert_file, &section.key_file, &section.client_ca_file].into_iter().flatten()
            {
                named.push(folder.join(other));
            }
            Some(Arc::new(section.server_config(folder)?))
        }
        None => None,
    };
    for (user, hash) in &file.basic_auth_users {
        if hash.parse::<bcrypt::HashParts>().is_err() {
            return Err(format!(
                "basic_auth_users: the entry of {user:?} is no bcrypt hash (htpasswd -nBC 10 {user})"
            ));
        }
    }
    let mut headers = Vec::new();
    for (name, value) in &file.http_server_config.headers {
        if !HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(format!("http_server_config.headers: {name:?} is none of {}", HEADERS.join(", ")));
        }
        let value =
            value.parse().map_err(|_| format!("http_server_config.headers: {name:?} has no valid value"))?;
        headers.push((HeaderName::from_bytes(name.as_bytes()).expect("one of the known names"), value));
    }
    let stamps = named.into_iter().map(|path| (path.clone(), stamp_of(&path))).collect();
    let rules = Rules { tls, headers, users: file.basic_auth_users, verified: Mutex::default() };
    Ok(State { stamps, rules: Arc::new(rules) })
}

impl TlsSection {
    fn server_config(&self, folder: &Path) -> Result<ServerConfig, String> {
        self.refuse_what_cannot_be()?;
        let versions = self.versions()?;
        let certificate = pem("cert", &self.cert, &self.cert_file, folder)?;
        let key = pem("key", &self.key, &self.key_file, folder)?;
        let (Some(certificate), Some(key)) = (certificate, key) else {
            return Err("tls_server_config needs cert_file and key_file (or cert and key)".to_owned());
        };
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("tls_server_config.cert: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| format!("tls_server_config.key: {error}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| format!("tls_server_config: {error}"))?;
        let roots = pem("client_ca", &self.client_ca, &self.client_ca_file, folder)?;
        let builder = match (self.client_auth_type.as_deref().unwrap_or("NoClientCert"), roots) {
            ("" | "NoClientCert", None) => builder.with_no_client_auth(),
            ("" | "NoClientCert", Some(_)) => {
                return Err("tls_server_config: client_ca_file without client_auth_type would check nobody (set RequireAndVerifyClientCert)".to_owned());
            }
            (kind @ ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert"), Some(roots)) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(&roots)?), provider);
                let verifier = if kind == "VerifyClientCertIfGiven" {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier =
                    verifier.build().map_err(|error| format!("tls_server_config.client_ca: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
            ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert", None) => {
                return Err("tls_server_config.client_auth_type needs client_ca_file".to_owned());
            }
            (other, _) => {
                return Err(format!(
                    "tls_server_config.client_auth_type: {other:?} is not supported: it checks no certificate (use RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert)"
                ));
            }
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|error| format!("tls_server_config: certificate and key: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn refuse_what_cannot_be(&self) -> Result<(), String> {
        let given = [
            ("client_allowed_sans", !self.client_allowed_sans.is_empty()),
            ("cipher_suites", !self.cipher_suites.is_empty()),
            ("curve_preferences", !self.curve_preferences.is_empty()),
            ("prefer_server_cipher_suites: false", self.prefer_server_cipher_suites == Some(false)),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((key, _)) => Err(format!(
                "tls_server_config.{key} is not supported; take it out to use this program's choice"
            )),
            None => Ok(()),
        }
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        let number = |key: &str, text: &Option<String>, otherwise: u8| match text.as_deref() {
            None | Some("") => Ok(otherwise),
            Some("TLS12") => Ok(12),
            Some("TLS13") => Ok(13),
            Some(other) => {
                Err(format!("tls_server_config.{key}: {other:?} is not supported (TLS12 or TLS13)"))
            }
        };
        let range =
            number("min_version", &self.min_version, 12)?..=number("max_version", &self.max_version, 13)?;
        let all = [(12, &rustls::version::TLS12), (13, &rustls::version::TLS13)];
        let chosen: Vec<_> = all
            .into_iter()
            .filter(|(number, _)| range.contains(number))
            .map(|(_, version)| version)
            .collect();
        if chosen.is_empty() {
            return Err("tls_server_config: min_version is above max_version".to_owned());
        }
        Ok(chosen)
    }
}

/// The PEM text of a part: inline, or from its file.
fn pem(
    key: &str,
    inline: &Option<String>,
    file: &Option<PathBuf>,
    folder: &Path,
) -> Result<Option<String>, String> {
    match (inline, file) {
        (Some(_), Some(_)) => Err(format!("tls_server_config: both {key} and {key}_file are given")),
        (Some(text), None) => Ok(Some(text.clone())),
        (None, Some(file)) => {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path);
            text.map(Some)
                .map_err(|error| format!("tls_server_config.{key}_file {}: {error}", path.display()))
        }
        (None, None) => Ok(None),
    }
}

fn root_store(text: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("tls_server_config.client_ca: {error}"))?;
        roots.add(certificate).map_err(|error| format!("tls_server_config.client_ca: {error}"))?;
    }
    if roots.is_empty() {
        return Err("tls_server_config.client_ca holds no certificate".to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Access, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).expect("written");
        Access::load(Some(&path)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, part) in [
            ("tls_server_config: {}", "needs cert_file and key_file"),
            ("tls_server_config: {cert_file: none.pem, key_file: none.pem}", "none.pem"),
            ("tls_server_config: {cert: x, cert_file: y}", "both cert and cert_file"),
            ("tls_server_config: {min_version: TLS10}", "\"TLS10\""),
            ("tls_server_config: {cipher_suites: [X]}", "cipher_suites is not supported"),
            ("tls_server_config: {client_allowed_sans: [a]}", "client_allowed_sans is not supported"),
            ("basic_auth_users: {me: secret}", "no bcrypt hash"),
            ("http_server_config: {headers: {X-Mine: 1}}", "\"X-Mine\" is none of"),
            ("rate_limit: {}", "rate_limit"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.contains(part) && error.starts_with("--web.config.file "), "{text}: {error}");
        }
    }

    #[test]
    fn users_are_verified_once_the_slow_way_and_unknown_ones_never() {
        let hash = bcrypt::hash("right", 4).expect("hashed");
        let access = load(&format!("basic_auth_users: {{me: '{hash}'}}")).expect("valid");
        let rules = access.state.lock().expect("unused").rules.clone();
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (credentials, is_right) in
            [("me:right", true), ("me:wrong", false), ("you:right", false), ("me", false), ("", false)]
        {
            assert_eq!(rules.verify(&header(credentials)), is_right, "{credentials}");
            assert_eq!(rules.is_verified(&header(credentials)), is_right, "{credentials}");
        }
        assert!(!rules.verify("Bearer x") && !rules.verify(""));
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok(), "an unknown user costs as much as a known one");
    }

    #[test]
    fn an_empty_file_is_plain_http_for_everybody_and_a_change_is_taken_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("web.yml");
        std::fs::write(&path, "").expect("written");
        let access = Access::load(Some(&path)).expect("valid");
        assert!(!access.rules().has_users() && access.rules().tls.is_none());
        let hash = bcrypt::hash("right", 4).expect("hashed");
        std::fs::write(&path, format!("basic_auth_users: {{me: '{hash}'}}")).expect("written");
        assert!(access.rules().has_users());
        std::fs::write(&path, "nonsense: 1").expect("written");
        assert!(access.rules().has_users(), "a broken file changes nothing");
    }
}
