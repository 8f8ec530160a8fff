//! Whose an accelerator's energy is. Allocation decides who may be charged, activity how much; what nobody
//! holds is nobody's. Always in shares of the device's own energy, so that the sum is exact whatever is known.

use super::ledger::{Account, Ledger, Share};
use super::split::split;
use crate::model::gpu::{Claim, Method, Part, Use};
use crate::model::identity::{Name, Residual};
use crate::model::quantity::Nanos;
use crate::model::snapshot::Column;

/// Columns for the parts of one device. A device is cut into 7 or 8; it is cut anew at most as often as
/// somebody types, and what is beyond is booked for the whole.
const MAX_PARTS: usize = 64;

/// A share in ppm.
const WHOLE: u64 = 1_000_000;

/// What is claimed of one device in one tick.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// To what is drawn because somebody works. Nobody holds it if this is empty.
    pub active: Vec<Share>,
    /// To what is drawn anyway, if it is paid by who has reserved it.
    pub reserved: Vec<Share>,
    /// Jobs it was given to: row, column, and how much of the device in ppm.
    pub held: Vec<(u32, u32, u32)>,
    /// How it was divided.
    pub method: Method,
    /// Whether nobody holds or uses it, for sure.
    pub is_free: bool,
}

/// The columns of parts that there are not yet for a device that is booked in the column `whole`.
#[must_use]
pub fn missing_parts(usage: &Use, whole: &Column, columns: &[Column]) -> Vec<Column> {
    let known = columns.iter().filter(|column| part_of(column, whole));
    let known: Vec<&Name> = known.map(|column| &column.gpu_instance).collect();
    let is_new = |part: &&Part| !part.instance.is_empty() && !known.contains(&&part.instance);
    let mut more: Vec<Column> = Vec::new();
    for part in usage.parts.iter().filter(is_new) {
        let is_twice = more.iter().any(|column| column.gpu_instance == part.instance);
        if !is_twice && known.len() + more.len() < MAX_PARTS {
            more.push(Column { gpu_instance: part.instance.clone(), ..whole.clone() });
        }
    }
    more
}

/// What is claimed of the device in `column` over `elapsed`: claims of several ticks may be added.
#[must_use]
pub fn claims(usage: &Use, column: usize, elapsed: Nanos, ledger: &Ledger) -> Claims {
    let is_held = usage.parts.iter().any(|part| !part.claims.is_empty());
    if !is_held {
        return Claims { is_free: usage.is_known, ..Claims::default() };
    }
    let (weights, by_part) = weights(&usage.parts);
    let mut claims = Claims { method: by_part.unwrap_or_default(), ..Claims::default() };
    // However short the tick, each claim is to have its share.
    let time = elapsed.get().max(WHOLE);
    let times = split(time, weights.into_iter().zip(0..)).unwrap_or_default();
    for (part, time) in usage.parts.iter().zip(times) {
        let own = part_column(&part.instance, column, ledger);
        let (shares, method) = divide(part, time, own, ledger);
        if by_part.is_none() {
            claims.method = method;
        }
        claims.active.extend(shares);
        reserve(part, usage.slices, own, (column, ledger), &mut claims);
    }
    let rest = WHOLE.saturating_sub(claims.reserved.iter().map(|share| share.weight).sum());
    claims.reserved.push(nobodys(Residual::Idle, rest));
    claims
}

/// How much of what is drawn actively each part has drawn, and by which rule if there are several.
fn weights(parts: &[Part]) -> (Vec<u64>, Option<Method>) {
    if let [part] = parts
        && part.instance.is_empty()
    {
        return (vec![1], None);
    }
    let slices = |part: &Part| u64::from(part.slices.max(1));
    let busy = |part: &Part| slices(part) * part.activity.map_or(0, u64::from);
    // Where one part is not known to be busy or not, comparing the others would give it nothing.
    let is_told = parts.iter().filter(|part| !part.claims.is_empty()).all(|part| part.activity.is_some());
    if is_told && parts.iter().any(|part| busy(part) > 0) {
        return (parts.iter().map(busy).collect(), Some(Method::SliceActivity));
    }
    let held = |part: &Part| if part.claims.is_empty() { 0 } else { slices(part) };
    (parts.iter().map(held).collect(), Some(Method::Slices))
}

/// Divides one part's time among those who may be charged with it.
fn divide(part: &Part, time: u64, own: Option<u32>, ledger: &Ledger) -> (Vec<Share>, Method) {
    let is_allocated = part.claims.iter().any(|claim| claim.allocated > 0);
    let claims = part.claims.iter().filter(|claim| claim.allocated > 0 || !is_allocated);
    let claims: Vec<&Claim> = claims.collect();
    let used: Vec<u64> = claims.iter().map(|claim| claim.used.unwrap_or(0)).collect();
    let (weights, method) = match claims.len() {
        0 => return (vec![nobodys(Residual::Unattributed, time)], Method::None),
        1 => (vec![1], Method::Exclusive),
        _ if used.iter().any(|used| *used > 0) => (used, Method::Utilization),
        _ => (claims.iter().map(|claim| u64::from(claim.allocated.max(1))).collect(), Method::Equal),
    };
    let shares: Vec<Share> = claims.iter().map(|claim| share(claim, own, ledger)).collect();
    let keys = shares.iter().map(|share| share.key);
    let times =
        split(time, weights.into_iter().zip(keys).collect::<Vec<_>>().into_iter()).unwrap_or_default();
    let shares = shares.into_iter().zip(times).map(|(share, weight)| Share { weight, ..share });
    (shares.collect(), method)
}

/// Notes who was given the part.
fn reserve(
    part: &Part,
    slices: u32,
    own: Option<u32>,
    (column, ledger): (usize, &Ledger),
    claims: &mut Claims,
) {
    let allocated: u64 = part.claims.iter().map(|claim| u64::from(claim.allocated)).sum();
    if allocated == 0 {
        return;
    }
    let (slices, all) = (u64::from(part.slices.max(1)), u64::from(slices.max(part.slices).max(1)));
    for claim in part.claims.iter().filter(|claim| claim.allocated > 0) {
        let weight = u128::from(WHOLE) * u128::from(slices) * u128::from(claim.allocated);
        let weight = weight / (u128::from(all) * u128::from(allocated));
        let weight = u64::try_from(weight).unwrap_or(WHOLE);
        let share = Share { weight, ..share(claim, own, ledger) };
        claims.reserved.push(share);
        if let Account::Job(row) = share.account {
            let column = own.unwrap_or(u32::try_from(column).unwrap_or(u32::MAX));
            claims.held.push((row, column, u32::try_from(weight).unwrap_or(u32::MAX)));
        }
    }
}

/// A claim of no weight yet.
fn share(claim: &Claim, own: Option<u32>, ledger: &Ledger) -> Share {
    let account = match &claim.job {
        // Whoever was given it is a job, if one whose name is not known.
        None if claim.allocated > 0 => Account::Residual(Residual::Unattributed),
        None => Account::Residual(Residual::System),
        Some(id) => match ledger.row_of(id) {
            Some(row) => Account::Job(row),
            // One that nobody has seen run here, or one for which there was no room.
            None if ledger.has_room() => Account::Residual(Residual::Unattributed),
            None => Account::Residual(Residual::Overflow),
        },
    };
    let part = own.filter(|_| matches!(account, Account::Job(_)));
    Share { account, weight: 0, key: key(ledger.key(account), part), part }
}

/// The tie-break key of an account's claim to a part.
#[must_use]
pub fn key(account: u64, part: Option<u32>) -> u64 {
    part.map_or(account, |part| account.rotate_left(part % 63 + 1))
}

const fn nobodys(residual: Residual, weight: u64) -> Share {
    Share { account: Account::Residual(residual), weight, key: residual as u64, part: None }
}

/// The column of a part of the device in `column`; `None` for the whole of it.
#[must_use]
pub fn part_column(instance: &Name, column: usize, ledger: &Ledger) -> Option<u32> {
    let whole = &ledger.columns()[column];
    let is_it = |of: &Column| part_of(of, whole) && of.gpu_instance == *instance;
    let place = ledger.columns().iter().position(is_it)?;
    u32::try_from(place).ok()
}

/// Whether it is the column of a part of the device whose column is `whole`.
fn part_of(column: &Column, whole: &Column) -> bool {
    let is_same = (column.hw_type, &column.gpu, column.origin) == (whole.hw_type, &whole.gpu, whole.origin);
    is_same && !column.is_whole()
}
