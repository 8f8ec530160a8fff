//! Every parser bears any bytes: the bodies of the fuzz target as a property.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        bodies::any(&bytes);
    }

    #[test]
    fn anything_that_looks_like_input_is_borne(chosen in 0..15_u8, text in "[a-z0-9_:./ \\-\\n{}\\[\\]\",=;()?<>|^$*+\\\\]{0,120}") {
        let mut bytes = vec![chosen];
        bytes.extend_from_slice(text.as_bytes());
        bodies::any(&bytes);
    }
}
