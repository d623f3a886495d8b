#!/usr/bin/env bash
# Installs Chromium from the system's packages when no browser is there; the tests drive it.
set -euo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then exit 0; fi
done

how="install it (Debian: apt-get install chromium) or run the other tests: make test PYTEST_ARGS='-m \"not browser\"'"
if ! command -v apt-get >/dev/null; then
    echo "The browser tests need Chromium, and this system has no apt-get: $how" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "The browser tests need Chromium, and only root can install it: $how" >&2
    exit 1
fi

echo "Installing Chromium for the browser tests…"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
