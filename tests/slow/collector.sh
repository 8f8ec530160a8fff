#!/usr/bin/env bash
# Builds an OpenTelemetry Collector (otlp in, otlp and debug out) from Debian's packages of its source, into
# .cache/collector: nothing is installed. Takes minutes and 3 GB while it lasts. Needs root and Debian's apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
place=.cache/collector
[[ -x $place/otelcolmini ]] && exit 0

fail() {
    echo "tests/slow/collector.sh: $*" >&2
    exit 1
}

mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' \
    /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
[[ -n $mirror ]] || fail "no mirror of Debian in apt's sources"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/root" "$folder/go/src/otelcolmini"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$folder/sid.list"
: >"$folder/status"
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$folder/sid.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$folder/lists" -o "Dir::State::status=$folder/status" -o "Dir::Cache=$folder/cache"
    -o Dir::Etc::preferencesparts=- -o APT::Sandbox::User=root -o APT::Install-Recommends=0)
"${apt[@]}" update >/dev/null || fail "apt-get update fails"
"${apt[@]}" --yes --download-only install golang-opentelemetry-collector-dev golang-go >/dev/null ||
    fail "Debian's packages of the Collector cannot be had"
for package in "$folder"/cache/archives/*.deb; do
    case $package in *golang* | *opentelemetry*) dpkg-deb -x "$package" "$folder/root" ;; esac
done
cat >"$folder/go/src/otelcolmini/main.go" <<'GO'
package main

import (
	"os"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func factories() (otelcol.Factories, error) {
	var factories otelcol.Factories
	var err error
	if factories.Receivers, err = otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory()); err != nil {
		return factories, err
	}
	factories.Exporters, err = otelcol.MakeFactoryMap[exporter.Factory](
		debugexporter.NewFactory(), otlphttpexporter.NewFactory())
	factories.Telemetry = otelconftelemetry.NewFactory()
	return factories, err
}

func main() {
	settings := otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "otelcolmini", Version: "1"},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
			DefaultScheme:     "file",
		}},
	}
	if otelcol.NewCommand(settings).Execute() != nil {
		os.Exit(1)
	}
}
GO
goroot=$(find "$folder/root/usr/lib" -maxdepth 1 -name 'go-1.*' | sort -V | tail -1)
[[ -x $goroot/bin/go ]] || fail "no Go among the packages"
# Debian puts Go's own source and tools elsewhere and links them; the links are of an installed system.
share=$(find "$folder/root/usr/share" -maxdepth 1 -name 'go-1.*' | sort -V | tail -1)
for part in src pkg test api misc lib; do
    [[ -n $share && -L $goroot/$part && -d $share/$part ]] && ln -sfn "$share/$part" "$goroot/$part"
done
(
    cd "$folder/go/src/otelcolmini"
    export GOROOT=$goroot GOPATH=$folder/go:$folder/root/usr/share/gocode GO111MODULE=off GOTOOLCHAIN=local
    export CGO_ENABLED=0 GOCACHE=$folder/gocache GOFLAGS=
    "$goroot/bin/go" build -o "$folder/otelcolmini" otelcolmini
) || fail "the Collector does not build"
mkdir -p "$place"
mv "$folder/otelcolmini" "$place/otelcolmini"
