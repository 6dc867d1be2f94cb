"""Checks: the environment variables, token files and certificates that this machine's programs go by.

Pure. What is in a token file is not among the facts, and is never shown.
"""

from client.commands.checkup.facts import File, System
from client.commands.checkup.findings import Finding, Findings, ok, problem, warning
from client.commands.suggestions import closest

_PREFIX = "PYVISA_DAEMON_"

#: What client programs understand -> what it is for.
VARIABLES = {
    "PYVISA_DAEMON_HOSTS": "the daemons to ask: host[:port], separated by commas",
    "PYVISA_DAEMON_TOKEN_FILE": "the file with the token",
    "PYVISA_DAEMON_TOKEN": "the token itself",
    "PYVISA_DAEMON_CA_FILE": "the certificates that are trusted; every daemon is asked in TLS",
    "PYVISA_DAEMON_DEBUG": "tracebacks of `instruments`",
    "PYVISA_DAEMON_LOCK_RESOURCE": "set by `instruments lock`",
    "PYVISA_DAEMON_LOCK_KEY": "set by `instruments lock`",
    "PYVISA_DAEMON_LOCK_DAEMON": "set by `instruments lock`",
}
_LOCK = ("PYVISA_DAEMON_LOCK_RESOURCE", "PYVISA_DAEMON_LOCK_KEY")

#: Their values are nobody's business.
_SECRET = ("PYVISA_DAEMON_TOKEN", "PYVISA_DAEMON_LOCK_KEY")


def variables(system: System) -> Findings:
    given = {name: value for name, value in system.environment.items() if name.startswith(_PREFIX)}
    for name, value in sorted(given.items()):
        if name in VARIABLES:
            yield ok("environment", f"{name} is set" if name in _SECRET else f"{name}={value}")
            continue
        near = closest(name.removeprefix(_PREFIX), [known.removeprefix(_PREFIX) for known in VARIABLES])
        known = ", ".join(name for name in VARIABLES if name not in _LOCK)
        remedy = f"write {_PREFIX}{near[0]}" if near else f"leave it out; known are {known}"
        yield warning("environment", f"{name} means nothing to any program here", remedy)
    if "PYVISA_DAEMON_HOSTS" not in given:
        yield ok("environment", "PYVISA_DAEMON_HOSTS is not set: a daemon is looked for at 127.0.0.1:1340")


def lock_variables(system: System) -> Findings:
    resources, keys = (system.environment.get(name, "").split() for name in _LOCK)
    if len(resources) != len(keys):
        yield problem(
            "environment",
            f"{' and '.join(_LOCK)} do not belong together: programs here share no lock",
            "unset both; `instruments lock RESOURCE -- COMMAND` sets them for COMMAND",
        )


def token(system: System) -> Findings:
    environment = system.environment
    if environment.get("PYVISA_DAEMON_TOKEN") and environment.get("PYVISA_DAEMON_TOKEN_FILE"):
        yield warning(
            "token",
            "both PYVISA_DAEMON_TOKEN and PYVISA_DAEMON_TOKEN_FILE are set, and the file is what counts",
            "unset PYVISA_DAEMON_TOKEN",
        )
    for file in system.token_files:
        yield from _file("token", file, "ask the daemon's operator for a token and put it there, or name another file")
        if file.is_there and file.can_read and file.mode is not None and file.mode & 0o077:
            yield problem(
                "token",
                f"{file.path} can be read by others than its owner, and is not used for that",
                f"chmod 600 {file.path}",
            )
    if not system.token_files and not environment.get("PYVISA_DAEMON_TOKEN"):
        yield ok("token", "there is none: fine for daemons on this machine, and for those that want none")


def certificates(system: System) -> Findings:
    for file in system.ca_files:
        yield from _file("certificate", file, "copy the daemon's certificate there, or name the file that has it")
        if file.is_there and file.mode is not None and file.mode & 0o022:
            yield warning(
                "certificate",
                f"others than its owner may write {file.path}, and so decide who is trusted here",
                f"chmod go-w {file.path}",
            )


def _file(subject: str, file: File, remedy: str) -> Findings:
    """Can it be used at all?"""
    if not file.is_there:
        yield problem(subject, f"{file.path} is not there", remedy)
    elif not file.can_read:
        yield problem(subject, f"{file.path} cannot be read by you", f"sudo chown $USER {file.path}")
    elif file.flaw:
        yield problem(subject, f"{file.path} {file.flaw}", remedy)
    else:
        yield _is_fine(subject, file)


def _is_fine(subject: str, file: File) -> Finding:
    mode = "" if file.mode is None else f", mode {file.mode:03o}"
    return ok(subject, f"{file.path} can be read{mode}")
