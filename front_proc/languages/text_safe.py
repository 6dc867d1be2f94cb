"""The text protocol's words for safe states: `.!.safe`, and what `status` shows of one to people.

Runs in the front. What is sent when is decided in `safe_state`.
"""

from typing import TYPE_CHECKING, Any

from front_proc.serving.tickets import failed
from pyvisa_daemon.errors import Failure

if TYPE_CHECKING:
    from front_proc.languages.text_arguments import Arguments
    from front_proc.languages.text_conversation import Conversation


async def safe(conversation: "Conversation", arguments: "Arguments") -> str:
    """Send a resource's safe state, or forget one that is due."""
    name, *more = arguments.words
    who = conversation.client.name or conversation.client.address
    if not more:
        await conversation.front.make_safe(conversation.client, name, f"{who} said so")
        return "safe"
    if more != ["forget"]:
        raise Failure("BAD_ARGUMENT", f"{more[0]!r} is no word for a safe state: safe RESOURCE [forget]")
    resource = await conversation.front.known(name)
    if not resource.forget_safety(failed("COMMAND_ABORTED", f"{who} had it forgotten")):
        raise Failure("BAD_ARGUMENT", f"no message of a safe state waits to be sent to {name}")
    return "ok"


def safe_words(description: dict[str, Any] | None) -> str:
    """For people: is a safe state due, and why?"""
    return "" if description is None else f", safe state {description['state']} ({description['reason']})"
