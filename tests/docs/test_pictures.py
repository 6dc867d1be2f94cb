"""The pictures of terminals: those that are there can be made anew, by running what they show."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.support.daemon import MARKER, ROOT

PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.svg"))


def words(svg: str) -> str:
    """What is to be read in a picture."""
    return "".join(ElementTree.fromstring(svg).itertext()).replace("\N{NO-BREAK SPACE}", " ")


def test_pictures_are_made_from_what_runs(tmp_path):
    """Each that is there; the demo bench's instruments are in it, with the usual ports."""
    command = [sys.executable, ROOT / "docs" / "pictures.py", tmp_path]
    environment = {**os.environ, MARKER: "pictures"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in sorted(tmp_path.glob("*.svg"))] == [file.name for file in PICTURES]
    for file in tmp_path.glob("*.svg"):
        assert "GPIB0::22::INSTR" in words(file.read_text())
    assert "127.0.0.1:1340" in words((tmp_path / "bench.svg").read_text())


@pytest.mark.parametrize("picture", PICTURES, ids=lambda file: file.name)
def test_picture_stands_alone(picture):
    """It fetches nothing, and runs nothing."""
    text = picture.read_text()
    assert "$ instruments" in words(text)
    assert text.count("://") == 1, "the namespace"
    assert not {"<script", "@import", "@font-face", "<image"} & set(text.split())


def test_pictures_are_seen():
    """Each is in a page, or in the README."""
    shown = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
    assert [file.name for file in PICTURES if f"pictures/{file.name}" not in shown] == []
