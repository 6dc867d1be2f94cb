"""The text protocol's verbs about guards. Runs in the front; their rows are in `text_commands`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from front_proc.languages.text_arguments import Arguments
    from front_proc.languages.text_conversation import Conversation


async def confirm(conversation: "Conversation", arguments: "Arguments") -> str:
    """The reason stands where other verbs have their message."""
    session = await conversation.session(arguments.target)
    session.resource.service.confirm(session, arguments.message.decode()).checked()
    return "ok"
