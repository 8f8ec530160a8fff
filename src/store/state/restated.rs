//! What was charged lately, as rows: one for five minutes in a zone, numbered by both, and before them one a
//! zone for what is settled.

use super::super::image::{Image, Table, numbers, put};
use super::super::trouble::{Failure, signed, unsigned};
use crate::model::checkpoint::{RestatedPosition, RestatedSpan};
use crate::model::grid::Basis;
use crate::model::quantity::Intensity;

/// What figures include, by the number that is written.
const BASES: [Option<Basis>; 3] = [None, Some(Basis::Lifecycle), Some(Basis::Direct)];

/// More zones than the ledger has.
const ZONES: u64 = 64;

pub(super) fn push(image: &mut Image, position: &RestatedPosition) -> Result<(), Failure> {
    for (zone, settled) in (0..).zip(&position.settled) {
        image.push(Table::Restated, zone, |bytes| {
            put(bytes, settled.cast_unsigned());
            Ok::<_, Failure>(())
        })?;
    }
    for span in &position.spans {
        let id = signed(span.grain.saturating_add(1).saturating_mul(ZONES) + span.zone as u64)?;
        image.push(Table::Restated, id, |bytes| {
            for wide in [span.weighed, span.charged] {
                bytes.extend_from_slice(&wide.to_le_bytes());
            }
            put(bytes, span.restated.map_or(u64::MAX, |restated| u64::from(restated.as_milligrams())));
            put(bytes, span.told.cast_unsigned());
            put(bytes, BASES.iter().position(|basis| *basis == span.basis).unwrap_or_default() as u64);
            Ok::<_, Failure>(())
        })?;
    }
    Ok(())
}

pub(super) fn restore(image: &Image, zones: usize) -> Result<RestatedPosition, Failure> {
    let mut position = RestatedPosition::default();
    for (id, body) in image.table(Table::Restated) {
        let number = unsigned(id)?;
        let malformed = || Failure::Malformed(format!("row {number} of what was charged is damaged"));
        let cells: Vec<u64> = numbers(body)?.collect();
        let zone = usize::try_from(number % ZONES).ok().filter(|zone| *zone < zones).ok_or_else(malformed)?;
        match (number / ZONES, &cells[..]) {
            (0, [settled]) => {
                position.settled.resize(zone + 1, 0);
                position.settled[zone] = settled.cast_signed();
            }
            (grain @ 1.., &[low, high, charged_low, charged_high, restated, told, basis]) => {
                let wide = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
                let restated = u32::try_from(restated).ok().and_then(Intensity::from_milligrams);
                position.spans.push(RestatedSpan {
                    grain: grain - 1,
                    zone,
                    weighed: wide(low, high),
                    charged: wide(charged_low, charged_high),
                    basis: usize::try_from(basis).ok().and_then(|basis| *BASES.get(basis)?),
                    restated,
                    told: told.cast_signed(),
                });
            }
            _ => return Err(malformed()),
        }
    }
    Ok(position)
}
