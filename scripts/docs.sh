#!/usr/bin/env bash
# Sets up .venv, then makes the site of docs/ in build/docs: see docs/website.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    cat <<'TEXT'
usage: scripts/docs.sh [FOLDER]

Makes the site of docs/ in FOLDER, build/docs by default, and says which page to begin with. A warning is an error:
exit code 0 is a site in which every link leads somewhere. It needs no network to be read.
TEXT
    exit 0
fi

"$root/scripts/set_up.sh" dev
exec "$root/.venv/bin/python" "$root/docs/website" "$@"
