"""The wire: what the PyVISA backend and the front say to each other over TCP.

A connection opens with MAGIC, then frames (see `framing`) of MessagePack, each one row of the two unions below:

    client -> front    Hello, then any Request; a request's number comes back in everything that answers it
    front -> client    Welcome or Refused, then Piece... Reply for each request, and Happened when events do

Sans-I/O: bytes in, messages out. msgspec checks every field's type, so nothing unexpected gets past `decode_*`.
Requests of one session are carried out in their order; those of different sessions overtake each other freely.
Waiting for a lock holds up nothing else, and what is not message traffic (attributes, the status byte) passes those who
wait for an answer. A `Write` may be posted: the client goes on without waiting for its Reply and names it in
`Read.after`; if the write failed, that read is not carried out and fails with WRITE_FAILED. Long data travels as Part
(up) or Piece (down) frames before the message that they belong to.

To add a request: a Struct in Request and its handler's row in `front_proc.languages.wire_conversation`.
"""

import msgspec

from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import frame
from pyvisa_daemon.functions import Argument

#: First bytes of a connection in this language. Not text, no TLS, no HTTP; CR LF shows a link that translates.
MAGIC = b"\x89VISAd\r\n"

#: Bumped when an old peer would misunderstand; what merely adds is a feature.
VERSION = 3

#: What this side can do beyond the version, told in both hellos.
FEATURES = ("posted-write", "find", "locks", "events", "confirm")

#: What an answer may be; bytes have a field of their own.
Value = bool | int | float | str | list[str | int] | None

#: The states of attributes, by number.
Attributes = list[tuple[int, bool | int | float | str]]


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    pass


class Hello(_Message, tag="hello", frozen=True):
    """Who speaks. `credentials` proves it, by a `token` where there are tokens."""

    version: int
    features: tuple[str, ...] = ()
    name: str = ""
    program: str = ""
    pid: int = 0
    credentials: dict[str, str] = {}


class Open(_Message, tag="open", frozen=True):
    """viOpen. The Reply's value is the session's number and its timeout in milliseconds."""

    id: int
    resource: str
    access_mode: int
    open_timeout_ms: int


class Close(_Message, tag="close", frozen=True):
    """viClose of a session."""

    id: int
    session: int


class Part(_Message, tag="part", frozen=True):
    """A piece of the data of request `id`, which follows."""

    id: int
    data: bytes


class Write(_Message, tag="write", frozen=True):
    """viWrite of the Parts so far and `data`. The value is the number of bytes written."""

    id: int
    session: int
    data: bytes


class Read(_Message, tag="read", frozen=True):
    """viRead of at most `count` bytes. They are the Pieces and `data`; `after` is the write that it depends on.

    `ahead`: if it leaves something of its answer on a stream, the client takes so many bytes of that besides, and tells
    itself what each viRead gives of it. Then the Reply's value is the termination character in force, or -1.
    """

    id: int
    session: int
    count: int
    after: int | None = None
    ahead: int = 0


class Query(_Message, tag="query", frozen=True):
    """viWrite of `data`, then viRead as for Read: nobody comes between. The one Reply's effect is that of the write."""

    id: int
    session: int
    data: bytes
    count: int
    ahead: int = 0


class Reading(_Message, tag="reading", frozen=True):
    """The client is busy with what it took ahead: nobody else's turn comes for its being idle."""

    id: int
    session: int


class Call(_Message, tag="call", frozen=True):
    """A row of `functions.FUNCTIONS`. The value, or the data, is what that function gives."""

    id: int
    session: int
    function: str
    arguments: list[Argument]


class GetAttribute(_Message, tag="get_attribute", frozen=True):
    """viGetAttribute. The value is the attribute's state."""

    id: int
    session: int
    attribute: int


class SetAttribute(_Message, tag="set_attribute", frozen=True):
    """viSetAttribute."""

    id: int
    session: int
    attribute: int
    state: bool | int | float | str


class ListResources(_Message, tag="list_resources", frozen=True):
    """All that the daemon's library finds and what is configured: a list of names, unfiltered. `data` has the aliases
    (see `aliases_in`)."""

    id: int


class Lock(_Message, tag="lock", frozen=True):
    """viLock. The value is the access key of a shared lock; `kind` and `timeout_ms` are VISA's.

    `ttl_s`: it is lost when it was not used for so many seconds. `reason`: what it is for, for people. `joins`: only if
    somebody shares a lock by that key already.
    """

    id: int
    session: int
    kind: int
    timeout_ms: int
    key: str | None
    ttl_s: float | None = None
    reason: str = ""
    joins: bool = False


class Unlock(_Message, tag="unlock", frozen=True):
    """viUnlock."""

    id: int
    session: int


class Confirm(_Message, tag="confirm", frozen=True):
    """The next message of this session that has to be confirmed is meant, for this reason. The daemon must have the
    feature `confirm`."""

    id: int
    session: int
    reason: str


class EnableEvent(_Message, tag="enable_event", frozen=True):
    """From now on this session is told of events of that type (VPP-4.3, 3.7): by Happened."""

    id: int
    session: int
    event: int


class DisableEvent(_Message, tag="disable_event", frozen=True):
    """It is told no more."""

    id: int
    session: int
    event: int


class Abandon(_Message, tag="abandon", frozen=True):
    """Nobody waits for request `id` any more: it is not carried out if it has not begun. Has no Reply."""

    id: int


class Resolve(_Message, tag="resolve", frozen=True):
    """The canonical name of a resource or of an alias that the daemon's settings give one."""

    id: int
    resource: str


class Find(_Message, tag="find", frozen=True):
    """Does this daemon have `resource`? Opens nothing. The value is one of FOUND."""

    id: int
    resource: str


#: The answers to Find, best first.
FOUND = ("open", "listed", "configured", "unknown")

Request = (
    Open
    | Close
    | Part
    | Write
    | Read
    | Query
    | Reading
    | Call
    | GetAttribute
    | SetAttribute
    | Lock
    | Unlock
    | Confirm
    | EnableEvent
    | DisableEvent
    | Abandon
    | ListResources
    | Resolve
    | Find
)


class Welcome(_Message, tag="welcome", frozen=True):
    """The daemon accepts: its wire's version and features, its own version."""

    version: int
    features: tuple[str, ...]
    daemon: str
    pid: int


class Refused(_Message, tag="refused", frozen=True):
    """The daemon will not talk; it closes after this."""

    token: str
    text: str


class Piece(_Message, tag="piece", frozen=True):
    """A piece of the answer to request `id`; more follows."""

    id: int
    data: bytes


class Reply(_Message, tag="reply", frozen=True):
    """The end of request `id`. `status` is VISA's: negative failed, positive a success with a remark."""

    id: int
    status: int
    value: Value = None
    data: bytes = b""
    token: str = ""
    effect: Effect = Effect.NONE
    text: str = ""


_aliases: msgspec.msgpack.Decoder[dict[str, str]] = msgspec.msgpack.Decoder(dict[str, str])


def with_aliases(aliases: dict[str, str]) -> bytes:
    """The `data` of the Reply to ListResources: an alias for each of the resources that have one."""
    return msgspec.msgpack.encode(aliases) if aliases else b""


def aliases_in(data: bytes) -> dict[str, str]:
    """The same, read. None from an older daemon, nor from what is no such thing."""
    try:
        return _aliases.decode(data) if data else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


class Happened(_Message, tag="happened", frozen=True):
    """An event that `session` has enabled: its VISA type, and what attributes it has besides."""

    session: int
    event: int
    attributes: Attributes = []


Answer = Welcome | Refused | Piece | Reply | Happened

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Hello | Request] = msgspec.msgpack.Decoder(Hello | Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)

#: What `decode_*` raises for bytes that are no message of ours.
DecodeError = msgspec.DecodeError


def encode(message: _Message) -> bytes:
    """One message, framed, ready to send."""
    return frame(_encoder.encode(message))


def decode_request(data: bytes) -> Hello | Request:
    """The message in one frame from a client. Raises DecodeError."""
    try:
        return _requests.decode(data)
    except UnicodeDecodeError as error:  # the one that msgspec lets through: a tag that is not UTF-8
        raise DecodeError(str(error)) from error


def decode_answer(data: bytes | memoryview) -> Answer:
    """The message in one frame from a front, nothing of `data` in it. Raises DecodeError."""
    try:
        return _answers.decode(data)
    except UnicodeDecodeError as error:  # the one that msgspec lets through: a tag that is not UTF-8
        raise DecodeError(str(error)) from error
