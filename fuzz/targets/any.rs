//! libFuzzer's entry: any bytes into any parser.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::any(bytes));
