"""The chain through the lines of an audit log, and the names of its files: what the daemon writes and `client` checks.

Pure: bytes in, bytes out. It stands in this room because both ends import it and neither may import the other; it
imports nothing of ours. The page for people is docs/reference/audit.md.

A line of the log is an object of JSON that ends with `seq` and `prev`. `seq` counts lines, from 1, over all files and
restarts; a line that cannot be read, torn by a crash, counts as well. `prev` is the digest of the line before as its
bytes stand in the file, without the newline: SHA-256 in hex, with a key HMAC-SHA-256. The first `prev` is BEGINNING.

To change what a line ends with: `Chain.linked`, `link_of`, and the page.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

#: What stands before the first line.
BEGINNING = "0" * 64

#: Bytes of a key at least: as many as the digest has.
KEY_SIZE = 32

#: Bytes that are digested at once. With more hashlib lets go of the interpreter's lock, and a busy event loop, which
#: then takes it, would give it back only after milliseconds: by long records the writer could be kept from its work.
_PIECE = 2047

#: How every line ends. Within a record's own text no quote stands without a backslash, so that nobody can feign it.
_LINK = re.compile(rb',"seq":([1-9][0-9]{0,18}),"prev":"([0-9a-f]{64})"\}$')

#: The moment at which a file was rotated, in UTC, behind the log's own name: sorted as text it is sorted by time.
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_STAMPED = re.compile(r"\d{8}T\d{6}\.\d{6}Z")


def digest_with(key: bytes) -> Callable[[bytes], str]:
    """What gives a line's digest; no key is b""."""
    begun = hmac.new(key, digestmod="sha256") if key else hashlib.sha256()

    def digest(line: bytes) -> str:
        one = begun.copy()
        for start in range(0, len(line), _PIECE):
            one.update(line[start : start + _PIECE])
        return one.hexdigest()

    return digest


class Link(NamedTuple):
    """What a line says of its place in the chain."""

    seq: int
    prev: str


def link_of(line: bytes) -> Link | None:
    """The link at the end of a line, without its newline; None if it has none."""
    found = _LINK.search(line)
    return None if found is None else Link(int(found[1]), found[2].decode())


@dataclass(frozen=True)
class Chain:
    """The end of a chain: how many lines it has, and the digest of the last one."""

    digest: Callable[[bytes], str] = field(repr=False, compare=False)
    seq: int = 0
    head: str = BEGINNING

    def linked(self, records: Iterable[bytes]) -> tuple[list[bytes], Self]:
        """Records, each an object of JSON, as lines of the log without newlines; and the chain's new end.

        No record has a `seq` or a `prev` of its own.
        """
        digest, seq, head = self.digest, self.seq, self.head
        lines = []
        for record in records:
            seq += 1
            line = b'%b,"seq":%d,"prev":"%b"}' % (record[:-1], seq, head.encode())
            head = digest(line)
            lines.append(line)
        return lines, type(self)(digest, seq, head)

    def behind(self, tail: bytes, *, is_whole: bool) -> Self | None:
        """The chain that goes on behind a file that ends with `tail`, which is all of it if `is_whole`.

        The last line is taken as it stands, though it be torn. None if no line of `tail` is one of a chain.
        """
        lines = tail.removesuffix(b"\n").split(b"\n")
        if not is_whole:
            del lines[0]  # it may have begun before
        for behind, line in enumerate(reversed(lines)):
            link = link_of(line)
            if link is not None:
                return type(self)(self.digest, link.seq + behind, self.digest(lines[-1]))
        return None


# The names of the files.


def rotated_name(name: str, now: float, others: Iterable[str]) -> str:
    """What the log `name` is called from now on: later than all the others, though the clock was set back."""
    moment = datetime.fromtimestamp(now, UTC)
    for other in rotated(name, others)[-1:]:
        last = _moment_of(other.removeprefix(f"{name}."))
        moment = max(moment, last + timedelta(microseconds=1)) if last is not None else moment
    return f"{name}.{moment:{_STAMP}}"


def rotated(name: str, others: Iterable[str]) -> list[str]:
    """Those of the file names that are rotated ones of the log `name`, oldest first."""
    begin = f"{name}."
    return sorted(other for other in others if other.startswith(begin) and _moment_of(other.removeprefix(begin)))


def _moment_of(stamp: str) -> datetime | None:
    if _STAMPED.fullmatch(stamp) is None:
        return None
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:  # a month that no calendar has, say
        return None
