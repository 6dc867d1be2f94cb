"""An access with a token file of the test's own; who is connected, the clock and the names of resources are played."""

from datetime import date

from front_proc.access.gate import Access
from front_proc.access.rights import ByAddress, Loopback, networks
from front_proc.serving.sessions import Client
from pyvisa_daemon import tokens
from pyvisa_daemon.errors import Failure
from tests.front_proc.playbook import FakeAudit

NAMES = {"scope": "TCPIP0::10.0.0.2::inst0::INSTR", "GPIB::5": "GPIB0::5::INSTR"}

BY_ADDRESS = ByAddress(Loopback.TOKEN, networks("10.9.0.0/16"))


class FakeLog:
    """Keeps what is put there."""

    def __init__(self):
        self.lines = []

    def put(self, event, fields):
        self.lines.append((event, fields))


async def canonical(name):
    """A name of NAMES, or one that is canonical already."""
    if name in NAMES:
        return NAMES[name]
    if "::" not in name:
        raise Failure("VI_ERROR_INV_RSRC_NAME", f"{name} is none")
    return name


class AccessBench:
    """`gives` makes tokens, `comes` clients."""

    def __init__(self, folder, by_address=BY_ADDRESS):
        self.file = folder / "tokens.toml"
        self.audit, self.log = FakeAudit(), FakeLog()
        self.clients = set()
        self.day = date(2026, 11, 23)
        self.has_room = True
        self.cut = []
        self.access = Access(
            self.file,
            by_address,
            1.0,
            canonical,
            lambda _: self.has_room,
            self.clients,
            self.audit,
            self.log,
            today=lambda: self.day,
        )

    def gives(self, name="ann", role="use", resources=None, expires=""):
        """A new token in the file."""
        token = tokens.new_token()
        tokens.add_row(self.file, tokens.row(name, token, role, resources or {}, expires))
        return token

    def takes_away(self, name):
        """The rows of that name are deleted."""
        head, *rows = self.file.read_text().split("[[token]]")
        self.file.write_text(head + "".join(f"[[token]]{row}" for row in rows if f'name = "{name}"' not in row))

    def comes(self, host="10.0.0.7"):
        client = Client(f"{host}:40000", "text", rights=self.access.rights_at(host))
        client.cut = lambda reason: self.cut.append(client)
        self.clients.add(client)
        return client
