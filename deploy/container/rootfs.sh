#!/bin/sh
# Lays out the root of an image: the program, the libraries that it and NVIDIA's library need of the C library, and
# the certificates of public authorities. No shell, no package manager.
#
#   rootfs.sh PROGRAM FOLDER
#
# Runs in the build stage of the Containerfile, and in the tests on whatever machine they are on.
set -eu

program=${1:?usage: rootfs.sh PROGRAM FOLDER}
root=${2:?usage: rootfs.sh PROGRAM FOLDER}

mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/etc/ssl/certs" "$root/etc/jouleprint" "$root/host" \
    "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/run/jouleprint" "$root/var/lib/jouleprint"
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
install -m 0755 "$program" "$root/usr/bin/jouleprint"

# Through the links, so that a file lies where the loader looks for it, under the name it is asked for.
put() {
    mkdir -p "$root$(dirname "$1")"
    cp -L "$1" "$root$1"
}

libraries=$(ldd "$program" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }')
for library in $libraries; do
    put "$library"
done
# The driver's library is built against an older C library and still asks for these, which are empty by now.
folder=$(dirname "$(ldd "$program" | awk '$1 == "libc.so.6" { print $3 }')")
for stub in libdl.so.2 libpthread.so.0 librt.so.1; do
    put "$folder/$stub"
done

# NVIDIA's container toolkit puts its libraries into the folders of Debian if it finds this file.
cp -L /etc/debian_version "$root/etc/debian_version"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n' >"$root/etc/passwd"
printf 'root:x:0:\nnonroot:x:65532:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
