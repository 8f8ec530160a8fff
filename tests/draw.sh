#!/usr/bin/env bash
# Draws every dashboard with Grafana's own panels over a real Prometheus, dark and light, into
# grafana/screenshots: as root, on Debian, after tests/slow/install.sh. Installs what it needs under .cache/draw
# (700 MB) and by apt. Grafana's server, its menus and its variables' pickers are not in it.
#
#   tests/draw.sh                    all
#   tests/draw.sh overview grid      those
set -euo pipefail

fail() {
    echo "tests/draw.sh: $*" >&2
    exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
needed=(chromium:chromium nodejs:node npm:npm python3:python3 curl:curl)
missing=()
for pair in "${needed[@]}"; do
    command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
done
# Grafana's own letters.
dpkg --status fonts-inter >/dev/null 2>&1 || missing+=(fonts-inter)
if [[ ${#missing[@]} -gt 0 ]]; then
    [[ $EUID -eq 0 ]] || fail "missing ${missing[*]}, and not root to install it"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "cannot install ${missing[*]} (apt-get update first?)"
fi

place=.cache/draw
mkdir -p "$place" grafana/screenshots
if ! cmp -s grafana/draw/package.json "$place/package.json" || [[ ! -d $place/node_modules/vite ]]; then
    cp grafana/draw/package.json "$place/"
    echo "installing Grafana's panels into $place"
    (cd "$place" && npm install --legacy-peer-deps --ignore-scripts --no-audit --no-fund >npm.log 2>&1) ||
        fail "cannot install Grafana's panels: see $place/npm.log"
    # Said only when it is whole.
    [[ -d $place/node_modules/vite ]] || fail "npm installed no vite: see $place/npm.log"
fi
if ! cmp -s grafana/draw/main.jsx "$place/main.jsx" || ! cmp -s grafana/draw/index.html "$place/index.html"; then
    rm -rf "$place/dist"
fi
cp grafana/draw/{main.jsx,index.html,draw.mjs} "$place/"

bin=.cache/prometheus/usr/bin
[[ -x $bin/prometheus ]] || bin=/usr/bin
[[ -x $bin/prometheus && -x $bin/promtool ]] || fail "no prometheus: run tests/slow/install.sh"

python3 grafana/make.py --check
folder=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
echo "making two months of a fleet"
end=$(python3 tests/slow/history.py "$folder" "$bin/prometheus" "$bin/promtool" \
    --rules deploy/prometheus/recording.yaml --hosts 7 --hours 26 --days 62 2>"$folder/log") ||
    fail "no history: $(tail -3 "$folder/log")"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$bin/prometheus" --config.file="$folder/history.yml" --storage.tsdb.path="$folder/data" \
    --web.listen-address="127.0.0.1:$port" --storage.tsdb.retention.time=400d --log.level=error 2>"$folder/log" &
server=$!
# A minute at the most: it reads some dozen blocks.
for _ in $(seq 300); do
    curl -fs "http://127.0.0.1:$port/-/ready" >/dev/null 2>&1 && break
    kill -0 "$server" 2>/dev/null || fail "Prometheus ended: $(tail -3 "$folder/log")"
    sleep 0.2
done

node "$place/draw.mjs" "http://127.0.0.1:$port" "$end" "$root/grafana" "$root/grafana/screenshots" "$@"
for picture in grafana/screenshots/*.png; do
    size=$(stat --format %s "$picture")
    [[ $size -le 153600 ]] || fail "$picture has $size bytes, more than 150 kB: fewer colours, or a lower panel"
done
ls -l grafana/screenshots
