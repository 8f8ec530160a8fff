//! Groups that `jouleprint run` makes for the command it measures: `jouleprint-run-ID`, below any other group.

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};

/// What the groups' names begin with.
pub const PREFIX: &str = "jouleprint-run-";

/// An id is a time and a number; a longer one is somebody else's.
const MAX_ID_BYTES: usize = 64;

/// Knows the groups of measured commands.
#[derive(Debug)]
pub struct Runs;

impl JobResolver for Runs {
    fn resolve(&self, path: &[&str]) -> Verdict {
        let id = path.last().and_then(|name| name.strip_prefix(PREFIX));
        match id.filter(|id| is_run_id(id)) {
            Some(id) => Verdict::Job(JobId::new(JobKind::Run, id)),
            None => Verdict::Unknown,
        }
    }
}

/// Whether this can be the id of a measured command.
#[must_use]
pub fn is_run_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
}
