//! From the text of a number and its unit to an intensity, with no float between.

use crate::model::quantity::Intensity;

/// More digits than these change nothing that is counted.
const MAX_DIGITS: u32 = 24;

/// Powers of ten beyond these are nothing, or too much, whatever the digits.
const MAX_EXPONENT: i64 = 40;

/// What a figure counts, in which amount of electricity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// g/kWh.
    GramsPerKilowattHour,
    /// kg/kWh.
    KilogramsPerKilowattHour,
    /// kg/MWh, which is g/kWh.
    KilogramsPerMegawattHour,
    /// t/MWh.
    TonnesPerMegawattHour,
    /// lb/MWh: the international pound of 0.45359237 kg.
    PoundsPerMegawattHour,
}

impl Unit {
    /// As it is written in the configuration.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Unit, String> {
        match text {
            "g/kWh" => Ok(Unit::GramsPerKilowattHour),
            "kg/kWh" => Ok(Unit::KilogramsPerKilowattHour),
            "kg/MWh" => Ok(Unit::KilogramsPerMegawattHour),
            "t/MWh" => Ok(Unit::TonnesPerMegawattHour),
            "lb/MWh" => Ok(Unit::PoundsPerMegawattHour),
            other => Err(format!("{other:?} is no unit (write g/kWh, kg/kWh, kg/MWh, t/MWh or lb/MWh)")),
        }
    }

    /// One of it in mg/kWh, as a fraction.
    const fn milligrams(self) -> (u128, u128) {
        match self {
            Unit::GramsPerKilowattHour | Unit::KilogramsPerMegawattHour => (1_000, 1),
            Unit::KilogramsPerKilowattHour | Unit::TonnesPerMegawattHour => (1_000_000, 1),
            Unit::PoundsPerMegawattHour => (45_359_237, 100_000),
        }
    }
}

/// Why a number is no figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// It is none.
    #[error("is no number")]
    NoNumber,
    /// Less than nothing.
    #[error("is negative")]
    Negative,
    /// No grid emits so much.
    #[error("is above 5000 g/kWh (is it in another unit?)")]
    TooLarge,
}

/// A number as it is written: `digits` × 10^`exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    digits: u128,
    exponent: i64,
}

impl Decimal {
    /// Digits, a point, an exponent, each where JSON allows it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        let text = text.trim();
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (digits_text, mut exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok().map(i64::from)?),
            None => (text, 0),
        };
        let (whole, fraction) = digits_text.split_once('.').unwrap_or((digits_text, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (mut digits, mut count) = (0_u128, 0);
        let places = whole.bytes().map(|digit| (digit, 0)).chain(fraction.bytes().map(|digit| (digit, 1)));
        for (digit, is_fraction) in places {
            if !digit.is_ascii_digit() {
                return None;
            }
            if count < MAX_DIGITS {
                digits = digits * 10 + u128::from(digit - b'0');
                count += u32::from(digits > 0);
                exponent -= is_fraction;
            } else {
                exponent += 1 - is_fraction;
            }
        }
        Some(Decimal { is_negative, digits, exponent })
    }

    /// In whole units of `1/scale_down` × `scale_up`, rounded half up; `None` if it does not fit.
    fn scaled(self, up: u128, down: u128) -> Option<u128> {
        if self.digits == 0 || self.exponent < -MAX_EXPONENT {
            return Some(0);
        }
        if self.exponent > MAX_EXPONENT {
            return None;
        }
        let power = 10_u128.checked_pow(u32::try_from(self.exponent.unsigned_abs()).ok()?);
        let amount = self.digits.checked_mul(up)?;
        if self.exponent >= 0 {
            return Some(amount.checked_mul(power?)?.checked_add(down / 2)? / down);
        }
        // A divisor too large for the type is one that nothing is left of.
        match power.and_then(|power| power.checked_mul(down)) {
            Some(divisor) => Some(amount.checked_add(divisor / 2)? / divisor),
            None => Some(0),
        }
    }

    /// As an intensity.
    ///
    /// # Errors
    /// It is negative or larger than any grid's.
    pub fn intensity(self, unit: Unit) -> Result<Intensity, Odd> {
        if self.is_negative && self.digits > 0 {
            return Err(Odd::Negative);
        }
        let (up, down) = unit.milligrams();
        let milligrams = self.scaled(up, down).and_then(|amount| u32::try_from(amount).ok());
        milligrams.and_then(Intensity::from_milligrams).ok_or(Odd::TooLarge)
    }

    /// In thousandths, nothing instead of less than nothing; `None` if it does not fit.
    #[must_use]
    pub fn thousandths(self) -> Option<u64> {
        if self.is_negative {
            return Some(0);
        }
        self.scaled(1_000, 1).and_then(|amount| u64::try_from(amount).ok())
    }
}

/// The text of a number, in this unit, as an intensity.
///
/// # Errors
/// It is none that a grid has.
pub fn intensity(text: &str, unit: Unit) -> Result<Intensity, Odd> {
    Decimal::parse(text).ok_or(Odd::NoNumber)?.intensity(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_exact() {
        for (text, unit, milligrams) in [
            ("124", Unit::GramsPerKilowattHour, 124_000),
            ("0", Unit::GramsPerKilowattHour, 0),
            ("-0.0", Unit::GramsPerKilowattHour, 0),
            ("26.700000000000003", Unit::GramsPerKilowattHour, 26_700),
            ("0.0005", Unit::GramsPerKilowattHour, 1),
            ("0.00049999", Unit::GramsPerKilowattHour, 0),
            ("1.24e2", Unit::GramsPerKilowattHour, 124_000),
            ("1240E-1", Unit::GramsPerKilowattHour, 124_000),
            ("1e-300", Unit::GramsPerKilowattHour, 0),
            ("5000", Unit::GramsPerKilowattHour, 5_000_000),
            ("0.473", Unit::KilogramsPerKilowattHour, 473_000),
            ("473.01", Unit::KilogramsPerMegawattHour, 473_010),
            ("0.47301", Unit::TonnesPerMegawattHour, 473_010),
            // 870.5 lb/MWh = 394.852158085 g/kWh; 1000 lb/MWh = 453.59237.
            ("870.5", Unit::PoundsPerMegawattHour, 394_852),
            ("1000", Unit::PoundsPerMegawattHour, 453_592),
            ("1000000000000000000000000000000e-28", Unit::GramsPerKilowattHour, 100_000),
        ] {
            let found = intensity(text, unit).map(Intensity::as_milligrams);
            assert_eq!(found, Ok(milligrams), "{text} {unit:?}");
        }
    }

    #[test]
    fn what_no_grid_has_is_none() {
        let of = |text| intensity(text, Unit::GramsPerKilowattHour).expect_err(text);
        for text in ["", "NaN", "nan", "inf", "null", "1,5", "0x10", "1e", "--1", "-", ".", "1.2.3", "+5"] {
            assert_eq!(of(text), Odd::NoNumber, "{text}");
        }
        assert_eq!(of("-1"), Odd::Negative);
        for text in ["5000.1", "473010", "1e40", "1e400", "99999999999999999999999999999999999999999999999"] {
            assert_eq!(of(text), Odd::TooLarge, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_is_what_it_says(milligrams in 0_u32..=5_000_000, shift in -20_i32..20) {
            let text = format!("{milligrams}e{}", shift - 3);
            let moved = Decimal::parse(&text).expect("a number");
            let back = Decimal { exponent: moved.exponent - i64::from(shift), ..moved };
            prop_assert_eq!(back.intensity(Unit::GramsPerKilowattHour).map(Intensity::as_milligrams), Ok(milligrams));
        }

        #[test]
        fn any_text_is_borne(text in "[-+0-9eE. ]{0,60}") {
            if let Ok(found) = intensity(&text, Unit::PoundsPerMegawattHour) {
                prop_assert!(found.as_milligrams() <= 5_000_000);
            }
        }
    }
}
