"""The page that leads through the code: what it names is there."""

import re

from tests.support.daemon import ROOT

PAGE = (ROOT / "docs" / "explanation" / "the-house.md").read_text("utf-8")
FRONT = ROOT / "front_proc"

_CODE = re.compile(r"`([^`]+)`")
_NAME = re.compile(r"(?:\w+\.)?(\w+)")


def rows():
    """The code words of each row of the tables that are written by hand: its files, and the names beside them."""
    for line in re.sub(r"<!-- generated.*?end generated -->", "", PAGE, flags=re.DOTALL).splitlines():
        words = _CODE.findall(line)
        if line.startswith("|") and words:
            yield [word for word in words if "/" in word], [word for word in words if "/" not in word]


def test_files_of_the_page_exist():
    """In the tables and between them."""
    files = [word for word in _CODE.findall(PAGE) if "/" in word and not word.startswith("python ")]
    assert len(files) > 40
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_names_of_the_page_are_defined_in_a_file_beside_them():
    """Or in the module that they are written with."""
    missing = []
    for files, names in rows():
        for name in names:
            found = _NAME.fullmatch(name)
            if found is None:
                continue
            own = ROOT / "pyvisa_daemon" / f"{name.partition('.')[0]}.py"
            places = [ROOT / file for file in files if file.endswith(".py")] + ([own] if own.exists() else [])
            defined = re.compile(rf"^ *(?:(?:async )?def|class) {found[1]}\b|^{found[1]}\b.* = ", re.MULTILINE)
            if not any(defined.search(place.read_text("utf-8")) for place in places):
                missing.append(name)
    assert missing == []


def test_walk_passes_every_room_that_a_query_passes():
    """All but what is read at the start."""
    walk = PAGE.partition("## One query")[2].partition("## And if")[0]
    rooms = {card.parent.name for card in FRONT.glob("*/__init__.py")} - {"configuration"}
    assert {room for room in rooms if f"front_proc/{room}/" not in walk} == set()


def test_card_of_every_package_is_in_its_table():
    """The front's map has each of its rooms, and each room's card each of its files."""
    for card in FRONT.glob("*/__init__.py"):
        assert f"../../front_proc/{card.parent.name}" in PAGE
        text = card.read_text("utf-8")
        named = [file.stem for file in card.parent.glob("*.py") if file.stem != "__init__"]
        patterns = [word.rstrip("*") for word in re.findall(r"\w+_\*", text)]
        unnamed = [stem for stem in named if not re.search(rf"\b{stem}\b", text)]
        assert [stem for stem in unnamed if not stem.startswith(tuple(patterns))] == [], card


def test_terms_are_in_order_and_once():
    """So that one finds them."""
    page = (ROOT / "docs" / "reference" / "terms.md").read_text("utf-8")
    terms = re.findall(r"^\| ([^|]+?) \| ", page, re.MULTILINE)[2:]
    assert terms == sorted(set(terms), key=str.casefold)
    assert len(terms) > 30
