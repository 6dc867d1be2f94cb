"""A conversation in the wire: the PyVISA backend's requests become tickets, their outcomes replies.

Runs in the front, one for each connection that began with the wire's magic. Requests that go to an instrument need no
task: their reply is sent from the ticket's outcome. The others (open, close, lock, list, find) have one each.

To add a request: its Struct in `pyvisa_daemon.wire` and its row in _CALLS, _DIRECT or _TASKS. A VISA function that
needs nothing but passing on is a row of `pyvisa_daemon.functions` and nothing here.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from front_proc.access.gate import COMES_FIRST, Denied
from front_proc.access.rights import Role
from front_proc.front import Front
from front_proc.languages.text_conversation import Line
from front_proc.serving.leases import terms
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_RSRC_LOCK_STATE, VI_TMO_INFINITE, Client, Session
from front_proc.serving.spool import Spool
from front_proc.serving.tickets import Outcome, Ticket, described
from instrument_proc.pipe import Argument
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.framing import FrameError, FrameReader
from pyvisa_daemon.functions import FUNCTIONS
from pyvisa_daemon.version import __version__

#: Bytes of the writes that one connection has not finished sending: on disk, see `spool`.
WRITE_LIMIT = 1 << 32

#: Characters of an attribute's state.
STATE_LIMIT = 4096

#: Bytes beyond its count that a read may bring of its answer.
AHEAD_LIMIT = 1 << 20

#: Sessions that one connection may have open; as many writes may be under way.
SESSION_LIMIT = 1000

#: Bytes of a stranger's hello.
HELLO_LIMIT = 1 << 14

#: viOpen's access modes (VPP-4.3, 4.3.1), of which the lock is one part.
_LOCK_BITS, _ACCESS_MODES = 0b011, range(8)


class _OnRecord(Failure):
    """What has a record of its own already."""


def _in_words(request: Any) -> str:
    """A request for the audit that came to no instrument."""
    said = getattr(request, "function", "") or getattr(request, "resource", "")
    return described(type(request).__name__.lower(), getattr(request, "data", b"") or said.encode())


def _call(request: wire.Call) -> tuple[str, list[Argument]]:
    """Raises Failure for what is no row of the table, or has other arguments."""
    function = FUNCTIONS.get(request.function)
    if function is None:
        raise Failure("VI_ERROR_NSUP_OPER", f"{request.function[:40]!r} is not to be had through a daemon")
    if not function.accepts(request.arguments):
        raise Failure("BAD_ARGUMENT", f"{function.visa} takes other arguments")
    return function.name, list(request.arguments)


def _set_attribute(request: wire.SetAttribute) -> tuple[str, list[Argument]]:
    if isinstance(request.state, str) and len(request.state) > STATE_LIMIT:
        raise Failure("BAD_ARGUMENT", f"an attribute has at most {STATE_LIMIT} characters")
    state = request.state.encode() if isinstance(request.state, str) else request.state
    return "set_attribute", [request.attribute, state]


#: request -> the child's call and its arguments.
_CALLS: dict[type[Any], Callable[[Any], tuple[str, list[Argument]]]] = {
    wire.Write: lambda request: ("write", []),
    wire.Read: lambda request: ("read", [request.count]),
    wire.Query: lambda request: ("write_read", [request.count]),
    wire.Call: _call,
    wire.GetAttribute: lambda request: ("get_attribute", [request.attribute]),
    wire.SetAttribute: _set_attribute,
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
        self._heard_of_stranger = 0
        #: Judges a token that is not known.
        self._checking: asyncio.Task[None] | None = None
        self._sessions: dict[int, Session] = {}
        self._last_session = 0
        #: Writes whose end has not come, by request; None for one that cannot be kept.
        self._spools: dict[int, Spool | None] = {}
        #: The newest write of each session, and its request: a read may name it, once. None: it did not become one.
        self._written: dict[Session, tuple[int, Ticket | None]] = {}
        #: What is under way, by request; and what was opened by which.
        self._tickets: dict[int, Ticket] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._opened_by: dict[int, int] = {}

    def received(self, data: bytes) -> None:
        """More bytes from the client."""
        if self._client.is_stranger:
            self._heard_of_stranger += len(data)
            if self._heard_of_stranger > HELLO_LIMIT:
                self._refuse(Failure("BAD_PROTOCOL", f"a hello has at most {HELLO_LIMIT} bytes"))
                return
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
        for task in tuple(self._tasks.values()):
            task.cancel()
        if self._checking is not None:
            self._checking.cancel()
        for spool in self._spools.values():
            if spool is not None:
                spool.close()
        self._spools.clear()

    def _refuse(self, failure: Failure) -> None:
        if self._is_over:
            return
        if not isinstance(failure, Denied):
            self._front.audit.record("rejected", **self._client.who(), outcome=failure.token, error=failure.text)
        self._send(wire.Refused(failure.token, failure.text))
        self._is_over = True
        self._line.end()

    def _send(self, message: wire.Answer) -> None:
        self._line.send(wire.encode(message))

    def _obey(self, request: wire.Hello | wire.Request) -> None:
        if self._is_welcome and type(request) in _CALLS:
            self._carry_out(request)
        elif isinstance(request, wire.Hello) != (not self._is_welcome):
            self._refuse(Failure("BAD_PROTOCOL", "the first message is a hello, and no other is"))
        elif isinstance(request, wire.Hello):
            self._welcome(request)
        elif isinstance(request, wire.Part):
            self._keep_part(request)
        elif isinstance(request, wire.Abandon):
            self._abandon(request)
        elif type(request) in _TASKS:
            self._start(request)
        else:
            self._carry_out(request)

    def _welcome(self, hello: wire.Hello) -> None:
        if hello.version != wire.VERSION:
            mine, theirs = wire.VERSION, hello.version
            older = "client" if theirs < mine else "daemon"
            text = f"the daemon speaks version {mine} of the wire, the client {theirs}"
            self._refuse(Failure("BAD_VERSION", f"{text}: update pyvisa-daemon on the {older}"))
            return
        if self._checking is not None:  # one token is judged at a time
            self._refuse(Failure("BAD_PROTOCOL", "the answer to a hello comes before anything else"))
            return
        shown = hello.credentials.get("token")
        try:
            is_known = shown is None or self._front.access.recognises(self._client, shown)
        except Failure as failure:
            self._refuse(failure)
            return
        if shown is not None and not is_known:
            self._checking = asyncio.get_running_loop().create_task(self._check(hello, shown))
        elif self._client.is_stranger:
            self._refuse(Failure("FORBIDDEN", COMES_FIRST))
        else:
            self._let_in(hello)

    async def _check(self, hello: wire.Hello, shown: str) -> None:
        """Of a token that is not known, or not yet. Until that is clear the client has nothing to say."""
        try:
            await self._front.access.check(self._client, shown)
        except Failure as failure:
            self._refuse(failure)
        except Exception as error:  # a fault of ours must not leave the client waiting
            self._front.note_fault(error)
            self._refuse(Failure("INTERNAL_ERROR"))
        else:
            if not self._is_over:
                self._let_in(hello)

    def _let_in(self, hello: wire.Hello) -> None:
        self._is_welcome = True
        self._client.introduce(hello.name or hello.program)
        self._send(wire.Welcome(wire.VERSION, wire.FEATURES, __version__, os.getpid()))

    # Requests of a session.

    def _keep_part(self, part: wire.Part) -> None:
        self._client.goes_on()
        spool = self._spools.get(part.id)
        try:
            if part.id not in self._spools:
                if len(self._spools) >= SESSION_LIMIT:
                    raise FrameError("too many unfinished writes")
                # Who has nothing open has nothing to write to, and may not be one who may.
                spool = self._spools[part.id] = Spool(self._front.spool_folder) if self._sessions else None
            if spool is not None and sum(len(kept) for kept in self._spools.values() if kept) < WRITE_LIMIT:
                spool.add(part.data)
                return
        except OSError as error:
            self._front.note_fault(error)
        if spool is not None:
            spool.close()
        self._spools[part.id] = None  # what else comes of it is dropped, and the write fails

    def _data(self, write: wire.Write) -> bytes | Spool:
        """The whole of a write. Raises Failure, with nothing written."""
        if write.id not in self._spools:
            return write.data
        self._keep_part(wire.Part(write.id, write.data))
        spool = self._spools.pop(write.id)
        if spool is None:
            raise Failure("VI_ERROR_ALLOC", "the daemon has no room for so long a message")
        return spool

    def _carry_out(self, request: Any) -> None:
        """A request of a session that is open."""
        try:
            if self._front.is_stopping:
                raise Failure("SHUTTING_DOWN")
            session = self._session(request.session)
            data: bytes | Spool = b""
            if isinstance(request, wire.Write):
                self._written[session] = (request.id, None)
                data = self._data(request)
            elif isinstance(request, wire.Query):
                self._written.pop(session, None)
                data = request.data
            if type(request) in _DIRECT:
                _DIRECT[type(request)](session, request, partial(self._ended, request.id))
            else:
                call, arguments = _CALLS[type(request)](request)
                self._submit(session, request, call, arguments, data)
        except Failure as failure:
            spool = self._spools.pop(request.id, None)
            if spool is not None:
                spool.close()
            self._fail(request.id, failure)
            self._front.note_command(self._client, _in_words(request), failure.token, failure.effect, 0.0)

    def _session(self, number: int) -> Session:
        session = self._sessions.get(number)
        if session is None:
            raise Failure("NO_RESOURCE", "the session is closed, or was never open")
        return session

    def _submit(
        self, session: Session, request: Any, call: str, arguments: list[Argument], data: bytes | Spool
    ) -> None:
        if call == "get_attribute" and arguments == [VI_ATTR_RSRC_LOCK_STATE]:
            self._ended(request.id, Outcome(value=session.resource.service.locks.state))
            return

        def give(piece: bytes) -> None:
            self._send(wire.Piece(request.id, piece))
            if not self._line.has_room(session.resource.service.resume):
                session.resource.service.pause()

        ticket = Ticket(
            session,
            call,
            partial(self._ended, request.id),
            give,
            arguments,
            data,
        )
        if isinstance(request, wire.Write):
            self._written[session] = (request.id, ticket)
        elif isinstance(request, wire.Read) and request.after is not None:
            number, written = self._written.pop(session, (None, None))
            if number == request.after and written is None:
                raise Failure("WRITE_FAILED")
            ticket.after = written if number == request.after else None
        if isinstance(request, wire.Read | wire.Query) and not session.resource.name.startswith("ASRL"):
            ticket.ahead = min(max(0, request.ahead), AHEAD_LIMIT)  # a serial line's reads end in ways of their own
        self._tickets[request.id] = ticket
        session.resource.submit(ticket)

    def _abandon(self, request: wire.Abandon) -> None:
        ticket, task = self._tickets.get(request.id), self._tasks.get(request.id)
        if ticket is not None:
            ticket.session.resource.service.abandon(ticket)
        if (spool := self._spools.get(request.id)) is not None:
            spool.close()
            self._spools[request.id] = None  # what else comes of it is dropped, and the write fails
        if task is not None and not task.done():
            task.cancel()
        elif request.id in self._opened_by:  # its reply has crossed this
            session = self._sessions.pop(self._opened_by.pop(request.id), None)
            if session is not None:
                session.resource.drop_session(session)

    def _ended(self, number: int, outcome: Outcome) -> None:
        self._tickets.pop(number, None)
        value: wire.Value = list(outcome.value) if isinstance(outcome.value, list) else outcome.value
        self._send(wire.Reply(number, outcome.status, value, outcome.data, outcome.token, outcome.effect, outcome.text))

    def _fail(self, number: int, failure: Failure) -> None:
        self._send(wire.Reply(number, failure.status, token=failure.token, effect=failure.effect, text=failure.text))

    # Requests to the daemon.

    def _start(self, request: Any) -> None:
        if len(self._tasks) >= SESSION_LIMIT:
            self._fail(request.id, Failure("QUEUE_FULL", f"a connection has at most {SESSION_LIMIT} such requests"))
            return
        task = asyncio.get_running_loop().create_task(self._serve(request))
        self._tasks[request.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(request.id, None))

    async def _serve(self, request: Any) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if self._front.is_stopping:
                raise Failure("SHUTTING_DOWN")
            await self._judge(request)
            answer = await _TASKS[type(request)](self, request)
        except Failure as error:
            failure = error
        except Exception as error:  # a fault of ours must cost this request one reply, and nobody else anything
            self._front.note_fault(error)
            failure = Failure("INTERNAL_ERROR", effect=Effect.MAYBE)
        else:
            self._send(wire.Reply(request.id, *answer))
            return
        self._fail(request.id, failure)
        if not isinstance(failure, _OnRecord | Denied):
            seconds = loop.time() - began
            self._front.note_command(self._client, _in_words(request), failure.token, failure.effect, seconds)

    async def _judge(self, request: Any) -> None:
        """May this client have the resource that the request names? Raises Denied."""
        role, rights = ROLES.get(type(request), Role.NONE), self._client.rights
        if rights.is_unlimited or not role or isinstance(request, wire.ListResources | wire.Find):
            return  # the last two leave out what the client may not see
        resource = await self._front.canonical(request.resource)
        if not rights.suffices(role, resource):
            raise self._front.access.denied(self._client, resource, _in_words(request), role)

    async def _open(self, request: wire.Open) -> "_Answer":
        if request.access_mode not in _ACCESS_MODES or request.access_mode & _LOCK_BITS == _LOCK_BITS:
            raise Failure("VI_ERROR_INV_ACC_MODE", f"{request.access_mode} is no access mode")
        if len(self._sessions) >= SESSION_LIMIT:
            raise Failure("VI_ERROR_ALLOC", f"a connection has at most {SESSION_LIMIT} sessions")
        session = await self._front.open(self._client, request.resource)
        try:
            if kind := request.access_mode & _LOCK_BITS:
                await session.resource.lock(session, LockKind(kind), None, _seconds(request.open_timeout_ms))
        except BaseException:  # without its lock there is no session, whoever waited for it
            session.resource.drop_session(session)
            raise
        self._last_session = number = self._last_session + 1
        self._sessions[number] = session
        self._opened_by[request.id] = number
        session.on_event = lambda event, attributes: self._tell(number, event, attributes)
        timeout_ms = VI_TMO_INFINITE if session.timeout_ms is None else session.timeout_ms
        return 0, [number, timeout_ms], b""

    def _tell(self, number: int, event: int, attributes: wire.Attributes) -> None:
        """An event; but not to a client that does not read, whose queue is full by now."""
        if self._line.has_room(_go_on):
            self._send(wire.Happened(number, event, attributes))

    async def _close(self, request: wire.Close) -> "_Answer":
        session = self._session(request.session)
        del self._sessions[request.session]
        self._opened_by = {opener: number for opener, number in self._opened_by.items() if number != request.session}
        self._written.pop(session, None)
        await self._front.close(session)
        return 0, None, b""

    async def _lock(self, request: wire.Lock) -> "_Answer":
        session = self._session(request.session)
        asked, timeout_s = terms(request.ttl_s, request.reason), _seconds(request.timeout_ms)
        lock = session.resource.lock(session, request.kind, request.key, timeout_s, asked, joins=request.joins)
        try:
            outcome = await lock
        except Failure as failure:
            raise _OnRecord(failure.token, failure.text, failure.effect, failure.status) from failure
        return outcome.status, outcome.value if isinstance(outcome.value, str) else None, b""

    async def _list(self, _: wire.ListResources) -> "_Answer":
        names = [name for name in await self._front.list_resources() if self._client.rights.sees(name)]
        aliases = {name: aliases[0] for name in names if (aliases := self._front.aliases_of(name))}
        return 0, [*names], wire.with_aliases(aliases)

    async def _resolve(self, request: wire.Resolve) -> "_Answer":
        return 0, await self._front.canonical(request.resource), b""

    async def _find(self, request: wire.Find) -> "_Answer":
        found = await self._front.find(request.resource)
        rights = self._client.rights
        if found != "unknown" and not (
            rights.is_unlimited or rights.sees(await self._front.canonical(request.resource))
        ):
            found = "unknown"
        return 0, found, b""


def _go_on() -> None:
    """There is room for events again; those that there was none for are lost."""


def _goes_on_reading(session: Session, _: wire.Reading, ended: "_OnOutcome") -> None:
    session.resource.service.goes_on(session)
    ended(Outcome(effect=Effect.NONE))


def _seconds(timeout_ms: int) -> float | None:
    return None if timeout_ms == VI_TMO_INFINITE else timeout_ms / 1000


#: A VISA status that is no error, and the reply's value.
_Answer = tuple[int, wire.Value, bytes]

_OnOutcome = Callable[[Outcome], None]

#: Requests of a session that need neither a ticket nor a task.
_DIRECT: dict[type[Any], Callable[[Session, Any, _OnOutcome], None]] = {
    wire.Reading: _goes_on_reading,
    wire.Unlock: lambda session, _, ended: ended(session.resource.service.locks.unlock(session)),
    wire.Confirm: lambda session, request, ended: ended(
        session.resource.service.confirm(session, request.reason).checked()
    ),
    wire.EnableEvent: lambda session, request, ended: session.resource.service.events.enable(
        session, request.event, ended
    ),
    wire.DisableEvent: lambda session, request, ended: session.resource.service.events.disable(
        session, request.event, ended
    ),
}

_TASKS: dict[type[Any], Callable[[WireConversation, Any], Awaitable[_Answer]]] = {
    wire.Open: WireConversation._open,
    wire.Close: WireConversation._close,
    wire.Lock: WireConversation._lock,
    wire.ListResources: WireConversation._list,
    wire.Resolve: WireConversation._resolve,
    wire.Find: WireConversation._find,
}

#: What a request takes, on the resource that it names. Those that name a session take nothing more: it could be opened.
ROLES: dict[type[Any], Role] = {
    wire.Hello: Role.OBSERVE,
    wire.ListResources: Role.OBSERVE,
    wire.Resolve: Role.OBSERVE,
    wire.Find: Role.OBSERVE,
    wire.Open: Role.USE,
}
