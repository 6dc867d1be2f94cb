"""Checks: the known daemons, the way there, and what they say of themselves; the clock, which both sides go by.

Pure.
"""

from client.commands.checkup.facts import System, Visit, Way
from client.commands.checkup.findings import Finding, Findings, Level, ok, problem, warning
from client.commands.overview import counted, particulars, troubles
from client.commands.overview import warnings as said_of_itself

#: Before this the clock cannot be right: this program is younger.
_EPOCH_YEAR = 2026

_PORT = "in the daemon's machine's firewall allow TCP port 1340"

#: How far the way led -> what it means, and what to do there, on the machine {host}.
_WAYS = {
    Way.NAME: (
        "nobody here knows a machine of that name",
        "correct it in PYVISA_DAEMON_HOSTS, or give the machine's address in its place (`hostname -I` there says it)",
    ),
    Way.REFUSED: (
        "the machine is there, and nothing listens on that port",
        "on {host} start the daemon so that it listens for others: instrument-daemon --lan; or correct the port",
    ),
    Way.SILENT: (
        "it does not answer",
        "see whether it is switched on and on the network (ping {host}); " + _PORT,
    ),
    Way.UNREACHABLE: (
        "it cannot be reached from here",
        "look at this machine's network, and whether the address is right; " + _PORT,
    ),
}
_HERE = (
    "no daemon runs there",
    "start one here (instrument-daemon, or with --demo to try it), or say where it is: export PYVISA_DAEMON_HOSTS=HOST",
)


def reachable(system: System) -> Findings:
    """One that is not there is a problem if there is no other."""
    level = Level.WARNING if any(visit.way is Way.THERE for visit in system.visits) else Level.PROBLEM
    for visit in system.visits:
        if visit.way is Way.THERE:
            told = particulars(dict(visit.status))
            yield ok(visit.entry, f"{told}; connected in {visit.connected_ms:.1f} ms")
        elif visit.way in _COMMON:
            yield _with_own_remedy(level, visit)
        else:
            means, remedy = _HERE if visit.is_loopback and visit.way is Way.REFUSED else _WAYS[visit.way]
            host = visit.entry.rpartition(":")[0] or visit.entry
            text = f"{means} ({visit.text})" if visit.text else means
            yield Finding(level, visit.entry, text, remedy.format(host=host))


#: Where what was said has no remedy in it.
_COMMON = {
    Way.ENTRY: "write host or host:port, several separated by commas",
    Way.TOKEN: "`instruments token NAME` on the daemon's machine makes a token; put it into a file for you only",
    Way.TLS: (
        "copy the daemon's certificate here and name it, with ?ca_file=FILE or in PYVISA_DAEMON_CA_FILE; give its TLS "
        "port, or ?tls=0 for the plain one"
    ),
    Way.DAEMON: "see what listens there: it should be an instrument daemon, of a version like this one's",
}


def _with_own_remedy(level: Level, visit: Visit) -> Finding:
    """What the connecting rooms say has a remedy behind its last colon or semicolon, more often than not."""
    cut = max(visit.text.rfind(": "), visit.text.rfind("; "))
    if cut > 0 and visit.way is Way.TOKEN:
        return Finding(level, visit.entry, visit.text[:cut], visit.text[cut + 2 :])
    return Finding(level, visit.entry, visit.text, _COMMON[visit.way])


def versions(system: System) -> Findings:
    for visit in system.visits:
        theirs = str(visit.status.get("version", ""))
        if visit.way is not Way.THERE or theirs == system.version:
            continue
        older = f"the daemon at {visit.entry}" if _parts(theirs) < _parts(system.version) else "this machine"
        yield warning(
            visit.entry,
            f"the daemon is of version {theirs or 'unknown'}, this program of {system.version}",
            f"they understand each other, and the older lacks what the newer has: upgrade pyvisa-daemon of {older}",
        )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def instruments(system: System) -> Findings:
    for visit in system.visits:
        if visit.way is not Way.THERE:
            continue
        if visit.instruments is None:
            yield warning(
                visit.entry,
                f"the daemon could not list its instruments{': ' + visit.text if visit.text else ''}",
                "run `instruments doctor` on its machine, where it sees why",
            )
        elif visit.instruments:
            yield ok(visit.entry, f"{counted(len(visit.instruments), 'instrument')}: {', '.join(visit.instruments)}")
        else:
            yield warning(
                visit.entry,
                "the daemon finds no instrument",
                "run `instruments doctor` on its machine; one that cannot be found is opened by its name all the same, "
                "such as TCPIP::192.168.1.20::5025::SOCKET",
            )


def health(system: System) -> Findings:
    """What `instruments status` shows in red."""
    for visit in system.visits:
        status = dict(visit.status)
        for said in said_of_itself(status):
            text, _, remedy = said.rpartition("; ")
            yield problem(visit.entry, text or said, remedy or "see `instruments status`")
        for trouble in troubles(status):
            if not trouble.is_over:
                remedy = trouble.remedy or f"mend it, then: instruments reset {trouble.resource}"
                yield warning(visit.entry, f"{trouble.resource}: {trouble.text}", remedy)


def doors(system: System) -> Findings:
    """Of a daemon on this machine: can others come in?"""
    for visit in system.visits:
        addresses = visit.status.get("addresses")
        if visit.way is not Way.THERE or not visit.is_loopback or not isinstance(addresses, dict):
            continue
        listens = [f"{address} ({kind})" for kind, address in addresses.items() if address]
        if listens and all(_is_loopback(str(address)) for address in addresses.values() if address):
            yield ok(visit.entry, f"it listens for this machine only: {', '.join(listens)}", "--lan is for others, too")
        elif listens:
            yield ok(visit.entry, f"it listens on {', '.join(listens)}")


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "[::1]", "localhost"))


def announced(system: System) -> Findings:
    """Daemons on the network that nobody here asks."""
    if system.announced is None:
        return
    known = {visit.entry.partition("?")[0] for visit in system.visits}
    others = [address for address in system.announced if address not in known]
    if others:
        remedy = f"to have them asked: export PYVISA_DAEMON_HOSTS={','.join([*sorted(known), *others])}"
        yield ok("network", f"announced and not among the known hosts: {', '.join(others)}", remedy)
    else:
        yield ok("network", "no daemon is announced that is not known here")


def clock(system: System) -> Findings:
    if system.now.year < _EPOCH_YEAR:
        yield problem(
            "clock",
            f"this machine's clock says {system.now:%Y-%m-%d}: certificates and tokens are not valid yet",
            "set it: sudo timedatectl set-ntp true, or sudo date -s 'YYYY-MM-DD HH:MM'",
        )
    elif system.is_clock_set is False:
        yield warning(
            "clock",
            f"it is {system.now:%Y-%m-%d %H:%M}, and no time server keeps that right: logs of several machines will "
            "not agree",
            "sudo timedatectl set-ntp true, or install chrony",
        )
    else:
        yield ok("clock", f"it is {system.now:%Y-%m-%d %H:%M}")
