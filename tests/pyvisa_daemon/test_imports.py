"""What the front imports from here is light; what PyVISA imports is there by name."""

import subprocess
import sys

import pytest

LIGHT = ("wire", "framing", "errors", "functions", "program_message", "version", "audit_chain")

#: The client side below `highlevel`: of use to a program without PyVISA too.
BELOW_PYVISA = ("channel", "exchange", "inbox", "sockets", "events", "hosts", "tls", "tls_channel", "tls_stream")


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a new interpreter has loaded after `statement`."""
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(said.stdout.split())


@pytest.mark.parametrize("module", [*LIGHT, *BELOW_PYVISA])
def test_module_leaves_pyvisa_alone_when_imported(module: str) -> None:
    """The front and its clients speak our languages without loading PyVISA, or anything as heavy."""
    loaded = loaded_by(f"import pyvisa_daemon.{module}")
    assert not loaded & {"pyvisa", "pyvisa_py", "pyvisa_sim", "numpy", "asyncio", "ctypes"}


@pytest.mark.parametrize("module", LIGHT)
def test_module_opens_no_socket_when_the_front_imports_it(module: str) -> None:
    """Languages and tables: no I/O of their own, so none is loaded."""
    assert not loaded_by(f"import pyvisa_daemon.{module}") & {"socket", "select", "threading", "subprocess"}


def test_front_loads_no_pyvisa_when_imported() -> None:
    """The front as a whole: none of its modules takes the wrong one from here."""
    assert "pyvisa" not in loaded_by(
        "import front_proc.languages.wire_conversation, front_proc.command, front_proc.front"
    )


def test_backend_loads_pyvisa_when_asked_for_its_wrapper_only() -> None:
    """PyVISA finds the room by its name and asks for WRAPPER_CLASS; `import pyvisa_daemon` alone costs nothing."""
    assert "pyvisa" not in loaded_by("import pyvisa_daemon")
    assert "pyvisa" in loaded_by("from pyvisa_daemon import WRAPPER_CLASS")


def test_backend_loads_no_server_when_used() -> None:
    """A user's machine has no use for the daemon's rooms and what they need."""
    loaded = loaded_by("from pyvisa_daemon import WRAPPER_CLASS")
    assert not loaded & {"front_proc", "instrument_proc", "client", "structlog", "psutil", "click", "platformdirs"}
