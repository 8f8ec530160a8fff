//! The country of the address that we are seen under, asked of a third party: only where the user names one.
//! It learns that address. The answer is the Green Web Foundation's, or one with the same field.

use crate::carbon::table;
use crate::http_client::{Bounds, Client, Protocol, TlsFiles, bare};
use crate::model::reading::Fault;
use bytes::Bytes;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::time::Duration;

/// A server on the other side of the world.
const BOUNDS: Bounds =
    Bounds { connect: Duration::from_secs(3), answer: Duration::from_secs(5), bytes: 64 << 10 };

#[derive(Deserialize)]
struct Document {
    country_code_iso_2: Option<String>,
}

/// Asks once; the country, if it is one of the table.
///
/// # Errors
/// What went wrong, in words.
pub async fn country(url: &str) -> Result<String, (Fault, String)> {
    let server = bare(url);
    let wrong = |fault, why: &str| (fault, format!("asking {server} for our country: {why} (set zone)"));
    let client = Client::open(Protocol::Http1, url.starts_with("https://"), &TlsFiles::default(), BOUNDS)
        .map_err(|error| wrong(Fault::Io, &error.to_string()))?;
    let request =
        Request::get(url).body(Bytes::new()).map_err(|_| wrong(Fault::Malformed, "this is no URL"))?;
    let answer = client.send(request).await.map_err(|error| wrong(Fault::Unreachable, &error.to_string()))?;
    if answer.status != StatusCode::OK {
        return Err(wrong(Fault::Io, &format!("HTTP {}", answer.status.as_u16())));
    }
    let document: Document = serde_json::from_slice(&answer.body)
        .map_err(|_| wrong(Fault::Malformed, "the answer is not the Green Web Foundation's"))?;
    // For an address that it does not know it answers with the world, and without a code.
    let code = document.country_code_iso_2.filter(|code| code.len() == 2 && !code.eq_ignore_ascii_case("EU"));
    let code = code.ok_or_else(|| wrong(Fault::Missing, "it does not know this address"))?;
    match table::find(&code, None) {
        Ok(row) => Ok(row.zone),
        Err(_) => Err(wrong(Fault::Malformed, "it names no country")),
    }
}
