//! The page as text: OpenMetrics 1.0 and the older text format 0.0.4, from one catalogue. Counters are
//! written from integers, so that a reader of the text can add them up exactly.

use super::catalogue::{Family, Kind, Number, Sink, families};
use crate::model::quantity::Nanos;
use crate::model::snapshot::Snapshot;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    /// Both.
    pub const ALL: [Format; 2] = [Format::Text, Format::OpenMetrics];

    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
        }
    }
}

/// Writes the page; `more` are lines of other families in OpenMetrics text without the end mark.
pub fn render(snapshot: &Snapshot, format: Format, more: &str, text: &mut Vec<u8>) {
    render_families(families(), snapshot, format, more, text);
}

/// The same for other families than a node's.
pub fn render_families<S: 'static>(
    families: impl Iterator<Item = &'static Family<S>>,
    state: &S,
    format: Format,
    more: &str,
    text: &mut Vec<u8>,
) {
    text.clear();
    for family in families {
        let mut writer = Writer { family, format, text, has_header: false, target: &[], seconds: None };
        (family.collect)(state, &mut writer);
    }
    match format {
        Format::OpenMetrics => {
            text.extend_from_slice(more.as_bytes());
            text.extend_from_slice(b"# EOF\n");
        }
        Format::Text => downgrade(more, text),
    }
}

/// The heads of these families alone, in OpenMetrics: what stands before samples of many times.
pub fn declare(families: impl Iterator<Item = &'static Family>, text: &mut Vec<u8>) {
    for family in families {
        let format = Format::OpenMetrics;
        Writer { family, format, text, has_header: false, target: &[], seconds: None }.header();
    }
}

/// The samples of these families alone, as they were scraped from a target with these labels at this wall
/// time; appended.
pub fn render_at(
    families: impl Iterator<Item = &'static Family>,
    snapshot: &Snapshot,
    target: &[(&str, &str)],
    at: Nanos,
    text: &mut Vec<u8>,
) {
    let seconds = Some(at.get() / 1_000_000_000);
    for family in families {
        let format = Format::OpenMetrics;
        let mut writer = Writer { family, format, text, has_header: true, target, seconds };
        (family.collect)(snapshot, &mut writer);
    }
}

/// OpenMetrics lines as 0.0.4: counters are declared under the name their samples have, and there
/// are no units.
fn downgrade(lines: &str, text: &mut Vec<u8>) {
    let counters: Vec<&str> =
        lines.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in lines.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let declared = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "));
        match declared.and_then(|rest| rest.split_once(' ')) {
            Some((name, rest)) if counters.contains(&name) => {
                let head = &line[..7];
                text.extend_from_slice(format!("{head}{name}_total {rest}\n").as_bytes());
            }
            _ => {
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
        }
    }
}

struct Writer<'a, S> {
    family: &'a Family<S>,
    format: Format,
    text: &'a mut Vec<u8>,
    has_header: bool,
    // What a scrape would add: labels of the target, and the time.
    target: &'a [(&'a str, &'a str)],
    seconds: Option<u64>,
}

impl<S> Sink for Writer<'_, S> {
    fn sample(&mut self, labels: &[&str], value: Number) {
        self.header();
        let suffix = match self.family.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.line(suffix, labels, None, value);
    }

    fn histogram(&mut self, labels: &[&str], bounds: &[u64], counts: &[u64], sum_nanoseconds: u64) {
        self.header();
        let mut below = 0;
        for (index, count) in counts.iter().enumerate() {
            below += count;
            let bound = bounds.get(index).map_or("+Inf".to_owned(), |bound| bound_text(*bound));
            self.line("_bucket", labels, Some(&bound), Number::Whole(below));
        }
        self.line("_count", labels, None, Number::Whole(below));
        self.line("_sum", labels, None, Number::Nano(sum_nanoseconds));
    }
}

impl<S> Writer<'_, S> {
    /// A family without samples is not declared.
    fn header(&mut self) {
        if std::mem::replace(&mut self.has_header, true) {
            return;
        }
        let family = self.family;
        let (kind, suffix) = match (family.kind, self.format) {
            (Kind::Counter, Format::Text) => ("counter", "_total"),
            (Kind::Counter, Format::OpenMetrics) => ("counter", ""),
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Info, Format::Text) => ("gauge", "_info"),
            (Kind::Info, Format::OpenMetrics) => ("info", ""),
            (Kind::Histogram, _) => ("histogram", ""),
        };
        let name = family.name;
        let mut lines = format!("# HELP {name}{suffix} {}.\n# TYPE {name}{suffix} {kind}\n", family.help);
        if self.format == Format::OpenMetrics && !family.unit.is_empty() {
            lines.push_str(&format!("# UNIT {name} {}\n", family.unit));
        }
        self.text.extend_from_slice(lines.as_bytes());
    }

    fn line(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: Number) {
        let text = &mut *self.text;
        text.extend_from_slice(self.family.name.as_bytes());
        text.extend_from_slice(suffix.as_bytes());
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let mut open = b'{';
        for (name, value) in self.target {
            label(open, name, value, text);
            open = b',';
        }
        // To a reader an empty label is none; of what may be known of a job, most is not.
        let shows_all = self.family.kind != Kind::Info;
        for (name, value) in self.family.labels.iter().zip(labels) {
            if !shows_all && value.is_empty() {
                continue;
            }
            label(open, name, value, text);
            open = b',';
        }
        if let Some(bound) = bound {
            label(open, "le", bound, text);
            open = b',';
        }
        if open == b',' {
            text.push(b'}');
        }
        text.push(b' ');
        number(value, text);
        if let Some(seconds) = self.seconds {
            text.push(b' ');
            number(Number::Whole(seconds), text);
        }
        text.push(b'\n');
    }
}

fn label(open: u8, name: &str, value: &str, text: &mut Vec<u8>) {
    text.push(open);
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"=\"");
    escape(value, text);
    text.push(b'"');
}

/// Backslash, quote and line feed are escaped, in both formats.
fn escape(value: &str, text: &mut Vec<u8>) {
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
    let mut rest = value.as_bytes();
    // Hardly any value has one, and looking at all bytes without leaving early takes eight at a time.
    if !rest.iter().fold(false, |any, byte| any | is_special(byte)) {
        return text.extend_from_slice(rest);
    }
    while let Some(at) = rest.iter().position(is_special) {
        text.extend_from_slice(&rest[..at]);
        text.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
}

/// The digits of a number.
pub(super) fn number(value: Number, text: &mut Vec<u8>) {
    if value.is_negative() {
        text.push(b'-');
    }
    let (value, places) = value.parts();
    // 20 digits of a u64, the point, and a zero before it.
    let mut digits = [b'0'; 22];
    let mut at = digits.len();
    let mut left = value;
    let mut written = 0;
    while left > 0 || written <= places {
        if written == places && places > 0 {
            at -= 1;
            digits[at] = b'.';
        }
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).expect("a digit");
        left /= 10;
        written += 1;
    }
    text.extend_from_slice(&digits[at..]);
}

/// A bucket's bound in seconds, in the canonical form: no zeros at the end.
fn bound_text(nanoseconds: u64) -> String {
    let mut text = Vec::new();
    number(Number::Nano(nanoseconds), &mut text);
    let text = String::from_utf8(text).expect("digits and a point");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: Number) -> String {
        let mut text = Vec::new();
        number(value, &mut text);
        String::from_utf8(text).expect("ASCII")
    }

    #[test]
    fn numbers_are_written_from_integers() {
        for (value, expected) in [
            (Number::Whole(0), "0"),
            (Number::Whole(u64::MAX), "18446744073709551615"),
            (Number::Micro(0), "0.000000"),
            (Number::Micro(1), "0.000001"),
            (Number::Micro(123_456_789), "123.456789"),
            (Number::Nano(u64::MAX), "18446744073.709551615"),
            (Number::Milli(473_010), "473.010"),
            (Number::Owed(0), "0.000000"),
            (Number::Owed(1_500_000), "-1.500000"),
            (Number::Over(1_500_000_000), "-1.500000000"),
        ] {
            assert_eq!(written(value), expected);
        }
        assert_eq!(bound_text(100_000), "0.0001");
        assert_eq!(bound_text(1_000_000_000), "1.0");
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for family in families() {
            let name = family.name;
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{name}");
            assert!(
                family.unit.is_empty() || name.ends_with(family.unit),
                "{name} must end in {}",
                family.unit
            );
            assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
            for label in family.labels {
                assert!(
                    !["job", "instance", "zone", "region", "cluster", "service", "le"].contains(label),
                    "{name}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn micro_text_reads_back_as_the_same_integer(value in any::<u64>()) {
            let text = written(Number::Micro(value)).replace('.', "");
            prop_assert_eq!(text.parse::<u64>().ok(), Some(value));
        }

        #[test]
        fn any_label_value_survives_escaping(value in "\\PC{0,20}[\\\\\"\n]{0,3}\\PC{0,20}") {
            let mut text = Vec::new();
            escape(&value, &mut text);
            let text = String::from_utf8(text).expect("UTF-8 stays UTF-8");
            prop_assert!(!text.contains('\n'));
            let mut back = String::new();
            let mut chars = text.chars();
            while let Some(char) = chars.next() {
                back.push(match char {
                    '\\' => match chars.next() { Some('n') => '\n', Some(other) => other, None => '?' },
                    other => other,
                });
            }
            prop_assert_eq!(back, value);
        }
    }
}
