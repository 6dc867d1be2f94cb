"""One program, run with a VISA library here and through a daemon that has the same library: it sees the same.

Values, statuses, errors and warnings are compared, in their order. Two libraries: `@py` with a loopback instrument on
a socket, `@sim` with the demo bench. What is to be the same everywhere is compared with the standard in
test_as_the_standard.
"""

import contextlib
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import EventMechanism, EventType, ResourceAttribute, StatusCode

from tests.support.daemon import ROOT, Daemon
from tests.support.tcp_instrument import TcpInstrument

MULTIMETER, SUPPLY, SERIAL = "GPIB0::22::INSTR", "USB0::0x0957::0x0407::PS000407::0::INSTR", "ASRL1::INSTR"


class Log:
    """What a program saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """What `call` gives or raises, and the warnings meanwhile."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                outcome = call(*arguments, **options)
            except pyvisa.VisaIOError as error:
                outcome = ("VisaIOError", error.error_code)
            except Exception as error:
                outcome = (type(error).__name__, str(error))
        self.seen.append((outcome, [(warning.category.__name__, str(warning.message)) for warning in warned]))


PROGRAMS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {}


def program(*benches: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A function of (manager, resource's name, log), to be run on these benches."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        PROGRAMS[function.__name__] = (function, benches)
        return function

    return register


@program("py", "sim")
def queries(manager, name, log):
    """As most programs talk."""
    with manager.open_resource(name, read_termination="\n", write_termination="\n") as resource:
        log(resource.query, "*IDN?")
        log(resource.write, "*IDN?")
        log(resource.read)
        log(resource.write_raw, b"*IDN?\n")
        log(resource.read_raw)
        log(resource.query, "*IDN?", delay=0.01)
        log(resource.query_ascii_values, "*OPC?", converter="d")
        log(resource.write, "*IDN?", "\n", "ascii")
        log(resource.read, "\n", "ascii")
        log(resource.write, "é")
        log(resource.write, b"*IDN?")
        log(resource.write, "*IDN?\n")


@program("py", "sim")
def terminations(manager, name, log):
    """PyVISA's, of which the library knows the last character."""
    resource = manager.open_resource(name, timeout=300)
    for termination in ("\n", "\r\n", "", None, "ab", "aa", 5):
        log(setattr, resource, "read_termination", termination)
        log(lambda: resource.read_termination)
        log(resource.get_visa_attribute, ResourceAttribute.termchar_enabled)
    resource.read_termination = "\n"
    for termination in ("\n", "\r\n", None):
        log(setattr, resource, "write_termination", termination)
        log(lambda: resource.write_termination)
    resource.write_termination = "\n"
    log(resource.query, "*IDN?")
    resource.write("*IDN?")
    log(resource.read, termination="0\n")
    with resource.read_termination_context("1"):
        log(lambda: resource.read_termination)
    log(lambda: resource.read_termination)
    for name in ("end_input", "CR", "LF"):
        log(getattr, resource, name, "missing")
    resource.close()


@program("py", "sim")
def timeouts(manager, name, log):
    """None and infinity are VI_TMO_INFINITE, which reads as infinity."""
    with manager.open_resource(name) as resource:
        log(lambda: resource.timeout)
        for timeout in (None, 0, 1, 1.5, 2500, float("inf"), 4294967294, 4294967295, -1, "x", True):
            log(setattr, resource, "timeout", timeout)
            log(lambda: resource.timeout)
        log(delattr, resource, "timeout")
        log(lambda: resource.timeout)
        resource.timeout = 100
        log(resource.read)
    with manager.open_resource(name, timeout=1234, read_termination="\n", write_termination="\n") as resource:
        log(lambda: resource.timeout)
        log(resource.query, "*IDN?")


@program("py")
def binary_values(manager, name, log):
    """Blocks with every byte in them, the termination character too."""
    with manager.open_resource(name, read_termination="\n", write_termination="\n") as resource:
        for count in (0, 1, 10, 11, 300, 70_000):
            log(resource.query_binary_values, f"BLOCK? {count}", datatype="B", container=bytes)
        log(resource.query_binary_values, "BLOCK? 16", datatype="h", is_big_endian=True)
        log(resource.query_binary_values, "BLOCK? 16", datatype="h", chunk_size=5)
        log(resource.query_binary_values, "*IDN?", datatype="B")
        log(resource.write_binary_values, "LOAD ", range(1000), datatype="H")
        log(resource.query, "LOAD?")
        log(resource.write_ascii_values, "SET ", range(5))
        log(resource.query_ascii_values, "ECHO? 1,2,3.5")
        log(resource.query_ascii_values, "ECHO? a,b")


@program("py")
def bytes_read(manager, name, log):
    """Counts, chunks, and what ends a read."""
    with manager.open_resource(name, read_termination="\n", write_termination="\n", timeout=200) as resource:
        for options in (
            {},
            {"chunk_size": 3},
            {"break_on_termchar": True},
            {"break_on_termchar": True, "chunk_size": 2},
        ):
            resource.write("ECHO? 0123456789")
            log(resource.read_bytes, 4, **options)
            log(resource.read_bytes, 7, **options)
        resource.write("ECHO? short")
        log(resource.read_bytes, 100)
        resource.write("ECHO? short")
        log(resource.read_bytes, 100, break_on_termchar=True)
        resource.write("ECHO? " + "x" * 50_000)
        log(resource.read)
        resource.chunk_size = 7
        resource.write("ECHO? 0123456789")
        log(resource.read_raw)
        resource.write("ECHO? 0123456789")
        log(resource.read_raw, 3)


@program("py")
def statuses(manager, name, log):
    """`last_status` of session, manager and library after what succeeds, what is cut, what fails."""
    library = manager.visalib
    resource = manager.open_resource(name, read_termination="\n", write_termination="\n", timeout=100)

    def after(call, *arguments):
        log(call, *arguments)
        log(lambda: (resource.last_status, library.last_status))

    after(resource.write, "ECHO? 0123456789")
    after(library.read, resource.session, 4)
    after(library.read, resource.session, 100)
    after(library.read, resource.session, 100)
    after(resource.get_visa_attribute, ResourceAttribute.timeout_value)
    after(resource.get_visa_attribute, ResourceAttribute.asrl_baud_rate)
    after(resource.set_visa_attribute, ResourceAttribute.timeout_value, 200)
    after(resource.read_stb)
    resource.close()
    log(lambda: library.last_status)
    log(library.get_last_status_in_session, 4711)


@program("py")
def visa_warnings(manager, name, log):
    """VisaIOWarning for what `issue_warning_on` has, unless it is ignored."""
    library = manager.visalib
    log(lambda: {int(status) for status in library.issue_warning_on})
    resource = manager.open_resource(name, read_termination="\n", write_termination="\n")

    def read_in_two():
        resource.write("ECHO? 0123456789")
        return [library.read(resource.session, count) for count in (4, 100)]

    before = set(library.issue_warning_on)
    try:
        log(read_in_two)
        with resource.ignore_warning(StatusCode.success_max_count_read):
            log(read_in_two)
        with resource.ignore_warning(StatusCode.warning_unknown_status):
            log(read_in_two)
        with library.ignore_warning(resource.session, StatusCode.success_max_count_read):
            log(read_in_two)
        library.issue_warning_on.add(StatusCode.success_termination_character_read)
        log(read_in_two)
        with resource.ignore_warning(StatusCode.success_max_count_read, StatusCode.success_termination_character_read):
            log(read_in_two)
        library.issue_warning_on.clear()
        log(read_in_two)
    finally:
        library.issue_warning_on.clear()
        library.issue_warning_on.update(before)
    resource.close()


@program("sim")
def searches(manager, name, log):
    """VISA's expressions, as PyVISA takes them: of attributes it takes no notice."""
    log(manager.list_resources)
    for query in ("?*", "?*::INSTR", "GPIB?*", "gpib?*", "(GPIB|USB)?*", "?*22?*", "GPIB[0-9]*::?*", "", "["):
        log(manager.list_resources, query)
    for query in ("?*{VI_ATTR_INTF_NUM == 0}", "GPIB?*{VI_ATTR_MANF_ID == 1}", "?*{a}{b}"):
        log(manager.list_resources, query)
    log(manager.list_resources_info)
    log(manager.list_resources_info, "USB?*")
    log(lambda: manager.visalib.list_resources(manager.session, "?*"))


@program("py", "sim")
def resource_infos(manager, name, log):
    """Of names whole and shortened, and of what is none."""
    names = (
        name,
        "gpib::22",
        "ASRL1",
        "ASRL/dev/ttyUSB0::INSTR",
        "TCPIP::host::5025::SOCKET",
        "GPIB::INTFC",
        "nonsense",
    )
    for asked in (*names, "", "VICP", "GPIB", "USB::1"):
        log(manager.resource_info, asked)
        log(manager.resource_info, asked, extended=False)
    with manager.open_resource(name) as resource:
        log(lambda: resource.resource_info)


@program("py", "sim")
def texts(manager, name, log):
    """str and repr; the library's path is where a program finds what it asked for."""
    path = str(manager.visalib.library_path)
    resource = manager.open_resource(name)
    for thing in (manager, manager.visalib, resource):
        log(lambda thing=thing: str(thing).replace(path, "PATH"))
    log(lambda: repr(manager).replace(path, "PATH").replace(type(manager.visalib).__name__, "Library"))
    log(lambda: repr(resource))
    log(lambda: (type(resource).__name__, resource.resource_name, resource.resource_class, resource.interface_type))
    resource.close()
    log(lambda: str(resource))
    log(lambda: repr(resource))


@program("py", "sim")
def opens(manager, name, log):
    """With options, and with what is none."""
    log(lambda: manager.open_resource(name, open_timeout="soon"))
    log(lambda: manager.open_resource(name, foo=1))
    log(lambda: manager.open_resource(name, timeout=300, chunk_size=100, query_delay=0.0).close())
    log(lambda: manager.open_resource(name, open_timeout="100").close())
    log(lambda: manager.open_resource(name, open_timeout=100.9).close())
    log(lambda: manager.list_opened_resources())
    resource = manager.open_resource(name)
    log(lambda: [str(opened) for opened in manager.list_opened_resources()])
    session, status = manager.open_bare_resource(name)
    log(lambda: status)
    log(manager.visalib.close, session)
    resource.close()
    log(lambda: manager.list_opened_resources())


@program("py", "sim")
def closings(manager, name, log):
    """Twice, and then used."""
    resource = manager.open_resource(name)
    log(resource.close)
    log(resource.close)
    for use in (
        lambda: resource.session,
        lambda: resource.timeout,
        lambda: setattr(resource, "timeout", 1),
        lambda: resource.write("x"),
        lambda: resource.read(),
        lambda: resource.last_status,
        lambda: resource.resource_name,
        lambda: resource.clear(),
    ):
        log(use)
    log(lambda: resource.resource_info)
    with manager.open_resource(name) as resource:
        resource.close()
    log(lambda: resource.session)
    kept = manager.open_resource(name)
    manager.close()
    log(lambda: kept.session)
    log(lambda: manager.session)
    log(manager.close)
    log(manager.list_resources)


@program("py", "sim")
def event_leftovers(manager, name, log):
    """What a program does that switches off what was never on."""
    with manager.open_resource(name) as resource:
        log(resource.uninstall_handler, EventType.service_request, print)
        log(lambda: resource.visalib.uninstall_all_visa_handlers(resource.session))
        log(lambda: resource.disable_event(EventType.all_enabled, EventMechanism.all))
        log(lambda: resource.discard_events(EventType.all_enabled, EventMechanism.all))


@program("py", "sim")
def managers(manager, name, log):
    """One for each library; its session and the resource's attribute agree."""
    log(lambda: pyvisa.ResourceManager(manager.visalib) is manager)
    with manager.open_resource(name) as resource:
        log(lambda: resource.resource_manager is manager)
        log(lambda: resource.visalib is manager.visalib)
        log(lambda: resource in manager.list_opened_resources())
    log(lambda: manager.visalib.resource_manager is manager)


# The benches.


@pytest.fixture(scope="module")
def instrument():
    instrument = TcpInstrument()
    yield instrument
    instrument.switch_off()


@pytest.fixture(scope="module")
def daemons(tmp_path_factory):
    """One for each library; a simulated instrument is as if switched on for each program."""
    libraries = {"py": "@py", "sim": f"{ROOT}/demo_bench/bench.yaml@sim"}
    with contextlib.ExitStack() as stack:
        started = {}
        for bench, library in libraries.items():
            folder = tmp_path_factory.mktemp(bench) / "run"
            started[bench] = Daemon(folder, "--visa-library", library, "--linger", "0")
            stack.callback(started[bench].kill)
        yield started
        for daemon in started.values():
            daemon.end()


@pytest.fixture
def run(daemons, instrument, tmp_path):
    """Runs a program on a bench, here or through its daemon: what it saw."""

    def run(name: str, bench: str, *, is_local: bool) -> list[Any]:
        function, _ = PROGRAMS[name]
        if is_local:
            shutil.copy(ROOT / "demo_bench" / "bench.yaml", tmp_path / "bench.yaml")
            library = {"py": "@py", "sim": f"{tmp_path / 'bench.yaml'}@sim"}[bench]
        else:
            library = f"{daemons[bench].address}@daemon"
        manager = pyvisa.ResourceManager(library)
        log = Log()
        try:
            function(manager, {"py": instrument.resource, "sim": MULTIMETER}[bench], log)
        finally:
            manager.close()
        return log.seen

    return run


@pytest.mark.parametrize(
    ("name", "bench"), [(name, bench) for name, (_, benches) in PROGRAMS.items() for bench in benches]
)
def test_program_sees_the_same_through_a_daemon(run, name, bench):
    """Step by step."""
    local, through_daemon = run(name, bench, is_local=True), run(name, bench, is_local=False)
    assert len(local) > 3
    assert through_daemon == local
