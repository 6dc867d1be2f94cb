"""Which VISA functions there are, who does them, which library has them: the tables of explanation/compliance.md.

The functions are those of PyVISA's `VisaLibraryBase`. What a library has is asked of the library itself, as it was
released: other releases leave the columns as they stand (see RELEASES). A test names the ones that are missing here.

To add a function: its row in `pyvisa_daemon.functions`, or in OWN or LOCAL below, with the test that shows it.
"""

import ast
import importlib.util
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from pyvisa.ctwrapper import functions as ivi
from pyvisa.highlevel import VisaLibraryBase

from pyvisa_daemon.functions import FUNCTIONS

#: What the columns were asked of. With other releases the page keeps its words.
RELEASES = {"pyvisa": "1.16.2", "pyvisa-py": "0.8.1", "pyvisa-sim": "0.7.1"}

Row = tuple[str | None, ...]

#: In tests/daemon.
PASSED_TEST = "test_every_function.py::test_function_arrives"


class Own(NamedTuple):
    """A function with code of its own. `asked`: the one that the child's library is asked for, if any."""

    visa: str
    what: str
    asked: str
    test: str


_SESSION, _EVENT = "test_own_functions.py::", "test_event_functions.py::"

OWN: dict[str, Own] = {
    "open_default_resource_manager": Own(
        "viOpenDefaultRM", "connects to the daemon", "", _SESSION + "test_open_default_resource_manager"
    ),
    "open": Own("viOpen", "in the library with the first session of all", "open", _SESSION + "test_open"),
    "close": Own("viClose", "in the library after the last session of all", "close", _SESSION + "test_close"),
    "list_resources": Own(
        "viFindRsrc",
        "all that libraries find and that is configured; filtered in the program",
        "list_resources",
        _SESSION + "test_list_resources",
    ),
    "parse_resource_extended": Own(
        "viParseRsrcEx",
        "PyVISA's parsing in the program; what that cannot parse: aliases, then the library",
        "parse_resource_extended",
        _SESSION + "test_parse_resource_extended",
    ),
    "write": Own("viWrite", "as it is; does not wait if it has a `?`", "write", _SESSION + "test_write"),
    "read": Own("viRead", "as it is, 256 KiB at a time", "read", _SESSION + "test_read"),
    "write_from_file": Own(
        "viWriteFromFile", "a file of the program's, in one message", "write", _SESSION + "test_write_from_file"
    ),
    "read_to_file": Own("viReadToFile", "into a file of the program's", "read", _SESSION + "test_read_to_file"),
    "get_attribute": Own(
        "viGetAttribute",
        "as it is, but for the attributes that [are not the library's](#attributes)",
        "get_attribute",
        _SESSION + "test_get_attribute",
    ),
    "set_attribute": Own(
        "viSetAttribute", "as it is; local ones for this session only", "set_attribute", _SESSION + "test_set_attribute"
    ),
    "lock": Own("viLock", "in the daemon, across all clients", "", _SESSION + "test_lock"),
    "unlock": Own("viUnlock", "in the daemon", "", _SESSION + "test_unlock"),
    "enable_event": Own(
        "viEnableEvent",
        "once for all sessions and mechanisms; else polls of the status byte",
        "enable_event",
        _EVENT + "test_enable_event",
    ),
    "disable_event": Own(
        "viDisableEvent", "in the library after the last session", "disable_event", _EVENT + "test_disable_event"
    ),
    "discard_events": Own("viDiscardEvents", "of the program's own queues", "", _EVENT + "test_discard_events"),
    "wait_on_event": Own("viWaitOnEvent", "on the program's own queue", "", _EVENT + "test_wait_on_event"),
    "install_handler": Own(
        "viInstallHandler",
        "in the program; the child installs its own, which tells the daemon",
        "install_handler",
        _EVENT + "test_install_handler",
    ),
    "uninstall_handler": Own(
        "viUninstallHandler", "in the program", "uninstall_handler", _EVENT + "test_uninstall_handler"
    ),
    "read_asynchronously": Own(
        "viReadAsync", "a viRead; its end is an event in the program", "read", _EVENT + "test_read_asynchronously"
    ),
    "write_asynchronously": Own(
        "viWriteAsync", "a viWrite; its end is an event in the program", "write", _EVENT + "test_write_asynchronously"
    ),
    "move_asynchronously": Own(
        "viMoveAsync", "a viMove; its end is an event in the program", "move", _EVENT + "test_move_asynchronously"
    ),
    "terminate": Own(
        "viTerminate", "what has not begun does not begin; what has begun goes on", "", _EVENT + "test_terminate"
    ),
}

#: Functions that stay in the program: why, and the test.
LOCAL: dict[str, tuple[str, str]] = {
    "parse_resource": ("is `parse_resource_extended` with less", _SESSION + "test_parse_resource"),
    "status_description": ("PyVISA has the words", _SESSION + "test_status_description"),
    "get_buffer_from_id": ("the buffer is the program's", _EVENT + "test_get_buffer_from_id"),
    "get_library_paths": (
        "a bare `@daemon` looks for the known hosts",
        "test_as_the_standard.py::test_backend_is_listed_by_pyvisa",
    ),
    "get_debug_info": (
        "version and known hosts, for `pyvisa-info`",
        "test_as_the_standard.py::test_pyvisa_info_lists_the_backend",
    ),
    "handle_return_value": (
        "PyVISA judges the status that came over the wire",
        "test_every_function.py::test_failure_of_the_library_reaches_the_program",
    ),
    "get_last_status_in_session": (
        "PyVISA's record of those",
        "test_as_local.py::test_program_sees_the_same_through_a_daemon[statuses-py]",
    ),
    "ignore_warning": (
        "PyVISA's record",
        "test_as_local.py::test_program_sees_the_same_through_a_daemon[visa_warnings-py]",
    ),
    "install_visa_handler": ("PyVISA's list of handlers", _EVENT + "test_install_handler"),
    "uninstall_visa_handler": ("PyVISA's list of handlers", _EVENT + "test_uninstall_handler"),
    "uninstall_all_visa_handlers": ("PyVISA's list of handlers", _EVENT + "test_uninstall_handler"),
    **dict.fromkeys(
        ("read_memory", "write_memory", "move_in", "move_out", "peek", "poke"),
        ("PyVISA chooses the function by its width", _SESSION + "test_widths_are_chosen_by_pyvisa"),
    ),
}


def public_functions() -> set[str]:
    """Every method of PyVISA's base that a program or a resource class may call."""
    return {
        name for name in vars(VisaLibraryBase) if not name.startswith("_") and callable(getattr(VisaLibraryBase, name))
    }


# What libraries have.


#: pyvisa-py's session classes in VISA's words; one that is not here goes by its own name.
_SESSIONS = {
    "GPIBSession": "GPIB INSTR",
    "GPIBInterface": "GPIB INTFC",
    "PrologixInstrSession": "GPIB INSTR (Prologix)",
    "PrologixTCPIPIntfcSession": "PRLGX-TCPIP INTFC",
    "PrologixASRLIntfcSession": "PRLGX-ASRL INTFC",
    "SerialSession": "ASRL INSTR",
    "TCPIPInstrVxi11": "TCPIP INSTR (VXI-11)",
    "TCPIPInstrHiSLIP": "TCPIP INSTR (HiSLIP)",
    "TCPIPInstrVicp": "VICP INSTR",
    "TCPIPSocketSession": "TCPIP SOCKET",
    "USBInstrSession": "USB INSTR",
    "USBRawSession": "USB RAW",
}

#: They only choose another class, or stand for one that cannot be had.
_NO_SESSIONS = {"GPIBSessionDispatch", "TCPIPInstrSession", "UnavailableSession"}

_REFUSALS = ("raise NotImplementedError", "error_nonsupported_operation", "error_nonimplemented_operation")


def _refuses(method: ast.FunctionDef) -> bool:
    """Is a refusal all that it does? By its last statement."""
    return any(refusal in ast.unparse(method.body[-1]) for refusal in _REFUSALS)


class _PyvisaPy:
    """pyvisa-py's sources: an import would miss the interfaces whose drivers are not installed here."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("pyvisa_py")
        assert spec is not None, "it is a dependency of ours"
        assert spec.origin is not None, "it is no namespace package"
        trees = [ast.parse(path.read_text("utf-8")) for path in sorted(Path(spec.origin).parent.glob("*.py"))]
        self._classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self._library = {
            node.name
            for node in self._classes["PyVisaLibrary"].body
            if isinstance(node, ast.FunctionDef) and not _refuses(node)
        }
        self._refused = {
            node.name for node in self._classes["Session"].body if isinstance(node, ast.FunctionDef) and _refuses(node)
        }

    def _methods(self, name: str) -> set[str]:
        return {node.name for node in self._classes[name].body if isinstance(node, ast.FunctionDef)}

    def _bases(self, name: str) -> list[str]:
        """All classes above, of this package."""
        bases = [base.id for base in self._classes[name].bases if isinstance(base, ast.Name)]
        known = [base for base in bases if base in self._classes]
        return known + [above for base in known for above in self._bases(base)]

    def has(self, method: str) -> str:
        """For which sessions it has such a method: a table's cell."""
        if method not in self._library:
            return "no"
        if method not in self._refused:
            return "yes"
        sessions = [
            name
            for name in self._classes
            if "Session" in self._bases(name) and not name.startswith("_") and name not in _NO_SESSIONS
        ]
        able = {
            name
            for name in sessions
            if any(method in self._methods(above) for above in (name, *self._bases(name)) if above != "Session")
        }
        if able == set(sessions):
            return "yes"
        return ", ".join(sorted(_SESSIONS.get(name, name) for name in able)) or "no"


@cache
def _pyvisa_py() -> _PyvisaPy:
    return _PyvisaPy()


def _sim_has(method: str) -> str:
    from pyvisa_sim.highlevel import SimVisaLibrary

    from instrument_proc.simulated import SimulatedLibrary

    if getattr(SimulatedLibrary, method) is getattr(VisaLibraryBase, method):
        return "no"
    is_ours, is_theirs = method in vars(SimulatedLibrary), method in vars(SimVisaLibrary)
    return {(True, True): "yes, mended", (True, False): "added", (False, True): "yes"}[is_ours, is_theirs]


def _ivi_has(method: str) -> str:
    return "yes" if method in ivi.visa_functions or method == "list_resources" else "no"


def _is_as_asked(name: str) -> bool:
    return metadata.version(name) == RELEASES[name]


def _library_cells(method: str) -> Row:
    """`@ivi`, `@py` and `@sim`; None where another release is installed."""
    if not method:
        return ("not asked",) * 3
    return (
        _ivi_has(method) if _is_as_asked("pyvisa") else None,
        _pyvisa_py().has(method) if _is_as_asked("pyvisa-py") else None,
        _sim_has(method) if _is_as_asked("pyvisa-sim") else None,
    )


# The tables: heads and rows.


LIBRARY_HEADS = ("`@ivi`", "`@py`", "`@sim`")


def passed_rows() -> list[Row]:
    """Functions that go through as they are."""
    return [
        (f"`{row.name}`", row.visa, *_library_cells(row.name), f"`{PASSED_TEST}[{row.name}]`")
        for row in FUNCTIONS.values()
    ]


def own_rows() -> list[Row]:
    """Functions with code of their own."""
    return [(f"`{name}`", row.visa, row.what, *_library_cells(row.asked), f"`{row.test}`") for name, row in OWN.items()]


def local_rows() -> list[Row]:
    """Functions that never leave the program."""
    return [(f"`{name}`", reason, f"`{test}`") for name, (reason, test) in LOCAL.items()]
