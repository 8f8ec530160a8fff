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

# The slow tier tests cgroup v1 and v2. A host that has v2 alone (Debian as it comes) gets a view of its own
# with both, for as long as the tests run: v1's cpuacct is no controller of v2 and can be mounted beside it.
both_hierarchies() {
    [[ ! -e /sys/fs/cgroup/cgroup.controllers ]] && return
    local view
    view=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "umount -R '$view' 2>/dev/null; rmdir '$view' 2>/dev/null || true" EXIT
    mount -t tmpfs none "$view"
    mkdir "$view/unified" "$view/cpuacct"
    mount --bind /sys/fs/cgroup "$view/unified"
    if ! mount -t cgroup -o cpuacct none "$view/cpuacct"; then
        echo "tests/run.sh: this kernel mounts no cgroup v1 (cpuacct), which half of the slow tier tests" >&2
        exit 1
    fi
    export JOULEPRINT_TEST_CGROUPFS=$view
}

# Those of the slow tier that wait more than they work, and that neither measure what they cost nor are disturbed by
# groups and load of others: side by side they take a third of the time. All others have the machine for themselves.
beside=(access:: bmc:: chart:: daemon:: dashboards:: deploy:: gpu:: image:: meters:: otlp:: prometheus:: report::
    rollout:: rules:: scraped:: simulate::)

# Said first: a run that cannot end well need not begin.
if ! $is_fast && [[ $EUID -ne 0 ]]; then
    echo "tests/run.sh: the slow tier needs root (control groups, apt-get); --fast does not" >&2
    exit 1
fi

if $is_fast; then
    cargo test --locked
    exit
fi
# With the features of both tiers: with other ones the program itself would be built twice.
cargo test --locked --features slow --lib --bins --test it
both_hierarchies
tests/slow/install.sh
slow() {
    cargo test --locked --features slow --test slow -- "$@"
}
slow --test-threads=4 --show-output "${beside[@]}"
slow --test-threads=1 --nocapture "${beside[@]/#/--skip=}"
