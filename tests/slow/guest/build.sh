#!/usr/bin/env bash
# Builds what QEMU boots: build.sh EXPORTER OUT [units]. Installs what it needs and is not there yet (root, Debian);
# the kernel is kept in .cache/guest for the next time, and so is Debian's own userland, which only `units` has: there
# systemd is the first process, else the script `init`. OUT gets vmlinuz, initrd and meter.aml.
set -euo pipefail

fail() {
    echo "tests/slow/guest/build.sh: $*" >&2
    exit 1
}

[[ $# -eq 2 || $# -eq 3 && $3 == units ]] || fail "usage: build.sh EXPORTER OUT [units]"
exporter=$(realpath "$1")
out=$(realpath "$2")
kind=${3:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../../.."
[[ $EUID -eq 0 ]] || fail "must run as root"
export DEBIAN_FRONTEND=noninteractive

programs=(qemu-system-x86:qemu-system-x86_64 acpica-tools:iasl kmod:depmod cpio:cpio make:make gcc:gcc mmdebstrap:mmdebstrap)
packages=()
for pair in "${programs[@]}"; do
    command -v "${pair#*:}" >/dev/null || packages+=("${pair%%:*}")
done
dpkg -s busybox-static >/dev/null 2>&1 || packages+=(busybox-static)
release() { apt-cache search '^linux-image-6.1.0-[0-9]+-amd64$' | awk '{ print $1 }' | sort -V | tail -1 | sed 's/^linux-image-//'; }
kernel=$(release)
if [[ -z $kernel || ! -d /usr/src/linux-headers-$kernel ]]; then
    apt-get update -qq || fail "apt-get update fails"
    kernel=$(release)
    [[ -n $kernel ]] || fail "no linux-image-6.1.0-*-amd64 to be had: this needs Debian 12's kernel"
    packages+=("linux-headers-$kernel")
fi
if [[ ${#packages[@]} -gt 0 ]]; then
    apt-get install -qq --yes --no-install-recommends "${packages[@]}" >/dev/null || fail "cannot install ${packages[*]}"
fi

cache=.cache/guest/$kernel
if [[ ! -e $cache/boot/vmlinuz-$kernel ]]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    chmod 755 "$folder"
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download "linux-image-$kernel" >/dev/null) || fail "cannot download the kernel"
    dpkg-deb -x "$folder"/linux-image-*.deb "$folder/root"
    # What is booted and the few drivers of it that are loaded: 400 MB are 30 without the others.
    mkdir -p "$cache/boot" "$cache/modules"
    for path in drivers/char/ipmi drivers/hwmon/acpi_power_meter.ko; do
        mkdir -p "$cache/modules/kernel/$(dirname $path)"
        cp -r "$folder/root/lib/modules/$kernel/kernel/$path" "$cache/modules/kernel/$path"
    done
    cp "$folder/root/lib/modules/$kernel"/modules.{order,builtin,builtin.modinfo} "$cache/modules/"
    cp "$folder/root/boot/vmlinuz-$kernel" "$cache/boot/"
fi

# Everything that is essential, systemd with logind, and D-Bus.
userland=.cache/guest/userland.tar
if [[ $kind == units && ! -e $userland ]]; then
    mkdir -p .cache/guest
    # What it makes, a tar file or a directory, follows from how the name ends.
    new=.cache/guest/new-userland.tar
    # Where this machine's own packages come from.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
    if ! PATH=/usr/local/sbin:/usr/sbin:/sbin:$PATH mmdebstrap --quiet --mode=root --variant=essential \
        --include=systemd,systemd-sysv,dbus,libpam-systemd,login,passwd \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$new" "$mirror" 2>"$out/userland.log"; then
        fail "no userland: $(tail -3 "$out/userland.log")"
    fi
    mv "$new" "$userland"
fi

root=$out/root
rm -rf "$root"
mkdir -p "$root"/{bin,etc,proc,sys,dev,tmp,run} "$root/lib/modules/$kernel" "$out/module"
cp /bin/busybox "$root/bin/"
cp -r "$cache/modules/." "$root/lib/modules/$kernel/"
depmod -b "$root" "$kernel"
cp "$here/powercap.c" "$out/module/"
echo 'obj-m := powercap.o' >"$out/module/Makefile"
make -s -C "/usr/src/linux-headers-$kernel" M="$out/module" modules >"$out/module.log" 2>&1 ||
    fail "the module does not build: $(cat "$out/module.log")"
cp "$out/module/powercap.ko" "$root/"

# The exporter as it is, with the libraries that it is linked with.
strip -o "$root/jouleprint" "$exporter"
ldd "$exporter" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp "$here/init" "$root/init"
chmod 755 "$root/init" "$root/jouleprint"

if [[ $kind == units ]]; then
    system=$root/system
    mkdir "$system"
    tar -xf "$userland" -C "$system" --exclude='./dev/*' --exclude='./var/lib/apt/*' --exclude='./var/cache/*'
    mv "$root/powercap.ko" "$system/"
    # The exporter as docs/deploy.md installs it.
    install -D -m 755 "$root/jouleprint" "$system/usr/local/bin/jouleprint"
    install -D -m 644 deploy/systemd/jouleprint.service "$system/etc/systemd/system/jouleprint.service"
    install -D -m 644 "$here/units/log.conf" "$system/etc/systemd/system/jouleprint.service.d/log.conf"
    install -D -m 644 deploy/systemd/jouleprint.yaml "$system/etc/jouleprint/jouleprint.yaml"
    install -D -m 644 deploy/systemd/environment "$system/etc/jouleprint/environment"
    printf 'JOULEPRINT_HOST_NAME=guest\nJOULEPRINT_WEB_LISTEN_ADDRESS=127.0.0.1:14401\n' >>"$system/etc/jouleprint/environment"
    cp /bin/busybox "$system/bin/"
    # Libraries that the exporter brings are Debian's own there.
    find "$root" -maxdepth 1 \( -name 'lib*' -o -name usr \) -exec rm -rf {} +
    cp "$here"/units/*.service "$system/etc/systemd/system/"
    install -m 755 "$here/units/burn" "$here/units/check" "$system/"
    cp "$here/units/init" "$root/init"
    echo 'anna:x:1000:1000::/home/anna:/bin/sh' >>"$system/etc/passwd"
    echo 'anna:x:1000:' >>"$system/etc/group"
    echo 'anna:*:20000:0:99999:7:::' >>"$system/etc/shadow"
    own=$system/home/anna/.config/systemd/user
    mkdir -p "$own/default.target.wants" "$system/etc/systemd/system/multi-user.target.wants"
    mv "$system/etc/systemd/system/editor.service" "$own/"
    ln -s ../editor.service "$own/default.target.wants/"
    chown -R 1000:1000 "$system/home/anna"
    ln -s ../check.service "$system/etc/systemd/system/multi-user.target.wants/"
    ln -sf /lib/systemd/system/multi-user.target "$system/etc/systemd/system/default.target"
    echo 0123456789abcdef0123456789abcdef >"$system/etc/machine-id"
fi
# Unpacking what was compressed takes an emulated processor longer than reading it.
(cd "$root" && find . | cpio --quiet -o -H newc) >"$out/initrd"
cp "$cache/boot/vmlinuz-$kernel" "$out/vmlinuz"
iasl -p "$out/meter" "$here/meter.asl" >"$out/iasl.log" 2>&1 || fail "the ACPI table does not compile: $(cat "$out/iasl.log")"
rm -rf "$root" "$out/module"
echo "guest: Linux $kernel, $(du -sm "$out" | cut -f1) MB"
