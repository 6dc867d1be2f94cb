"""Every subcommand of `instruments` as it explains itself, for docs/reference/command-line.md.

What there is is asked of click: a new row of `client.commands.main.COMMANDS` is here by itself.
"""

import importlib
from collections.abc import Iterator

import click

#: Characters of a line of help.
_WIDTH = 86


def main() -> click.Group:
    """The command `instruments`."""
    # By its whole name: the room client.commands has other things that are called main.
    command = importlib.import_module("client.commands.main").main
    assert isinstance(command, click.Group)
    return command


def context_of(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """As it is when the command is called."""
    return click.Context(
        command, parent, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH, **command.context_settings
    )


def commands(context: click.Context) -> Iterator[click.Context]:
    """A command's own context, and if it is a group those of all that are in it, in their order."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield from commands(context_of(command, name, context))


def every() -> Iterator[click.Context]:
    """`instruments` first."""
    return commands(context_of(main(), "instruments"))


def help_of(context: click.Context) -> str:
    """What `--help` prints on a terminal that is wide enough."""
    with context.scope(cleanup=False):
        return "\n".join(line.rstrip() for line in context.get_help().splitlines())


def rows() -> list[tuple[str, str]]:
    """(a link, what it is for) of every subcommand."""
    _, *subcommands = every()
    return [
        (
            f"[`{each.command_path}`](#{each.command_path.replace(' ', '-')})",
            each.command.get_short_help_str(limit=200).replace("|", "\\|"),
        )
        for each in subcommands
    ]


def text() -> str:
    """A heading and a block for each, `instruments` itself first."""
    return "\n".join(f"### {each.command_path}\n\n```text\n{help_of(each)}\n```\n" for each in every())
