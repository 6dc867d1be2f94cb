"""Values as TOML writes them: for what is shown of settings.

Pure. Runs in the front, and where the docs are made. The standard library reads TOML only.
"""

from typing import Any


def toml_value(value: Any) -> str:
    """A default or an example of a row: text, a number, true or false, a list, a table on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) and value != int(value) else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{toml_value(key)} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    text = str(value)
    return f"'{text}'" if "\\" in text else f'"{text}"'
