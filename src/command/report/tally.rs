//! Rows and their total, from sums or from job records. Every part that passes the filter is added to one
//! row and to the total, so that they agree to the last µJ and ng.

use super::amount::{Amount, date, decimal, duration, timestamp};
use super::past::{Part, Past};
use super::period::{DAY, HOUR};
use super::question::{BY_ACCOUNT, Field, Key, Question};
use crate::model::history::{JobRecord, Span};
use crate::model::identity::{Name, Origin, Residual};
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::snapshot::Column;
use crate::model::speech::{self, Amounts};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of a report.
#[derive(Debug)]
pub struct Tally {
    /// What tells the rows apart.
    pub fields: Vec<Field>,
    /// The rows.
    pub rows: Vec<Row>,
    /// How many rows a limit left out, and their sum.
    pub more: Option<(usize, Row)>,
    /// Everything together.
    pub total: Row,
    /// Whether rows are jobs.
    pub has_jobs: bool,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// One for each field.
    pub cells: Vec<Name>,
    /// What kind of row it is.
    pub place: Place,
    /// Where its first span or job begins.
    pub start: Nanos,
    /// What was read from meters.
    pub measured: Amount,
    /// What was worked out from models.
    pub estimated: Amount,
    /// By how many ng the emissions turned out larger, or smaller if below 0.
    pub revision: Option<i128>,
    /// The jobs in it.
    pub jobs: Option<Lives>,
}

/// The order of rows before any other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// As any other.
    #[default]
    Ordinary,
    /// Jobs whose records were folded together.
    Folded,
    /// What no job is charged with.
    NoJob,
}

/// The jobs of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// How many.
    pub count: u64,
    /// When the first was first seen.
    pub first_seen: Nanos,
    /// When the last was last seen.
    pub last_seen: Nanos,
    /// Their CPU time, in ns; that of a fleet does not fit 64 bits.
    pub cpu: u128,
    /// Whether one of them lives.
    pub is_live: bool,
}

impl Row {
    fn amount(&mut self, origin: Origin) -> &mut Amount {
        match origin {
            Origin::Measured => &mut self.measured,
            Origin::Estimated => &mut self.estimated,
        }
    }

    fn add(&mut self, origin: Origin, energy: Option<Energy>, emissions: Option<Emissions>) {
        let amount = self.amount(origin);
        energy.into_iter().for_each(|energy| amount.add_energy(energy));
        emissions.into_iter().for_each(|emissions| amount.add_emissions(emissions));
    }

    /// Adds another row to this one.
    pub fn absorb(&mut self, other: &Row) {
        self.measured.add(&other.measured);
        self.estimated.add(&other.estimated);
        self.revise(other.revision);
        if let Some(lives) = &other.jobs {
            self.live(lives);
        }
    }

    fn revise(&mut self, revision: Option<i128>) {
        if let Some(nanograms) = revision {
            self.revision = Some(self.revision.unwrap_or(0) + nanograms);
        }
    }

    fn live(&mut self, other: &Lives) {
        match &mut self.jobs {
            Some(lives) => {
                lives.count += other.count;
                lives.first_seen = lives.first_seen.min(other.first_seen);
                lives.last_seen = lives.last_seen.max(other.last_seen);
                lives.cpu += other.cpu;
                lives.is_live |= other.is_live;
            }
            None => self.jobs = Some(*other),
        }
    }
}

impl Lives {
    fn of(job: &JobRecord) -> Lives {
        Lives {
            count: job.count,
            first_seen: job.first_seen,
            last_seen: job.last_seen,
            cpu: u128::from(job.cpu.get()),
            is_live: job.is_live,
        }
    }

    fn with_cpu(self, cpu: Nanos) -> Lives {
        Lives { cpu: u128::from(cpu.get()), ..self }
    }
}

/// The answer to a question, one row for each combination of its keys.
#[must_use]
pub fn tally(past: &Past, question: &Question) -> Tally {
    let mut rows = Rows::new(question);
    if question.is_of_jobs() {
        for job in jobs(past, question) {
            rows.take(job);
        }
        if question.has_rest {
            let residual = |name: &str| Residual::ALL.iter().any(|account| account.as_str() == name);
            for part in parts(past, question, Some(BY_ACCOUNT)) {
                if residual(&part.group.name) {
                    rows.part(part, Place::NoJob);
                }
            }
        }
    } else {
        for part in parts(past, question, question.grouping()) {
            if question.takes_group(&part.group) {
                rows.part(part, Place::Ordinary);
            }
        }
    }
    rows.finish(past)
}

/// The job records that answer a question, one row each.
#[must_use]
pub fn records(past: &Past, question: &Question) -> Tally {
    let mut all = Rows::new(question);
    let mut each = Vec::new();
    for job in jobs(past, question) {
        let mut one = Rows::new(question);
        one.job(job);
        all.job(job);
        each.extend(one.rows.into_values());
    }
    Tally { rows: each, ..all.finish(past) }
}

/// The sums of one kind of groups that lie in the period. If any kind will do, it is one kind for each
/// host and span, since the groups of each add up to the host.
fn parts<'a>(
    past: &'a Past,
    question: &'a Question,
    grouping: Option<&'a str>,
) -> impl Iterator<Item = &'a Part> {
    let mut chosen: BTreeMap<(&str, Span), &str> = BTreeMap::new();
    for part in past.sums.iter().filter(|_| grouping.is_none()) {
        let kind = &*part.group.kind;
        let entry = chosen.entry((&part.host, part.span)).or_insert(kind);
        if *entry != BY_ACCOUNT && (kind == BY_ACCOUNT || kind < *entry) {
            *entry = kind;
        }
    }
    past.sums.iter().filter(move |part| {
        let wanted = grouping.or_else(|| chosen.get(&(&*part.host, part.span)).copied());
        wanted == Some(&*part.group.kind)
            && is_of(part, question.period)
            && question.filter.takes_host(&part.host)
            && question.filter.takes_column(&part.column)
    })
}

/// The jobs that lived at some time of the period.
fn jobs<'a>(past: &'a Past, question: &'a Question) -> impl Iterator<Item = &'a JobRecord> {
    past.jobs.iter().filter(move |job| is_inside(job, question.period) && question.filter.takes_job(job))
}

fn is_of(part: &Part, period: Span) -> bool {
    part.span.end > period.start && part.span.start < period.end
}

/// An amount of ng in g, for people.
fn grams(nanograms: u128) -> String {
    format!("{} g", decimal((nanograms + 500_000) / 1_000_000, 3))
}

fn is_inside(job: &JobRecord, period: Span) -> bool {
    job.last_seen >= period.start && job.first_seen < period.end
}

/// The zone of a job's energy, which is kept without one: where all its grams are.
fn only_zone(job: &JobRecord) -> Option<&Name> {
    let mut zones = job.emissions.iter().map(|(zone, _, _)| zone);
    let first = zones.next()?;
    zones.all(|zone| zone == first).then_some(first)
}

/// All that a job used, by kind of hardware and origin, as its phases have it.
fn whole(job: &JobRecord) -> Amounts {
    let mut all = Amounts::default();
    let part = |column: &Column, energy, emissions| speech::Amount {
        hw_type: column.hw_type,
        origin: column.origin,
        energy,
        emissions,
    };
    for (column, energy) in &job.energy {
        all.add(part(column, *energy, Emissions::ZERO));
    }
    for (_, column, emissions) in &job.emissions {
        all.add(part(column, Energy::ZERO, *emissions));
    }
    all
}

struct Rows<'a> {
    question: &'a Question,
    fields: Vec<Field>,
    rows: BTreeMap<(Place, Vec<Name>), Row>,
    total: Row,
    partial: BTreeSet<Span>,
    reaching_out: u64,
    without_zone: u64,
}

impl<'a> Rows<'a> {
    fn new(question: &'a Question) -> Rows<'a> {
        Rows {
            question,
            fields: question.fields(),
            rows: BTreeMap::new(),
            total: Row::default(),
            partial: BTreeSet::new(),
            reaching_out: 0,
            without_zone: 0,
        }
    }

    fn row(&mut self, place: Place, cells: Vec<Name>, start: Nanos) -> &mut Row {
        let fresh = || Row { cells: cells.clone(), place, start, ..Row::default() };
        let row = self.rows.entry((place, cells.clone())).or_insert_with(fresh);
        row.start = row.start.min(start);
        row
    }

    fn has_zones(&self) -> bool {
        self.question.has(Key::Zone) || self.question.filter.zone.is_some()
    }

    fn part(&mut self, part: &Part, place: Place) {
        if self.has_zones() && part.zone.is_none() {
            self.without_zone += 1;
        }
        let zone = part.zone.as_deref().unwrap_or_default();
        if !self.question.filter.takes_zone(zone) {
            return;
        }
        let period = self.question.period;
        if part.span.start < period.start || part.span.end > period.end {
            self.partial.insert(part.span);
        }
        let cells = self.fields.iter().map(|field| part_cell(*field, part, zone, place)).collect();
        let row = self.row(place, cells, part.span.start);
        row.add(part.column.origin, part.energy, part.emissions);
        // Of jobs it is not known, so it is not shown of what no job is charged with beside them.
        let revision = part.revision.filter(|_| place != Place::NoJob);
        row.revise(revision);
        self.total.revise(revision);
        self.total.add(part.column.origin, part.energy, part.emissions);
    }

    fn take(&mut self, job: &JobRecord) {
        if self.question.has(Key::Phase) { self.phases(job) } else { self.job(job) }
    }

    /// One row for each thing that the job was at, and one for what it used outside of all of them.
    fn phases(&mut self, job: &JobRecord) {
        let place = if job.id.is_some() { Place::Ordinary } else { Place::Folded };
        let (lives, mut rest) = (Lives::of(job), whole(job));
        let mut cpu = job.cpu;
        for phase in &job.phases {
            self.phase(job, (place, &phase.name), &phase.amounts, &lives.with_cpu(phase.cpu));
            rest = rest.since(&phase.amounts);
            cpu = cpu.saturating_sub(phase.cpu);
        }
        let is_nothing =
            |amount: &speech::Amount| amount.energy == Energy::ZERO && amount.emissions == Emissions::ZERO;
        if job.phases.is_empty() || cpu > Nanos::ZERO || !rest.0.iter().all(is_nothing) {
            self.phase(job, (place, ""), &rest, &lives.with_cpu(cpu));
        }
        self.total.live(&lives);
        self.reach_out(job);
    }

    fn phase(&mut self, job: &JobRecord, (place, name): (Place, &str), amounts: &Amounts, lives: &Lives) {
        let cell = |field: &Field| match field {
            Field::Phase => name.into(),
            other => job_cell(*other, job, None, ""),
        };
        let cells: Vec<Name> = self.fields.iter().map(cell).collect();
        self.row(place, cells.clone(), job.first_seen).live(lives);
        for amount in &amounts.0 {
            let (energy, emissions) = (Some(amount.energy), Some(amount.emissions));
            self.row(place, cells.clone(), job.first_seen).add(amount.origin, energy, emissions);
            self.total.add(amount.origin, energy, emissions);
        }
    }

    fn reach_out(&mut self, job: &JobRecord) {
        let period = self.question.period;
        if job.first_seen < period.start || job.last_seen > period.end {
            self.reaching_out += job.count;
        }
    }

    fn job(&mut self, job: &JobRecord) {
        let (question, filter) = (self.question, &self.question.filter);
        let place = if job.id.is_some() { Place::Ordinary } else { Place::Folded };
        let zone = only_zone(job).map_or("", |zone| zone);
        let mut touched: BTreeSet<Vec<Name>> = BTreeSet::new();
        let mut add = |rows: &mut Self, column: &Column, zone: &str, energy, emissions| {
            if !filter.takes_column(column) || !filter.takes_zone(zone) {
                return;
            }
            let cells: Vec<Name> =
                rows.fields.iter().map(|field| job_cell(*field, job, Some(column), zone)).collect();
            touched.insert(cells.clone());
            rows.row(place, cells, job.first_seen).add(column.origin, energy, emissions);
            rows.total.add(column.origin, energy, emissions);
        };
        for (column, energy) in &job.energy {
            add(self, column, zone, Some(*energy), None);
        }
        for (zone, column, emissions) in &job.emissions {
            add(self, column, zone, None, Some(*emissions));
        }
        // A job that has used nothing yet is a row too, where nothing but the job makes rows.
        let is_whole = filter.hardware.is_none() && filter.zone.is_none();
        if is_whole && !question.has(Key::Hardware) && !question.has(Key::Zone) {
            touched.insert(self.fields.iter().map(|field| job_cell(*field, job, None, zone)).collect());
        }
        if touched.is_empty() {
            return;
        }
        let lives = Lives::of(job);
        for cells in touched {
            self.row(place, cells, job.first_seen).live(&lives);
        }
        self.total.live(&lives);
        if self.has_zones() && zone.is_empty() && !job.energy.is_empty() {
            self.without_zone += 1;
        }
        self.reach_out(job);
    }

    fn finish(self, past: &Past) -> Tally {
        let mut notes = past.notes.clone();
        let period = self.question.period;
        // What lies behind the last commit is not there, whatever the slot's end.
        let cuts = |span: &&Span| span.start < period.start || period.end < past.until;
        let partial: Vec<&Span> = self.partial.iter().filter(cuts).collect();
        if let Some(oldest) = partial.iter().find(|span| span.start == Nanos::ZERO) {
            let before = date(oldest.end);
            notes.push(format!("what was used before {before} is kept as one sum, and counted whole"));
        }
        let width = |span: &&Span| span.end.saturating_sub(span.start);
        if let Some(width) = partial.iter().filter(|span| span.start > Nanos::ZERO).map(width).max() {
            let width = duration(width);
            notes
                .push(format!("slots of up to {width} that are only partly in the period are counted whole"));
        }
        let has_jobs = self.question.is_of_jobs();
        if past.has_whole_jobs && self.reaching_out > 0 {
            let count = self.reaching_out;
            notes.push(format!("{count} jobs reach beyond the period and are counted with all they used"));
        }
        if self.without_zone > 0 {
            let what = if has_jobs { "jobs" } else { "sums" };
            notes.push(format!(
                "the energy of {} {what} from more than one grid zone cannot be told by zone, only its grams can",
                self.without_zone
            ));
        }
        if let Some(revision) = self.total.revision.filter(|revision| *revision != 0) {
            let total = [&self.total.measured, &self.total.estimated];
            let charged: u128 = total.into_iter().filter_map(|amount| amount.emissions).sum();
            let restated = charged.saturating_add_signed(revision);
            let size = grams(revision.unsigned_abs());
            let way = if revision < 0 { "less" } else { "more" };
            notes.push(format!(
                "intensities were revised after they were charged: {size} {way} in all, which makes {}",
                grams(restated)
            ));
        }
        if has_jobs && past.sums.iter().any(|part| part.revision.is_some() && is_of(part, period)) {
            let what = "revisions of intensities are kept by the hour and are not in the rows of jobs";
            notes.push(what.to_owned());
        }
        let filter = &self.question.filter;
        if has_jobs && (filter.user.is_some() || filter.kind.is_some() || filter.job.is_some()) {
            let folded = past.jobs.iter().filter(|job| job.id.is_none() && is_inside(job, period));
            let count: u64 = folded.map(|job| job.count).sum();
            if count > 0 {
                notes.push(format!("{count} older jobs are folded together and can no longer be picked out"));
            }
        }
        let rows = self.rows.into_values().collect();
        Tally { fields: self.fields, rows, more: None, total: self.total, has_jobs, notes }
    }
}

fn part_cell(field: Field, part: &Part, zone: &str, place: Place) -> Name {
    match field {
        Field::Day => slot(part.span, DAY),
        Field::Hour => slot(part.span, HOUR),
        Field::Host => Name::clone(&part.host),
        Field::Zone => zone.into(),
        Field::Kind | Field::Group => Name::clone(&part.group.name),
        Field::User if place == Place::NoJob => Name::default(),
        Field::User => Name::clone(&part.group.name),
        Field::GroupKind => Name::clone(&part.group.kind),
        Field::Hardware => part.column.hw_type.as_str().into(),
        Field::Gpu => Name::clone(&part.column.gpu),
        Field::JobKind | Field::JobId | Field::Phase | Field::Attribute(_) | Field::Label(_) => {
            Name::default()
        }
    }
}

fn job_cell(field: Field, job: &JobRecord, column: Option<&Column>, zone: &str) -> Name {
    match field {
        Field::Host => Name::clone(&job.host),
        Field::Zone => zone.into(),
        Field::JobKind | Field::Kind => job.id.as_ref().map_or("", |id| id.kind().as_str()).into(),
        Field::JobId => job.id.as_ref().map(|id| Name::clone(id.id())).unwrap_or_default(),
        Field::User => job.user.map(|user| user.to_string().into()).unwrap_or_default(),
        Field::Hardware => column.map_or("", |column| column.hw_type.as_str()).into(),
        Field::Gpu => column.map(|column| Name::clone(&column.gpu)).unwrap_or_default(),
        Field::Attribute(attribute) => job.description.get(attribute).into(),
        Field::Label(text) => {
            job.description.labels().get(Field::label_key(text)).map(Name::clone).unwrap_or_default()
        }
        // A question refuses these with jobs, and a phase is told by who asks.
        Field::Day | Field::Hour | Field::Group | Field::GroupKind | Field::Phase => Name::default(),
    }
}

/// A span as the start of its hour or day; a wider one says how wide it is.
fn slot(span: Span, unit: u64) -> Name {
    let width = span.end.saturating_sub(span.start).get();
    let start = Nanos::new(span.start.get() - span.start.get() % unit);
    let text = match (unit, width) {
        (_, DAY..) if span.start == Nanos::ZERO && width > DAY => format!("before {}", date(span.end)),
        (HOUR, ..=HOUR) => timestamp(start),
        _ => date(start),
    };
    text.into()
}

#[cfg(test)]
mod tests;
