"""Is an audit log what the daemon has written? Whether its lines are links of one chain, and where they are not.

Pure: lines in, findings out. The rules of the chain are in `pyvisa_daemon.audit_chain`; what it does not prove stands
in docs/reference/audit.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pyvisa_daemon.audit_chain import BEGINNING, Link, digest_with, link_of

_UNCHAINED = "no record of the chain: torn, changed, put in, or written before there was a chain"
_TORN = "torn: the file ends within this line"
_EDITED = "has been changed, or else the line behind it: the two do not fit"
_ANEW = "the chain begins anew here: what was written before cannot be proved to be all"
_NO_BEGINNING = "is not how a chain begins: the line has been changed, or what stood before it is gone"
_TURNED_BACK = "is number {} where {} was to come: lines have been moved, doubled or put in"

#: Findings that are kept; beyond that they are counted.
MOST = 100


@dataclass
class Finding:
    """What is wrong in `lines` lines of a file from `line` on, all in the same way."""

    file: str
    line: int
    text: str
    lines: int = 1

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file else "the log"
        many = f" to {self.line + self.lines - 1}" if self.lines > 1 else ""
        return f"{where}{many}: {self.text}"


class Verification:
    """Is given all lines in order; `findings` are there when it has been told of the end."""

    def __init__(self, key: bytes = b"", anchors: Iterable[str] = ()) -> None:
        """`anchors` are heads that were noted elsewhere: each must be the digest of one of the lines."""
        self.findings: list[Finding] = []
        self.more = 0
        self.lines = 0
        #: The first and the last number, and the digest of the last line.
        self.first = self.seq = 0
        self.head = ""
        #: Where that stands.
        self._place = ("", 0)
        self._digest = digest_with(key)
        self._missing_anchors = set(anchors)
        #: Has there been a line of the chain?
        self._has_begun = False
        #: Links that were compared with the line before them, and of those the ones that did not fit.
        self._compared = self._misfits = 0

    def add(self, file: str, number: int, line: bytes, *, is_whole: bool = True) -> None:
        """The next line, without its newline, and where it stands."""
        link = link_of(line)
        if not is_whole:
            self._find(file, number, _TORN)
        if link is None:
            self._find(file, number, _UNCHAINED)
        elif not self._has_begun:
            self._judge_first(link, file, number)
        else:
            self._judge(link, file, number)
        self._has_begun = self._has_begun or link is not None
        self.lines += 1
        self.seq = self.seq + 1 if link is None else link.seq
        self.first = self.first or self.seq
        self.head = self._digest(line)
        self._place = (file, number)
        self._missing_anchors.discard(self.head)

    def end(self) -> list[Finding]:
        """There are no more lines: all that was found."""
        if not self.lines:
            self._find_in_all("has no line at all")
        if self._misfits > 1 and self._misfits == self._compared:
            self._find_in_all("no line fits the one before it: the key is another one, or missing, or not wanted")
        for anchor in sorted(self._missing_anchors):
            self._find_in_all(f"no line has the head {anchor}: the newest lines are missing, or it is of another log")
        return self.findings

    def _judge_first(self, link: Link, file: str, number: int) -> None:
        """What stands before it is not given, or is of no chain."""
        if self.lines:
            self._compare(link)
        elif (link.seq == 1) is not (link.prev == BEGINNING):
            self._find(file, number, _NO_BEGINNING)

    def _judge(self, link: Link, file: str, number: int) -> None:
        expected = self.seq + 1
        if link == (1, BEGINNING):
            self._find(file, number, _ANEW)
        elif link.seq < expected:
            self._find(file, number, _TURNED_BACK.format(link.seq, expected))
        elif link.seq > expected:
            many = f"{expected} to {link.seq - 1}" if link.seq - 1 > expected else str(expected)
            self._find(file, number, f"is number {link.seq}: missing before it {many}")
        else:
            self._compare(link)

    def _compare(self, link: Link) -> None:
        self._compared += 1
        if link.prev != self.head:
            self._misfits += 1
            self._find(*self._place, _EDITED)

    def _find_in_all(self, text: str) -> None:
        self.findings.append(Finding("", 0, text))

    def _find(self, file: str, number: int, text: str) -> None:
        last = self.findings[-1] if self.findings else None
        if last is not None and (last.file, last.text, last.line + last.lines) == (file, text, number):
            last.lines += 1
        elif len(self.findings) >= MOST:
            self.more += 1
        else:
            self.findings.append(Finding(file, number, text))
