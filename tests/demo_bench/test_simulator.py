"""The instrument that a schedule makes, and what its faults are on a socket: real ones, in this process."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from demo_bench.faults import Fault
from demo_bench.journal import Journal
from demo_bench.schedule import Schedule
from demo_bench.simulator import Improvised, Simulator
from tests.support.waiting import DEADLINE

ANSWERS = {"MEASure:VOLTage?": "+1.2345E+00", "meas:curr?": "0.5", "VOLT?": "0", "VOLT? max": "30", "READ": "7"}
ANSWERS |= {"FREQ:low?": "1", "FREQ:high?": "2"}

Play = Callable[..., list[dict[str, Any]]]


class Client:
    """One connection, a deadline on everything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: str) -> None:
        self._writer.write(message.encode() + b"\n")

    async def send_all(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def line(self) -> bytes:
        return await asyncio.wait_for(self._reader.readline(), DEADLINE)

    async def exactly(self, count: int) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(count), DEADLINE)

    async def ask(self, message: str) -> bytes:
        self.send(message)
        return await self.line()

    async def is_silent(self) -> bool:
        """Not in the next tenth of a second does anything come."""
        try:
            return not await asyncio.wait_for(self._reader.read(1), 0.1)
        except TimeoutError:
            return True

    def close(self) -> None:
        self._writer.close()


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
def play(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    """Runs a scene against a simulator with these faults; what its record says in the end."""

    async def run(scene: Callable[[Connect], Awaitable[None]], schedule: Schedule, journal: Journal) -> None:
        simulating = asyncio.create_task(Simulator(schedule, 0, journal).run(0))
        await asyncio.sleep(0)
        resource = capsys.readouterr().out.split()[1]
        clients: list[Client] = []

        async def connect() -> Client:
            opened = await asyncio.open_connection("127.0.0.1", int(resource.split("::")[2]), limit=10_000_000)
            clients.append(Client(*opened))
            return clients[-1]

        try:
            await scene(connect)
        finally:
            for client in clients:
                client.close()
            simulating.cancel()
            await asyncio.gather(simulating, return_exceptions=True)

    def played(scene: Callable[[Connect], Awaitable[None]], *faults: Fault) -> list[dict[str, Any]]:
        record = tmp_path / "record.jsonl"
        with Journal(record, is_quiet=True) as journal:
            asyncio.run(run(scene, Schedule("TEST,SIMULATED,1,1.0", ANSWERS, faults), journal))
        return [json.loads(line) for line in record.read_text().splitlines()]

    return played


# The instrument.


def answers(*messages: bytes) -> list[bytes | None]:
    instrument = Improvised(Schedule("TEST,SIMULATED,1,1.0", ANSWERS))

    async def ask() -> list[bytes | None]:
        return [await instrument.answer(cast(Any, None), message) for message in messages]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (b"*IDN?", b"TEST,SIMULATED,1,1.0"),
        (b"MEAS:VOLT?", b"+1.2345E+00"),
        (b":measure:voltage?", b"+1.2345E+00"),
        (b"MEASURE:VOLT?", b"+1.2345E+00"),
        (b"MEAS:VOLT? CH1", b"+1.2345E+00"),
        (b"MEAS:CURR?", b"0.5"),
        (b"VOLT?", b"0"),
        (b"volt?  Max", b"30"),
        (b"READ", b"7"),
        (b"MEAS:CURR?;VOLT? MAX", b"0.5;30"),
        (b"*OPC?", b"1"),
    ],
)
def test_instrument_answers_as_the_schedule_says(message, answer):
    """Long and short, in any case, with and without parameters."""
    assert answers(message) == [answer]


def test_instrument_keeps_a_setting_when_it_is_set():
    """Whatever the header, under its long name too; until *RST, after which the schedule's answer holds again."""
    assert answers(b"VOLT 3", b"VOLT 4", b"VOLT?") == [None, None, b"4"]
    assert answers(b"FREQ:LOW 0", b"FREQ:LOW?;:FREQ:HIGH?") == [None, b"0;2"]
    assert answers(b"VOLT 3.3", b"VOLT?", b"VOLT? MAX", b"*RST", b"VOLT?") == [None, b"3.3", b"30", None, b"0"]
    assert answers(b"MEAS:VOLT 2", b"MEASURE:VOLTAGE?", b"OUTP ON;OUTP?") == [None, b"2", b"ON"]
    assert answers(b"DATA #15a\nb;c", b"DATA?") == [None, b"#15a\nb;c"]


def test_instrument_says_nothing_when_a_query_is_unknown():
    """The error queue has it, as on a real one; a command without parameter is no setting."""
    assert answers(b"CURR?", b"SYST:ERR?", b"SYST:ERR?") == [None, b'-113,"Undefined header"', b'+0,"No error"']
    assert answers(b"INIT", b"INIT?", b"OUTP ON", b"*RST", b"OUTP?") == [None] * 5


# Faults on a socket.


def test_faults_come_in_turn_and_are_recorded(play):
    """What was executed, what it should be answered, and what became of that."""

    async def scene(connect: Connect) -> None:
        client = await connect()
        assert await client.ask("*IDN?") == b"TEST,SIMULATED,1,1.0\n"
        client.send("VOLT 3")
        assert await client.ask("VOLT?") == b"3\n"
        client.send("VOLT?")
        assert await client.ask("meas:curr?") == b"0.5\n"
        client.send("\r\nNONSENSE?")
        assert await (await connect()).ask("*OPC?") == b"1\n"

    record = play(scene, Fault("silent", on="VOLT*", after=1))
    said = [(row["connection"], row["message"], row["answer"], row["error"], row["fault"]) for row in record]
    assert said == [
        (1, "*IDN?", "TEST,SIMULATED,1,1.0", None, None),
        (1, "VOLT 3", None, None, None),
        (1, "VOLT?", "3", None, None),
        (1, "VOLT?", "3", None, "silent"),
        (1, "meas:curr?", "0.5", None, None),
        (1, "NONSENSE?", None, '-113,"Undefined header"', None),
        (2, "*OPC?", "1", None, None),
    ]


@pytest.mark.parametrize("fault", [Fault("late", seconds=0.3), Fault("slow", seconds=0.3)], ids=["late", "slow"])
def test_answer_is_whole_when_it_takes_its_time(play, fault):
    """And the next one comes behind it, not before; another connection waits for neither."""

    async def scene(connect: Connect) -> None:
        client, other = await connect(), await connect()
        start = asyncio.get_running_loop().time()
        client.send("MEAS:VOLT?")
        client.send("*OPC?")
        await other.ask("*OPC?")
        assert await client.line() == b"+1.2345E+00\n"
        assert asyncio.get_running_loop().time() - start > 0.29
        assert await client.line() == b"1\n"

    play(scene, Fault(fault.kind, on="MEAS*", seconds=fault.seconds))


def test_next_answer_is_behind_it_when_one_is_partial(play):
    """No terminator is between them."""

    async def scene(connect: Connect) -> None:
        client = await connect()
        client.send("MEAS:VOLT?")
        assert await client.ask("*OPC?") == b"+1.1\n"

    play(scene, Fault("partial", on="MEAS*", bytes=3))


def test_garbage_comes_instead_of_the_answer(play):
    """One message of it, and then the instrument is well."""

    async def scene(connect: Connect) -> None:
        client = await connect()
        assert len(await client.ask("*IDN?")) == 8
        assert await client.ask("*OPC?") == b"1\n"

    play(scene, Fault("garbage", bytes=7, times=1))


def test_hanging_connection_says_a_byte_now_and_then(play):
    """It executes nothing more, while others are served."""

    async def scene(connect: Connect) -> None:
        client = await connect()
        client.send("MEAS:VOLT?")
        client.send("*OPC?")
        assert await client.exactly(20) == b"?" * 20
        assert await (await connect()).ask("*IDN?") == b"TEST,SIMULATED,1,1.0\n"

    assert [row["message"] for row in play(scene, Fault("hang", on="MEAS*", seconds=0.01))] == ["MEAS:VOLT?", "*IDN?"]


@pytest.mark.parametrize("message", ["VOLT 3", "VOLT 3;VOLT?"])
def test_connection_is_closed_when_dropped(play, message):
    """The message was executed; a new connection finds the instrument as it was left."""

    async def scene(connect: Connect) -> None:
        client = await connect()
        assert await client.ask(message) == b""
        assert await (await connect()).ask("VOLT?") == b"3\n"

    assert [row["fault"] for row in play(scene, Fault("drop", times=1))] == ["drop", None]


def test_long_write_has_no_end_when_the_instrument_is_deaf(play):
    """Nor has the message that made it so an answer. Others are served."""

    async def scene(connect: Connect) -> None:
        client = await connect()
        client.send("*TRG;*OPC?")
        client.send("*OPC?")
        assert await client.is_silent()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send_all(bytes(1_000_000)), 0.5)
        assert await (await connect()).ask("*OPC?") == b"1\n"

    record = play(scene, Fault("deaf", on="*TRG*"))
    assert [(row["connection"], row["fault"]) for row in record] == [(1, "deaf"), (2, None)]


def test_connections_are_reset_when_the_instrument_crashes(play):
    """All of them. It cannot be reached, then it is back at the same port without its settings; the count goes on."""

    async def scene(connect: Connect) -> None:
        client, other, late = await connect(), await connect(), await connect()
        await other.ask("VOLT 3;VOLT?")
        late.send("MEAS:CURR?")
        assert await late.is_silent()
        client.send("TRIG;*OPC?")
        for each in (client, other, late):
            with pytest.raises(ConnectionResetError):
                await each.line()
        with pytest.raises(ConnectionRefusedError):
            await connect()
        back = None
        while back is None:
            with contextlib.suppress(ConnectionRefusedError):
                back = await connect()
            await asyncio.sleep(0.01)
        assert await back.ask("VOLT?") == b"0\n"
        assert await back.ask("TRIG;*OPC?") == b"1\n"

    crash, late = Fault("crash", on="TRIG*", seconds=0.5, times=1), Fault("late", on="MEAS*", seconds=1000)
    assert [row["fault"] for row in play(scene, crash, late)] == [None, "late", "crash", None, None]
