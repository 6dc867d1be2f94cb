"""A conversation in the wire: the PyVISA backend's requests become tickets, their outcomes replies.

Runs in the front, one for each connection that began with the wire's magic. Requests that go to an instrument need no
task: their reply is sent from the ticket's outcome. The others (open, close, list, find) have one each.

To add a request: its Struct in `pyvisa_daemon.wire` and its row in _CALLS or _TASKS.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from front_proc.front import Front
from front_proc.sessions import Client, Session
from front_proc.text_conversation import Line, described
from front_proc.tickets import Outcome, State, Ticket
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.framing import FrameError, FrameReader
from pyvisa_daemon.program_message import contains_query, count_answers
from pyvisa_daemon.version import __version__

#: Bytes of the writes that one connection has not finished sending.
WRITE_LIMIT = 1 << 28

#: Characters of an attribute's state.
STATE_LIMIT = 4096

#: Sessions that one connection may have open.
SESSION_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """How a request becomes a ticket: the child's call and the request's fields that are its arguments."""

    name: str
    fields: tuple[str, ...] = ()
    continues: bool = False

    def arguments(self, request: Any) -> list[State]:
        return [getattr(request, field) for field in self.fields]


_CALLS: dict[type[Any], Call] = {
    wire.Write: Call("write"),
    wire.Read: Call("read", ("count",), continues=True),
    wire.Clear: Call("clear"),
    wire.ReadStb: Call("read_stb"),
    wire.AssertTrigger: Call("assert_trigger", ("protocol",)),
    wire.GetAttribute: Call("get_attribute", ("attribute",)),
    wire.SetAttribute: Call("set_attribute", ("attribute", "state")),
}


class WireConversation:
    """What one PyVISA program has open, and what it waits for."""

    def __init__(self, front: Front, client: Client, line: Line) -> None:
        self._front = front
        self._client = client
        self._line = line
        self._frames = FrameReader()
        self._is_welcome = False
        self._is_over = False
        self._sessions: dict[int, Session] = {}
        self._last_session = 0
        self._parts: dict[int, list[bytes]] = {}
        self._parts_size = 0
        self._posted: dict[int, Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def received(self, data: bytes) -> None:
        """More bytes from the client."""
        try:
            for message in self._frames.feed(data):
                if self._is_over:
                    return
                self._obey(wire.decode_request(message))
        except (FrameError, wire.DecodeError) as error:
            self._refuse(Failure("BAD_PROTOCOL", f"not a message of the wire: {error}"))

    def at_end(self) -> None:
        """A program of ours never half-closes: it is gone."""
        self._is_over = True
        self._line.close()

    def left(self) -> None:
        """The connection is gone."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()

    def _refuse(self, failure: Failure) -> None:
        self._front.audit.record("rejected", **self._client.who(), outcome=failure.token, error=failure.text)
        self._send(wire.Refused(failure.token, failure.text))
        self._is_over = True
        self._line.end()

    def _send(self, message: wire.Answer) -> None:
        self._line.send(wire.encode(message))

    def _obey(self, request: wire.Hello | wire.Request) -> None:
        if isinstance(request, wire.Hello) != (not self._is_welcome):
            self._refuse(Failure("BAD_PROTOCOL", "the first message is a hello, and no other is"))
        elif isinstance(request, wire.Hello):
            self._welcome(request)
        elif isinstance(request, wire.Part):
            self._keep_part(request)
        elif type(request) in _CALLS:
            self._submit(request, _CALLS[type(request)])
        else:
            self._start(request)

    def _welcome(self, hello: wire.Hello) -> None:
        if hello.version != wire.VERSION:
            mine, theirs = wire.VERSION, hello.version
            older = "client" if theirs < mine else "daemon"
            text = f"the daemon speaks version {mine} of the wire, the client {theirs}"
            self._refuse(Failure("BAD_VERSION", f"{text}: update pyvisa-daemon on the {older}"))
            return
        self._is_welcome = True
        self._client.introduce(hello.name or hello.program)
        self._send(wire.Welcome(wire.VERSION, wire.FEATURES, __version__, os.getpid()))

    # Requests that go to an instrument.

    def _keep_part(self, part: wire.Part) -> None:
        self._parts.setdefault(part.id, []).append(part.data)
        self._parts_size += len(part.data)
        if self._parts_size > WRITE_LIMIT or len(self._parts) > SESSION_LIMIT:
            self._refuse(Failure("BAD_ARGUMENT", f"unfinished writes have at most {WRITE_LIMIT} bytes"))

    def _submit(self, request: Any, call: Call) -> None:
        session = self._sessions.get(request.session)
        data = b""
        if isinstance(request, wire.Write):
            parts = self._parts.pop(request.id, [])
            self._parts_size -= sum(map(len, parts))
            data = b"".join([*parts, request.data])
        if self._front.is_stopping:
            self._fail(request.id, Failure("SHUTTING_DOWN"))
            return
        if session is None:
            self._fail(request.id, Failure("NO_RESOURCE", "the session is closed, or was never open"))
            return
        after = self._posted.pop(request.after, None) if isinstance(request, wire.Read) and request.after else None
        arguments = call.arguments(request)
        if any(isinstance(argument, str) and len(argument) > STATE_LIMIT for argument in arguments):
            self._fail(request.id, Failure("BAD_ARGUMENT", f"an attribute has at most {STATE_LIMIT} characters"))
            return
        ticket = Ticket(
            session,
            call.name,
            lambda outcome: self._ended(request.id, outcome),
            lambda piece: self._send(wire.Piece(request.id, piece)),
            arguments,
            data,
            command=described(call.name, data, arguments),
            holds=isinstance(request, wire.Write) and contains_query(data),
            answers=count_answers(data),
            continues=call.continues,
            after=after,
        )
        if ticket.holds:
            self._remember(request.id, ticket)
        session.resource.submit(ticket)

    def _remember(self, number: int, ticket: Ticket) -> None:
        """A read that follows may name this write; only the newest of a session can be named."""
        for other, earlier in tuple(self._posted.items()):
            if earlier.session is ticket.session:
                del self._posted[other]
        self._posted[number] = ticket

    def _ended(self, number: int, outcome: Outcome) -> None:
        self._send(
            wire.Reply(number, outcome.status, outcome.value, outcome.data, outcome.token, outcome.effect, outcome.text)
        )

    def _fail(self, number: int, failure: Failure) -> None:
        self._send(wire.Reply(number, failure.status, token=failure.token, effect=failure.effect, text=failure.text))

    # Requests to the daemon.

    def _start(self, request: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Any) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if self._front.is_stopping:
                raise Failure("SHUTTING_DOWN")
            value = await _TASKS[type(request)](self, request)
        except Failure as error:
            failure = error
        except Exception as error:  # a fault of ours must cost this request one reply, and nobody else anything
            self._front.note_fault(error)
            failure = Failure("INTERNAL_ERROR", effect=Effect.MAYBE)
        else:
            self._send(wire.Reply(request.id, 0, value))
            return
        self._fail(request.id, failure)
        command = f"{type(request).__name__.lower()} {getattr(request, 'resource', '')}".rstrip()
        self._front.note_command(self._client, command, failure.token, failure.effect, loop.time() - began)

    async def _open(self, request: wire.Open) -> wire.Value:
        if request.access_mode != 0:
            raise Failure("VI_ERROR_INV_ACC_MODE", "locks are not there yet: open with AccessModes.no_lock")
        if len(self._sessions) >= SESSION_LIMIT:
            raise Failure("VI_ERROR_ALLOC", f"a connection has at most {SESSION_LIMIT} sessions")
        session = await self._front.open(self._client, request.resource)
        self._last_session += 1
        self._sessions[self._last_session] = session
        return self._last_session

    async def _close(self, request: wire.Close) -> wire.Value:
        session = self._sessions.pop(request.session, None)
        if session is None:
            raise Failure("NO_RESOURCE", "the session is closed, or was never open")
        self._posted = {number: ticket for number, ticket in self._posted.items() if ticket.session is not session}
        await self._front.close(session)
        return None

    async def _list(self, _: wire.ListResources) -> wire.Value:
        return await self._front.list_resources()

    async def _find(self, request: wire.Find) -> wire.Value:
        return await self._front.find(request.resource)


_TASKS: dict[type[Any], Callable[[WireConversation, Any], Awaitable[wire.Value]]] = {
    wire.Open: WireConversation._open,
    wire.Close: WireConversation._close,
    wire.ListResources: WireConversation._list,
    wire.Find: WireConversation._find,
}
