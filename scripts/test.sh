#!/usr/bin/env bash
# Sets up .venv, then runs all that is checked: lint, format, types, import contracts, tests with the docs' examples.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/test.sh [--full] [-- PYTEST_ARGUMENT...]

Runs ruff, mypy, lint-imports and pytest, and stops at the first that fails. Tests wait for processes most of the time,
so two files of them are run at a time; a line for each tells how it went.

  --full    also the long proofs (tests marked `full`)
  --        what follows goes to pytest, as in: scripts/test.sh -- tests/demo_bench -x
            -n 0 runs one test after the other, as --figures does by itself; -v names each test
TEXT
}

pytest=(-n 2 --dist loadfile)
while (($#)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --full) pytest+=(--full) ;;
        --) shift && pytest+=("$@") && break ;;
        *)
            echo "test.sh: unknown option $1" >&2
            usage >&2
            exit 2
            ;;
    esac
    shift
done

run() {
    printf '\n== %s\n' "$*"
    "$@"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
run scripts/set_up.sh dev
PATH=$PWD/.venv/bin:$PATH
if [[ ${PYTHONDONTWRITEBYTECODE:-} ]]; then # hundreds of daemons are started: what they run is compiled once all the same
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONPYCACHEPREFIX=$PWD/.pytest_cache/bytecode
fi
run ruff check .
run ruff format --check .
run mypy
run lint-imports
run python -m pytest "${pytest[@]}"
