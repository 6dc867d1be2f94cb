"""One TCP connection to a daemon, spoken in the wire and shared by every thread of a program.

Runs in the user's process; knows sockets, threads and the wire, nothing of VISA sessions and nothing of PyVISA.

Nobody reads in the background. Whoever waits for a reply tries to become the reader (the leader), hands out whatever
arrives, and offers the reading to another waiter when its own reply is there. Sending is alike: whoever finds the
sending free sends all that is queued, others' requests too. Both turns are only ever *tried*: there is no lock to block
on, which is what makes a call safe that comes from a finaliser in the middle of another call of the same thread. Its
request is queued and goes out between two frames; only waiting for an answer is refused there.

Ctrl-C loses nothing. Python raises KeyboardInterrupt between two calls of a function, never within one that C carries
out. So bytes go between socket and list in one such call (`list.extend(map(socket.recv, ...))`), a step's result is
stored by one assignment without calls, and each step can be done again. A late reply finds nobody and is dropped.
After a fork the connection stays its parent's.
"""

import contextlib
import os
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from queue import Empty
from time import monotonic
from types import FrameType
from typing import Concatenate, ParamSpec, TypeVarTuple

from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.exchange import Outgoing, Pending, Waiter
from pyvisa_daemon.framing import FrameError, FrameReader, frame

#: Seconds that a command may wait in the daemon for its turn.
QUEUE_LIMIT = 120.0

#: Seconds beyond queue and timeouts: a process may have to start (10), open its instrument (15), be killed and reopen.
SLACK = 60.0

#: VI_TMO_INFINITE, in milliseconds.
INFINITE_MS = 0xFFFFFFFF

#: Seconds that anybody sleeps in one go. Windows sees Ctrl-C only in between.
_TICK = 1.0

#: Bytes taken from the socket at once: under the 128 KiB from which malloc asks the kernel each time.
RECEIVE_SIZE = 120 << 10

_HEADER_SIZE = len(frame(b""))

_Arguments = ParamSpec("_Arguments")
_Work = TypeVarTuple("_Work")


def reply_limit(timeout_ms: float) -> float | None:
    """Seconds to wait for the reply to a command with this VISA timeout; None for ever, if that is infinite."""
    return None if timeout_ms >= INFINITE_MS else QUEUE_LIMIT + 2 * timeout_ms / 1000 + SLACK


class Channel:
    """A connection on which the daemon has said Welcome (see `hosts.connect`); any thread may use it.

    `connection` must not block, and becomes the channel's own; `address` is for people.
    """

    def __init__(self, connection: socket.socket, address: str) -> None:
        self.address = address
        self._socket = connection
        self._pid = os.getpid()
        self._lost: str | None = None
        self._numbers = count(1)
        self._pending: dict[int, Pending] = {}
        self._waiting: dict[Waiter, None] = {}
        self._outbox: deque[Outgoing] = deque()
        self._sending, self._sent = memoryview(b""), list[int]()  # the frame under way, and how much of it is gone
        self._received, self._rest = list[bytes](), b""  # as it came, and what of it made no whole frame so far
        self._arrived: deque[wire.Answer] = deque()
        self._turns: dict[str, int] = {}  # "read" and "send": the thread that has it; setdefault is one step in C
        self._busy: set[int] = set()  # the threads that have, or try to get, a turn
        self._happened: wire.Happened | None = None
        #: Told of events by whoever reads them; quick, and twice rather than not at all.
        self.on_happened: Callable[[wire.Happened], None] = lambda _: None

    @property
    def is_alive(self) -> bool:
        """Whether it can still be used by this process, as far as what has arrived shows."""
        is_open = self._lost is None and self._pid == os.getpid()
        if is_open and self._alone("read", self._read, 0.0, None):  # an end that came while nobody was reading
            self._offer_reading()
        return self._lost is None and self._pid == os.getpid()

    @property
    def is_interrupted(self) -> bool:
        """Whether the caller is a finaliser or signal handler that interrupted this channel's own work."""
        if threading.get_ident() not in self._busy:
            return False
        level: FrameType | None = sys._getframe(1).f_back  # above the caller, which may be `_alone` itself
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
        self._raise_if_lost(Effect.NONE)
        outgoing, pending = Outgoing(request), Pending(request.id, on_reply)
        try:
            self._pending[request.id] = pending
            self._outbox.append(outgoing)
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
            if self.wait_for(pending, limit):
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
        deadline = monotonic() + limit if limit is not None else float("inf")
        has_led = False
        try:
            self._waiting[waiter] = None
            while True:
                waiter.hush()
                if waiter.is_done:
                    return True
                self._raise_if_lost(Effect.MAYBE)
                if self.is_interrupted:
                    raise Failure(
                        "VI_ERROR_SYSTEM_ERROR",
                        "a finaliser or signal handler that interrupted another VISA call cannot wait for an answer",
                        Effect.MAYBE,
                    )
                nap = min(_TICK, deadline - monotonic())
                if nap <= 0:
                    return False
                self._flush()  # what an interrupted sender left
                if self._alone("read", self._read, nap, waiter):
                    has_led = True
                else:
                    with contextlib.suppress(Empty):
                        waiter.bell.get(timeout=nap)
        finally:
            may_be_offered = waiter in self._waiting  # whoever delivers a reply takes it out
            self._waiting.pop(waiter, None)
            if has_led or may_be_offered:
                self._offer_reading()

    def abandon(self, pending: Pending) -> None:
        """Nobody waits for `pending` any more: what has not begun is not to begin. If it ends all the same, only its
        `on_reply` is told. Never sleeps: what the daemon does not take now goes out before the next request."""
        if pending.on_reply is None:
            self.forget(pending)
        if self._lost is None and self._pid == os.getpid():
            self._outbox.append(Outgoing(wire.Abandon(pending.id)))
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
        """Does `work` if this `turn` is free.

        A turn, or the mark in `_busy`, that is this thread's without the stack bearing it out was left standing by a
        KeyboardInterrupt between two instructions: it is taken over.
        """
        me = threading.get_ident()
        is_nested = self.is_interrupted
        if is_nested and self._turns.get(turn) == me:
            return False
        try:
            self._busy.add(me)
            is_mine = self._turns.setdefault(turn, me) == me
            if is_mine:
                work(*arguments)
            return is_mine
        finally:
            if self._turns.get(turn) == me:
                del self._turns[turn]
            if not is_nested:
                self._busy.discard(me)
            self._close_if_lost()

    def _offer_reading(self) -> None:
        for waiter in list(self._waiting):
            waiter.bell.put(None)
            return

    def _read(self, seconds: float, awaited: Waiter | None) -> None:
        """The leader's part: waits for bytes and hands out the messages that they complete."""
        try:
            self._hand_out()  # what an interrupted leader left
            is_served = awaited is not None and awaited.is_done
            if not is_served and self._lost is None and is_ready(self._socket, False, seconds):
                self._received.extend(map(self._socket.recv, (RECEIVE_SIZE,)))
                self._hand_out()
        except BlockingIOError:
            pass  # readiness was a false alarm
        except (OSError, FrameError, wire.DecodeError) as error:
            self._lose(str(error))

    def _hand_out(self) -> None:
        while self._arrived or self._received:
            while self._arrived:
                self._deliver(self._arrived[0])
                self._arrived.popleft()
            if self._received:
                stream = b"".join([self._rest, *self._received])
                frames = FrameReader().feed(stream)
                answers = deque(map(wire.decode_answer, frames))
                rest = stream[sum(map(len, frames)) + _HEADER_SIZE * len(frames) :]
                is_over = not self._received[-1]
                self._rest, self._received, self._arrived = rest, [], answers
                if is_over:
                    self._lose("the daemon ended it")

    def _deliver(self, answer: wire.Answer) -> None:
        """Done again for the same answer, it does no more than once."""
        pending = self._pending.get(answer.id) if isinstance(answer, wire.Piece | wire.Reply) else None
        if isinstance(answer, wire.Welcome | wire.Refused):
            self._lose(getattr(answer, "text", "") or "the daemon sent a second hello")
        elif pending is not None and isinstance(answer, wire.Reply):
            pending.reply = answer
            self._waiting.pop(pending, None)
            pending.bell.put(None)
            if pending.on_reply is not None:
                pending.on_reply(pending)
            self._pending.pop(answer.id, None)
        elif pending is not None and isinstance(answer, wire.Piece):
            pending.add(answer)
        elif isinstance(answer, wire.Happened) and answer is not self._happened:
            self.on_happened(answer)
            self._happened = answer

    def _flush(self) -> None:
        # Looks again after each turn: a request queued just before the turn ended found it taken and went away.
        while self._outbox and self._lost is None and self._alone("send", self._send, True):
            pass

    def _send(self, is_patient: bool) -> None:
        stalled_since = monotonic()
        while self._lost is None:
            done = sum(self._sent)
            if done == len(self._sending):
                if not self._take_frame():
                    return
                continue
            try:
                self._sent.extend(map(self._socket.send, (self._sending[done:],)))
                stalled_since = monotonic()
            except BlockingIOError:
                if not is_patient:
                    return
                if not is_ready(self._socket, True, _TICK) and monotonic() - stalled_since > QUEUE_LIMIT + SLACK:
                    self._lose("the daemon takes no more data")
            except OSError as error:
                self._lose(str(error))

    def _take_frame(self) -> bool:
        """The next frame to send, in turn from each queued request, so that a long one holds up nobody's short one."""
        while self._outbox:
            outgoing = self._outbox[0]
            if outgoing.taken < len(outgoing):
                taken = memoryview(outgoing[outgoing.taken])
                outgoing.taken, self._sending, self._sent = outgoing.taken + 1, taken, []
                self._outbox.rotate(-1)
                return True
            self._outbox.popleft()  # only after its last frame is gone: the queue is empty when all is sent
        return False

    def _raise_if_lost(self, effect: Effect) -> None:
        if self._pid != os.getpid():
            text = "the connection belongs to the process that this one was forked from; open the resource again"
            raise Failure("VI_ERROR_CONN_LOST", text)
        if self._lost is not None:
            text = f"the connection to the daemon at {self.address} is lost ({self._lost}); open the resource again"
            raise Failure("VI_ERROR_CONN_LOST", text, effect)

    def _lose(self, reason: str) -> None:
        if self._pid != os.getpid():
            self._socket.close()  # our copy of the descriptor; a shutdown would end our parent's connection
            return
        if self._lost is None:
            self._lost = reason
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever sleeps on it
        for waiter in list(self._waiting):
            waiter.bell.put(None)
        self._close_if_lost()

    def _close_if_lost(self) -> None:
        """Closes the socket once nobody has a turn: a descriptor closed under a reader's feet may be another file a
        moment later. Whoever gets a turn after this looked sees that the connection is lost and leaves it alone."""
        if self._lost is not None and not self._turns:
            self._socket.close()


if sys.platform == "win32":

    def is_ready(connection: socket.socket, writing: bool, seconds: float) -> bool:
        """Whether `connection` can be written to, or read from, within `seconds`."""
        sockets = [connection]
        return any(select.select([] if writing else sockets, sockets if writing else [], sockets, seconds))

else:

    def is_ready(connection: socket.socket, writing: bool, seconds: float) -> bool:
        """Whether `connection` can be written to, or read from, within `seconds`."""
        poll = select.poll()  # select() cannot take descriptors from 1024 on
        poll.register(connection, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(seconds * 1000))
