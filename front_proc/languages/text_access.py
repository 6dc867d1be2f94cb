"""The text protocol's side of tokens and roles: `auth`, and whether a client may say what it says.

Runs in the front. The rules are `rights`, the tokens `access`. What a client says in an `auth` is put nowhere, however
it is spelled.
"""

from typing import TYPE_CHECKING

from front_proc.access.rights import Rights
from front_proc.serving.tickets import printable
from pyvisa_daemon.errors import Failure

if TYPE_CHECKING:
    from front_proc.languages.text_arguments import Arguments
    from front_proc.languages.text_commands import Command
    from front_proc.languages.text_conversation import Conversation

_VERB = "auth"


async def auth(conversation: "Conversation", arguments: "Arguments") -> str:
    """`ok`, the user and the role. Raises Denied(AUTH_FAILED), and the connection ends."""
    client = conversation.client
    if client.sessions:
        raise Failure("FORBIDDEN", "auth comes before anything is opened: close it, or connect anew")
    await conversation.front.access.check(client, arguments.words[0])
    return f"ok {in_words(client.rights)}"


def in_words(rights: Rights) -> str:
    """Whose rights, and the role on the daemon."""
    return f"{rights.user or '-'} {rights.role.word}"


def on_record(line: bytes) -> str:
    """A line as a record may have it: of an `auth` there is the verb, whatever is wrong with the rest."""
    prefix, rest = line[:3], line[3:]
    word = rest.decode("utf-8", "replace").split(maxsplit=1)[:1]
    said = word[0].lower() if word else ""
    shortened = prefix == b"..." and said and _VERB.startswith(said)  # `...a` means something else, and says no more
    if said.startswith(_VERB) or shortened:
        return printable(prefix + _VERB.encode())
    return printable(line)


async def judge(conversation: "Conversation", row: "Command", arguments: "Arguments", line: bytes) -> None:
    """May this client say this? Raises Denied. Looks up no name for who may say nothing of the kind anywhere."""
    rights, role = conversation.client.rights, row.least_role
    if rights.is_unlimited or not role:
        return
    resource = None
    if row.names_resource and rights.highest >= role:
        resource = await conversation.front.canonical(arguments.words[0])
    if rights.highest < role or not rights.suffices(role, resource):
        raise conversation.front.access.denied(conversation.client, resource, on_record(line), role)
