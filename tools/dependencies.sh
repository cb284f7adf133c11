#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages that building and running need; with --tests those of the tests too.
# Does nothing if they are there; an ordinary user without sudo is told the line that an
# administrator must run.
set -euo pipefail

packages=(gcc libc6-dev meson ninja-build pkg-config libopenmpi-dev openmpi-bin
    libopenblas-openmp-dev libhdf5-dev zlib1g-dev libcjson-dev libjpeg62-turbo-dev libpng-dev
    libwebp-dev libonig-dev libutf8proc-dev)
if [ "${1:-}" = --tests ]; then
    packages+=(libcmocka-dev clang-format procps clang llvm libclang-rt-14-dev libomp-dev)
fi

missing=()
for package in "${packages[@]}"; do
    if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
        missing+=("$package")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "These Debian packages are missing. An administrator must run:" >&2
        echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
