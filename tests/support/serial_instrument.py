"""The scripted instrument on a serial line: `python -m tests.support.serial_instrument`.

The line is a pseudo-terminal; whoever opens its other end finds a port without noise, speed or parity. Prints its VISA
name and the port of a raw socket where a test may ask behind the daemon's back; serves until its standard input ends.
It speaks as `tests.support.instrument` does, but nobody can hang up: DROP pulls the cable, and the port is gone for
good; BABBLE? and STALL never end, whoever opens the port next.
"""

import asyncio
import os
import pty
import signal
import sys
import tty

from demo_bench.instrument import Instrument, Link, listen, serve
from demo_bench.scpi import end_of_message
from tests.support.instrument import Scripted


class SerialLink(Link):
    """The instrument's end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
        self._reader = reader
        self._writer = writer
        self._pending = bytearray()

    async def message(self) -> bytes:
        while not (end := end_of_message(self._pending)):
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionResetError("the line is closed")
            self._pending += data
        message = bytes(self._pending[:end])
        del self._pending[:end]
        return message.removesuffix(b"\n").removesuffix(b"\r")

    async def send(self, data: bytes) -> None:
        self._writer.write(data)


async def plug_in(instrument: Instrument, ours: int, theirs: int) -> None:
    """Answer on the line until a handler drops it. `theirs` stays open here, so that the line outlives its users."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0))
    writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(os.dup(ours), "wb", 0))
    link = SerialLink(reader, writing)
    try:
        while True:
            answer = await instrument.answer(link, await link.message())
            if answer is not None:
                await link.send(answer + b"\n")
    except OSError:
        pass
    finally:
        writing.abort()
        reading.close()
        os.close(theirs)


async def main() -> None:
    scripted = Scripted()
    ours, theirs = pty.openpty()
    tty.setraw(theirs)  # until a user sets the port up there would be an echo
    side = listen(0)
    async with asyncio.TaskGroup() as serving:
        tasks = [serving.create_task(plug_in(scripted, ours, theirs)), serving.create_task(serve(scripted, side))]
        print(f"ASRL{os.ttyname(theirs)}::INSTR {side.getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main())
