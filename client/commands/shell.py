"""`instruments shell`: a conversation with one instrument, at a terminal or from a pipe.

Runs in the user's process. What can be said is in `shell_words`, the prompt in `shell_prompt`, which is imported on a
terminal only.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from client.commands.reach import reach, resource_argument
from client.commands.shell_words import Leave, said
from client.commands.terminal import REFUSED, plain, say
from client.commands.terms import Terms, with_terms
from client.text_socket import TCPVisaSocket
from pyvisa_daemon.errors import Failure

#: Bytes of an answer that a person is shown, and of a block; how one begins.
_SHOWN, _SHOWN_OF_BLOCK = 4000, 40
_BLOCK = re.compile(rb"#\d")

_EPILOG = """\b
Examples:
  instruments shell multimeter
  printf '*CLS\\nCONF:VOLT:DC\\nREAD?\\n' | instruments shell multimeter

\b
Exit codes: 0 done, 1 a line from a pipe failed, 2 wrong usage, 3 no daemon.
"""


@click.command(epilog=_EPILOG)
@resource_argument
@click.option("--stop", is_flag=True, help="From a pipe: end at the first line that fails.")
@with_terms
def shell(resource: str, stop: bool, **terms: Any) -> None:
    """Talk to an instrument, line by line.

    A line with a question is asked, any other is written; .help lists the words of the shell itself. Completes what
    most instruments know and what was typed before. From a pipe it prints the answers and nothing else; a line that
    begins with '# ' is for the reader.
    """
    conversation = _Conversation(resource, Terms(**terms))
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            _talk(conversation)
        elif not _follow(conversation, _piped(), stop):
            sys.exit(REFUSED)
    finally:
        conversation.close()


class _Conversation:
    """With one instrument, over one connection after the other."""

    def __init__(self, resource: str, terms: Terms) -> None:
        self.resource, self._terms = resource, terms
        self.is_lost = False
        self.socket, self.name = self._open()

    def _open(self) -> tuple[TCPVisaSocket, str]:
        socket, name = reach(self.resource)
        try:
            self._terms.apply(socket)
        except BaseException:
            socket.close()
            raise
        self.is_lost = False
        return socket, name

    def say(self, line: str) -> str | None:
        """What comes of a line. Raises what `said` does; after a lost connection the next line has a new one."""
        if self.is_lost:
            self.socket, self.name = self._open()
            say("connected anew: locks, timeout and terminations are as at the beginning")
        try:
            return said(self.socket, self.name, line)
        except ConnectionError:
            self.is_lost = True
            raise

    def close(self) -> None:
        self.socket.close()


def _follow(conversation: _Conversation, lines: Iterable[str], stop: bool) -> bool:
    """Lines from a pipe; False if one failed."""
    is_well = True
    for number, line in enumerate(lines, 1):
        try:
            answer = conversation.say(line)
        except Leave:
            break
        except (Failure, ValueError) as error:
            say(f"line {number}: {error}")
            is_well = False
            if stop:
                break
        else:
            if answer is not None:
                click.echo(answer.encode(errors="surrogateescape"))
    return is_well


def _talk(conversation: _Conversation) -> None:
    from client.commands.shell_prompt import prompted

    where = f"{conversation.name} at {conversation.socket.address}"
    for line in prompted(conversation.resource, where):
        try:
            _show(conversation.say(line))
        except Leave:
            return
        except KeyboardInterrupt:
            say("not waited for any more; the command goes on, unless .abort ends it")
        except (Failure, ValueError, ConnectionError) as error:
            say(str(error))


def _show(answer: str | None) -> None:
    """To a person: line by line, nothing that the terminal would obey, and not without end."""
    if answer is None:
        return
    data = answer.encode(errors="surrogateescape")
    most = _SHOWN_OF_BLOCK if _BLOCK.match(data) else _SHOWN
    click.echo("\n".join(map(plain, data[:most].decode(errors="backslashreplace").split("\n"))))
    if len(data) > most:
        say(f"these are the first of {len(data)} bytes; `instruments capture` puts them into a file")


def _piped() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield line.decode(errors="surrogateescape").rstrip("\r\n")
