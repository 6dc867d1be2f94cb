"""One run of the daemon: what is started in order, and ended in the reverse order.

Runs in the front process, called by `command`. Signals: SIGTERM and SIGINT end the daemon orderly. SIGHUP has its logs
reopened, and settings, token file and certificate read anew; but on a terminal it means that the terminal is gone, and
ends the daemon as well.
"""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from front_proc.configuration.settings import Settings
from front_proc.daemonize import StartError
from front_proc.demo import Bench
from front_proc.doors.announcer import Announcer, announcement_of
from front_proc.doors.connection import Connection
from front_proc.doors.listening import BACKLOG, TlsPort, address_of
from front_proc.doors.tls_door import TlsDoor
from front_proc.front import Front
from front_proc.record.audit import Audit, open_audit
from front_proc.record.log_writer import LogWriter
from front_proc.reload import Reload
from front_proc.service_manager import ServiceManager
from front_proc.stalls import StallWatch
from pyvisa_daemon.version import __version__

#: Seconds that logs may take to be reopened before the service manager is told that this is done nevertheless.
REOPEN_TIME = 2.0


@dataclass(frozen=True)
class Origin:
    """How it was started, and where: what its settings come from; and its doors, with whatever settings."""

    arguments: list[str]
    folder: Path | None
    doors: Callable[[Settings], list[Any]]


class Run:
    """One run: what is started in order, and ended in the reverse order."""

    def __init__(
        self,
        settings: Settings,
        origin: Origin,
        pid_file: Any,
        listener: socket.socket,
        tls: TlsPort | None,
        readiness: Any,
        manager: ServiceManager,
        remarks: str,
        *,
        is_hangup_the_end: bool,
    ) -> None:
        self._settings = settings
        self._origin = origin
        self._pid_file = pid_file
        self._listener = listener
        self._tls = tls
        self._readiness = readiness
        self._manager = manager
        #: What is said of who may come, as soon as it serves.
        self._remarks = remarks
        self._front: Front | None = None
        self._reload: Reload | None = None
        self._is_hangup_the_end = is_hangup_the_end
        #: What goes on beside serving, kept until it is done.
        self._doing: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until somebody ends it. Raises StartError, Failure or SettingsError if it cannot start."""
        settings = self._settings
        try:
            log = LogWriter(settings.log_file, followers=(1, 2) if settings.daemonize else ())
            audit = open_audit(settings, log.put)
        except OSError as error:
            raise StartError(f"{error.filename} cannot be written: {error.strerror}") from error
        if not self._is_hangup_the_end:  # from now on: logs may be rotated while it starts
            self._on(signal.SIGHUP, lambda: self._read_anew(log, audit))
        bench = Bench() if settings.demo else None
        try:
            await self._serve(audit, log, bench)
        finally:
            if bench is not None:
                bench.close()
            audit.close()
            log.close()

    async def _serve(self, audit: Audit, log: LogWriter, bench: "Bench | None") -> None:
        settings = self._settings
        library = bench.library if bench is not None else settings.visa_library
        rows = bench.rows if bench is not None else ()
        front = Front(settings, audit, log, library, (*rows, *settings.resources))
        front.on_stopping = self._manager.stopping
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: log.put("fault", {"error": _in_words(context)}))
        await front.warm_up()
        self._front = front
        identity = self._tls.identity if self._tls is not None else None
        reload = (settings, rows, front, audit, log, identity, self._judge)
        self._reload = Reload(self._origin.arguments, self._origin.folder, *reload)
        gc.freeze()  # what is imported stays: to look for garbage in all of it would stop everybody for 9 ms
        # With every descriptor in use asyncio tries, and complains, once for each of `backlog` (cpython 151615). Both
        # loops listen anew with it, so that the listener's own has to be said again.
        server = await loop.create_server(lambda: Connection(front), sock=self._listener, backlog=1)
        self._listener.listen(BACKLOG)
        tls_server = await self._serve_tls(front, log)
        front.addresses = self._addresses
        for number in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if self._is_hangup_the_end else [])):
            self._on(number, front.stop)
        address = address_of(self._listener)
        self._pid_file.write(address)
        audit.record("start", address=address, pid=os.getpid(), version=__version__, library=library)
        stalls = StallWatch(log)
        in_tls = self._tls.in_words() if self._tls is not None else ""
        self._readiness.ready(f"{in_tls}READY {address} pid={os.getpid()}\n", self._remarks)
        in_short = partial(_in_short, front, address)
        self._manager.ready(in_short())
        announcer = self._announce(front, log)
        self._do(self._manager.keep_informed(in_short))
        await front.ended.wait()
        front.dismiss_all()
        server.close()
        if tls_server is not None:
            tls_server.close()
        if announcer is not None:
            await announcer.end()
        stalls.close()
        audit.record("stop", address=address, pid=os.getpid())

    def _announce(self, front: Front, log: LogWriter) -> "Announcer | None":
        """Have the local network told of the daemon, if it is to be: by what that is done."""
        tls = self._tls.listener.getsockname()[:2] if self._tls is not None else None
        told = announcement_of(self._settings, self._listener.getsockname()[:2], tls)
        if told is None:
            return None
        announcer = Announcer(*told, lambda: len(front.known_resources()), log)
        front.is_announced = lambda: announcer.is_announced

        def stopping() -> None:
            self._manager.stopping()
            announcer.withdraw()

        front.on_stopping = stopping
        self._do(announcer.run())
        return announcer

    async def _serve_tls(self, front: Front, log: LogWriter) -> asyncio.AbstractServer | None:
        if self._tls is None:
            return None
        listener, identity = self._tls.listener, self._tls.identity

        def door() -> TlsDoor:
            return TlsDoor(Connection(front), identity.certificate.context, front.limits.line_time)

        server = await asyncio.get_running_loop().create_server(door, sock=listener, backlog=1)
        listener.listen(BACKLOG)
        self._do(identity.watch(log))
        return server

    def _addresses(self) -> dict[str, Any]:
        """For `status`."""
        tls = self._tls.described() if self._tls is not None else None
        return {"plain": address_of(self._listener), "tls": tls}

    def _do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)
        return task

    def _on(self, number: signal.Signals, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        asyncio.get_running_loop().add_signal_handler(number, lambda: self._do(begin()))

    def _judge(self, settings: Settings) -> None:
        """May clients come in as it is set now? Raises StartError, TokenFileError."""
        for door in self._origin.doors(settings):
            door.judge()

    async def _read_anew(self, log: LogWriter, audit: Audit) -> None:
        self._manager.reloading()
        files: list[tuple[Audit | LogWriter, Path]]
        files = [(log, self._settings.log_file), (audit, self._settings.audit_file)]
        await asyncio.wait([self._do(_reopen(writer, file, log)) for writer, file in files], timeout=REOPEN_TIME)
        try:
            if self._reload is not None and self._front is not None:
                await self._reload.read_anew()
                await self._front.access.read_anew()
            if self._tls is not None:
                self._tls.identity.renew(log)
        finally:
            self._manager.reloaded()  # whoever waits for that would else take the daemon for stuck


async def _reopen(writer: Audit | LogWriter, file: Path, log: LogWriter) -> None:
    """Have `writer` go on in a file of the same name; if there can be none it keeps the old one, and `log` says so."""
    try:
        await asyncio.wrap_future(writer.reopen())
    except OSError as error:
        log.put("trouble", {"error": f"{file} cannot be opened anew, the old file is kept: {error.strerror}"})
    else:
        log.put("reopened", {"file": str(file)})


def _in_short(front: Front, address: str) -> str:
    """What the daemon is doing, on one line, for who asks the service manager."""
    instruments, clients = len(front.open_resources()), len(front.clients)
    return f"{front.state.value} on {address}, instruments open: {instruments}, clients: {clients}"


def _in_words(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message', '')} {error!r}" if error is not None else str(context.get("message", ""))
