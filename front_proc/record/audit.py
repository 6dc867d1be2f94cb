"""The audit log: what happened, for the record.

Runs in the front. `log_writer` writes it in a thread of its own, so that whoever records something waits for nothing;
each line is a link of a chain (`pyvisa_daemon.audit_chain`), so that no line can be changed, removed or put in between
unseen. `instruments log` reads it, and `instruments log verify` checks it.

Events: EVENTS. To add one: a row there and a call of `Audit.record`. No field may be called `seq` or `prev`.
"""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.settings import Settings
from front_proc.record.log_file import Rotation
from front_proc.record.log_writer import QUEUE_SLOW, LogWriter
from pyvisa_daemon.audit_chain import KEY_SIZE, Chain, digest_with
from pyvisa_daemon.errors import Failure

#: event -> what it tells. The reference page is checked against this.
EVENTS = {
    "start": "the daemon serves",
    "stop": "the daemon ends",
    "connect": "a client connected",
    "disconnect": "a client left",
    "rejected": "a connection was closed for what it sent, or because there were too many",
    "denied": "a client asked for something that takes a higher role than it has",
    "tokens": "the token file was read anew",
    "settings": "the settings were read anew, and differ, or cannot be used",
    "open": "a client opened a resource",
    "close": "a client closed a resource",
    "command": "a command ended",
    "lease_over": "a client lost its lock, which it did not use for as long as it may live",
    "unlocked": "a client lost its lock because somebody forced it open",
    "kicked": "somebody cut a client's connection",
    "confirm": "a client gave its reason for the next message that needs one",
    "confirmed": "a message that needs a reason was let through for the one given",
    "opened": "an instrument's process has its session open",
    "hung": "an instrument's process gave no answer by its deadline",
    "crashed": "an instrument's process ended by itself",
    "killed": "an instrument's process was killed and is gone",
    "wedged": "an instrument's process cannot be killed",
    "restarted": "a new process has the instrument open again",
    "backoff": "an instrument failed again; its next start waits",
    "broken": "an instrument failed too often and is left alone",
    "changed": "another instrument answers than the one first seen, and is refused",
    "unreachable": "an instrument could not be reached",
    "closed": "an instrument's process closed its session and ended",
    "safe": "a message of an instrument's safe state was sent, or given up",
    "gap": "records were lost because the writer fell behind or could not write",
}

_DAY = 86400.0


class Audit:
    """What happened, for the record."""

    def __init__(
        self,
        file: Path,
        *,
        key: bytes = b"",
        rotation: Rotation | None = None,
        tell: Callable[[str, dict[str, Any]], None] = lambda event, fields: None,
    ) -> None:
        """Its chain goes on where it ended. `tell` puts anchors and troubles where they are kept. Raises OSError."""
        chain = Chain(digest_with(key))
        self._writer = LogWriter(file, chain=chain, rotation=rotation or Rotation(), tell=tell)
        self._writer.tell_anchor(file)

    def record(self, event: str, **fields: Any) -> None:
        """One line. `event` is a row of EVENTS."""
        assert event in EVENTS, event
        self._writer.put(event, fields)

    def note(self, event: str, fields: Callable[[], dict[str, Any]]) -> None:
        """`record` for what comes with every command: its fields are asked for by the writer's thread."""
        assert event in EVENTS, event
        self._writer.put(event, fields)

    @property
    def is_failing(self) -> bool:
        """Can the file not be written now? Then what needs a record is refused with NO_RECORD."""
        return self._writer.is_failing

    @property
    def is_far_behind(self) -> bool:
        """Do so many records wait that whoever makes more of them for nothing should rest?"""
        return self._writer.behind >= QUEUE_SLOW

    def no_record(self) -> Failure:
        """What a message is refused with that must have a record while there can be none."""
        text = f"{self._writer.path} cannot be written, and this message may not be sent without a record; make room"
        return Failure("NO_RECORD", f"{text}, then repeat it")

    def describe(self) -> dict[str, Any]:
        """How it is, for `status`: `head` is the digest of the line `seq`, the last one that is written."""
        writer, chain = self._writer, self._writer.chain
        assert chain is not None
        return {
            "file": str(writer.path),
            "seq": chain.seq,
            "head": chain.head,
            "behind": writer.behind,
            "failing": writer.is_failing,
        }

    def rotate_by(self, rotation: Rotation) -> None:
        """As `LogWriter.rotate_by`."""
        self._writer.rotate_by(rotation)

    def reopen(self) -> Future[None]:
        """As `LogWriter.reopen`."""
        return self._writer.reopen()

    def close(self) -> None:
        """Flush, bounded."""
        self._writer.close()
        self._writer.tell_anchor(self._writer.path)


def open_audit(settings: Settings, tell: Callable[[str, dict[str, Any]], None]) -> Audit:
    """The audit log as it is set. Raises OSError, and SettingsError for a key that is none."""
    key = b"" if settings.audit_key_file is None else key_in(settings.audit_key_file)
    return Audit(settings.audit_file, key=key, rotation=rotation_of(settings), tell=tell)


def rotation_of(settings: Settings) -> Rotation:
    """When it is to be rotated."""
    return Rotation(settings.audit_rotate_size, settings.audit_rotate_age * _DAY, settings.audit_keep)


def key_in(file: Path) -> bytes:
    """The whole file, newline and all. Raises SettingsError."""
    where = f"--audit-key-file {file}"
    try:
        found = file.stat()
        # What belongs to root an administrator has handed on, as systemd does with credentials: by a group, or an ACL.
        if found.st_mode & (0o027 if found.st_uid == 0 else 0o077):
            raise SettingsError(f"{where}: others than its owner may use it; chmod 600 {file}")
        key = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror}") from error
    if len(key) < KEY_SIZE:
        raise SettingsError(f"{where}: has {len(key)} bytes; a key has {KEY_SIZE} or more, all of them random")
    return key
