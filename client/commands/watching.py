"""The live display of `instruments status --watch`.

Runs in the user's process: a thread for each known host asks again and again, on a connection of its own that is made
anew when it is lost, and the main thread shows what they have. So a daemon that goes away, hangs or comes back is seen
to do so, and holds up nobody else's numbers.
"""

import contextlib
import threading
from dataclasses import replace
from time import monotonic, sleep

from client.commands.status import show, view
from client.commands.survey import Said
from client.commands.terminal import console, is_rich, print_table
from client.text_socket import TCPVisaSocket
from pyvisa_daemon import hosts
from pyvisa_daemon.errors import Failure

#: Looks that an answer may be late before it is said to be old, and seconds at least.
_LATE_LOOKS, _LATE_TIME = 3, 2.0

#: Seconds that the first display waits for the first answers.
_FIRST_TIME = 1.0


class Watch:
    """What one host said last. Its thread goes on until `end`."""

    def __init__(self, address: hosts.Address, interval: float) -> None:
        self._interval = interval
        self._is_over = threading.Event()
        self._said = Said(address, None, "not asked yet")
        self._said_at = monotonic()
        self.has_come = threading.Event()
        threading.Thread(target=self._run, args=(address,), name=f"watching {address}", daemon=True).start()

    def end(self) -> None:
        self._is_over.set()

    def said(self) -> Said:
        """With its age if that is considerable: a daemon that is stopped neither answers nor goes away."""
        said, age = self._said, monotonic() - self._said_at
        if said.status is None or age < max(_LATE_TIME, _LATE_LOOKS * self._interval):
            return said
        return replace(said, reason=f"it does not answer; this is {age:.0f} s old")

    def _run(self, address: hosts.Address) -> None:
        while not self._is_over.is_set():
            try:
                with TCPVisaSocket(address) as socket:
                    self._ask(socket)
            except (ConnectionError, Failure) as error:
                self._note(Said(address, None, str(error)))
                self._is_over.wait(self._interval)

    def _ask(self, socket: TCPVisaSocket) -> None:
        """Until the end. Raises what TCPVisaSocket does."""
        while not self._is_over.is_set():
            self._note(Said(socket.address, socket.status()))
            self._is_over.wait(self._interval)

    def _note(self, said: Said) -> None:
        self._said, self._said_at = said, monotonic()
        self.has_come.set()


def watch(interval: float, *, has_clients: bool, as_json: bool) -> None:
    """Shows all known hosts, until Ctrl-C."""
    watches = [Watch(hosts.parse(entry), interval) for entry in hosts.tryIps]
    try:
        first = monotonic() + _FIRST_TIME
        for one in watches:
            one.has_come.wait(max(0.0, first - monotonic()))
        if is_rich() and not as_json:
            _live(watches, interval, has_clients=has_clients)
        else:
            _stream(watches, interval, has_clients=has_clients, as_json=as_json)
    except KeyboardInterrupt:
        pass
    finally:
        for one in watches:
            one.end()


def _live(watches: list[Watch], interval: float, *, has_clients: bool) -> None:
    """On the whole screen; what it showed last stays when it is over."""
    from rich.live import Live

    out = console()
    shown = view([one.said() for one in watches], out.width, has_clients=has_clients)
    with contextlib.suppress(KeyboardInterrupt), Live(shown, console=out, screen=True, auto_refresh=False) as live:
        while True:
            sleep(interval)
            shown = view([one.said() for one in watches], out.width, has_clients=has_clients)
            live.update(shown, refresh=True)
    out.print(shown)


def _stream(watches: list[Watch], interval: float, *, has_clients: bool, as_json: bool) -> None:
    """In a pipe: one look below the other, with an empty line between; or lines of JSON."""
    while True:
        show([one.said() for one in watches], has_clients=has_clients, as_json=as_json)
        if not as_json:
            print_table([[""]])
        sleep(interval)
