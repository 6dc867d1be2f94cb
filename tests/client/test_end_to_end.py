"""Programs on a real daemon: the original's examples, stock PyVISA, sharing, blocks, loss and return.

`daemon` serves the demo bench; `lan` serves what pyvisa-py reaches, here `instrument`, which tells what it executed.
"""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import pyvisa
from pyvisa.constants import StatusCode
from pyvisa.resources import GPIBInstrument, MessageBasedResource, TCPIPSocket

import client as visa
from client import TCPVisaSocket
from tests.support.daemon import Daemon
from tests.support.instrument import ramp
from tests.support.tcp_instrument import TcpInstrument
from tests.support.waiting import DEADLINE, wait_until

MULTIMETER = "GPIB0::22::INSTR"


@pytest.fixture
def lan(daemon_factory: Callable[..., Daemon]) -> Daemon:
    """A daemon with the default library, pyvisa-py."""
    return daemon_factory()


@pytest.fixture(autouse=True)
def known_daemon(request: pytest.FixtureRequest) -> None:
    """The daemon, if the test has one, is the one known host."""
    for name in {"daemon", "lan"} & set(request.fixturenames):
        visa.tryIps = [request.getfixturevalue(name).address]


def open_message_based(manager: pyvisa.ResourceManager, name: str) -> MessageBasedResource:
    resource = manager.open_resource(name, read_termination="\n", write_termination="\n")
    assert isinstance(resource, MessageBasedResource)
    return resource


def test_first_example_runs_when_the_daemon_has_the_instrument(daemon: Daemon) -> None:
    """The original readme's first example, with `import client as visa`."""
    sm = visa.SocketManager()
    socket = sm.open_socket()
    inst1 = socket.open_resource(MULTIMETER)
    assert "MULTIMETER" in inst1.query("*IDN?")
    assert type(inst1) is GPIBInstrument
    assert "MULTIMETER" in socket.query("*IDN?")  # it is the socket's current resource too
    socket.close()


def test_second_example_runs_when_the_daemon_has_the_instrument(daemon: Daemon) -> None:
    """The original readme's second example."""
    rm = visa.ResourceManager()
    i1 = rm.open_resource(MULTIMETER, checkSocket=True)
    assert "MULTIMETER" in i1.query("*IDN?")
    rm.close()


def test_bare_open_resource_asks_the_daemons_when_called(lan: Daemon, instrument: TcpInstrument) -> None:
    """checkSocket is the default there, and a name that nobody lists is opened by who can reach it."""
    resource = visa.open_resource(instrument.resource, read_termination="\n", write_termination="\n", timeout=5000)
    assert type(resource) is TCPIPSocket
    assert resource.timeout == 5000
    assert resource.query("ECHO? here") == "here"
    assert [row["resource"] for row in lan.status()["resources"]] == [instrument.resource]
    resource.close()


def test_unchanged_program_uses_the_daemon_when_the_environment_says_so(daemon: Daemon) -> None:
    """PYVISA_LIBRARY=host:port@daemon is all that changes."""
    program = f"""
import pyvisa
rm = pyvisa.ResourceManager()
multimeter = rm.open_resource({MULTIMETER!r})
print(rm.list_resources("GPIB?*")[0], multimeter.query("*IDN?").strip())
"""
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYVISA_LIBRARY": f"{daemon.address}@daemon"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.stderr == ""
    assert said.stdout.startswith(f"{MULTIMETER} DEMO BENCH,MULTIMETER")


def test_attributes_and_status_are_as_local_when_used(lan: Daemon, instrument: TcpInstrument) -> None:
    """Timeouts, terminations, statuses; a missing answer is VI_ERROR_TMO after the session's timeout."""
    manager = pyvisa.ResourceManager(f"{lan.address}@daemon")
    resource = open_message_based(manager, instrument.resource)
    assert resource.timeout == 2000
    resource.timeout = 200
    assert resource.timeout == 200
    assert resource.resource_name == instrument.resource
    assert resource.write("SET something") == len("SET something\n")
    with pytest.raises(pyvisa.VisaIOError) as timeout:
        resource.read()
    assert timeout.value.error_code == StatusCode.error_timeout
    assert resource.last_status == StatusCode.error_timeout
    assert resource.query("ECHO? still in step") == "still in step"
    resource.close()
    manager.close()


def test_unknown_resource_is_not_found_when_opened(daemon: Daemon) -> None:
    """The daemon's library cannot reach it: VI_ERROR_RSRC_NFOUND, as locally."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    with pytest.raises(pyvisa.VisaIOError) as missing:
        manager.open_resource("GPIB0::5::INSTR")
    assert missing.value.error_code == StatusCode.error_resource_not_found
    assert missing.value.effect == "none"  # type: ignore[attr-defined]
    manager.close()


def test_local_library_is_used_when_no_daemon_has_it(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """The daemon says not found; the same name opens locally, and the log says that it is not shared."""
    manager = visa.ResourceManager("@sim")
    resource = manager.open_resource("ASRL2::INSTR", checkSocket=True)
    assert "sim" in type(resource.visalib).__module__
    assert "not shared" in caplog.text
    manager.close()


def test_two_programs_read_their_own_answers_when_they_share_an_instrument(
    lan: Daemon, instrument: TcpInstrument
) -> None:
    """Stock write() and read() from two connections and a text client on one instrument: no answer is crossed."""
    crossed: list[tuple[str, str]] = []

    def stock(name: str) -> None:
        program = f"""
import pyvisa, sys
resource = pyvisa.ResourceManager("{lan.address}@daemon").open_resource("{instrument.resource}")
resource.read_termination = resource.write_termination = "\\n"
for turn in range(200):
    resource.write(f"ECHO? {name} {{turn}}")
    answer = resource.read()
    if answer != f"{name} {{turn}}":
        sys.exit(answer)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            crossed.append((name, done.stderr))

    def text() -> None:
        with visa.SocketManager().open_socket() as socket:
            socket.command("open_resource", instrument.resource)
            for turn in range(200):
                answer = socket.query(f"ECHO? text {turn}")
                if answer != f"text {turn}":
                    crossed.append(("text", answer))

    threads = [threading.Thread(target=stock, args=(name,)) for name in ("one", "two")] + [
        threading.Thread(target=text)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert crossed == []
    assert instrument.count("ECHO?") == 600


def test_blocks_come_whole_when_sent_by_pyvisa(lan: Daemon, instrument: TcpInstrument) -> None:
    """A megabyte, read in PyVISA's chunks and written in one call; pyvisa-py needs the count on a SOCKET."""
    header, data = b"#71000000", ramp(1_000_000)
    manager = pyvisa.ResourceManager(f"{lan.address}@daemon")
    resource = manager.open_resource(instrument.resource, write_termination="\n")
    assert isinstance(resource, MessageBasedResource)
    resource.write("BLOCK? 1000000")
    assert resource.read_bytes(len(header + data + b"\n")) == header + data + b"\n"
    resource.write_binary_values("LOAD ", data, "B")
    resource.read_termination = "\n"
    assert resource.query("LOAD?") == "1000000"
    resource.close()
    manager.close()


def test_blocks_come_whole_when_sent_as_text(lan: Daemon, instrument: TcpInstrument) -> None:
    """The same in the text protocol, whatever the bytes."""
    data = ramp(1_000_000)
    with visa.SocketManager().open_socket() as socket:
        socket.command("open_resource", instrument.resource)
        assert socket.query_binary("BLOCK? 1000000") == data
        assert socket.write_binary("LOAD", data) == len(b"LOAD #71000000") + len(data) + len(b"\n")
        assert socket.query("LOAD?") == "1000000"


def test_every_command_has_its_method_when_used(lan: Daemon, instrument_factory: Callable[[], TcpInstrument]) -> None:
    """One walk through the text protocol, with two instruments."""
    one, two = (instrument_factory().resource for _ in range(2))
    with visa.SocketManager().open_socket() as socket:
        commands = socket.help()
        assert isinstance(commands, dict)
        assert all(hasattr(TCPVisaSocket, syntax.split()[0]) for syntax in commands)
        assert "alive" in str(socket.help("ping"))
        assert socket.ping() == "pong"
        assert socket.hello("walker")["version"] == lan.status()["version"]
        assert isinstance(socket.list_resources(), list)
        assert socket.auth("a token for another daemon\n".replace(" ", "_")) == "- admin"
        socket.open_resource(two)
        socket.open_resource(one)
        assert sorted(socket.list_open_resources()) == sorted([one, two])
        assert socket.query_resource("ECHO? here") == "here"
        assert socket.query("ECHO? there", two) == "there"
        assert socket.use(two) == two
        assert socket.write_resource("ECHO? a") == len("ECHO? a\n")
        assert socket.read_resource() == "a"
        assert socket.write("ECHO? b", resource=one) == len("ECHO? b\n")
        assert socket.read(one) == "b"
        assert (socket.timeout(), socket.timeout(500.0), socket.timeout(float("inf"))) == (2000, 500, float("inf"))
        assert socket.timeout(3000) == 3000
        assert socket.termination() == ("\n", "\n")
        assert socket.termination(None, "\r\n") == (None, "\r\n")
        assert socket.termination("\n", "\n") == ("\n", "\n")
        assert socket.query("BLOCK? 5") == "#15\0\1\2\3\4"  # travels in a block of its own, comes back as it was
        for unsupported in (socket.stb, socket.trigger):  # by pyvisa-py on a SOCKET
            with pytest.raises(visa.Failure, match="VI_ERROR_NSUP_OPER effect=none"):
                unsupported()
        with pytest.raises(visa.Failure, match="VI_ERROR_INV_EVENT effect=none"):
            socket.wait_srq(100)
        assert (socket.lock(), socket.lock(100)) == ("ok", "ok")
        socket.unlock()
        socket.unlock()
        assert socket.lock(key="ours") == "ours"
        socket.unlock()
        socket.clear()
        socket.abort(one)  # nothing runs there
        with pytest.raises(ValueError, match="not one line"):
            socket.write("SET a\nSET b")
        socket.close_resource(one)
        with pytest.raises(visa.Failure, match="effect=none"):
            socket.use(one)


def test_daemon_is_looked_after_when_its_commands_are_called(lan: Daemon, instrument: TcpInstrument) -> None:
    """Mode, status, restart, reset: by their methods."""
    with visa.SocketManager().open_socket() as socket:
        socket.open_resource(instrument.resource)
        assert socket.mode() == "tagged"
        assert (socket.mode("plain"), socket.ping(), socket.mode("tagged")) == ("plain", "pong", "tagged")
        with pytest.raises(visa.Failure, match="BAD_ARGUMENT"):
            socket.mode("loud")
        assert [row["state"] for row in socket.status()["resources"]] == ["ready"]
        socket.reset(instrument.resource)
        socket.restart(instrument.resource)
        wait_until(lambda: lan.resource(instrument.resource).get("generation") == 2)


def test_socket_ends_the_daemon_when_told(daemon: Daemon) -> None:
    """`.!.end_daemon` by its method: the daemon says so, and is gone."""
    socket = visa.SocketManager().open_socket(daemon.address)
    assert socket.end_daemon() == "ended"
    assert daemon.process.wait(DEADLINE) == 0
    with pytest.raises(ConnectionError):
        socket.ping()
    socket.close()


def test_program_goes_on_when_the_daemon_was_killed_and_came_back(
    daemon_factory: Callable[..., Daemon], instrument: TcpInstrument
) -> None:
    """Old sessions are lost, closing them is quiet, and the same resource manager opens again."""
    first = daemon_factory()
    manager = pyvisa.ResourceManager(f"{first.address}@daemon")
    before = open_message_based(manager, instrument.resource)
    assert before.query("ECHO? 1") == "1"
    first.process.kill()
    first.process.wait(DEADLINE)
    with pytest.raises(pyvisa.VisaIOError) as lost:
        before.query("ECHO? 2")
    assert lost.value.error_code == StatusCode.error_connection_lost
    daemon_factory("--port", str(first.port))
    after = open_message_based(manager, instrument.resource)
    assert after.query("ECHO? 3") == "3"
    before.close()
    after.close()
    manager.close()


def test_threads_of_one_program_do_not_hold_each_other_up_when_one_waits_long(
    lan: Daemon, instrument_factory: Callable[[], TcpInstrument]
) -> None:
    """A read that takes its time on one instrument; another thread queries another, on the same connection."""
    manager = pyvisa.ResourceManager(f"{lan.address}@daemon")
    slow, quick = (open_message_based(manager, instrument_factory().resource) for _ in range(2))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(slow.query("SLOW? 1500,late")))
    thread.start()
    for turn in range(50):
        assert quick.query(f"ECHO? {turn}") == str(turn)
    assert answers == []
    thread.join(DEADLINE)
    assert answers == ["late"]
    manager.close()


def test_collector_may_close_resources_when_it_runs_inside_calls(daemon: Daemon) -> None:
    """Resources in reference cycles are closed wherever the collector strikes, in the middle of queries too."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    kept = manager.open_resource(MULTIMETER)
    assert isinstance(kept, MessageBasedResource)
    threshold = gc.get_threshold()
    gc.freeze()  # what other tests left is none of the collector's business: it would take minutes
    gc.set_threshold(20, 2, 2)
    try:
        for _ in range(200):
            lost = manager.open_resource(MULTIMETER)
            lost.__dict__["cycle"] = lost
            del lost
            assert "MULTIMETER" in kept.query("*IDN?")
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
    gc.collect()
    assert manager.list_opened_resources() == [kept]
    kept.close()
    manager.close()
