"""The packages and the front's rooms, for the table in explanation/the-house.md: the words are those of their cards."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: On the way that a query takes; then what is beside it.
PACKAGES = ("client", "pyvisa_daemon", "front_proc", "instrument_proc", "demo_bench")


def rows() -> Iterator[tuple[str, str]]:
    """Each package, and below the front its rooms: a link, and what its card says first."""
    for package in PACKAGES:
        yield _row(ROOT / package)
        if package == "front_proc":
            yield from map(_row, rooms())


def rooms() -> list[Path]:
    """In the order of the front's own map."""
    card = _card(ROOT / "front_proc")
    found = [file.parent for file in (ROOT / "front_proc").glob("*/__init__.py")]
    return sorted(found, key=lambda room: card.index(f"\n{room.name}/"))


def _row(folder: Path) -> tuple[str, str]:
    name = str(folder.relative_to(ROOT))
    first = " ".join(_card(folder).split("\n\n")[0].split())
    return f"[`{name}/`](../../{name})", first


def _card(folder: Path) -> str:
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
