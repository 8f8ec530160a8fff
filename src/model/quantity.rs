//! Quantities with their unit in the type. Everything that is summed is an integer, so that sums
//! add up exactly; a product of three quantities is taken in 128 bits and divided once.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One kWh is 3.6e6 J; with µJ, mg and ppm on the left and ng on the right the factor is 3.6e12.
const MICROJOULE_MILLIGRAM_PPM_PER_NANOGRAM: u128 = 3_600_000_000_000;

/// An amount of energy in µJ. There is no `-`: a difference is asked for with [`Energy::checked_sub`],
/// so that a counter that fell is met where it is read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Energy(u64);

impl Energy {
    /// No energy.
    pub const ZERO: Energy = Energy(0);

    /// From µJ.
    #[must_use]
    pub const fn from_micro(microjoules: u64) -> Energy {
        Energy(microjoules)
    }

    /// In µJ.
    #[must_use]
    pub const fn as_micro(self) -> u64 {
        self.0
    }

    /// In J, for people; never for sums.
    #[must_use]
    pub fn as_joules(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `self − earlier`, or `None` if that would be negative.
    #[must_use]
    pub const fn checked_sub(self, earlier: Energy) -> Option<Energy> {
        match self.0.checked_sub(earlier.0) {
            Some(difference) => Some(Energy(difference)),
            None => None,
        }
    }

    /// The sum, or the largest amount there is: for claims that nobody believes anyway.
    #[must_use]
    pub const fn saturating_add(self, other: Energy) -> Energy {
        Energy(self.0.saturating_add(other.0))
    }

    /// The mean power over `elapsed`, in µW; `None` for no time at all.
    #[must_use]
    pub fn mean_power(self, elapsed: Nanos) -> Option<MicroWatts> {
        let microwatts = (u128::from(self.0) * 1_000_000_000).checked_div(u128::from(elapsed.0))?;
        Some(MicroWatts(u64::try_from(microwatts).unwrap_or(u64::MAX)))
    }
}

impl std::ops::Add for Energy {
    type Output = Energy;
    fn add(self, other: Energy) -> Energy {
        Energy(self.0.checked_add(other.0).expect("18 TJ on one host: 580 years at 1 MW"))
    }
}

impl std::ops::AddAssign for Energy {
    fn add_assign(&mut self, other: Energy) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Energy {
    fn sum<I: Iterator<Item = Energy>>(items: I) -> Energy {
        items.fold(Energy::ZERO, |total, item| total + item)
    }
}

/// An amount of greenhouse gas in ng CO2 equivalent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Emissions(u64);

impl Emissions {
    /// Nothing emitted.
    pub const ZERO: Emissions = Emissions(0);

    /// From ng.
    #[must_use]
    pub const fn from_nano(nanograms: u64) -> Emissions {
        Emissions(nanograms)
    }

    /// In ng.
    #[must_use]
    pub const fn as_nano(self) -> u64 {
        self.0
    }
}

impl std::ops::Add for Emissions {
    type Output = Emissions;
    fn add(self, other: Emissions) -> Emissions {
        Emissions(self.0.checked_add(other.0).expect("18,000 t CO2e on one host"))
    }
}

impl std::ops::AddAssign for Emissions {
    fn add_assign(&mut self, other: Emissions) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Emissions {
    fn sum<I: Iterator<Item = Emissions>>(items: I) -> Emissions {
        items.fold(Emissions::ZERO, |total, item| total + item)
    }
}

/// The carbon intensity of electricity in mg CO2e per kWh.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Intensity(u32);

impl TryFrom<u32> for Intensity {
    type Error = DecimalError;
    fn try_from(milligrams: u32) -> Result<Intensity, DecimalError> {
        Intensity::from_milligrams(milligrams).ok_or(DecimalError::TooLarge)
    }
}

impl From<Intensity> for u32 {
    fn from(intensity: Intensity) -> u32 {
        intensity.0
    }
}

impl Intensity {
    /// The largest intensity that is taken for true: oil shale emits about 1,100 g/kWh, so 5,000
    /// is a wrong unit.
    pub const MAX_GRAMS_PER_KILOWATT_HOUR: u32 = 5_000;

    /// From mg/kWh; `None` above [`Intensity::MAX_GRAMS_PER_KILOWATT_HOUR`].
    #[must_use]
    pub const fn from_milligrams(milligrams_per_kilowatt_hour: u32) -> Option<Intensity> {
        if milligrams_per_kilowatt_hour > Self::MAX_GRAMS_PER_KILOWATT_HOUR * 1_000 {
            return None;
        }
        Some(Intensity(milligrams_per_kilowatt_hour))
    }

    /// From a decimal text in g/kWh, as tables and people write it.
    ///
    /// # Errors
    /// The text is no plain decimal, is negative, or is above the plausible maximum.
    pub fn parse_grams(text: &str) -> Result<Intensity, DecimalError> {
        let milligrams = parse_decimal(text, 3)?;
        u32::try_from(milligrams).ok().and_then(Intensity::from_milligrams).ok_or(DecimalError::TooLarge)
    }

    /// In mg/kWh.
    #[must_use]
    pub const fn as_milligrams(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Intensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1e3)
    }
}

/// Power usage effectiveness (facility energy over IT energy) in ppm; never below 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Pue(u32);

impl TryFrom<u32> for Pue {
    type Error = DecimalError;
    fn try_from(ppm: u32) -> Result<Pue, DecimalError> {
        match ppm {
            1_000_000..=10_000_000 => Ok(Pue(ppm)),
            0..1_000_000 => Err(DecimalError::TooSmall),
            _ => Err(DecimalError::TooLarge),
        }
    }
}

impl From<Pue> for u32 {
    fn from(pue: Pue) -> u32 {
        pue.0
    }
}

impl Pue {
    /// No overhead: only what the machine itself draws.
    pub const ONE: Pue = Pue(1_000_000);

    /// From a decimal text such as `1.56`.
    ///
    /// # Errors
    /// The text is no plain decimal, or lies outside 1 to 10.
    pub fn parse(text: &str) -> Result<Pue, DecimalError> {
        let ppm = u32::try_from(parse_decimal(text, 6)?).map_err(|_| DecimalError::TooLarge)?;
        Pue::try_from(ppm)
    }

    /// In ppm.
    #[must_use]
    pub const fn as_ppm(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Pue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1e6)
    }
}

/// What is left of an emission below 1 ng, in units of µJ·mg·ppm; carried to the next interval.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct EmissionsRemainder(u64);

impl EmissionsRemainder {
    /// As the store kept it; what cannot be a remainder is none.
    #[must_use]
    pub const fn from_raw(raw: u64) -> EmissionsRemainder {
        EmissionsRemainder(if (raw as u128) < MICROJOULE_MILLIGRAM_PPM_PER_NANOGRAM { raw } else { 0 })
    }

    /// For the store.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// `energy · intensity · PUE`, exact: whole ng now, the rest in `remainder`.
#[must_use]
pub fn emissions_of(
    energy: Energy,
    at: Intensity,
    pue: Pue,
    remainder: &mut EmissionsRemainder,
) -> Emissions {
    let product = u128::from(energy.0) * u128::from(at.0) * u128::from(pue.0) + u128::from(remainder.0);
    let nanograms = product / MICROJOULE_MILLIGRAM_PPM_PER_NANOGRAM;
    let rest = product % MICROJOULE_MILLIGRAM_PPM_PER_NANOGRAM;
    remainder.0 = u64::try_from(rest).expect("a remainder is below its divisor, 3.6e12");
    Emissions(u64::try_from(nanograms).expect("a tick's grams fit 64 bits at any plausible power"))
}

/// A power in µW, for floors, ceilings and estimates.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroWatts(u64);

impl MicroWatts {
    /// No power.
    pub const ZERO: MicroWatts = MicroWatts(0);

    /// From µW.
    #[must_use]
    pub const fn new(microwatts: u64) -> MicroWatts {
        MicroWatts(microwatts)
    }

    /// From whole watts.
    #[must_use]
    pub const fn from_watts(watts: u64) -> MicroWatts {
        MicroWatts(watts * 1_000_000)
    }

    /// From a decimal text in watts.
    ///
    /// # Errors
    /// The text is no plain decimal, or does not fit.
    pub fn parse_watts(text: &str) -> Result<MicroWatts, DecimalError> {
        parse_decimal(text, 6).map(MicroWatts)
    }

    /// In µW.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In W, for people and gauges.
    #[must_use]
    pub fn as_watts(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The energy drawn at this power over `elapsed`, rounded down, with the rest carried in
    /// `remainder` (µW·ns, below 1e9).
    #[must_use]
    pub fn over(self, elapsed: Nanos, remainder: &mut u64) -> Energy {
        let product = u128::from(self.0) * u128::from(elapsed.0) + u128::from(*remainder);
        *remainder = u64::try_from(product % 1_000_000_000).expect("a remainder is below its divisor, 1e9");
        Energy(u64::try_from(product / 1_000_000_000).unwrap_or(u64::MAX))
    }
}

/// A length of time in ns; CPU time is one too.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(u64);

/// CPU time used, in ns.
pub type CpuTime = Nanos;

impl Nanos {
    /// No time.
    pub const ZERO: Nanos = Nanos(0);

    /// From ns.
    #[must_use]
    pub const fn new(nanoseconds: u64) -> Nanos {
        Nanos(nanoseconds)
    }

    /// From whole seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    /// In ns.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In s, for people and gauges.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `self − earlier`, or nothing if that would be negative.
    #[must_use]
    pub const fn saturating_sub(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.checked_add(other.0).expect("584 years of ns fit"))
    }
}

impl std::ops::AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

/// Why a decimal text was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not digits with at most one point.
    #[error("is not a plain decimal number")]
    Malformed,
    /// Below what is possible.
    #[error("is too small")]
    TooSmall,
    /// Above what is possible.
    #[error("is too large")]
    TooLarge,
}

/// A share of a whole, in ppm, from a decimal text such as `0.3`.
///
/// # Errors
/// The text is no plain decimal, or lies above 1.
pub fn parse_share(text: &str) -> Result<u32, DecimalError> {
    let ppm = u32::try_from(parse_decimal(text, 6)?).map_err(|_| DecimalError::TooLarge)?;
    if ppm > 1_000_000 { Err(DecimalError::TooLarge) } else { Ok(ppm) }
}

/// Digits with at most one point, scaled by 10^`places`; digits beyond that round half up.
/// Decimal texts never go through a float on their way in, so 0.1 stays 0.1.
///
/// # Errors
/// The text is no plain decimal, or does not fit.
pub fn parse_decimal(text: &str, places: u32) -> Result<u64, DecimalError> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(DecimalError::Malformed);
    }
    let mut value: u64 = 0;
    let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(places as usize);
    for digit in whole.bytes().chain(kept) {
        if !digit.is_ascii_digit() {
            return Err(DecimalError::Malformed);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(DecimalError::TooLarge)?;
    }
    let beyond = fraction.as_bytes().get(places as usize..).unwrap_or_default();
    if beyond.iter().any(|digit| !digit.is_ascii_digit()) {
        return Err(DecimalError::Malformed);
    }
    let round_up = beyond.first().is_some_and(|&digit| digit >= b'5');
    value.checked_add(u64::from(round_up)).ok_or(DecimalError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kilowatt_hour_emits_the_table_value() {
        for (grams, pue, expected_nanograms) in [
            ("473.01", "1", 473_010_000_000),
            ("473.01", "1.5", 709_515_000_000),
            ("0", "1.2", 0),
            ("0.001", "1", 1_000_000),
        ] {
            let mut remainder = EmissionsRemainder::default();
            let at = Intensity::parse_grams(grams).expect("table value");
            let pue = Pue::parse(pue).expect("table value");
            let emitted = emissions_of(Energy::from_micro(3_600_000_000_000), at, pue, &mut remainder);
            assert_eq!(emitted.as_nano(), expected_nanograms, "{grams} g/kWh, PUE {pue}");
        }
    }

    #[test]
    fn the_remainder_makes_many_small_steps_equal_one_large_one() {
        let at = Intensity::parse_grams("56.789").expect("valid");
        let pue = Pue::parse("1.37").expect("valid");
        let mut carried = EmissionsRemainder::default();
        let in_steps: Emissions =
            (0..1_000_000).map(|_| emissions_of(Energy::from_micro(7), at, pue, &mut carried)).sum();
        let mut fresh = EmissionsRemainder::default();
        let at_once = emissions_of(Energy::from_micro(7_000_000), at, pue, &mut fresh);
        assert_eq!(in_steps, at_once);
        assert_eq!(carried, fresh);
    }

    #[test]
    fn decimals_are_exact_and_refuse_what_is_no_number() {
        for (text, places, expected) in [
            ("1.56", 6, Ok(1_560_000)),
            ("0.1", 6, Ok(100_000)),
            (".5", 3, Ok(500)),
            ("7.", 3, Ok(7_000)),
            ("0.0005", 3, Ok(1)),
            ("0.00049", 3, Ok(0)),
            ("", 3, Err(DecimalError::Malformed)),
            (".", 3, Err(DecimalError::Malformed)),
            ("-1", 3, Err(DecimalError::Malformed)),
            ("1e3", 3, Err(DecimalError::Malformed)),
            ("NaN", 3, Err(DecimalError::Malformed)),
            ("1.5x", 0, Err(DecimalError::Malformed)),
            ("1.2.3", 3, Err(DecimalError::Malformed)),
            ("99999999999999999999", 0, Err(DecimalError::TooLarge)),
        ] {
            assert_eq!(parse_decimal(text, places), expected, "{text:?}");
        }
    }

    #[test]
    fn a_pue_below_one_or_an_intensity_in_the_wrong_unit_is_refused() {
        assert_eq!(Pue::parse("0.9"), Err(DecimalError::TooSmall));
        assert_eq!(Pue::parse("11"), Err(DecimalError::TooLarge));
        assert_eq!(Intensity::parse_grams("473010"), Err(DecimalError::TooLarge));
        assert_eq!(Intensity::parse_grams("0").map(Intensity::as_milligrams), Ok(0));
    }
}
