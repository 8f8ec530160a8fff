//! Sums over time: what each group used in an hour, a day, or before all days that are kept. An hour
//! that is being filled is written with its values as they are, so that a commit may be lost or repeated.

use super::cell::{Amounts, Dictionary, put_amount};
use super::digest::Fields;
use super::head::Seals;
use super::trouble::{Failure, signed, unsigned};
use crate::model::checkpoint::{Checkpoint, Group, Slot};
use crate::model::identity::Name;
use crate::model::reading::Factor;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;
use std::sync::Arc;

/// How long a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// An hour, and only a part of what was used in it: a slot of a process.
    Slot = 0,
    /// An hour.
    Hour = 1,
    /// A day, up to the last of its hours that was added to it.
    Day = 2,
    /// Everything before the first day that is kept.
    Before = 3,
}

impl Level {
    fn of(number: i64) -> Result<Level, Failure> {
        let all = [Level::Slot, Level::Hour, Level::Day, Level::Before];
        let found = all.into_iter().find(|level| *level as i64 == number);
        found.ok_or_else(|| Failure::Malformed(format!("no level of time: {number}")))
    }
}

/// A row of the table of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) id: i64,
    pub(super) level: Level,
    pub(super) host: Name,
    /// In hours since 1970, UTC.
    pub(super) start: u64,
    /// Not included.
    pub(super) until: u64,
    /// The factors last used in each zone, as JSON; empty for days.
    pub(super) factors: String,
}

impl Span {
    /// What [`Span::read`] reads.
    pub(super) const SELECT: &'static str = "SELECT id, level, host, start, until, factors, digest FROM span";

    /// Reads a row, and its digest, which must be that of the row.
    pub(super) fn read(row: &Row<'_>) -> Result<(Span, i64), Failure> {
        let span = Span {
            id: row.get(0)?,
            level: Level::of(row.get(1)?)?,
            host: row.get(2)?,
            start: unsigned(row.get(3)?)?,
            until: unsigned(row.get(4)?)?,
            factors: row.get(5)?,
        };
        let digest = row.get(6)?;
        if span.digest() != digest {
            return Err(Failure::Malformed(format!("the digest of span {} is wrong", span.id)));
        }
        Ok((span, digest))
    }

    /// Writes it over the row that had the digest `before`.
    pub(super) fn write(
        &self,
        sql: &Connection,
        before: Option<i64>,
        seals: &mut Seals,
    ) -> Result<i64, Failure> {
        let digest = self.digest();
        if before == Some(digest) {
            return Ok(digest);
        }
        sql.prepare_cached(
            "REPLACE INTO span(id, level, host, start, until, factors, digest)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            self.id,
            self.level as i64,
            self.host,
            signed(self.start)?,
            signed(self.until)?,
            self.factors,
            digest
        ])?;
        before.into_iter().for_each(|before| seals.span.remove_signed(before));
        seals.span.add_signed(digest);
        Ok(digest)
    }

    fn digest(&self) -> i64 {
        let fields = Fields::of("span").number(self.id).number(self.level as i64).text(&self.host);
        let hours = fields.number(self.start.cast_signed()).number(self.until.cast_signed());
        hours.text(&self.factors).digest()
    }
}

/// What one group used in a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SumRow {
    pub(super) span: i64,
    pub(super) group: Group,
    pub(super) amounts: Amounts,
}

impl SumRow {
    /// What [`SumRow::read`] reads.
    pub(super) const SELECT: &'static str = "SELECT span, kind, name, cells, digest FROM sum";

    /// Reads a row, and its digest, which must be that of the row.
    pub(super) fn read(row: &Row<'_>) -> Result<(SumRow, i64), Failure> {
        let cells: Vec<u8> = row.get(3)?;
        let group = Group { kind: row.get(1)?, name: row.get(2)? };
        let sum = SumRow { span: row.get(0)?, group, amounts: Amounts::unpack(&cells)? };
        let digest = row.get(4)?;
        if digest_of_sum(sum.span, &sum.group, &cells) != digest {
            return Err(Failure::Malformed(format!("the digest of a sum of span {} is wrong", sum.span)));
        }
        Ok((sum, digest))
    }
}

/// Writes a sum over the row that had the digest `before`.
pub(super) fn write_sum(
    sql: &Connection,
    span: i64,
    group: &Group,
    cells: &[u8],
    before: Option<i64>,
    seals: &mut Seals,
) -> Result<i64, Failure> {
    let digest = digest_of_sum(span, group, cells);
    if before == Some(digest) {
        return Ok(digest);
    }
    sql.prepare_cached("REPLACE INTO sum(span, kind, name, cells, digest) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![span, group.kind, group.name, cells, digest])?;
    before.into_iter().for_each(|before| seals.sum.remove_signed(before));
    seals.sum.add_signed(digest);
    Ok(digest)
}

/// Removes the row that has this digest.
pub(super) fn remove_sum(
    sql: &Connection,
    span: i64,
    group: &Group,
    digest: i64,
    seals: &mut Seals,
) -> Result<(), Failure> {
    sql.prepare_cached("DELETE FROM sum WHERE span = ?1 AND kind = ?2 AND name = ?3")?
        .execute(params![span, group.kind, group.name])?;
    seals.sum.remove_signed(digest);
    Ok(())
}

/// Removes the span that has this digest; its sums are gone already.
pub(super) fn remove_span(sql: &Connection, id: i64, digest: i64, seals: &mut Seals) -> Result<(), Failure> {
    sql.prepare_cached("DELETE FROM span WHERE id = ?1")?.execute([id])?;
    seals.span.remove_signed(digest);
    Ok(())
}

fn digest_of_sum(span: i64, group: &Group, cells: &[u8]) -> i64 {
    Fields::of("sum").number(span).text(&group.kind).text(&group.name).bytes(cells).digest()
}

/// The slots that are being filled, by the digests of their rows, as far as these are known: what differs
/// is written.
#[derive(Debug, Default)]
pub(super) struct OpenSlots(HashMap<i64, Option<OpenSlot>>);

#[derive(Debug, Default)]
struct OpenSlot {
    span: Option<i64>,
    sums: HashMap<Group, i64>,
}

impl OpenSlots {
    /// Writes the slots of a checkpoint. If the commit fails, all is to be forgotten: it is read anew.
    pub(super) fn write(
        &mut self,
        checkpoint: &Checkpoint,
        dictionary: &mut Dictionary,
        sql: &Connection,
        seals: &mut Seals,
    ) -> Result<(), Failure> {
        let totals = &checkpoint.totals;
        let mut numbers = Vec::new();
        for zone in &totals.zones {
            for column in totals.columns.iter() {
                numbers.push(dictionary.number(zone, column)?);
            }
        }
        self.0.retain(|id, _| checkpoint.slots.iter().any(|slot| slot.number == id.cast_unsigned()));
        for slot in &checkpoint.slots {
            let id = signed(slot.number)?;
            let mut known = match self.0.insert(id, None).flatten() {
                Some(known) => known,
                None => OpenSlot::read(sql, id)?,
            };
            known.write(slot, checkpoint, &numbers, sql, seals)?;
            self.0.insert(id, Some(known));
        }
        Ok(())
    }

    /// Whether this span is being filled.
    pub(super) fn contains(&self, id: i64) -> bool {
        self.0.contains_key(&id)
    }

    /// A commit failed: what the file holds is to be read before the next. The slots stay open, for they
    /// will be written again.
    pub(super) fn forget(&mut self) {
        self.0.values_mut().for_each(|known| *known = None);
    }
}

impl OpenSlot {
    fn read(sql: &Connection, id: i64) -> Result<OpenSlot, Failure> {
        let mut select = sql.prepare_cached("SELECT digest FROM span WHERE id = ?1")?;
        let span = select.query_row([id], |row| row.get(0)).optional()?;
        let mut select = sql.prepare_cached("SELECT kind, name, digest FROM sum WHERE span = ?1")?;
        let sums = select
            .query_map([id], |row| Ok((Group { kind: row.get(0)?, name: row.get(1)? }, row.get(2)?)))?;
        Ok(OpenSlot { span, sums: sums.collect::<Result<_, _>>()? })
    }

    fn write(
        &mut self,
        slot: &Slot,
        checkpoint: &Checkpoint,
        numbers: &[u32],
        sql: &Connection,
        seals: &mut Seals,
    ) -> Result<(), Failure> {
        let zones = &checkpoint.totals.zones;
        let factors = zones.iter().zip(&slot.factors);
        let factors: Vec<(&Name, &Arc<Factor>)> =
            factors.filter_map(|(zone, factor)| Some((zone, factor.as_ref()?))).collect();
        let span = Span {
            id: signed(slot.number)?,
            level: Level::Slot,
            host: checkpoint.machine.host.clone(),
            start: slot.hour,
            until: slot.hour + 1,
            factors: serde_json::to_string(&factors)?,
        };
        self.span = Some(span.write(sql, self.span, seals)?);
        let mut cells = Vec::new();
        for row in &slot.rows {
            assert_eq!(row.energy.len(), numbers.len(), "zones × columns of energy in a slot");
            assert_eq!(row.emissions.len(), numbers.len(), "zones × columns of emissions in a slot");
            cells.clear();
            for (number, (energy, emissions)) in numbers.iter().zip(row.energy.iter().zip(&row.emissions)) {
                put_amount(&mut cells, *number, *energy, *emissions);
            }
            match self.sums.get_mut(&row.group) {
                Some(known) => *known = write_sum(sql, span.id, &row.group, &cells, Some(*known), seals)?,
                None => {
                    let digest = write_sum(sql, span.id, &row.group, &cells, None, seals)?;
                    self.sums.insert(row.group.clone(), digest);
                }
            }
        }
        if self.sums.len() == slot.rows.len() {
            return Ok(());
        }
        // A group that has gone from a slot has moved its sums to another.
        for (group, digest) in
            self.sums.extract_if(|group, _| slot.rows.iter().all(|row| row.group != *group))
        {
            remove_sum(sql, span.id, &group, digest, seals)?;
        }
        Ok(())
    }
}
