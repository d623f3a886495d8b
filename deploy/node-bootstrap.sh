#!/usr/bin/env bash
# Sets up the Nebula Command agent on this machine: downloads it from your Jarvis, installs it into
# a folder of its own, joins, and starts it with the machine. Nothing outside that folder changes
# but one systemd unit. Filled in by `nodes_bootstrap`.
set -euo pipefail

url='@JARVIS_URL@'
token='@JOIN_TOKEN@'
name='@NODE_NAME@'
port='@NODE_PORT@'
sha256='@AGENT_SHA256@'

if [ "$(id -u)" = 0 ]; then home=/var/lib/nebula-node; else home="$HOME/.local/share/nebula-node"; fi
home="${NEBULA_NODE_HOME:-$home}"

python=''
for candidate in "${NEBULA_NODE_PYTHON:-}" python3.13 python3.12 python3.11 python3; do
  if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
    "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
if [ -z "$python" ]; then
  echo 'Python 3.11 or newer with venv is needed; on Debian: apt install python3 python3-venv' >&2
  exit 1
fi

umask 077
mkdir -p "$home"
cd "$home"
echo "Downloading the agent from $url"
"$python" - "$url/api/nodes/agent.zip" "$sha256" <<'PYTHON'
import hashlib, shutil, sys, urllib.request, zipfile
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(sys.argv[1], timeout=60) as answer:
    content = answer.read()
if hashlib.sha256(content).hexdigest() != sys.argv[2]:
    sys.exit("The agent is not the one this script was made for; ask Jarvis for a new script.")
with open("agent.zip", "wb") as file:
    file.write(content)
shutil.rmtree("agent", ignore_errors=True)
with zipfile.ZipFile("agent.zip") as archive:
    archive.extractall("agent")
PYTHON

echo 'Installing what it needs'
"$python" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  -r agent/node/requirements.lock

cd agent
set -- --port "$port" --home "$home" --force
if [ -n "$name" ]; then set -- "$@" --name "$name"; fi
printf '%s\n' "$token" | ../venv/bin/python -m node join "$url" - "$@"

if [ "${NEBULA_NODE_AUTOSTART:-yes}" = yes ]; then
  ../venv/bin/python -m node autostart --home "$home"
fi
