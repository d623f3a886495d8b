#!/usr/bin/env bash
# Installs what only the tests need of the system, where it is missing: Chromium, which they drive,
# and bubblewrap, which the sandbox is made of.
set -euo pipefail

packages=()
has_browser=no
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then has_browser=yes; fi
done
if [ "$has_browser" = no ]; then packages+=(chromium fonts-dejavu-core); fi
if ! command -v bwrap >/dev/null; then packages+=(bubblewrap libseccomp2); fi
if [ "${#packages[@]}" -eq 0 ]; then exit 0; fi

how="install it (Debian: apt-get install ${packages[*]}) or run the other tests: make test PYTEST_ARGS='-m \"not browser and not sandbox\"'"
if ! command -v apt-get >/dev/null; then
    echo "The tests need ${packages[*]}, and this system has no apt-get: $how" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "The tests need ${packages[*]}, and only root can install it: $how" >&2
    exit 1
fi

echo "Installing ${packages[*]} for the tests…"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
