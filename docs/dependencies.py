"""What of others' work comes with the daemon, and what for: the table in explanation/security.md.

The versions are those of requirements.lock; a package in it without a reason here is not accepted.
"""

import re
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"

_PINNED = re.compile(r"^([\w.-]+)==([\w.+-]+)", re.MULTILINE)

#: What needs them -> why, and the packages.
REASONS = {
    "client and daemon": {
        "PyVISA programs, and its resource names": ("pyvisa", "typing-extensions"),
        "both languages between processes, and JSON; checks every type": ("msgspec",),
        "the command line of `instruments`": ("click",),
    },
    "daemon": {
        "the VISA library in Python": ("pyvisa-py",),
        "simulated instruments, the demo bench among them": ("pyvisa-sim", "pyyaml", "stringparser"),
        "processes seen from outside": ("psutil",),
        "the lines of the logs": ("structlog",),
        "where the run folder belongs": ("platformdirs",),
        "a quicker event loop": ("uvloop",),
    },
    "extras": {
        "serial lines": ("pyserial",),
        "USB": ("pyusb",),
        "instruments, and daemons, found on the network": ("zeroconf", "ifaddr"),
        "a certificate made on demand": ("cryptography", "cffi", "pycparser"),
    },
    "installation from a checkout": {
        "the build": ("hatchling", "editables", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"),
    },
}


def rows() -> list[tuple[str, str, str]]:
    """(who needs it, what for, packages with their versions). Raises KeyError for what the lock file lacks, ValueError
    for what has no reason."""
    versions = dict(_PINNED.findall(LOCK.read_text()))
    known = {name for reasons in REASONS.values() for names in reasons.values() for name in names}
    if unknown := versions.keys() - known:
        raise ValueError(f"no reason in {__file__} for {', '.join(sorted(unknown))}")
    return [
        (who, why, ", ".join(f"{name} {versions[name]}" for name in names))
        for who, reasons in REASONS.items()
        for why, names in reasons.items()
    ]
