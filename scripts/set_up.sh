#!/usr/bin/env bash
# Finds a Python and lets scripts/set_up.py bring .venv up to date. The other scripts call this one first.
set -euo pipefail

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    cat <<'TEXT'
usage: scripts/set_up.sh [runtime|dev|bench]

Makes .venv, or brings it up to date if a lock file or pyproject.toml changed; does nothing if it is current.
runtime (the default) is what the daemon and the clients need, dev adds the tools for tests and lint, bench what
scripts/benchmark.sh compares the daemon with. A .venv that has more keeps it.
TEXT
    exit 0
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for python in python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$root/scripts/set_up.py" "${1:-runtime}"
    fi
done
echo "set_up.sh: Python 3.11 or later with its venv module is needed, and none of python3.13, python3.12, python3.11, python3 is that" >&2
exit 2
