//! A rule of the configuration: a regular expression over the path, for whatever no manager here knows.

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};
use regex_lite::{Regex, RegexBuilder};

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    name: String,
    pattern: Regex,
}

/// A compiled pattern takes no more than this; a larger one is a mistake or an attack.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Why a rule was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The regular expression is wrong.
    #[error("rule {name:?}: {error}")]
    Pattern {
        /// The rule.
        name: String,
        /// What the expression's parser says.
        error: regex_lite::Error,
    },
    /// Nothing in it says which part of the path is the job.
    #[error(
        "rule {name:?}: the pattern has no group named `id` (write (?P<id>...) around the part that names the job)"
    )]
    NoId {
        /// The rule.
        name: String,
    },
}

impl Rule {
    /// A rule called `name`; its jobs are called `name/id`.
    ///
    /// # Errors
    /// The pattern is no regular expression, or has no group named `id`.
    pub fn new(name: &str, pattern: &str) -> Result<Rule, RuleError> {
        let pattern = RegexBuilder::new(pattern)
            .size_limit(MAX_PATTERN_BYTES)
            .build()
            .map_err(|error| RuleError::Pattern { name: name.to_owned(), error })?;
        if !pattern.capture_names().flatten().any(|group| group == "id") {
            return Err(RuleError::NoId { name: name.to_owned() });
        }
        Ok(Rule { name: name.to_owned(), pattern })
    }
}

impl JobResolver for Rule {
    fn resolve(&self, path: &[&str]) -> Verdict {
        let path = format!("/{}", path.join("/"));
        let id = self.pattern.captures(&path).and_then(|found| found.name("id"));
        match id {
            Some(id) => Verdict::Job(JobId::new(JobKind::Custom, &format!("{}/{}", self.name, id.as_str()))),
            None => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_an_id_or_with_a_broken_pattern_is_refused_by_name() {
        let broken = Rule::new("mine", "(").expect_err("unbalanced").to_string();
        assert!(broken.starts_with("rule \"mine\": "), "{broken}");
        let nameless = Rule::new("mine", "^/x/(.*)$").expect_err("no id").to_string();
        assert!(nameless.contains("no group named `id`"), "{nameless}");
    }
}
