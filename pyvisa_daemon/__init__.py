"""The PyVISA backend `@daemon`, and the languages that client side and front both speak.

PyVISA finds it by this name: `pyvisa.ResourceManager("labpc:1340@daemon")`. Runs in the user's process; the front
imports `wire`, `framing` and `errors` from here and must not load PyVISA for that, so the backend itself is imported
only when PyVISA asks for `WRAPPER_CLASS`. Imports no other room of ours: a user's own `client.py` cannot break it.
"""

from typing import Any

from pyvisa_daemon.version import __version__

__all__ = ["WRAPPER_CLASS", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "WRAPPER_CLASS":
        from pyvisa_daemon.highlevel import DaemonVisaLibrary

        return DaemonVisaLibrary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
