"""Where pyvisa-py and pyvisa-sim fall short of VPP-4.3, a program sees through a daemon what a vendor's VISA shows it.

What the libraries do get right is compared with them in test_as_local.
"""

import subprocess
import sys

import pytest
import pyvisa
from pyvisa import attributes
from pyvisa.constants import (
    VI_ATTR_RM_SESSION,
    VI_ATTR_USER_DATA,
    VI_LOAD_CONFIG,
    AccessModes,
    ResourceAttribute,
    StatusCode,
)

from pyvisa_daemon.version import __version__
from tests.support.daemon import ROOT, Daemon
from tests.support.tcp_instrument import TcpInstrument
from tests.support.waiting import DEADLINE

MULTIMETER, SUPPLY, SERIAL = "GPIB0::22::INSTR", "USB0::0x0957::0x0407::PS000407::0::INSTR", "ASRL1::INSTR"
BENCH = f"{ROOT}/demo_bench/bench.yaml@sim"


#: Names behind which there is nothing.
NO_HOST, NO_PORT = "TCPIP0::no-such-host.invalid::inst0::INSTR", "TCPIP0::127.0.0.1::1::SOCKET"


@pytest.fixture(scope="module")
def instrument():
    instrument = TcpInstrument()
    yield instrument
    instrument.switch_off()


@pytest.fixture(scope="module")
def daemon(instrument, tmp_path_factory):
    """Simulated instruments, and pyvisa-py for three names; with a pattern it would search the network."""
    folder = tmp_path_factory.mktemp("standard")
    rows = [f'[[resource]]\nmatch = "{name}"\nlibrary = "@py"\n' for name in (instrument.resource, NO_HOST, NO_PORT)]
    rows.append(f'[[resource]]\nmatch = "{MULTIMETER}"\nname = "dmm"\n')
    (folder / "daemon.toml").write_text(f'visa-library = "{BENCH}"\n{"".join(rows)}')
    daemon = Daemon(folder / "run", "--config", str(folder / "daemon.toml"))
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()


@pytest.fixture
def manager(daemon):
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    yield manager
    manager.close()


@pytest.fixture
def neighbour(daemon):
    """Another program, with a connection of its own."""
    manager = pyvisa.ResourceManager(f"localhost:{daemon.port}@daemon")
    yield manager
    manager.close()


def failure(call, *arguments):
    with pytest.raises(pyvisa.VisaIOError) as raised:
        call(*arguments)
    return raised.value.error_code


# Opening.


def test_manager_has_a_last_status_from_the_beginning(manager):
    """That of viOpenDefaultRM."""
    assert manager.last_status == StatusCode.success


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("GPIB0::7::INSTR", StatusCode.error_resource_not_found),
        ("nonsense", StatusCode.error_invalid_resource_name),
        (NO_HOST, StatusCode.error_resource_not_found),
        (NO_PORT, StatusCode.error_resource_not_found),
    ],
)
def test_resource_that_cannot_be_opened_is_refused_at_once(manager, name, status):
    """Not with the first write; and the manager knows."""
    assert failure(manager.open_resource, name) == status
    assert manager.last_status == status


def test_search_without_success_is_an_empty_tuple(manager):
    """As PyVISA has it for a vendor's VISA."""
    assert manager.list_resources("VXI?*") == ()
    assert manager.list_resources_info("VXI?*") == {}


def test_alias_is_told_by_resource_info(manager):
    """It opens by it too, in PyVISA's class for it."""
    info = manager.resource_info("dmm")
    assert (info.alias, info.resource_name, info.resource_class) == ("dmm", MULTIMETER, "INSTR")
    with manager.open_resource("dmm") as dmm:
        assert isinstance(dmm, pyvisa.resources.GPIBInstrument)
        assert dmm.resource_info.resource_name == MULTIMETER


def test_aliases_are_told_with_what_a_search_found(manager):
    """By list_resources_info, and for a name as for an alias from then on."""
    info = manager.list_resources_info()
    assert info[MULTIMETER].alias == "dmm"
    assert {name: each.alias for name, each in info.items() if name != MULTIMETER and each.alias} == {}
    assert manager.resource_info(MULTIMETER).alias == "dmm"


# Access modes.


def test_exclusive_lock_at_open_keeps_others_out(manager, neighbour):
    """They may open, and read attributes; their I/O is refused until the lock is given back."""
    mine = manager.open_resource(MULTIMETER, AccessModes.exclusive_lock)
    other = neighbour.open_resource(MULTIMETER)
    assert mine.lock_state == other.lock_state == AccessModes.exclusive_lock
    assert mine.query("*IDN?").startswith("DEMO BENCH")
    for call in (other.read_stb, other.clear, lambda: other.write("*CLS"), lambda: other.query("*IDN?"), other.read):
        assert failure(call) == other.last_status == StatusCode.error_resource_locked
    other.timeout = 3000
    assert other.timeout == 3000
    mine.unlock()
    assert other.query("*IDN?").startswith("DEMO BENCH")
    mine.close()
    other.close()


def test_lock_at_open_waits_for_as_long_as_open_timeout_says(manager, neighbour):
    """Then there is no session; once the lock is given back there is."""
    mine = manager.open_resource(MULTIMETER, AccessModes.exclusive_lock)
    assert failure(neighbour.open_resource, MULTIMETER, AccessModes.exclusive_lock) == StatusCode.error_resource_locked
    assert failure(neighbour.open_resource, MULTIMETER, AccessModes.exclusive_lock, 50) == StatusCode.error_timeout
    assert neighbour.list_opened_resources() == []
    mine.close()
    with neighbour.open_resource(MULTIMETER, AccessModes.exclusive_lock, 10_000) as other:
        assert other.lock_state == AccessModes.exclusive_lock


def test_shared_lock_at_open_keeps_others_out_too(manager, neighbour):
    """It has a key of its own making, which nobody else has."""
    with manager.open_resource(MULTIMETER, AccessModes.shared_lock) as mine:
        other = neighbour.open_resource(MULTIMETER)
        assert mine.lock_state == other.lock_state == AccessModes.shared_lock
        assert mine.query("*IDN?").startswith("DEMO BENCH")
        assert failure(other.read_stb) == StatusCode.error_resource_locked
        key = mine.lock(0)
        assert mine.last_status == StatusCode.success_nested_shared
        assert other.lock(0, key) == key
        other.read_stb()
    other.close()


def test_request_for_a_configuration_is_accepted(manager):
    """VI_LOAD_CONFIG: there is none here."""
    manager.open_resource(MULTIMETER, VI_LOAD_CONFIG).close()
    with manager.open_resource(MULTIMETER, VI_LOAD_CONFIG | AccessModes.exclusive_lock) as mine:
        assert mine.lock_state == AccessModes.exclusive_lock


@pytest.mark.parametrize("mode", [3, 8, -1])
def test_access_mode_that_is_none_is_refused(manager, mode):
    """Both locks at once, and bits that VISA does not have."""
    assert failure(manager.open_resource, MULTIMETER, mode) == StatusCode.error_invalid_access_mode


def test_lock_context_and_keys(manager, neighbour):
    """PyVISA's own ways to lock."""
    mine, other = manager.open_resource(MULTIMETER), neighbour.open_resource(MULTIMETER)
    with mine.lock_context(0) as key:
        assert key is None
        assert failure(other.lock_excl, 0) == StatusCode.error_resource_locked
        assert failure(other.lock_excl, 50) == StatusCode.error_timeout
    with mine.lock_context(0, None) as key, other.lock_context(0, key):
        assert mine.lock_state == AccessModes.shared_lock
        assert failure(mine.lock, 0, "another") == StatusCode.error_invalid_access_key
    assert mine.lock_state == AccessModes.no_lock
    assert failure(mine.unlock) == StatusCode.error_session_not_locked
    mine.close()
    other.close()


def test_lock_ends_with_its_session(manager, neighbour):
    """Whoever closes without unlocking keeps nobody out."""
    manager.open_resource(MULTIMETER, AccessModes.exclusive_lock).close()
    with neighbour.open_resource(MULTIMETER, AccessModes.exclusive_lock):
        pass


# After the end.


def test_session_that_is_closed_is_an_invalid_object(manager):
    """At the library, where PyVISA's own check does not stand before it."""
    resource = manager.open_resource(MULTIMETER)
    library, session = manager.visalib, resource.session
    resource.close()
    for call in (
        lambda: library.write(session, b"x"),
        lambda: library.read(session, 1),
        lambda: library.clear(session),
        lambda: library.get_attribute(session, ResourceAttribute.timeout_value),
        lambda: library.set_attribute(session, ResourceAttribute.timeout_value, 1),
        lambda: library.lock(session, 1, 0),
        lambda: library.unlock(session),
        lambda: library.close(session),
        lambda: library.list_resources(session),
        lambda: library.open(session, MULTIMETER),
    ):
        assert failure(call) == StatusCode.error_invalid_object


# Attributes.

_ABSENT = StatusCode.error_nonsupported_attribute

SOCKET = "the loopback instrument"

#: Where a daemon's answer is another than the library's, which is a vendor's VISA's.
DIFFERENT = {
    SOCKET: {
        "VI_ATTR_TCPIP_NODELAY": True,  # Nagle's algorithm would cost 40 ms a query
        "VI_ATTR_FILE_APPEND_EN": False,
        "VI_ATTR_IO_PROT": 1,
        "VI_ATTR_MAX_QUEUE_LENGTH": 50,
        "VI_ATTR_RSRC_LOCK_STATE": 0,
        "VI_ATTR_USER_DATA": 0,
    },
    MULTIMETER: {"VI_ATTR_TERMCHAR": 10},  # pyvisa-sim has the board's number
    SUPPLY: {"VI_ATTR_MANF_ID": 0x0957, "VI_ATTR_MODEL_CODE": 0x0407},  # which pyvisa-sim has as text
    SERIAL: {},
}


def states(manager, name):
    """All attributes that PyVISA has for such a resource, and their states."""
    with manager.open_resource(name) as resource:
        found = {}
        for attribute in resource.visa_attributes_classes:
            try:
                state = resource.get_visa_attribute(attribute.attribute_id)
            except pyvisa.VisaIOError as error:
                state = error.error_code
            # pyvisa-sim's way to say that it has no such thing
            found[attribute.visa_name] = _ABSENT if state is attributes.NotAvailable else state
    del found["VI_ATTR_RM_SESSION"]  # whatever number each has
    return found


@pytest.mark.parametrize("name", DIFFERENT)
def test_attributes_are_those_of_the_library(manager, instrument, name):
    """One by one, but for those where it is wrong or lacks what every session has."""
    resource = instrument.resource if name == SOCKET else name
    local = pyvisa.ResourceManager("@py" if name == SOCKET else BENCH)
    here, there = states(local, resource), states(manager, resource)
    local.close()
    assert {attribute: state for attribute, state in there.items() if state != here[attribute]} == DIFFERENT[name]
    assert there["VI_ATTR_RSRC_NAME"] == resource


def test_manager_s_session_is_an_attribute(manager):
    """VI_ATTR_RM_SESSION is the number that the program knows."""
    with manager.open_resource(MULTIMETER) as resource:
        assert resource.get_visa_attribute(VI_ATTR_RM_SESSION) == manager.session


def test_user_data_is_each_session_s_own(manager):
    """VI_ATTR_USER_DATA never leaves the program."""
    one, two = manager.open_resource(MULTIMETER), manager.open_resource(MULTIMETER)
    one.set_visa_attribute(VI_ATTR_USER_DATA, 4711)
    assert [resource.get_visa_attribute(VI_ATTR_USER_DATA) for resource in (one, two)] == [4711, 0]
    one.close()
    two.close()


# pyvisa-info.


def test_pyvisa_info_lists_the_backend():
    """With its version, and without a daemon; what it says of the others stays."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "from pyvisa.cmd_line_tools import visa_info; visa_info()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, _, backends = done.stdout.partition("Backends:\n")
    sections = {}
    for line in backends.splitlines():
        if line.startswith("   ") and not line.startswith("    "):
            name = line.strip(" :")
            sections[name] = []
        else:
            sections[name].append(line.strip())
    assert {"ivi", "py", "sim", "daemon"} <= sections.keys()
    assert f"Version: {__version__}" in sections["daemon"]
    assert any(line.startswith("Known hosts: ") for line in sections["daemon"])
    assert any(line.startswith("Version: ") for line in sections["py"])


def test_backend_is_listed_by_pyvisa():
    """So `ResourceManager("@daemon")` is what it says in error messages."""
    assert "daemon" in pyvisa.highlevel.list_backends()
