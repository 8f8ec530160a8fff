//! Pieces of PromQL and YAML that no name can break out of: everything beyond plain ASCII is escaped.

use std::fmt::Write;

/// A double-quoted string that PromQL, YAML and JSON read alike.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            ' '..='~' => quoted.push(character),
            // Both know four digits after u, and eight after U.
            '\0'..='\u{ffff}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            beyond => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(beyond));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// `label="value"`, or a pattern of several values.
pub(super) fn matcher(label: &str, values: &[String]) -> String {
    match values {
        [one] => format!("{label}={}", quoted(one)),
        several => {
            let escaped: Vec<String> = several.iter().map(|value| regex_lite::escape(value)).collect();
            format!("{label}=~{}", quoted(&escaped.join("|")))
        }
    }
}

/// A range that holds one sample fewer than one that begins with a sample: an hour is one sample of an hourly
/// series. Before 3.0 Prometheus took the sample at a range's very beginning too.
pub(super) fn range(hours: u64) -> String {
    match hours {
        1 => "[59m59s999ms]".to_owned(),
        hours => format!("[{}h59m59s999ms]", hours - 1),
    }
}

/// An integer of so many decimals as a number.
pub(super) fn number(value: u64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let digits = places as usize;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_quotes() {
        for (name, expected) in [
            ("web", "\"web\""),
            ("a\"b", "\"a\\\"b\""),
            ("a\\", "\"a\\\\\""),
            ("a\nb", "\"a\\u000ab\""),
            ("größe\u{2028}", "\"gr\\u00f6\\u00dfe\\u2028\""),
            ("\u{1f33f}", "\"\\U0001f33f\""),
            ("{{ $x }}", "\"{{ $x }}\""),
        ] {
            assert_eq!(quoted(name), expected);
        }
        let several = ["a.b".to_owned(), "c|d\\".to_owned()];
        assert_eq!(matcher("group", &several), "group=~\"a\\\\.b|c\\\\|d\\\\\\\\\"");
        assert_eq!(matcher("group", &several[..1]), "group=\"a.b\"");
    }

    #[test]
    fn numbers_are_plain() {
        assert_eq!(number(1_500_000, 3), "1500");
        assert_eq!(number(1_500, 3), "1.5");
        assert_eq!(number(800_000, 6), "0.8");
        assert_eq!(number(0, 3), "0");
        assert_eq!(range(720), "[719h59m59s999ms]");
    }
}
