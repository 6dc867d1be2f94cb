"""The arbitrary waveform generator, the stubborn one: two of its commands hang whoever talks to it, for real.

    SYST:STALL      it stops reading, for good, on this connection. A write of STALLING_BYTES or more then never
                    returns: pyvisa-py's SOCKET write waits for room without any deadline.
    SYST:BABBLE?    its answer is one byte every 50 ms and never ends. A read never returns either: pyvisa-py's SOCKET
                    read looks at its deadline only when no data came.

Nothing but dropping the connection helps, and that does: a new connection finds the instrument as well as ever.
"""

import asyncio

from demo_bench.instrument import Handler, Instrument, Link
from demo_bench.scpi import Command, ScpiError, choice, number, switch

#: A write of this much to a stalled generator never returns. On a connection that was hardly used 33 kB may do it
#: (Linux 6.18, loopback), but the sender's kernel allows itself more as it sees fit, 712 kB after thousands of
#: messages; this is more than Linux's largest send buffer, 4 MiB unless an administrator raised it.
STALLING_BYTES = 5_000_000

#: What its socket has room for (see `instrument.listen`); the kernel makes 1 the smallest buffer it knows.
RECEIVE_BUFFER, SEGMENT = 1, 536

_SECONDS_BETWEEN_BYTES = 0.05

POINTS_LIMIT = 1_000_000


class Generator(Instrument):
    """FREQ, VOLT, VOLT:OFFS, FUNC, OUTP as usual; DATA:VOL #<block> takes a waveform, DATA:POIN? counts its points."""

    identity = "DEMO BENCH,WAVEFORM GENERATOR,AG005341,1.0"
    settings = {
        "FREQuency": number(1000, 1e-6, 20e6),
        "VOLTage": number(0.1, 0.01, 10),
        "VOLTage:OFFSet": number(0, -5, 5),
        "FUNCtion": choice("SINusoid", "SQUare", "RAMP", "NOISe", "USER"),
        "OUTPut": switch(),
    }

    def __init__(self) -> None:
        super().__init__()
        self._waveform = b""

    def table(self) -> dict[str, Handler]:
        return super().table() | {
            "DATA:VOLatile": self._load,
            "DATA:POINts?": self._points,
            "SYSTem:STALL": self._stall,
            "SYSTem:BABBLE?": self._babble,
        }

    async def _load(self, link: Link, command: Command) -> None:
        if not command.block:
            raise ScpiError(-109, "Missing parameter")
        if len(command.block) > POINTS_LIMIT:
            raise ScpiError(-223, "Too much data")
        self._waveform = command.block

    async def _points(self, link: Link, command: Command) -> bytes:
        return str(len(self._waveform)).encode()

    async def _stall(self, link: Link, command: Command) -> None:
        await link.stop_reading()

    async def _babble(self, link: Link, command: Command) -> None:
        while True:
            await link.send(b"b")
            await asyncio.sleep(_SECONDS_BETWEEN_BYTES)
