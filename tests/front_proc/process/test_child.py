"""The front's end of a real child: what it tells, each exactly once, and that nothing it does can block the front."""

import asyncio
import os
import signal
import struct
import sys
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from front_proc.process import child as child_module
from front_proc.process import pool as pool_module
from front_proc.process.child import ChildProcess, start_child
from front_proc.process.pool import NAME_LIMIT, Pool, ask
from front_proc.serving.spool import Spool
from instrument_proc import pipe
from instrument_proc.spawn import ChildSettings
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.framing import PIECE_SIZE
from tests.front_proc.playbook import NAME
from tests.support.instrument import ramp
from tests.support.waiting import DEADLINE, wait_until

#: Attributes of a session: LF ends its answers; a busy machine is not too late with them.
LF_ENDS = [(0x3FFF0018, 10), (0x3FFF0038, True)]
PATIENT = [(0x3FFF001A, int(DEADLINE * 1000))]


class Told:
    """What a child told its owner, in order."""

    def __init__(self, child: ChildProcess) -> None:
        self.child = child
        self.events: asyncio.Queue[object] = asyncio.Queue()
        child.on_report = self.events.put_nowait
        child.on_garbage = lambda why: self.events.put_nowait(("garbage", why))
        child.on_death = lambda: self.events.put_nowait("death")

    async def next(self):
        return await asyncio.wait_for(self.events.get(), DEADLINE)


@pytest.fixture
def settings(tmp_path):
    return ChildSettings("@py", str(tmp_path / "daemon.log"))


def run(story):
    """Run `story` with a deadline; no process is left behind."""

    async def to_its_end():
        await asyncio.wait_for(story, 3 * DEADLINE)
        await asyncio.sleep(0.01)  # a pipe that was given up is closed in one of the loop's next turns

    asyncio.run(to_its_end())


async def started(settings):
    told = Told(await start_child(settings))
    assert await told.next() == pipe.Warm("")
    return told


def test_child_is_told_to_close_and_its_end_is_told_once(settings):
    """Closed, then death, then silence; its exit code is known."""

    async def story():
        told = await started(settings)
        told.child.send(pipe.Close())
        assert await told.next() == pipe.Closed()
        assert await told.next() == "death"
        assert told.child.exit_code == 0
        assert told.child.describe_death() == "exited with code 0"
        await asyncio.sleep(0.5)
        assert told.events.empty()
        assert not told.child.is_alive

    run(story())


def test_child_does_not_execute_the_front_s_main_module(settings, monkeypatch, tmp_path):
    """As the installed command's it would import half of the front."""
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "instrument-daemon")
    (tmp_path / "instrument-daemon").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")

    async def story():
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "__main__", main)
            told = await started(settings)
            assert sys.modules["__main__"] is main
        told.child.kill()
        assert await told.next() == "death"

    run(story())
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_by_a_signal_is_told_with_its_name(settings, number):
    """However it came."""

    async def story():
        told = await started(settings)
        os.kill(told.child.pid, number)
        assert await told.next() == "death"
        assert told.child.describe_death() == f"killed by {number.name}"
        assert told.child.gone.is_set()

    run(story())


def test_what_a_child_said_before_it_died_is_told_before_its_death(settings):
    """Its pipe is drained, then it is judged."""

    async def story():
        told = await started(settings)
        for _ in range(5):
            told.child.send(pipe.Name(NAME))
        told.child.send(pipe.Close())
        heard = [await told.next() for _ in range(7)]
        assert heard == [pipe.Named(NAME, "")] * 5 + [pipe.Closed(), "death"]

    run(story())


def test_dead_child_takes_orders_and_kills_without_complaint(settings):
    """A signal to a process that is gone is a normal event."""

    async def story():
        told = await started(settings)
        told.child.kill()
        assert await told.next() == "death"
        told.child.send(pipe.Close())
        told.child.kill()
        told.child.dump_and_kill()
        await asyncio.sleep(0.1)
        assert told.events.empty()

    run(story())


def test_stopped_child_can_be_killed_and_leaves_its_stacks_if_it_can(settings, tmp_path):
    """A child that runs says where it is; one that is stopped says nothing, and dies all the same."""

    async def story():
        running, stopped = await started(settings), await started(settings)
        os.kill(stopped.child.pid, signal.SIGSTOP)
        for told in (running, stopped):
            told.child.dump_and_kill()
            assert await told.next() == "death"
            assert told.child.describe_death() == "killed by SIGKILL"
        assert "serve" in (tmp_path / "daemon.log").read_text()

    run(story())


@pytest.mark.parametrize(
    "sent",
    [struct.pack("!i", -1), struct.pack("!i", 1 << 30), struct.pack("!i", 3) + b"\xc1\xc1\xc1"],
    ids=["negative length", "giant length", "no message"],
)
def test_garbage_is_told_as_such(settings, sent):
    """Before its bytes are waited for."""

    async def story():
        told = await started(settings)
        told.child.get_buffer(0)[: len(sent)] = sent
        told.child.buffer_updated(len(sent))
        kind, _ = await told.next()
        assert kind == "garbage"
        told.child.kill()
        assert await told.next() == "death"

    run(story())


def test_half_a_frame_blocks_nobody(settings):
    """A child that is stopped in mid-message must not freeze the front."""

    async def story():
        told = await started(settings)
        half = pipe.encode_framed(pipe.Named(NAME, ""))
        told.child.get_buffer(0)[:10] = half[:10]
        told.child.buffer_updated(10)
        await asyncio.sleep(0)
        assert told.events.empty()
        told.child.get_buffer(0)[: len(half) - 10] = half[10:]
        told.child.buffer_updated(len(half) - 10)
        assert await told.next() == pipe.Named(NAME, "")
        told.child.kill()
        assert await told.next() == "death"

    run(story())


@contextmanager
def open_spool(settings):
    spool = Spool(Path(settings.log_file).parent)
    yield spool
    spool.close()


@pytest.mark.parametrize("data", [bytes(100), bytes(4_000_000)], ids=["short", "long"])
def test_orders_to_a_child_that_does_not_read_block_nobody(settings, data):
    """They wait in the front's memory; the child is killed in the end."""

    async def story():
        told = await started(settings)
        os.kill(told.child.pid, signal.SIGSTOP)
        told.child.run(pipe.Run(1, "write", [], []), data)
        told.child.kill()
        assert await told.next() == "death"

    run(story())


def test_orders_to_a_child_that_does_not_read_fill_no_memory(settings):
    """Of a long message only as much leaves the disk as fits on the way."""

    async def story():
        told = await started(settings)
        os.kill(told.child.pid, signal.SIGSTOP)
        with open_spool(settings) as spool:
            for _ in range(64):
                spool.add(bytes(PIECE_SIZE))
            tracemalloc.start()
            told.child.run(pipe.Run(1, "write", [], []), spool)
            await asyncio.sleep(0)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < len(spool) / 4
            told.child.kill()
            assert await told.next() == "death"

    run(story())


# With an instrument.


async def opened(settings, instrument):
    told = await started(settings)
    lock_file = Path(settings.log_file).with_name("instrument.lock")
    told.child.send(pipe.Open(instrument.resource, "@py", str(lock_file), []))
    report = await told.next()
    assert isinstance(report, pipe.Opened)
    assert report.status == 0
    return told


async def closed(told):
    told.child.send(pipe.Close())
    assert await told.next() == pipe.Closed()
    assert await told.next() == "death"


async def done(told):
    """What the running order came to, and the reports before that."""
    reports = []
    while not isinstance(report := await told.next(), pipe.Done):
        assert isinstance(report, pipe.Piece)
        reports.append(report)
    return reports, report


@pytest.mark.parametrize("size", [10, 1 << 16, (1 << 16) + 1, 3_000_000])
@pytest.mark.parametrize("is_on_disk", [False, True])
def test_message_of_any_length_reaches_the_instrument_whole(settings, instrument, size, is_on_disk):
    """In one frame or in many, from memory or from disk; and the next order is understood."""
    digits = str(size).encode()
    message = b"LOAD #%d%s" % (len(digits), digits) + bytes(size) + b"\n"

    async def story():
        told = await opened(settings, instrument)
        with open_spool(settings) as spool:
            if is_on_disk:
                spool.add(message)
            told.child.run(pipe.Run(1, "write", [], []), spool if is_on_disk else message)
            _, report = await done(told)
            assert (report.ticket, report.status, report.value) == (1, 0, len(message))
        told.child.run(pipe.Run(2, "get_attribute", [0x3FFF001A], []), b"")
        _, report = await done(told)
        assert (report.ticket, report.value) == (2, 2000)
        assert await asyncio.to_thread(instrument.ask, "LOAD?") == str(size)
        await closed(told)

    run(story())


def test_child_that_is_paused_says_no_more_until_it_is_resumed(settings, instrument):
    """Its answer waits in the child, the kernel and the instrument; nothing of it is lost."""
    size = 20_000_000

    async def story():
        told = await opened(settings, instrument)
        told.child.run(pipe.Run(1, "query_block", [], LF_ENDS + PATIENT), b"BLOCK? %d\n" % size)
        while not isinstance(report := await told.next(), pipe.Piece):
            assert not isinstance(report, pipe.Done), report
        told.child.pause()
        told.child.pause()
        pieces = [report.data]
        await asyncio.sleep(0.3)
        while not told.events.empty():
            pieces.append((await told.next()).data)
        assert len(b"".join(pieces)) < size
        await asyncio.sleep(0.3)
        assert told.events.empty()
        told.child.resume()
        told.child.resume()
        reports, report = await done(told)
        pieces += [piece.data for piece in reports]
        assert b"".join([*pieces, report.data]) == ramp(size)
        await closed(told)

    run(story())


def test_child_that_is_paused_can_be_killed(settings, instrument):
    """Whoever is slow keeps nobody from ending it; a dead one takes both words without complaint."""

    async def story():
        told = await opened(settings, instrument)
        told.child.run(pipe.Run(1, "query_block", [], PATIENT), b"BLOCK? 20000000\n")
        while not isinstance(report := await told.next(), pipe.Piece):
            assert not isinstance(report, pipe.Done), report
        told.child.pause()
        told.child.kill()
        while await told.next() != "death":
            pass
        told.child.pause()
        told.child.resume()

    run(story())


# The pool.


async def pooled(settings):
    troubles = []
    pool = Pool(settings, troubles.append)
    pool.refill()
    return pool, troubles


def test_pool_gives_each_child_to_one_and_replaces_it(settings):
    """Two who ask at once get two."""

    async def story():
        pool, _ = await pooled(settings)
        children = await asyncio.gather(pool.take(), pool.take(), pool.take())
        assert len({child.pid for child in children}) == 3
        assert (await pool.take()).pid not in {child.pid for child in children}
        await pool.close(DEADLINE)
        assert pool.living == []

    run(story())


def test_pool_never_gives_a_dead_spare(settings):
    """It died while nobody looked."""

    async def story():
        pool, _ = await pooled(settings)
        spare = await pool.take()
        pool.give_back(spare)
        spare.kill()
        await spare.gone.wait()
        child = await pool.take()
        assert child is not spare
        assert child.is_alive
        await pool.close(DEADLINE)

    run(story())


def test_pool_makes_names_canonical_in_a_spare_that_stays_a_spare(settings):
    """Once asked, a name is remembered."""

    async def story():
        pool, _ = await pooled(settings)
        spare = await pool.take()
        pool.give_back(spare)
        assert await pool.canonical("TCPIP::10.0.0.1::5025::SOCKET") == NAME
        with pytest.raises(Failure) as raised:
            await pool.canonical("nonsense")
        assert raised.value.token == "VI_ERROR_INV_RSRC_NAME"
        assert await pool.take() is spare
        spare.kill()
        assert await pool.canonical("TCPIP::10.0.0.1::5025::SOCKET") == NAME
        await pool.close(DEADLINE)

    run(story())


@pytest.mark.parametrize("length", [NAME_LIMIT, NAME_LIMIT + 1])
def test_name_that_is_too_long_is_not_even_asked_about(settings, length):
    """VISA's own limit is 255 characters; an endless one would be remembered for ever."""

    async def story():
        pool = Pool(settings, [].append)
        name = "TCPIP0::" + "a" * (length - len("TCPIP0::::5025::SOCKET")) + "::5025::SOCKET"
        assert len(name) == length
        if length <= NAME_LIMIT:
            assert await pool.canonical(name) == name
        else:
            with pytest.raises(Failure) as raised:
                await pool.canonical(name)
            assert raised.value.token == "VI_ERROR_INV_RSRC_NAME"
            assert pool.living == []
        await pool.close(DEADLINE)

    run(story())


@pytest.mark.parametrize("name", ["ASRL/dev/\x1b[31m::INSTR", "TCPIP::a\nb::INSTR", "TCPIP::\x9b2J::INSTR"])
def test_name_that_a_terminal_would_obey_is_none(settings, name):
    """Others see in `status` what somebody tries to open."""

    async def story():
        pool = Pool(settings, [].append)
        with pytest.raises(Failure) as raised:
            await pool.canonical(name)
        assert raised.value.token == "VI_ERROR_INV_RSRC_NAME"
        assert raised.value.text.isprintable()
        await pool.close(DEADLINE)

    run(story())


def test_pool_that_is_closed_gives_nothing_and_leaves_nothing(settings):
    """Not even what was just being started."""

    async def story():
        pool, _ = await pooled(settings)
        await pool.close(DEADLINE)
        with pytest.raises(Failure) as raised:
            await pool.take()
        assert raised.value.token == "SHUTTING_DOWN"
        await asyncio.sleep(0.1)
        await pool.close(DEADLINE)
        assert pool.living == []

    run(story())


def test_pool_fails_whoever_asks_when_no_process_can_be_started(settings, monkeypatch):
    """And goes on when one can."""

    async def no_process(_):
        raise OSError(11, "Resource temporarily unavailable")

    async def story():
        pool, troubles = await pooled(settings)
        with monkeypatch.context() as patch:
            patch.setattr(pool_module, "start_child", no_process)
            with pytest.raises(Failure) as raised:
                await pool.take()
            assert raised.value.token == "START_FAILED"
            assert troubles
        assert (await pool.take()).is_alive
        await pool.close(DEADLINE)

    run(story())


def test_pool_that_closes_while_many_wait_leaves_nothing(settings):
    """Those whose turn to start has not come do not start, and what began in that moment is ended."""

    async def story():
        pool = Pool(settings, [].append)
        takes = [asyncio.create_task(pool.take()) for _ in range(5)]
        await asyncio.sleep(0.1)
        await pool.close(DEADLINE)
        assert pool.living == []
        results = await asyncio.gather(*takes, return_exceptions=True)
        assert all(isinstance(result, Failure) or not result.is_alive for result in results)
        assert pool.living == []

    run(story())


def test_question_to_a_child_that_does_not_answer_has_a_deadline(settings):
    """It is then the asker's to kill. One that dies is not waited for."""

    async def story():
        child = await start_child(settings)
        await ask(child, None, DEADLINE)
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(Failure, match="did not answer"):
            await ask(child, pipe.Name(NAME), 0.1)
        asking = asyncio.ensure_future(ask(child, pipe.Name(NAME), DEADLINE))
        await asyncio.sleep(0)
        child.kill()
        with pytest.raises(Failure, match="killed by SIGKILL"):
            await asking

    run(story())


def be_a_leader(connection, death, aborts, _, settings):
    """A child whose library has started a process of its own, which keeps what it inherited."""
    os.setpgid(0, 0)
    if os.fork() == 0:
        for end in (connection, death, aborts):
            end.close()
    else:
        Path(settings.log_file).with_name("leader").touch()
    time.sleep(DEADLINE)


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_what_a_dead_process_has_started_ends_with_it(settings, monkeypatch, end):
    """It may hold the instrument, and the lock of its resource."""
    monkeypatch.setattr(child_module, "run_child", be_a_leader)

    async def story(family):
        child = await start_child(settings)
        ready = Path(settings.log_file).with_name("leader")
        while not ready.exists():
            await asyncio.sleep(0.01)
        family += psutil.Process(child.pid).children()
        assert len(family) == 1
        getattr(child, end)()
        await child.gone.wait()

    family = []
    run(story(family))
    wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family))
