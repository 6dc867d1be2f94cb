"""A daemon without processes or sockets, for bytes by the thousand: connections, front and services are the real ones.

What is played are transports, the instruments' processes, which do at once whatever they are told, and the clock.
"""

from collections.abc import Callable
from typing import Any

from front_proc.doors.connection import Connection
from front_proc.front import Front, FrontState
from instrument_proc import pipe
from tests.front_proc.playbook import FakeChild, Stage


class ObedientChild(FakeChild):
    """Opens, finds nothing, carries out and closes as soon as it is told to."""

    def send(self, order: pipe.Order) -> None:
        super().send(order)
        if isinstance(order, pipe.Open):
            self._soon(self.opens)
        elif isinstance(order, pipe.List):
            self._soon(lambda: self.say(pipe.Listed([], 0, "", "")))
        elif isinstance(order, pipe.Close):
            self._soon(self.dies)

    def run(self, order: pipe.Run, data: Any) -> None:
        super().run(order, data)
        self._soon(lambda: self.does(b"1\n", value=64))

    def kill(self) -> None:
        super().kill()
        self._soon(self.dies)

    terminate = kill

    def dies(self) -> None:
        if self.is_alive:
            super().dies()

    def _soon(self, act: Callable[[], None]) -> None:
        def act_if_alive() -> None:
            if self.is_alive:
                act()

        self._stage.loop.call_soon(act_if_alive)


class _Socket:
    def setsockopt(self, *_: object) -> None:
        pass

    def getsockopt(self, *_: object) -> bytes:
        raise OSError

    def fileno(self) -> int:
        return 20


class _Transport:
    """Takes everything; `is_closed` when the daemon has had enough."""

    def __init__(self) -> None:
        self.said = b""
        self.is_closed = False
        self._is_reading = True
        self._is_eof_written = False

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("127.0.0.1", 50000), "socket": _Socket()}[name]

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        if self._is_eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.said += data

    def write_eof(self) -> None:
        self._is_eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True

    def close(self) -> None:
        self.is_closed = True

    abort = close


class StagedDaemon:
    """`make_front` makes a new front when a client has ended the one before."""

    def __init__(self, stage: Stage, make_front: Callable[[], Front]) -> None:
        self._stage = stage
        self._make_front = make_front
        self._front = make_front()
        stage._new_child = self._new_child  # type: ignore[method-assign]

    def _new_child(self) -> FakeChild:
        child = ObedientChild(self._stage)
        self._stage.children.append(child)
        return child

    def hears(self, data: bytes, piece: int) -> bytes:
        """One connection that sends `data` in pieces of that length, ends its input and goes; what it was told."""
        if self._front.state is not FrontState.SERVING:
            self._front = self._make_front()
        transport = _Transport()
        connection = self._stage.result(self._connect(transport))
        for start in range(0, len(data), piece):
            if transport.is_closed:
                break
            self._stage.result(self._send(connection, data[start : start + piece]))
        self._stage.pass_time(0.1)
        connection.eof_received()
        self._stage.pass_time(20)
        connection.connection_lost(None)
        self._stage.pass_time(1)
        self._judge(transport)
        return transport.said

    async def _connect(self, transport: _Transport) -> Connection:
        connection = Connection(self._front)
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection

    async def _send(self, connection: Connection, data: bytes) -> None:
        connection.get_buffer(len(data))[: len(data)] = data
        connection.buffer_updated(len(data))

    def _judge(self, transport: _Transport) -> None:
        faults = [*self._stage.faults, *self._front.log.lines]  # type: ignore[attr-defined]
        self._stage.faults.clear()
        assert not faults, faults
        assert b"INTERNAL_ERROR" not in transport.said
        assert not self._front.clients
        assert not any(resource.sessions for resource in self._front.resources.values())
