"""--print-config: a TOML file with every setting, its meaning, and its default or an example; all of it commented out.

Pure, from the tables: OPTIONS of `settings`, ROWS of `limits`, KEYS of `resource_settings`.
"""

import textwrap
from collections.abc import Iterable

from front_proc.configuration import limits, resource_settings, settings
from front_proc.configuration.setting_values import Setting
from front_proc.configuration.toml_values import toml_value

_HEAD = """\
The settings of instrument-daemon: `instrument-daemon --config FILE.toml`. Every setting is here, with its default, or
with an example where there is none, and does nothing until the # in front of it is taken away. `instrument-daemon
--check-config --config FILE.toml` says what it comes to, or all that is wrong with it. SIGHUP has it read anew.
"""

_LIMITS = "How long what may take, and how much there may be: good as they are for nearly every laboratory."

_RESOURCES = """\
What is special about single resources, or about all that a pattern fits. Each [[resource]] begins a row; all rows that
match a resource apply, and a later row wins key by key. Changes of guards and aliases count at once, others when the
resource is opened next.
"""

_WIDTH = 118


def sample() -> str:
    """The whole file."""
    resources = [line for key in resource_settings.KEYS for line in _setting(key, is_dated=False)]
    parts = [
        *_comment(_HEAD),
        *(line for option in settings.OPTIONS for line in _setting(option)),
        "",
        *_comment(_LIMITS),
        "",
        "# [limits]",
        *(line for row in limits.ROWS for line in _setting(row)),
        "",
        *_comment(_RESOURCES),
        "",
        "# [[resource]]",
        *resources,
    ]
    return "\n".join(parts) + "\n"


def _setting(row: Setting, *, is_dated: bool = True) -> Iterable[str]:
    """An empty line, its meaning, and itself."""
    counts = f"; a change counts {row.when}" if is_dated else ""
    value = row.example if row.example is not None else row.default
    yield ""
    yield from _comment(f"{row.help[0].upper()}{row.help[1:]}.")
    yield from _comment(f"Accepted: {row.accepted}{counts}.")
    yield f"# {row.name} = {toml_value(value)}"


def _comment(text: str) -> list[str]:
    """Words, which stay a comment when every single # is taken away."""
    return ["## " + line for line in textwrap.wrap(" ".join(text.split()), _WIDTH - 3, break_on_hyphens=False)]
