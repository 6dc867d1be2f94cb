"""Checks: what is installed, and which VISA libraries PyVISA can work with.

Pure.
"""

from typing import NamedTuple

from client.commands.checkup.facts import Kind, System
from client.commands.checkup.findings import Findings, ok, problem, warning
from client.commands.suggestions import closest


class _Extra(NamedTuple):
    """A package that some interface needs: what for, and the kind of device that makes it missed."""

    package: str
    purpose: str
    kind: Kind | None


_EXTRAS = (
    _Extra("pyserial", "serial lines", Kind.SERIAL),
    _Extra("pyusb", "USB instruments", Kind.USB),
    _Extra("zeroconf", "finding daemons and instruments on the network", None),
)

#: Any of these gives pyvisa-py a GPIB board.
_GPIB = ("gpib", "gpib-ctypes")

#: Always named if there.
_SHOWN = ("pyvisa", "pyvisa-py", "pyvisa-sim", "pyserial", "pyusb", "zeroconf", *_GPIB)


def versions(system: System) -> Findings:
    there = [f"{name} {system.packages[name]}" for name in _SHOWN if name in system.packages]
    ours = f"pyvisa-daemon {system.version}, Python {system.python} on {system.platform}"
    yield ok("software", "; ".join([ours, *there]))
    if system.platform != "linux":
        yield ok("software", "this machine can use daemons; to run one takes Linux")


def extras(system: System) -> Findings:
    """What is missing matters where there is something to be reached with it."""
    kinds = {node.kind for node in system.nodes}
    for extra in _EXTRAS:
        if extra.package in system.packages:
            continue
        text, remedy = f"{extra.package} is not installed: {extra.purpose}", f"pip install {extra.package}"
        if extra.kind in kinds:
            yield warning("software", f"{text}; this machine has some", remedy)
        elif extra.kind is None:
            yield warning("software", text, remedy)
    if Kind.USB in kinds and "pyusb" in system.packages and not system.has_libusb:
        yield warning(
            "software",
            "pyusb finds no libusb: USB instruments",
            "install libusb 1.0 (apt install libusb-1.0-0, brew install libusb, or pip install libusb-package)",
        )
    if Kind.GPIB in kinds and not any(name in system.packages for name in _GPIB):
        yield warning(
            "software",
            "there is a GPIB board, and no package that pyvisa-py reaches it with",
            "pip install gpib-ctypes (or the `gpib` module that comes with linux-gpib)",
        )


def visa_libraries(system: System) -> Findings:
    usable = [library for library in system.libraries if library.backend != "daemon"]
    usable = [library for library in usable if library.paths or library.backend != "ivi"]
    for library in usable:
        where = f" ({', '.join(library.paths)})" if library.paths else ""
        yield ok("VISA", f"@{library.backend} {library.version}{where}".replace("  ", " "))
    if system.libraries and all(library.backend != "daemon" for library in system.libraries):
        remedy = "install this package anew, from where it came: pip install --force-reinstall --no-deps FOLDER"
        yield problem("VISA", "PyVISA does not see @daemon", remedy)
    if not any(library.backend in ("ivi", "py") for library in usable):
        text, remedy = "no VISA library: only a daemon's instruments can be used here", "pip install pyvisa-py"
        if any(visit.way == "there" for visit in system.visits):
            yield ok("VISA", text, f"{remedy}, for instruments of this machine")
        else:
            yield warning("VISA", text, f"{remedy}, or install NI-VISA or Keysight IO Libraries")


def chosen_library(system: System) -> Findings:
    """PYVISA_LIBRARY is what `pyvisa.ResourceManager()` takes."""
    chosen = system.environment.get("PYVISA_LIBRARY", "")
    if not chosen:
        return
    _, at, backend = chosen.rpartition("@")
    backends = [library.backend for library in system.libraries]
    if not at:
        yield ok("VISA", f"PYVISA_LIBRARY={chosen}: programs without a word about it use this library")
    elif backend in backends:
        yield ok("VISA", f"PYVISA_LIBRARY={chosen}: programs without a word about it use @{backend}")
    else:
        near = closest(backend, backends)
        remedy = f"write @{near[0]}" if near else f"pip install pyvisa-{backend}, or name one of those that are there"
        yield problem("VISA", f"PYVISA_LIBRARY={chosen}, and there is no backend {backend}", remedy)
