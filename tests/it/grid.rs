//! Providers of intensities against a server of ours that answers in their shapes, and in those of their faults.

mod answers;
mod asking;
mod faults;
mod local;
mod mixes;
mod parts;
mod server;

use jouleprint::carbon::provider::{self, Ask, Key, Kind, Refusal, Wish};
use jouleprint::http_client::{Bounds, Client, Protocol, TlsFiles};
use jouleprint::model::grid::{Place, Sample, Series};
use jouleprint::model::quantity::Nanos;
use server::{Asked, Does, Server};
use std::path::PathBuf;
use std::time::Duration;

/// 2026-11-21T20:10:00Z.
pub(crate) const NOW: u64 = 1_795_291_800;

/// What proves us, and must be seen nowhere but in a request.
pub(crate) const KEY: &str = "k3y-of-ours";

pub(crate) fn at(seconds: i64) -> Nanos {
    Nanos::from_seconds(NOW.checked_add_signed(seconds).unwrap())
}

/// Three hours back, and some hours ahead.
pub(crate) fn ask(hours_ahead: i64) -> Ask {
    Ask { now: at(0), from: at(-3 * 3_600), until: at(hours_ahead * 3_600) }
}

pub(crate) fn place(zone: &str) -> Place {
    Place { zone: zone.into(), source: "config".into(), cloud: "".into(), region: "".into() }
}

pub(crate) fn client(deadline: Duration) -> Client {
    let bounds = Bounds { answer: deadline, ..provider::BOUNDS };
    Client::open(Protocol::Http1, false, &TlsFiles::default(), bounds).unwrap()
}

/// A file with a key in it, for as long as the folder lives.
pub(crate) fn key_in(folder: &tempfile::TempDir) -> Key {
    let path = folder.path().join("key");
    std::fs::write(&path, format!("{KEY}\n")).unwrap();
    Key::File(path)
}

pub(crate) fn wish(kind: Kind, url: Option<String>) -> Wish {
    Wish { kind, zone: None, basis: None, url, interval: None }
}

/// What one provider is asked, and what comes of it, several times on one runtime.
pub(crate) fn rounds(
    wish: &Wish,
    zone: &str,
    asks: &[Ask],
    client: &dyn Fn() -> Client,
) -> Vec<Result<Vec<Series>, Refusal>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client();
        let mut provider = provider::open(wish, &place(zone)).unwrap();
        let mut heard = Vec::new();
        for ask in asks {
            heard.push(provider.fetch(&client, *ask).await);
        }
        heard
    })
}

/// One round with a server that answers by this rule; and what it was asked.
pub(crate) fn round(
    kind: Kind,
    zone: &str,
    ask: Ask,
    rule: impl Fn(&Asked) -> Does + Send + Sync + 'static,
) -> (Result<Vec<Series>, Refusal>, Vec<Asked>) {
    let server = Server::start(rule);
    let wish = wish(kind, Some(server.url.clone()));
    let heard = rounds(&wish, zone, &[ask], &|| client(provider::BOUNDS.answer)).remove(0);
    (heard, server.asked())
}

/// Series as lines: `average direct consumption`, then `19:30+30 210000 measured`.
pub(crate) fn lines(series: &[Series]) -> Vec<String> {
    let mut lines = Vec::new();
    for series in series {
        lines.push(format!(
            "{} {} {}",
            series.signal.as_str(),
            series.basis.as_str(),
            series.accounting.as_str()
        ));
        lines.extend(series.samples.iter().map(line));
    }
    lines
}

fn line(sample: &Sample) -> String {
    let seconds = |time: Nanos| time.get() / 1_000_000_000;
    let (start, end) = (seconds(sample.start), seconds(sample.end));
    assert_eq!(sample.fetched, at(0), "it was heard when it was asked for");
    format!(
        "{:02}:{:02}+{} {} {}",
        start % 86_400 / 3_600,
        start % 3_600 / 60,
        (end - start) / 60,
        sample.intensity.as_milligrams(),
        sample.quality.as_str()
    )
}

pub(crate) fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
