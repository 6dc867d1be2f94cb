"""Where and with what a run was made: for the head of its report. No host name and no path is in it."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Whatever has a part in what is compared.
PACKAGES = (
    "pyvisa-daemon",
    "PyVISA",
    "PyVISA-py",
    "uvloop",
    "msgspec",
    "structlog",
    "rpyc",
    "Pyro5",
    "PyVISA-proxy",
    "pyzmq",
    "numpy",
)


def machine() -> dict[str, str]:
    """Heading -> words."""
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores, of which {len(os.sched_getaffinity(0))} may be used",
        "busy before": "load " + " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(filter(None, map(_installed, PACKAGES))),
        "commit": _commit(),
    }


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """Of this checkout; `with changes` if it is not as committed."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + (" with changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
