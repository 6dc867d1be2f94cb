"""One TCP connection to a daemon, spoken in the wire and shared by every thread of a program.

Runs in the user's process; knows sockets, threads and the wire, nothing of VISA sessions and nothing of PyVISA.

Nobody reads in the background. Whoever waits for a reply tries to become the reader (the leader), hands out whatever
arrives, and offers the reading to another waiter when its own reply is there. Sending is alike: whoever finds the
sending free sends all that is queued, others' requests too. Both turns are only ever *tried*: there is no lock to block
on, which is what makes a call safe that comes from a finaliser in the middle of another call of the same thread. Its
request is queued and goes out between two frames; only waiting for an answer is refused there.

Ctrl-C loses nothing. Python raises KeyboardInterrupt between two calls of a function, never within one that C carries
out. So what a socket took or gave is noted in that call (`list.extend(map(socket.send, ...))`), a step's result is
stored by one assignment without calls, and each step can be done again. A late reply finds nobody and is dropped.
After a fork the connection stays its parent's.
"""

import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from itertools import count
from queue import Empty
from threading import get_ident
from time import monotonic
from types import FrameType
from typing import Concatenate, ParamSpec, TypeVarTuple
from weakref import WeakSet

from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.exchange import Pending, Waiter
from pyvisa_daemon.framing import FrameError
from pyvisa_daemon.inbox import Inbox
from pyvisa_daemon.sockets import AT_ONCE, is_ready, let_recv_sleep

#: Seconds that a command may wait in the daemon for its turn.
QUEUE_LIMIT = 120.0

#: Seconds beyond queue and timeouts: a process may have to start (10), open its instrument (15), be killed and reopen.
SLACK = 60.0

#: VI_TMO_INFINITE, in milliseconds.
INFINITE_MS = 0xFFFFFFFF

#: Seconds that anybody sleeps in one go. Windows sees Ctrl-C only in between.
_TICK = 1.0

#: All that there are, for a forked process.
_channels: "WeakSet[Channel]" = WeakSet()

_Arguments = ParamSpec("_Arguments")
_Work = TypeVarTuple("_Work")


def reply_limit(timeout_ms: float) -> float | None:
    """Seconds to wait for the reply to a command with this VISA timeout; None for ever, if that is infinite."""
    return None if timeout_ms >= INFINITE_MS else QUEUE_LIMIT + 2 * timeout_ms / 1000 + SLACK


class Channel:
    """A connection on which the daemon has said Welcome (see `hosts.connect`); any thread may use it.

    `connection` becomes the channel's own; `address` is for people.
    """

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.address = address
        self._socket = connection
        self._recv_sleeps = let_recv_sleep(connection, int(_TICK))
        self._lost: str | None = None
        self._numbers = count(1)
        self._pending: dict[int, Pending] = {}
        self._waiting: dict[Waiter, None] = {}
        self._outbox: deque[Pending] = deque()
        self._inbox = Inbox()
        self._turns: dict[str, int] = {}  # "read" and "send": the thread that has it; setdefault is one step in C
        self._happened: wire.Happened | None = None
        #: Told of events by whoever reads them; quick, and twice rather than not at all.
        self.on_happened: Callable[[wire.Happened], None] = lambda _: None
        _channels.add(self)

    @property
    def is_alive(self) -> bool:
        """Whether it can still be used by this process, as far as what has arrived shows."""
        if self._lost is None and self._alone("read", self._read, 0.0, None):  # the end may have come while nobody read
            self._offer_reading()
        return self._lost is None

    @property
    def is_interrupted(self) -> bool:
        """Whether the caller is a finaliser or signal handler that interrupted this channel's own work."""
        return get_ident() in self._turns.values() and self._has_turn(sys._getframe(1))

    def _has_turn(self, level: FrameType | None) -> bool:
        """Is the thread's turn borne out by its stack, from `level` on? If not, a KeyboardInterrupt between two
        instructions has left it standing."""
        while level is not None:
            if level.f_code is Channel._alone.__code__ and level.f_locals["self"] is self:
                return True
            level = level.f_back
        return False

    def start(
        self,
        kind: Callable[Concatenate[int, _Arguments], wire.Request],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> Pending:
        """Sends the request `kind(number, ...)` and returns at once. Raises Failure if the connection is lost."""
        return self._begin(kind(next(self._numbers), *arguments, **options), None)

    def start_for(
        self,
        on_reply: Callable[[Pending], None],
        kind: Callable[Concatenate[int, _Arguments], wire.Request],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> Pending:
        """`start`, with `on_reply` told of the reply by whichever thread reads it."""
        return self._begin(kind(next(self._numbers), *arguments, **options), on_reply)

    def _begin(self, request: wire.Request, on_reply: Callable[[Pending], None] | None) -> Pending:
        if self._lost is not None:
            raise self._loss(Effect.NONE)
        pending = Pending(request, on_reply)
        try:
            self._pending[pending.id] = pending
            self._outbox.append(pending)
            self._flush()
            return pending
        except BaseException:
            self.abandon(pending)
            raise

    def wait(self, pending: Pending, limit: float | None) -> wire.Reply:
        """The reply to `pending`, its data whole.

        Raises Failure: VI_ERROR_CONN_LOST, or VI_ERROR_TMO after `limit` seconds (None: never). Then, and interrupted
        by Ctrl-C, it tells the daemon not to begin what it has not begun.
        """
        try:
            if pending.reply is not None or self.wait_for(pending, limit):
                return pending.whole()
        except Failure:
            self.forget(pending)
            raise
        except BaseException:
            self.abandon(pending)
            raise
        self.abandon(pending)
        text = f"the daemon at {self.address} has not answered within {limit:.0f} s"
        raise Failure("VI_ERROR_TMO", text, Effect.MAYBE)

    def wait_for(self, waiter: Waiter, limit: float | None) -> bool:
        """Sleeps, and reads if nobody else does, until `waiter` is done: True; or for `limit` seconds: False.

        Raises Failure(VI_ERROR_CONN_LOST), and VI_ERROR_SYSTEM_ERROR in a finaliser that interrupted this channel.
        """
        deadline = None if limit is None else monotonic() + limit
        has_led = False
        try:
            self._waiting[waiter] = None
            while not waiter.is_done:
                if not waiter.bell.empty():
                    waiter.hush()  # whatever it was rung for is looked at now
                    continue
                if self._lost is not None:
                    raise self._loss(Effect.MAYBE)
                if self._turns and self.is_interrupted:
                    raise Failure(
                        "VI_ERROR_SYSTEM_ERROR",
                        "a finaliser or signal handler that interrupted another VISA call cannot wait for an answer",
                        Effect.MAYBE,
                    )
                nap = _TICK if deadline is None else min(_TICK, deadline - monotonic())
                if nap <= 0:
                    return False
                if self._outbox:
                    self._flush()  # what an interrupted sender left
                if self._alone("read", self._read, nap, waiter):
                    has_led = True
                else:
                    with contextlib.suppress(Empty):
                        waiter.bell.get(timeout=nap)
            return True
        finally:
            may_be_offered = waiter in self._waiting  # whoever delivers a reply takes it out
            self._waiting.pop(waiter, None)
            if self._waiting and (has_led or may_be_offered):
                self._offer_reading()

    def abandon(self, pending: Pending) -> None:
        """Nobody waits for `pending` any more: what has not begun is not to begin. If it ends all the same, only its
        `on_reply` is told. Never sleeps: what the daemon does not take now goes out before the next request."""
        if pending.on_reply is None:
            self.forget(pending)
        if self._lost is None:
            self._outbox.append(Pending(wire.Abandon(pending.id)))
            self._alone("send", self._send, False)

    def ask(
        self,
        limit: float | None,
        kind: Callable[Concatenate[int, _Arguments], wire.Request],
        *arguments: _Arguments.args,
        **options: _Arguments.kwargs,
    ) -> wire.Reply:
        """`start` and `wait` in one."""
        return self.wait(self.start(kind, *arguments, **options), limit)

    def forget(self, pending: Pending) -> None:
        """Nobody will wait for it: its reply is dropped when it comes."""
        self._pending.pop(pending.id, None)

    def close(self) -> None:
        """Ends the connection; who still waits on it gets VI_ERROR_CONN_LOST. Harmless when it has ended."""
        self._lose("it was closed")

    def _alone(self, turn: str, work: Callable[[*_Work], None], *arguments: *_Work) -> bool:
        """Does `work` if this `turn` is free, or was left standing by this thread: see `_has_turn`."""
        me, turns = get_ident(), self._turns
        if turns.get(turn) == me and self._has_turn(sys._getframe(1)):
            return False
        try:
            if turns.setdefault(turn, me) != me:
                return False
            work(*arguments)
            return True
        finally:
            if turns.get(turn) == me:
                del turns[turn]
            if self._lost is not None:
                self._close_if_lost()

    def _offer_reading(self) -> None:
        for waiter in list(self._waiting):
            waiter.bell.put(None)
            return

    def _read(self, seconds: float, waiter: Waiter | None) -> None:
        """The leader's part: hands out what an interrupted one left, or waits for bytes and hands out the messages
        that they complete. What `waiter` is to wait for, another thread may have read just before it had the turn."""
        inbox = self._inbox
        try:
            if not inbox.answers and not inbox.decode() and self._lost is None:
                if waiter is not None and waiter.is_done:
                    return
                may_sleep = self._recv_sleeps and seconds >= _TICK
                if not may_sleep and not is_ready(self._socket, False, seconds):
                    return
                if not inbox.receive(self._socket):
                    self._lose("the daemon ended it")
                inbox.decode()
            while inbox.answers:
                self._deliver(inbox.answers[0])
                inbox.answers.popleft()
        except BlockingIOError:
            pass  # nothing came, or readiness was a false alarm
        except (OSError, FrameError, wire.DecodeError) as error:
            self._lose(str(error))

    def _deliver(self, answer: wire.Answer) -> None:
        """Done again for the same answer, it does no more than once."""
        if isinstance(answer, wire.Reply):
            pending = self._pending.get(answer.id)
            if pending is not None:
                pending.reply = answer
                self._waiting.pop(pending, None)
                pending.bell.put(None)
                if pending.on_reply is not None:
                    pending.on_reply(pending)
                self._pending.pop(answer.id, None)
        elif isinstance(answer, wire.Piece):
            pending = self._pending.get(answer.id)
            if pending is not None:
                pending.add(answer)
        elif isinstance(answer, wire.Happened):
            if answer is not self._happened:
                self.on_happened(answer)
                self._happened = answer
        else:
            self._lose(getattr(answer, "text", "") or "the daemon sent a second hello")

    def _flush(self) -> None:
        # Looks again after each turn: a request queued just before the turn ended found it taken and went away.
        while self._outbox and self._lost is None and self._alone("send", self._send, True):
            pass

    def _send(self, is_patient: bool) -> None:
        outbox = self._outbox
        while outbox and self._lost is None:
            outgoing = outbox[0]
            frame, sent = outgoing.frame, outgoing.sent
            try:
                if not sent:
                    sent.extend(map(self._socket.send, (frame,), (AT_ONCE,)))
                elif sum(sent) < len(frame):
                    sent.extend(map(self._socket.send, (memoryview(frame)[sum(sent) :],), (AT_ONCE,)))
                # Only after its last frame is gone is it taken out: the queue is empty when all is sent. Until then
                # it takes turns with the others, so that a long one holds up nobody's short one.
                if sum(sent) == len(frame):
                    if outgoing.advance():
                        outbox.rotate(-1)
                    else:
                        outbox.popleft()
            except BlockingIOError:
                if not is_patient:
                    return
                if not self._may_send_more():
                    self._lose("the daemon takes no more data")
            except OSError as error:
                self._lose(str(error))

    def _may_send_more(self) -> bool:
        """Sleeps until the daemon takes more data, but not for longer than it may be busy."""
        deadline = monotonic() + QUEUE_LIMIT + SLACK
        while self._lost is None and monotonic() < deadline:
            if is_ready(self._socket, True, _TICK):
                return True
        return False

    def _loss(self, effect: Effect) -> Failure:
        text = f"the connection to the daemon at {self.address} is lost ({self._lost}); open the resource again"
        return Failure("VI_ERROR_CONN_LOST", text, effect)

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever sleeps on it
        for waiter in list(self._waiting):
            waiter.bell.put(None)
        self._close_if_lost()

    def leave_to_parent(self) -> None:
        """In a forked process: closes its copy of the descriptor. A shutdown would end the parent's connection."""
        self._lost = "it belongs to the process that this one was forked from"
        self._socket.close()

    def _close_if_lost(self) -> None:
        """Closes the socket once nobody has a turn: a descriptor closed under a reader's feet may be another file a
        moment later. Whoever gets a turn after this looked sees that the connection is lost and leaves it alone."""
        if self._lost is not None and not self._turns:
            self._socket.close()


def _leave_all_to_parent() -> None:
    for channel in list(_channels):
        channel.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
