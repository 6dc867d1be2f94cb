"""What a PyVISA program has open through the daemon: its resource managers, its sessions, the connection below them.

Runs in the user's process, under `highlevel`. The session numbers that PyVISA sees are made here; the daemon's own,
the connection they live on and what is still under way belong to an `OpenSession`. The first resource manager
connects, and an open connects anew if the connection was lost; sessions from before stay lost.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from threading import get_ident
from time import monotonic
from typing import Any, NamedTuple, cast

from pyvisa.constants import StatusCode
from pyvisa.highlevel import VisaLibraryBase
from pyvisa.typing import VISAHandler, VISASession
from pyvisa.util import LibraryPath

from pyvisa_daemon import hosts, wire
from pyvisa_daemon.answer_ahead import AHEAD, AnswerAhead
from pyvisa_daemon.channel import Channel, reply_limit
from pyvisa_daemon.errors import SUCCESS, Failure
from pyvisa_daemon.events import Occurrence, SessionEvents
from pyvisa_daemon.exchange import Pending
from pyvisa_daemon.inherited_lock import KEY, SHARED, InheritedLock
from pyvisa_daemon.refusals import refuse

#: The library path of a bare "@daemon": the first live host of `hosts.tryIps`, looked for when connecting.
ANY_HOST = LibraryPath("tryIps")

#: Seconds after which a program that reads what is here already tells the daemon so: it is not idle.
SIGN_TIME = 0.5

#: Failures of requests that the daemon did not begin, and such that leave nothing of what was there before; besides
#: those of an instrument's process.
NOT_BEGUN = frozenset({"VI_ERROR_RSRC_LOCKED", "LOCK_LOST", "QUEUE_FULL", "QUEUE_TIMEOUT"})
_ANEW = frozenset({"SESSION_RESET", "VI_ERROR_CONN_LOST", "COMMAND_ABORTED"})

#: A request of `wire` that belongs to a session: made from its own number, the session's and the arguments.
Kind = Callable[..., wire.Request]


@dataclass(slots=True, eq=False)
class Job:
    """An asynchronous operation under way: its request, once it is sent."""

    pending: Pending | None = None


class Unsent(NamedTuple):
    """A message, and the thread that is about to read the answer."""

    message: bytes
    thread: int


@dataclass(slots=True, eq=False)
class OpenSession:
    """One viOpen: the daemon's `number` for it on `channel`, and the resource manager it was opened through."""

    channel: Channel
    number: int
    manager: int
    timeout_ms: int = 2000
    #: A write whose outcome the session's next call collects.
    posted: Pending | None = None
    #: The message of one of PyVISA's own queries, whose read comes next and takes it along.
    unsent: Unsent | None = None
    events: SessionEvents = field(default_factory=SessionEvents)
    #: (event type, handler, user handle), in the order in which they were installed.
    handlers: list[tuple[int, VISAHandler, Any]] = field(default_factory=list)
    #: "listen": the thread that calls the handlers, if any event is enabled for them; setdefault is one step in C.
    turns: dict[str, threading.Thread] = field(default_factory=dict)
    #: Asynchronous operations under way, by job.
    jobs: dict[int, Job] = field(default_factory=dict)
    #: The rest of an answer, or a part of it, that came with the read before; and when the daemon saw us read it.
    ahead: AnswerAhead | None = None
    _seen_at: float = 0.0
    #: VI_ATTR_USER_DATA: the program's own.
    user_data: Any = 0

    def ask(self, kind: Kind, *arguments: object) -> wire.Reply:
        """One request of this session. Raises Failure."""
        return self._succeeded(self.channel.ask(reply_limit(self.timeout_ms), kind, self.number, *arguments))

    def _succeeded(self, reply: wire.Reply) -> wire.Reply:
        """`reply` itself. Raises Failure, after which what is here of an answer is nothing if the instrument has a new
        process or a new line."""
        try:
            return succeeded(reply)
        except Failure as failure:
            if failure.token in _ANEW or failure.token.startswith("INSTRUMENT_"):
                self.ahead = None
            raise

    def read(self, count: int) -> tuple[bytes, int]:
        """viRead: at most `count` bytes and the status. Raises Failure: a posted write's, if that failed."""
        ahead = self.ahead
        if ahead is None:
            return self._read_anew(b"", count)
        self._post()  # not with its read, for old answers come first; unless what was written since is refused
        self.collect()
        taken = ahead.take(count)
        if taken is None:
            return self._read_anew(ahead.rest, count)
        if ahead.is_used_up:
            self.ahead = None
        elif monotonic() - self._seen_at > SIGN_TIME:
            self._seen_at = monotonic()
            self.channel.forget(self.channel.start(wire.Reading, self.number))
        return taken

    def _read_anew(self, rest: bytes, count: int) -> tuple[bytes, int]:
        """viRead of what has come, which is too little, and of what the daemon has. What has come is kept if the rest
        was not asked for, and lost with a read that failed."""
        try:
            reply = self._succeeded(self._request(count - len(rest)))
        except Failure as failure:
            if failure.token not in NOT_BEGUN:
                self.ahead = None
            raise
        self.ahead = None
        if reply.value is None:
            return rest + reply.data, reply.status
        ahead = AnswerAhead(reply.data, cast(int, reply.value))
        data, status = ahead.take(count - len(rest)) or (reply.data, reply.status)
        if len(data) < len(reply.data):
            self.ahead, self._seen_at = ahead, monotonic()
        return rest + data, status

    def _request(self, count: int) -> wire.Reply:
        """One viRead of the daemon's."""
        unsent, self.unsent = self.unsent, None  # before it is sent: Ctrl-C must not send it twice
        if unsent is not None:
            limit = reply_limit(self.timeout_ms)
            return self.channel.ask(limit, wire.Query, self.number, unsent.message, count, AHEAD)
        return self._read_behind(self.posted, count)

    def _read_behind(self, posted: Pending | None, count: int) -> wire.Reply:
        """Goes out at once behind a posted write, and waits once for both, for the write's reply comes first."""
        pending = self.channel.start(wire.Read, self.number, count, None if posted is None else posted.id, AHEAD)
        try:
            reply = self.channel.wait(pending, reply_limit(self.timeout_ms))
        except BaseException:
            self.posted = None
            if posted is not None and not posted.is_done:
                self.channel.abandon(posted)
            raise
        self.collect()
        return reply

    def _post(self) -> None:
        """A message that is unsent goes out by itself."""
        unsent, self.unsent = self.unsent, None
        if unsent is not None:
            self.posted = self.channel.start(wire.Write, self.number, unsent.message)

    def collect(self) -> None:
        """Raises what a posted write came to, if it failed: as Failure. Of a message that is unsent, one of another
        thread's goes out first; one of this thread's was interrupted before its read, and never goes out."""
        if self.unsent is not None and self.unsent.thread != get_ident():
            self._post()
        self.unsent = None
        posted = self.posted
        if posted is not None:
            self.posted = None
            self._succeeded(self.channel.wait(posted, reply_limit(self.timeout_ms)))

    def lock(
        self,
        kind: int,
        timeout_ms: int,
        key: str | None,
        ttl_s: float | None = None,
        reason: str = "",
        *,
        joins: bool = False,
    ) -> wire.Reply:
        """viLock. Interrupted by Ctrl-C it leaves no lock behind, not even one whose grant was on its way."""
        end: dict[None, Pending | None] = {}  # the grant, or None if nobody wants it: whoever is first, in one step

        def granted(pending: Pending) -> None:
            if end.setdefault(None, pending) is None:
                self._give_back(pending)

        try:
            arguments = (self.number, kind, timeout_ms, key, ttl_s, reason, joins)
            pending = self.channel.start_for(granted, wire.Lock, *arguments)
            return succeeded(self.channel.wait(pending, reply_limit(timeout_ms)))
        except BaseException:
            crossed = end.setdefault(None, None)
            if crossed is not None:
                self._give_back(crossed)
            raise

    def share(self, lock: InheritedLock, kind: int, timeout_ms: int) -> None:
        """Joins a lock that this program was started under; then takes the lock of that `kind`, if any. Raises
        Failure."""
        try:
            self.lock(SHARED, max(timeout_ms, self.timeout_ms), lock.key, joins=True)
        except Failure as failure:
            if failure.token != "LOCK_LOST":  # noqa: S105 - the name of an error
                raise
            if lock.daemon in ("", self.channel.address):  # else it is on another daemon's resource of that name
                text = f"{failure.text}; this program was started under it: {KEY} has the key"
                raise Failure(failure.token, text, failure.effect, failure.status) from failure
        if kind:
            self.lock(kind, timeout_ms, None)

    def _give_back(self, lock: Pending) -> None:
        with contextlib.suppress(Failure):
            succeeded(lock.whole())
            self.channel.forget(self.channel.start(wire.Unlock, self.number))


def succeeded(reply: wire.Reply) -> wire.Reply:
    """`reply` itself. Raises Failure if it says that the request failed."""
    if reply.status < SUCCESS:
        raise failure_of(reply)
    return reply


def failure_of(reply: wire.Reply) -> Failure:
    """What `reply` says that went wrong."""
    return Failure(reply.token, reply.text or "the daemon says no more", reply.effect, reply.status)


class SessionLibrary(VisaLibraryBase):
    """The part of the library that every function needs: from PyVISA's numbers to sessions and connections."""

    _sessions: dict[int, OpenSession]
    _managers: set[int]
    _numbers: "count[int]"
    #: What the last search told: canonical name -> alias.
    _aliases: dict[str, str]
    _channel: Channel | None
    _connecting: threading.RLock
    #: The events that were given out and not closed, by context.
    _contexts: dict[int, Occurrence]

    def _init(self) -> None:
        # No I/O: several threads may make several libraries here. QCoDeS calls it again, so it keeps what is there.
        if self.library_path != ANY_HOST:
            hosts.parse(self.library_path)
        if not hasattr(self, "_sessions"):
            self._sessions = {}
            self._managers = set()
            self._numbers = count(1)
            self._aliases = {}
            self._channel = None
            self._contexts = {}
            self._may_connect()
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._may_connect)

    def _may_connect(self) -> None:
        # Anew in a forked process: whoever had it here is not there to give it back.
        self._connecting = threading.RLock()

    def _ask(self, session: int, kind: Kind, *arguments: Any) -> tuple[wire.Reply, StatusCode]:
        """One request of a session and its reply."""
        try:
            opened = self._opened(session)
            opened.collect()
            reply = opened.ask(kind, *arguments)
        except Failure as failure:
            refuse(self, session, failure)
        return reply, self.handle_return_value(VISASession(session), reply.status)

    def _opened(self, session: int) -> OpenSession:
        try:
            return self._sessions[session]
        except KeyError:
            raise Failure("VI_ERROR_INV_OBJECT", "the session is closed, or never was open") from None

    def _manager_channel(self, session: int) -> Channel:
        if session not in self._managers:
            raise Failure("VI_ERROR_INV_OBJECT", "the resource manager is closed")
        try:
            return self._connected()
        except ConnectionError as error:
            raise Failure("VI_ERROR_CONN_LOST", str(error)) from error

    def _connected(self) -> Channel:
        with self._connecting:
            if self._channel is None or not self._channel.is_alive:
                if self.library_path == ANY_HOST:
                    channel = hosts.first_live()
                else:
                    channel = hosts.connect(hosts.parse(self.library_path))
                channel.on_happened = lambda happened: self._happened(channel, happened)
                self._channel = channel
            return self._channel

    def _happened(self, channel: Channel, happened: wire.Happened) -> None:
        for opened in list(self._sessions.values()):
            if opened.channel is channel and opened.number == happened.session:
                attributes: dict[int, object] = dict(happened.attributes)
                opened.events.happened(Occurrence(happened.event, attributes))
