"""One opening of a VXI-11 device: what was written until END, and what was answered and is not read yet.

Knows no RPC: `vxi11` speaks that.

    Link          the queues, and the task that hands one message after another to the device
    Device        what executes messages and answers with `link.respond`; one for each link
    Lock          the device's lock, held by a link

A write is over as soon as the message is taken: a device that takes its time answers later, and a query whose reader
gave up leaves its answer in the queue. Only device clear, or the end of the link, throws that away.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

#: Why a read ended.
REQUEST_COUNT, TERM_CHAR, MESSAGE_END = 1, 2, 4
#: Device_ErrorCode.
INVALID_LINK, NOT_SUPPORTED, LOCKED, NOT_LOCKED, IO_TIMEOUT, ABORTED = 4, 8, 11, 12, 15, 23

MESSAGE_AVAILABLE, REQUEST_SERVICE = 16, 64  # bits of the status byte, IEEE 488.2 11.2


class Client(Protocol):
    """The connection that a link lives on."""

    tasks: asyncio.TaskGroup

    def drop(self) -> None:
        """Close it, now."""

    def fall_silent(self) -> None:
        """Answer no further call, for as long as it lives."""


class DeviceError(Exception):
    """A procedure's error other than 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"VXI-11 error {code}")
        self.code = code


class Device(Protocol):
    async def execute(self, message: bytes) -> None:
        """All bytes up to an END. Cancelled by device clear. OSError drops the connection."""

    def serial_poll(self) -> int:
        """The status byte without MAV, which is the link's affair; reading it clears RQS."""

    def trigger(self) -> None: ...

    def clear(self) -> None:
        """Forget half a message; the link's queues are empty already."""


class Link:
    def __init__(self, number: int, client: Client, make_device: Callable[["Link"], Device]) -> None:
        self.number = number
        self.client = client
        self._input = bytearray()
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._output: deque[_Response] = deque()
        self._output_grew = asyncio.Event()
        self._is_aborted = False
        self.device = make_device(self)
        self._executing = client.tasks.create_task(self._execute())

    @property
    def has_output(self) -> bool:
        return any(response.data or response.is_end for response in self._output)

    def respond(self, data: bytes, *, is_end: bool = True) -> None:
        """Append to the output queue; without END, whoever reads on waits for the rest."""
        if not self._output or self._output[-1].is_end:
            self._output.append(_Response())
        self._output[-1].data += data
        self._output[-1].is_end = is_end
        self._output_grew.set()

    def discard_output(self) -> None:
        self._output.clear()

    def write(self, data: bytes, *, is_end: bool) -> None:
        self._input += data
        if is_end:
            self._messages.put_nowait(bytes(self._input))
            self._input.clear()

    async def read(self, count: int, term_char: int | None, timeout: float) -> tuple[int, bytes]:
        """Why it ended, and the bytes. What has come when it times out stays in the queue."""
        self._is_aborted = False
        try:
            async with asyncio.timeout(timeout):
                while not (self._output and (reason := self._output[0].reason_to_stop(count, term_char))):
                    self._output_grew.clear()
                    await self._output_grew.wait()
                    if self._is_aborted:
                        raise DeviceError(ABORTED)
        except TimeoutError:
            raise DeviceError(IO_TIMEOUT) from None
        data = self._output[0].take(count, term_char)
        if reason & MESSAGE_END:
            self._output.popleft()
        return reason, data

    def abort(self) -> None:
        """End a read that waits."""
        self._is_aborted = True
        self._output_grew.set()

    def clear(self) -> None:
        """IEEE 488.2 5.8: input and output are thrown away, and so is what is being executed."""
        self.end()
        self._input.clear()
        self._messages = asyncio.Queue()
        self._output.clear()
        self.device.clear()
        self._executing = self.client.tasks.create_task(self._execute())

    def end(self) -> None:
        self._executing.cancel()

    async def _execute(self) -> None:
        while True:
            message = await self._messages.get()
            try:
                await self.device.execute(message)
            except OSError:
                self.client.drop()


@dataclass(slots=True)
class _Response:
    data: bytearray = field(default_factory=bytearray)
    is_end: bool = False

    def reason_to_stop(self, count: int, term_char: int | None) -> int:
        """Why a read of `count` bytes would end now; 0 if it must wait."""
        data = self._front(count, term_char)
        reason = REQUEST_COUNT if len(data) == count else 0
        if term_char is not None and data.endswith(bytes([term_char])):
            reason |= TERM_CHAR
        if self.is_end and len(data) == len(self.data):
            reason |= MESSAGE_END
        return reason

    def take(self, count: int, term_char: int | None) -> bytes:
        data = self._front(count, term_char)
        del self.data[: len(data)]
        return data

    def _front(self, count: int, term_char: int | None) -> bytes:
        end = self.data.find(term_char, 0, count) + 1 if term_char is not None else 0
        return bytes(self.data[: end or count])


class Lock:
    """The device's exclusive lock, by link number."""

    def __init__(self) -> None:
        self._holder: int | None = None
        self._released = asyncio.Event()

    async def until_free_for(self, link: int, timeout: float) -> None:
        """Returns when nobody else holds it. Raises DeviceError(LOCKED) after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self._holder not in (None, link):
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            raise DeviceError(LOCKED) from None

    async def acquire(self, link: int, timeout: float) -> None:
        await self.until_free_for(link, timeout)
        self._holder = link

    def release(self, link: int) -> None:
        if self._holder != link:
            raise DeviceError(NOT_LOCKED)
        self._holder = None
        self._released.set()

    def forget(self, link: int) -> None:
        if self._holder == link:
            self.release(link)
