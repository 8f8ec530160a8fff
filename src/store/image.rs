//! The live state as rows, and back. An image is compared with the one before it, and only the rows
//! that differ are written; the seal over all of them tells at a start whether they are still the same.

use super::digest::{Seal, of_body};
use super::trouble::Failure;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, params};
use std::ops::Range;

/// The tables of the live state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Table {
    Domain,
    Meter,
    Job,
    Live,
    Cgroup,
    Position,
    Processor,
    GroupKind,
    GroupName,
    GroupLive,
    Restated,
}

impl Table {
    pub(super) const ALL: [Table; 11] = [
        Table::Domain,
        Table::Meter,
        Table::Job,
        Table::Live,
        Table::Cgroup,
        Table::Position,
        Table::Processor,
        Table::GroupKind,
        Table::GroupName,
        Table::GroupLive,
        Table::Restated,
    ];

    const fn is_text(self) -> bool {
        match self {
            Table::Domain | Table::Meter | Table::Job | Table::Cgroup => true,
            Table::GroupKind | Table::GroupName => true,
            Table::Live | Table::Position | Table::Processor | Table::GroupLive | Table::Restated => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Table::Domain => "domain",
            Table::Meter => "meter",
            Table::Job => "job",
            Table::Live => "live",
            Table::Cgroup => "cgroup",
            Table::Position => "position",
            Table::Processor => "processor",
            Table::GroupKind => "group_kind",
            Table::GroupName => "group_name",
            Table::GroupLive => "group_live",
            Table::Restated => "restated",
        }
    }

    fn select(self) -> String {
        format!("SELECT id, body FROM {} ORDER BY id", self.name())
    }

    fn replace(self) -> String {
        format!("REPLACE INTO {}(id, body) VALUES (?1, ?2)", self.name())
    }

    fn delete(self) -> String {
        format!("DELETE FROM {} WHERE id = ?1", self.name())
    }
}

/// All rows of the live state, by table and number.
#[derive(Debug, Default, Clone)]
pub(super) struct Image {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    table: Table,
    id: i64,
    body: Range<usize>,
    digest: u64,
}

impl Row {
    const fn key(&self) -> (Table, i64) {
        (self.table, self.id)
    }
}

impl Image {
    /// An empty image in the memory of one that is no longer needed.
    pub(super) fn in_place_of(mut old: Image) -> Image {
        old.bytes.clear();
        old.rows.clear();
        old
    }

    /// Adds the row whose body `write` appends.
    pub(super) fn push<E>(
        &mut self,
        table: Table,
        id: i64,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        let body = start..self.bytes.len();
        let digest = of_body(table as u8, id, &self.bytes[body.clone()]);
        self.rows.push(Row { table, id, body, digest });
        Ok(())
    }

    /// Adds a row as it stands in `other`; `false` if it is not there.
    pub(super) fn push_from(&mut self, other: &Image, table: Table, id: i64) -> bool {
        let Some(row) = other.row(table, id) else { return false };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[row.body.clone()]);
        self.rows.push(Row { body: start..self.bytes.len(), ..row.clone() });
        true
    }

    /// Puts the rows in order; nothing is found or compared before.
    pub(super) fn sort(&mut self) {
        self.rows.sort_unstable_by_key(Row::key);
        if let Some(pair) = self.rows.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
            panic!("two rows {} in {:?}: numbers are unique", pair[0].id, pair[0].table);
        }
    }

    /// The body of a row.
    pub(super) fn get(&self, table: Table, id: i64) -> Option<&[u8]> {
        self.row(table, id).map(|row| &self.bytes[row.body.clone()])
    }

    /// The rows of a table.
    pub(super) fn table(&self, table: Table) -> impl Iterator<Item = (i64, &[u8])> {
        let start = self.rows.partition_point(|row| row.table < table);
        let rows = self.rows[start..].iter().take_while(move |row| row.table == table);
        rows.map(|row| (row.id, &self.bytes[row.body.clone()]))
    }

    /// The seal over all rows.
    pub(super) fn seal(&self) -> Seal {
        let mut seal = Seal::default();
        self.rows.iter().for_each(|row| seal.add(row.digest));
        seal
    }

    /// Reads all rows of the file.
    pub(super) fn read(sql: &Connection) -> Result<Image, Failure> {
        let mut image = Image::default();
        for table in Table::ALL {
            // One that is only read may be of a version that did not have it yet; the seal knows.
            if !sql.table_exists(None, table.name())? {
                continue;
            }
            let mut select = sql.prepare(&table.select())?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let body = match row.get_ref(1)? {
                    ValueRef::Text(body) | ValueRef::Blob(body) => body,
                    ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => {
                        return Err(Failure::Malformed(format!("a row of {table:?} has no body")));
                    }
                };
                image.push(table, row.get(0)?, |bytes| {
                    bytes.extend_from_slice(body);
                    Ok::<_, Failure>(())
                })?;
            }
        }
        // A damaged tree may give a row twice, or out of order.
        if image.rows.is_sorted_by(|one, next| one.key() < next.key()) {
            return Ok(image);
        }
        Err(Failure::Malformed("rows of the live state are out of order".to_owned()))
    }

    /// Writes to the file, which holds `self`, what makes it hold `next`. Returns the jobs that are gone.
    pub(super) fn replace_by(&self, next: &Image, sql: &Connection) -> Result<Vec<i64>, Failure> {
        let mut gone = Vec::new();
        // Rows come table by table; looking a statement up costs as much as running it.
        let mut writer: Option<(Table, CachedStatement<'_>)> = None;
        let (mut old, mut new) = (self.rows.iter().peekable(), next.rows.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(gone),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.key().cmp(&new.key()),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            match (before, after) {
                (Some(before), Some(after)) if before.digest == after.digest => {}
                (_, Some(row)) => {
                    let body = &next.bytes[row.body.clone()];
                    let body = if row.table.is_text() { ValueRef::Text(body) } else { ValueRef::Blob(body) };
                    let statement = match &mut writer {
                        Some((table, statement)) if *table == row.table => statement,
                        _ => &mut writer.insert((row.table, sql.prepare_cached(&row.table.replace())?)).1,
                    };
                    statement.execute(params![row.id, ToSqlOutput::Borrowed(body)])?;
                }
                (Some(row), None) => {
                    sql.prepare_cached(&row.table.delete())?.execute([Value::Integer(row.id)])?;
                    if row.table == Table::Job {
                        gone.push(row.id);
                    }
                }
                (None, None) => return Ok(gone),
            }
        }
    }

    fn row(&self, table: Table, id: i64) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&(table, id), Row::key).ok()?;
        self.rows.get(at)
    }
}

/// Appends a number as the packed rows have it.
pub(super) fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// The numbers of a packed row.
pub(super) fn numbers(body: &[u8]) -> Result<impl ExactSizeIterator<Item = u64>, Failure> {
    let (numbers, rest) = body.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Failure::Malformed(format!("a packed row of {} bytes", body.len())));
    }
    Ok(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)))
}
