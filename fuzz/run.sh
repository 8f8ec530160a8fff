#!/usr/bin/env bash
# Fuzzes every parser on the stable toolchain: fuzz/run.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")"
export RUSTFLAGS="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares"
# With a target named, build scripts are spared the instrumentation.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --locked --release --target "$host" --target-dir ../target/fuzz
mkdir -p ../target/fuzz/corpus
exec "../target/fuzz/$host/release/any" ../target/fuzz/corpus -max_total_time="${1:-60}" -max_len=4096
