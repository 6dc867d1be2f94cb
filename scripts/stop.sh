#!/usr/bin/env bash
# Stops a daemon by sending it `.!.end_daemon`, and waits until it is really gone. Sets nothing up: see scripts/stop.py.
set -euo pipefail

command -v python3 >/dev/null || {
    echo "stop.sh: python3 is needed and is not on the PATH" >&2
    exit 2
}
exec python3 "$(dirname "${BASH_SOURCE[0]}")/stop.py" "$@"
