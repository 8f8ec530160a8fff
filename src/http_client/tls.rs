//! Whom the client trusts and who it says it is, read once when it is opened.

use super::{ClientError, TlsFiles};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// A file of certificates is smaller; the largest bundle of public roots is under 300 kB.
const MAX_FILE_BYTES: u64 = 4 << 20;

const CERTIFICATES: &str = "certificates";
const KEY: &str = "an unencrypted private key";

/// With what the files say.
pub(super) fn config(files: &TlsFiles) -> Result<ClientConfig, ClientError> {
    let roots = match &files.ca {
        Some(path) => named(path)?,
        None => of_the_machine()?,
    };
    let builder = trusting(roots);
    let Some(certificate) = &files.certificate else {
        return match files.key {
            Some(_) => Err(ClientError::Identity("a key alone is of no use".to_owned())),
            None => Ok(builder.with_no_client_auth()),
        };
    };
    let chain = certificates(certificate)?;
    let path = files.key.as_ref().unwrap_or(certificate);
    let key =
        PrivateKeyDer::from_pem_slice(&read(path, KEY)?).map_err(|error| unusable(path, KEY, &error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| ClientError::Identity(error.to_string()))
}

/// For clear text alone.
pub(super) fn trusting_nobody() -> ClientConfig {
    trusting(RootCertStore::empty()).with_no_client_auth()
}

fn trusting(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
}

fn of_the_machine() -> Result<RootCertStore, ClientError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(ClientError::Roots(
            found.errors.first().map(|error| format!(": {error}")).unwrap_or_default(),
        ));
    }
    Ok(roots)
}

fn named(path: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, CERTIFICATES, &error))?;
    }
    Ok(roots)
}

/// All of a file, and at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let found: Result<Vec<_>, PemError> =
        CertificateDer::pem_slice_iter(&read(path, CERTIFICATES)?).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(unusable(path, CERTIFICATES, &"it has none")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(path, CERTIFICATES, &error)),
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, ClientError> {
    let size = std::fs::metadata(path).map_err(|error| unusable(path, what, &error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unusable(path, what, &"larger than 4 MiB"));
    }
    std::fs::read(path).map_err(|error| unusable(path, what, &error))
}

fn unusable(path: &Path, what: &'static str, message: &dyn std::fmt::Display) -> ClientError {
    ClientError::File { path: path.display().to_string(), message: message.to_string(), what }
}
