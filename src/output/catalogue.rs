//! Every series this program shows: name, type, unit, help, labels, and how its samples are made from
//! a snapshot. The page, the reference in docs/ and every other output are printed from this table.

mod accounts;
mod condition;
mod own;
mod store;

use crate::model::reading::Domain;
use crate::model::snapshot::{DomainTotals, Snapshot};

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; its labels are what it says.
    Info,
    /// Buckets, sum and count.
    Histogram,
}

/// A value, exact until it is text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Whole(u64),
    /// Millionths: µJ, µW, ppm.
    Micro(u64),
    /// Thousand-millionths: ng, ns.
    Nano(u64),
    /// Thousandths: mg/kWh.
    Milli(u64),
    /// Millionths below 0: µJ that are owed.
    Owed(u64),
}

/// Takes samples one by one. Labels come in the family's order.
pub trait Sink {
    /// One sample of the family in hand.
    fn sample(&mut self, labels: &[&str], value: Number);
    /// A histogram: counts by bucket, not summed up, with the bounds in ns; the last has no bound.
    fn histogram(&mut self, labels: &[&str], bounds: &[u64], counts: &[u64], sum_nanoseconds: u64);
}

/// A family of series.
pub struct Family {
    /// The name without `_total`, `_info`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The unit that ends the name; empty for none.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// The OpenTelemetry name and unit of which the Prometheus name is the translation.
    pub otel: (&'static str, &'static str),
    /// Makes the samples.
    pub collect: fn(&Snapshot, &mut dyn Sink),
}

/// The counter of page requests, kept by the HTTP server and not part of a snapshot.
pub const HTTP_REQUESTS: (&str, &str) =
    ("jouleprint_http_requests", "Requests answered, by status code, up to the moment this page was made");

/// All families, in the order of the page.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [accounts::FAMILIES, condition::FAMILIES, store::FAMILIES, own::FAMILIES].into_iter().flatten()
}

/// The `host` label.
fn host(snapshot: &Snapshot) -> &str {
    &snapshot.machine.host
}

/// A meter and what is known of it.
type Metered<'a> = (&'a Domain, &'a DomainTotals);

/// The leaves of the cut: the meters whose energy is divided.
fn counted(snapshot: &Snapshot) -> impl Iterator<Item = Metered<'_>> {
    let all = snapshot.machine.domains.iter().zip(&snapshot.totals.domains);
    all.filter(|(domain, _)| domain.is_leaf())
}
