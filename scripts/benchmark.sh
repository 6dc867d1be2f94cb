#!/usr/bin/env bash
# Sets up .venv with what the daemon is compared with, then measures: see benchmarks/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    cat <<'TEXT'
usage: scripts/benchmark.sh [--quick] [--only NAME...] [--peers NAME...] [--out FOLDER] [--publish]

Measures the daemon against what one would use instead of it (PyVISA in the program itself, rpyc, Pyro5, pyvisa-proxy),
everything in turn in one run. Takes some ten minutes on a machine that does nothing else; 2 CPUs are enough.

  --quick         less of everything: within two minutes, for a first look
  --only NAME...  only these: query, write_query, throughput, sharing, waveforms, delays, openings, memory, clients,
                  audit, tls, imports
  --peers NAME... only with these, and direct: 'daemon @daemon', 'daemon client', 'daemon text', rpyc, Pyro5,
                  pyvisa-proxy, 'limit: bare socket', 'limit: two hops'
  --out FOLDER    where results.json, report.md and the plots go (default: benchmark-results)
  --publish       then also put the run into docs/explanation: performance.json, the plots, the tables in the page

Prints the goals with what was found. Exit code 0: every answer was right; 1: one was wrong, or a measure failed;
2: bad usage. A missed goal is no failure.
TEXT
    exit 0
fi

"$root/scripts/set_up.sh" bench
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$root/.venv/bin/python" -m benchmarks "$@"
