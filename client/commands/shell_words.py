"""What is said in `instruments shell`: lines for the instrument, and the shell's own words.

Runs in the user's process; knows no terminal. A line with a question is asked, any other written; a word begins with a
dot. To add one: a function here and its row in WORDS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from client.commands.overview import holder, row_of
from client.commands.terms import unescaped
from client.text_socket import TCPVisaSocket
from pyvisa_daemon.program_message import count_answers


class WrongWordError(ValueError):
    """What cannot be meant so: the text says what can."""


class Leave(Exception):  # noqa: N818 - it is a word
    """`.quit`."""


@dataclass(frozen=True)
class Word:
    """One row of the table: what it does with the rest of the line, and gives back to show."""

    usage: str
    help: str
    run: Callable[[TCPVisaSocket, str, str], str]


def said(socket: TCPVisaSocket, resource: str, line: str) -> str | None:
    """What comes of a line: an answer, or None.

    Raises Failure, ConnectionError, WrongWordError, Leave.
    """
    line = line.strip()
    if not line or line.startswith("# "):
        return None
    if line.startswith("."):
        word, _, rest = line.partition(" ")
        return _word(word).run(socket, resource, rest.strip())
    if count_answers(line.encode(errors="surrogateescape")):
        return socket.query(line)
    socket.write(line)
    return None


def _word(word: str) -> Word:
    meant = [word] if word in WORDS else [each for each in WORDS if each.startswith(word) and word != "."]
    if len(meant) != 1:
        hint = f"may mean {', '.join(meant)}" if meant else "is no word of this shell; .help lists them"
        raise WrongWordError(f"{word} {hint}")
    return WORDS[meant[0]]


def _help(_: TCPVisaSocket, __: str, rest: str) -> str:
    if rest:
        row = _word(rest if rest.startswith(".") else f".{rest}")
        return f"{row.usage}  {row.help}"
    width = max(len(row.usage) for row in WORDS.values())
    rows = [f"{row.usage:<{width}}  {row.help}" for row in WORDS.values()]
    return "\n".join(["a line with ? is asked, any other is written; besides:", *rows])


def _query(socket: TCPVisaSocket, _: str, rest: str) -> str:
    return socket.query(_needed(rest, ".query"))


def _write(socket: TCPVisaSocket, _: str, rest: str) -> str:
    return f"{socket.write(_needed(rest, '.write'))} bytes"


def _read(socket: TCPVisaSocket, _: str, rest: str) -> str:
    return socket.read()


def _timeout(socket: TCPVisaSocket, _: str, rest: str) -> str:
    return f"{socket.timeout(_milliseconds(rest)) / 1000:g} s"


def _termination(socket: TCPVisaSocket, _: str, rest: str) -> str:
    try:
        words = [unescaped(word) for word in rest.split()]
    except ValueError as error:
        raise WrongWordError(str(error)) from error
    if len(words) > 2:
        raise WrongWordError(f"{len(words)} terminations; {WORDS['.termination'].usage}")
    shown = ["none" if each is None else each.encode("unicode_escape").decode() for each in socket.termination(*words)]
    return f"read {shown[0]}, write {shown[1]}"


def _lock(socket: TCPVisaSocket, _: str, rest: str) -> str:
    socket.lock(_milliseconds(rest))
    return "locked; it ends with .unlock, or with this shell"


def _unlock(socket: TCPVisaSocket, _: str, rest: str) -> str:
    socket.unlock()
    return "unlocked"


def _stb(socket: TCPVisaSocket, _: str, rest: str) -> str:
    byte = socket.stb()
    bits = [f"{bit} ({_BITS[bit]})" if bit in _BITS else str(bit) for bit in (1 << n for n in range(8)) if byte & bit]
    return f"{byte}" + (f" = {' + '.join(bits)}" if bits else "")


#: Bits of the status byte that mean the same everywhere (IEEE 488.2, 11.2).
_BITS = {16: "MAV: an answer waits", 32: "ESB: see *ESR?", 64: "RQS: service requested"}


def _clear(socket: TCPVisaSocket, _: str, rest: str) -> str:
    socket.clear()
    return "cleared"


def _trigger(socket: TCPVisaSocket, _: str, rest: str) -> str:
    socket.trigger()
    return "triggered"


def _abort(socket: TCPVisaSocket, resource: str, rest: str) -> str:
    """On a connection of its own: on this one it would wait for what it is to end."""
    with TCPVisaSocket(socket.address) as other:
        other.abort(resource)
    return "runs no command any more"


def _confirm(socket: TCPVisaSocket, _: str, rest: str) -> str:
    socket.confirm(_needed(rest, ".confirm"))
    return "the next command that needs it is confirmed"


def _state(socket: TCPVisaSocket, resource: str, rest: str) -> str:
    row = row_of(socket.status(), resource)
    parts = [str(row.get("state", "closed")), f"{row.get('sessions', 0)} sessions", f"{row.get('queued', 0)} queued"]
    if held := holder(row):
        parts.append(f"held by {held}")
    return ", ".join(parts) + (f"; last error: {row['last_error']}" if row.get("last_error") else "")


def _quit(_: TCPVisaSocket, __: str, ___: str) -> str:
    raise Leave


def _needed(rest: str, word: str) -> str:
    if not rest:
        raise WrongWordError(f"nothing stands behind it; {WORDS[word].usage}")
    return rest


def _milliseconds(rest: str) -> float | None:
    try:
        seconds = float(rest) if rest else None
    except ValueError as error:
        raise WrongWordError(f"{rest!r} is no number of seconds") from error
    if seconds is not None and not seconds >= 0:
        raise WrongWordError(f"{rest!r} is no time")
    return None if seconds is None else 1000 * seconds


WORDS = {
    ".help": Word(".help [WORD]", "these words", _help),
    ".query": Word(".query COMMAND", "ask, though there is no ? in it", _query),
    ".write": Word(".write COMMAND", "write, though there is a ? in it", _write),
    ".read": Word(".read", "read what comes", _read),
    ".timeout": Word(".timeout [S]", "seconds that a command may take; inf: any time", _timeout),
    ".termination": Word(".termination [READ [WRITE]]", r"what ends messages: \n, \r\n, none", _termination),
    ".lock": Word(".lock [S]", "keep others out; waits S seconds for that", _lock),
    ".unlock": Word(".unlock", "let others in again", _unlock),
    ".stb": Word(".stb", "the status byte, and what its bits mean", _stb),
    ".clear": Word(".clear", "device clear", _clear),
    ".trigger": Word(".trigger", "software trigger", _trigger),
    ".abort": Word(".abort", "cut the command short that runs there, whoever's it is", _abort),
    ".confirm": Word(".confirm REASON", "the next command is meant, where a guard wants that confirmed", _confirm),
    ".status": Word(".status", "how the instrument is", _state),
    ".quit": Word(".quit", "end; so does Ctrl-D", _quit),
}
