"""What the text protocol's verbs do: each gets the Conversation and the arguments, and returns the reply.

Runs in the front. Failures are raised as Failure. What is one call of the instrument's process is an Exchange instead.
Verbs about tokens, guards, safe states and locks beyond VISA's have files of their own; `text_commands` has all rows.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from front_proc import status as status_report
from front_proc.languages import text_leases
from front_proc.languages.text_arguments import Arguments
from front_proc.languages.text_framing import (
    answer,
    as_block,
    escape,
    long_answer,
    long_block,
    unescape,
    without_suffix,
)
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_TMO_INFINITE, Session
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.version import __version__
from pyvisa_daemon.wire import FEATURES

if TYPE_CHECKING:
    from front_proc.languages.text_conversation import Conversation

Reply = bytes | str


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a verb has an instrument's process do: a row of `instrument_proc.calls`; its reply, from session, data and
    value of what came of it; and the same from data that is long, piece by piece."""

    call: str
    reply: Callable[["Conversation", Session, bytes, object], bytes]
    long_reply: Callable[["Conversation", Session, deque[bytes], object], Iterable[bytes]]


async def ping(conversation: "Conversation", _: Arguments) -> Reply:
    return "pong"


async def list_resources(conversation: "Conversation", _: Arguments) -> Reply:
    return as_json(list(filter(conversation.client.rights.sees, await conversation.front.list_resources())))


async def list_open_resources(conversation: "Conversation", _: Arguments) -> Reply:
    return as_json(list(filter(conversation.client.rights.sees, conversation.front.open_resources())))


async def open_resource(conversation: "Conversation", arguments: Arguments) -> Reply:
    return (await conversation.open(arguments.words[0])).resource.name


async def use(conversation: "Conversation", arguments: Arguments) -> Reply:
    conversation.current = await conversation.session(arguments.words[0])
    return conversation.current.resource.name


async def close_resource(conversation: "Conversation", arguments: Arguments) -> Reply:
    await conversation.close(await conversation.session(*arguments.words))
    return "ok"


def _answered(conversation: "Conversation", session: Session, data: bytes, _: object) -> bytes:
    return answer(conversation.stripped(session, data))


def _counted(_: "Conversation", __: Session, ___: bytes, value: object) -> bytes:
    return str(value).encode()


def _as_block(_: "Conversation", __: Session, data: bytes, ___: object) -> bytes:
    return as_block(data)


def _long_answered(conversation: "Conversation", session: Session, pieces: deque[bytes], _: object) -> Iterable[bytes]:
    return long_answer(without_suffix(pieces, conversation.termination(session)[0]))


def _long_block(_: "Conversation", __: Session, pieces: deque[bytes], ___: object) -> Iterable[bytes]:
    return long_block(pieces)


def _counted_alone(_: "Conversation", __: Session, ___: deque[bytes], value: object) -> Iterable[bytes]:
    return [str(value).encode()]


query_resource = Exchange("query", _answered, _long_answered)
write_resource = Exchange("write", _counted, _counted_alone)
read_resource = Exchange("read_message", _answered, _long_answered)
query_binary = Exchange("query_block", _as_block, _long_block)


async def timeout(conversation: "Conversation", arguments: Arguments) -> Reply:
    session = await conversation.session()
    if arguments.words:
        conversation.set_timeout(session, milliseconds(arguments.words[0]))
    timeout_ms = session.timeout_ms
    return "inf" if timeout_ms is None else str(timeout_ms)


def milliseconds(word: str) -> int:
    """A timeout, VI_TMO_INFINITE for `inf`. Raises Failure(BAD_ARGUMENT)."""
    if word.lower() == "inf":
        return VI_TMO_INFINITE
    if not word.isascii() or not word.isdigit() or len(word) > 10 or int(word) >= VI_TMO_INFINITE:
        raise Failure("BAD_ARGUMENT", f"{word!r} is no timeout: milliseconds from 0 to {VI_TMO_INFINITE - 1}, or inf")
    return int(word)


async def termination(conversation: "Conversation", arguments: Arguments) -> Reply:
    session = await conversation.session()
    if arguments.words:
        conversation.set_termination(session, *map(unescape, arguments.words))
    return " ".join(map(escape, conversation.termination(session)))


async def stb(conversation: "Conversation", _: Arguments) -> Reply:
    return str((await conversation.execute(await conversation.session(), "read_stb")).value)


async def lock(conversation: "Conversation", arguments: Arguments) -> Reply:
    session = await conversation.session()
    key, ms, terms = text_leases.wanted(arguments.words, arguments.message.decode())
    kind = LockKind.EXCLUSIVE if key is None else LockKind.SHARED
    timeout_ms = session.timeout_ms if ms is None else milliseconds(ms)
    return await conversation.lock(session, kind, key, None if timeout_ms == VI_TMO_INFINITE else timeout_ms, terms)


async def unlock(conversation: "Conversation", _: Arguments) -> Reply:
    conversation.unlock(await conversation.session())
    return "ok"


async def wait_srq(conversation: "Conversation", arguments: Arguments) -> Reply:
    limit_ms = milliseconds(arguments.words[0])
    session = await conversation.session()
    return str(await conversation.wait_for_service_request(session, None if limit_ms == VI_TMO_INFINITE else limit_ms))


async def clear(conversation: "Conversation", _: Arguments) -> Reply:
    await conversation.execute(await conversation.session(), "clear")
    return "ok"


async def trigger(conversation: "Conversation", _: Arguments) -> Reply:
    await conversation.execute(await conversation.session(), "assert_trigger", [0])
    return "ok"


async def hello(conversation: "Conversation", arguments: Arguments) -> Reply:
    if arguments.words:
        conversation.client.introduce(arguments.words[0])
    return as_json(
        {"daemon": "pyvisa-daemon", "version": __version__, "features": FEATURES, **conversation.client.who()}
    )


async def status(conversation: "Conversation", _: Arguments) -> Reply:
    return as_json(status_report.describe(conversation.front, conversation.client.rights))


async def reset(conversation: "Conversation", arguments: Arguments) -> Reply:
    await conversation.front.reset(arguments.words[0])
    return "ok"


async def abort(conversation: "Conversation", arguments: Arguments) -> Reply:
    client = conversation.client
    await (await conversation.front.known(arguments.words[0])).abort(f"aborted by {client.name or client.address}")
    return "ok"


async def mode(conversation: "Conversation", arguments: Arguments) -> Reply:
    if arguments.words:
        if arguments.words[0] not in ("plain", "tagged"):
            raise Failure("BAD_ARGUMENT", f"{arguments.words[0]!r} is no mode: plain and tagged are")
        conversation.is_tagged = arguments.words[0] == "tagged"
    return "tagged" if conversation.is_tagged else "plain"


async def end_daemon(conversation: "Conversation", _: Arguments) -> Reply:
    left = await conversation.front.stop()
    return "ended" if not left else f"ended left={','.join(map(str, left))}"


async def drain(conversation: "Conversation", _: Arguments) -> Reply:
    return f"draining sessions={conversation.front.drain()}"


async def restart(conversation: "Conversation", arguments: Arguments) -> Reply:
    await conversation.front.restart(arguments.words[0])
    return "ok"


def as_json(value: Any) -> bytes:
    """A reply that is one line of JSON."""
    return msgspec.json.encode(value)
