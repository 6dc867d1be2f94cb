"""An instrument on loopback TCP for messages of any size: `python -m tests.daemon.programs.bulk_instrument`.

Prints its port and serves until its standard input ends. Messages and answers end with LF. Nothing big is kept: what it
is sent is counted and hashed as it comes, what it sends is made as it goes (see `pattern`).

    ECHO? TEXT      TEXT                       LOAD #<block>   takes a block
    BULK? N         N bytes, no LF, as a block LOADED?         length and SHA-256 of the last whole block
    RAW? N          N bytes of any value       RECEIVED?       bytes of blocks that came, whole or not
    PACED? N        as BULK?, in 2 ms steps    SENT?           bytes of long answers that went out
"""

import hashlib
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache

#: A prime: no piece of any transfer begins where the pattern does.
PERIOD = 1_000_003

STEP = 1 << 18


@cache
def _period(has_lf: bool) -> bytes:
    data = random.Random(1).randbytes(PERIOD)
    return data if has_lf else data.replace(b"\n", b"\r")


def pattern(size: int, *, has_lf: bool = False) -> Iterator[bytes]:
    """`size` bytes that say where they belong."""
    data = _period(has_lf) * 2
    for start in range(0, size, STEP):
        offset = start % PERIOD
        yield data[offset : offset + min(STEP, size - start)]


def digest(size: int, *, has_lf: bool = False) -> str:
    """What `hashlib` makes of the pattern."""
    total = hashlib.sha256()
    for piece in pattern(size, has_lf=has_lf):
        total.update(piece)
    return total.hexdigest()


class Bulk:
    """What all connections share."""

    def __init__(self) -> None:
        self.sent = self.received = 0
        self.loaded = "0 none"

    def serve(self, connection: socket.socket) -> None:
        """One connection, to its end."""
        stream = connection.makefile("rb", buffering=1 << 16)
        try:
            while byte := stream.read(1):
                message = byte + stream.read(4) if byte != b"\n" else byte
                if message == b"LOAD ":
                    self._load(stream)
                else:
                    self._answer(connection, (message + stream.readline()).decode().rstrip("\n"))
        except OSError:
            return  # the other side left

    def _load(self, stream) -> None:
        size = int(stream.read(int(stream.read(2)[1:])))
        total, left = hashlib.sha256(), size
        while left and (piece := stream.read(min(STEP, left))):
            total.update(piece)
            self.received += len(piece)
            left -= len(piece)
        if stream.read(1) == b"\n":
            self.loaded = f"{size - left} {total.hexdigest()}"

    def _answer(self, connection: socket.socket, message: str) -> None:
        header, _, argument = message.partition(" ")
        if header in ("BULK?", "PACED?", "RAW?"):
            self._send(connection, header, int(argument))
        else:
            short = {"ECHO?": argument, "LOADED?": self.loaded, "RECEIVED?": self.received, "SENT?": self.sent}
            connection.sendall(f"{short[header]}\n".encode())

    def _send(self, connection: socket.socket, header: str, size: int) -> None:
        if header != "RAW?":
            connection.sendall(f"#{len(str(size))}{size}".encode())
        for piece in pattern(size, has_lf=header == "RAW?"):
            connection.sendall(piece)
            self.sent += len(piece)
            time.sleep(0.002 if header == "PACED?" else 0)
        connection.sendall(b"\n")


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    bulk = Bulk()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=bulk.serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
