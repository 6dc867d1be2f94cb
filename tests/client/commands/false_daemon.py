"""Something that answers as a daemon does, in both languages, and says what it likes."""

import contextlib
import json
import socket
import threading
from typing import Any

from pyvisa_daemon import wire
from pyvisa_daemon.framing import FrameReader

#: What a terminal would obey: a colour, a title, a cleared screen, C1 codes, a line of its own.
ESCAPES = "\x1b[31mred\x1b]0;title\x07\x1b[2J\x9b2J\x90\r\nfile,x"


class FalseDaemon:
    """Answers `status` with that text, the other commands with `reply`, and lists `names`."""

    def __init__(self, status: str, names: list[str | int] | None = None, reply: str = "{}") -> None:
        self._replies = {"mode": "tagged", "hello": "{}", "status": status}
        self._names, self._reply = names or [], reply
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._door.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._door.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, wire.DecodeError):
            if connection.recv(1, socket.MSG_PEEK) == wire.MAGIC[:1]:
                self._talk_wire(connection)
            else:
                self._talk_text(connection)

    def _talk_text(self, connection: socket.socket) -> None:
        for line in connection.makefile("rb"):
            verb = line.decode(errors="replace").removeprefix(".#.").removeprefix(".!.").partition(" ")[0].strip()
            said = self._replies.get(verb, self._reply).encode(errors="surrogateescape")
            connection.sendall(b"ok #9%09d%b\n" % (len(said), said))

    def _talk_wire(self, connection: socket.socket) -> None:
        frames = FrameReader()
        connection.recv(len(wire.MAGIC), socket.MSG_WAITALL)
        while data := connection.recv(1 << 16):
            for frame in frames.feed(data):
                request = wire.decode_request(frame)
                if isinstance(request, wire.Hello):
                    connection.sendall(wire.encode(wire.Welcome(wire.VERSION, wire.FEATURES, "9.9", 1)))
                elif isinstance(request, wire.ListResources):
                    connection.sendall(wire.encode(wire.Reply(request.id, 0, self._names)))
                else:
                    value: Any = "open" if isinstance(request, wire.Find) else ESCAPES
                    connection.sendall(wire.encode(wire.Reply(request.id, 0, value)))


def everywhere(value: object) -> str:
    """A status, as JSON, that says `value` wherever it says anything."""
    keys = ["version", "pid", "uptime_s", "clients", "state", "announced", "memory_mb", "rate_per_s", "addresses"]
    row_keys = ["resource", "state", "sessions", "queued", "memory_mb", "restarts", "pid", "rate_per_s", "last_error"]
    row: dict[str, Any] = dict.fromkeys([*row_keys, "remedy", "identity"], value)
    row |= {
        "aliases": [value],
        "latency_ms": {"p50": value, "p99": value},
        "running": {"client": value, "name": value, "operation": value, "for_s": value},
        "hold": {"client": value, "name": value, "for_s": value},
        "lock": {"kind": value, "holders": [{"client": value, "name": value, "reason": value}], "waiting": value},
        "safe": {"state": "due", "reason": value},
    }
    connection = {"client": value, "name": value, "language": value, "open": [value]}
    audit = {"failing": value, "file": value}
    said = dict.fromkeys(keys, value) | {"resources": [row], "connections": [connection], "audit": audit}
    return json.dumps(said | {"aliases": {str(value): value}})
