"""The VISA library that PyVISA sees: each call goes to the daemon and comes back as if the instrument were local.

Runs in the user's process. It is put together from three layers, each an own file: `opened` has sessions and
connections, `passed_functions` what goes through to the instrument's library as it is, `event_functions` events and
asynchronous operations; here are opening, messages, attributes and locks. These and `refusals` are all that imports
PyVISA in this room.

A write that contains a query is posted: sent without waiting for its outcome, which the session's next call collects.
So PyVISA's `query`, a write and a read, costs one round trip.

What PyVISA leaves to a library and this one lacks is refused with VI_ERROR_NSUP_OPER. To add a call: its row in
`functions`, or its method here, its message in `wire` and its row in `front_proc.languages.wire_conversation`.
"""

import contextlib
import logging
import operator
import re
import sys
from collections.abc import Iterable
from threading import get_ident
from typing import Any, cast

from pyvisa import constants, errors, rname
from pyvisa.constants import ResourceAttribute, StatusCode
from pyvisa.highlevel import ResourceInfo
from pyvisa.typing import VISAEventContext, VISARMSession, VISASession
from pyvisa.util import DebugInfo, LibraryPath

from pyvisa_daemon import hosts, inherited_lock, wire
from pyvisa_daemon.asking import reads_at_once
from pyvisa_daemon.channel import reply_limit
from pyvisa_daemon.errors import SUCCESS, Failure
from pyvisa_daemon.event_functions import EventFunctions
from pyvisa_daemon.events import ALL_ENABLED, Mechanism
from pyvisa_daemon.framing import PIECE_SIZE
from pyvisa_daemon.opened import ANY_HOST, NOT_BEGUN, OpenSession, Unsent, succeeded
from pyvisa_daemon.program_message import contains_query
from pyvisa_daemon.refusals import DaemonIOError, refuse, refusing_the_rest
from pyvisa_daemon.tokens import without_tokens
from pyvisa_daemon.version import __version__

#: Bytes that `read_to_file` holds at a time.
FILE_CHUNK = 1 << 20

_logger = logging.getLogger(__name__)


#: What says how a read ends: whether at a character, and at which.
_TERMINATION = (ResourceAttribute.termchar_enabled, ResourceAttribute.termchar)

#: The masks of viFlush that drop what was received.
_RECEIVED = (
    constants.BufferOperation.discard_read_buffer
    | constants.BufferOperation.discard_read_buffer_no_io
    | constants.BufferOperation.discard_receive_buffer
    | constants.BufferOperation.discard_receive_buffer2
)


@refusing_the_rest
class DaemonVisaLibrary(EventFunctions):
    """PyVISA's door to the daemon at `library_path`, as in `pyvisa.ResourceManager("labpc:1340@daemon")`.

    Each method is the VISA function (VPP-4.3) that PyVISA's base class names. It waits for the daemon at most 180 s
    plus twice the session's timeout, and raises `refusals.DaemonIOError`.
    """

    @staticmethod
    def get_library_paths() -> Iterable[LibraryPath]:
        return (ANY_HOST,)

    @staticmethod
    def get_debug_info() -> DebugInfo:
        return {"Version": __version__, "Known hosts": without_tokens(", ".join(hosts.tryIps))}

    # Resource managers and sessions.

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
        """viOpen. `open_timeout`, in milliseconds, is how long to wait for the lock that `access_mode` may ask for.

        What a program opens that runs under `instruments lock` shares that lock."""
        try:
            limit_ms = int(open_timeout)
        except (TypeError, ValueError) as error:
            raise ValueError(f"open_timeout ({open_timeout!r}) must be an integer (or compatible type)") from error
        try:
            channel = self._manager_channel(session)
            lock = inherited_lock.lock_for(channel, resource_name)
            mode = int(access_mode) if lock is None else int(access_mode) & ~inherited_lock.LOCK_BITS
            reply = succeeded(channel.ask(reply_limit(limit_ms), wire.Open, resource_name, mode, limit_ms))
        except Failure as failure:
            refuse(self, session, failure)
        number = VISASession(next(self._numbers))
        theirs, timeout_ms = cast(list[int], reply.value)
        self._sessions[number] = opened = OpenSession(channel, theirs, session, timeout_ms)
        if lock is not None:
            try:
                opened.share(lock, int(access_mode) & inherited_lock.LOCK_BITS, limit_ms)
            except BaseException as error:  # without its lock there is no session
                self.close(number)
                if isinstance(error, Failure):
                    refuse(self, session, error)
                raise
        return number, self.handle_return_value(session, reply.status)

    def close(self, session: VISASession | VISAEventContext | VISARMSession) -> StatusCode:
        """viClose of a session, of an event, or of a resource manager with all that it opened. Waits for the daemon;
        what fails there is over with the session all the same, so this raises for an unknown session only. Interrupted
        by Ctrl-C it can be called again."""
        if session in self._managers:
            for number, opened in self._sessions.copy().items():
                if opened.manager == session and number in self._sessions:
                    self.close(VISASession(number))
            self._managers.discard(session)
            if self._channel is not None and not self._managers:
                self._channel.close()
        elif session in self._sessions:
            self._end(self._sessions[session])
        elif session not in self._contexts:
            refuse(self, session, Failure("VI_ERROR_INV_OBJECT", "the session is closed, or never was open"))
        status = self.handle_return_value(None, SUCCESS)  # its own last status goes with it
        self._last_status_in_session.pop(session, None)
        self._ignore_warning_in_session.pop(session, None)
        self._contexts.pop(session, None)
        self._sessions.pop(session, None)
        return status

    def _end(self, opened: OpenSession) -> None:
        opened.events.disable(ALL_ENABLED, ~Mechanism(0))
        opened.unsent = None
        try:
            opened.collect()  # what was posted is carried out before the session is closed
        except Failure as failure:
            _logger.warning("closed before anybody saw what became of a write: %s", failure)
        finally:  # after Ctrl-C too: a close is never abandoned
            with contextlib.suppress(Failure):
                closing = opened.channel.start(wire.Close, opened.number)
                try:
                    opened.channel.wait_for(closing, reply_limit(opened.timeout_ms))
                finally:
                    opened.channel.forget(closing)

    def list_resources(self, session: VISARMSession, query: str = "?*::INSTR") -> tuple[str, ...]:
        """viFindRsrc: what the daemon finds and has configured, filtered here. None is an empty tuple."""
        try:
            reply = succeeded(self._manager_channel(session).ask(reply_limit(0), wire.ListResources))
        except Failure as failure:
            refuse(self, session, failure)
        self.handle_return_value(session, reply.status)
        self._aliases = wire.aliases_in(reply.data)
        return rname.filter(cast(list[str], reply.value), query)

    def parse_resource_extended(self, session: VISARMSession, resource_name: str) -> tuple[ResourceInfo, StatusCode]:
        """viParseRsrcEx, here; a name that is none may be an alias that the daemon's settings give a resource. What
        alias a name has, the last search has told."""
        found, status = super().parse_resource_extended(session, resource_name)
        if status != StatusCode.error_invalid_resource_name:
            return found._replace(alias=self._aliases.get(resource_name)), status
        try:
            reply = succeeded(self._manager_channel(session).ask(reply_limit(0), wire.Resolve, resource_name))
        except Failure:
            return found, status
        name = cast(str, reply.value)
        found, status = super().parse_resource_extended(session, name)
        if status != StatusCode.success:  # the daemon's library knows it, PyVISA does not
            found, status = _described(name), StatusCode.success
        return found._replace(alias=None if name == resource_name else resource_name), status

    def status_description(self, session: VISASession, status: StatusCode) -> tuple[str, StatusCode]:
        """viStatusDesc, in PyVISA's words."""
        name, meaning = errors.completion_and_error_messages.get(status, ("VI_WARN_UNKNOWN_STATUS", "unknown status"))
        return f"{name}: {meaning}", self.handle_return_value(session, SUCCESS)

    # Messages.

    def write(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        """viWrite: the number of bytes written. Does not wait if `data` contains a query; one of PyVISA's own goes out
        with the read that follows."""
        message = data if isinstance(data, bytes) else bytes(memoryview(data))
        try:
            opened = self._opened(session)
            if opened.channel.is_interrupted:  # a finaliser's last word; nobody can wait for what becomes of it
                opened.channel.forget(opened.channel.start(wire.Write, opened.number, message))
                return len(message), self.handle_return_value(session, SUCCESS)
            opened.collect()
            if len(message) <= PIECE_SIZE and contains_query(message):
                if reads_at_once(sys._getframe(1)):
                    opened.unsent = Unsent(message, get_ident())
                else:
                    opened.posted = opened.channel.start(wire.Write, opened.number, message)
                return len(message), self.handle_return_value(session, SUCCESS)
            reply = opened.ask(wire.Write, message)
        except Failure as failure:
            refuse(self, session, failure)
        return cast(int, reply.value), self.handle_return_value(session, reply.status)

    def read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        """viRead of at most `count` bytes. Goes out at once, behind a posted write whose failure it raises."""
        try:
            data, status = self._opened(session).read(count)
        except Failure as failure:
            refuse(self, session, failure)
        return data, self.handle_return_value(session, status)

    def buffer_read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        """viBufRead; of an answer of which more is here already, viRead."""
        opened = self._sessions.get(session)
        if opened is not None and opened.ahead is not None:
            return self.read(session, count)
        return super().buffer_read(session, count)

    def clear(self, session: VISASession) -> StatusCode:
        """viClear. One that failed may have been carried out, so what came before is gone unless it was not begun."""
        is_begun = True
        try:
            return super().clear(session)
        except DaemonIOError as error:
            is_begun = error.token not in NOT_BEGUN
            raise
        finally:  # after Ctrl-C too
            if is_begun:
                self._drop_ahead(session)

    def flush(self, session: VISASession, mask: constants.BufferOperation) -> StatusCode:
        """viFlush."""
        status = super().flush(session, mask)
        if mask & _RECEIVED:
            self._drop_ahead(session)
        return status

    def _drop_ahead(self, session: VISASession) -> None:
        opened = self._sessions.get(session)
        if opened is not None:
            opened.ahead = None  # it goes where a library's own buffer does

    def write_from_file(self, session: VISASession, filename: str, count: int) -> tuple[int, StatusCode]:
        """viWriteFromFile: the first `count` bytes of a file on this machine, in one message."""
        try:
            with open(filename, "rb") as file:
                data = file.read(count)
        except OSError as error:
            refuse(self, session, Failure("VI_ERROR_FILE_ACCESS", str(error)))
        return self.write(session, data)

    def read_to_file(self, session: VISASession, filename: str, count: int) -> tuple[int, StatusCode]:
        """viReadToFile: at most `count` bytes into a file on this machine, behind what it has if
        VI_ATTR_FILE_APPEND_EN is set."""
        try:
            is_appended = bool(self.get_attribute(session, ResourceAttribute.file_append_enabled)[0])
        except errors.VisaIOError as error:
            if error.error_code != StatusCode.error_nonsupported_attribute:
                raise  # before the file has lost what it had
            is_appended = False  # as the standard begins with; this library knows no other
        size, status = 0, StatusCode.success_max_count_read
        try:
            with open(filename, "ab" if is_appended else "wb") as file:
                while size < count and status == StatusCode.success_max_count_read:
                    data, status = self.read(session, min(count - size, FILE_CHUNK))
                    size += file.write(data)
        except OSError as error:
            refuse(self, session, Failure("VI_ERROR_FILE_ACCESS", str(error)))
        return size, status

    # Attributes.

    def get_attribute(
        self,
        session: VISASession | VISAEventContext | VISARMSession,
        attribute: ResourceAttribute | constants.EventAttribute,
    ) -> tuple[Any, StatusCode]:
        """viGetAttribute."""
        if session in self._contexts:
            return self._event_attribute(VISAEventContext(session), int(attribute))
        if session in self._managers:
            refuse(self, session, Failure("VI_ERROR_NSUP_ATTR", "a resource manager has no attributes here"))
        opened = self._sessions.get(session)
        if opened is not None and attribute in _OWN:
            return _OWN[attribute](opened), self.handle_return_value(session, SUCCESS)
        reply, status = self._ask(session, wire.GetAttribute, int(attribute))
        return reply.value, status

    def set_attribute(self, session: VISASession, attribute: ResourceAttribute, attribute_state: Any) -> StatusCode:
        """viSetAttribute. Raises TypeError for a state that no VISA attribute can have."""
        opened = self._sessions.get(session)
        if opened is not None and attribute == constants.VI_ATTR_USER_DATA:
            opened.user_data = attribute_state
            return self.handle_return_value(session, SUCCESS)
        is_plain = isinstance(attribute_state, int | float | str)
        state = attribute_state if is_plain else operator.index(attribute_state)
        if opened is not None and attribute == ResourceAttribute.max_queue_length:
            opened.events.queue_length = int(state)
            return self.handle_return_value(session, SUCCESS)
        _, status = self._ask(session, wire.SetAttribute, int(attribute), state)
        if attribute == ResourceAttribute.timeout_value and opened is not None:
            opened.timeout_ms = int(state)
        elif attribute in _TERMINATION and opened is not None and opened.ahead is not None:
            is_enabled, character = (self.get_attribute(session, each)[0] for each in _TERMINATION)
            opened.ahead.termination = int(character) if is_enabled else -1
        return status

    # Guards.

    def confirm(self, session: VISASession, reason: str) -> StatusCode:
        """No VISA function: the next message of this session that the daemon's guards want confirmed is meant, and
        why. Raises `refusals.DaemonIOError`."""
        return self._ask(session, wire.Confirm, reason)[1]

    # Locks.

    def lock(
        self,
        session: VISASession,
        lock_type: constants.Lock,
        timeout: int,
        requested_key: str | None = None,
        *,
        ttl_s: float | None = None,
        reason: str = "",
    ) -> tuple[str, StatusCode]:
        """viLock: the access key of a shared lock, "" for an exclusive one. `timeout` in milliseconds; meanwhile no
        other call waits. Beyond VISA: the lock is lost when it was not used for `ttl_s` seconds, and others are told
        the `reason`."""
        try:
            opened = self._opened(session)
            opened.collect()
            reply = opened.lock(int(lock_type), int(timeout), requested_key, ttl_s, reason)
        except Failure as failure:
            refuse(self, session, failure)
        return cast(str, reply.value or ""), self.handle_return_value(session, reply.status)

    def unlock(self, session: VISASession) -> StatusCode:
        """viUnlock."""
        return self._ask(session, wire.Unlock)[1]


#: A resource's name as far as every interface has it alike: its interface, its board, its class.
_NAME = re.compile(r"(?P<interface>[A-Za-z-]+)(?P<board>\d*)(?:::.*)?::(?P<class>\w+)")


def _described(name: str) -> ResourceInfo:
    """What a name says that PyVISA has no rule for."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        return ResourceInfo(constants.InterfaceType.unknown, 0, None, name, None)
    interface = getattr(constants.InterfaceType, parts["interface"].lower(), constants.InterfaceType.unknown)
    return ResourceInfo(interface, int(parts["board"] or 0), parts["class"], name, None)


#: The attributes that a program's own side of the session knows.
_OWN: dict[int, Any] = {
    constants.VI_ATTR_RM_SESSION: lambda opened: opened.manager,
    constants.VI_ATTR_USER_DATA: lambda opened: opened.user_data,
    constants.VI_ATTR_MAX_QUEUE_LENGTH: lambda opened: opened.events.queue_length,
}
