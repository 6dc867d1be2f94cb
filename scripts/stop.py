"""Stops a daemon and waits until it and its children are gone; called by stop.sh.

Written for the system's Python, 3.6 or later, and its standard library alone. It knows the daemon by its port and asks
it for its pid; then it notes the pid's descendants, sends `.!.end_daemon`, and watches all of them in /proc. A process
is known by pid *and* start time, so a pid that somebody else got meanwhile is not mistaken for it, and a zombie
counts as gone: it is its parent's to reap. If the daemon is on another machine, only the connection can be watched.
"""

import argparse
import json
import os
import socket
import sys
import time

CONNECT_TIMEOUT = 5.0
REPLY_TIMEOUT = 10.0
END_TIMEOUT = 20.0  # the daemon promises to end within 10 s, whatever its instruments do
GONE_TIMEOUT = 15.0


class StopError(Exception):
    """The daemon could not be stopped; the text says why."""


def main():
    parser = argparse.ArgumentParser(
        prog="stop.sh",
        description="Stops the daemon at HOST:PORT and waits until it and its children are really gone.",
        epilog="Exit code: 0 it was stopped, or none was running; 1 it lives on, does not answer, or is no daemon.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where the daemon listens (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1340, help="on which port (default: %(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="a file with an admin's token, where the daemon wants one")
    options = parser.parse_args()
    try:
        print(stop(options.host, options.port, options.token_file))
    except StopError as failure:
        print(f"stop.sh: {failure}", file=sys.stderr)
        return 1
    return 0


def stop(host, port, token_file=None):
    """Stop the daemon at host:port; what to say about it."""
    where = f"{host}:{port}"
    try:
        connection = socket.create_connection((host, port), CONNECT_TIMEOUT)
    except ConnectionRefusedError:
        return f"no daemon is running at {where}"
    except (OSError, OverflowError) as error:
        raise StopError(f"cannot reach {where}: {error}") from None
    with connection:
        if token_file is not None:
            show_token(connection, token_file, where)
        pid = pid_of_daemon(connection, where)
        watched = family(pid) if is_this_machine(connection) else {}
        send(connection, b".!.end_daemon\n", where)
        reply = last_reply(connection, watched, pid)
    if "error" in reply and "SHUTTING_DOWN" not in reply:
        raise StopError(f"the daemon at {where} refused: {reply}")
    if watched:
        wait_for_processes(watched, pid, reply)
    else:
        wait_for_port(host, port)
    return f"stopped the daemon at {where} (pid {pid})"


def show_token(connection, file, where):
    """Nothing of it is said, whatever comes of it."""
    try:
        with open(file, "rb") as opened:
            send(connection, b".#.auth " + opened.readline(4096).strip() + b"\n", where)
        reply = line(connection, REPLY_TIMEOUT).decode("utf-8", "replace")
    except OSError as error:
        raise StopError(f"the token of {file} could not be shown: {error.strerror or error}") from None
    if not reply.startswith("ok "):
        raise StopError(f"the daemon at {where} does not take the token of {file}: {reply}")


def pid_of_daemon(connection, where):
    """Ask who listens there. Anything but a daemon's status means that it is not ours to stop."""
    send(connection, b".!.status\n", where)
    try:
        said = line(connection, REPLY_TIMEOUT).decode()
        if said.startswith(".#.error FORBIDDEN "):
            raise StopError(f"the daemon at {where} wants a token: --token-file names a file with an admin's")
        status = json.loads(said)
        return int(status["pid"])
    except socket.timeout:  # noqa: UP041 - one class only since Python 3.10
        raise StopError(f"what listens at {where} does not answer") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise StopError(f"what listens at {where} is no instrument daemon") from None


def send(connection, data, where):
    try:
        connection.sendall(data)
    except OSError as error:
        raise StopError(f"{where} closed the connection: {error}") from None


def line(connection, seconds):
    """One line without its terminator, or what came before the end."""
    deadline = time.monotonic() + seconds
    received = b""
    while b"\n" not in received:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        data = connection.recv(65536)
        if not data:
            break
        received += data
    return received.split(b"\n")[0].strip()


def last_reply(connection, watched, pid):
    """`ended`, or what came in its place; children that the daemon starts meanwhile are noted as well."""
    deadline = time.monotonic() + END_TIMEOUT
    connection.settimeout(0.1)
    received = b""
    while b"\n" not in received and time.monotonic() < deadline:
        if pid in watched and alive({pid: watched[pid]}):
            watched.update(family(pid))
        try:
            data = connection.recv(65536)
        except socket.timeout:  # noqa: UP041 - one class only since Python 3.10
            continue
        except OSError:
            break
        if not data:
            break
        received += data
    return received.decode("utf-8", "replace").strip()


def is_this_machine(connection):
    address = connection.getpeername()[0]
    return address == "::1" or address.startswith(("127.", "::ffff:127."))


def stat_of(pid):
    """(state, parent, start time) from /proc, or None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[19])


def family(pid):
    """pid -> start time, for a process and all its descendants; empty if it is not in this machine's /proc."""
    stats = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        stat = stat_of(name) if name.isdigit() else None
        if stat is not None:
            stats[int(name)] = stat
    found = {pid} if pid in stats else set()
    while True:
        more = {other for other, stat in stats.items() if stat[1] in found} - found
        if not more:
            return {member: stats[member][2] for member in found}
        found |= more


def alive(watched):
    """Those that still run: there, of the same start time, and no zombie."""
    stats = ((pid, started, stat_of(pid)) for pid, started in watched.items())
    return sorted(pid for pid, started, stat in stats if stat and stat[2] == started and stat[0] not in "ZX")


def wait_for_processes(watched, pid, reply):
    deadline = time.monotonic() + GONE_TIMEOUT
    while True:
        left = alive(watched)
        if not left:
            return
        if time.monotonic() > deadline:
            who = f"the daemon (pid {pid}) lives on" if pid in left else "the daemon ended and left processes"
            raise StopError("{}: {}; it had said {!r}".format(who, ", ".join(map(str, left)), reply))
        time.sleep(0.02)


def wait_for_port(host, port):
    deadline = time.monotonic() + GONE_TIMEOUT
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), CONNECT_TIMEOUT).close()
        except OSError:
            return
        time.sleep(0.1)
    raise StopError(f"{host}:{port} still accepts connections")


if __name__ == "__main__":
    sys.exit(main())
