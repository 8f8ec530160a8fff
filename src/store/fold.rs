//! The past loses detail with age, never a joule: slots become hours, hours days, days one span before
//! them all, and job records one row a day. Each step is one transaction over one span or a few records.

use super::cell::Amounts;
use super::head::Head;
use super::record::{Bygone, Record};
use super::span::{Level, Span, SumRow, remove_span, remove_sum, write_sum};
use super::trouble::Failure;
use crate::model::checkpoint::Group;
use crate::model::identity::Name;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Names of one kind in a span. The engine gives no more than 200 at a time, so only a day in which they
/// change all the time comes near; what is beyond goes to one name for them all.
pub(super) const MAX_NAMES: usize = 1000;
const OVERFLOW: &str = "overflow";

const HOURS_PER_DAY: u64 = 24;

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// It is done.
    Done,
    /// Some of it does not match its digest: all of it stays as it is.
    Damaged(String),
}

/// The oldest span of `level` that starts before the hour `before` and is none of `except`.
pub(super) fn oldest(
    sql: &Connection,
    level: Level,
    before: u64,
    except: impl Fn(i64) -> bool,
) -> Result<Option<(i64, u64)>, Failure> {
    let mut select = sql.prepare_cached("SELECT id, start FROM span WHERE level = ?1 ORDER BY start, id")?;
    let mut rows = select.query([level as i64])?;
    while let Some(row) = rows.next()? {
        let (id, start): (i64, i64) = (row.get(0)?, row.get(1)?);
        let start = start.cast_unsigned();
        if start < before && !except(id) {
            return Ok(Some((id, start)));
        }
    }
    Ok(None)
}

/// Makes the span a part of the one a level above, or of whatever longer one its time belongs to by now.
pub(super) fn fold_span(sql: &Connection, head: &mut Head, id: i64) -> Result<Folded, Failure> {
    let Some(Ok((span, digest))) = find_span(sql, "id = ?1", params![id])? else {
        return Ok(Folded::Damaged(format!("span {id} of the past is damaged and stays as it is")));
    };
    let damaged = format!("the sums of hour {} are damaged and stay as they are", span.start);
    let Some((target, target_digest)) = target_of(sql, &span)? else {
        return Ok(Folded::Damaged(damaged));
    };
    if target.id != span.id {
        let Some(rows) = sums(sql, span.id)? else { return Ok(Folded::Damaged(damaged)) };
        if !move_sums(sql, head, rows, target.id)? {
            return Ok(Folded::Damaged(damaged));
        }
        remove_span(sql, span.id, digest, &mut head.seals)?;
    }
    target.write(sql, Some(target_digest), &mut head.seals)?;
    Ok(Folded::Done)
}

/// The span that takes `span` up, as it is to be afterwards: an older one, or `span` itself, promoted.
/// `None` if what should take it up is damaged.
fn target_of(sql: &Connection, span: &Span) -> Result<Option<(Span, i64)>, Failure> {
    let (level, start, until) = match span.level {
        Level::Slot => (Level::Hour, span.start, span.until),
        Level::Hour => (Level::Day, span.start / HOURS_PER_DAY * HOURS_PER_DAY, span.until),
        // Whole days, so that a late hour of the last of them finds its place.
        Level::Day | Level::Before => (Level::Before, 0, span.until.div_ceil(HOURS_PER_DAY) * HOURS_PER_DAY),
    };
    let found = find_span(
        sql,
        "host = ?1 AND id <> ?2 AND level >= ?3 AND (start = ?4 OR start <= ?5 AND until > ?5)
            ORDER BY level DESC LIMIT 1",
        params![span.host, span.id, level as i64, start.cast_signed(), span.start.cast_signed()],
    )?;
    let (mut target, digest) = match found {
        None => {
            let promoted = find_span(sql, "id = ?1", params![span.id])?;
            let Some(Ok((mut promoted, digest))) = promoted else { return Ok(None) };
            (promoted.level, promoted.start, promoted.until) = (level, start, until);
            (promoted, digest)
        }
        Some(Ok(found)) => found,
        Some(Err(_)) => return Ok(None),
    };
    target.until = target.until.max(until);
    target.factors = match target.level {
        Level::Slot | Level::Hour => later_factors(&target.factors, &span.factors),
        Level::Day | Level::Before => String::new(),
    };
    Ok(Some((target, digest)))
}

/// The factors of an hour: for each zone that of the later slot.
fn later_factors(hour: &str, slot: &str) -> String {
    type Factors = Vec<(Name, serde_json::Value)>;
    let parse = |text: &str| serde_json::from_str::<Factors>(text).unwrap_or_default();
    let mut factors = parse(hour);
    for (zone, factor) in parse(slot) {
        match factors.iter_mut().find(|(known, _)| *known == zone) {
            Some(known) => known.1 = factor,
            None => factors.push((zone, factor)),
        }
    }
    serde_json::to_string(&factors).unwrap_or_default()
}

type Found<T> = Result<(T, i64), Failure>;

/// The first span of which `condition` is true: not there, or damaged, or whole.
fn find_span(
    sql: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Found<Span>>, Failure> {
    let mut select = sql.prepare_cached(&format!("{} WHERE {condition}", Span::SELECT))?;
    Ok(select.query_row(parameters, |row| Ok(Span::read(row))).optional()?)
}

/// All sums of a span, unless one of them is damaged.
fn sums(sql: &Connection, span: i64) -> Result<Option<Vec<(SumRow, i64)>>, Failure> {
    let mut select = sql.prepare_cached(&format!("{} WHERE span = ?1", SumRow::SELECT))?;
    let mut rows = select.query([span])?;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        match SumRow::read(row) {
            Ok(sum) => sums.push(sum),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(sums))
}

/// Adds the sums to those of the span `target`; `false` if one of these is damaged.
fn move_sums(
    sql: &Connection,
    head: &mut Head,
    rows: Vec<(SumRow, i64)>,
    target: i64,
) -> Result<bool, Failure> {
    let Some(there) = sums(sql, target)? else { return Ok(false) };
    let mut names: HashMap<Name, usize> = HashMap::new();
    let mut there: HashMap<Group, (Amounts, i64)> = there
        .into_iter()
        .map(|(sum, digest)| {
            *names.entry(sum.group.kind.clone()).or_default() += 1;
            (sum.group, (sum.amounts, digest))
        })
        .collect();
    for (row, digest) in rows {
        remove_sum(sql, row.span, &row.group, digest, &mut head.seals)?;
        let mut group = row.group;
        let count = names.entry(group.kind.clone()).or_default();
        if *count >= MAX_NAMES && !there.contains_key(&group) {
            group.name = OVERFLOW.into();
        }
        let (amounts, before) = match there.get(&group) {
            Some((known, before)) => (known.plus(&row.amounts)?, Some(*before)),
            None => {
                *count += 1;
                (row.amounts, None)
            }
        };
        let digest = write_sum(sql, target, &group, &amounts.pack(), before, &mut head.seals)?;
        there.insert(group, (amounts, digest));
    }
    Ok(true)
}

/// Job records of one host and day.
struct Day {
    sum: Bygone,
    records: Vec<(i64, i64)>,
}

/// Adds up the oldest `count` job records after `after` by day. Returns the last that had to stay, because
/// it or its day is damaged.
pub(super) fn fold_records(
    sql: &Connection,
    head: &mut Head,
    after: i64,
    count: u32,
) -> Result<Option<i64>, Failure> {
    let mut select =
        sql.prepare_cached(&format!("{} WHERE number > ?1 ORDER BY number LIMIT ?2", Record::SELECT))?;
    let mut rows = select.query(params![after, count])?;
    let mut damaged = None;
    let mut days: BTreeMap<(Name, i64), Day> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let Ok((record, digest)) = Record::read(row) else {
            damaged = Some(row.get(0)?);
            continue;
        };
        let of_record = (record.number, digest);
        let sum = Bygone::of(record);
        match days.entry((sum.host.clone(), sum.day)) {
            Entry::Occupied(day) => {
                let day = day.into_mut();
                day.sum = day.sum.plus(&sum)?;
                day.records.push(of_record);
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Day { sum, records: vec![of_record] });
            }
        }
    }
    drop(rows);
    for day in days.into_values() {
        if !add_bygone(sql, head, &day.sum)? {
            damaged = damaged.max(day.records.iter().map(|(number, _)| *number).max());
            continue;
        }
        for (number, digest) in day.records {
            sql.prepare_cached("DELETE FROM record WHERE number = ?1")?.execute([number])?;
            head.seals.record.remove_signed(digest);
        }
    }
    Ok(damaged)
}

/// Adds to the row of the day; `false` if that is damaged.
fn add_bygone(sql: &Connection, head: &mut Head, bygone: &Bygone) -> Result<bool, Failure> {
    let mut select = sql.prepare_cached(&format!("{} WHERE host = ?1 AND day = ?2", Bygone::SELECT))?;
    let known = select.query_row(params![bygone.host, bygone.day], |row| Ok(Bygone::read(row))).optional()?;
    match known {
        None => bygone.write(sql, None, &mut head.seals.bygone)?,
        Some(Ok((known, digest))) => known.plus(bygone)?.write(sql, Some(digest), &mut head.seals.bygone)?,
        Some(Err(_)) => return Ok(false),
    }
    Ok(true)
}
