"""A scripted daemon: a thread with a real socket that speaks the wire, and says what the test's script says."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from pyvisa_daemon import wire
from pyvisa_daemon.framing import FrameReader
from tests.support.waiting import DEADLINE

Kind = TypeVar("Kind")

WELCOME = wire.Welcome(wire.VERSION, wire.FEATURES, "test", 1)


class Conversation:
    """The peer's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._frames = FrameReader()
        self._waiting: list[bytes] = []

    def receive_magic(self) -> None:
        assert self.connection.recv(len(wire.MAGIC), socket.MSG_WAITALL) == wire.MAGIC

    def greet(self, answer: wire.Answer = WELCOME) -> wire.Hello:
        """Takes magic and hello, and answers."""
        self.receive_magic()
        hello = self.receive()
        assert isinstance(hello, wire.Hello)
        self.send(answer)
        return hello

    def receive(self) -> wire.Hello | wire.Request:
        """The next message. Raises EOFError when the client has left."""
        while not self._waiting:
            data = self.connection.recv(1 << 16)
            if not data:
                raise EOFError
            self._waiting += self._frames.feed(data)
        return wire.decode_request(self._waiting.pop(0))

    def expect(self, kind: type[Kind]) -> Kind:
        """The next message, which must be one of these."""
        message = self.receive()
        assert isinstance(message, kind), message
        return message

    def requests(self) -> Iterator[wire.Hello | wire.Request]:
        """All until the client leaves."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                yield self.receive()

    def send(self, *answers: wire.Answer) -> None:
        self.connection.sendall(b"".join(map(wire.encode, answers)))


class Peer:
    """Listens on a free port; `script` runs once for each connection, in a thread of its own."""

    def __init__(self, script: Callable[[Conversation], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._failures: list[BaseException] = []
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stops listening, hangs up, and raises what went wrong in a script."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(DEADLINE)
        self.hang_up()
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()
        for connection in self._connections:
            connection.close()
        if self._failures:
            raise self._failures[0]

    def hang_up(self) -> None:
        """Ends every connection, as a daemon that dies does."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            thread = threading.Thread(target=self._converse, args=(Conversation(connection),))
            self._threads.append(thread)
            thread.start()

    def _converse(self, conversation: Conversation) -> None:
        try:
            self._script(conversation)
        except (EOFError, ConnectionError):
            pass  # the client left, or the test hung up
        except BaseException as failure:  # a failed assertion, for `end` to raise where pytest sees it
            self._failures.append(failure)
        finally:
            with contextlib.suppress(OSError):
                conversation.connection.shutdown(socket.SHUT_RDWR)


def echo(conversation: Conversation) -> None:
    """A daemon whose every instrument answers with what was last written to it, and knows nothing of attributes."""
    conversation.greet()
    written: dict[int, bytes] = {}
    parts: dict[int, bytes] = {}
    for message in conversation.requests():
        match message:
            case wire.Open(id=number):
                conversation.send(wire.Reply(number, 0, value=number))
            case wire.Part(id=number, data=data):
                parts[number] = parts.get(number, b"") + data
            case wire.Write(id=number, session=session, data=data):
                written[session] = parts.pop(number, b"") + data
                conversation.send(wire.Reply(number, 0, value=len(written[session])))
            case wire.Read(id=number, session=session):
                conversation.send(wire.Reply(number, 0, data=written.get(session, b"")))
            case wire.ReadStb(id=number):
                conversation.send(wire.Reply(number, 0, value=16))
            case wire.ListResources(id=number):
                conversation.send(wire.Reply(number, 0, value=["ASRL1::INSTR", "GPIB0::9::INSTR"]))
            case wire.Find(id=number):
                conversation.send(wire.Reply(number, 0, value="listed"))
            case wire.GetAttribute(id=number):
                conversation.send(wire.Reply(number, -1073807331, token="VI_ERROR_NSUP_ATTR", text="unknown"))
            case wire.SetAttribute() | wire.Clear() | wire.Close() | wire.AssertTrigger():
                conversation.send(wire.Reply(message.id, 0))
