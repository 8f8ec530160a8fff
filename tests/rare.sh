#!/usr/bin/env bash
# What takes too long for every day: as root, on Debian, after tests/slow/install.sh. Prints dated figures.
#
#   tests/rare.sh         300 kills, 3,000 power losses, a store that is not let go of for a minute, waits
#                         for the disk counted over ten real minutes, 30 days of churn, pushes into an OpenTelemetry
#                         Collector built from Debian's sources, and a boot of Debian's kernel in QEMU with a
#                         BMC, an ACPI power meter and energy counters, another one with systemd, the shipped unit and
#                         others, a training loop of scikit-learn beside what is predicted of it, a kubelet
#                         that is asked every ten seconds, a thousand made-up hosts on one Prometheus with the shipped rules (docs/scale.md), and
#                         pictures of the dashboards by Grafana's own panels
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ $EUID -ne 0 ]]; then
    echo "tests/rare.sh: needs root (mounts, namespaces, strace)" >&2
    exit 1
fi

slow() {
    cargo test --locked --features rare --test slow -- --test-threads=1 --nocapture --exact "$@"
}

# A library that learns, for a training loop that says how far it is.
learns=.cache/scikit-learn
if ! "$learns/bin/python" -c 'import sklearn' 2>/dev/null; then
    echo "installing scikit-learn into $learns"
    rm -rf "$learns"
    python3 -m venv "$learns"
    "$learns/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: 'scikit-learn>=1.5,<2'
fi

date --utc +'rare tier, %F %H:%M UTC'
uname -rm
KILLS=${KILLS:-300} slow kill::what_was_shown_survives_every_kill
STATES=${STATES:-3000} slow crash::after_a_power_loss_at_any_moment_nothing_shown_is_taken_back
slow rare::a_store_that_is_not_let_go_of_is_not_waited_for_longer_than_a_minute
slow rare::ten_minutes_of_the_real_program_wait_for_the_disk_ten_times_at_most
slow drawn::a_fleet_in_prometheus_is_what_it_drew
slow prediction::a_training_loop_ends_near_what_was_predicted_when_a_tenth_was_done
slow holders::the_kubelet_is_asked_every_ten_seconds_where_nothing_happens
DAYS=${DAYS:-30} slow soak::ten_jobs_a_second_for_a_day_grow_nothing
tests/slow/collector.sh
slow otlp::a_collector_has_by_grpc_what_a_scrape_shows_and_passes_it_on
slow guest::a_real_kernel_shows_its_bmc_its_power_meter_and_its_counters
slow guest::real_units_have_their_names_their_slices_their_users_and_what_they_used
# Built to be measured: the tests' own build draws pages five times as slowly.
cargo build --locked --release --bin jouleprint
MINUTES=${MINUTES:-15} SIMULATOR=$PWD/target/release/jouleprint slow thousand::a_thousand_hosts_on_one_prometheus
tests/draw.sh
