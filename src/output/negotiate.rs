//! Which format and encoding a client wants: `Accept` and `Accept-Encoding`, with their weights.

use super::prometheus::Format;

/// The best of our formats for an `Accept` header; the old text format if it names none of them.
#[must_use]
pub fn format(accept: Option<&str>) -> Format {
    let mut best = (0, Format::Text);
    for (media, weight) in weighted(accept.unwrap_or_default()) {
        let mut parts = media.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let version = parts.find_map(|part| part.strip_prefix("version="));
        let format = match (kind, version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
            ("text/plain", None | Some("0.0.4")) => Format::Text,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, format);
        }
    }
    best.1
}

/// Whether gzip is welcome.
#[must_use]
pub fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    weighted(accept_encoding.unwrap_or_default())
        .filter(|(coding, _)| coding.eq_ignore_ascii_case("gzip") || *coding == "*")
        .max_by_key(|(coding, _)| *coding != "*")
        .is_some_and(|(_, weight)| weight > 0)
}

/// The items of a list with their weights in thousandths; without `q` it is 1.
fn weighted(header: &str) -> impl Iterator<Item = (&str, u32)> {
    header.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
        let found = item.rsplit_once(';').and_then(|(rest, last)| {
            let digits = last.trim().strip_prefix("q=").or_else(|| last.trim().strip_prefix("Q="))?;
            Some((rest.trim(), thousandths(digits)?))
        });
        found.unwrap_or((item, 1_000))
    })
}

/// `0.25` is 250; RFC 9110 allows three digits.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole * 1_000 + fraction).min(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

    #[test]
    fn formats() {
        for (accept, expected) in [
            (Some(PROMETHEUS), Format::OpenMetrics),
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html,application/xhtml+xml"), Format::Text),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text; version=0.0.1"), Format::Text),
            (Some("application/openmetrics-text; version=1.0.0; q=0.2, text/plain;q=0.9"), Format::Text),
            (Some("application/openmetrics-text;version=1.0.0;q=0"), Format::Text),
            (Some(";;;q=,,=q"), Format::Text),
        ] {
            assert_eq!(format(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn encodings() {
        for (accept, expected) in [
            (Some("gzip"), true),
            (Some("deflate, GZIP;q=0.5"), true),
            (Some("*"), true),
            (Some("gzip;q=0, *"), false),
            (Some("identity"), false),
            (Some("zstd"), false),
            (None, false),
        ] {
            assert_eq!(accepts_gzip(accept), expected, "{accept:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_negotiated(header in "\\PC{0,80}") {
            let _ = format(Some(&header));
            let _ = accepts_gzip(Some(&header));
        }
    }
}
