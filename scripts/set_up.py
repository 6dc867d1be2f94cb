"""Brings .venv up to date with a lock file; called by set_up.sh, which found the Python that runs this.

A stamp in .venv says what it was made from, so that nothing is done when nothing changed. A lock on the project's
folder makes a second caller wait and then find the work done. Standard library only.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.json"

#: Level -> what is installed; each holds what those before it do, and a .venv never goes back to one before.
LOCK_FILES = {
    "runtime": "requirements.lock",
    "dev": "requirements-dev.lock",
    "bench": "requirements-bench.lock",
}


def main(wanted: str) -> None:
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("set-up: waiting for another set-up to finish", file=sys.stderr)
        fcntl.flock(folder, fcntl.LOCK_EX)
    stamp = read_stamp()
    level = highest(wanted, stamp.get("level", ""))
    current = {"level": level, "checksum": checksum(level)}
    if stamp == current and is_usable():
        return
    print(f"set-up: installing {LOCK_FILES[level]} into .venv", file=sys.stderr)
    if not is_usable():
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    STAMP.unlink(missing_ok=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install"]
    run([*pip, "--only-binary", ":all:", "--require-hashes", "-r", str(ROOT / LOCK_FILES[level])])
    run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    write_stamp(current)


def highest(*levels: str) -> str:
    """Of those that there are."""
    return [level for level in LOCK_FILES if level in levels][-1]


def checksum(level: str) -> str:
    content = b"\0".join((ROOT / name).read_bytes() for name in (LOCK_FILES[level], "pyproject.toml"))
    return hashlib.sha256(content).hexdigest()


def is_usable() -> bool:
    """Is there an interpreter in .venv that still runs and is new enough?"""
    try:
        code = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
        done = subprocess.run([PYTHON, "-c", code], capture_output=True, check=False)  # noqa: S603 - our own .venv
    except OSError:
        return False
    return done.returncode == 0


def read_stamp() -> dict[str, str]:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    """In one step, so that a stamp is there only for a set-up that came to its end."""
    new = STAMP.with_suffix(".new")
    new.write_text(json.dumps(stamp))
    new.replace(STAMP)


def run(command: list[str]) -> None:
    """Run quietly; if it fails, show what it said and end."""
    done = subprocess.run(  # noqa: S603 - called with words of this file only
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nset-up: this failed: {' '.join(command)}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in LOCK_FILES:
        sys.exit(f"usage: set_up.sh [{'|'.join(LOCK_FILES)}]")
    main(sys.argv[1])
