//! What is asked: by which keys, of which part, in which time. Sums and job records are kept apart in the
//! store, so not every combination has an answer; those that have none are refused here, with those that have.

use crate::model::checkpoint::Group;
use crate::model::description::Attribute;
use crate::model::history::{JobRecord, Span};
use crate::model::identity::{HwType, JobKind};
use crate::model::snapshot::Column;
use regex_lite::Regex;

/// The groups that jobs and residual accounts make: job kinds, `system`, `idle` and so on.
pub const BY_ACCOUNT: &str = "account";

/// The groups that users make, by their ids.
pub const BY_USER: &str = "user";

/// By what rows are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Jobs, whole
    Job,
    /// What jobs said that they were at, and what they used outside of that
    Phase,
    /// Users
    User,
    /// Groups of the kind that --group names
    Group,
    /// Kinds of jobs, and what no job is charged with
    Kind,
    /// Processors, memory, each GPU
    Hardware,
    /// UTC days
    Day,
    /// UTC hours
    Hour,
    /// Grid zones
    Zone,
    /// Hosts
    Host,
    /// What is known of jobs beside their ids: jobs that have the same are a row
    Attribute(Attribute),
    /// One of the labels that jobs have, with `label:` before it
    Label(&'static str),
}

/// What a label's key is written behind.
const LABEL: &str = "label:";

/// The keys that are no attributes.
const PLAIN: [Key; 10] = [
    Key::Job,
    Key::Phase,
    Key::User,
    Key::Group,
    Key::Kind,
    Key::Hardware,
    Key::Day,
    Key::Hour,
    Key::Zone,
    Key::Host,
];

/// Short words for attributes; their full names are taken too.
const ATTRIBUTES: [(&str, Attribute); 11] = [
    ("project", Attribute::Project),
    ("experiment", Attribute::Experiment),
    ("executable", Attribute::Executable),
    ("namespace", Attribute::Namespace),
    ("pod", Attribute::Pod),
    ("workload", Attribute::WorkloadName),
    ("container", Attribute::Container),
    ("image", Attribute::Image),
    ("account", Attribute::SlurmAccount),
    ("partition", Attribute::SlurmPartition),
    ("unit", Attribute::Unit),
];

impl Key {
    /// From what was typed.
    ///
    /// # Errors
    /// It is no key; the message lists those there are.
    pub fn parse(text: &str) -> Result<Key, String> {
        if let Some(key) = PLAIN.into_iter().find(|key| key.as_str() == text) {
            return Ok(key);
        }
        let short = ATTRIBUTES.iter().find(|(name, _)| *name == text).map(|(_, attribute)| *attribute);
        if let Some(attribute) = short.or_else(|| Attribute::of_name(text)) {
            return Ok(Key::Attribute(attribute));
        }
        if text.strip_prefix(LABEL).is_some_and(|key| !key.is_empty()) {
            // Typed once, and a column's name for as long as the process lives.
            return Ok(Key::Label(String::from(text).leak()));
        }
        let plain = PLAIN.iter().map(|key| key.as_str());
        let all: Vec<&str> = plain.chain(ATTRIBUTES.iter().map(|(name, _)| *name)).collect();
        Err(format!("it is none of {}, {LABEL}KEY", all.join(", ")))
    }

    /// Whether only job records know it.
    const fn is_of_descriptions(self) -> bool {
        matches!(self, Key::Attribute(_) | Key::Label(_) | Key::Phase)
    }

    /// As it is typed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Key::Job => "job",
            Key::Phase => "phase",
            Key::User => "user",
            Key::Group => "group",
            Key::Kind => "kind",
            Key::Hardware => "hardware",
            Key::Day => "day",
            Key::Hour => "hour",
            Key::Zone => "zone",
            Key::Host => "host",
            Key::Attribute(attribute) => attribute.as_str(),
            Key::Label(text) => text,
        }
    }
}

/// A column that tells rows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The start of a day.
    Day,
    /// The start of an hour.
    Hour,
    /// The host.
    Host,
    /// The grid zone.
    Zone,
    /// A job's kind or a residual account.
    Kind,
    /// A job's kind.
    JobKind,
    /// A job's id.
    JobId,
    /// What a job was at.
    Phase,
    /// A user's id.
    User,
    /// The kind of group.
    GroupKind,
    /// The group.
    Group,
    /// The hardware's kind.
    Hardware,
    /// The GPU.
    Gpu,
    /// What is known of a job.
    Attribute(Attribute),
    /// A label of a job, with `label:` before its key.
    Label(&'static str),
}

impl Field {
    /// The key of a label.
    #[must_use]
    pub fn label_key(text: &'static str) -> &'static str {
        text.strip_prefix(LABEL).unwrap_or(text)
    }

    /// Its name in CSV and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Field::Day => "day",
            Field::Hour => "hour",
            Field::Host => "host",
            Field::Zone => "zone",
            Field::Kind => "kind",
            Field::JobKind => "job_kind",
            Field::JobId => "job_id",
            Field::Phase => "phase",
            Field::User => "user",
            Field::GroupKind => "group_kind",
            Field::Group => "group",
            Field::Hardware => "hw_type",
            Field::Gpu => "gpu",
            Field::Attribute(attribute) => attribute.as_str(),
            Field::Label(text) => text,
        }
    }
}

/// Which jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Life {
    /// Whether they live or not.
    #[default]
    All,
    /// Those that live.
    Live,
    /// Those that do not.
    Ended,
}

/// Which part; `None` is all of it.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The grid zone.
    pub zone: Option<String>,
    /// The user's id.
    pub user: Option<u32>,
    /// The user's name, if it is known: sums are kept under the one or the other.
    pub user_name: Option<String>,
    /// The kind of group, and perhaps which.
    pub group: Option<(String, Option<String>)>,
    /// The job's id.
    pub job: Option<Pattern>,
    /// The job's kind.
    pub kind: Option<JobKind>,
    /// The hardware's kind.
    pub hardware: Option<HwType>,
    /// The host.
    pub host: Option<String>,
    /// Live or ended.
    pub life: Life,
}

impl Filter {
    /// Whether it asks for something that only jobs have, so that the residual accounts stay out.
    fn is_about_jobs(&self) -> bool {
        self.user.is_some() || self.job.is_some() || self.kind.is_some() || self.life != Life::All
    }

    /// Whether a job passes, its time aside.
    #[must_use]
    pub fn takes_job(&self, job: &JobRecord) -> bool {
        let id = job.id.as_ref();
        let is_kind = |kind: &JobKind| id.is_some_and(|id| id.kind() == *kind);
        let is_job = |pattern: &Pattern| id.is_some_and(|id| pattern.fits(id.id()));
        let is_life = match self.life {
            Life::All => true,
            Life::Live => job.is_live,
            Life::Ended => !job.is_live,
        };
        self.takes_host(&job.host)
            && self.user.as_ref().is_none_or(|user| job.user == Some(*user))
            && self.kind.as_ref().is_none_or(is_kind)
            && self.job.as_ref().is_none_or(is_job)
            && is_life
    }

    /// Whether a host passes.
    #[must_use]
    pub fn takes_host(&self, host: &str) -> bool {
        self.host.as_deref().is_none_or(|wanted| wanted == host)
    }

    /// Whether a zone passes; one that is not known does not.
    #[must_use]
    pub fn takes_zone(&self, zone: &str) -> bool {
        self.zone.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(zone))
    }

    /// Whether a column passes.
    #[must_use]
    pub fn takes_column(&self, column: &Column) -> bool {
        self.hardware.is_none_or(|wanted| wanted == column.hw_type)
    }
}

/// A pattern for job ids: a part of the id, or, with `*`, the whole of it.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// From what was typed.
    ///
    /// # Errors
    /// It is too long.
    pub fn new(text: &str) -> Result<Pattern, QuestionError> {
        let parts: Vec<String> = text.split('*').map(regex_lite::escape).collect();
        let middle = parts.join(".*");
        let whole = if parts.len() == 1 { format!(".*{middle}.*") } else { middle };
        let regex = Regex::new(&format!("^(?s:{whole})$"))
            .map_err(|_| QuestionError::LongPattern { text: text.to_owned() })?;
        Ok(Pattern { text: whole, regex })
    }

    /// The regular expression of the whole id, as Prometheus' `=~` takes it.
    #[must_use]
    pub fn regex(&self) -> &str {
        &self.text
    }

    fn fits(&self, id: &str) -> bool {
        self.regex.is_match(id)
    }
}

/// Why a question has no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Jobs are records of their whole life.
    #[error(
        "--by {keys}: a job is kept as one record, not by day, hour or group (job goes with user, kind, hardware, zone and host)"
    )]
    JobByTime {
        /// What was asked.
        keys: String,
    },
    /// Sums are kept by one grouping at a time.
    #[error(
        "{one} and {other} are summed up apart from each other, so there is nothing by both (--by job,user,kind lists the jobs with both)"
    )]
    TwoGroupings {
        /// One grouping.
        one: String,
        /// Another.
        other: String,
    },
    /// There are several kinds of groups.
    #[error("--by group: which kind? (add --group KIND, such as --group {BY_USER}, or --group KIND=NAME)")]
    WhichGroup,
    /// Jobs cannot be picked out of sums.
    #[error("--job picks jobs, which sums do not hold (add --by job, or use `jouleprint jobs`)")]
    JobOfSums,
    /// Job records do not know groups.
    #[error("--group does not go with jobs (use --user or --kind)")]
    GroupOfJobs,
    /// Phases are kept with less detail than jobs.
    #[error(
        "--by {keys}: phases are kept without {what}, each with its kinds of hardware together (phase goes with job, user, kind, host and what is known of jobs)"
    )]
    PhaseBy {
        /// What was asked.
        keys: String,
        /// What they do not have.
        what: &'static str,
    },
    /// The pattern is too large to compile.
    #[error("--job {text:?}: this pattern is too long (give a part of the id)")]
    LongPattern {
        /// Which.
        text: String,
    },
}

/// A question that has an answer.
#[derive(Debug, Clone)]
pub struct Question {
    /// By what, each once.
    pub keys: Vec<Key>,
    /// Of which part.
    pub filter: Filter,
    /// In which time.
    pub period: Span,
    /// Whether what no job is charged with belongs to the answer.
    pub has_rest: bool,
    grouping: Option<String>,
}

impl Question {
    /// Checks that there is an answer.
    ///
    /// # Errors
    /// There is none.
    pub fn new(keys: &[Key], filter: Filter, period: Span) -> Result<Question, QuestionError> {
        let mut once: Vec<Key> = Vec::new();
        for key in keys.iter().filter(|key| !(**key == Key::Day && keys.contains(&Key::Hour))) {
            if !once.contains(key) {
                once.push(*key);
            }
        }
        let has = |key| once.contains(&key);
        let without = [
            (has(Key::Zone) || filter.zone.is_some(), "grid zone"),
            (has(Key::Hardware) || filter.hardware.is_some(), "device"),
        ];
        if let Some((_, what)) = without.into_iter().find(|(is_asked, _)| *is_asked && has(Key::Phase)) {
            let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
            return Err(QuestionError::PhaseBy { keys: keys.join(","), what });
        }
        if has(Key::Job) || once.iter().any(|key| key.is_of_descriptions()) {
            if [Key::Day, Key::Hour, Key::Group].into_iter().any(has) {
                let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
                return Err(QuestionError::JobByTime { keys: keys.join(",") });
            }
            if filter.group.is_some() {
                return Err(QuestionError::GroupOfJobs);
            }
            let has_rest = !filter.is_about_jobs();
            return Ok(Question { keys: once, filter, period, has_rest, grouping: None });
        }
        if filter.job.is_some() {
            return Err(QuestionError::JobOfSums);
        }
        let mut wanted: Vec<&str> = Vec::new();
        wanted.extend((has(Key::User) || filter.user.is_some()).then_some(BY_USER));
        wanted.extend((has(Key::Kind) || filter.kind.is_some()).then_some(BY_ACCOUNT));
        wanted.extend(filter.group.as_ref().map(|(kind, _)| kind.as_str()));
        wanted.dedup();
        if has(Key::Group) && filter.group.is_none() {
            return Err(QuestionError::WhichGroup);
        }
        if let [one, other, ..] = wanted[..] {
            let [one, other] = [one, other].map(str::to_owned);
            return Err(QuestionError::TwoGroupings { one, other });
        }
        let grouping = wanted.first().map(|kind| (*kind).to_owned());
        let has_rest = !filter.is_about_jobs();
        Ok(Question { keys: once, filter, period, has_rest, grouping })
    }

    /// A list of jobs, and nothing beside them.
    ///
    /// # Errors
    /// There is no answer.
    pub fn of_jobs(filter: Filter, period: Span) -> Result<Question, QuestionError> {
        let question = Question::new(&[Key::Job], filter, period)?;
        Ok(Question { has_rest: false, ..question })
    }

    /// Whether it is answered from job records.
    #[must_use]
    pub fn is_of_jobs(&self) -> bool {
        self.has(Key::Job) || self.is_of_descriptions()
    }

    /// Whether it asks for what is known of jobs beside their ids.
    #[must_use]
    pub fn is_of_descriptions(&self) -> bool {
        self.keys.iter().any(|key| key.is_of_descriptions())
    }

    /// Whether a key is asked for.
    #[must_use]
    pub fn has(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }

    /// The kind of groups that the sums must be of; `None` if any will do.
    #[must_use]
    pub fn grouping(&self) -> Option<&str> {
        self.grouping.as_deref()
    }

    /// Whether a group of the right kind passes.
    #[must_use]
    pub fn takes_group(&self, group: &Group) -> bool {
        let filter = &self.filter;
        let is_user = |user: &u32| {
            *group.name == *user.to_string() || filter.user_name.as_deref() == Some(&*group.name)
        };
        let is_kind = |kind: &JobKind| &*group.name == kind.as_str();
        let is_group =
            |(_, name): &(String, Option<String>)| name.as_deref().is_none_or(|name| name == &*group.name);
        filter.user.as_ref().is_none_or(is_user)
            && filter.kind.as_ref().is_none_or(is_kind)
            && filter.group.as_ref().is_none_or(is_group)
    }

    /// The columns that tell the rows apart, each once.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        for key in &self.keys {
            let of_key: &[Field] = match key {
                Key::Attribute(attribute) => &[Field::Attribute(*attribute)],
                Key::Label(text) => &[Field::Label(text)],
                Key::Job => &[Field::Host, Field::JobKind, Field::JobId, Field::User],
                Key::Phase => &[Field::Phase],
                Key::User => &[Field::User],
                Key::Group => &[Field::GroupKind, Field::Group],
                Key::Kind if self.is_of_jobs() => &[Field::JobKind],
                Key::Kind => &[Field::Kind],
                Key::Hardware => &[Field::Hardware, Field::Gpu],
                Key::Day => &[Field::Day],
                Key::Hour => &[Field::Hour],
                Key::Zone => &[Field::Zone],
                Key::Host => &[Field::Host],
            };
            for field in of_key {
                if !fields.contains(field) {
                    fields.push(*field);
                }
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Nanos;

    fn ask(keys: &[Key], filter: Filter) -> Result<Question, String> {
        let period = Span { start: Nanos::ZERO, end: Nanos::from_seconds(1) };
        Question::new(keys, filter, period).map_err(|error| error.to_string())
    }

    #[test]
    fn what_has_no_answer_says_what_has() {
        let user = || Filter { user: Some(1), ..Filter::default() };
        let kind = || Filter { kind: Some(JobKind::Pod), ..Filter::default() };
        let group = || Filter { group: Some(("team".into(), None)), ..Filter::default() };
        let job = || Filter { job: Pattern::new("x").ok(), ..Filter::default() };
        for (keys, filter, part) in [
            (&[Key::Job, Key::Day][..], Filter::default(), "--by job,day: a job is kept as one record"),
            (&[Key::Job, Key::Hour], Filter::default(), "job goes with user, kind"),
            (&[Key::Job, Key::Group], group(), "--by job,group"),
            (&[Key::Job], group(), "use --user or --kind"),
            (&[Key::User, Key::Kind], Filter::default(), "--by job,user,kind"),
            (&[Key::Kind], user(), "user and account are summed up apart"),
            (&[Key::Day], Filter { user: Some(1), ..kind() }, "summed up apart"),
            (&[Key::User], group(), "user and team"),
            (&[Key::Group], Filter::default(), "--group KIND"),
            (&[Key::Day], job(), "add --by job"),
            (
                &[Key::Phase, Key::Zone],
                Filter::default(),
                "--by phase,zone: phases are kept without grid zone",
            ),
            (&[Key::Phase, Key::Hardware], Filter::default(), "without device"),
            (&[Key::Phase], Filter { zone: Some("FR".into()), ..Filter::default() }, "without grid zone"),
            (&[Key::Phase, Key::Day], Filter::default(), "--by phase,day: a job is kept as one record"),
        ] {
            let error = ask(keys, filter).expect_err(part);
            assert!(error.contains(part), "{keys:?}: {error}");
        }
        for (keys, filter, grouping) in [
            (&[Key::Day, Key::Zone, Key::Hardware, Key::Host][..], Filter::default(), None),
            (&[Key::Day, Key::User], user(), Some("user")),
            (&[Key::Hour, Key::Kind], kind(), Some("account")),
            (&[Key::Group], group(), Some("team")),
            (&[Key::Job, Key::User, Key::Kind], Filter { user: Some(1), ..kind() }, None),
        ] {
            assert_eq!(ask(keys, filter).expect("an answer").grouping(), grouping, "{keys:?}");
        }
    }

    #[test]
    fn what_is_known_of_jobs_is_a_key_by_its_short_and_its_full_name_and_labels_are_too() {
        for (text, expected) in [
            ("project", Ok(Key::Attribute(Attribute::Project))),
            ("process.executable.name", Ok(Key::Attribute(Attribute::Executable))),
            ("label:a b", Ok(Key::Label("label:a b"))),
            ("user", Ok(Key::User)),
            ("label:", Err(())),
            ("projects", Err(())),
        ] {
            assert_eq!(Key::parse(text).map_err(|_| ()), expected, "{text}");
        }
        for key in PLAIN {
            assert_eq!(Key::parse(key.as_str()), Ok(key));
        }
        let project = Key::Attribute(Attribute::Project);
        assert!(ask(&[project, Key::User, Key::Host], Filter::default()).expect("an answer").is_of_jobs());
        assert!(ask(&[project, Key::Day], Filter::default()).is_err());
    }

    #[test]
    fn fields_stand_in_the_order_of_the_keys_and_once() {
        let names = |keys: &[Key]| {
            let question = ask(keys, Filter::default()).expect("an answer");
            question.fields().into_iter().map(Field::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[Key::Zone, Key::Day, Key::Zone]), "zone day");
        assert_eq!(names(&[Key::Host, Key::Job, Key::Kind, Key::User]), "host job_kind job_id user");
        assert_eq!(names(&[Key::Day, Key::Hour]), "hour");
        assert_eq!(names(&[Key::Hardware]), "hw_type gpu");
    }

    #[test]
    fn a_pattern_is_a_part_or_has_stars() {
        for (pattern, id, fits) in [
            ("ssh", "ssh.service", true),
            ("ssh.", "sshd", false),
            ("*.service", "ssh.service", true),
            ("*.service", "ssh.service.d", false),
            ("s*h", "ssh", true),
            ("", "anything", true),
            ("ü(", "aü(b", true),
        ] {
            assert_eq!(Pattern::new(pattern).expect("a pattern").fits(id), fits, "{pattern} {id}");
        }
    }
}
