//! `jouleprint when`: the cleanest time ahead for something that takes so many hours, what it saves against
//! starting now, and that time in the words of schedulers.

use super::regions::{kilowatt_hours, microjoules};
use super::report::amount::{Unit, decimal, minute, timestamp};
use super::report::say;
use crate::carbon::forecast::{self, ForecastError};
use crate::carbon::location;
use crate::carbon::provider::Ask;
use crate::carbon::window::{self, Advice, Search, Window, kinds_ahead};
use crate::carbon::{Choice, resolve};
use crate::clock;
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings};
use crate::model::grid::{Place, Series, Signal};
use crate::model::quantity::{MicroWatts, Nanos, Pue, parse_decimal};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use std::io;
use std::path::Path;

/// Longer than any forecast reaches.
const MAX_HOURS: u64 = 24 * 14;

/// One hour, and one minute.
const HOUR: u64 = 3_600_000_000_000;
const MINUTE: u64 = 60_000_000_000;

/// What there is when nobody knows the hours ahead.
const WAY_OUT: &str = "give --forecast FILE or the URL of a relay, or configure one of grid.providers that looks \
                       ahead: electricity_maps, watttime, gb, energi_data, file, jouleprint; see docs/advice.md";

/// Of `jouleprint when`.
#[derive(Debug, Args)]
pub struct WhenArguments {
    /// How long it takes, in hours
    #[arg(long, value_name = "H", value_parser = hours)]
    pub hours: Nanos,
    /// How many hours from now it has to be done
    #[arg(long, value_name = "H", default_value = "24", value_parser = hours)]
    pub within: Nanos,
    /// Where the forecast is: a file, or the URL of a relay
    #[arg(long, value_name = "FILE|URL")]
    pub forecast: Option<String>,
    /// Which signal decides
    #[arg(long, value_enum, value_name = "SIGNAL", default_value = "average")]
    pub signal: SignalName,
    /// How much energy it uses, in kWh: says the grams
    #[arg(long, value_name = "KWH", value_parser = kilowatt_hours)]
    pub kwh: Option<u64>,
    /// Or how much power it draws, in W
    #[arg(long, value_name = "W", conflicts_with = "kwh", value_parser = watts)]
    pub watts: Option<MicroWatts>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What a figure answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignalName {
    /// What a kWh emits
    Average,
    /// What one kWh more would emit
    Marginal,
}

impl SignalName {
    const fn signal(self) -> Signal {
        match self {
            SignalName::Average => Signal::Average,
            SignalName::Marginal => Signal::Marginal,
        }
    }
}

fn hours(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("it is no number of hours above 0 and up to {MAX_HOURS}");
    let millionths = parse_decimal(text, 6).map_err(|_| wrong())?;
    if millionths == 0 || millionths > MAX_HOURS * 1_000_000 {
        return Err(wrong());
    }
    Ok(Nanos::new(millionths * (HOUR / 1_000_000)))
}

fn watts(text: &str) -> Result<MicroWatts, String> {
    let power = MicroWatts::parse_watts(text).ok().filter(|power| power.get() <= 1_000_000_000_000_000);
    power.ok_or_else(|| "it is no number of watts up to a gigawatt".to_owned())
}

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
pub enum WhenError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It takes longer than there is time.
    #[error("--hours is longer than --within: it cannot be done by then")]
    TooLong,
    /// The forecast cannot be had.
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    /// Nobody knows the hours ahead.
    #[error("no forecast{why} ({WAY_OUT})")]
    Unknown {
        /// What there is, if anything.
        why: String,
    },
    /// It cannot be written.
    #[error("writing the advice: {0}")]
    Write(#[from] io::Error),
    /// It cannot be put as JSON.
    #[error("writing the advice as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl WhenError {
    /// The code to end with: scripts tell "nobody knows" from "something is wrong".
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            WhenError::Unknown { .. } => 3,
            WhenError::Config(_)
            | WhenError::TooLong
            | WhenError::Forecast(_)
            | WhenError::Write(_)
            | WhenError::Json(_) => 2,
        }
    }
}

/// Prints the advice.
///
/// # Errors
/// There is no forecast, or something is wrong.
pub fn run(flags: &Flags, arguments: &WhenArguments) -> Result<(), WhenError> {
    let settings = Settings::load(flags)?;
    if arguments.hours > arguments.within {
        return Err(WhenError::TooLong);
    }
    let now = clock::now().wall;
    let search = Search { from: now, until: now + arguments.within, length: arguments.hours };
    let (series, complaints) = series(&settings, arguments, search)?;
    let advised = advise(&series, arguments, search, &complaints)?;
    let text = match arguments.json {
        true => json(&advised, arguments, search)?,
        false => written(&advised, arguments, search),
    };
    Ok(say(&text)?)
}

/// As configured, else as it is found.
fn place(settings: &Settings) -> Place {
    let configured = resolve(&settings.carbon, settings.pue.unwrap_or(Pue::ONE)).ok();
    match (&settings.carbon, configured) {
        (Choice::Zone { .. } | Choice::Own { .. }, Some(factor)) => location::configured(&factor.zone).place,
        _ => location::locate_at_once(&settings.grid.location)
            .map_or_else(|_| location::configured(location::NOWHERE).place, |found| found.place),
    }
}

/// What is known, and what those said who know nothing. Where a file is named nobody is asked where we are.
fn series(
    settings: &Settings,
    arguments: &WhenArguments,
    search: Search,
) -> Result<(Vec<Series>, Vec<String>), WhenError> {
    let Some(named) = &arguments.forecast else {
        let wishes = &settings.grid.providers;
        if wishes.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        // The slot that runs began before now.
        let from = search.from.saturating_sub(Nanos::new(HOUR));
        let ask = Ask { now: search.from, from, until: search.until };
        let suffices =
            |series: &[Series]| window::advise(series, arguments.signal.signal(), search).is_some();
        return Ok(forecast::from_wishes_at_once(wishes, &place(settings), ask, suffices));
    };
    let series = match named.starts_with("http://") || named.starts_with("https://") {
        true => forecast::ask_at_once(named, &place(settings).zone)?,
        false => forecast::read(Path::new(named))?,
    };
    Ok((series, Vec::new()))
}

/// Advice, and whose.
struct Advised<'a> {
    series: &'a Series,
    advice: Advice,
    /// Who comes before and knows too little, in words.
    passed_over: Vec<String>,
}

fn advise<'a>(
    series: &'a [Series],
    arguments: &WhenArguments,
    search: Search,
    complaints: &[String],
) -> Result<Advised<'a>, WhenError> {
    let signal = arguments.signal.signal();
    let kinds: Vec<_> = kinds_ahead(series, signal, search.from).collect();
    let ends = kinds.iter().map(|(head, samples)| {
        let end = samples.iter().map(|sample| sample.end).max().unwrap_or_default();
        format!("{} ends at {} UTC", head.source, minute(end))
    });
    if let Some((head, advice)) = window::advise(series, signal, search) {
        let passed_over = kinds.iter().zip(ends).take_while(|((kind, _), _)| !std::ptr::eq(*kind, head));
        return Ok(Advised { series: head, advice, passed_over: passed_over.map(|(_, end)| end).collect() });
    }
    let ends: Vec<String> = ends.collect();
    let complaints = complaints.join("; ");
    let why = match (ends.is_empty(), series.is_empty(), complaints.is_empty()) {
        (false, ..) => {
            let hours = decimal(u128::from(search.length.get()) * 1_000_000 / u128::from(HOUR), 6);
            let more = if complaints.is_empty() { String::new() } else { format!("; {complaints}") };
            format!(
                " that is long enough: {}, and no {hours} h before are known whole{more}",
                ends.join(", ")
            )
        }
        (true, _, false) => format!(": {complaints}"),
        (true, false, true) => {
            format!(": what there is has no {} figure for any time from now on", signal.as_str())
        }
        (true, true, true) => String::new(),
    };
    Err(WhenError::Unknown { why })
}

/// The energy of the whole, in µJ.
fn energy(arguments: &WhenArguments) -> Option<u128> {
    let of_power =
        |power: MicroWatts| u128::from(power.get()) * u128::from(arguments.hours.get()) / 1_000_000_000;
    arguments.kwh.map(microjoules).or(arguments.watts.map(of_power))
}

/// Seconds until the start, rounded up.
fn delay_seconds(search: Search, window: &Window) -> u64 {
    window.start.saturating_sub(search.from).get().div_ceil(1_000_000_000)
}

/// As `at -t` has it, in UTC, rounded up to the minute.
fn at_time(window: &Window) -> String {
    let start = window.start.get().div_ceil(MINUTE) * MINUTE;
    let start = Timestamp::from_nanosecond(i128::from(start)).unwrap_or_default();
    start.strftime("%Y%m%d%H%M").to_string()
}

fn grams_per_kilowatt_hour(window: &Window) -> String {
    let tenths = (window.mean_milligrams() + 50) / 100;
    format!("{}.{} g/kWh", tenths / 10, tenths % 10)
}

fn percent(ppm: i64) -> String {
    let tenths = (ppm.unsigned_abs() + 500) / 1_000;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// For people.
fn written(advised: &Advised<'_>, arguments: &WhenArguments, search: Search) -> String {
    let Advised { series, advice, passed_over } = advised;
    let energy = energy(arguments);
    let grams = |window: &Window| match energy {
        Some(energy) => {
            let emissions = window.emissions(energy);
            let unit = Unit::of_emissions(emissions);
            format!(", {} {}", unit.write(emissions), unit.name)
        }
        None => String::new(),
    };
    let line = |head: &str, window: &Window| {
        let (start, end) = (minute(window.start), minute(window.end));
        format!("{head:<6} {start} to {end} UTC  {}{}\n", grams_per_kilowatt_hour(window), grams(window))
    };
    let mut text = format!(
        "{}, {}, {}, {}\n\n",
        series.zone,
        series.source,
        series.basis.as_str(),
        series.signal.as_str()
    );
    if let Some(now) = &advice.now {
        text.push_str(&line("now", now));
    }
    text.push_str(&line("best", &advice.best));
    let saves = advice.now.map(|now| advice.best.saving_ppm(&now));
    text.push_str(&match saves {
        Some(0) => "saves  nothing: start now\n".to_owned(),
        Some(ppm) => format!("saves  {}\n", percent(ppm)),
        None => "saves  unknown: of now too little is forecast\n".to_owned(),
    });
    let delay = delay_seconds(search, &advice.best);
    text.push_str(&format!(
        "\nstart  {}\n       sbatch --begin=now+{delay} …\n       TZ=UTC at -t {}\n",
        timestamp(advice.best.start),
        at_time(&advice.best)
    ));
    if advice.known_until < search.until {
        text.push_str(&format!("note: the forecast ends at {} UTC\n", minute(advice.known_until)));
    }
    for end in passed_over {
        text.push_str(&format!("note: {end}, which is too early\n"));
    }
    text
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    zone: &'a str,
    source: &'a str,
    signal: &'static str,
    basis: &'static str,
    accounting: &'static str,
    now: Option<WindowObject>,
    best: WindowObject,
    saving_ratio: Option<Box<RawValue>>,
    saving_grams: Option<Box<RawValue>>,
    known_until: String,
    delay_seconds: u64,
    sbatch_begin: String,
    at_time_utc: String,
}

#[derive(Serialize)]
struct WindowObject {
    start: String,
    end: String,
    grams_per_kilowatt_hour: Box<RawValue>,
    emissions_grams: Option<Box<RawValue>>,
}

fn number(value: u128, places: u32) -> Box<RawValue> {
    RawValue::from_string(decimal(value, places)).expect("digits are JSON")
}

fn json(
    advised: &Advised<'_>,
    arguments: &WhenArguments,
    search: Search,
) -> Result<String, serde_json::Error> {
    let Advised { series, advice, .. } = advised;
    let energy = energy(arguments);
    let object = |window: &Window| WindowObject {
        start: timestamp(window.start),
        end: timestamp(window.end),
        grams_per_kilowatt_hour: number(window.mean_milligrams(), 3),
        emissions_grams: energy.map(|energy| number(window.emissions(energy), 9)),
    };
    // The best is never worse than now, so that nothing here is negative.
    let saved = |now: Window, energy| now.emissions(energy).saturating_sub(advice.best.emissions(energy));
    let delay = delay_seconds(search, &advice.best);
    let document = Document {
        version: 1,
        zone: &series.zone,
        source: &series.source,
        signal: series.signal.as_str(),
        basis: series.basis.as_str(),
        accounting: series.accounting.as_str(),
        now: advice.now.as_ref().map(object),
        best: object(&advice.best),
        saving_ratio: advice
            .now
            .map(|now| number(u128::from(advice.best.saving_ppm(&now).unsigned_abs()), 6)),
        saving_grams: advice.now.zip(energy).map(|(now, energy)| number(saved(now, energy), 9)),
        known_until: timestamp(advice.known_until),
        delay_seconds: delay,
        sbatch_begin: format!("now+{delay}"),
        at_time_utc: at_time(&advice.best),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::grid::{Basis, Boundary, Quality, Sample};
    use crate::model::quantity::Intensity;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        when: WhenArguments,
    }

    fn arguments(words: &[&str]) -> Result<WhenArguments, String> {
        let words = ["when"].iter().chain(words);
        Line::try_parse_from(words).map(|line| line.when).map_err(|error| error.to_string())
    }

    /// 2026-11-18T10:00:00Z.
    const START: u64 = 1_794_996_000;

    fn series(signal: Signal, grams: &[u32]) -> Series {
        let at = |hour: u64| Nanos::from_seconds(START + hour * 3_600);
        let sample = |(hour, grams): (u64, &u32)| Sample {
            start: at(hour),
            end: at(hour + 1),
            intensity: Intensity::from_milligrams(grams * 1_000).expect("plausible"),
            quality: Quality::Forecast,
            fetched: Nanos::ZERO,
        };
        Series {
            source: "energi_data".into(),
            zone: "DK1".into(),
            signal,
            basis: Basis::Direct,
            accounting: Boundary::Consumption,
            samples: (0_u64..).zip(grams).map(sample).collect(),
        }
    }

    fn search(arguments: &WhenArguments) -> Search {
        // Half past ten and 40 s.
        let now = Nanos::from_seconds(START + 1_840);
        Search { from: now, until: now + arguments.within, length: arguments.hours }
    }

    #[test]
    fn the_advice_is_this() {
        let asked = arguments(&["--hours", "2", "--within", "6", "--watts", "1500"]).expect("valid");
        let known = [series(Signal::Average, &[300, 300, 200, 100, 100, 400])];
        let advised = advise(&known, &asked, search(&asked), &[]).expect("known");
        assert_eq!(
            written(&advised, &asked, search(&asked)),
            "DK1, energi_data, direct, average\n\n\
             now    2026-11-18 10:30 to 2026-11-18 12:30 UTC  274.4 g/kWh, 823.333 g\n\
             best   2026-11-18 13:00 to 2026-11-18 15:00 UTC  100.0 g/kWh, 300.000 g\n\
             saves  63.6 %\n\n\
             start  2026-11-18T13:00:00Z\n       sbatch --begin=now+8960 …\n       TZ=UTC at -t 202611181300\n\
             note: the forecast ends at 2026-11-18 16:00 UTC\n"
        );
        let document: serde_json::Value =
            serde_json::from_str(&json(&advised, &asked, search(&asked)).expect("JSON")).expect("JSON");
        assert_eq!(document["best"]["start"], "2026-11-18T13:00:00Z");
        assert_eq!(document["best"]["grams_per_kilowatt_hour"].to_string(), "100");
        assert_eq!(document["best"]["emissions_grams"].to_string(), "300");
        assert_eq!(document["saving_grams"].to_string(), "523.333333333");
        assert_eq!(document["sbatch_begin"], "now+8960");
        assert_eq!(
            (document["basis"].as_str(), document["signal"].as_str()),
            (Some("direct"), Some("average"))
        );
    }

    #[test]
    fn without_a_forecast_the_code_is_3_and_the_way_out_is_named() {
        let asked = arguments(&["--hours", "2", "--within", "6"]).expect("valid");
        let short = [series(Signal::Average, &[300, 300])];
        let past = [series(Signal::Average, &[])];
        let marginal = [series(Signal::Marginal, &[300; 9])];
        for (known, complaints, part) in [
            (&[][..], vec![], "no forecast (give --forecast"),
            (&[], vec!["rte gives no forecast".to_owned()], "no forecast: rte gives no forecast (give"),
            (&past, vec![], "no average figure"),
            (&marginal, vec![], "no average figure"),
            (&short, vec![], "energi_data ends at 2026-11-18 12:00 UTC, and no 2 h before"),
        ] {
            let error = advise(known, &asked, search(&asked), &complaints).err().expect("none");
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(error.to_string().contains(part) && !error.to_string().contains('\n'), "{error}");
        }
        let asked = arguments(&["--hours", "2", "--signal", "marginal"]).expect("valid");
        assert!(advise(&marginal, &asked, search(&asked), &[]).is_ok());
    }

    #[test]
    fn who_knows_too_little_is_passed_over_and_named() {
        let asked = arguments(&["--hours", "2", "--within", "6"]).expect("valid");
        let long = Series {
            source: "electricity_maps".into(),
            ..series(Signal::Average, &[300, 300, 200, 100, 100, 400])
        };
        let known = [series(Signal::Average, &[1, 1]), series(Signal::Marginal, &[1; 6]), long];
        let advised = advise(&known, &asked, search(&asked), &[]).expect("known");
        let text = written(&advised, &asked, search(&asked));
        assert!(text.starts_with("DK1, electricity_maps, direct, average\n"), "{text}");
        assert!(
            text.ends_with("note: energi_data ends at 2026-11-18 12:00 UTC, which is too early\n"),
            "{text}"
        );
        // Of another signal nothing is taken, and what others had against it is said too.
        let complaints = ["rte gives no forecast".to_owned()];
        let error = advise(&known[..2], &asked, search(&asked), &complaints).err().expect("none").to_string();
        assert!(error.contains("energi_data ends at") && error.contains("rte gives no forecast"), "{error}");
    }

    #[test]
    fn hours_are_decimals_above_nothing() {
        for (text, seconds) in [("4", Some(14_400)), ("0.5", Some(1_800)), ("336", Some(1_209_600))] {
            let found = hours(text).ok().map(|time| time.get() / 1_000_000_000);
            assert_eq!(found, seconds, "{text}");
        }
        for wrong in ["0", "-1", "nan", "337", "", "1h"] {
            assert!(hours(wrong).is_err(), "{wrong:?}");
        }
        assert!(arguments(&["--hours", "1", "--watts", "1", "--kwh", "1"]).is_err());
        assert!(arguments(&[]).is_err(), "how long has to be said");
    }

    #[test]
    fn nothing_of_nothing_is_nothing() {
        let asked = arguments(&["--hours", "1", "--within", "4", "--kwh", "2.5"]).expect("valid");
        let known = [series(Signal::Average, &[0; 6])];
        let advised = advise(&known, &asked, search(&asked), &[]).expect("known");
        let text = written(&advised, &asked, search(&asked));
        assert!(text.contains("saves  nothing: start now") && text.contains("0.0 g/kWh, 0.000 mg"), "{text}");
        let text = json(&advised, &asked, search(&asked)).expect("JSON");
        assert!(text.contains("\"saving_ratio\": 0,") && text.contains("\"saving_grams\": 0,"), "{text}");
        assert!(text.contains("\"delay_seconds\": 0,"), "{text}");
    }
}
