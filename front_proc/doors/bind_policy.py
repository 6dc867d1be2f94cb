"""Where the daemon may listen, and what its operator is told about that.

Runs in the front, before it serves. Beyond loopback the daemon serves only who shows a token or has an address that is
allowed: with neither tokens nor such addresses it does not start. With --lan it makes the first token itself, and says
it once on stdout; not where stdout is a service manager's log.

    door = Door(host, port, settings)     for each address that is listened on
    door.make_first_token()               --lan; of the door that others are to take
    door.judge()                          may it be opened?
    door.remarks()                        what is said of it once it is
"""

import os
import shlex
import socket
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from front_proc.access.rights import Loopback, Role, numeric
from front_proc.access.token_file import read_tokens
from front_proc.configuration.settings import Settings
from front_proc.daemonize import StartError
from pyvisa_daemon import tokens

#: The name of the token that --lan makes, for the audit.
FIRST_NAME = "lan"

#: An address that no packet is sent to: of TEST-NET-1 (RFC 5737).
_FAR_AWAY = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Door:
    """An address that is listened on."""

    host: str
    port: int
    settings: Settings
    #: What is shown there in TLS; None for a plain port.
    certificate: Path | None = None

    @property
    def is_encrypted(self) -> bool:
        return self.certificate is not None

    @cached_property
    def is_for_others(self) -> bool:
        return not numeric(self.host).is_loopback

    def _has_tokens(self) -> bool:
        return any(token.is_good_on(date.today()) for token in read_tokens(self.settings.tokens))

    def judge(self) -> None:
        """May clients come in here? Raises StartError, TokenFileError."""
        settings = self.settings
        has_tokens = self._has_tokens()  # a file that cannot be used is refused whoever may come
        make = f"`instruments token NAME --file {shlex.quote(str(settings.tokens))}` makes one"
        if self.is_for_others and not (has_tokens or settings.allow):
            raise StartError(
                f"{self.host} is reached from other machines, and nobody there would need a token: --lan makes a token "
                f"and serves those who have it; or {make}; or --allow NET names who needs none; "
                f"{'--tls-host' if self.is_encrypted else '--host'} 127.0.0.1 serves this machine only"
            )
        if settings.loopback is Loopback.TOKEN and not has_tokens:
            raise StartError(f"loopback = token, and there is no token in {settings.tokens}: {make}")

    def make_first_token(self, environment: "os._Environ[str]" = os.environ) -> str:
        """With --lan: what is printed, once. Makes a token if there is none. Raises TokenFileError, StartError."""
        settings = self.settings
        if not settings.lan:
            return ""
        if self._has_tokens():
            return f"--lan: the tokens are in {settings.tokens}; `instruments token NAME` makes another\n"
        if environment.get("NOTIFY_SOCKET") or environment.get("JOURNAL_STREAM"):
            raise StartError(
                "--lan makes a token and prints it, which here would go to a log: make one yourself, with "
                f"`instruments token NAME --file {shlex.quote(str(settings.tokens))}` as the daemon's user"
            )
        token = tokens.new_token()
        tokens.add_row(settings.tokens, tokens.row(FIRST_NAME, token, Role.USE.word, {}))
        return (
            "Paste this on the machines that are to use the instruments. The token is shown this once only.\n\n"
            " (umask 077; mkdir -p ~/.config/pyvisa-daemon; "
            f"echo {token} > ~/.config/pyvisa-daemon/token)\n"
            f"export PYVISA_DAEMON_HOSTS={self._as_others_reach_it()}\n"
            f"{self._whom_to_believe()}\n"
            f"Who may do what is in {settings.tokens}; `instruments token NAME` makes another token.\n"
        )

    def _whom_to_believe(self) -> str:
        if self.certificate is None:
            return ""
        return (
            "export PYVISA_DAEMON_CA_FILE=~/.config/pyvisa-daemon/tls-certificate.pem\n\n"
            f"Bring that file there first, by a way that you trust: it is a copy of {self.certificate},\n"
            "or the certificate of your CA.\n"
        )

    def _as_others_reach_it(self) -> str:
        address = numeric(self.host)
        host = self.host
        if address.is_unspecified:
            host = _own_address(socket.AF_INET if address.version == 4 else socket.AF_INET6)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def remarks(self) -> str:
        """Lines for stderr: who may do what without a token, and who can listen."""
        said = []
        if self.settings.loopback is Loopback.ADMIN:
            said.append(
                "every process of this machine is admin: it may use every instrument and end the daemon "
                '(loopback = "token" changes that)'
            )
        if self.settings.allow:
            networks = ", ".join(map(str, self.settings.allow))
            said.append(f"no token is needed from {networks}: who comes from there may use every instrument")
        if self.is_for_others and not self.is_encrypted:
            said.append(
                f"what travels to and from {self.host} port {self.port} is not encrypted: whoever can listen to the "
                "network can read it, tokens included"
            )
        return "".join(f"instrument-daemon: {line}\n" for line in said)


def _own_address(family: socket.AddressFamily) -> str:
    """This machine's, on the network that leads elsewhere; its name if there is none."""
    far = _FAR_AWAY if family is socket.AF_INET else ("2001:db8::1", 9)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(far)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
