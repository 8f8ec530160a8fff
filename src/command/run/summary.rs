//! The result for people: a few lines on standard error, and a line that lives while the command does.

use super::child::End;
use super::outcome::{Method, Outcome};
use crate::carbon::equivalents;
use crate::model::identity::Origin;
use crate::model::quantity::{Emissions, Energy, Nanos};
use crate::model::speech::{Prediction, Progress};
use std::fmt::Write;

/// One J in µJ, one Wh, one kWh.
const JOULE: u128 = 1_000_000;
const WATT_HOUR: u128 = 3_600 * JOULE;
const KILOWATT_HOUR: u128 = 1_000 * WATT_HOUR;

/// One g in ng.
const GRAM: u128 = 1_000_000_000;

/// The summary.
#[must_use]
pub fn summary(outcome: &Outcome) -> String {
    let end = match outcome.end {
        End::Exited(code) => format!("exit code {code}"),
        End::Killed(signal) => format!("ended by signal {signal}"),
    };
    let method = match outcome.method {
        Method::Cgroup => "its own control group",
        Method::ProcessTree => "its process tree",
    };
    let mut text = format!(
        "jouleprint: {}, {end}, {} s of CPU time ({method})\n",
        time(outcome.lasted),
        seconds(outcome.cpu)
    );
    for origin in Origin::ALL {
        let Some(energy) = outcome.energy(origin) else { continue };
        let parts: Vec<String> = outcome
            .parts
            .iter()
            .filter(|part| part.column.origin == origin)
            .map(|part| {
                format!("{} {}", part.column.hw_type.as_str(), joules(u128::from(part.energy.as_micro())))
            })
            .collect();
        let mut sources: Vec<&str> = outcome
            .meters
            .iter()
            .filter(|meter| meter.origin == origin)
            .map(|meter| &*meter.source)
            .collect();
        sources.sort_unstable();
        sources.dedup();
        let how = match origin {
            Origin::Measured => format!("measured by {}", sources.join(", ")),
            Origin::Estimated => format!("estimated, ±{} %", percent(widest(outcome))),
        };
        line(&mut text, "energy", &format!("{}: {} ({how})", joules(energy), parts.join(", ")));
    }
    if outcome.parts.is_empty() {
        line(
            &mut text,
            "energy",
            "unknown: nothing measures it, and it cannot be estimated (jouleprint doctor)",
        );
    }
    let factor = &outcome.factor;
    let source: Vec<&str> = [&*factor.zone, &*factor.basis, &*factor.source, &*factor.year]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    line(
        &mut text,
        "emissions",
        &format!(
            "{} CO2e, at {} g/kWh ({}), PUE {}",
            grams(outcome.emissions()),
            factor.intensity,
            source.join(", "),
            factor.pue
        ),
    );
    let like = equivalents::fitting(outcome.total(), outcome.emissions(), &factor.zone);
    if let Some(like) = like.filter(|_| outcome.has_equivalents) {
        line(&mut text, "as much as", &like.describe());
    }
    let share = outcome.share_ppm().map_or("-".to_owned(), percent);
    line(
        &mut text,
        "machine",
        &format!("{} meanwhile, of which the command {share} %", joules(outcome.machine())),
    );
    for phase in &outcome.phases {
        let amounts = &phase.amounts;
        let (energy, emissions) =
            (u128::from(amounts.energy().as_micro()), u128::from(amounts.emissions().as_nano()));
        let text_of =
            format!("{}: {}, {}, {} CO2e", phase.name, time(phase.time), joules(energy), grams(emissions));
        line(&mut text, "phase", &text_of);
    }
    for note in &outcome.notes {
        line(&mut text, "note", note);
    }
    text
}

fn widest(outcome: &Outcome) -> u128 {
    let estimated = outcome.parts.iter().filter(|part| part.column.origin == Origin::Estimated);
    let energy: u128 = estimated.clone().map(|part| u128::from(part.energy.as_micro())).sum();
    let errors =
        estimated.clone().map(|part| u128::from(part.energy.as_micro()) * u128::from(part.uncertainty_ppm));
    let most = estimated.clone().map(|part| u128::from(part.uncertainty_ppm)).max().unwrap_or(0);
    errors.sum::<u128>().checked_div(energy).unwrap_or(most)
}

fn line(text: &mut String, head: &str, rest: &str) {
    let rest: String = rest.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    writeln!(text, "  {head:<10} {rest}").expect("a string takes everything");
}

/// What has come so far, for a line that is written over again.
#[must_use]
pub fn live(lasted: Nanos, energy: u128, emissions: u128, power: u128) -> String {
    format!(
        "jouleprint: {}  {}  {} CO2e  {} W",
        time(lasted),
        joules(energy),
        grams(emissions),
        three(power, 1_000_000)
    )
}

/// How far it is, and what all of it will come to.
#[must_use]
pub fn ahead(progress: Progress, prediction: Option<&Prediction>) -> String {
    let mut text = format!("  {} %", percent(u128::from(progress.ratio_ppm())));
    if let Some(Prediction { energy, duration, emissions, .. }) = prediction {
        let whole = (u128::from(energy[1].as_micro()), u128::from(emissions[1].as_nano()));
        write!(text, ", in all {}, {}, {} CO2e", time(duration[1]), joules(whole.0), grams(whole.1))
            .expect("a string takes everything");
    }
    text
}

/// What is used and predicted, for a warning.
#[must_use]
pub fn standing(used: (Energy, Emissions), prediction: Option<&Prediction>) -> String {
    let both = |energy: Energy, emissions: Emissions| {
        format!("{}, {} CO2e", joules(u128::from(energy.as_micro())), grams(u128::from(emissions.as_nano())))
    };
    let used = both(used.0, used.1);
    match prediction {
        None => format!("{used} so far"),
        Some(Prediction { energy, emissions, .. }) => {
            let [low, middle, high] = [0, 1, 2].map(|index| both(energy[index], emissions[index]));
            format!("{used} so far; in all {middle} (of ten runs eight come to between {low} and {high})")
        }
    }
}

/// An energy in a unit that fits.
#[must_use]
pub fn joules(energy: u128) -> String {
    match energy {
        KILOWATT_HOUR.. => format!("{} kWh", three(energy, KILOWATT_HOUR)),
        36_000_000_000.. => format!("{} Wh", three(energy, WATT_HOUR)),
        _ => format!("{} J", three(energy, JOULE)),
    }
}

/// Emissions in a unit that fits.
#[must_use]
pub fn grams(emissions: u128) -> String {
    match emissions {
        1_000_000_000_000.. => format!("{} kg", three(emissions, GRAM * 1_000)),
        GRAM.. => format!("{} g", three(emissions, GRAM)),
        _ => format!("{} mg", three(emissions, GRAM / 1_000)),
    }
}

/// `value / unit` with three places; what is there but smaller says so.
fn three(value: u128, unit: u128) -> String {
    let thousandths = (value * 1_000 + unit / 2) / unit;
    if thousandths == 0 && value > 0 {
        return "<0.001".to_owned();
    }
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// ppm as percent with one place.
fn percent(ppm: u128) -> String {
    let tenths = (ppm + 500) / 1_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn seconds(time: Nanos) -> String {
    three(u128::from(time.get()), 1_000_000_000)
}

fn time(time: Nanos) -> String {
    const MINUTE: u64 = 60_000_000_000;
    if time.get() < MINUTE {
        format!("{} s", seconds(time))
    } else {
        crate::command::report::amount::duration(time)
    }
}
