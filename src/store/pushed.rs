//! How far pushes of differences have arrived. It is no part of the state that a commit seals: it says
//! of each series since when it counts, and so fits counters that go on and no others.

use super::digest::Fields;
use super::trouble::Failure;
use crate::model::quantity::Nanos;
use crate::model::snapshot::Pushed;
use rusqlite::{Connection, params};

/// Of an entry: digest of the series, start, value, until.
const ENTRY_BYTES: usize = 40;

/// Entries of a row.
const SLICE: usize = 4_096;

/// All that is kept; nothing if a row of it is damaged, since a part would be as good as none.
pub(super) fn read(sql: &Connection) -> Result<Vec<Pushed>, Failure> {
    let mut select = sql.prepare("SELECT id, body, digest FROM pushed ORDER BY id")?;
    let mut rows = select.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, body, digest): (i64, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if digest_of(id, &body) != digest || body.len() % ENTRY_BYTES != 0 {
            return Err(Failure::Malformed("what was pushed does not match its digest".to_owned()));
        }
        all.extend(body.chunks_exact(ENTRY_BYTES).map(entry));
    }
    Ok(all)
}

/// Puts `all` in the place of what is there.
pub(super) fn write(all: &[Pushed], sql: &Connection) -> Result<(), Failure> {
    let mut replace = sql.prepare_cached("REPLACE INTO pushed(id, body, digest) VALUES (?1, ?2, ?3)")?;
    let mut id = 0;
    for slice in all.chunks(SLICE) {
        let mut body = Vec::with_capacity(slice.len() * ENTRY_BYTES);
        for pushed in slice {
            body.extend_from_slice(&pushed.series.to_le_bytes());
            for number in [pushed.start.get(), pushed.value, pushed.until.get()] {
                body.extend_from_slice(&number.to_le_bytes());
            }
        }
        replace.execute(params![id, body, digest_of(id, &body)])?;
        id += 1;
    }
    sql.prepare_cached("DELETE FROM pushed WHERE id >= ?1")?.execute([id])?;
    Ok(())
}

fn entry(bytes: &[u8]) -> Pushed {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.expect("an entry has 40 bytes"))
    };
    Pushed {
        series: u128::from(number(0)) | u128::from(number(8)) << 64,
        start: Nanos::new(number(16)),
        value: number(24),
        until: Nanos::new(number(32)),
    }
}

fn digest_of(id: i64, body: &[u8]) -> i64 {
    Fields::of("pushed").number(id).bytes(body).digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Connection {
        let sql = Connection::open_in_memory().expect("memory");
        sql.execute_batch(
            "CREATE TABLE pushed(id INTEGER PRIMARY KEY, body BLOB NOT NULL, digest INTEGER NOT NULL)",
        )
        .expect("a table");
        sql
    }

    fn pushed(count: u64) -> Vec<Pushed> {
        let one = |index: u64| Pushed {
            series: u128::from(index) << 70 | 7,
            start: Nanos::new(index),
            value: u64::MAX - index,
            until: Nanos::new(1),
        };
        (0..count).map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_was_kept_is_read_and_what_was_before_is_gone(before in 0_u64..20_000, after in 0_u64..20_000) {
            let sql = table();
            write(&pushed(before), &sql).expect("written");
            write(&pushed(after), &sql).expect("written");
            prop_assert_eq!(read(&sql).expect("whole"), pushed(after));
        }
    }

    #[test]
    fn a_damaged_row_is_not_believed() {
        let sql = table();
        write(&pushed(5_000), &sql).expect("written");
        sql.execute("UPDATE pushed SET body = zeroblob(length(body)) WHERE id = 1", []).expect("damaged");
        assert!(read(&sql).is_err());
    }
}
