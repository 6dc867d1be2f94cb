"""What the text protocol says of locks beyond `lock` and `unlock`, and of clients that are sent away.

Runs in the front. How `lock` is read, and what the verbs do whose rows stand in `text_commands`.
"""

from typing import TYPE_CHECKING, NamedTuple

from front_proc.serving.leases import Terms, terms
from pyvisa_daemon.errors import Failure

if TYPE_CHECKING:
    from front_proc.languages.text_arguments import Arguments
    from front_proc.languages.text_conversation import Conversation


class Wanted(NamedTuple):
    """What a `lock` asks for: the key of a shared one, how long to wait, what the lock is to carry."""

    key: str | None
    ms: str | None
    terms: Terms


def split_reason(text: str) -> tuple[tuple[str, ...], str]:
    """The words of `[shared KEY] [MS] [ttl SECONDS]`, and the reason behind them, which is any text."""
    words: list[str] = []
    rest = text
    while rest.strip():
        word, rest = (*rest.split(None, 1), "")[:2]
        is_argument = words == ["shared"] or (words[-1:] == ["ttl"] and words[:-1] != ["shared"])
        if word == "reason" and not is_argument:
            return tuple(words), rest
        words.append(word)
    return tuple(words), ""


def wanted(words: tuple[str, ...], reason: str, usage: str = "") -> Wanted:
    """What they mean. Raises Failure(BAD_ARGUMENT)."""
    given, key, ttl_s = list(words), None, None
    if given[:1] == ["shared"]:
        if len(given) < 2:
            raise Failure("BAD_ARGUMENT", "a shared lock has a key: lock shared KEY [MS]")
        key, given = given[1], given[2:]
    ms = given.pop(0) if given and given[0] != "ttl" else None
    if given[:1] == ["ttl"]:
        ttl_s, given = _seconds(*given[1:2]), given[2:]
    if given:
        raise Failure("BAD_ARGUMENT", f"not understood: {' '.join(given)}; usage: {usage}")
    return Wanted(key, ms, terms(ttl_s, reason))


def _seconds(word: str = "") -> float:
    try:
        return float(word)
    except ValueError:
        raise Failure("BAD_ARGUMENT", f"{word!r} is no time to live: seconds, as in lock ttl 60") from None


async def await_loss(conversation: "Conversation", _: "Arguments") -> str:
    return await conversation.lock_lost(await conversation.session())


async def unlock_by_force(conversation: "Conversation", arguments: "Arguments") -> str:
    resource = await conversation.front.known(arguments.words[0])
    return f"unlocked sessions={resource.service.locks.force(conversation.client)}"


async def kick(conversation: "Conversation", arguments: "Arguments") -> str:
    who, *rest = arguments.words
    if rest not in ([], ["all"]):
        raise Failure("BAD_ARGUMENT", f"{rest[0]!r} is not understood; usage: .!.kick CLIENT [all]")
    return f"kicked clients={conversation.front.kick(who, conversation.client, all_of_name=bool(rest))}"
