"""`python -m demo_bench`: the instruments on loopback TCP, in a process of their own.

Prints one line of JSON when it listens:

    [{"resource": "TCPIP0::127.0.0.1::5340::SOCKET", "what": "oscilloscope"}, ...]

then serves until its standard input ends, so that it never outlives whoever started it. Every message ends with LF.

To add an instrument: a row in `main`.
"""

import asyncio
import json
import signal
import socket
import sys

from demo_bench.generator import RECEIVE_BUFFER, SEGMENT, Generator
from demo_bench.instrument import Instrument, listen, serve
from demo_bench.oscilloscope import Oscilloscope


def announce(served: list[tuple[str, Instrument, socket.socket]]) -> None:
    rows = [
        {"resource": f"TCPIP0::127.0.0.1::{listener.getsockname()[1]}::SOCKET", "what": what}
        for what, _, listener in served
    ]
    print(json.dumps(rows), flush=True)


async def main() -> None:
    served: list[tuple[str, Instrument, socket.socket]] = [
        ("oscilloscope", Oscilloscope(), listen(5340)),
        ("waveform generator", Generator(), listen(5341, RECEIVE_BUFFER, SEGMENT)),
    ]
    serving = [asyncio.create_task(serve(instrument, listener)) for _, instrument, listener in served]
    announce(served)
    await asyncio.to_thread(sys.stdin.buffer.read)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which then ends our standard input
    asyncio.run(main())
