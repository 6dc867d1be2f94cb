"""A scripted instrument on loopback TCP: `python -m tests.support.instrument`.

Prints its VISA name and its port when it listens, and serves until its standard input ends. Every message ends with LF.
It keeps count of what it executed, over all connections, so that a test can hold the daemon's word against the
instrument's.

    *IDN?            who it is                      SET TEXT       does nothing, and is counted
    ECHO? TEXT       TEXT                           HISTORY?       every message it executed: a JSON array
    SLOW? MS,TEXT    TEXT, MS milliseconds later    COUNT? HEADER  how many of them began with HEADER
    BLOCK? N         N bytes 0, 1, ... as a block   LOAD #<block>  keeps a block;  LOAD? its length
    HALF? TEXT       TEXT without its terminator    DROP           closes this connection
    STALL            stops reading this connection  BABBLE?        a byte every 10 ms, for ever
    BE TEXT          *IDN? is answered by TEXT from now on; BE alone: it is not answered
"""

import asyncio
import json
import signal
import sys

from demo_bench.instrument import Handler, Instrument, Link, listen, serve
from demo_bench.scpi import Command, block

#: What HISTORY? and COUNT? leave out: asking them is no part of the story.
_UNCOUNTED = (b"HISTORY?", b"COUNT?")


def ramp(length: int) -> bytes:
    """0, 1, ... 255, 0, ...: what BLOCK? answers."""
    return (bytes(range(256)) * (length // 256 + 1))[:length]


class Scripted(Instrument):
    identity = "TEST,SCRIPTED INSTRUMENT,1,1.0"

    def __init__(self) -> None:
        super().__init__()
        self._history: list[str] = []
        self._loaded = b""

    def table(self) -> dict[str, Handler]:
        return super().table() | {
            "SET": self._set,
            "ECHO?": self._echo,
            "SLOW?": self._slow,
            "BLOCK?": self._block,
            "LOAD": self._load,
            "LOAD?": self._load_length,
            "HALF?": self._half,
            "HISTORY?": self._tell,
            "COUNT?": self._count,
            "DROP": self._drop,
            "STALL": self._stall,
            "BABBLE?": self._babble,
            "BE": self._be,
            "*IDN?": self._identify,
        }

    async def answer(self, link: Link, message: bytes) -> bytes | None:
        if not message.startswith(_UNCOUNTED):
            self._history.append(message[:200].decode("utf-8", "replace"))
        return await super().answer(link, message)

    async def _set(self, link: Link, command: Command) -> None:
        pass

    async def _echo(self, link: Link, command: Command) -> bytes:
        return command.argument.encode()

    async def _slow(self, link: Link, command: Command) -> bytes:
        milliseconds, _, text = command.argument.partition(",")
        await asyncio.sleep(int(milliseconds) / 1000)
        return text.encode()

    async def _block(self, link: Link, command: Command) -> bytes:
        return block(ramp(int(command.argument)))

    async def _load(self, link: Link, command: Command) -> None:
        self._loaded = command.block

    async def _load_length(self, link: Link, command: Command) -> bytes:
        return str(len(self._loaded)).encode()

    async def _half(self, link: Link, command: Command) -> None:
        await link.send(command.argument.encode())

    async def _tell(self, link: Link, command: Command) -> bytes:
        return json.dumps(self._history).encode()

    async def _count(self, link: Link, command: Command) -> bytes:
        return str(sum(message.startswith(command.argument) for message in self._history)).encode()

    async def _drop(self, link: Link, command: Command) -> None:
        raise ConnectionAbortedError("dropped on command")

    async def _stall(self, link: Link, command: Command) -> None:
        await link.stop_reading()

    async def _babble(self, link: Link, command: Command) -> None:
        while True:
            await link.send(b"b")
            await asyncio.sleep(0.01)

    async def _be(self, link: Link, command: Command) -> None:
        self.identity = command.argument

    async def _identify(self, link: Link, command: Command) -> bytes | None:
        return self.identity.encode() or None


async def main() -> None:
    listener = listen(0, receive_buffer=1, segment=536)
    serving = asyncio.create_task(serve(Scripted(), listener))
    port = listener.getsockname()[1]
    print(f"TCPIP0::127.0.0.1::{port}::SOCKET {port}", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    serving.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main())
