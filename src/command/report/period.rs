//! The stretch of time that a report is about. Days are UTC days: the sums are kept so.

use crate::model::history::Span;
use crate::model::quantity::Nanos;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// One day in ns.
pub const DAY: u64 = 86_400_000_000_000;

/// One hour in ns.
pub const HOUR: u64 = DAY / 24;

/// Without a wish: today and the six days before it.
const DEFAULT_DAYS: u64 = 7;

/// Why a time was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// It is no time that we know how to read.
    #[error(
        "{flag} {text:?} is no time (write 2026-11-17, 2026-11-17T08:00:00Z, 7d, 24h, 30m, today, yesterday or all; days are UTC days)"
    )]
    Malformed {
        /// Which flag.
        flag: &'static str,
        /// What it said.
        text: String,
    },
    /// Nothing lies between the two.
    #[error("--since {since} is not before --until {until} (a date means its first moment, UTC)")]
    Reversed {
        /// The start.
        since: String,
        /// The end.
        until: String,
    },
}

/// From `--since` and `--until`: the end is not included. Without `--since` it begins with `default`.
///
/// # Errors
/// A time that cannot be read, or an end before the start.
pub fn period(
    since: Option<&str>,
    until: Option<&str>,
    now: Nanos,
    default: Nanos,
) -> Result<Span, PeriodError> {
    let start = since.map_or(Ok(default), |text| time("--since", text, now))?;
    let end = until.map_or(Ok(now), |text| time("--until", text, now))?;
    if start >= end {
        let [since, until] = [start, end].map(super::amount::timestamp);
        return Err(PeriodError::Reversed { since, until });
    }
    Ok(Span { start, end })
}

/// Where the last days begin.
#[must_use]
pub const fn last_days(now: Nanos) -> Nanos {
    let today = now.get() - now.get() % DAY;
    Nanos::new(today.saturating_sub((DEFAULT_DAYS - 1) * DAY))
}

fn time(flag: &'static str, text: &str, now: Nanos) -> Result<Nanos, PeriodError> {
    let today = now.get() - now.get() % DAY;
    let named = match text {
        "now" => Some(now.get()),
        "today" => Some(today),
        "yesterday" => Some(today.saturating_sub(DAY)),
        "all" => Some(0),
        _ => ago(text).map(|ago| now.get().saturating_sub(ago)),
    };
    let read = || {
        let instant = text.parse::<Timestamp>().ok();
        // Without an offset it is UTC; a date alone is its first moment.
        let local = || Some(text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
        u64::try_from(instant.or_else(local)?.as_nanosecond()).ok()
    };
    let malformed = || PeriodError::Malformed { flag, text: text.to_owned() };
    named.or_else(read).map(Nanos::new).ok_or_else(malformed)
}

/// `7d` in ns.
fn ago(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => HOUR / 3_600,
        'm' => HOUR / 60,
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        // 2026-11-18T10:26:40Z
        let now = Nanos::from_seconds(1_794_997_600);
        for (text, expected) in [
            ("2026-11-18", Some("2026-11-18T00:00:00Z")),
            ("2026-11-18T08:00", Some("2026-11-18T08:00:00Z")),
            ("2026-11-18 08:00:30", Some("2026-11-18T08:00:30Z")),
            ("2026-11-18T08:00:00Z", Some("2026-11-18T08:00:00Z")),
            ("2026-11-18T08:00:00+02:00", Some("2026-11-18T06:00:00Z")),
            ("today", Some("2026-11-18T00:00:00Z")),
            ("yesterday", Some("2026-11-17T00:00:00Z")),
            ("now", Some("2026-11-18T10:26:40Z")),
            ("7d", Some("2026-11-11T10:26:40Z")),
            ("2w", Some("2026-11-04T10:26:40Z")),
            ("24h", Some("2026-11-17T10:26:40Z")),
            ("30m", Some("2026-11-18T09:56:40Z")),
            ("100000d", Some("1970-01-01T00:00:00Z")),
            ("all", Some("1970-01-01T00:00:00Z")),
            ("", None),
            ("d", None),
            ("-7d", None),
            ("7 days", None),
            ("7d ago", None),
            ("tomorrow", None),
            ("17.11.2026", None),
            ("2026-02-30", None),
            ("1900-01-01", None),
            ("99999999999999999999d", None),
            ("7ö", None),
        ] {
            let read = time("--since", text, now).ok().map(super::super::amount::timestamp);
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
        let error = time("--until", "soon", now).expect_err("no time").to_string();
        assert!(error.contains("--until \"soon\"") && error.contains("UTC"), "{error}");
    }

    #[test]
    fn an_end_before_the_start_is_refused() {
        let now = Nanos::from_seconds(1_794_997_600);
        let span = period(Some("yesterday"), Some("today"), now, Nanos::ZERO).expect("valid");
        assert_eq!(span.end.get() - span.start.get(), DAY);
        assert_eq!(period(None, None, now, Nanos::ZERO).map(|span| span.end), Ok(now));
        let error = period(Some("today"), Some("yesterday"), now, Nanos::ZERO).expect_err("reversed");
        assert!(error.to_string().contains("2026-11-17T00:00:00Z"), "{error}");
        assert!(period(Some("2030-01-01"), None, now, Nanos::ZERO).is_err(), "the future holds nothing");
        assert_eq!(super::super::amount::timestamp(last_days(now)), "2026-11-12T00:00:00Z");
    }
}
