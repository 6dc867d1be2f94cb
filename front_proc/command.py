"""The command: from options to a serving daemon, and from its end to an exit code.

Runs in the front process. Exit codes: 0 ended orderly (or, with --daemonize, serves); 1 could not start; 2 bad option.
"""

import asyncio
import contextlib
import ipaddress
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from front_proc.setting_values import SettingsError
from front_proc.settings import Settings, read_settings
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.version import __version__

#: Connections that may wait to be accepted: with the default of 100, a thousand connects take seconds.
BACKLOG = 2048


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the daemon. Does not return: exits with the code above."""
    if not sys.platform.startswith("linux"):
        sys.exit("The daemon runs on Linux only; programs on this machine can use one elsewhere.")
    try:
        settings = read_settings(arguments)
    except SettingsError as error:
        print(f"instrument-daemon: {error}", file=sys.stderr)
        sys.exit(2)
    _serve(settings)


def _serve(settings: Settings) -> NoReturn:
    from front_proc.daemonize import PidFile, Readiness, StartError, go_to_background, make_run_folder

    readiness = Readiness()
    try:
        make_run_folder(settings.run_dir)
        pid_file = PidFile(settings.pid_file)
        listener = _listen(settings)
        _warn_of_strangers(listener)
        if settings.daemonize:
            readiness = go_to_background(settings.log_file)
        _raise_descriptor_limit()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_Daemon(settings, pid_file, listener, readiness).run())
    except (StartError, Failure) as error:
        readiness.failed(f"instrument-daemon: {error.args[0]}\n")
        _leave(1)
    except SettingsError as error:
        readiness.failed(f"instrument-daemon: {error}\n")
        _leave(2)
    _leave(0)


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


def _listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises StartError."""
    from front_proc.daemonize import StartError

    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        hint = "; is a daemon running already? --port takes another" if settings.port else ""
        raise StartError(f"cannot listen on {where}: {getattr(error, 'strerror', error)}{hint}") from error
    return listener


def _warn_of_strangers(listener: socket.socket) -> None:
    """There are no tokens yet: say plainly what listening beyond loopback means."""
    host, port = listener.getsockname()[:2]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        print(
            f"instrument-daemon: whoever reaches {host} port {port} can use every instrument; "
            "only this machine can stop the daemon",
            file=sys.stderr,
        )


class _Daemon:
    """One run: what is started in order, and ended in the reverse order."""

    def __init__(self, settings: Settings, pid_file: Any, listener: socket.socket, readiness: Any) -> None:
        self._settings = settings
        self._pid_file = pid_file
        self._listener = listener
        self._readiness = readiness

    async def run(self) -> None:
        """Serve until somebody ends it. Raises StartError, Failure or SettingsError if it cannot start."""
        from front_proc.audit import Audit, LogWriter
        from front_proc.daemonize import StartError
        from front_proc.demo import Bench

        settings = self._settings
        try:
            log = LogWriter(settings.log_file)
            audit = Audit(settings.audit_file)
        except OSError as error:
            raise StartError(f"{error.filename} cannot be written: {error.strerror}") from error
        bench = Bench() if settings.demo else None
        try:
            await self._serve(audit, log, bench)
        finally:
            if bench is not None:
                bench.close()
            audit.close()
            log.close()

    async def _serve(self, audit: Any, log: Any, bench: Any) -> None:
        from front_proc.connection import Connection
        from front_proc.front import Front

        settings = self._settings
        library = bench.library if bench is not None else settings.visa_library
        rows = bench.rows if bench is not None else ()
        front = Front(settings, audit, log, library, (*rows, *settings.resources))
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: log.put("fault", {"error": _in_words(context)}))
        await front.warm_up()
        server = await loop.create_server(lambda: Connection(front), sock=self._listener)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled, number, front)
        host, port = self._listener.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._pid_file.write(address)
        audit.record("start", address=address, pid=os.getpid(), version=__version__, library=library)
        self._readiness.ready(f"READY {address} pid={os.getpid()}\n")
        await front.ended.wait()
        front.dismiss_all()
        server.close()
        audit.record("stop", address=address, pid=os.getpid())

    def _signalled(self, number: signal.Signals, front: Any) -> None:
        """Ends orderly; a daemon in the background has no terminal to lose."""
        if number is signal.SIGHUP and self._settings.daemonize:
            return
        self._ending = asyncio.ensure_future(front.stop())


def _in_words(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context.get('message', '')} {error!r}" if error is not None else str(context.get("message", ""))
