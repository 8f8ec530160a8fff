//! Who says how much an hour's electricity emits: one file for each provider, all asked in the same way.

use crate::http_client::Client;
use crate::model::grid::Series;
use crate::model::quantity::Nanos;
use crate::model::reading::Fault;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A provider as the user describes it, checked; keys stand in files and are read when they are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {}

/// What is wanted to be known; a provider gives what it has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The wall time.
    pub now: Nanos,
    /// Since when: the past that is not known or may have been revised. Never more than 72 h back.
    pub from: Nanos,
    /// Until when a forecast is wanted; `now` for none.
    pub until: Nanos,
}

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// As on the page.
    pub fault: Fault,
    /// One line: what was asked of whom, why it failed, the way out. No secrets: no key, no query.
    pub message: String,
    /// What the provider said about when to come again.
    pub retry_after: Option<Duration>,
}

/// What is heard, or why not.
pub type Heard<'a> = Pin<Box<dyn Future<Output = Result<Vec<Series>, Refusal>> + Send + 'a>>;

/// One provider, for one place.
pub trait IntensityProvider: Send {
    /// The `source` label: `electricity_maps`.
    fn source(&self) -> &'static str;

    /// What the provider calls the place.
    fn zone(&self) -> &str;

    /// Asking oftener than this brings nothing new, or is not allowed.
    fn cadence(&self) -> Duration;

    /// Asks once. Average and marginal figures, or the past and a forecast, may be several series.
    fn fetch<'a>(&'a mut self, client: &'a Client, ask: Ask) -> Heard<'a>;
}
