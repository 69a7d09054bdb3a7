#!/bin/sh
# Sees to it that Chromium is there for the browser tests: installs Debian's where it may,
# otherwise says how.
set -eu

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "The browser tests need Chromium. As root: apt-get install chromium" >&2
        exit 1
    fi
    $as_root apt-get update -q
    # shellcheck disable=SC2086  # empty when this is root already
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core
    exit 0
fi

echo "The browser tests need Chromium: install it with the system's package manager." >&2
exit 1
