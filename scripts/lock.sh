#!/usr/bin/env bash
# Makes the three lock files anew from pyproject.toml: requirements.lock (what the daemon and its clients run on, with
# the extras for serial, USB and LAN instruments and TLS, and what an editable install is built with),
# requirements-dev.lock (that and the tools for tests, lint and the site of docs/) and requirements-bench.lock (that and
# what the benchmarks compare with). Pinned, with hashes, for every platform and Python >= 3.11, and without the address
# of any registry.
set -euo pipefail

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    cat <<'TEXT'
usage: scripts/lock.sh [--upgrade]

Makes requirements.lock, requirements-dev.lock and requirements-bench.lock from pyproject.toml. Needs uv on the PATH (pip install uv).
Versions that are locked already stay, unless --upgrade is given.
TEXT
    exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v uv >/dev/null || {
    echo "lock.sh: uv is not on the PATH; install it with: pip install uv" >&2
    exit 2
}

options=(--quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url
    --no-emit-find-links --extra serial --extra usb --extra lan --extra tls "$@")
build=(hatchling editables) # `pip install --no-build-isolation -e .` builds with what is installed

printf '%s\n' "${build[@]}" | uv pip compile "${options[@]}" -o requirements.lock pyproject.toml - >/dev/null
printf '%s\n' "${build[@]}" | uv pip compile "${options[@]}" --group test --group lint --group docs \
    --constraints requirements.lock -o requirements-dev.lock pyproject.toml - >/dev/null
printf '%s\n' "${build[@]}" | uv pip compile "${options[@]}" --group test --group lint --group docs --group bench \
    --constraints requirements-dev.lock -o requirements-bench.lock pyproject.toml - >/dev/null
for file in requirements.lock requirements-dev.lock requirements-bench.lock; do
    echo "$file: $(grep -c == "$file") packages"
done
