//! By what jobs are grouped, and in which group of each kind a job is. Values that a job's user set make a
//! group only where the configuration has a pattern for them: anybody could name groups without end.

use crate::model::description::{Attribute, Description};
use crate::model::identity::Name;
use regex_lite::{Regex, RegexBuilder};

/// Kinds at the most: each divides the whole host once more, in series of its own.
pub const MAX_KINDS: usize = 16;

/// Values that a kind may be taken from.
const MAX_FROM: usize = 16;

/// The name of a group is a label, and one of at most 200 of its kind.
const MAX_GROUP_BYTES: usize = 128;

/// The name of a kind is one too.
const MAX_KIND_BYTES: usize = 40;

/// A compiled pattern takes no more than this; a larger one is a mistake or an attack.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// What a label's name begins with where an attribute's could stand.
const LABEL: &str = "label.";

/// Where a group's name comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An attribute.
    Attribute(Attribute),
    /// A label of a pod, or one that a job's user gave it.
    Label(Name),
}

impl Origin {
    /// As the configuration writes it: an attribute's name, or `label.` and a key.
    #[must_use]
    pub fn of_name(text: &str) -> Option<Origin> {
        match text.strip_prefix(LABEL) {
            Some("") => None,
            Some(key) => Some(Origin::Label(key.into())),
            None => Attribute::of_name(text).map(Origin::Attribute),
        }
    }

    fn of<'a>(&self, description: &'a Description) -> &'a str {
        match self {
            Origin::Attribute(attribute) => description.get(*attribute),
            Origin::Label(key) => description.labels().get(key).map_or("", |value| value),
        }
    }
}

/// One way to divide the jobs.
#[derive(Debug, Clone)]
pub struct Kind {
    name: Name,
    from: Vec<Origin>,
    pattern: Option<Regex>,
}

/// Why a kind was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// Its name cannot be one.
    #[error("{0:?} is no name of a kind (a small letter, then at most 39 of a-z, 0-9 and _)")]
    Name(String),
    /// It is there already.
    #[error("{0} is always a kind (choose another name)")]
    Taken(String),
    /// It comes from nothing, or too much.
    #[error("{0}: from has {1} entries (give 1 to 16 names of attributes, or label.KEY)")]
    From(String, usize),
    /// Its pattern is wrong.
    #[error("{0}: {1}")]
    Pattern(String, regex_lite::Error),
    /// There are too many.
    #[error("{0} kinds are more than 13 beside the three that are always there")]
    TooMany(usize),
}

impl PartialEq for Kind {
    fn eq(&self, other: &Kind) -> bool {
        let pattern = |kind: &Kind| kind.pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
        self.name == other.name && self.from == other.from && pattern(self) == pattern(other)
    }
}

impl Kind {
    /// A kind with its name and where its groups' names come from; the first that is there counts. The
    /// pattern must match the whole name.
    ///
    /// # Errors
    /// The name or the pattern is wrong, or there is nothing to take it from.
    pub fn new(name: &str, from: Vec<Origin>, pattern: Option<&str>) -> Result<Kind, KindError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts_well || name.len() > MAX_KIND_BYTES || !name.bytes().all(is_plain) {
            return Err(KindError::Name(name.to_owned()));
        }
        if !(1..=MAX_FROM).contains(&from.len()) {
            return Err(KindError::From(name.to_owned(), from.len()));
        }
        let pattern = pattern.map(whole).transpose();
        let pattern = pattern.map_err(|error| KindError::Pattern(name.to_owned(), error))?;
        Ok(Kind { name: name.into(), from, pattern })
    }

    /// The `group_kind` label.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// In words: where its names come from.
    #[must_use]
    pub fn describe(&self) -> String {
        let from = self.from.iter().map(|from| match from {
            Origin::Attribute(attribute) => attribute.as_str().to_owned(),
            Origin::Label(key) => format!("{LABEL}{key}"),
        });
        let from: Vec<String> = from.collect();
        format!("{} from {}", self.name, from.join(", "))
    }

    /// Whether a value that a job's user set can name a group of it.
    fn takes_own(&self) -> bool {
        self.pattern.is_some()
    }

    /// The group's name, if it is one.
    fn group(&self, value: &str) -> Name {
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(value)) {
            tracing::debug!(group_kind = &*self.name, value, "does not match the pattern: in no group");
            return "".into();
        }
        plain(value)
    }

    fn decide(&self, known: &Known<'_>, is_final: bool) -> Option<Name> {
        if !is_final {
            // Of what is asked for first nothing better can come.
            let first = self.from.first().map_or("", |from| from.of(known.sure));
            return (!first.is_empty()).then(|| self.group(first));
        }
        let own = |from: &Origin| if self.takes_own() { from.of(known.own) } else { "" };
        let mut values =
            self.from.iter().flat_map(|from| [from.of(known.sure), from.of(known.likely), own(from)]);
        let value = values.find(|value| !value.is_empty());
        Some(value.map_or_else(|| "".into(), |value| self.group(value)))
    }
}

/// The pattern for the whole of a text. It is compiled alone first: `a)|(b` is none.
fn whole(pattern: &str) -> Result<Regex, regex_lite::Error> {
    let compile = |text: &str| RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

/// Bounded, and without what a terminal or a page would stumble over.
fn plain(value: &str) -> Name {
    let mut end = value.len().min(MAX_GROUP_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value[..end].chars().map(|char| if char.is_control() { '_' } else { char }).collect::<String>().into()
}

/// What is known of a job, by how much it is worth.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// From those who run the job.
    pub sure: &'a Description,
    /// As the job itself shows what it was given by them; it could have changed it.
    pub likely: &'a Description,
    /// What its user says of it.
    pub own: &'a Description,
}

/// All kinds.
#[derive(Debug, Clone, PartialEq)]
pub struct Grouping {
    kinds: Vec<Kind>,
}

impl Default for Grouping {
    fn default() -> Grouping {
        let kind = |name: &str, from: &[Attribute]| Kind {
            name: name.into(),
            from: from.iter().copied().map(Origin::Attribute).collect(),
            pattern: None,
        };
        let kinds = vec![
            kind("namespace", &[Attribute::Namespace]),
            kind("slurm_account", &[Attribute::SlurmAccount]),
            kind("user", &[Attribute::UserName, Attribute::UserId]),
        ];
        Grouping { kinds }
    }
}

impl Grouping {
    /// The kinds that are always there, and these.
    ///
    /// # Errors
    /// There are too many, or two of one name.
    pub fn with(kinds: Vec<Kind>) -> Result<Grouping, KindError> {
        let mut grouping = Grouping::default();
        if grouping.kinds.len() + kinds.len() > MAX_KINDS {
            return Err(KindError::TooMany(kinds.len()));
        }
        for kind in kinds {
            // The history is kept by account beside all of them.
            let is_taken = &*kind.name == "account";
            if is_taken || grouping.kinds.iter().any(|known| known.name == kind.name) {
                return Err(KindError::Taken(kind.name.to_string()));
            }
            grouping.kinds.push(kind);
        }
        Ok(grouping)
    }

    /// The `group_kind` labels.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.kinds.iter().map(|kind| Name::clone(&kind.name)).collect()
    }

    /// The kinds.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The labels that groups are made from.
    pub fn labels(&self) -> impl Iterator<Item = &Name> {
        self.kinds.iter().flat_map(|kind| &kind.from).filter_map(|from| match from {
            Origin::Label(key) => Some(key),
            Origin::Attribute(_) => None,
        })
    }

    /// Whether what a job's user says of it can put it into a group.
    #[must_use]
    pub fn takes_own(&self) -> bool {
        self.kinds.iter().any(Kind::takes_own)
    }

    /// Adds the groups that are decided by what is known; if nothing more will be known, all of them. The
    /// name of no group is empty. What was decided before stays.
    pub fn decide(&self, known: &Known<'_>, is_final: bool, groups: &mut Vec<(Name, Name)>) {
        for kind in &self.kinds {
            let is_decided = groups.iter().any(|(decided, _)| *decided == kind.name);
            if let Some(group) = (!is_decided).then(|| kind.decide(known, is_final)).flatten() {
                groups.push((Name::clone(&kind.name), group));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origins(names: &[&str]) -> Vec<Origin> {
        names.iter().map(|name| Origin::of_name(name).expect("a name")).collect()
    }

    fn description(values: &[(&str, &str)]) -> Description {
        let mut description = Description::default();
        for (name, value) in values {
            match Origin::of_name(name).expect("a name") {
                Origin::Attribute(attribute) => description.set(attribute, value),
                Origin::Label(key) => description.label(&key, value),
            }
        }
        description
    }

    /// The group of one kind as it is decided: `-` if it is not.
    fn group(kind: &Kind, sure: &[(&str, &str)], own: &[(&str, &str)], is_final: bool) -> String {
        let (sure, own) = (description(sure), description(own));
        let known = Known { sure: &sure, likely: &Description::default(), own: &own };
        kind.decide(&known, is_final).map_or("-".to_owned(), |group| group.to_string())
    }

    #[test]
    fn a_user_s_own_value_makes_a_group_only_where_there_is_a_pattern() {
        let from = || origins(&["project", "label.project"]);
        let open = Kind::new("project", from(), None).expect("a kind");
        let checked = Kind::new("project", from(), Some("[a-z0-9-]{1,40}")).expect("a kind");
        for (sure, own, of_open, of_checked) in [
            (vec![], vec![("project", "apollo")], "", "apollo"),
            (vec![("label.project", "apollo")], vec![("project", "other")], "apollo", "other"),
            (vec![("label.project", "apollo")], vec![("label.project", "other")], "apollo", "apollo"),
            (vec![("project", "Apollo 11")], vec![], "Apollo 11", ""),
            (vec![], vec![("project", "apollo\n")], "", ""),
            (vec![], vec![("project", "no/apollo")], "", ""),
            (vec![], vec![], "", ""),
        ] {
            assert_eq!(group(&open, &sure, &own, true), of_open, "{sure:?} {own:?}");
            assert_eq!(group(&checked, &sure, &own, true), of_checked, "{sure:?} {own:?}");
        }
    }

    #[test]
    fn a_group_is_decided_early_only_by_what_is_asked_for_first() {
        let kind = Kind::new("team", origins(&["label.team", "k8s.namespace.name"]), None).expect("a kind");
        assert_eq!(group(&kind, &[("k8s.namespace.name", "web")], &[], false), "-");
        assert_eq!(group(&kind, &[("k8s.namespace.name", "web")], &[], true), "web");
        assert_eq!(group(&kind, &[("label.team", "a")], &[], false), "a");
        let users = Grouping::default();
        let likely = description(&[("slurm.account", "physics")]);
        let none = Description::default();
        let known = Known { sure: &none, likely: &likely, own: &none };
        let mut decided = Vec::new();
        users.decide(&known, false, &mut decided);
        assert!(decided.is_empty());
        decided.push(("namespace".into(), "shop".into()));
        users.decide(&known, true, &mut decided);
        assert_eq!((decided.len(), &*decided[0].1), (3, "shop"), "what was decided stays");
        assert_eq!(decided[1], ("slurm_account".into(), "physics".into()));
        assert_eq!(decided[2], ("user".into(), "".into()));
    }

    #[test]
    fn what_is_wrong_with_a_kind_is_told() {
        for (name, from, pattern, part) in [
            ("Project", vec!["project"], None, "no name of a kind"),
            ("", vec!["project"], None, "no name of a kind"),
            ("project", vec![], None, "0 entries"),
            ("project", vec!["project"], Some("("), "project: "),
            ("project", vec!["project"], Some("a)|(b"), "project: "),
        ] {
            let error = Kind::new(name, origins(&from), pattern).expect_err(name).to_string();
            assert!(error.contains(part), "{error}");
        }
        let user = || Kind::new("user", origins(&["project"]), None).expect("a kind");
        assert!(Grouping::with(vec![user()]).expect_err("taken").to_string().contains("always a kind"));
        assert!(Origin::of_name("label.").is_none() && Origin::of_name("pod").is_none());
    }

    proptest! {
        #[test]
        fn any_value_is_a_bounded_name(value in "\\PC{0,300}|.{0,300}") {
            let name = plain(&value);
            prop_assert!(name.len() <= MAX_GROUP_BYTES && !name.chars().any(char::is_control));
        }
    }
}
