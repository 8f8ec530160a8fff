//! What can go wrong with the store. [`Trouble`] is at once the error, the `match` arm and the `reason`
//! label; [`StoreError`] is the sentence for people.

use rusqlite::{ErrorCode, ffi};
use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// No space, or no quota.
    DiskFull,
    /// A file or a file system that cannot be written.
    ReadOnly,
    /// The disk's own errors.
    Io,
    /// EACCES, EPERM.
    PermissionDenied,
    /// What is in the file is not what was written.
    Corrupt,
    /// Another process holds the file.
    Busy,
    /// A bound of our own.
    Limit,
}

impl Trouble {
    /// Every one, in the order of the page.
    pub const ALL: [Trouble; 7] = [
        Trouble::DiskFull,
        Trouble::ReadOnly,
        Trouble::Io,
        Trouble::PermissionDenied,
        Trouble::Corrupt,
        Trouble::Busy,
        Trouble::Limit,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Trouble::DiskFull => "disk_full",
            Trouble::ReadOnly => "read_only",
            Trouble::Io => "io",
            Trouble::PermissionDenied => "permission_denied",
            Trouble::Corrupt => "corrupt",
            Trouble::Busy => "busy",
            Trouble::Limit => "limit",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn way_out(self) -> &'static str {
        match self {
            Trouble::DiskFull => "free some space there",
            Trouble::ReadOnly => "mount it writable, or choose another folder by --store.path",
            Trouble::Io => "see the kernel's log; the disk may be failing",
            Trouble::PermissionDenied => "give the user of jouleprint that folder, or choose another one",
            Trouble::Corrupt => "nothing: a damaged file is set aside and a new one begun",
            Trouble::Busy => "end the program that holds the file open",
            Trouble::Limit => "allow the store more space",
        }
    }

    fn of_io(error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Trouble::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::DiskFull,
            _ => Trouble::Io,
        }
    }
}

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {cause} ({})", path.display(), trouble.way_out())]
pub struct StoreError {
    /// What was being done.
    pub operation: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// Why it failed.
    pub trouble: Trouble,
    /// Why, in the words of who said so.
    pub cause: String,
}

/// The same inside this room, before it is said what was being done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// SQLite's.
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    /// The kernel's.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Content that we would not have written.
    #[error("{0}")]
    Malformed(String),
    /// A bound of our own.
    #[error("{0}")]
    Limit(String),
    /// The file can be read only.
    #[error("it cannot be written")]
    ReadOnly,
}

impl Failure {
    /// Which trouble it is.
    pub(super) fn trouble(&self) -> Trouble {
        let error = match self {
            Failure::Io(error) => return Trouble::of_io(error),
            Failure::Malformed(_) => return Trouble::Corrupt,
            Failure::Limit(_) => return Trouble::Limit,
            Failure::ReadOnly => return Trouble::ReadOnly,
            Failure::Sql(error) => error,
        };
        match error.sqlite_extended_error_code() {
            // A file that ends in the middle of a page is cut short, whatever the disk is like.
            Some(ffi::SQLITE_IOERR_SHORT_READ) => return Trouble::Corrupt,
            // The index of the log finds no room to grow.
            Some(ffi::SQLITE_IOERR_SHMSIZE) => return Trouble::DiskFull,
            Some(_) | None => {}
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Trouble::DiskFull,
            Some(ErrorCode::ReadOnly) => Trouble::ReadOnly,
            Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                Trouble::PermissionDenied
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport,
            ) => Trouble::Io,
            // A table that is missing, a column of another type, a value too big: SQLite took the
            // damaged file for a different one.
            Some(_) | None => Trouble::Corrupt,
        }
    }

    /// With what was being done and where.
    pub(super) fn during(self, operation: &'static str, path: &Path) -> StoreError {
        StoreError { operation, path: path.to_owned(), trouble: self.trouble(), cause: self.to_string() }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::Malformed(error.to_string())
    }
}

/// A number as SQLite keeps it.
pub(super) fn signed(number: u64) -> Result<i64, Failure> {
    i64::try_from(number).map_err(|_| Failure::Limit(format!("{number} is beyond the store's 63 bits")))
}

/// A number that SQLite gave back.
pub(super) fn unsigned(number: i64) -> Result<u64, Failure> {
    u64::try_from(number).map_err(|_| Failure::Malformed(format!("{number} is below 0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_the_trouble_that_a_person_can_act_on() {
        let sql = |code| Failure::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        let io = |kind: io::ErrorKind| Failure::Io(kind.into());
        for (failure, expected) in [
            (sql(ffi::SQLITE_FULL), "disk_full"),
            (sql(ffi::SQLITE_IOERR_WRITE), "io"),
            (sql(ffi::SQLITE_IOERR_FSYNC), "io"),
            (sql(ffi::SQLITE_IOERR_SHORT_READ), "corrupt"),
            (sql(ffi::SQLITE_IOERR_SHMSIZE), "disk_full"),
            (sql(ffi::SQLITE_CANTOPEN), "io"),
            (sql(ffi::SQLITE_READONLY), "read_only"),
            (sql(ffi::SQLITE_READONLY_DBMOVED), "read_only"),
            (sql(ffi::SQLITE_PERM), "permission_denied"),
            (sql(ffi::SQLITE_BUSY), "busy"),
            (sql(ffi::SQLITE_BUSY_SNAPSHOT), "busy"),
            (sql(ffi::SQLITE_LOCKED), "busy"),
            (sql(ffi::SQLITE_CORRUPT), "corrupt"),
            (sql(ffi::SQLITE_NOTADB), "corrupt"),
            (sql(ffi::SQLITE_ERROR), "corrupt"),
            (sql(ffi::SQLITE_TOOBIG), "corrupt"),
            (Failure::Sql(rusqlite::Error::QueryReturnedNoRows), "corrupt"),
            (Failure::Malformed(String::new()), "corrupt"),
            (io(io::ErrorKind::PermissionDenied), "permission_denied"),
            (io(io::ErrorKind::ReadOnlyFilesystem), "read_only"),
            (io(io::ErrorKind::StorageFull), "disk_full"),
            (io(io::ErrorKind::QuotaExceeded), "disk_full"),
            (io(io::ErrorKind::Other), "io"),
            (Failure::ReadOnly, "read_only"),
            (signed(u64::MAX).expect_err("64 bits"), "limit"),
            (unsigned(-1).expect_err("below 0"), "corrupt"),
        ] {
            assert_eq!(failure.trouble().as_str(), expected, "{failure:?}");
        }
    }

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        let error = Failure::Io(io::ErrorKind::StorageFull.into()).during("writing", Path::new("/var/x.db"));
        assert_eq!(error.to_string(), "writing /var/x.db: no storage space (free some space there)");
    }
}
