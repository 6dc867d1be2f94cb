"""loopback.c in Python, for a machine without a C compiler: `python -m benchmarks.loopback_python COUNT`.

The same commands and answers; slower, so that what is measured has more of the instrument in it.
"""

import asyncio
import os
import sys
from contextlib import suppress

from benchmarks.loopback import curve_answer, letters

LONGEST = 65536

#: Bytes that are given to a socket at once.
PIECE = 262_144


class Port:
    """One instrument: how many commands it has had, and who speaks with it."""

    def __init__(self) -> None:
        self.number = 0
        self.commands = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                answer = await self.answer(await _line(reader))
                for start in range(0, len(answer), PIECE):
                    writer.write(answer[start : start + PIECE])
                    await writer.drain()
        writer.close()

    async def answer(self, line: bytes | None) -> bytes:
        """What a command is answered, LF included; nothing if it asks nothing. None: it was too long to look at."""
        self.commands += 1
        if line is None or b"?" not in line:
            return b""
        header, _, argument = line.removesuffix(b"\r").partition(b" ")
        match header:
            case b"*IDN?":
                return b"BENCH,LOOPBACK,%d,1.0\n" % self.number
            case b"ECHO?":
                return argument + b"\n"
            case b"CURV?":
                return curve_answer(int(argument))
            case b"TEXT?":
                return letters(int(argument)) + b"\n"
            case b"WAIT?":
                await asyncio.sleep(float(argument) / 1e3)
                return b"done\n"
            case b"COUNT?":
                self.commands -= 1
                return b"%d\n" % self.commands
        return b"ERROR\n"


async def _line(reader: asyncio.StreamReader) -> bytes | None:
    """The next command without its LF, or None if it is longer than LONGEST."""
    is_too_long = False
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            await reader.readexactly(overrun.consumed)
            is_too_long = True
        else:
            return None if is_too_long else line[:-1]


async def main(count: int) -> None:
    ports = [Port() for _ in range(count)]
    for port in ports:
        server = await asyncio.start_server(port.converse, "127.0.0.1", 0, limit=LONGEST, backlog=4096)
        port.number = server.sockets[0].getsockname()[1]
    print(*(port.number for port in ports), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    os._exit(0)  # whoever is connected learns it from the kernel; asyncio would lament each one's end


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
