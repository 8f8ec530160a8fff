#!/usr/bin/env bash
# All tests: the fast tier, then what the slow tier needs is installed, then the slow tier.
#
#   tests/run.sh          both (the slow tier as root, on Debian)
#   tests/run.sh --fast   only the fast one: no root, no network
set -euo pipefail

usage() {
    echo "usage: ${0##*/} [--fast]" >&2
    exit 2
}

is_fast=false
for argument in "$@"; do
    case $argument in
        --fast) is_fast=true ;;
        *) usage ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Said first: a run that cannot end well need not begin.
if ! $is_fast && [[ $EUID -ne 0 ]]; then
    echo "tests/run.sh: the slow tier needs root (control groups, apt-get); --fast does not" >&2
    exit 1
fi

cargo test --locked
if ! $is_fast; then
    tests/slow/install.sh
    cargo test --locked --features slow --test slow -- --test-threads=1 --nocapture
fi
