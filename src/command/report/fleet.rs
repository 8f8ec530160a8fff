//! The past of a fleet, from the series that a Prometheus has recorded of our exporters. What one query
//! would take in too much for is asked in halves; nothing is asked that the report does not show.

pub mod answer;
pub mod client;
pub mod frame;
pub mod query;

use super::arguments::{Selection, hardware, job_kind};
use super::past::{Part, Past};
use super::question::{BY_ACCOUNT, Key, Question};
use crate::model::checkpoint::Group;
use crate::model::history::{JobRecord, Span};
use crate::model::identity::{HwType, JobId, JobKind, Name, Origin};
use crate::model::quantity::{CpuTime, Emissions, Energy, Nanos};
use crate::model::snapshot::Column;
use answer::{AnswerError, Series};
use client::{Bounds, Client, ClientError, Credentials};
use frame::{Frame, frames, span_at};
use query::Query;
use std::collections::{BTreeMap, BTreeSet};

/// How often a job is looked for: as often as this many looks allow, but no job must slip through. It is
/// shown for 5 min after its end at the least.
const LOOKS: u64 = 2_000;
const LOOK_SECONDS: std::ops::RangeInclusive<u64> = 15..=300;

/// A sample is good for so long, in Prometheus.
const LOOKBACK: Nanos = Nanos::from_seconds(300);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The connection.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer.
    #[error("asking {server}: {error}")]
    Answer {
        /// Where.
        server: String,
        /// Why.
        error: AnswerError,
    },
    /// There are no such series.
    #[error(
        "Prometheus has no series by user, by group or by what is known of jobs yet: these need a host's own store (--store), or a later version's series"
    )]
    NoGroups,
}

/// A Prometheus.
pub struct Fleet {
    client: Client,
    now: Nanos,
}

/// One value, of one window.
struct Point {
    labels: BTreeMap<String, String>,
    at: Nanos,
    value: f64,
}

type JobKey = (Name, JobKind, Name);

impl Fleet {
    /// Gets ready to ask.
    ///
    /// # Errors
    /// The URL or the credentials are wrong.
    pub fn open(url: &str, selection: &Selection, now: Nanos) -> Result<Fleet, FleetError> {
        let password = selection.prometheus_password_file.as_deref();
        let credentials = Credentials {
            user: selection.prometheus_user.as_deref().zip(password),
            token: selection.prometheus_bearer_token_file.as_deref(),
        };
        Ok(Fleet { client: Client::open(url, &credentials, Bounds::DEFAULT)?, now })
    }

    /// What answers the question, and nothing else.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(&mut self, question: &Question) -> Result<Past, FleetError> {
        let filter = &question.filter;
        let needs_groups = question.has(Key::User) || filter.user.is_some() || filter.group.is_some();
        if needs_groups || question.has(Key::Group) || question.is_of_descriptions() {
            return Err(FleetError::NoGroups);
        }
        let mut past = Past { source: self.client.server().to_owned(), until: self.now, ..Past::default() };
        if question.has(Key::Job) {
            self.jobs(question, &mut past)?;
            past.notes.push(
                "a job counts with what it was shown to use within the period; it is seen until its series ends, 5 min or more after itself".to_owned(),
            );
            if question.has_rest {
                self.residual(question, &mut past)?;
            }
        } else if question.grouping() == Some(BY_ACCOUNT) {
            let [energy, emissions] = Query::kinds(filter);
            self.sums(question, "job_kind", &energy, Some(&emissions), &mut past)?;
            if question.has_rest {
                self.residual(question, &mut past)?;
            }
        } else if question.has(Key::Hardware) || filter.hardware.is_some() {
            self.sums(question, "", &Query::meters(filter), None, &mut past)?;
            // Only the accounts tell grams by hardware.
            let [[_, jobs], [_, rest]] = [Query::kinds(filter), Query::residual(filter)];
            self.emissions(question, "job_kind", &jobs, &mut past)?;
            self.emissions(question, "account", &rest, &mut past)?;
        } else {
            self.sums(question, "", &Query::meters(filter), Some(&Query::host_emissions(filter)), &mut past)?;
        }
        if !past.sums.is_empty() {
            past.notes.push(
                "sums of hosts and of what no job is charged with are increase(), which extrapolates to the ends of its spans".to_owned(),
            );
        }
        settle_zones(&mut past.sums);
        Ok(past)
    }

    fn residual(&mut self, question: &Question, past: &mut Past) -> Result<(), FleetError> {
        let [energy, emissions] = Query::residual(&question.filter);
        self.sums(question, "account", &energy, Some(&emissions), past)
    }

    /// Energy and emissions by the label that names the group.
    fn sums(
        &mut self,
        question: &Question,
        group: &str,
        energy: &Query,
        emissions: Option<&Query>,
        past: &mut Past,
    ) -> Result<(), FleetError> {
        for point in self.fetch(energy, question, past)? {
            let Some(column) = column(&point.labels) else { continue };
            past.sums.push(Part {
                energy: Some(Energy::from_micro(scaled(point.value, 1e6))),
                ..part(&point, question, group, column)
            });
        }
        match emissions {
            Some(emissions) => self.emissions(question, group, emissions, past),
            None => Ok(()),
        }
    }

    fn emissions(
        &mut self,
        question: &Question,
        group: &str,
        query: &Query,
        past: &mut Past,
    ) -> Result<(), FleetError> {
        for point in self.fetch(query, question, past)? {
            let Some(column) = column(&point.labels) else { continue };
            past.sums.push(Part {
                zone: Some(label(&point.labels, "grid_zone")),
                emissions: Some(Emissions::from_nano(scaled(point.value, 1e9))),
                ..part(&point, question, group, column)
            });
        }
        Ok(())
    }

    fn jobs(&mut self, question: &Question, past: &mut Past) -> Result<(), FleetError> {
        let filter = &question.filter;
        let Span { start, end } = question.period;
        let seconds = end.saturating_sub(start).get() / 1_000_000_000;
        let step = (seconds / LOOKS).clamp(*LOOK_SECONDS.start(), *LOOK_SECONDS.end());
        let mut jobs: BTreeMap<JobKey, JobRecord> = BTreeMap::new();
        let [first, last] = Query::seen(filter, step);
        for point in self.fetch(&first, question, past)? {
            let seen = Nanos::new(scaled(point.value, 1e9));
            let job = entry(&mut jobs, &point.labels);
            job.first_seen = job.first_seen.min(seen);
        }
        for point in self.fetch(&last, question, past)? {
            let seen = Nanos::new(scaled(point.value, 1e9));
            let job = entry(&mut jobs, &point.labels);
            job.last_seen = job.last_seen.max(seen);
        }
        for point in self.fetch(&Query::cpu(filter), question, past)? {
            entry(&mut jobs, &point.labels).cpu += CpuTime::new(scaled(point.value, 1e9));
        }
        let [energy, emissions] = Query::jobs(filter);
        for point in self.fetch(&energy, question, past)? {
            let Some(column) = column(&point.labels) else { continue };
            let energy = Energy::from_micro(scaled(point.value, 1e6));
            let job = entry(&mut jobs, &point.labels);
            match job.energy.iter_mut().find(|(known, _)| *known == column) {
                Some((_, sum)) => *sum += energy,
                None => job.energy.push((column, energy)),
            }
        }
        for point in self.fetch(&emissions, question, past)? {
            let Some(column) = column(&point.labels) else { continue };
            let (zone, grams) =
                (label(&point.labels, "grid_zone"), Emissions::from_nano(scaled(point.value, 1e9)));
            let job = entry(&mut jobs, &point.labels);
            match job.emissions.iter_mut().find(|(known, of, _)| *known == zone && *of == column) {
                Some((_, _, sum)) => *sum += grams,
                None => job.emissions.push((zone, column, grams)),
            }
        }
        let recently = end.saturating_sub(LOOKBACK).saturating_sub(Nanos::from_seconds(step));
        for mut job in jobs.into_values() {
            job.is_live = job.last_seen >= recently;
            // A series that lingers after a job that ended before the period is no job of it.
            let is_used = job.energy.iter().any(|(_, energy)| *energy > Energy::ZERO);
            if is_used || job.cpu > CpuTime::ZERO || job.is_live {
                // Between two looks it was there, but nobody saw since when.
                job.last_seen = job.last_seen.max(start);
                job.first_seen = job.first_seen.min(job.last_seen);
                past.jobs.push(job);
            }
        }
        Ok(())
    }

    /// The points of all windows. A query that takes in too much is halved until it does not.
    fn fetch(
        &mut self,
        query: &Query,
        question: &Question,
        past: &mut Past,
    ) -> Result<Vec<Point>, FleetError> {
        let mut points = Vec::new();
        let mut left = frames(question);
        left.reverse();
        while let Some(frame) = left.pop() {
            let answered = self.try_fetch(query, frame, past);
            match (answered, frame.halves()) {
                (Ok(series), _) => points.extend(series.into_iter().flat_map(flat)),
                (Err(FleetError::Answer { error: AnswerError::TooMuch { .. }, .. }), Some([one, other])) => {
                    left.extend([other, one]);
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(points)
    }

    fn try_fetch(&mut self, query: &Query, frame: Frame, past: &mut Past) -> Result<Vec<Series>, FleetError> {
        let text = query.over(frame.step_milliseconds);
        let [end, last] = [frame.end_milliseconds, frame.last_milliseconds()].map(seconds_text);
        let step = seconds_text(frame.step_milliseconds);
        let (status, body) = match frame.count {
            1 => self.client.get("/api/v1/query", &[("query", &text), ("time", &end)])?,
            _ => self.client.get(
                "/api/v1/query_range",
                &[("query", &text), ("start", &end), ("end", &last), ("step", &step)],
            )?,
        };
        let answer = answer::read(status, &body)
            .map_err(|error| FleetError::Answer { server: self.client.server().to_owned(), error })?;
        for warning in answer.warnings {
            let note = format!("Prometheus warns: {warning}");
            if !past.notes.contains(&note) {
                past.notes.push(note);
            }
        }
        Ok(answer.series)
    }
}

fn flat(series: Series) -> impl Iterator<Item = Point> {
    let Series { labels, points } = series;
    points.into_iter().map(move |(time, value)| Point {
        labels: labels.clone(),
        at: Nanos::new(scaled(time, 1e3).saturating_mul(1_000_000)),
        value,
    })
}

fn part(point: &Point, question: &Question, group: &str, column: Column) -> Part {
    Part {
        span: span_at(question, point.at),
        host: label(&point.labels, "host"),
        zone: None,
        group: Group { kind: BY_ACCOUNT.into(), name: label(&point.labels, group) },
        column,
        energy: None,
        revision: None,
        emissions: None,
    }
}

/// Energy has no zone in its series: it is that of the host's grams in the same span, if they have one only.
fn settle_zones(parts: &mut [Part]) {
    let mut zones: BTreeMap<(Name, Span), BTreeSet<Name>> = BTreeMap::new();
    for part in parts.iter() {
        if let (Some(zone), Some(emissions)) = (&part.zone, part.emissions) {
            let of_host = zones.entry((Name::clone(&part.host), part.span)).or_default();
            if emissions > Emissions::ZERO {
                of_host.insert(Name::clone(zone));
            }
        }
    }
    for part in parts.iter_mut().filter(|part| part.energy.is_some()) {
        let of_host = zones.get(&(Name::clone(&part.host), part.span));
        let only = of_host.filter(|zones| zones.len() == 1).and_then(|zones| zones.first());
        part.zone = only.map(Name::clone);
    }
}

fn entry<'a>(
    jobs: &'a mut BTreeMap<JobKey, JobRecord>,
    labels: &BTreeMap<String, String>,
) -> &'a mut JobRecord {
    let (host, id) = (label(labels, "host"), label(labels, "job_id"));
    let kind = labels.get("job_kind").and_then(|kind| job_kind(kind).ok()).unwrap_or(JobKind::Custom);
    let key = (Name::clone(&host), kind, Name::clone(&id));
    jobs.entry(key).or_insert_with(|| JobRecord {
        host,
        id: Some(JobId::new(kind, &id)),
        count: 1,
        user: None,
        cgroup: Name::default(),
        first_seen: Nanos::new(u64::MAX),
        last_seen: Nanos::ZERO,
        is_live: false,
        description: std::sync::Arc::default(),
        phases: Vec::new(),
        cpu: CpuTime::ZERO,
        energy: Vec::new(),
        emissions: Vec::new(),
    })
}

fn label(labels: &BTreeMap<String, String>, name: &str) -> Name {
    labels.get(name).map(String::as_str).unwrap_or_default().into()
}

/// Without an origin it is nobody's figure of ours. Series of whole hosts have no hardware; a report that
/// asks for it does not ask them.
fn column(labels: &BTreeMap<String, String>) -> Option<Column> {
    let origin = labels.get("origin")?;
    let origin = Origin::ALL.into_iter().find(|known| known.as_str() == origin)?;
    let hw_type = labels.get("hw_type").and_then(|text| hardware(text).ok()).unwrap_or(HwType::Other);
    let gpu_instance = label(labels, "gpu_instance");
    Some(Column { hw_type, gpu: label(labels, "gpu"), gpu_instance, origin })
}

/// A float as an integer of a smaller unit; through text, which rounds and never wraps.
fn scaled(value: f64, by: f64) -> u64 {
    format!("{:.0}", value * by).parse().unwrap_or(0)
}

fn seconds_text(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1_000, milliseconds % 1_000)
}

#[cfg(test)]
mod tests;
