"""The command: from options to a serving daemon, and from its end to an exit code.

Runs in the front process, called by `entry`. Exit codes: 0 ended orderly (or, with --daemonize, serves); 1 could not
start; 2 bad option. With --check-config or --print-config nothing is started: 0, or 2 for settings that are not
accepted.
Signals: see `run`.
"""

import asyncio
import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.settings import Settings, parser, read_settings
from front_proc.service_manager import ServiceManager
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.tokens import TokenFileError


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
    from front_proc.doors.listening import doors_of, judge, listen, tls_port

    readiness = Readiness()
    folder = _here()
    is_hangup_the_end = not settings.daemonize and not manager.is_there and _has_terminal()
    try:
        make_run_folder(settings.run_dir)
        pid_file = PidFile(settings.pid_file)
        tls = tls_port(settings)
        listener = listen(settings.host, settings.port, "--port")
        doors = partial(doors_of, listener=listener, tls=tls)
        remarks = judge(doors(settings))
        if settings.daemonize:
            readiness = go_to_background(settings.log_file)
        _raise_descriptor_limit()
        faulthandler.enable()  # a watchdog ends what is stuck by SIGABRT: its stacks go where stderr goes
        from front_proc.run import Origin, Run  # all that only serving needs

        origin = Origin(arguments, folder, doors)
        run = Run(
            settings, origin, pid_file, listener, tls, readiness, manager, remarks, is_hangup_the_end=is_hangup_the_end
        )
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run.run())
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
