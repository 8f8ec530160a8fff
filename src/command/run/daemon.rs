//! A running exporter on this host, asked by its socket: it takes a command's labels to its own record of it,
//! and lends its meters to who may not read them. Without it, or with a bad answer, we do by ourselves.

use crate::command::local::{AskError, Local};
use crate::model::description::{Attribute, Description};
use crate::model::identity::Name;
use crate::model::quantity::Energy;
use crate::model::reading::{Domain, Factor};
use crate::model::speech::{Progress, Statement, in_steps};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A command is not kept waiting for longer.
const DEADLINE: Duration = Duration::from_millis(300);

/// A way to it.
pub struct Daemon(Local);

/// What became of something that it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// It has heard it.
    Heard,
    /// It has no room for it before its next tick.
    Later,
    /// It is none to it, and will not be.
    Never,
    /// No answer came: it may have heard it.
    Unsure,
    /// It has not heard it.
    Nobody,
}

impl Hearing {
    /// Whether it is not to be told again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Hearing::Heard | Hearing::Never)
    }

    /// Whether there is somebody who can hear more.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Hearing::Heard | Hearing::Later | Hearing::Never)
    }
}

/// Its meters at one moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Host {
    domains: Vec<Reading>,
    factor: Factor,
    // Whether its intensity is to be used: not where the user gave a zone.
    #[serde(skip)]
    wants_factor: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Reading {
    domain: Domain,
    energy: Energy,
}

#[derive(Serialize)]
struct Labels<'a> {
    project: &'a str,
    experiment: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    executable: &'a str,
}

impl Host {
    /// What it measures and estimates.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.iter().map(|reading| &reading.domain)
    }

    /// How far a domain has come.
    #[must_use]
    pub fn energy(&self, id: &Name) -> Option<Energy> {
        self.domains.iter().find(|reading| reading.domain.id == *id).map(|reading| reading.energy)
    }

    /// The intensity in force.
    #[must_use]
    pub fn factor(&self) -> &Factor {
        &self.factor
    }

    /// Whether that is to be used.
    #[must_use]
    pub const fn is_asked_for_factor(&self) -> bool {
        self.wants_factor
    }
}

impl Daemon {
    /// At these sockets, if one of them is there.
    #[must_use]
    pub fn find(sockets: &[PathBuf]) -> Option<Daemon> {
        let there: Vec<PathBuf> = sockets.iter().filter(|socket| socket.exists()).cloned().collect();
        // Without one there is no need of a runtime.
        if there.is_empty() { None } else { Local::new(there).ok().map(Daemon) }
    }

    /// Tells it what is known of the job in whose control group we are at this moment.
    pub fn label(&self, known: &Description) {
        let labels = Labels {
            project: known.get(Attribute::Project),
            experiment: known.get(Attribute::Experiment),
            labels: known.labels().iter().map(|(key, value)| (&**key, &**value)).collect(),
            executable: known.get(Attribute::Executable),
        };
        let body = serde_json::to_vec(&labels).unwrap_or_default();
        note(self.0.ask(&Method::PUT, "/api/v1/job/labels", body, DEADLINE));
    }

    /// Tells it what was said by the job in whose control group we are at this moment.
    pub fn say(&self, statement: &Statement) -> Hearing {
        let (method, path, body) = match statement {
            Statement::Progress(Progress { done, total }) => (
                Method::PUT,
                "/api/v1/job/progress",
                json!({ "done": in_steps(*done), "total": in_steps(*total) }),
            ),
            Statement::Begin(name) => {
                (Method::POST, "/api/v1/job/marks", json!({ "phase": **name, "mark": "begin" }))
            }
            Statement::End(name) => {
                (Method::POST, "/api/v1/job/marks", json!({ "phase": **name, "mark": "end" }))
            }
        };
        let answer = self.0.ask(&method, path, body.to_string().into_bytes(), DEADLINE);
        let hearing = hearing(&answer);
        note(answer);
        hearing
    }

    /// Its meters: as of its last tick, or of one that it takes now.
    #[must_use]
    pub fn host(&self, is_fresh: bool, wants_factor: bool) -> Option<Host> {
        let path = if is_fresh { "/api/v1/host?fresh=1" } else { "/api/v1/host" };
        let body = note(self.0.ask(&Method::GET, path, Vec::new(), DEADLINE))?;
        let host: Result<Host, _> = serde_json::from_slice(&body);
        note(host).map(|host| Host { wants_factor, ..host })
    }
}

fn hearing<T>(answer: &Result<T, AskError>) -> Hearing {
    match answer {
        Ok(_) => Hearing::Heard,
        Err(AskError::Broken { .. }) => Hearing::Unsure,
        Err(AskError::Refused { status: StatusCode::TOO_MANY_REQUESTS, .. }) => Hearing::Later,
        Err(AskError::Refused { status: StatusCode::BAD_REQUEST, .. }) => Hearing::Never,
        // Who does not know the command now may know it after a change of its configuration.
        Err(AskError::Refused { .. } | AskError::Nobody { .. }) => Hearing::Nobody,
    }
}

fn note<T, E: std::error::Error>(outcome: Result<T, E>) -> Option<T> {
    outcome.inspect_err(|error| tracing::debug!("an exporter is of no use: {error}")).ok()
}
