//! What a report is made of, wherever it comes from: a host's store, or a Prometheus that has read many.

use crate::model::checkpoint::Group;
use crate::model::history::{History, JobRecord, Span};
use crate::model::identity::Name;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot::Column;

/// The past, as far as it is known.
#[derive(Debug, Default)]
pub struct Past {
    /// Where it comes from, in words; never with credentials.
    pub source: String,
    /// Up to when.
    pub until: Nanos,
    /// Sums over time.
    pub sums: Vec<Part>,
    /// Jobs.
    pub jobs: Vec<JobRecord>,
    /// Whether a job's record is of its whole life, whatever the period.
    pub has_whole_jobs: bool,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// What is damaged.
    pub damaged: Vec<String>,
}

/// One sum. What is not known is not 0; energy and emissions of the same thing may be two parts.
#[derive(Debug, Clone)]
pub struct Part {
    /// When.
    pub span: Span,
    /// On which host.
    pub host: Name,
    /// In which grid zone; `None` if that is not known.
    pub zone: Option<Name>,
    /// By whom.
    pub group: Group,
    /// On which hardware.
    pub column: Column,
    /// Energy.
    pub energy: Option<Energy>,
    /// Emissions.
    pub emissions: Option<Emissions>,
}

impl Past {
    /// What a store holds.
    #[must_use]
    pub fn of_store(history: History, source: String) -> Past {
        let parts = history.sums.into_iter().map(|sum| Part {
            span: sum.span,
            host: sum.host,
            zone: Some(sum.zone),
            group: sum.group,
            column: sum.column,
            energy: Some(sum.energy),
            emissions: Some(sum.emissions),
        });
        Past {
            source,
            until: history.until,
            sums: parts.collect(),
            jobs: history.jobs,
            has_whole_jobs: true,
            notes: Vec::new(),
            damaged: history.damaged,
        }
    }

    /// Whether there is nothing in it at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty() && self.jobs.is_empty()
    }
}
