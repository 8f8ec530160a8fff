//! Every series this program shows: name, type, unit, help, labels, and how its samples are made from
//! a snapshot. The page, the reference in docs/ and every other output are printed from this table.

mod accounts;
mod condition;
mod gpus;
mod grid;
mod groups;
mod intensity;
mod own;
mod push;
mod relay;
mod speech;
mod store;

use crate::model::quantity::Nanos;
use crate::model::reading::Domain;
use crate::model::snapshot::{DomainTotals, Snapshot};
use crate::output::relay::View;

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
    /// Thousand-millionths below 0: ng that were charged too much.
    Over(u64),
}

impl Number {
    /// The integer without its sign, and how many of its digits stand after the point.
    #[must_use]
    pub const fn parts(self) -> (u64, u32) {
        match self {
            Number::Whole(value) => (value, 0),
            Number::Milli(value) => (value, 3),
            Number::Micro(value) => (value, 6),
            Number::Nano(value) => (value, 9),
            Number::Owed(value) => (value, 6),
            Number::Over(value) => (value, 9),
        }
    }

    /// Whether it is below 0.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        matches!(self, Number::Owed(1..) | Number::Over(1..))
    }

    /// Another number of the same kind.
    #[must_use]
    pub const fn with(self, value: u64) -> Number {
        match self {
            Number::Whole(_) => Number::Whole(value),
            Number::Milli(_) => Number::Milli(value),
            Number::Micro(_) => Number::Micro(value),
            Number::Nano(_) => Number::Nano(value),
            Number::Owed(_) => Number::Owed(value),
            Number::Over(_) => Number::Over(value),
        }
    }

    /// The float that a reader of its text gets: the nearest there is.
    #[must_use]
    pub fn as_double(self) -> f64 {
        let size = self.size();
        if self.is_negative() { -size } else { size }
    }

    fn size(self) -> f64 {
        /// Up to here every integer is a float, and the quotient of two floats is rounded once.
        const EXACT: u64 = 1 << 53;
        let (value, places) = self.parts();
        let unit = 10_u64.pow(places);
        if value <= EXACT {
            return value as f64 / unit as f64;
        }
        let digits = places as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.parse().expect("digits and a point are a number")
    }
}

/// Takes samples one by one. Labels come in the family's order.
pub trait Sink {
    /// When the samples that follow were 0, in wall time. Until it is said, and at every family anew, that is
    /// [`crate::model::snapshot::Totals::started`].
    fn since(&mut self, start: Nanos) {
        let _ = start;
    }
    /// One sample of the family in hand.
    fn sample(&mut self, labels: &[&str], value: Number);
    /// A histogram: counts by bucket, not summed up, with the bounds in ns; the last has no bound.
    fn histogram(&mut self, labels: &[&str], bounds: &[u64], counts: &[u64], sum_nanoseconds: u64);
}

/// A family of series, made from a state: a node's snapshot, or what a relay knows.
pub struct Family<S = Snapshot> {
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
    pub collect: fn(&S, &mut dyn Sink),
}

/// The counter of page requests, kept by the HTTP server and not part of a snapshot.
pub const HTTP_REQUESTS: (&str, &str) =
    ("jouleprint_http_requests", "Requests answered, by status code, up to the moment this page was made");

/// All families, in the order of the page.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [
        accounts::FAMILIES,
        speech::FAMILIES,
        gpus::FAMILIES,
        groups::FAMILIES,
        grid::FAMILIES,
        condition::FAMILIES,
        store::FAMILIES,
        push::FAMILIES,
        own::FAMILIES,
    ]
    .into_iter()
    .flatten()
}

/// All families of a relay's page, in its order.
pub fn relay_families() -> impl Iterator<Item = &'static Family<View>> {
    relay::FAMILIES.iter()
}

/// The processor's architecture, in the words of OpenTelemetry's `host.arch`.
pub const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    b"arm" => "arm32",
    b"powerpc64" => "ppc64",
    _ => std::env::consts::ARCH,
};

/// What a process counts is 0 when it starts.
fn process_start(snapshot: &Snapshot) -> Nanos {
    Nanos::from_seconds(snapshot.process.start_seconds)
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
