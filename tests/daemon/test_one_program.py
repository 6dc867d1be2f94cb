"""One program on one connection: its threads, Ctrl-C, fork, and its end."""

import contextlib
import signal
import threading

import pytest
import pyvisa
from pyvisa.constants import EventMechanism, EventType, ResourceAttribute, StatusCode

from tests.daemon.programs.program import Program
from tests.support.waiting import DEADLINE, wait_until


@pytest.fixture
def daemon(vxi11, daemon_factory):
    """Ends before its instruments."""
    return daemon_factory()


@pytest.fixture
def program(daemon):
    """A program's only resource manager."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    yield manager
    manager.close()


@pytest.fixture
def another(daemon):
    """Another program's: another spelling of the host is another connection."""
    manager = pyvisa.ResourceManager(f"localhost:{daemon.port}@daemon")
    yield manager
    manager.close()


def opened(manager, instrument):
    options = {"read_termination": "\n", "write_termination": "\n"}
    return manager.open_resource(instrument.resource, timeout=10_000, **options)


class Work(threading.Thread):
    """A call in a thread of its own; `result` is what came of it."""

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self._call, self._arguments = call, arguments
        self._result = None
        self.start()

    def run(self):
        try:
            self._result = self._call(*self._arguments)
        except Exception as error:
            self._result = error

    @property
    def result(self):
        self.join(DEADLINE)
        assert not self.is_alive(), "it never ends"
        return self._result


# Threads.


def test_thread_that_waits_holds_up_no_other(program, vxi11, instrument_factory):
    """A long read, a wait for a lock and a wait for an event, and questions to a fourth instrument between them."""
    slow, locked, quick = (instrument_factory() for _ in range(3))
    reader, holder, waiter, asker = (opened(program, each) for each in (slow, locked, locked, quick))
    watcher = opened(program, vxi11)
    holder.lock_excl()
    watcher.enable_event(EventType.service_request, EventMechanism.queue)
    works = [
        Work(reader.query, "SLOW? 3000,slow"),
        Work(waiter.lock_excl, 10_000),
        Work(watcher.wait_on_event, EventType.service_request, 10_000),
    ]
    wait_until(lambda: slow.count("SLOW?"))
    for number in range(50):
        assert asker.query(f"ECHO? {number}") == str(number)
    assert all(work.is_alive() for work in works)
    opened(program, vxi11).write("SRQ 1")
    assert works[2].result.event.event_type == EventType.service_request
    assert works[0].is_alive()
    holder.unlock()
    assert works[1].result is None
    assert works[0].result == "slow"
    waiter.unlock()


def test_several_threads_on_one_session_each_get_what_they_ask_for(program, instrument):
    """viWrite and viRead are two calls, so a thread must keep others out in between, as with any VISA library."""
    resource, turn = opened(program, instrument), threading.Lock()

    def converse(name):
        for number in range(50):
            with turn:
                assert resource.query(f"ECHO? {name} {number}") == f"{name} {number}"

    assert [work.result for work in [Work(converse, name) for name in "abcd"]] == [None] * 4


def test_status_byte_and_attributes_pass_whoever_waits_for_an_answer(program, another, vxi11):
    """While one session has asked and not read, others may look, but not ask."""
    ann, bob, eve = opened(program, vxi11), opened(another, vxi11), opened(another, vxi11)
    ann.write("SLOW? 1000,for ann")
    wait_until(lambda: vxi11.count("SLOW?"))
    question = Work(bob.query, "ECHO? for bob")
    for looker in (ann, eve):
        assert looker.read_stb() & 0b1000100 == 0
        assert looker.get_visa_attribute(ResourceAttribute.termchar) == ord("\n")
        looker.timeout = 5000
    assert question.is_alive()
    assert vxi11.count("ECHO?") == 0
    assert ann.read() == "for ann"
    assert question.result == "for bob"


def test_clear_by_another_thread_comes_behind_the_read_and_before_whatever_follows(program, vxi11):
    """A VISA library does one thing at a time on a session."""
    resource = opened(program, vxi11)
    reading = Work(resource.query, "SLOW? 500,slow")
    wait_until(lambda: vxi11.count("SLOW?"))
    resource.clear()
    assert reading.result == "slow"
    assert resource.query("ECHO? next") == "next"


def test_clear_by_another_thread_ends_the_wait_of_others(program, another, vxi11):
    """An answer that its program wants no more keeps nobody waiting."""
    ann, bob = opened(program, vxi11), opened(another, vxi11)
    ann.timeout = 60_000
    ann.write("SLOW? 30000,never")
    wait_until(lambda: vxi11.count("SLOW?"))
    question = Work(bob.query, "ECHO? for bob")
    assert Work(ann.clear).result is None
    assert question.result == "for bob"
    assert ann.query("ECHO? for ann") == "for ann"


def test_close_by_another_thread_ends_no_read_of_a_third(program, instrument):
    """Each session is one's own, even on one instrument."""
    reader, closer = opened(program, instrument), opened(program, instrument)
    reading = Work(reader.query, "SLOW? 500,slow")
    wait_until(lambda: instrument.count("SLOW?"))
    closer.close()
    assert reading.result == "slow"


# Ctrl-C.


def test_interrupted_read_leaves_a_program_that_works(daemon, instrument):
    """Its answer comes later, to nobody."""
    with Program("scenes", "interrupted_read", daemon.address, instrument.resource) as scene:
        assert scene.hears() == "begins"
        wait_until(lambda: instrument.count("SLOW?"))
        scene.process.send_signal(signal.SIGINT)
        assert scene.hears() == "interrupted"
        scene.says("go on")
        assert scene.hears() == "next"
        assert scene.ends() == 0


@contextlib.contextmanager
def held(manager, instrument):
    """Somebody else holds the instrument; gives who it is."""
    holder = opened(manager, instrument)
    holder.timeout = 60_000
    holder.write("ECHO? held")
    wait_until(lambda: instrument.count("ECHO? held"))
    yield holder
    assert holder.read() == "held"


@pytest.mark.parametrize(("scene", "command"), [("interrupted_write", "SET"), ("interrupted_query", "ECHO? never")])
def test_interrupted_command_that_waits_for_its_turn_is_never_executed(daemon, another, instrument, scene, command):
    """The instrument says so."""
    with Program("scenes", scene, daemon.address, instrument.resource) as program:
        with held(another, instrument):
            assert program.hears() == "begins"
            wait_until(lambda: daemon.resource(instrument.resource)["queued"])
            program.process.send_signal(signal.SIGINT)
            assert program.hears() == "interrupted"
            wait_until(lambda: not daemon.resource(instrument.resource)["queued"])
        program.says("go on")
        assert program.hears() == "next"
        assert program.ends() == 0
    assert instrument.count(command) == 0


def test_program_that_is_interrupted_at_any_moment_gets_no_old_answer(daemon, instrument):
    """A hundred times."""
    with Program("scenes", "interrupted_often", daemon.address, instrument.resource) as scene:
        assert scene.hears(60) == 0
        assert scene.hears() == "next"
        assert scene.ends() == 0


# Fork, and the end.


def test_forked_program_leaves_its_parent_s_sessions_alone(daemon, instrument):
    """The connection is the parent's; the child makes one of its own."""
    with Program("scenes", "forks", daemon.address, instrument.resource) as scene:
        said = [scene.hears() for _ in range(5)]
        assert said == ["begins", "VI_ERROR_CONN_LOST", "opened anew", 0, "from the parent"]
        assert scene.ends() == 0
        assert scene.process.stderr.read() == b""


def test_program_ends_at_once_with_everything_open_and_leaves_nothing_locked(daemon, another, vxi11):
    """Nobody closes anything; the daemon sees that it is gone."""
    with Program("scenes", "ends_with_everything_open", daemon.address, vxi11.resource) as scene:
        assert scene.hears() == "ends"
        assert scene.ends() == 0
        assert scene.process.stderr.read() == b""
    bob = opened(another, vxi11)
    assert bob.lock_excl(5000) is None
    assert bob.query("ECHO? mine") == "mine"
    row = daemon.resource(vxi11.resource)
    assert row["sessions"] == 1
    with pytest.raises(pyvisa.VisaIOError) as caught:
        bob.wait_on_event(EventType.service_request, 10)
    assert caught.value.error_code == StatusCode.error_not_enabled
