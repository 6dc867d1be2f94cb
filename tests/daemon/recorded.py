"""What the recording library (backends/pyvisa_recorder) wrote down, and the names of its resources."""

import json
from enum import Enum
from pathlib import Path
from typing import Any

from pyvisa import constants

GPIB, INTERFACE, SERIAL = "GPIB0::8::INSTR", "GPIB0::INTFC", "ASRL1::INSTR"
USB, VXI, PXI = "USB0::0x1234::0x5678::SN1::0::INSTR", "VXI0::24::INSTR", "PXI0::3::INSTR"
VXI11, SOCKET = "TCPIP0::recorder::inst0::INSTR", "TCPIP0::recorder::5025::SOCKET"


def typed(*values: Any) -> Any:
    """`values` with their types, so that True is not 1 and an enum's member not its number."""
    return [
        (type(value).__name__, typed(*value)) if isinstance(value, list | tuple) else (type(value).__name__, value)
        for value in values
    ]


def _restored(argument: Any) -> Any:
    """What was given, from how it stands in the record."""
    if not isinstance(argument, dict):
        return argument
    [(kind, value)] = argument.items()
    if kind in ("bytes", "bytearray"):
        return {"bytes": bytes, "bytearray": bytearray}[kind].fromhex(value)
    enum: type[Enum] = getattr(constants, kind)
    return enum(value)


class Record:
    """The file that all processes of the library append to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._start = 0

    def forget(self) -> None:
        """What is there already is of no interest."""
        self._start = self.path.stat().st_size

    def calls(self, resource: str, *methods: str) -> list[Any]:
        """The calls since, for one resource: method and arguments, with types; of these methods only, if any."""
        with self.path.open() as file:
            file.seek(self._start)
            rows = [json.loads(line) for line in file]
        return [
            typed(row["method"], *map(_restored, row["arguments"]))
            for row in rows
            if row["resource"] == resource and (not methods or row["method"] in methods)
        ]

    def functions(self, resource: str) -> list[Any]:
        """The calls since that are not about attributes."""
        return [call for call in self.calls(resource) if call[0][1] not in ("get_attribute", "set_attribute")]
