"""What a child's library lacks comes back as the status that VISA has for it, with no effect and no traceback.

Two libraries: pyvisa-py on a socket, where it has little, and the simulated instruments' on a serial line.
"""

import pytest
import pyvisa
from pyvisa.constants import BufferOperation, EventMechanism, EventType, StatusCode

from pyvisa_daemon.errors import Effect
from pyvisa_daemon.functions import FUNCTIONS
from tests.support.daemon import ROOT, Daemon
from tests.support.tcp_instrument import TcpInstrument

LIBRARIES = ["@py", "@sim"]

#: What is done though a library lacks it: there is nothing in buffers that do not exist, and emptying is a clear.
MENDED = {"clear", "flush"}

LACKING = {
    "@py": [name for name in FUNCTIONS if name not in {*MENDED, "buffer_read", "buffer_write"}],
    "@sim": [name for name in FUNCTIONS if name not in MENDED],
}

#: An argument that is fit for a parameter of that kind; 0 for an enum's.
FIT = {"bool": False, "bytes": b"x", "ints": [1], "int or None": None, "None": None}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Both libraries in one daemon."""
    folder = tmp_path_factory.mktemp("lacking")
    (folder / "daemon.toml").write_text(
        f'visa-library = "@py"\n[[resource]]\nmatch = "ASRL*"\nlibrary = "{ROOT}/demo_bench/bench.yaml@sim"\n'
    )
    daemon = Daemon(folder / "run", "--config", str(folder / "daemon.toml"))
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()


@pytest.fixture(scope="module")
def resources(daemon):
    """One of each library."""
    instrument = TcpInstrument()
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    yield {
        "@py": manager.open_resource(instrument.resource, read_termination="\n"),
        "@sim": manager.open_resource("ASRL1::INSTR", read_termination="\n"),
    }
    manager.close()
    instrument.switch_off()


def call(resource, name):
    arguments = [FIT.get(parameter.kind, 0) for parameter in FUNCTIONS[name].parameters]
    return getattr(resource.visalib, name)(resource.session, *arguments)


@pytest.mark.parametrize(("library", "name"), [(library, name) for library in LIBRARIES for name in LACKING[library]])
def test_function_that_the_library_lacks_is_not_supported(resources, library, name):
    """VI_ERROR_NSUP_OPER: nothing of it reached the instrument."""
    resource = resources[library]
    with pytest.raises(pyvisa.VisaIOError) as raised:
        call(resource, name)
    assert raised.value.error_code == StatusCode.error_nonsupported_operation
    assert raised.value.effect is Effect.NONE
    assert resource.last_status == StatusCode.error_nonsupported_operation


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_mended_is_done(resources, library):
    """Where the library lacks it."""
    resource = resources[library]
    resource.clear()
    resource.flush(BufferOperation.discard_read_buffer)
    assert resource.last_status == StatusCode.success


@pytest.mark.parametrize("event", [event for event in EventType if event not in (EventType.io_completion, 0x3FFF7FFF)])
@pytest.mark.parametrize("library", LIBRARIES)
def test_event_that_the_library_lacks_is_invalid(resources, library, event):
    """VI_ERROR_INV_EVENT, by both mechanisms; then nothing waits for it."""
    resource = resources[library]
    resource.install_handler(event, print)
    for mechanism in (EventMechanism.queue, EventMechanism.handler):
        with pytest.raises(pyvisa.VisaIOError) as raised:
            resource.enable_event(event, mechanism)
        assert raised.value.error_code == resource.last_status == StatusCode.error_invalid_event
        assert raised.value.effect is Effect.NONE
    with pytest.raises(pyvisa.VisaIOError) as raised:
        resource.wait_on_event(event, 0)
    assert raised.value.error_code == StatusCode.error_not_enabled
    resource.uninstall_handler(event, print)


def test_all_goes_on_without_a_trace(resources, daemon):
    """In the log, and on stderr; each instrument answers in the process that it had."""
    for resource in resources.values():
        assert "," in resource.query("*IDN?")
    assert [row["generation"] for row in daemon.status()["resources"]] == [1, 1]
    log = daemon.run_dir / "daemon.log"
    assert "Traceback" not in daemon.stderr + (log.read_text() if log.exists() else "")
