"""A conversation in the text protocol: one request at a time, each with one reply that ends as it ended.

Runs in the front, one for each connection that began with a prefix. Framing is `text_framing`, what the commands do
`text_commands`; here is what is between them: the state of one connection, and when a request is complete.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Protocol

import msgspec

from front_proc.access.gate import Denied
from front_proc.front import Front
from front_proc.languages.text_access import judge, on_record
from front_proc.languages.text_arguments import Arguments
from front_proc.languages.text_commands import (
    PERSONS_NAMES,
    Command,
    Prefix,
    find,
    parse,
    parse_before_block,
    takes_block,
)
from front_proc.languages.text_framing import Request, RequestReader
from front_proc.languages.text_long_messages import Answer, spooled
from front_proc.languages.text_verbs import Exchange
from front_proc.serving.events import RQS, SERVICE_REQUEST
from front_proc.serving.leases import NO_TERMS, Terms
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE, Client, Session
from front_proc.serving.spool import Spool
from front_proc.serving.tickets import Outcome, Ticket, drop
from instrument_proc.pipe import Argument
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.program_message import count_answers

#: Seconds of silence after which an unterminated command counts as whole.
SILENCE = 0.05

#: What is answered while the daemon stops, and what whoever came when there was no room may ask for besides `.!.`.
_WHILE_STOPPING = frozenset({"ping", "status", "end_daemon", "auth"})
_WITHOUT_ROOM = frozenset({"ping", "status", "hello", "help", "auth"})

#: Requests of a client without rights that are answered, and recorded: a person's slips, and no more.
STRANGER_REQUESTS = 10

#: What ends the connection with its reply.
_LAST = frozenset({"AUTH_FAILED", "TOO_MANY_CLIENTS"})


class Line(Protocol):
    """The connection below."""

    def send(self, data: bytes) -> None: ...

    async def sent(self) -> None:
        """Return when most of what was sent has gone."""
        ...

    def has_room(self, resume: Callable[[], None]) -> bool:
        """Does the client keep up with what is sent? If not, `resume` is called when it has."""
        ...

    def close(self) -> None:
        """Close after what was sent has gone."""
        ...

    def end(self) -> None:
        """Close, though the client may still be sending."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Conversation:
    """What one connection has said, has open and has set. `line_due` is when its first line has to be whole."""

    def __init__(self, front: Front, client: Client, line: Line, line_due: float | None = None) -> None:
        self.front = front
        self.client = client
        self.current: Session | None = None
        self.is_tagged = False
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self._takes_block, front.limits.line_length)
        #: Bytes that are read ahead of the request being answered; what is more stays in the socket.
        self._read_ahead = front.limits.line_length + 2
        self._sessions: dict[str, Session] = {}
        self._terminations: dict[Session, tuple[bytes, bytes]] = {}
        #: The sessions that wait for service requests, or did: set when one has come.
        self._requests: dict[Session, asyncio.Event] = {}
        #: The request under way, and the task that serves it if it needs one.
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: When the unfinished line at hand has to be whole.
        self._line_due = line_due
        self._saw_terminator = False
        #: What is unfinished came at once, and while nothing was outstanding.
        self._is_one_piece = True
        self._saw_person = False
        self._is_at_end = False
        self._is_over = False
        #: The request under way became a ticket, and so is on record when it ends.
        self._has_ticket = False
        #: Its success is recorded, though it came to no instrument.
        self._is_on_record = False
        self._requests_of_stranger = 0
        #: Ends the request under way, which has nothing to wait for once its client says more, or no more.
        self._on_more: Callable[[], None] | None = None

    # What the connection brings.

    def received(self, data: bytes) -> None:
        """More bytes from the client."""
        if self._is_over:
            return
        self._is_one_piece = not self._reader and self._request is None
        self._reader.feed(data)
        if self._request is None:
            self._next()
        elif self._on_more is not None:
            self._on_more()
        if self._request is not None and len(self._reader) > self._read_ahead:
            self._line.pause()

    def at_end(self) -> None:
        """The client will send no more; it may still read."""
        self._is_at_end = True
        if self._request is None:
            self._next()
        elif self._on_more is not None:
            self._on_more()

    def left(self) -> None:
        """The connection is gone."""
        self._is_over = True
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        # What there is of a long message must go now: whatever else refers to this may be garbage that is found late.
        self._request = self._task = None
        self._reader = RequestReader(self._takes_block, self.front.limits.line_length)

    def _takes_block(self, line: bytes) -> bool:
        """A block may be long: nothing of one is kept for who may do nothing."""
        return takes_block(line) and not self.client.is_stranger

    # Requests, one at a time.

    def _next(self) -> None:
        """Begin the next request if it is whole; else see to it that it does not take for ever."""
        self._stop_timer()
        try:
            request = self._reader.next()
            while request is not None and not request.line:
                self._saw_terminator = True
                request = self._reader.next()
        except Failure as failure:
            self._give_up(failure)
            return
        if request is not None:
            self._saw_terminator = True
            self._begin(request)
        elif self._is_at_end:
            if self._reader and self._is_acceptable_unterminated():
                self._begin(self._reader.take_rest())
            else:
                self._is_over = True
                self._line.close()
        elif self._reader:
            if self._reader.is_in_block:
                self.client.goes_on()
            if self._line_due is None or self._reader.is_in_block:  # a block has its time with every piece
                self._line_due = self._loop.time() + self.front.limits.line_time
            if self._is_acceptable_unterminated():
                self._timer = self._loop.call_later(SILENCE, self._accept_silence)
            else:
                self._timer = self._loop.call_at(self._line_due, self._line_timed_out)

    def _accept_silence(self) -> None:
        self._timer = None
        self._begin(self._reader.take_rest())

    def _line_timed_out(self) -> None:
        self._timer = None
        self._give_up(Failure("LINE_TIMEOUT", f"no end of line within {self.front.limits.line_time:g} s"))

    def _is_acceptable_unterminated(self) -> bool:
        if self._saw_terminator or not self._is_one_piece:
            return False
        try:
            _, row, _ = parse(self._reader.rest())
        except Failure:
            return False
        return not row.takes_block and (self.client.is_loopback or not row.acts)

    def _begin(self, request: Request) -> None:
        self._line_due = None
        if not self._may_be_served(request):
            self._give_up(Failure("TOO_MANY_CLIENTS", "there is room for looking and for .!. only; try again later"))
            return
        self._request = request
        if not self._exchanges(request):
            self._task = self._loop.create_task(self._serve(request))

    def _may_be_served(self, request: Request) -> bool:
        if self.front.may_work(self.client):
            return True
        try:
            prefix, row, _ = self._parse(request.line) if request.block is None else parse_before_block(request.line)
        except Failure:
            return True  # its reply will say what is wrong with it
        return prefix is Prefix.DAEMON or row.verb in _WITHOUT_ROOM

    def _exchanges(self, request: Request) -> bool:
        """Give a request that is one call on the current session to the instrument at once: its reply is sent from the
        outcome, and no task waits for it. False if it is anything else, or wrong."""
        try:
            prefix, row, arguments = self._parse(request.line)
        except Failure:  # also where a long block is missing from the line: that takes its time
            return False
        if not isinstance(row.run, Exchange) or prefix is Prefix.DAEMON:
            return False
        session = self.current if arguments.target is None else self._sessions.get(arguments.target)
        if session is None or self.front.is_stopping:
            return False
        self._saw_person = self._saw_person or prefix is Prefix.PERSON
        answer = Answer()
        on_outcome = partial(self._exchanged, request, row.run, session, answer)
        data = self.terminated(session, arguments.message) if arguments.message else b""
        session.resource.submit(Ticket(session, row.run.call, on_outcome, answer.add, (), data))
        return True

    def _exchanged(
        self, request: Request, exchange: Exchange, session: Session, answer: Answer, outcome: Outcome
    ) -> None:
        if self._is_over:
            return
        try:
            data = answer.whole(outcome.checked().data)
            if data is None:
                self._task = self._loop.create_task(
                    self._serve_long(request, exchange.long_reply(self, session, answer.pieces, outcome.value))
                )
                return
            reply = exchange.reply(self, session, data, outcome.value)
        except Failure as failure:
            self._line.send(self._marked(error_line(failure), request, is_failed=True))
        else:
            self._line.send(self._marked(reply, request))
        if self._line.has_room(self._ended):  # one reply at a time: who does not read gets no more
            self._ended()

    def _ended(self) -> None:
        """The request under way is answered."""
        self._request = self._task = None
        if self._reader or self._is_at_end:
            self._loop.call_soon(self._go_on)  # not before whoever told of the outcome is done with it

    async def _serve_long(self, request: Request, reply: Iterable[bytes]) -> None:
        await self._send_long(request, reply)
        self._ended()

    async def _send_long(self, request: Request, reply: Iterable[bytes]) -> None:
        """A piece in each turn of the loop, for others have turns as well, and no more than its client reads."""
        tag = b"ok " if self.is_tagged else b""
        try:
            for piece in chain((tag,), reply, (request.terminator,)):
                if piece:
                    self._line.send(piece)
                    await self._line.sent()
                    self.client.goes_on()
                await asyncio.sleep(0)
        except Exception as error:  # a fault of ours: half a reply is out, and nothing can follow it
            self.front.note_fault(error)
            self._is_over = True
            self._line.end()

    def _marked(self, reply: bytes, request: Request, *, is_failed: bool = False) -> bytes:
        tag = (b"err " if is_failed else b"ok ") if self.is_tagged else b""
        return tag + reply + request.terminator

    async def _serve(self, request: Request) -> None:
        is_failed = is_last = self._has_ticket = self._is_on_record = False
        began = self._loop.time()
        try:
            reply = await self._reply(request)
        except Failure as failure:
            is_failed = True
            reply = error_line(failure)
            is_last = failure.token in _LAST
            if not isinstance(failure, Denied):
                self._note(request, began, failure.token, failure.effect)
        except Exception as error:  # a fault of ours must cost this client one error line, and nobody else anything
            self.front.note_fault(error)
            is_failed = True
            reply = error_line(Failure("INTERNAL_ERROR", effect=Effect.MAYBE))
            self._note(request, began, "INTERNAL_ERROR", Effect.MAYBE)
        else:
            if self._is_on_record:
                self._note(request, began, "ok", Effect.NONE)
        if isinstance(reply, bytes):
            self._line.send(self._marked(reply, request, is_failed=is_failed))
            await self._line.sent()  # one reply at a time: who does not read gets no more
        else:
            await self._send_long(request, reply)
        if self.client.is_stranger:
            self._requests_of_stranger += 1
            is_last = is_last or self._requests_of_stranger >= STRANGER_REQUESTS
        if is_last:
            self._is_over = True
            self._line.end()
            return
        self._request = self._task = None
        self._go_on()

    def _note(self, request: Request, began: float, outcome: str, effect: Effect) -> None:
        """Put on record what no ticket does: commands for the daemon, and what came to no instrument."""
        if not self._has_ticket:
            command = on_record(request.line)
            self.front.note_command(self.client, command, outcome, effect, self._loop.time() - began)

    def _go_on(self) -> None:
        if not self._is_over and self._request is None:
            self._next()
            if self._request is None or len(self._reader) <= self._read_ahead:
                self._line.resume()

    async def _reply(self, request: Request) -> bytes | Iterable[bytes]:
        parse_line = self._parse if request.block is None else parse_before_block
        prefix, row, arguments = parse_line(request.line)
        await judge(self, row, arguments, request.line)
        if prefix is Prefix.PERSON:
            self._saw_person = True
        if self.front.is_stopping and row.verb not in _WHILE_STOPPING:
            raise Failure("SHUTTING_DOWN")
        self._is_on_record = row.on_record
        if isinstance(row.run, Exchange):
            return await self._exchange(row.run, arguments, request.block)
        reply = await row.run(self, arguments)
        data = reply.encode() if isinstance(reply, str) else reply
        if prefix is Prefix.PERSON and row.show is not None and data[:1] in (b"[", b"{"):
            between = request.terminator or b"\n"
            return between.join(line.encode() for line in row.show(msgspec.json.decode(data)))
        return data

    def _parse(self, line: bytes) -> tuple[Prefix, Command, Arguments]:
        if self._saw_person and line[:3] not in (b".#.", b"...", b".!."):
            verb = PERSONS_NAMES["query" if count_answers(line) else "write"]
            row = find(Prefix.PROGRAM, verb)
            return Prefix.PERSON, row, row.read(row.syntax, line)
        return parse(line)

    def _give_up(self, failure: Failure) -> None:
        """Framing is lost: say so, and no more."""
        self.front.audit.record("rejected", **self.client.who(), outcome=failure.token, error=failure.text)
        self._line.send(error_line(failure) + b"\n")
        self._is_over = True
        self._line.end()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the commands need.

    async def open(self, name: str) -> Session:
        """This connection's session on a resource, made the current one."""
        canonical = await self.front.canonical(name)
        session = self._sessions.get(canonical)
        if session is None:
            session = await self.front.open(self.client, name)
            self._sessions[canonical] = session
            self._terminations[session] = session.resource.settings.termination
            self.set_termination(session, *self._terminations[session])
        self.current = session
        return session

    async def session(self, name: str | None = None) -> Session:
        """The session on a resource that is open here; the current one by default. Raises Failure(NO_RESOURCE)."""
        if name is None:
            if self.current is None:
                raise Failure("NO_RESOURCE", "no resource is open here; open_resource RESOURCE opens one")
            return self.current
        session = self._sessions.get(name) or self._sessions.get(await self.front.canonical(name))
        if session is None:
            raise Failure("NO_RESOURCE", f"{name} is not open on this connection; open_resource {name} opens it")
        return session

    async def close(self, session: Session) -> None:
        """viClose of one of this connection's sessions."""
        del self._sessions[session.resource.name]
        del self._terminations[session]
        self._requests.pop(session, None)
        if self.current is session:
            self.current = None
        await self.front.close(session)

    def termination(self, session: Session) -> tuple[bytes, bytes]:
        """What ends messages when reading and when writing."""
        return self._terminations[session]

    def set_termination(self, session: Session, read: bytes, write: bytes | None = None) -> None:
        """Only the read termination's last character stops a read; the rest is compared by `stripped`."""
        self._terminations[session] = (read, self._terminations[session][1] if write is None else write)
        attributes = session.resource.service.attributes
        if read:
            attributes.set_local(session, VI_ATTR_TERMCHAR, read[-1])
        ends_by_end = session.resource.service.marks_end and read == b"\n"
        attributes.set_local(session, VI_ATTR_TERMCHAR_EN, bool(read) and not ends_by_end)

    def set_timeout(self, session: Session, timeout_ms: int) -> None:
        """VI_ATTR_TMO_VALUE of this connection's session."""
        session.resource.service.attributes.set_local(session, VI_ATTR_TMO_VALUE, timeout_ms)

    def terminated(self, session: Session, message: bytes) -> bytes:
        """`message` with the write termination."""
        return message + self._terminations[session][1]

    def stripped(self, session: Session, data: bytes) -> bytes:
        """An answer without the read termination."""
        return data.removesuffix(self._terminations[session][0])

    async def _exchange(
        self, exchange: Exchange, arguments: Arguments, block: bytearray | None
    ) -> bytes | Iterable[bytes]:
        """As `_exchanges`, with a session that has to be looked for or a message that is long. Raises Failure."""
        session, answer = await self.session(arguments.target), Answer()
        data: bytes | Spool = b""
        if block is not None:
            try:
                data = await spooled(self.front.spool_folder, arguments.message, block, self.termination(session)[1])
            except OSError as error:
                self.front.note_fault(error)
                raise Failure("VI_ERROR_ALLOC", "the daemon has no room for so long a message") from error
        elif arguments.message:
            data = self.terminated(session, arguments.message)
        outcome = await self.execute(session, exchange.call, (), data, answer.add)
        whole = answer.whole(outcome.data)
        if whole is None:
            return exchange.long_reply(self, session, answer.pieces, outcome.value)
        return exchange.reply(self, session, whole, outcome.value)

    async def execute(
        self,
        session: Session,
        call: str,
        arguments: Sequence[Argument] = (),
        data: bytes | Spool = b"",
        on_piece: Callable[[bytes], None] = drop,
    ) -> Outcome:
        """One call of the child's. Raises Failure."""
        ended: asyncio.Future[Outcome] = self._loop.create_future()
        self._has_ticket = True
        ticket = Ticket(session, call, _settling(ended), on_piece, arguments, data)
        session.resource.submit(ticket)
        return (await ended).checked()

    async def lock(
        self, session: Session, kind: LockKind, key: str | None, timeout_ms: int | None, terms: Terms = NO_TERMS
    ) -> str:
        """viLock; the access key of a shared one. Raises Failure."""
        self._has_ticket = True
        timeout_s = None if timeout_ms is None else timeout_ms / 1000
        return str((await session.resource.lock(session, kind, key, timeout_s, terms)).value or "ok")

    async def lock_lost(self, session: Session) -> str:
        """Why `session` has lost its lock, as soon as it has; `ok` as soon as the client has something else to say, or
        nothing any more. Raises Failure(VI_ERROR_SESN_NLOCKED)."""
        locks = session.resource.service.locks
        self._on_more = partial(locks.end_watch, session)
        if self._reader or self._is_at_end:
            self._loop.call_soon(self._on_more)
        try:
            return await locks.loss(session) or "ok"
        finally:
            self._on_more = None

    def unlock(self, session: Session) -> None:
        """viUnlock. Raises Failure."""
        self._has_ticket = True
        session.resource.service.locks.unlock(session).checked()

    async def wait_for_service_request(self, session: Session, timeout_ms: int | None) -> int:
        """The status byte, as soon as it has RQS. Raises Failure(VI_ERROR_TMO)."""
        if session not in self._requests:
            await self._watch_for_requests(session)
        happened = self._requests[session]
        deadline = None if timeout_ms is None else self._loop.time() + timeout_ms / 1000
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    with session.resource.service.locks.in_use(session):
                        await happened.wait()
            except TimeoutError as error:
                raise Failure("VI_ERROR_TMO", f"no service request within {timeout_ms} ms") from error
            happened.clear()
            try:
                stb = (await self.execute(session, "read_stb")).value
            except Failure:
                happened.set()  # nobody has seen it yet
                raise
            if isinstance(stb, int) and stb & RQS:
                return stb

    async def _watch_for_requests(self, session: Session) -> None:
        happened = asyncio.Event()
        session.on_event = lambda event, attributes: happened.set()
        enabled: asyncio.Future[Outcome] = self._loop.create_future()
        self._has_ticket = True
        session.resource.service.events.enable(session, SERVICE_REQUEST, _settling(enabled))
        (await enabled).checked()
        self._requests[session] = happened


def _settling(ended: "asyncio.Future[Outcome]") -> Callable[[Outcome], None]:
    """Gives `ended` its outcome, unless nobody waits for it any more."""

    def settle(outcome: Outcome) -> None:
        if not ended.done():
            ended.set_result(outcome)

    return settle


def error_line(failure: Failure) -> bytes:
    """A failure as the protocol says it."""
    text = " ".join(failure.text.split())
    return f".#.error {failure.token} effect={failure.effect} {text}".encode("utf-8", "backslashreplace")
