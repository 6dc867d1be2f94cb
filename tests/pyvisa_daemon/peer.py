"""A scripted daemon: a thread with a real socket that speaks the wire, and says what the test's script says."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

from pyvisa_daemon import wire
from pyvisa_daemon.errors import ERRORS
from pyvisa_daemon.framing import FrameReader
from pyvisa_daemon.functions import FUNCTIONS, Argument
from tests.support.waiting import DEADLINE

Kind = TypeVar("Kind")

NAME = "GPIB0::9::INSTR"
#: The smallest call there is: the arguments of a wire.Call behind its session.
READ_STB: tuple[str, list[Argument]] = ("read_stb", [])
WELCOME = wire.Welcome(wire.VERSION, wire.FEATURES, "test", 1)

#: VI_ATTR_TMO_VALUE, the one attribute that every session has, and its state at first.
_STANDARD = {0x3FFF001A: 2000}


class Conversation:
    """The peer's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._frames = FrameReader()
        self._waiting: list[bytes] = []
        self._sending = threading.Lock()

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
        """All in one go. Any thread may."""
        with self._sending:
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
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
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
            thread = threading.Thread(target=self._converse, args=(Conversation(connection),), daemon=True)
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


class Bench:
    """The script of a daemon whose every instrument answers with what was last written to it.

    The test may `withhold` the answers to some requests and `release` them, and let events `happen`. Everything that
    came is in `requests`.
    """

    def __init__(self) -> None:
        self.requests: list[wire.Request] = []
        self.withheld: dict[int, wire.Request] = {}
        #: What is open, by session, and how often it is locked.
        self.sessions: dict[int, int] = {}
        self.enabled: set[tuple[int, int]] = set()
        self.aliases: dict[str, str] = {}
        self.stb = 16
        self._withholding: tuple[type, ...] = ()
        self._states: dict[tuple[int, int], bool | int | float | str] = {}
        self._written: dict[int, bytes] = {}
        self._parts: dict[int, bytes] = {}
        self._conversations: list[Conversation] = []
        self._numbers = itertools.count(1)
        self._homes: dict[int, Conversation] = {}
        self._opened_by: dict[tuple[Conversation, int], int] = {}

    def __call__(self, conversation: Conversation) -> None:
        conversation.greet()
        self.serve(conversation)

    def serve(self, conversation: Conversation) -> None:
        """Everything behind the hello."""
        self._conversations.append(conversation)
        for request in conversation.requests():
            assert not isinstance(request, wire.Hello)
            self.requests.append(request)
            if isinstance(request, wire.Abandon):
                self.withheld.pop(request.id, None)
                crossed = self._opened_by.pop((conversation, request.id), 0)  # the reply to an open
                self.sessions.pop(crossed, None)
            elif isinstance(request, self._withholding):
                self.withheld[request.id] = request
            else:
                self.answer(request, conversation)

    @property
    def conversation(self) -> Conversation:
        """The newest."""
        return self._conversations[-1]

    def seen(self, kind: type[Kind]) -> list[Kind]:
        """The requests of that kind so far."""
        return [request for request in self.requests.copy() if isinstance(request, kind)]

    def withhold(self, *kinds: type) -> None:
        """From now on such requests are not answered."""
        self._withholding = kinds

    def release(self) -> None:
        """Answers all that was withheld and not abandoned, and whatever comes from now on."""
        self._withholding = ()
        for request in list(self.withheld.values()):
            del self.withheld[request.id]
            self.answer(request)

    def refuse(self, kind: type[Kind], token: str) -> None:
        """Fails the oldest withheld request of that kind."""
        number = next(number for number, request in self.withheld.items() if isinstance(request, kind))
        del self.withheld[number]
        self.conversation.send(refusal(number, token))

    def hang_up(self) -> None:
        """Ends the newest connection, as a daemon that dies does."""
        self.conversation.connection.shutdown(socket.SHUT_RDWR)

    def happen(self, event: int, attributes: wire.Attributes | None = None) -> None:
        """An event, told to each session that has enabled it."""
        for session, enabled in sorted(self.enabled):
            if enabled == event:
                self._homes[session].send(wire.Happened(session, event, attributes or []))

    def answer(self, request: wire.Request, conversation: Conversation | None = None) -> None:
        """On that connection, or the newest."""
        conversation = conversation or self.conversation
        if isinstance(request, wire.Part):
            self._parts[request.id] = self._parts.get(request.id, b"") + request.data
            return
        reply = wire.Reply(request.id, 0)
        match request:
            case wire.Open(id=number):
                session = next(self._numbers)
                self.sessions[session] = 0
                self._homes[session] = conversation
                self._opened_by[conversation, number] = session
                reply = wire.Reply(number, 0, [session, 2000])
            case wire.Close(session=session):
                self.sessions.pop(session, None)
                self.enabled = {(owner, event) for owner, event in self.enabled if owner != session}
            case wire.Write(id=number, session=session, data=data):
                self._written[session] = self._parts.pop(number, b"") + data
                reply = wire.Reply(number, 0, len(self._written[session]))
            case wire.Read(id=number, session=session):
                reply = wire.Reply(number, 0, data=self._written.get(session, b""))
            case wire.Query(id=number, session=session, data=data):
                self._written[session] = data
                reply = wire.Reply(number, 0, data=data)
            case wire.Call(id=number, function=function):
                reply = self._called(number, function)
            case wire.SetAttribute(session=session, attribute=attribute, state=state):
                self._states[session, attribute] = state
            case wire.GetAttribute(id=number, session=session, attribute=attribute):
                reply = self._attribute(number, self._states.get((session, attribute), _STANDARD.get(attribute)))
            case wire.Lock(id=number, session=session, kind=kind, key=key):
                self.sessions[session] += 1
                reply = wire.Reply(number, 0, None if kind == 1 else key or "made")
            case wire.Unlock(session=session):
                self.sessions[session] -= 1
            case wire.EnableEvent(session=session, event=event):
                self.enabled.add((session, event))
            case wire.DisableEvent(session=session, event=event):
                self.enabled.discard((session, event))
            case wire.ListResources(id=number):
                reply = wire.Reply(number, 0, ["ASRL1::INSTR", "GPIB0::9::INSTR"])
            case wire.Find(id=number):
                reply = wire.Reply(number, 0, "listed")
            case wire.Resolve(id=number, resource=alias):
                known = self.aliases.get(alias)
                reply = wire.Reply(number, 0, known) if known else refusal(number, "VI_ERROR_INV_RSRC_NAME")
        conversation.send(reply)

    def _called(self, number: int, function: str) -> wire.Reply:
        gives = {"int": self.stb, "ints": [1, 2], "": None, "bytes": None}[FUNCTIONS[function].gives]
        return wire.Reply(number, 0, gives, b"data" if FUNCTIONS[function].gives == "bytes" else b"")

    def _attribute(self, number: int, state: bool | int | float | str | None) -> wire.Reply:
        return refusal(number, "VI_ERROR_NSUP_ATTR") if state is None else wire.Reply(number, 0, state)


def refusal(number: int, token: str) -> wire.Reply:
    """The reply of a request that failed."""
    return wire.Reply(number, ERRORS[token].status, token=token, text=ERRORS[token].meaning)


def echo(conversation: Conversation) -> None:
    """A bench that nobody has a hand on."""
    Bench()(conversation)


def opening(peer: Conversation) -> None:
    """Hello and one open, as session 77."""
    peer.greet()
    peer.send(wire.Reply(peer.expect(wire.Open).id, 0, [77, 2000]))


def ending(peer: Conversation) -> None:
    """One close."""
    close = peer.expect(wire.Close)
    assert close.session == 77
    peer.send(wire.Reply(close.id, 0))
