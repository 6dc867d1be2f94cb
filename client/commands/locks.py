"""`instruments lock`, `unlock` and `kick`: an instrument for one program alone, and for people who must get in.

Runs in the user's process. `lock` has a connection that does nothing but hold the lock: it ends with this process,
however that ends.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from client.choice import some_host_for
from client.commands.overview import row_of
from client.commands.reach import reach, resource_argument
from client.commands.terminal import INTERRUPTED, end, say
from client.commands.terms import PATIENCE
from client.text_socket import SocketManager, TCPVisaSocket
from pyvisa_daemon import hosts, inherited_lock
from pyvisa_daemon.errors import Failure

if TYPE_CHECKING:
    from subprocess import Popen

#: Exit codes as the shell, env and timeout have them: what cannot be executed, what is not there; and, for what a
#: signal has ended, that signal's number above this.
NOT_EXECUTABLE, NOT_THERE, SIGNALLED = 126, 127, 128

#: Seconds until it is said first whose turn it is, and between looks whether that has changed.
_FIRST_LOOK, _LOOK = 0.3, 1.0

#: Seconds that COMMAND has to end by itself when the lock is lost.
_END_TIME = 10.0

#: Seconds that the daemon has to end the watch over the lock, and between words that it is to.
_WATCH_TIME, _WATCH_LOOK = 5.0, 0.1

_LOCK_EPILOG = """\b
COMMAND has in its environment:
  PYVISA_DAEMON_LOCK_RESOURCE  the resource's full name
  PYVISA_DAEMON_LOCK_KEY       what the lock is shared by
A PyVISA program shares the lock without a change; in the text protocol it is
said: lock shared $PYVISA_DAEMON_LOCK_KEY

\b
Examples:
  instruments lock multimeter --reason calibration -- python calibrate.py
  instruments lock multimeter --timeout 60 -- sh -c 'instruments query multimeter READ?'

\b
Exit codes: COMMAND's own (128 and the signal's number if one ended it), 126 it cannot be executed, 127 it is not there;
1 refused, or no lock in time, 2 wrong usage, 3 no daemon.
"""


@click.command("lock", epilog=_LOCK_EPILOG)
@resource_argument
@click.option("--reason", default="", metavar="TEXT", help="What for: others are told.")
@click.option("--ttl", type=float, metavar="S", help="Give it up when COMMAND has not used it for so many seconds.")
@click.option("--timeout", type=PATIENCE, metavar="S", help="Wait so long for it; else as long as it takes.")
@click.option("--kill-if-lost", is_flag=True, help="End COMMAND (SIGTERM, then SIGKILL) when the lock is lost.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
def lock_(
    resource: str, reason: str, ttl: float | None, timeout: float | None, kill_if_lost: bool, command: tuple[str, ...]
) -> None:
    """Keep others out while COMMAND runs.

    Waits for a lock on RESOURCE, says on stderr who has it, and runs COMMAND as one of those who share the lock. The
    lock ends with this command, however that ends.
    """
    _check(command[0])
    socket, name = reach(resource, _open)
    with socket:
        lock = inherited_lock.InheritedLock(name, _new_key(), str(socket.address))
        outer = inherited_lock.inherited_on(name, lock.daemon)
        if outer is not None and outer.daemon == lock.daemon:
            lock = outer  # else it would wait for itself
        ms = float("inf") if timeout is None else 1000 * timeout
        try:
            _take(socket, name, lambda: socket.lock(ms, lock.key, ttl, reason))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        sys.exit(_run(command, inherited_lock.environment_under(lock), socket, kill_if_lost=kill_if_lost))


def _new_key() -> str:
    import secrets

    return secrets.token_urlsafe(16)


def _open(socket: TCPVisaSocket, resource: str) -> str:
    """Without the lock that this program itself may run under."""
    return socket.command("open_resource", resource)


def _check(program: str) -> None:
    """Before anybody waits for anything: is it there?"""
    if shutil.which(program) is not None:
        return
    if os.path.isfile(program):
        end(NOT_EXECUTABLE, f"{program} cannot be executed")
    end(NOT_THERE, f"{program} is not there")


# Waiting for the lock.


def _take(socket: TCPVisaSocket, name: str, take: Callable[[], object]) -> None:
    """Does `take`, and says meanwhile whose turn it is. Raises what it raises."""
    ended: SimpleQueue[Exception | None] = SimpleQueue()

    def do() -> None:
        try:
            take()
            ended.put(None)
        except Exception as error:  # whatever it is, it is raised below
            ended.put(error)

    me = str(socket.hello().get("client", ""))
    Thread(target=do, daemon=True).start()
    said, patience = "", _FIRST_LOOK
    while True:
        try:
            error = ended.get(timeout=patience)
        except Empty:
            line, patience = _whose_turn(socket.address, name, me), _LOOK
            if line and line != said:
                say(line)
                said = line
            continue
        if error is not None:
            raise error
        return


def _whose_turn(address: hosts.Address, name: str, me: str) -> str:
    """Who has the lock, and our place among those who wait; empty if that is not to be had."""
    with contextlib.suppress(Failure, ConnectionError, LookupError, TypeError), TCPVisaSocket(address) as looking:
        held = row_of(looking.status(), name).get("lock")
        waiters = [row["client"] for row in held["waiters"]] if held else []
        if held and me in waiters:
            return f"waiting for {name}, held by {holders(held)}, {_ordinal(waiters.index(me) + 1)} in line"
    return ""


def holders(held: dict[str, Any]) -> str:
    return ", ".join(
        f"{row['name'] or row['client']}" + (f" ({row['reason']})" if row["reason"] else "") for row in held["holders"]
    )


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 < 20 else ending}"


# While COMMAND runs.


def _run(command: tuple[str, ...], variables: dict[str, str], socket: TCPVisaSocket, *, kill_if_lost: bool) -> int:
    """COMMAND, from its beginning to its exit code."""
    import subprocess

    with _SignalsFor() as signals:
        try:
            process = subprocess.Popen(command, env={**os.environ, **variables})  # noqa: S603 - the user's own
        except OSError as error:
            end(NOT_THERE if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE, f"{command[0]}: {error}")
        is_over = Event()
        arguments = (socket, process, is_over, kill_if_lost)
        watch = Thread(target=_watch, args=arguments, daemon=True)
        watch.start()
        signals.go_to(process)
        code = process.wait()
        is_over.set()
        if code < 0 or not _has_ended(watch, socket):
            socket.hang_up()  # COMMAND is lost, and so is its lock
    return SIGNALLED - code if code < 0 else code


def _has_ended(watch: Thread, socket: TCPVisaSocket) -> bool:
    """Has the watch ended, now that it is to? Only then can the lock be given back."""
    deadline = monotonic() + _WATCH_TIME
    while watch.is_alive() and monotonic() < deadline:
        socket.end_wait()  # once more if it had not begun to wait
        watch.join(_WATCH_LOOK)
    return not watch.is_alive()


class _SignalsFor:
    """While it is entered: what would end this process is passed on to COMMAND, which then ends as it sees fit."""

    def __init__(self) -> None:
        self._process: Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_SignalsFor":
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # which COMMAND inherits
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def go_to(self, process: "Popen[bytes]") -> None:
        """From now on; and those that came before it was there."""
        self._process = process
        while self._early:
            process.send_signal(self._early.pop(0))

    def _came(self, number: int, _: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        elif number != signal.SIGINT or not _is_in_foreground():
            self._process.send_signal(number)


def _is_in_foreground() -> bool:
    """Does Ctrl-C on the terminal go to COMMAND as well as to us? Twice would be once too often."""
    if os.name == "nt":
        return True
    with contextlib.suppress(OSError), open("/dev/tty") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False


def _watch(socket: TCPVisaSocket, process: "Popen[bytes]", is_over: Event, kill_if_lost: bool) -> None:
    """Says so when the lock is lost before COMMAND has ended, and ends that if it is to."""
    try:
        why = socket.await_loss()
    except (Failure, ConnectionError, ValueError, OSError) as error:
        why = str(error)
    if is_over.is_set():
        return
    what = "COMMAND is ended" if kill_if_lost else "COMMAND goes on, and its next use of the instrument fails"
    say(f"the lock is lost: {why}; {what}")
    if kill_if_lost:
        from subprocess import TimeoutExpired

        process.terminate()
        try:
            process.wait(_END_TIME)
        except TimeoutExpired:
            process.kill()


# For people who must get in.


@click.command()
@resource_argument
def unlock(resource: str) -> None:
    """Take a lock from whoever has it.

    All locks on RESOURCE, at the daemons that have it open. Each program that had one is told so by its next command,
    which fails; who waits for the lock has it next. Goes on record with your name.
    """
    refusal = None
    addresses = some_host_for(resource)
    for address in addresses:
        with TCPVisaSocket(address) as socket:
            try:
                lost = socket.force_unlock(resource)
            except Failure as failure:
                refusal = refusal or failure
                continue
        if lost:
            click.echo(f"{resource} at {address} is unlocked: taken from {_sessions(lost)}, which will be told")
        else:
            click.echo(f"{resource} at {address} was not locked")
        return
    if refusal is not None:
        raise refusal


def _sessions(number: int) -> str:
    return "1 session" if number == 1 else f"{number} sessions"


@click.command()
@click.argument("client", metavar="CLIENT")
@click.option("--all", "is_all", is_flag=True, help="All that have this name, if there are several.")
def kick(client: str, is_all: bool) -> None:
    """Cut a client's connection.

    CLIENT is an address, host:port, or a name, as `instruments status --clients` shows them, at the first live daemon.
    What it has waiting is not executed, what runs goes on to its end, its locks are free. It may connect again. Goes on
    record with your name.
    """
    with SocketManager().open_socket() as socket:
        cut = socket.kick(client, all_of_name=is_all)
        click.echo(f"{'1 connection' if cut == 1 else f'{cut} connections'} of {client} cut at {socket.address}")
