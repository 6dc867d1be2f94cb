#!/usr/bin/env bash
# Sets up .venv, then tells in this terminal what the daemon does: see scripts/demo.py, which is the story.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    cat <<'TEXT'
usage: scripts/demo.sh [--fast]

Starts a daemon with a simulated bench on a free port, shares instruments between two clients, makes one instrument
hang, shows that the other never notices and that the hung one comes back, and reads it all again in the audit log.
Ends with code 0 if everything happened as told and nothing is left running.

  --fast    without the pauses that let a person read along
TEXT
    exit 0
fi

"$root/scripts/set_up.sh" runtime
exec "$root/.venv/bin/python" "$root/scripts/demo.py" "$@"
