"""Access: which client has which rights, from its address and from the token that it shows.

Runs in the front. The rules are `rights`, the file is `token_file`; here are the tokens in force, the delay for a wrong
one, and what happens when the file is read anew. A token is never put anywhere: not on record, not into an error.

A wrong token is answered late, which costs a timer and nothing else. There are never many: connections without rights
are few (see `admission`), and each is closed after its first wrong token.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from datetime import date
from pathlib import Path

from front_proc.access.rights import ByAddress, Rights, Role
from front_proc.access.token_file import Token, find, read_tokens
from front_proc.configuration.resource_table import fit
from front_proc.record.audit import Audit
from front_proc.record.log_writer import LogWriter
from front_proc.serving.sessions import Client
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.tokens import TokenFileError

#: What is said to a client that has to show a token first.
COMES_FIRST = "this daemon needs a token: .#.auth TOKEN comes first"

#: Seconds by which a timer may be early: a loop counts whole milliseconds, from the beginning of its turn.
_EARLY = 0.002


class Denied(Failure):
    """What a client may not; it has a record of its own."""


class Access:
    """Who may do what here. `canonical` gives a resource's canonical name, `admit` a place to who has rights now;
    `clients` are those that are connected."""

    def __init__(
        self,
        file: Path,
        by_address: ByAddress,
        wrong_token_time: float,
        canonical: Callable[[str], Awaitable[str]],
        admit: Callable[[Client], bool],
        clients: AbstractSet[Client],
        audit: Audit,
        log: LogWriter,
        today: Callable[[], date] = date.today,
    ) -> None:
        self._file = file
        self._by_address = by_address
        self._wrong_token_time = wrong_token_time
        self._canonical = canonical
        self._admit = admit
        self._clients = clients
        self._audit = audit
        self._log = log
        self._today = today
        #: The rows of the file, and the rights that each gives.
        self._tokens: dict[Token, Rights] = {}
        self._seen = _state_of(file)
        self._reading = asyncio.Lock()

    def rights_at(self, host: str) -> Rights:
        """What a connection from there may do before it has shown anything."""
        return self._by_address.rights_at(host)

    def take(self, file: Path, by_address: ByAddress, wrong_token_time: float) -> None:
        """Other settings hold from now on; `read_anew` is to follow. Who has shown no token is cut if that would have
        other rights now."""
        self._file, self._by_address, self._wrong_token_time = file, by_address, wrong_token_time
        for client in tuple(self._clients):
            if not client.token and client.rights != self.rights_at(client.host):
                client.cut("what it may do without a token was changed; connect again")

    # Tokens.

    def recognises(self, client: Client, shown: str) -> bool:
        """Is the token good? Then its rights are the client's. Raises Denied(TOO_MANY_CLIENTS).

        Where there are no tokens at all none is wrong, and whoever has rights by its address keeps them: a program may
        have a token for another daemon.
        """
        if not self._tokens and not client.is_stranger and not self._is_outdated():
            return True
        token = find(self._tokens, shown)
        if token is None or not token.is_good_on(self._today()):
            return False
        if client.is_stranger and not self._admit(client):
            raise self._rejected(client, Denied("TOO_MANY_CLIENTS", "too many clients; close some, or try again later"))
        client.rights, client.token = self._tokens[token], token.sha256
        return True

    async def check(self, client: Client, shown: str) -> None:
        """`recognises`, of a file that may have a new row by now. Raises Denied: AUTH_FAILED late, and after either the
        connection is to be closed."""
        if self.recognises(client, shown):
            return
        if self._is_outdated():
            await self.read_anew()
            if self.recognises(client, shown):
                return
        failure = self._rejected(client, Denied("AUTH_FAILED"))  # at once: it may not wait for the answer
        await asyncio.sleep(self._wrong_token_time + _EARLY if self._wrong_token_time else 0)
        raise failure

    def _is_outdated(self) -> bool:
        return _state_of(self._file) != self._seen

    def _rejected(self, client: Client, failure: Denied) -> Denied:
        self._audit.record("rejected", **client.who(), outcome=failure.token, error=failure.text)
        return failure

    # The file.

    async def read(self) -> None:
        """Take the tokens from the file. Raises TokenFileError, and Failure if the names cannot be looked up."""
        self._seen = _state_of(self._file)
        tokens = read_tokens(self._file)
        self._tokens = {token: await self._rights_of(token) for token in tokens}

    async def read_anew(self) -> None:
        """The same while the daemon serves: a file that cannot be used changes nothing but the log and the audit. The
        clients are cut whose token is gone, or is good for something else."""
        async with self._reading:
            before = self._tokens
            try:
                if self._tokens and not self._file.exists():
                    self._seen = None
                    raise TokenFileError(f"{self._file} is gone")
                await self.read()
            except (TokenFileError, Failure) as error:
                text = f"{error.args[0]}; the tokens read before stay in force"
                self._log.put("trouble", {"error": text})
                self._audit.record("tokens", count=len(self._tokens), error=text)
                return
            if before or self._tokens:
                self._audit.record("tokens", count=len(self._tokens))
        now = {token.sha256: rights for token, rights in self._tokens.items() if token.is_good_on(self._today())}
        for client in tuple(self._clients):
            if client.token and now.get(client.token) != client.rights:
                client.cut("its token was taken away, or is good for something else now")

    async def _rights_of(self, token: Token) -> Rights:
        resources = [(await self._fit_of(name, token.where), role) for name, role in token.resources]
        return Rights(token.name, token.role, tuple(resources))

    async def _fit_of(self, name: str, where: str) -> re.Pattern[str]:
        """What fits the names that are meant. One that is no pattern is made canonical: else it would fit nothing, and
        keep nobody from anything."""
        if not frozenset("*?[]").isdisjoint(name):
            return fit(name, is_pattern=True)
        try:
            return fit(await self._canonical(name), is_pattern=False)
        except Failure as failure:
            raise TokenFileError(f"{where}: {name!r} is no resource: {failure.text}") from failure

    # Commands.

    def denied(self, client: Client, resource: str | None, command: str, takes: Role) -> Denied:
        """Put on record, to be raised: `command` takes a role that the client does not have."""
        self._audit.record("denied", **client.who(), resource=resource, command=command)
        if client.is_stranger:
            return Denied("FORBIDDEN", COMES_FIRST)
        rights, where = client.rights, ""
        if resource is not None:
            where = f" on {resource}" if rights.sees(resource) else " there"
        has = rights.highest if resource is None and takes < Role.ADMIN else rights.role_on(resource)
        return Denied("FORBIDDEN", f"that takes the role {takes.word}{where}; {rights.user or 'you'} has {has.word}")


def _state_of(file: Path) -> tuple[int, int, int] | None:
    """Something that changes with the file; None if there is none."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
