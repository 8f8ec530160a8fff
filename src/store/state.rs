//! A checkpoint as rows, and back. What describes a thing is a row of JSON for people to read; what
//! changes at every tick is packed.

mod groups;
mod restated;

use super::head::{FIRST_NUMBER, State};
use super::image::{Image, Table, numbers, put};
use super::trouble::{Failure, signed, unsigned};
use crate::model::checkpoint::{Checkpoint, DomainPosition, GroupPosition, UsagePosition};
use crate::model::description::Description;
use crate::model::groups::{GroupState, Standing};
use crate::model::identity::{JobId, Name, Residual};
use crate::model::quantity::{CpuTime, Emissions, Energy, MicroWatts, Nanos};
use crate::model::reading::{Domain, Hierarchy, Machine};
use crate::model::snapshot::{self, DomainTotals, JobIdentity, JobTotals, Totals};
use crate::model::speech::{Phases, Speech};
use crate::model::time::Moment;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// The accounts that are no jobs, after the residual ones.
const RETIRED: i64 = Residual::ALL.len() as i64;
const HOST: i64 = RETIRED + 1;
const _: () = assert!((HOST as u64) < FIRST_NUMBER, "jobs have numbers of their own");

/// What is remembered between images, so that rows that say who is who are made once.
#[derive(Debug, Default)]
pub(super) struct Known {
    jobs: HashMap<i64, KnownJob>,
    // By hierarchy and inode; the path tells a group from one that had its inode before.
    groups: HashMap<(u8, u64), (Name, i64)>,
    last_group: i64,
    states: HashMap<i64, Arc<GroupState>>,
}

#[derive(Debug, Clone)]
struct KnownJob {
    identity: Arc<JobIdentity>,
    description: Arc<Description>,
    standing: Option<Arc<Standing>>,
    speech: Option<Arc<Speech>>,
    ended: Option<End>,
}

/// The end of a job, in the clock of the page and in that of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) monotonic: Nanos,
    pub(super) wall: Nanos,
}

/// What is to be remembered once an image has been written.
#[derive(Debug, Default)]
pub(super) struct News {
    jobs: Vec<(i64, KnownJob)>,
    groups: Vec<((u8, u64), (Name, i64))>,
    states: Vec<(i64, Arc<GroupState>)>,
}

/// A row of [`Table::Job`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobRow {
    #[serde(flatten)]
    pub(super) id: JobId,
    pub(super) user: Option<u32>,
    pub(super) started: Moment,
    pub(super) cgroup: Name,
    #[serde(default)]
    pub(super) description: Arc<Description>,
    /// How it stands with the groups, by the number of each kind.
    #[serde(default)]
    pub(super) standing: Option<Arc<Standing>>,
    /// What it has said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) speech: Option<Arc<Speech>>,
    pub(super) ended: Option<End>,
}

/// A row of [`Table::Cgroup`].
#[derive(Debug, Serialize, Deserialize)]
struct GroupRow {
    hierarchy: Hierarchy,
    path: Name,
    inode: u64,
}

#[derive(Serialize)]
struct MeterRow<'a> {
    totals: &'a DomainTotals,
    position: &'a DomainPosition,
}

#[derive(Deserialize)]
struct OwnedMeterRow {
    totals: DomainTotals,
    position: DomainPosition,
}

impl Known {
    /// The rows of a checkpoint, in the memory of `spare`; `last` is the image before it.
    pub(super) fn image(
        &self,
        checkpoint: &Checkpoint,
        last: &Image,
        spare: Image,
    ) -> Result<(Image, News), Failure> {
        let mut image = Image::in_place_of(spare);
        let mut news = News::default();
        push_domains(&mut image, checkpoint)?;
        push_accounts(&mut image, &checkpoint.totals)?;
        for (row, job) in checkpoint.totals.jobs.iter().enumerate() {
            let standing = checkpoint.groups.standings.get(row);
            self.push_job((job, standing), &checkpoint.at, last, &mut image, &mut news)?;
        }
        self.push_groups(&checkpoint.groups, last, &mut image, &mut news)?;
        let mut next_group = self.last_group;
        for group in &checkpoint.usage.groups {
            self.push_group(group, last, &mut next_group, &mut image, &mut news)?;
        }
        restated::push(&mut image, &checkpoint.restated)?;
        let processors = &checkpoint.usage.processors;
        image.push(Table::Processor, 0, |bytes| {
            for &(cpu, ticks) in processors {
                put(bytes, u64::from(cpu));
                put(bytes, ticks);
            }
            Ok::<_, Failure>(())
        })?;
        image.sort();
        Ok((image, news))
    }

    /// The image that came with `news` has been written.
    pub(super) fn learn(&mut self, news: News, image: &Image) {
        self.jobs.extend(news.jobs);
        self.last_group = news.groups.iter().map(|(_, (_, id))| *id).fold(self.last_group, i64::max);
        self.groups.extend(news.groups);
        self.jobs.retain(|id, _| image.get(Table::Job, *id).is_some());
        self.groups.retain(|_, (_, id)| image.get(Table::Cgroup, *id).is_some());
        self.states.extend(news.states);
        self.states.retain(|id, _| image.get(Table::GroupName, *id).is_some());
    }

    fn push_job(
        &self,
        (job, standing): (&JobTotals, Option<&Arc<Standing>>),
        at: &Moment,
        last: &Image,
        image: &mut Image,
        news: &mut News,
    ) -> Result<(), Failure> {
        let id = signed(job.job.number)?;
        let known = self.jobs.get(&id);
        let end = job.ended.map(|ended| match known.and_then(|known| known.ended) {
            Some(end) if end.monotonic == ended => end,
            Some(_) | None => {
                End { monotonic: ended, wall: at.wall.saturating_sub(at.monotonic.saturating_sub(ended)) }
            }
        });
        let is_known = known.is_some_and(|known| {
            let is_same = Arc::ptr_eq(&known.identity, &job.job);
            let stands = known.standing.as_ref().map(Arc::as_ptr) == standing.map(Arc::as_ptr);
            let says = match (&known.speech, &job.speech) {
                (Some(known), Some(speech)) => speech.is_kept_by(known),
                (known, speech) => known.is_some() == speech.is_some(),
            };
            let is_called = Arc::ptr_eq(&known.description, &job.description);
            known.ended == end && is_same && stands && says && is_called
        });
        if is_known && image.push_from(last, Table::Job, id) {
            return Ok(());
        }
        let row = JobRow {
            id: job.job.id.clone(),
            user: job.job.user,
            started: job.job.started,
            cgroup: Arc::clone(&job.job.cgroup),
            description: Arc::clone(&job.description),
            standing: standing.cloned(),
            speech: job.speech.clone(),
            ended: end,
        };
        image.push(Table::Job, id, |bytes| serde_json::to_writer(bytes, &row))?;
        let (identity, description) = (Arc::clone(&job.job), Arc::clone(&job.description));
        let (standing, speech) = (standing.cloned(), job.speech.clone());
        news.jobs.push((id, KnownJob { identity, description, standing, speech, ended: end }));
        Ok(())
    }

    fn push_group(
        &self,
        group: &GroupPosition,
        last: &Image,
        next: &mut i64,
        image: &mut Image,
        news: &mut News,
    ) -> Result<(), Failure> {
        let key = (group.hierarchy as u8, group.inode);
        let known = self.groups.get(&key).filter(|(path, _)| *path == group.path).map(|(_, id)| *id);
        let id = match known {
            Some(id) if image.push_from(last, Table::Cgroup, id) => id,
            Some(_) | None => {
                *next += 1;
                let row = GroupRow {
                    hierarchy: group.hierarchy,
                    path: Arc::clone(&group.path),
                    inode: group.inode,
                };
                image.push(Table::Cgroup, *next, |bytes| serde_json::to_writer(bytes, &row))?;
                news.groups.push((key, (Arc::clone(&group.path), *next)));
                *next
            }
        };
        image.push(Table::Position, id, |bytes| {
            put(bytes, group.usage.get());
            put(bytes, group.carry.cast_unsigned());
            // Socket by socket, after a mark that tells none from no sockets.
            if let Some(sockets) = &group.per_socket {
                put(bytes, sockets.len() as u64);
                sockets.iter().for_each(|usage| put(bytes, usage.get()));
            }
            Ok(())
        })
    }
}

fn push_domains(image: &mut Image, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let (domains, totals) = (&checkpoint.machine.domains, &checkpoint.totals.domains);
    assert_eq!(domains.len(), totals.len(), "totals of every domain");
    assert_eq!(domains.len(), checkpoint.domains.len(), "a position of every domain");
    let states = totals.iter().zip(&checkpoint.domains);
    for (id, (domain, (totals, position))) in (0..).zip(domains.iter().zip(states)) {
        image.push(Table::Domain, id, |bytes| serde_json::to_writer(bytes, domain))?;
        image.push(Table::Meter, id, |bytes| serde_json::to_writer(bytes, &MeterRow { totals, position }))?;
    }
    Ok(())
}

fn push_accounts(image: &mut Image, totals: &Totals) -> Result<(), Failure> {
    let jobs: Vec<(i64, Option<CpuTime>)> = totals
        .jobs
        .iter()
        .map(|job| Ok::<_, Failure>((signed(job.job.number)?, Some(job.cpu))))
        .collect::<Result<_, _>>()?;
    let residual: Vec<_> = (0..RETIRED).map(|id| (id, None)).collect();
    let columns = totals.columns.len();
    let cells = columns * totals.zones.len();
    for (table, rows) in [
        (&totals.residual_table, &residual),
        (&totals.retired_table, &vec![(RETIRED, None)]),
        (&totals.host, &vec![(HOST, None)]),
        (&totals.job_table, &jobs),
    ] {
        assert_eq!(table.energy.len(), rows.len() * columns, "rows × columns of energy");
        assert_eq!(table.emissions.len(), rows.len() * cells, "rows × zones × columns of emissions");
        for (row, &(id, cpu)) in rows.iter().enumerate() {
            image.push(Table::Live, id, |bytes| {
                let energy = &table.energy[row * columns..(row + 1) * columns];
                energy.iter().for_each(|energy| put(bytes, energy.as_micro()));
                let emissions = &table.emissions[row * cells..(row + 1) * cells];
                emissions.iter().for_each(|emissions| put(bytes, emissions.as_nano()));
                put(bytes, cpu.unwrap_or_default().get());
                Ok::<_, Failure>(())
            })?;
        }
    }
    Ok(())
}

/// One account: energy by column, emissions by zone and column, CPU time.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) energy: Vec<Energy>,
    pub(super) emissions: Vec<Emissions>,
    pub(super) cpu: CpuTime,
}

/// The account with this number.
pub(super) fn account(image: &Image, state: &State, id: i64) -> Result<Account, Failure> {
    let body = image.get(Table::Live, id);
    let mut rest = numbers(body.ok_or_else(|| Failure::Malformed(format!("account {id} is missing")))?)?;
    let (columns, zones) = (state.columns.len(), state.zones.len());
    if rest.len() != columns * (1 + zones) + 1 {
        return Err(Failure::Malformed(format!("account {id} has {} cells", rest.len())));
    }
    let energy = rest.by_ref().take(columns).map(Energy::from_micro).collect();
    let emissions = rest.by_ref().take(columns * zones).map(Emissions::from_nano).collect();
    Ok(Account { energy, emissions, cpu: rest.next().map(CpuTime::new).unwrap_or_default() })
}

/// The checkpoint that was written as these rows, without its floors and slots, and what is known of it.
/// Jobs come by number, groups in the order in which they were first met.
pub(super) fn restore(
    image: &Image,
    state: &State,
    next_number: u64,
) -> Result<(Checkpoint, Known), Failure> {
    let mut known = Known::default();
    let mut totals = Totals {
        started: state.started,
        columns: Arc::clone(&state.columns),
        zones: state.zones.clone(),
        live_jobs: state.live_jobs,
        overflowed_jobs: state.overflowed_jobs,
        cpu_deficit: state.cpu_deficit,
        ..Totals::default()
    };
    for id in 0..RETIRED {
        append(&mut totals.residual_table, account(image, state, id)?);
    }
    append(&mut totals.retired_table, account(image, state, RETIRED)?);
    append(&mut totals.host, account(image, state, HOST)?);
    let mut groups = groups::restore(image, state, &mut known)?;
    for (id, body) in image.table(Table::Job) {
        let row: JobRow = serde_json::from_slice(body)?;
        let (standing, speech) = (row.standing.clone(), row.speech.clone());
        let account = account(image, state, id)?;
        let ended = row.ended;
        let description = Arc::clone(&row.description);
        let job = Arc::new(row.identity(unsigned(id)?));
        let identity = Arc::clone(&job);
        let known_job = KnownJob {
            identity,
            description: Arc::clone(&description),
            standing: standing.clone(),
            speech: speech.clone(),
            ended,
        };
        known.jobs.insert(id, known_job);
        groups.standings.push(standing.unwrap_or_default());
        totals.jobs.push(JobTotals {
            job,
            cpu: account.cpu,
            ended: ended.map(|end| end.monotonic),
            description,
            power: MicroWatts::ZERO,
            held: Vec::new(),
            speech,
        });
        append(&mut totals.job_table, account);
    }
    let (machine, domains) = restore_domains(image, state, &mut totals)?;
    let usage = restore_usage(image, state, &mut known)?;
    let checkpoint = Checkpoint {
        at: state.at,
        machine: Arc::new(machine),
        present: state.present,
        totals: Arc::new(totals),
        remainders: state.remainders.clone(),
        domains,
        usage,
        groups,
        restated: restated::restore(image, state.zones.len())?,
        slots: Vec::new(),
        next_number,
    };
    Ok((checkpoint, known))
}

impl JobRow {
    fn identity(self, number: u64) -> JobIdentity {
        JobIdentity { number, id: self.id, user: self.user, started: self.started, cgroup: self.cgroup }
    }
}

fn append(table: &mut snapshot::Table, account: Account) {
    table.energy.extend(account.energy);
    table.emissions.extend(account.emissions);
}

fn restore_domains(
    image: &Image,
    state: &State,
    totals: &mut Totals,
) -> Result<(Machine, Vec<DomainPosition>), Failure> {
    let mut machine = Machine {
        host: Arc::clone(&state.host),
        cpu_model: Arc::clone(&state.cpu_model),
        kernel: Arc::clone(&state.kernel),
        domains: Vec::new(),
    };
    let mut positions = Vec::new();
    for (id, body) in image.table(Table::Domain) {
        machine.domains.push(serde_json::from_slice::<Domain>(body)?);
        let meter = image.get(Table::Meter, id);
        let meter = meter.ok_or_else(|| Failure::Malformed(format!("meter {id} is missing")))?;
        let OwnedMeterRow { totals: domain, position } = serde_json::from_slice(meter)?;
        totals.domains.push(domain);
        positions.push(position);
    }
    Ok((machine, positions))
}

fn restore_usage(image: &Image, state: &State, known: &mut Known) -> Result<UsagePosition, Failure> {
    let mut usage = UsagePosition {
        processors: Vec::new(),
        deficit: state.deficit,
        view: Arc::clone(&state.view),
        is_complete: state.is_complete,
        groups: Vec::new(),
    };
    for (id, body) in image.table(Table::Cgroup) {
        let GroupRow { hierarchy, path, inode } = serde_json::from_slice(body)?;
        let mut rest = numbers(image.get(Table::Position, id).unwrap_or_default())?;
        let (Some(used), Some(carry)) = (rest.next(), rest.next()) else {
            return Err(Failure::Malformed(format!("position {id} is missing")));
        };
        let per_socket = rest.next().map(|_| rest.map(CpuTime::new).collect());
        known.groups.insert((hierarchy as u8, inode), (Arc::clone(&path), id));
        known.last_group = known.last_group.max(id);
        usage.groups.push(GroupPosition {
            hierarchy,
            path,
            inode,
            usage: CpuTime::new(used),
            per_socket,
            carry: carry.cast_signed(),
        });
    }
    let processors: Vec<u64> = numbers(image.get(Table::Processor, 0).unwrap_or_default())?.collect();
    for pair in processors.as_chunks::<2>().0 {
        let cpu = u32::try_from(pair[0]).map_err(|_| Failure::Malformed(format!("processor {}", pair[0])))?;
        usage.processors.push((cpu, pair[1]));
    }
    Ok(usage)
}

/// Makes of a state what another boot may take up: no clock of the old boot means anything now, nor does
/// any position. What ended before the boot ended, for the page, with it.
pub(super) fn forget_positions(checkpoint: &mut Checkpoint, known: &mut Known) {
    let ended = checkpoint.at.monotonic;
    checkpoint.at = Moment { wall: checkpoint.at.wall, ..Moment::default() };
    for position in &mut checkpoint.domains {
        position.last = None;
        position.doubted = None;
        position.waiting.clear();
        position.waiting_in_doubt.clear();
    }
    checkpoint.usage.processors.clear();
    checkpoint.usage.groups.clear();
    checkpoint.usage.is_complete = false;
    checkpoint.usage.deficit = 0;
    let totals = Arc::make_mut(&mut checkpoint.totals);
    totals.cpu_deficit = CpuTime::ZERO;
    for row in 0..totals.jobs.len() {
        let until = totals.amounts_of_job(row);
        let job = &mut totals.jobs[row];
        // What a job was at, and how far it was, ended with the boot.
        job.speech = job.speech.as_ref().map(|speech| {
            let all = speech.phases.at(job.ended.unwrap_or(ended), &until, job.cpu);
            let phases =
                Phases { all, until, cpu: job.cpu, refused: speech.phases.refused, ..Phases::default() };
            Arc::new(Speech { phases: Arc::new(phases), ..Speech::default() })
        });
        job.ended = job.ended.map(|_| Nanos::ZERO);
    }
    // In wall time the ends stay where they were.
    for end in known.jobs.values_mut().filter_map(|job| job.ended.as_mut()) {
        end.monotonic = Nanos::ZERO;
    }
}
