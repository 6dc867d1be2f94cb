"""What a record of the audit log costs: whoever makes it, and the writer's thread.

Runs in a process of its own (this file as a program), which has nothing else to do: so CPU time tells caller and
writer apart, and their sum is what a command costs the front off its reply path. Beside it stands what structlog
needs to write the same record straight to a file. All records are read back.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure

TITLE = "A record of the audit log"

#: Records in one burst, and bursts of each kind; quick runs have the second number.
RECORDS = 10_000
ROUNDS = (9, 3)

#: Microseconds, by kind: what the caller's thread spent, what the whole process spent, wall time until all is written.
Spent = dict[str, float]


def typical(number: int) -> dict[str, Any]:
    """The fields of a query's record, which is by far the most frequent one."""
    return {
        "client": "127.0.0.1:51234",
        "name": "sweep.py on labpc",
        "resource": "TCPIP0::127.0.0.1::5025::SOCKET",
        "generation": 1,
        "command": f"query MEAS:VOLT:DC? (@{number})",
        "outcome": "ok",
        "effect": "done",
        "waited_ms": 0.031,
        "ran_ms": 0.412,
        "bytes": 16,
    }


def run(bench: Bench) -> Iterator[Figure]:
    found: dict[str, list[Spent]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS[bench.is_quick]):
        for kind in KINDS:
            file = bench.folder / f"{kind}.jsonl"
            command = [sys.executable, "-m", "benchmarks.audit", kind, str(file), str(RECORDS)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[kind].append(json.loads(said))
            bench.check(_is_whole(file, RECORDS), f"{kind}: every record is in the file as it was made, in order")
            file.unlink()
    for kind, spent in found.items():
        subject = SUBJECTS[kind]
        for name in ("caller", "caller and writer", "until written"):
            yield Figure("audit", subject, name, median(one[name] for one in spent), "us")


def _is_whole(file: Path, count: int) -> bool:
    lines = file.read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    return len(records) == count and all(
        record.items() >= {"event": "command", **typical(number)}.items() for number, record in enumerate(records)
    )


# The kinds, each in a process of its own.


def _audit(file: Path, count: int) -> Spent:
    from front_proc.record.audit import Audit

    audit = Audit(file)
    audit.record("command", **typical(0))
    audit.close()
    file.unlink()
    audit = Audit(file)

    def record(number: int) -> None:
        audit.record("command", **typical(number))

    return _spent(record, audit.close, count)


def _structlog(file: Path, count: int) -> Spent:
    import msgspec
    import structlog

    return _straight(file, count, structlog.processors.JSONRenderer(lambda record, **_: msgspec.json.encode(record)))


def _structlog_json(file: Path, count: int) -> Spent:
    import structlog

    return _straight(file, count, structlog.processors.JSONRenderer(lambda record, **_: json.dumps(record).encode()))


def _straight(file: Path, count: int, renderer: Any) -> Spent:
    """structlog as its documentation recommends it for speed, unfiltered."""
    import structlog

    with file.open("ab") as opened:
        stamper = structlog.processors.TimeStamper(fmt="iso", utc=True)
        logger = structlog.wrap_logger(structlog.BytesLogger(opened), processors=[stamper, renderer]).bind()

        def record(number: int) -> None:
            logger.msg("command", **typical(number))

        return _spent(record, opened.flush, count)


def _nothing(_: Path, count: int) -> Spent:
    return _spent(typical, lambda: None, count)


def _spent(record: Callable[[int], object], finish: Callable[[], object], count: int) -> Spent:
    began, cpu, caller = time.perf_counter(), time.process_time(), time.thread_time()
    for number in range(count):
        record(number)
    caller = time.thread_time() - caller
    finish()
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    return {"caller": caller / count * 1e6, "caller and writer": cpu / count * 1e6, "until written": took / count * 1e6}


KINDS: dict[str, Callable[[Path, int], Spent]] = {
    "audit": _audit,
    "structlog": _structlog,
    "structlog-json": _structlog_json,
}

SUBJECTS = {
    "audit": "daemon's Audit",
    "structlog": "structlog and msgspec, straight to the file",
    "structlog-json": "structlog and json, straight to the file",
}


def main(kind: str, file: str, count: str) -> None:
    """Print what one burst of `kind` cost, less what making its fields costs."""
    bare = _nothing(Path(os.devnull), int(count))
    spent = KINDS[kind](Path(file), int(count))
    print(json.dumps({name: value - bare[name] for name, value in spent.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
