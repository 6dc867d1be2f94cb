"""The pages that are done from top to bottom, each by `tests.docs.walk` in a folder and with daemons of its own."""

import re

import pytest

from tests.docs.pages import WALKED, name_of
from tests.docs.walk import Walk, agrees, blocks

#: Programs that a page may use and a machine may lack.
OPTIONAL = {"nc", "perl", "tclsh", "node", "java"}


@pytest.fixture
def walk(daemon_factory, tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    return lambda page: Walk(page, folder, daemon_factory)


@pytest.mark.parametrize("page", WALKED, ids=name_of)
def test_page_goes_as_shown(page, walk):
    """Every command ends well and prints what stands below it; every program runs."""
    walking = walk(page)
    walking.to_the_end()
    assert set(walking.passed_over) <= OPTIONAL


@pytest.mark.parametrize("page", WALKED, ids=name_of)
def test_page_has_something_to_do(page):
    """It starts a daemon, and uses it."""
    commands = re.findall(r"^\$ (.*)", "\n".join(block.text for block in blocks(page)), re.MULTILINE)
    assert any(command.startswith(("scripts/start.sh", "instrument-daemon")) for command in commands)
    assert len(commands) >= 2


def test_output_agrees_when_only_blanks_and_what_is_left_out_differ():
    """And with nothing else."""
    assert agrees("a   b\nc 17\n", "a b\nc …\n")
    assert not agrees("a b\nd 17\n", "a b\nc …\n")
    assert not agrees("a b\n", "a\n")
