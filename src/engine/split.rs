//! Divides an amount by weights so that the parts are integers and add up exactly.

use std::cmp::Reverse;

/// Splits `amount` in proportion to the weights by largest remainder: each part is the exact share
/// rounded down, and the units that are left go one each to the largest fractions, ties to the
/// smaller key, so that the order of the weights does not matter. `None` if all weights are 0.
#[must_use]
pub fn split(amount: u64, weights: impl Iterator<Item = (u64, u64)> + Clone) -> Option<Vec<u64>> {
    let total: u128 = weights.clone().map(|(weight, _)| u128::from(weight)).sum();
    if total == 0 {
        return None;
    }
    let mut parts = Vec::with_capacity(weights.size_hint().0);
    let mut fractions = Vec::with_capacity(weights.size_hint().0);
    let mut given: u64 = 0;
    for (index, (weight, key)) in weights.enumerate() {
        let (part, fraction) = share(amount, weight, total);
        given += part;
        parts.push(part);
        if fraction > 0 {
            fractions.push((Reverse(fraction), key, index));
        }
    }
    let left = usize::try_from(amount - given).expect("fewer units are left than there are parts");
    if left > 0 {
        fractions.select_nth_unstable(left - 1);
        for (_, _, index) in &fractions[..left] {
            parts[*index] += 1;
        }
    }
    Some(parts)
}

/// `amount · weight / total`, whole and rest. Nearly every product fits 64 bits, where a division
/// takes a third of the time.
fn share(amount: u64, weight: u64, total: u128) -> (u64, u128) {
    if let (Some(product), Ok(total)) = (amount.checked_mul(weight), u64::try_from(total)) {
        return (product / total, u128::from(product % total));
    }
    let product = u128::from(amount) * u128::from(weight);
    let part = u64::try_from(product / total).expect("a part is no more than the whole");
    (part, product % total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(amount: u64, weights: &[u64]) -> Option<Vec<u64>> {
        split(amount, weights.iter().copied().zip(0..))
    }

    #[test]
    fn known_splits() {
        assert_eq!(parts(10, &[1, 1, 1]), Some(vec![4, 3, 3]));
        assert_eq!(parts(10, &[0, 1, 0]), Some(vec![0, 10, 0]));
        assert_eq!(parts(7, &[0, 0]), None);
        assert_eq!(parts(7, &[]), None);
        assert_eq!(parts(0, &[3, 4]), Some(vec![0, 0]));
        assert_eq!(parts(u64::MAX, &[u64::MAX, u64::MAX]), Some(vec![u64::MAX / 2 + 1, u64::MAX / 2]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn parts_add_up_and_are_within_one_of_the_exact_share(
            amount in any::<u64>(),
            weights in prop::collection::vec(prop_oneof![Just(0), 0..1_000_u64, any::<u64>()], 0..40),
        ) {
            let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
            let Some(parts) = parts(amount, &weights) else {
                prop_assert_eq!(total, 0);
                return Ok(());
            };
            let sum: u128 = parts.iter().map(|&part| u128::from(part)).sum();
            prop_assert_eq!(sum, u128::from(amount));
            for (&part, &weight) in parts.iter().zip(&weights) {
                if weight == 0 {
                    prop_assert_eq!(part, 0);
                }
                let product = u128::from(amount) * u128::from(weight);
                let exact = product / total;
                prop_assert!(u128::from(part) == exact || u128::from(part) == exact + 1);
            }
        }

        #[test]
        fn the_order_of_weights_does_not_matter(
            amount in any::<u64>(),
            weights in prop::collection::vec(0..5_u64, 1..30),
            turn in 0..30_usize,
        ) {
            let keyed: Vec<(u64, u64)> = weights.iter().copied().zip(0..).collect();
            let mut turned = keyed.clone();
            turned.rotate_left(turn % keyed.len());
            let straight = split(amount, keyed.iter().copied());
            let back = split(amount, turned.iter().copied()).map(|mut parts| {
                parts.rotate_right(turn % keyed.len());
                parts
            });
            prop_assert_eq!(straight, back);
        }
    }
}
