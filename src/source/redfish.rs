//! The node's own meter behind its BMC, by Redfish over HTTPS; only if it is configured. Power is read every
//! 10 s or more, by one request at a time, and less often while it fails.
//!
//! Energy counters (`EnergykWh`) are not integrated: makers count in steps of 0.001 to 1 kWh, 18 s to hours
//! of a node at 200 W, so that their differences over a tick say less than power does.

pub mod session;
pub mod shape;
pub mod walk;

use super::background::{Freshness, Pulse, SlowSource};
use super::cut::Scope;
use super::node::{self, Telling};
use crate::http_client::ClientError;
use crate::model::quantity::{MicroWatts, Nanos};
use crate::model::reading::{Domain, Fault, Finding, Value};
use session::{Service, Session};
use std::hash::{DefaultHasher, Hash, Hasher};
use tokio::runtime::{Builder, Runtime};
use walk::Chassis;

/// The source's name on the page, and its domain's.
pub const SOURCE: &str = "redfish";

/// How often a BMC may be asked; above the upper end a sample stands for too much.
pub const PERIODS: std::ops::RangeInclusive<u64> = 10..=60;

/// After this many failures in a row the pauses stop doubling.
const MAX_DOUBLINGS: u32 = 5;

/// No pause is longer.
const LONGEST_PAUSE: Nanos = Nanos::from_seconds(300);

/// Readings without a number in a row, after which power is looked for elsewhere.
const MAX_EMPTY: u32 = 3;

/// What the user says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Where, and who asks.
    pub service: Service,
    /// The node's chassis; empty for the only one that shows power.
    pub chassis: Vec<String>,
    /// How often.
    pub period: Nanos,
}

/// Why there is no reading, in words and as a fault.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No answer, or no certificate that we trust.
    #[error("{0}")]
    Client(ClientError),
    /// It points to somebody else.
    #[error("the BMC sends us on to {0}: set redfish.url to that")]
    Elsewhere(String),
    /// The file with the password.
    #[error("reading the password file: {0}")]
    Password(std::io::Error),
    /// Name, password, or what the user may do.
    #[error("the BMC does not accept the user or the password (give it a user that may log in and read)")]
    Login,
    /// The resource is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// It is there and shows no power.
    #[error("{0} shows no power")]
    Malformed(String),
    /// It has no time now.
    #[error("the BMC is busy")]
    Busy {
        /// For how long, as it says; 0 if it does not.
        wait: Nanos,
    },
    /// It fails.
    #[error("the BMC answers with status {0}")]
    Status(u16),
    /// What is configured is not there.
    #[error("no chassis {missing} that shows power; there are: {there} (name the node's in redfish.chassis)")]
    NoChassis {
        /// Which.
        missing: String,
        /// Which there are.
        there: String,
    },
    /// No chassis shows power.
    #[error("no chassis shows power; there are: {there}")]
    NoPower {
        /// Which there are.
        there: String,
    },
    /// Several do.
    #[error("several chassis show power: {names} (name the node's in redfish.chassis)")]
    SeveralChassis {
        /// Which.
        names: String,
    },
    /// It was read and is not to be counted.
    #[error("{0}")]
    Worthless(Fault),
    /// It is not asked now, since it failed before.
    #[error("waiting after a failure: {0}")]
    Waiting(Fault),
}

impl Trouble {
    /// The fault it is on the page.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Trouble::Client(error) => match error {
                ClientError::Connect { cause, .. } if cause.contains("certificate") => Fault::Untrusted,
                ClientError::Connect { .. } => Fault::Unreachable,
                ClientError::Slow { .. } => Fault::Timeout,
                ClientError::Broken { .. } => Fault::Io,
                ClientError::Large { .. } | ClientError::Redirect { .. } => Fault::Malformed,
                ClientError::Url { .. } => Fault::Unreachable,
                ClientError::File { .. } | ClientError::Identity(_) | ClientError::Roots(_) => {
                    Fault::Untrusted
                }
            },
            Trouble::Elsewhere(_) => Fault::Unreachable,
            Trouble::Password(error) => Fault::from(error),
            Trouble::Login => Fault::PermissionDenied,
            Trouble::Missing(_) | Trouble::NoChassis { .. } | Trouble::NoPower { .. } => Fault::Missing,
            Trouble::Malformed(_) => Fault::Malformed,
            Trouble::Busy { .. } | Trouble::SeveralChassis { .. } => Fault::Limit,
            Trouble::Status(_) => Fault::Io,
            Trouble::Worthless(fault) | Trouble::Waiting(fault) => *fault,
        }
    }
}

/// The meter: what was found, what was shown last, and how it went.
pub struct Meter {
    session: Session,
    wanted: Vec<String>,
    period: Nanos,
    chassis: Vec<Chassis>,
    freshness: Freshness,
    failures: u32,
    empty: u32,
    pause: Option<(Nanos, Fault)>,
}

impl Meter {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn open(wish: Wish) -> Result<Meter, Trouble> {
        Ok(Meter {
            session: Session::open(wish.service)?,
            wanted: wish.chassis,
            period: wish.period,
            chassis: Vec::new(),
            freshness: Freshness::default(),
            failures: 0,
            empty: 0,
            pause: None,
        })
    }

    /// The power now, as the BMC sees it at `at`.
    ///
    /// # Errors
    /// It does not say, or what it says is not to be counted.
    pub async fn read(&mut self, at: Nanos) -> Result<MicroWatts, Trouble> {
        if let Some((_, fault)) = self.pause.filter(|(until, _)| at < *until) {
            return Err(Trouble::Waiting(fault));
        }
        let outcome = self.look(at).await;
        match &outcome {
            // A dead sensor costs the BMC nothing: it is looked at as often as a living one.
            Ok(_) | Err(Trouble::Worthless(_)) => (self.failures, self.empty, self.pause) = (0, 0, None),
            Err(trouble) => self.fail(trouble, at),
        }
        outcome
    }

    /// Ends the session with the BMC.
    pub async fn close(&mut self) {
        self.session.close().await;
    }

    /// Where power is read: chassis and resource.
    #[must_use]
    pub fn place(&self) -> String {
        let places: Vec<String> =
            self.chassis.iter().map(|chassis| format!("{} ({})", chassis.name, chassis.resource())).collect();
        places.join(", ")
    }

    async fn look(&mut self, at: Nanos) -> Result<MicroWatts, Trouble> {
        if self.chassis.is_empty() {
            self.chassis = walk::find(&mut self.session, &self.wanted).await?;
            tracing::info!(chassis = self.place(), "reading the node's power by Redfish");
        }
        let mut shown = Vec::new();
        for chassis in &self.chassis {
            shown.extend(walk::read(&mut self.session, chassis).await?);
        }
        let power = shape::power(&shown);
        let has_time = shown.iter().any(|shown| shown.time.is_some());
        let mut all = DefaultHasher::new();
        shown.iter().for_each(|shown| shown.hash(&mut all));
        let pulse = if has_time { Pulse::Shown } else { Pulse::None };
        let fresh = self.freshness.check(all.finish(), pulse, at);
        power.and_then(|power| fresh.map(|()| power)).map_err(Trouble::Worthless)
    }

    fn fail(&mut self, trouble: &Trouble, at: Nanos) {
        self.empty = if matches!(trouble, Trouble::Malformed(_)) { self.empty + 1 } else { 0 };
        if matches!(trouble, Trouble::Missing(_)) || self.empty >= MAX_EMPTY {
            // A new version of the firmware shows it elsewhere.
            self.chassis.clear();
            self.empty = 0;
        }
        // The first failure costs one reading, a long row of them little of the BMC's time.
        let doublings = self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let pause = Nanos::new(self.period.get().saturating_mul((1 << doublings) - 1)).min(LONGEST_PAUSE);
        let pause = match trouble {
            Trouble::Busy { wait } => pause.max(*wait),
            _ => pause,
        };
        self.pause = Some((at + pause, trouble.fault()));
    }
}

/// The node as the BMC sees it.
pub struct Redfish {
    domains: Vec<Domain>,
    meter: Meter,
    runtime: Runtime,
    telling: Telling,
}

impl SlowSource for Redfish {
    fn domains(&self) -> &[Domain] {
        &self.domains
    }

    fn scope(&self, _: usize) -> Scope {
        Scope::Node
    }

    fn read(&mut self, at: Nanos) -> Vec<Result<Value, Fault>> {
        let outcome = self.runtime.block_on(self.meter.read(at));
        let outcome = outcome.map_err(|trouble| (trouble.fault(), trouble.to_string()));
        vec![self.telling.note(outcome).map(Value::MeanPower)]
    }

    fn close(&mut self) {
        self.runtime.block_on(self.meter.close());
    }
}

/// The BMC that is configured; nothing is asked of it yet, since it may take its time.
pub fn discover(wish: Option<&Wish>) -> (Option<Redfish>, Vec<Finding>) {
    let Some(wish) = wish else { return (None, Vec::new()) };
    let runtime = Builder::new_current_thread().enable_all().build();
    let opened = Meter::open(wish.clone()).map_err(|trouble| (trouble.fault(), trouble.to_string()));
    match opened.and_then(|meter| Ok((meter, runtime.map_err(|error| (Fault::Io, error.to_string()))?))) {
        Ok((meter, runtime)) => {
            let domains = vec![node::domain(SOURCE)];
            let found = node::finding(SOURCE, SOURCE, None, &wish.service.base);
            (Some(Redfish { domains, meter, runtime, telling: Telling::new(SOURCE) }), vec![found])
        }
        Err((fault, words)) => {
            tracing::error!(source = SOURCE, "the node's meter is not read: {words}");
            (None, vec![node::finding(SOURCE, "", Some(fault), &words)])
        }
    }
}

#[cfg(test)]
mod tests;
