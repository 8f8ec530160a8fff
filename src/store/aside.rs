//! A damaged file is set aside under a name that says when; nothing is ever deleted, nor looked at again.

use super::schema::{FILE, SHM, WAL};
use crate::model::time::Moment;
use std::fs;
use std::io;
use std::path::Path;

/// A disk or a memory that damages more files than this is broken, and each may be as large as the store.
const MAX_FILES: usize = 16;

/// Renames the file with what SQLite keeps beside it. Returns the new name.
pub(super) fn set_aside(folder: &Path, at: &Moment) -> io::Result<String> {
    let before = format!("{FILE}.corrupt-");
    let is_one = |name: &str| name.starts_with(&before) && !name.ends_with(WAL) && !name.ends_with(SHM);
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    let there = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).count();
    if there >= MAX_FILES {
        let cause = format!("{there} damaged files stand there already: find out why, and remove them");
        return Err(io::Error::other(cause));
    }
    let base = format!("{before}{}", stamp(at));
    let names = (1..=MAX_FILES + 1).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
    let is_free = |name: &String| {
        [name.clone(), format!("{name}{WAL}"), format!("{name}{SHM}")]
            .iter()
            .all(|taken| fs::symlink_metadata(folder.join(taken)).is_err())
    };
    let Some(name) = names.into_iter().find(is_free) else {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name is free"));
    };
    // The log goes first: without it the file is an older state, and with another's it would be none.
    for suffix in [WAL, SHM, ""] {
        match fs::rename(folder.join(format!("{FILE}{suffix}")), folder.join(format!("{name}{suffix}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(name)
}

fn stamp(at: &Moment) -> String {
    let second = i64::try_from(at.wall.get() / 1_000_000_000).ok();
    let time = second.and_then(|second| jiff::Timestamp::from_second(second).ok()).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}
