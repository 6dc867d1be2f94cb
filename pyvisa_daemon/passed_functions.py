"""The VISA functions that only pass through, made from `functions.FUNCTIONS`.

Runs in the user's process, under `highlevel`.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any

from pyvisa.highlevel import VisaLibraryBase

from pyvisa_daemon import wire
from pyvisa_daemon.functions import FUNCTIONS, Argument, Function
from pyvisa_daemon.opened import SessionLibrary


def _whole_numbers(values: Any) -> list[int]:
    return [operator.index(value) for value in values]


#: What a program may give for a parameter of that kind -> what travels. Raises TypeError for anything else.
_PLAIN: dict[str, Callable[[Any], Argument]] = {
    "bool": bool,
    "bytes": lambda data: bytes(memoryview(data)),
    "ints": _whole_numbers,
    "int or None": lambda value: None if value is None else operator.index(value),
    "None": lambda value: value,
}


class PassedFunctions(SessionLibrary):
    """Methods of `VisaLibraryBase`, one for each row, with its signature; each raises TypeError for arguments that
    VISA could not take, and `refusals.DaemonIOError`."""


def _method(function: Function) -> Callable[..., Any]:
    kinds = [_PLAIN.get(parameter.kind, operator.index) for parameter in function.parameters]

    def method(self: SessionLibrary, session: int, *given: Any, **named: Any) -> Any:
        if named or len(given) != len(kinds):
            bound = inspect.signature(getattr(VisaLibraryBase, function.name)).bind(self, session, *given, **named)
            bound.apply_defaults()
            _, session, *given = bound.args  # type: ignore[assignment] # a list does as well as a tuple
        arguments = [plain(value) for plain, value in zip(kinds, given, strict=True)]
        reply, status = self._ask(session, wire.Call, function.name, arguments)
        if not function.gives:
            return status
        return (reply.data if function.gives == "bytes" else reply.value), status

    method.__name__, method.__doc__ = function.name, f"{function.visa}."
    return method


for _function in FUNCTIONS.values():
    setattr(PassedFunctions, _function.name, _method(_function))
