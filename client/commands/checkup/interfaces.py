"""Checks: may this user use the serial lines, USB instruments and GPIB boards that are plugged in here?

Pure. Where a daemon serves this machine's instruments it is the daemon's user who must have these rights.
"""

from client.commands.checkup.facts import Kind, Node, Search, System
from client.commands.checkup.findings import Finding, Findings, ok, problem, warning

#: The udev rules that a remedy makes, and the group that it gives a device which has none of its own: those of
#: packaging/udev, so that what it gives a person it does not take from a daemon that has the group.
_RULES = "/etc/udev/rules.d/70-instruments.rules"
_GROUP = "dialout"

#: Which devices a rule is for.
_MATCHES = {
    Kind.SERIAL: 'SUBSYSTEM=="tty", KERNEL=="{name}"',
    Kind.USB: 'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}"',
    Kind.GPIB: 'SUBSYSTEM=="gpib_common", KERNEL=="gpib[0-9]*"',
}


def rights(system: System) -> Findings:
    """One line for all that can be used, one for each that cannot."""
    for kind in Kind:
        nodes = [node for node in system.nodes if node.kind is kind]
        usable = [node for node in nodes if node.can_use]
        if usable:
            yield ok(kind.value, f"{system.user} may use {', '.join(map(_named, usable))}")
        for node in nodes:
            if not node.can_use:
                yield _refused(system, node)


def _named(node: Node) -> str:
    return f"{node.path} ({':'.join(node.product)})" if any(node.product) else node.path


def _refused(system: System, node: Node) -> Finding:
    text = f"{system.user} may not use {_named(node)} (group {node.group}, mode {node.mode:03o})"
    remedy = _remedy(system, node)
    if system.has_daemon_here:
        return warning(node.kind.value, f"{text}; it is for the daemon's user to have that right", remedy)
    return problem(node.kind.value, text, remedy)


def _remedy(system: System, node: Node) -> str:
    """A group that may use it, or a rule that makes one."""
    is_for_group = node.mode & 0o060 == 0o060 and node.group not in ("root", "")
    if is_for_group and node.group in system.future_groups - system.groups:
        return f"you are in the group {node.group} from your next login on: log out and in again"
    if is_for_group and node.group not in system.groups:
        return f"sudo usermod -aG {node.group} {system.user}, then log out and in again"
    return _rule(system, node)


def _rule(system: System, node: Node) -> str:
    vendor, product = node.product
    match = _MATCHES[node.kind].format(name=node.path.rpartition("/")[2], vendor=vendor, product=product)
    line = f'{match}, MODE="0660", GROUP="{_GROUP}"'
    steps = [f"echo '{line}' | sudo tee -a {_RULES}", "sudo udevadm control --reload", "sudo udevadm trigger"]
    if _GROUP in system.groups:
        return " && ".join(steps)
    steps = [f"sudo groupadd -f {_GROUP}", f"sudo usermod -aG {_GROUP} {system.user}", *steps]
    return f"{' && '.join(steps)}, then log out and in again"


def local_instruments(system: System) -> Findings:
    """Without a daemon here, what would it serve?"""
    match system.search:
        case None:
            return
        case Search(fault=fault) if fault:
            yield warning(
                "instruments",
                f"PyVISA's own search on this machine failed: {fault}",
                "run `pyvisa-info`, and unplug what is not needed; a VISA driver that hangs is seen there too",
            )
        case Search(found=found) if found:
            yield ok("instruments", f"without a daemon PyVISA finds {', '.join(found)}")
        case _:
            yield ok("instruments", "without a daemon PyVISA finds no instrument on this machine")
