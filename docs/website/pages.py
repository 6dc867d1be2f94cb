"""The pages of docs/ and the README, copied to where Sphinx reads them, with what a forge and a site do differently.

docs/README.md is the front page (index), and its lists are the site's contents: a heading is a caption, the links
below it are its pages. The project's README is the page `readme`. A link to another file of the project gives that
file to be saved; what leads to a folder stands there as text.
"""

import re
import shutil
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import NamedTuple

import drawing

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
INDEX, README = DOCS / "README.md", ROOT / "README.md"

_FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)#]*)(#[^)]*)?\)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


class Section(NamedTuple):
    """A heading of the front page, and the pages that are listed below it."""

    caption: str
    pages: list[str]


def stage(out: Path) -> None:
    """All pages and plots, in `out`."""
    for page in pages():
        target = out / place(page)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(staged(page, out), "utf-8")
    for plot in DOCS.rglob("*.svg"):
        copied = out / plot.relative_to(DOCS)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(plot, copied)


def pages() -> list[Path]:
    """The front page first."""
    return [INDEX, README, *sorted(page for page in DOCS.rglob("*.md") if page != INDEX)]


def place(page: Path) -> Path:
    """Where a page is in the site."""
    if page in (INDEX, README):
        return Path("index.md" if page == INDEX else "readme.md")
    return page.relative_to(DOCS)


def staged(page: Path, out: Path) -> str:
    """A page as Sphinx is given it."""
    text = page.read_text("utf-8")
    parts = _FENCED.split(text)
    for number, part in enumerate(parts):
        if part.startswith("```mermaid\n"):
            name = f"{page.stem}.svg"
            svg = out / place(page).parent / name
            svg.parent.mkdir(parents=True, exist_ok=True)
            svg.write_text(drawing.drawn(part), "utf-8")
            parts[number] = f"![the states, and what leads from one to another]({name})"
        elif not part.startswith("```"):
            parts[number] = _LINK.sub(lambda match: relinked(match, page, out), part)
    return "".join(parts) + ("".join(contents(text)) if page == INDEX else "")


def relinked(match: re.Match[str], page: Path, out: Path) -> str:
    """A link that leads to the same from where the page is now."""
    mark, text, target, anchor = match.groups(default="")
    if not target:
        return match[0]
    file = (page.parent / target).resolve()
    here = (out / place(page)).parent
    if file.is_dir():
        return text
    if file.suffix == ".md" and file in pages():
        return f"{mark}[{text}]({relpath(out / place(file), here)}{anchor})"
    if file.suffix == ".svg" and file.is_relative_to(DOCS):
        return f"{mark}[{text}]({relpath(out / file.relative_to(DOCS), here)})"
    return f"{mark}[{text}]({relpath(file, here)}{anchor})"


def sections(index: str) -> Iterator[Section]:
    """The lists of the front page that name pages."""
    _, *parts = _HEADING.split(index)
    for caption, part in zip(parts[::2], parts[1::2], strict=True):
        lines = re.findall(r"^(?:\*|\d+\.) \[[^\]]+\]\(([^)#]+)\.md\)", part, re.MULTILINE)
        if lines:
            yield Section(caption, ["README <readme>" if line == "../README" else line for line in lines])


def contents(index: str) -> Iterator[str]:
    """The same as Sphinx has it."""
    for section in sections(index):
        listed = "\n".join(section.pages)
        yield f"\n```{{toctree}}\n:caption: {section.caption}\n:hidden:\n\n{listed}\n```\n"
