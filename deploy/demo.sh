#!/usr/bin/env bash
# All of it on this machine, by one command: the exporter, a relay of carbon intensities with made-up figures,
# a made-up fleet beside it, and a real Prometheus that reads them and evaluates the shipped rules.
#
#   deploy/demo.sh            until Ctrl-C; says where to look
#   deploy/demo.sh --check    the same, looks whether everything answers, and ends (exit code 1: something did not)
#
# Needs a Prometheus in the PATH, or podman or docker to run its image; and the program, or cargo to build it.
#   HOSTS=50 JOBS=20 GPUS=4   the fleet's size
#   JOULEPRINT=…              the program, unless target/release/jouleprint or one that is built now
#   PROMETHEUS=…              the Prometheus
#   PORT=14410                the first of four ports that follow each other
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
hosts=${HOSTS:-50} jobs=${JOBS:-20} gpus=${GPUS:-4} first=${PORT:-14410}
simulator=127.0.0.1:$first exporter=127.0.0.1:$((first + 1)) relay=127.0.0.1:$((first + 2)) server=127.0.0.1:$((first + 3))
# Everything that is started has this long to answer.
patience=240

fail() {
    echo "deploy/demo.sh: $*" >&2
    exit 1
}

is_check=false
case ${1:-} in
    "") ;;
    --check) is_check=true ;;
    *) fail "unknown argument $1 (there is --check)" ;;
esac

for program in curl awk sed; do
    command -v "$program" >/dev/null || fail "needs $program"
done
for port in "$first" $((first + 1)) $((first + 2)) $((first + 3)); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken (choose others: PORT=15410 $0)"
done

jouleprint=${JOULEPRINT:-target/release/jouleprint}
if [[ ! -x $jouleprint ]]; then
    [[ -z ${JOULEPRINT:-} ]] || fail "$JOULEPRINT cannot be run"
    command -v cargo >/dev/null || fail "no $jouleprint, and no cargo to build it (set JOULEPRINT)"
    echo "building jouleprint (some minutes, the first time)"
    cargo build --release --locked --bin jouleprint
fi

folder=$(mktemp -d)
started=()
container=""
end() {
    trap - EXIT INT TERM
    [[ -z $container ]] || "$engine" rm --force "$container" >/dev/null 2>&1 || true
    [[ ${#started[@]} -eq 0 ]] || kill "${started[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# `begin NAME COMMAND…`: in the background, its words in NAME.log.
begin() {
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    started+=($!)
}

# `answers NAME URL`: waits until it does, unless the one that was started last has ended.
answers() {
    local second
    for ((second = 0; second < patience * 2; second++)); do
        curl --silent --fail --output /dev/null "$2" && return
        kill -0 "${started[-1]}" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 20 "$folder/$1.log" >&2
    fail "$1 does not answer at $2; its last words are above"
}

# Intensities of two days by the hour: a day's curve, lower at noon.
now=$(date --utc +%s)
{
    echo timestamp,zone,gco2e_per_kwh
    for ((hour = -24; hour < 24; hour++)); do
        at=$((now / 3600 * 3600 + hour * 3600))
        grams=$((340 - 120 * (12 - (at / 3600 % 24 > 12 ? at / 3600 % 24 - 12 : 12 - at / 3600 % 24)) / 12))
        echo "$(date --utc --date "@$at" +%Y-%m-%dT%H:%M:%SZ),DE,$grams"
    done
} >"$folder/site.csv"
cat >"$folder/relay.yaml" <<YAML
grid:
  relay: {zones: [DE]}
  providers:
  - {name: file, path: $folder/site.csv, basis: lifecycle, accounting: consumption, slot: 60m}
YAML
cat >"$folder/exporter.yaml" <<YAML
zone: DE
scrape_interval_hint: 5s
grid:
  providers:
  - {name: jouleprint, url: "http://$relay"}
YAML

# The rules as they are shipped, but every 15 s what is meant for every minute, and over a minute what is meant over
# five, so that nobody has to wait: rate() over more than there is shows as much less.
mkdir "$folder/rules"
rules=0
for file in deploy/prometheus/recording.yaml deploy/prometheus/alerts.yaml; do
    [[ -f $file ]] || continue
    sed 's/^\( *interval: \)1m$/\115s/; s/\[5m\]/[1m]/g' "$file" >"$folder/rules/${file##*/}"
    rules=$((rules + 1))
done

cat >"$folder/prometheus.yml" <<YAML
global: {scrape_interval: 5s, scrape_timeout: 5s, evaluation_interval: 15s}
rule_files: ["$folder/rules/*.yaml"]
scrape_configs:
- job_name: jouleprint
  static_configs:
  - {targets: ["$exporter"], labels: {cluster: here, instance: "$(uname -n)"}}
- job_name: fleet
  http_sd_configs: [{url: "http://$simulator/sd"}]
  relabel_configs: [{target_label: job, replacement: jouleprint}]
- job_name: jouleprint-grid
  static_configs: [{targets: ["$relay"]}]
YAML

begin relay "$jouleprint" grid --config.file "$folder/relay.yaml" --web.listen-address "$relay" \
    --store.path "$folder/relay-store" --path.runtime "$folder/relay-run"
answers relay "http://$relay/-/ready"
begin exporter "$jouleprint" --config.file "$folder/exporter.yaml" --web.listen-address "$exporter" \
    --store.path "$folder/store" --path.runtime "$folder/run"
answers exporter "http://$exporter/-/ready"
begin simulator "$jouleprint" simulate --hosts "$hosts" --jobs "$jobs" --gpus "$gpus" --tick 5 \
    --scrape-interval-hint 5 --web.listen-address "$simulator"
answers simulator "http://$simulator/-/ready"

prometheus=${PROMETHEUS:-$(command -v prometheus || true)}
if [[ -n $prometheus ]]; then
    begin prometheus "$prometheus" --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" \
        --web.listen-address="$server"
else
    engine=$(command -v podman || command -v docker) ||
        fail "no prometheus here (apt-get install prometheus, or set PROMETHEUS), and neither podman nor docker"
    container=jouleprint-demo-$$
    chmod -R a+rX "$folder"
    begin prometheus "$engine" run --rm --name "$container" --network host --volume "$folder:$folder:ro" \
        docker.io/prom/prometheus:v3.5.0 --config.file="$folder/prometheus.yml" --storage.tsdb.path=/prometheus \
        --web.listen-address="$server"
fi
answers prometheus "http://$server/-/ready"

# `ask QUERY`: the first value of its answer; nothing if there is none.
ask() {
    curl --silent --get --data-urlencode "query=$1" "http://$server/api/v1/query" |
        sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'
}

# `wait_for WHAT QUERY`: until the answer is not empty.
wait_for() {
    local second value
    for ((second = 0; second < patience; second++)); do
        value=$(ask "$2")
        if [[ -n $value && $value != NaN ]]; then
            echo "  $1: $value"
            return
        fi
        sleep 1
    done
    tail -n 20 "$folder/prometheus.log" >&2
    fail "nothing comes of: $2"
}

echo "waiting until Prometheus has read everything for a minute"
watts='sum(rate(hw_host_energy_joules_total{origin!=""}[1m]))'
targets=$((hosts + 2))
wait_for "targets that answer" "count(up == 1) >= $targets"
wait_for "hosts with energy" "count(sum by (host) (rate(hw_host_energy_joules_total[1m])) > 0) >= $((hosts + 1))"
# A scrape every 5 s, and one of them may be late.
wait_for "watts of all hosts" "$watts and min(count_over_time(up[1m])) >= 11"
wait_for "grams of CO2e an hour" 'sum(rate(jouleprint_host_emissions_co2e_grams_total[1m])) * 3600'
if [[ $rules -gt 0 ]]; then
    shipped=organization:hw_host_energy_joules:rate5m
    wait_for "the same watts by the shipped rules, to 5 %" "$shipped and abs($shipped / $watts - 1) < 0.05"
    state=$(curl --silent "http://$server/api/v1/rules")
    if [[ $state == *'"health":"err"'* ]]; then
        echo "$state" | sed 's/},{/},\n{/g' | grep '"health":"err"' >&2
        fail "a rule fails"
    fi
else
    echo "  no rules in deploy/prometheus: none are evaluated"
fi

if $is_check; then
    echo "all of it answers"
    exit 0
fi

cat <<TEXT

Look here:
  http://$server/graph          Prometheus, with the shipped rules and alerts
  http://$exporter/       this machine (measured where it can be, else estimated)
  http://$simulator/       $hosts made-up hosts with $jobs jobs each
  http://$relay/       the relay of carbon intensities, made up for DE

Three queries to paste:
  sum by (cluster) (rate(hw_host_energy_joules_total{origin!=""}[1m]))
  topk(5, sum by (group) (rate(jouleprint_group_emissions_co2e_grams_total{group_kind="team"}[5m])) * 3600)
  topk(10, sum by (host, job_kind, job_id) (rate(jouleprint_job_energy_joules_total[1m])))

Grafana: add a Prometheus data source with the URL http://$server, then import the files in grafana/
(Dashboards, New, Import).

Ctrl-C ends all of it and removes what it wrote.
TEXT
wait
