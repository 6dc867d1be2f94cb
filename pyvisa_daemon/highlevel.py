"""The VISA library that PyVISA sees: each call goes to the daemon and comes back as if the instrument were local.

Runs in the user's process; this and `refusals` are all that imports PyVISA in this room. The session numbers that
PyVISA sees are made here; the daemon's own, the connection they live on and what is still under way belong to a
`_Session`. The first resource manager connects, and an open connects anew if the connection was lost; sessions from
before stay lost.

A write that contains a query is posted: sent without waiting for its outcome, which the session's next call collects.
So PyVISA's `query`, a write and a read, costs one round trip.

What PyVISA leaves to a library and this one lacks is refused with VI_ERROR_NSUP_OPER. To add a call: its method here,
its message in `wire` and its row in `front_proc.wire_conversation`.
"""

import contextlib
import logging
import operator
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

from pyvisa import constants, rname
from pyvisa.constants import EventMechanism, EventType, ResourceAttribute, StatusCode
from pyvisa.highlevel import VisaLibraryBase
from pyvisa.typing import VISAEventContext, VISAHandler, VISARMSession, VISASession
from pyvisa.util import DebugInfo, LibraryPath

from pyvisa_daemon import hosts, wire
from pyvisa_daemon.channel import Channel, reply_limit
from pyvisa_daemon.errors import SUCCESS, Failure
from pyvisa_daemon.exchange import Pending
from pyvisa_daemon.framing import PIECE_SIZE
from pyvisa_daemon.program_message import contains_query
from pyvisa_daemon.refusals import refuse, refusing_the_rest
from pyvisa_daemon.version import __version__

#: The library path of a bare "@daemon": the first live host of `hosts.tryIps`, looked for when connecting.
ANY_HOST = LibraryPath("tryIps")

_logger = logging.getLogger(__name__)

#: A request of `wire` that belongs to a session: made from its own number, the session's and the arguments.
_Kind = Callable[..., wire.Request]


@dataclass(slots=True)
class _Session:
    """One viOpen: the daemon's `number` for it on `channel`, and the resource manager it was opened through."""

    channel: Channel
    number: int
    manager: int
    timeout_ms: int = 2000
    posted: Pending | None = None

    def ask(self, kind: _Kind, *arguments: object) -> wire.Reply:
        return _succeeded(self.channel.ask(reply_limit(self.timeout_ms), kind, self.number, *arguments))

    def collect(self) -> None:
        """Raises what a posted write came to, if it failed: as Failure."""
        posted, self.posted = self.posted, None
        if posted is not None:
            _succeeded(self.channel.wait(posted, reply_limit(self.timeout_ms)))


def _succeeded(reply: wire.Reply) -> wire.Reply:
    if reply.status < SUCCESS:
        raise Failure(reply.token, reply.text or "the daemon says no more", reply.effect, reply.status)
    return reply


@refusing_the_rest
class DaemonVisaLibrary(VisaLibraryBase):
    """PyVISA's door to the daemon at `library_path`, as in `pyvisa.ResourceManager("labpc:1340@daemon")`.

    Each method is the VISA function (VPP-4.3) that PyVISA's base class names. It waits for the daemon at most 180 s
    plus twice the session's timeout, and raises `refusals.DaemonIOError`.
    """

    _sessions: dict[int, _Session]
    _managers: set[int]
    _numbers: "count[int]"
    _channel: Channel | None
    _connecting: threading.RLock

    @staticmethod
    def get_library_paths() -> Iterable[LibraryPath]:
        return (ANY_HOST,)

    @staticmethod
    def get_debug_info() -> DebugInfo:
        return {"Version": __version__, "Known hosts": ", ".join(hosts.tryIps)}

    def _init(self) -> None:
        # No I/O: several threads may make several libraries here. QCoDeS calls it again, so it keeps what is there.
        if self.library_path != ANY_HOST:
            hosts.parse(self.library_path)
        if not hasattr(self, "_sessions"):
            self._sessions = {}
            self._managers = set()
            self._numbers = count(1)
            self._channel = None
            self._connecting = threading.RLock()

    def open_default_resource_manager(self) -> tuple[VISARMSession, StatusCode]:
        """viOpenDefaultRM. Connects if need be; raises ConnectionError (an OSError), which says what to do."""
        self._connected()
        number = VISARMSession(next(self._numbers))
        self._managers.add(number)
        return number, self.handle_return_value(number, SUCCESS)

    def open(
        self,
        session: VISARMSession,
        resource_name: str,
        access_mode: constants.AccessModes = constants.AccessModes.no_lock,
        open_timeout: int = constants.VI_TMO_IMMEDIATE,
    ) -> tuple[VISASession, StatusCode]:
        """viOpen. `open_timeout`, in milliseconds, is how long to wait for the lock that `access_mode` may ask for."""
        try:
            limit_ms = int(open_timeout)
        except (TypeError, ValueError) as error:
            raise ValueError(f"open_timeout ({open_timeout!r}) must be an integer (or compatible type)") from error
        try:
            channel = self._manager_channel(session)
            reply = _succeeded(channel.ask(reply_limit(limit_ms), wire.Open, resource_name, int(access_mode), limit_ms))
        except Failure as failure:
            refuse(self, session, failure)
        number = VISASession(next(self._numbers))
        self._sessions[number] = _Session(channel, cast(int, reply.value), session)
        return number, self.handle_return_value(session, reply.status)

    def close(self, session: VISASession | VISAEventContext | VISARMSession) -> StatusCode:
        """viClose of a session, or of a resource manager with all that it opened. Waits for the daemon; what fails
        there is over with the session all the same, so this raises for an unknown session only."""
        if session in self._managers:
            self._managers.discard(session)
            for number in [number for number, opened in self._sessions.items() if opened.manager == session]:
                self.close(VISASession(number))
            if self._channel is not None and not self._managers:
                self._channel.close()
        elif session in self._sessions:
            self._end(self._sessions.pop(session))
        else:
            refuse(self, session, Failure("VI_ERROR_INV_OBJECT", "the session is closed, or never was open"))
        status = self.handle_return_value(session, SUCCESS)
        self._last_status_in_session.pop(session, None)
        self._ignore_warning_in_session.pop(session, None)
        return status

    def list_resources(self, session: VISARMSession, query: str = "?*::INSTR") -> tuple[str, ...]:
        """viFindRsrc: what the daemon finds and has configured, filtered here. None is an empty tuple."""
        try:
            reply = _succeeded(self._manager_channel(session).ask(reply_limit(0), wire.ListResources))
        except Failure as failure:
            refuse(self, session, failure)
        self.handle_return_value(session, reply.status)
        return rname.filter(cast(list[str], reply.value), query)

    def write(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        """viWrite: the number of bytes written. Does not wait if `data` contains a query."""
        message = data if isinstance(data, bytes) else bytes(memoryview(data))
        try:
            opened = self._opened(session)
            if opened.channel.is_interrupted:  # a finaliser's last word; nobody can wait for what becomes of it
                opened.channel.forget(opened.channel.start(wire.Write, opened.number, message))
                return len(message), self.handle_return_value(session, SUCCESS)
            opened.collect()
            if len(message) <= PIECE_SIZE and contains_query(message):
                opened.posted = opened.channel.start(wire.Write, opened.number, message)
                return len(message), self.handle_return_value(session, SUCCESS)
            reply = opened.ask(wire.Write, message)
        except Failure as failure:
            refuse(self, session, failure)
        return cast(int, reply.value), self.handle_return_value(session, reply.status)

    def read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        """viRead of at most `count` bytes. Goes out at once, behind a posted write whose failure it raises."""
        try:
            opened = self._opened(session)
            after = opened.posted.id if opened.posted is not None else None
            pending = opened.channel.start(wire.Read, opened.number, count, after)
            try:
                opened.collect()
                reply = _succeeded(opened.channel.wait(pending, reply_limit(opened.timeout_ms)))
            finally:
                opened.channel.forget(pending)
        except Failure as failure:
            refuse(self, session, failure)
        return reply.data, self.handle_return_value(session, reply.status)

    def get_attribute(
        self,
        session: VISASession | VISAEventContext | VISARMSession,
        attribute: ResourceAttribute | constants.EventAttribute,
    ) -> tuple[Any, StatusCode]:
        """viGetAttribute."""
        if session in self._managers:
            refuse(self, session, Failure("VI_ERROR_NSUP_ATTR", "a resource manager has no attributes here"))
        if attribute == constants.VI_ATTR_RM_SESSION and session in self._sessions:
            return self._sessions[session].manager, self.handle_return_value(session, SUCCESS)
        reply, status = self._ask(session, wire.GetAttribute, int(attribute))
        return reply.value, status

    def set_attribute(self, session: VISASession, attribute: ResourceAttribute, attribute_state: Any) -> StatusCode:
        """viSetAttribute. Raises TypeError for a state that no VISA attribute can have."""
        is_plain = isinstance(attribute_state, int | float | str)
        state = attribute_state if is_plain else operator.index(attribute_state)
        _, status = self._ask(session, wire.SetAttribute, int(attribute), state)
        if attribute == ResourceAttribute.timeout_value:
            self._opened(session).timeout_ms = state
        return status

    def clear(self, session: VISASession) -> StatusCode:
        """viClear."""
        return self._ask(session, wire.Clear)[1]

    def read_stb(self, session: VISASession) -> tuple[int, StatusCode]:
        """viReadSTB: the status byte, 0 to 255."""
        reply, status = self._ask(session, wire.ReadStb)
        return cast(int, reply.value), status

    def assert_trigger(self, session: VISASession, protocol: constants.TriggerProtocol) -> StatusCode:
        """viAssertTrigger."""
        return self._ask(session, wire.AssertTrigger, int(protocol))[1]

    def disable_event(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        """viDisableEvent: none can be enabled, so none is, even when the connection is lost."""
        return self.handle_return_value(session, SUCCESS)

    def discard_events(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        """viDiscardEvents: there are none."""
        return self.handle_return_value(session, SUCCESS)

    def install_handler(
        self, session: VISASession, event_type: EventType, handler: VISAHandler, user_handle: Any
    ) -> tuple[VISAHandler, Any, Any, StatusCode]:
        """viInstallHandler, kept by PyVISA in this process. Raises TypeError if `handler` cannot be called."""
        if not callable(handler):
            raise TypeError(f"the handler {handler!r} is not callable")
        return handler, user_handle, handler, self.handle_return_value(session, SUCCESS)

    def uninstall_handler(
        self, session: VISASession, event_type: EventType, handler: VISAHandler, user_handle: Any = None
    ) -> StatusCode:
        """viUninstallHandler."""
        return self.handle_return_value(session, SUCCESS)

    def _ask(self, session: int, kind: _Kind, *arguments: Any) -> tuple[wire.Reply, StatusCode]:
        """One request of a session and its reply."""
        try:
            opened = self._opened(session)
            opened.collect()
            reply = opened.ask(kind, *arguments)
        except Failure as failure:
            refuse(self, session, failure)
        return reply, self.handle_return_value(VISASession(session), reply.status)

    def _opened(self, session: int) -> _Session:
        try:
            return self._sessions[session]
        except KeyError:
            raise Failure("VI_ERROR_INV_OBJECT", "the session is closed, or never was open") from None

    def _end(self, opened: _Session) -> None:
        try:
            opened.collect()  # what was posted is carried out before the session is closed
        except Failure as failure:
            _logger.warning("closed before anybody saw that a write failed: %s", failure)
        with contextlib.suppress(Failure):
            opened.ask(wire.Close)

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
                    self._channel = hosts.first_live()
                else:
                    self._channel = hosts.connect(hosts.parse(self.library_path))
            return self._channel
