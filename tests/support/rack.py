"""A rack of scripted instruments in one process: `python -m tests.support.rack COUNT` prints their ports."""

import asyncio
import signal
import sys

from demo_bench.instrument import listen, serve
from tests.support.instrument import Scripted


async def main(count: int) -> None:
    listeners = [listen(0) for _ in range(count)]
    serving = [asyncio.create_task(serve(Scripted(), listener)) for listener in listeners]
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    for task in serving:
        task.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(int(sys.argv[1])))
