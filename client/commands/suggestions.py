"""Did you mean ...? Names that are like what was typed.

Runs in the user's process, where something was mistyped; the known daemons are asked for what they have.
"""

import difflib
from collections.abc import Iterable

from client.commands import survey
from client.commands.overview import aliases_of, every_alias, resources, text_of
from pyvisa_daemon import hosts, wire
from pyvisa_daemon.errors import Failure

#: Seconds that a list of resources may take: who has mistyped a name does not wait for a search of the networks.
_LIMIT = 2.0

#: Of difflib: from which likeness on, and how many.
_LIKENESS, _COUNT = 0.65, 3


def closest(word: str, words: Iterable[str]) -> list[str]:
    """Those most like `word`, in any case, the best first."""
    by_key = {each.casefold(): each for each in words}
    found = difflib.get_close_matches(word.casefold(), by_key, _COUNT, _LIKENESS)
    return [by_key[key] for key in found]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A question; empty if nothing is like it."""
    *others, last = closest(word, words) or [""]
    if not last:
        return ""
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"


def with_suggestion(failure: Failure, resource: str) -> Failure:
    """The same, and what the daemons have that is called like `resource`, if there is any."""
    question = did_you_mean(resource, _names())
    if not question:
        return failure
    return Failure(failure.token, f"{failure.text.rstrip('.')}; {question}", failure.effect, failure.status)


def _names() -> set[str]:
    """All names and aliases that the known daemons tell soon."""
    names: set[str] = set()
    for _, reply in hosts.ask(lambda channel: channel.start(wire.ListResources), _LIMIT):
        if reply is not None and isinstance(reply.value, list):
            names.update(map(str, reply.value))
    for said in survey.statuses():
        names.update(alias for aliases in every_alias(said.status or {}).values() for alias in aliases)
        for row in resources(said.status or {}):
            names.update([text_of(row.get("resource")), *aliases_of(row)])
    return names
