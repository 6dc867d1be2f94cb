"""The scripted instrument on VXI-11: `python -m tests.support.vxi11_instrument`.

Prints its VISA name and the port of a raw socket where a test may ask behind the daemon's back; serves until its
standard input ends. A message ends with END or LF. All of `tests.support.instrument`, and what VXI-11 adds:

    SRQ MS           requests service MS milliseconds later: bit 6 of the status byte, until a serial poll
    SRQ? MS,TEXT     TEXT, MS milliseconds later, and a service request with it
    TRIGGERS?        how often it was triggered

Its output queue is as careless as the daemon must expect: an answer stays until it is read or cleared, however late it
came and whatever was written meanwhile. HALF? leaves out END too, DROP closes the connection and so the link, STALL
answers no call on this connection any more. Bit 4 of the status byte: an answer waits; bit 2: so does an error.
"""

import asyncio
import signal
import sys

from demo_bench.instrument import Handler, listen, serve
from demo_bench.instrument import Link as SocketLink
from demo_bench.scpi import Command, end_of_message
from tests.support.instrument import Scripted
from tests.support.vxi11 import Server
from tests.support.vxi11_link import REQUEST_SERVICE, Link

_ERROR_WAITS = 4


class Vxi11Scripted(Scripted):
    """What all links and the raw socket share."""

    identity = "TEST,SCRIPTED VXI-11 INSTRUMENT,1,1.0"

    def __init__(self) -> None:
        super().__init__()
        self._requests_service = False
        self._triggers = 0

    def table(self) -> dict[str, Handler]:
        return super().table() | {"SRQ": self._srq, "SRQ?": self._slow_srq, "TRIGGERS?": self._count_triggers}

    def serial_poll(self) -> int:
        status = (REQUEST_SERVICE if self._requests_service else 0) | (_ERROR_WAITS if self._errors else 0)
        self._requests_service = False
        return status

    def trigger(self) -> None:
        self._triggers += 1

    def _request_service(self) -> None:
        self._requests_service = True

    async def _srq(self, link: SocketLink, command: Command) -> None:
        asyncio.get_running_loop().call_later(int(command.argument) / 1000, self._request_service)

    async def _slow_srq(self, link: SocketLink, command: Command) -> bytes:
        answer = await self._slow(link, command)
        self._request_service()  # no poll comes between this and the answer
        return answer

    async def _count_triggers(self, link: SocketLink, command: Command) -> bytes:
        return str(self._triggers).encode()


class ScriptedDevice:
    """The scripted instrument as one VXI-11 link sees it."""

    def __init__(self, scripted: Vxi11Scripted, link: Link) -> None:
        self._scripted = scripted
        self._link = link
        self._as_socket = _AsSocketLink(link)

    async def execute(self, message: bytes) -> None:
        pending = message if message.endswith(b"\n") else message + b"\n"
        while pending:
            end = end_of_message(pending) or len(pending)
            command, pending = pending[:end], pending[end:]
            answer = await self._scripted.answer(self._as_socket, command.removesuffix(b"\n").removesuffix(b"\r"))
            if answer is not None:
                self._link.respond(answer + b"\n")

    def serial_poll(self) -> int:
        return self._scripted.serial_poll()

    def trigger(self) -> None:
        self._scripted.trigger()

    def clear(self) -> None:
        """Nothing of a message is kept from one `execute` to the next."""


class _AsSocketLink(SocketLink):
    """What the scripted instrument's handlers misbehave on."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def send(self, data: bytes) -> None:
        self._link.respond(data, is_end=False)

    async def stop_reading(self) -> None:
        self._link.client.fall_silent()


async def main() -> None:
    scripted = Vxi11Scripted()
    core, abort, side = listen(0), listen(0), listen(0)
    server = Server(lambda link: ScriptedDevice(scripted, link))
    async with asyncio.TaskGroup() as serving:
        tasks = [serving.create_task(server.serve(core, abort)), serving.create_task(serve(scripted, side))]
        print(f"TCPIP0::127.0.0.1,{core.getsockname()[1]}::inst0::INSTR {side.getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main())
