"""`instruments completion`: what makes a shell complete `instruments`, and what it completes.

Runs in the user's process: the shell calls `instruments` for each TAB, and click does the rest. Resources come from the
daemons that run, and are kept for a while, since each look makes a daemon search its buses. A shell that waits is worse
than one that does not know: what has not come by `LIMIT` is left out, and nothing here ever fails.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Thread

import click
from click.shell_completion import BashComplete, CompletionItem, ShellComplete, get_completion_class

from client.commands.overview import aliases_of, every_alias, text_of
from client.commands.overview import resources as open_rows
from client.text_socket import TCPVisaSocket
from pyvisa_daemon import hosts, wire

#: Seconds that a TAB may take; and for which what was found is good.
LIMIT = 2.0
FRESH_TIME = 30.0

SHELLS = ("bash", "zsh", "fish")

#: Names in which no letter means anything to a shell.
_HARMLESS = re.compile(r"[\w:./@%+,=-]+")

#: What is said above the script: how it comes to stay.
_INSTALL = {
    "bash": """\
# instruments: completion for bash. For this shell:   eval "$(instruments completion bash)"
# for good, where bash-completion is installed:
#   instruments completion bash > ~/.local/share/bash-completion/completions/instruments
# and where it is not, the first line into ~/.bashrc.
""",
    "zsh": """\
#compdef instruments
# instruments: completion for zsh. For this shell:   eval "$(instruments completion zsh)"
# for good: into a folder of $fpath, before `compinit` in ~/.zshrc:
#   instruments completion zsh > ~/.zfunc/_instruments
""",
    "fish": """\
# instruments: completion for fish. For this shell:   instruments completion fish | source
# for good:
#   instruments completion fish > ~/.config/fish/completions/instruments.fish
""",
}


class _Bash(BashComplete):
    """bash takes a colon for the end of a word, and a resource's name has many: the words are read from the line here,
    and of what is completed bash gets what comes behind its last colon."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} response type value current=
    local -a words
    IFS=$' \\t' read -r -a words <<< "$line"
    case $line in
        *[[:blank:]]) words+=("") ;;
        *) current=${words[${#words[@]} - 1]} ;;
    esac
    response=$(IFS=' '; COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete "${words[0]}" 2> /dev/null)
    local before=
    case $COMP_WORDBREAKS in *:*) before=${current%%"${current##*:}"} ;; esac
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done <<< "$response"
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    @staticmethod
    def _check_version() -> None:
        """Whatever bash is here, the script may be for another machine."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print what makes a shell complete this.

    Subcommands, options, hosts, and the resources and aliases of the daemons that run. The first lines say how to
    install it. Without an argument it is for the shell of $SHELL.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise click.UsageError(f"{shell or 'the shell'!r} is not known here: name one of {', '.join(SHELLS)}")
    click.echo(_INSTALL[shell] + _script(shell, ctx.find_root().command))


def _script(shell: str, command: click.Command) -> str:
    kind: type[ShellComplete] | None = _Bash if shell == "bash" else get_completion_class(shell)
    assert kind is not None, "click knows them all"
    return kind(command, {}, "instruments", "_INSTRUMENTS_COMPLETE").source()


# What is completed.


def known_hosts(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Of PYVISA_DAEMON_HOSTS."""
    return [CompletionItem(host) for host in hosts.tryIps if host.startswith(incomplete)]


def resources(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Names and aliases that begin so, in any case."""
    named = context.find_root().params.get("host")
    entries = [named] if named else list(hosts.tryIps)
    try:
        names = _kept(entries) or _asked(entries)
    except Exception:  # a TAB must not end in a traceback
        return []
    return [CompletionItem(name) for name in names if _is_meant(name, incomplete)]


def _is_meant(name: str, incomplete: str) -> bool:
    """Does it begin so? What a shell might obey is not completed: names come from daemons, and bash puts them into the
    line as they are."""
    return _HARMLESS.fullmatch(name) is not None and name.casefold().startswith(incomplete.casefold())


def _asked(entries: list[str]) -> list[str]:
    """What the daemons say by LIMIT; kept if that was all."""
    hosts.tryIps[:] = entries
    found: list[list[str]] = []

    def note(names: Callable[[], Iterable[str]]) -> None:
        with contextlib.suppress(Exception):  # a daemon that is away, or refuses, has nothing to complete
            found.append(list(names()))

    asking = [
        Thread(target=note, args=(names,), daemon=True)
        for names in (_listed, *((lambda entry=entry: _open(entry)) for entry in entries))
    ]
    for thread in asking:
        thread.start()
    deadline = time.monotonic() + LIMIT
    for thread in asking:
        thread.join(max(0.0, deadline - time.monotonic()))
    names = list(dict.fromkeys(name for names in list(found) for name in names))
    if names and not any(thread.is_alive() for thread in asking):
        _keep(entries, names)
    return names


def _listed() -> list[str]:
    """What they find and have configured."""
    replies = hosts.ask(lambda channel: channel.start(wire.ListResources), LIMIT)
    values = [reply.value for _, reply in replies if reply is not None and reply.status >= 0]
    return [str(name) for value in values if isinstance(value, list) for name in value]


def _open(entry: str) -> list[str]:
    """What one has open, and all aliases."""
    with TCPVisaSocket(hosts.parse(entry)) as socket:
        said = socket.status()
    names = [name for row in open_rows(said) for name in [*aliases_of(row), text_of(row.get("resource"))]]
    return [*(alias for aliases in every_alias(said).values() for alias in aliases), *names]


# What is kept between two TABs.


def _file() -> Path:
    if os.name == "nt":
        folder = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    else:
        folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "pyvisa-daemon" / "completion.json"


def _kept(entries: list[str]) -> list[str]:
    """What was found for these hosts a moment ago; empty if nothing was."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_file().read_text())
        if kept["hosts"] == entries and 0 <= time.time() - kept["time"] < FRESH_TIME:
            return list(map(str, kept["names"]))
    return []


def _keep(entries: list[str], names: list[str]) -> None:
    with contextlib.suppress(OSError):
        file = _file()
        file.parent.mkdir(0o700, parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"hosts": entries, "time": time.time(), "names": names}))
        os.replace(draft, file)
