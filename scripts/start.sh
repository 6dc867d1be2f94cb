#!/usr/bin/env bash
# Sets up .venv when that is missing or out of date, then starts the daemon in the background.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    cat <<'TEXT'
usage: scripts/start.sh [OPTION]...

Starts the daemon in the background and returns when it serves, having printed READY HOST:PORT pid=N; if it cannot
start, says why and ends with a code other than 0. All options go to supervisor.py. The most used:

  --demo           serve a simulated bench instead of real instruments
  --host HOST      where to listen (127.0.0.1)
  --port PORT      on which port (1340; 0 takes a free one)
  --run-dir DIR    where its pidfile, log and audit log are

`.venv/bin/python supervisor.py --help` explains them all. scripts/stop.sh stops the daemon.
TEXT
    exit 0
fi

"$root/scripts/set_up.sh" runtime
exec "$root/.venv/bin/python" "$root/supervisor.py" --daemonize "$@"
