"""The command: from options to a serving daemon, and from its end to an exit code.

Runs in the front process, called by `entry`. Exit codes: 0 ended orderly (or, with --daemonize, serves); 1 could not
start; 2 bad option. With --check-config or --print-config nothing is started: 0, or 2 for settings that are not
accepted.

Signals: SIGTERM and SIGINT end the daemon orderly. SIGHUP has its logs reopened, and settings, token file and
certificate read anew; but on a terminal it means that the terminal is gone, and ends the daemon as well.
"""

import asyncio
import contextlib
import faulthandler
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.settings import Settings, parser, read_settings
from front_proc.service_manager import ServiceManager
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.tokens import TokenFileError
from pyvisa_daemon.version import __version__

if TYPE_CHECKING:  # what only a daemon that serves needs is imported when it does
    from front_proc.demo import Bench
    from front_proc.doors.announcer import Announcer
    from front_proc.front import Front
    from front_proc.record.audit import Audit
    from front_proc.record.log_writer import LogWriter
    from front_proc.reload import Reload

#: Connections that may wait to be accepted: with the default of 100, a thousand connects take seconds.
BACKLOG = 2048

#: Seconds that logs may take to be reopened before the service manager is told that this is done nevertheless.
REOPEN_TIME = 2.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the daemon. Does not return: exits with the code above."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started us may ignore it: then no exit code could be had
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    asked = parser().parse_args(arguments)
    if asked.print_config:
        from front_proc.configuration.sample_config import sample

        print(sample(), end="")
        sys.exit(0)
    try:
        if asked.check_config:
            from front_proc.check_config import checked

            print(checked(arguments), end="")
            sys.exit(0)
        settings = read_settings(arguments)
        manager = ServiceManager.from_environment(os.environ)
        if settings.daemonize and manager.is_there:
            raise SettingsError(
                "--daemonize: a service manager, which has set NOTIFY_SOCKET, waits for the very process that it "
                "started; leave --daemonize out, or unset NOTIFY_SOCKET if there is none"
            )
    except SettingsError as error:
        print(_in_lines(error), end="", file=sys.stderr)
        sys.exit(2)
    _serve(settings, manager, arguments)


def _in_lines(error: SettingsError) -> str:
    return "".join(f"instrument-daemon: {text}\n" for text in error.texts)


def _here() -> Path | None:
    """The folder in which the command runs, if it is there."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _serve(settings: Settings, manager: ServiceManager, arguments: list[str]) -> NoReturn:
    from front_proc.daemonize import PidFile, Readiness, StartError, go_to_background, make_run_folder

    readiness = Readiness()
    folder = _here()
    is_hangup_the_end = not settings.daemonize and not manager.is_there and _has_terminal()
    try:
        make_run_folder(settings.run_dir)
        pid_file = PidFile(settings.pid_file)
        tls = _tls(settings)
        listener = _listen(settings.host, settings.port, "--port")
        doors = partial(_doors, listener=listener, tls=tls)
        remarks = _judge_doors(doors(settings))
        if settings.daemonize:
            readiness = go_to_background(settings.log_file)
        _raise_descriptor_limit()
        faulthandler.enable()  # a watchdog ends what is stuck by SIGABRT: its stacks go where stderr goes
        origin = _Origin(arguments, folder, doors)
        daemon = _Daemon(
            settings, origin, pid_file, listener, tls, readiness, manager, remarks, is_hangup_the_end=is_hangup_the_end
        )
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(daemon.run())
    except (StartError, Failure, TokenFileError) as error:
        readiness.failed(1, f"instrument-daemon: {error.args[0]}\n")
        _leave(1)
    except SettingsError as error:
        readiness.failed(2, _in_lines(error))
        _leave(2)
    _leave(0)


def _has_terminal() -> bool:
    """Was it started on a terminal, by somebody who has not said, as nohup does, that it may outlive that?"""
    return os.isatty(0) and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def _leave(code: int) -> NoReturn:
    """Everything is ended by now; Python's own exit handlers would wait for processes that cannot be killed."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _loop_factory() -> Any:
    """uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int, option: str) -> socket.socket:
    """A listening socket; `option` is what takes another port. Raises StartError."""
    from front_proc.daemonize import StartError

    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        hint = f"; is a daemon running already? {option} takes another" if port else ""
        raise StartError(f"cannot listen on {where}: {getattr(error, 'strerror', error)}{hint}") from error
    return listener


@dataclass(frozen=True)
class _Tls:
    """The TLS port: where it listens, and what it shows."""

    listener: socket.socket
    identity: Any

    def described(self) -> dict[str, str]:
        return {"address": _address(self.listener), **self.identity.certificate.described()}

    def in_words(self) -> str:
        """For who starts the daemon, and hands out the certificate."""
        certificate = self.identity.certificate
        return f"TLS {_address(self.listener)} certificate={certificate.file} sha256={certificate.sha256}\n"


def _tls(settings: Settings) -> _Tls | None:
    """The TLS port, if there is to be one. Raises StartError."""
    if settings.tls_port is None:
        return None
    from front_proc.doors.tls_identity import TlsIdentity

    host = settings.tls_host or settings.host
    identity = TlsIdentity(settings.given_certificate, settings.run_dir, host)
    return _Tls(_listen(host, settings.tls_port, "--tls-port"), identity)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _doors(settings: Settings, listener: socket.socket, tls: _Tls | None) -> list[Any]:
    """Where others come in."""
    from front_proc.doors.bind_policy import Door

    def door(bound: socket.socket, certificate: Path | None = None) -> Door:
        host, port = bound.getsockname()[:2]
        return Door(host, port, settings, certificate)

    return [door(listener), *([door(tls.listener, tls.identity.certificate.file)] if tls is not None else [])]


def _judge_doors(doors: list[Any]) -> str:
    """What is to be said of who may come in, as soon as it serves. Raises StartError, TokenFileError."""
    for_others = [each for each in doors if each.is_for_others]
    first_token = (for_others or doors)[-1].make_first_token()  # in TLS if others may come so
    for each in doors:
        each.judge()
    sys.stdout.write(first_token)
    sys.stdout.flush()
    return "".join(dict.fromkeys(line for each in doors for line in each.remarks().splitlines(keepends=True)))


@dataclass(frozen=True)
class _Origin:
    """How it was started, and where: what its settings come from; and its doors, with whatever settings."""

    arguments: list[str]
    folder: Path | None
    doors: Callable[[Settings], list[Any]]


class _Daemon:
    """One run: what is started in order, and ended in the reverse order."""

    def __init__(
        self,
        settings: Settings,
        origin: "_Origin",
        pid_file: Any,
        listener: socket.socket,
        tls: _Tls | None,
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
        from front_proc.daemonize import StartError
        from front_proc.demo import Bench
        from front_proc.record.audit import open_audit
        from front_proc.record.log_writer import LogWriter

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

    async def _serve(self, audit: "Audit", log: "LogWriter", bench: "Bench | None") -> None:
        from front_proc.doors.connection import Connection
        from front_proc.front import Front
        from front_proc.reload import Reload
        from front_proc.stalls import StallWatch

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
        address = _address(self._listener)
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

    def _announce(self, front: "Front", log: "LogWriter") -> "Announcer | None":
        """Have the local network told of the daemon, if it is to be: by what that is done."""
        from front_proc.doors.announcer import Announcer, announcement_of

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

    async def _serve_tls(self, front: "Front", log: "LogWriter") -> asyncio.AbstractServer | None:
        if self._tls is None:
            return None
        from front_proc.doors.connection import Connection
        from front_proc.doors.tls_door import TlsDoor

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
        return {"plain": _address(self._listener), "tls": tls}

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

    async def _read_anew(self, log: "LogWriter", audit: "Audit") -> None:
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


async def _reopen(writer: "Audit | LogWriter", file: Path, log: "LogWriter") -> None:
    """Have `writer` go on in a file of the same name; if there can be none it keeps the old one, and `log` says so."""
    try:
        await asyncio.wrap_future(writer.reopen())
    except OSError as error:
        log.put("trouble", {"error": f"{file} cannot be opened anew, the old file is kept: {error.strerror}"})
    else:
        log.put("reopened", {"file": str(file)})


def _in_short(front: "Front", address: str) -> str:
    """What the daemon is doing, on one line, for who asks the service manager."""
    instruments, clients = len(front.open_resources()), len(front.clients)
    return f"{front.state.value} on {address}, instruments open: {instruments}, clients: {clients}"


def _in_words(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message', '')} {error!r}" if error is not None else str(context.get("message", ""))
