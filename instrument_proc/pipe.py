"""The pipe: what the front and one child say to each other over a multiprocessing Pipe.

Plain bytes in length-prefixed frames (see `pyvisa_daemon.framing`), MessagePack inside, never a pickled object. How far
a Run is, nobody is told: it can be looked up (see `signs`).

    front -> child    Name, List, Open, Run Part*, Close      at most one order at a time
                      Abort, on a pipe of its own, while a Run is being carried out
    child -> front    Warm once, then what answers the order:
                      Named | Listed | Opened | Piece* Done | Closed
                      and Happened at any time once an event is enabled

Attribute numbers and states, statuses and token names are VISA's (VPP-4.3). The front frames its end without
blocking; the child may block on its own: it has nothing else to do.
"""

import msgspec

from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import HEADER_SIZE, frame, put_length

State = bool | int | float | str
Attributes = list[tuple[int, State]]

#: What a call takes. Text is among it as UTF-8: MessagePack's decoder tells apart either text or bytes, not both.
Argument = bool | int | float | bytes | list[int] | None


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    pass


class Name(_Message, tag="name", frozen=True):
    """Make `resource` canonical with the VISA library's own parsing. Opens nothing."""

    resource: str


class List(_Message, tag="list", frozen=True):
    """Find every resource (viFindRsrc `?*`)."""

    library: str


class Identify(_Message, frozen=True):
    """Ask `*IDN?`. Each call has `timeout_ms`; where no END is marked, `reads_to` ends the answer."""

    timeout_ms: int
    reads_to: int
    writes: bytes


class Open(_Message, tag="open", frozen=True):
    """viOpen `resource` in `library`, holding `lock_file`; `identify` it, if that is asked for, now and whenever the
    connection is made anew; then set `attributes` and enable `events`, which a restart restores."""

    resource: str
    library: str
    lock_file: str
    attributes: Attributes
    events: list[int] = []
    identify: Identify | None = None


class Run(_Message, tag="run", frozen=True):
    """Set `attributes`, then do the row `call` of `instrument_proc.calls` with `arguments`, and `data` where it takes
    some: this and the `following` bytes that come as Parts."""

    ticket: int
    call: str
    arguments: list[Argument]
    attributes: Attributes
    data: bytes = b""
    following: int = 0


class Part(_Message, tag="part", frozen=True):
    """A piece of the data of the Run that was sent before."""

    data: bytes


class Abort(_Message, tag="abort", frozen=True):
    """Cut the Run with this `ticket` short by viClear, if it is still being carried out; its Done says the rest."""

    ticket: int


class Close(_Message, tag="close", frozen=True):
    """viClose, then end."""


Order = Name | List | Open | Part | Run | Close


class Warm(_Message, tag="warm", frozen=True):
    """Everything is imported; waiting for the first order. `trouble`: why the VISA library could not be loaded."""

    trouble: str = ""


class Named(_Message, tag="named", frozen=True):
    """The canonical name, or None and why the name cannot be parsed."""

    resource: str | None
    text: str


class Listed(_Message, tag="listed", frozen=True):
    """All names found, or a status and why it failed."""

    resources: list[str]
    status: int
    token: str
    text: str


class Opened(_Message, tag="opened", frozen=True):
    """The end of Open. `ends`: does the interface mark the END of a message? `attributes` are the local ones.

    `can_abort`: does an Abort reach a call that waits? `identity`: the answer to `*IDN?`, if that was asked.
    """

    status: int
    token: str
    text: str
    ends: bool
    attributes: Attributes
    can_abort: bool = False
    identity: str = ""


class Piece(_Message, tag="piece", frozen=True):
    """A piece of the answer; a sign of progress too."""

    ticket: int
    data: bytes


class Done(_Message, tag="done", frozen=True):
    """The end of Run: VISA status and, if it failed, its name; effect; the value, or bytes: the Pieces and `data`.

    `dirty`: an answer may still come that nobody will have asked for.
    """

    ticket: int
    status: int
    value: State | list[int] | None = None
    data: bytes = b""
    token: str = ""
    effect: Effect = Effect.DONE
    dirty: bool = False
    text: str = ""


class Happened(_Message, tag="happened", frozen=True):
    """An event that is enabled: its VISA type and its attributes."""

    event: int
    attributes: Attributes


class Closed(_Message, tag="closed", frozen=True):
    """The session is closed; the process ends."""


Report = Warm | Named | Listed | Opened | Piece | Done | Happened | Closed

_encoder = msgspec.msgpack.Encoder()
_aborts: msgspec.msgpack.Decoder[Abort] = msgspec.msgpack.Decoder(Abort)
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)

#: What `decode_*` raises for bytes that are no message of ours.
DecodeError = msgspec.DecodeError


def encode(message: _Message) -> bytes:
    """One message without its length: for `Connection.send_bytes`, which adds it."""
    return _encoder.encode(message)


def encode_framed(message: _Message) -> bytes:
    """One message with its length, for a transport."""
    return frame(_encoder.encode(message))


def encode_into(framed: bytearray, message: _Message) -> None:
    """Make `framed` one message with its length, whatever it was: for who has sent it before the next."""
    _encoder.encode_into(message, framed, HEADER_SIZE)
    put_length(framed)


def decode_order(data: bytes | memoryview) -> Order:
    """The message in one frame from the front, nothing of `data` in it. Raises DecodeError."""
    try:
        return _orders.decode(data)
    except UnicodeDecodeError as error:  # the one that msgspec lets through: a tag that is not UTF-8
        raise DecodeError(str(error)) from error


def decode_abort(data: bytes) -> Abort:
    """The message in one frame of the pipe for aborts. Raises DecodeError."""
    return _aborts.decode(data)


def decode_report(data: bytes | memoryview) -> Report:
    """The message in one frame from a child, nothing of `data` in it. Raises DecodeError."""
    try:
        return _reports.decode(data)
    except UnicodeDecodeError as error:  # the one that msgspec lets through: a tag that is not UTF-8
        raise DecodeError(str(error)) from error
