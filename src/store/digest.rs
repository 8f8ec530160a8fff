//! Digests of rows, and the seal of a table: SQLite has no checksums of its own, and a flipped bit must
//! not pass for a joule. A row's digest finds a changed row, a table's seal one that is missing or too many.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The digest of a row that is a number and a body. The table is a part of it, so that a row cannot
/// pass for one of another table.
#[must_use]
pub(super) fn of_body(table: u8, id: i64, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, id.cast_unsigned() ^ (u64::from(table) << 56))
}

/// The digest of a row of several fields, fed one after another.
#[derive(Debug)]
pub(super) struct Fields(Vec<u8>);

impl Fields {
    /// Of a row of `table`.
    pub(super) fn of(table: &str) -> Fields {
        Fields(Vec::with_capacity(256)).text(table)
    }

    /// A number.
    pub(super) fn number(mut self, number: i64) -> Fields {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// Bytes, their length among them, so that neighbours cannot trade theirs.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Fields {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// A text.
    pub(super) fn text(self, text: &str) -> Fields {
        self.bytes(text.as_bytes())
    }

    /// The digest, as SQLite keeps 64 bits.
    pub(super) fn digest(self) -> i64 {
        xxh3_64(&self.0).cast_signed()
    }
}

/// How many rows a table has, and the sum of their digests, which does not depend on their order and
/// follows each change without reading the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    rows: u64,
    sum: u64,
}

impl Seal {
    /// A row has come.
    pub(super) fn add(&mut self, digest: u64) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(digest);
    }

    /// A row has gone.
    pub(super) fn remove(&mut self, digest: u64) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(digest);
    }

    /// The same for a digest as SQLite keeps it.
    pub(super) fn add_signed(&mut self, digest: i64) {
        self.add(digest.cast_unsigned());
    }

    /// The same for a digest as SQLite keeps it.
    pub(super) fn remove_signed(&mut self, digest: i64) {
        self.remove(digest.cast_unsigned());
    }

    /// Rows.
    pub(super) const fn rows(self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_every_part_of_the_row() {
        let row = of_body(1, 7, b"body");
        for other in [of_body(2, 7, b"body"), of_body(1, 8, b"body"), of_body(1, 7, b"bodz")] {
            assert_ne!(row, other);
        }
        let fields = |one: &str, other: &str| Fields::of("table").text(one).text(other).digest();
        assert_ne!(fields("ab", "c"), fields("a", "bc"));
    }

    #[test]
    fn a_seal_follows_changes_in_any_order() {
        let (mut one, mut other) = (Seal::default(), Seal::default());
        for digest in [u64::MAX, 5, 17] {
            one.add(digest);
        }
        one.remove(5);
        for digest in [17, u64::MAX] {
            other.add(digest);
        }
        assert_eq!(one, other);
        assert_eq!(one.rows(), 2);
    }
}
