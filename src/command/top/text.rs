//! Figures as they are shown on a screen: as many digits as can be read at a glance.

use crate::command::now::{Now, moment};
use crate::command::report::amount::duration;
use crate::model::quantity::Nanos;

/// What ends later than that is said to end on a day.
const DAY_SECONDS: i64 = 86_400;

/// Two decimals, so that a column adds up to what stands above it; fewer where nobody could tell.
#[must_use]
pub fn watts(watts: f64) -> String {
    match watts {
        10_000.0.. => format!("{watts:.0}"),
        1_000.0.. => format!("{watts:.1}"),
        _ => format!("{watts:.2}"),
    }
}

/// Grams in an hour.
#[must_use]
pub fn rate(grams: f64) -> String {
    match grams {
        1_000.0.. => format!("{grams:.0}"),
        100.0.. => format!("{grams:.1}"),
        _ => format!("{grams:.2}"),
    }
}

/// Energy.
#[must_use]
pub fn energy(joules: f64) -> String {
    scaled(joules / 3_600.0, [(1e-3, "mWh"), (1.0, "Wh"), (1e3, "kWh"), (1e6, "MWh")])
}

/// Emissions.
#[must_use]
pub fn grams(grams: f64) -> String {
    scaled(grams, [(1e-3, "mg"), (1.0, "g"), (1e3, "kg"), (1e6, "t")])
}

/// Three digits and a unit.
fn scaled(value: f64, units: [(f64, &str); 4]) -> String {
    if value <= 0.0 {
        return format!("0 {}", units[1].1);
    }
    // What would be written as 1000 is 1.00 of the next.
    let fits = units.iter().rev().find(|(size, _)| value >= 0.9995 * size).unwrap_or(&units[0]);
    let (size, unit) = *fits;
    let number = value / size;
    match number {
        99.95.. => format!("{number:.0} {unit}"),
        9.995.. => format!("{number:.1} {unit}"),
        _ => format!("{number:.2} {unit}"),
    }
}

/// A part of a whole; what is not all of it is never written as all.
#[must_use]
pub fn percent(ratio: f64) -> String {
    let percent = (ratio * 100.0).clamp(0.0, 100.0);
    let shown = if percent < 100.0 { percent.floor() } else { percent };
    format!("{shown:.0} %")
}

/// How long something takes.
#[must_use]
pub fn lasts(seconds: f64) -> String {
    duration(Nanos::from_seconds(
        std::time::Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_secs()),
    ))
}

/// The time of day, UTC.
#[must_use]
pub fn clock(at: &str) -> String {
    moment(at).map_or_else(|| "?".to_owned(), |at| at.strftime("%H:%M:%S").to_string())
}

/// Day and time, UTC.
#[must_use]
pub fn date(at: &str) -> String {
    moment(at).map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

/// When something ends: the time if that is within a day, else the day.
#[must_use]
pub fn end(end: &str, now: &str) -> String {
    let (Some(end), Some(now)) = (moment(end), moment(now)) else { return "?".to_owned() };
    let is_soon = end.as_second().saturating_sub(now.as_second()).abs() < DAY_SECONDS;
    end.strftime(if is_soon { "%H:%M" } else { "%m-%d" }).to_string()
}

/// Since when a job has been known.
#[must_use]
pub fn age(first: &str, now: &str) -> String {
    let (Some(first), Some(now)) = (moment(first), moment(now)) else { return "?".to_owned() };
    let seconds = now.as_second().saturating_sub(first.as_second());
    duration(Nanos::from_seconds(u64::try_from(seconds).unwrap_or(0)))
}

/// What a host's grams are made of.
#[must_use]
pub fn grid(now: &Now) -> String {
    let grid = &now.grid;
    let known = [&grid.source, &grid.year, &grid.quality].map(String::as_str);
    let known: Vec<&str> = known.into_iter().filter(|text| !text.is_empty()).collect();
    let zone = if grid.grid_zone.is_empty() { "?" } else { &grid.grid_zone };
    format!("{zone} {} g/kWh ({}), PUE {}", grid.grams_per_kilowatt_hour, known.join(", "), grid.pue)
}

/// What of the host's energy was measured.
#[must_use]
pub fn measured(now: &Now) -> String {
    now.share_measured()
        .map_or_else(|| "nothing counted yet".to_owned(), |share| format!("{} measured", percent(share)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (joules, expected) in [
            (0.0, "0 Wh"),
            (0.001, "0.00 mWh"),
            (3.6, "1.00 mWh"),
            (3_598.0, "999 mWh"),
            (3_599.9, "1.00 Wh"),
            (44_400.0, "12.3 Wh"),
            (3.6e6, "1.00 kWh"),
            (3.6e9 * 123.4, "123 MWh"),
        ] {
            assert_eq!(energy(joules), expected);
        }
        assert_eq!(
            (grams(0.0123), grams(1_234.0), grams(2.5e6)),
            ("12.3 mg".into(), "1.23 kg".into(), "2.50 t".into())
        );
        assert_eq!(
            (watts(999.994), watts(1_234.56), watts(12_345.6)),
            ("999.99".into(), "1234.6".into(), "12346".into())
        );
        assert_eq!(
            (rate(99.994), rate(100.0), rate(12_345.0)),
            ("99.99".into(), "100.0".into(), "12345".into())
        );
    }

    #[test]
    fn what_is_not_all_is_not_written_as_all() {
        assert_eq!(percent(0.9999), "99 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(f64::from(-1_i32)), "0 %");
    }

    #[test]
    fn an_end_has_a_time_today_and_a_day_later_on() {
        let now = "2026-11-22T21:00:00Z";
        for (at, expected) in [
            ("2026-11-22T23:15:00Z", "23:15"),
            ("2026-11-23T20:59:00Z", "20:59"),
            ("2026-11-24T01:00:00Z", "11-24"),
            ("soon", "?"),
        ] {
            assert_eq!(end(at, now), expected);
        }
        assert_eq!(age("2026-11-22T20:58:55Z", now), "1m 05s");
        assert_eq!(clock("2026-11-22T21:03:05.123Z"), "21:03:05");
    }
}
