"""Environment variables, token files and certificates."""

import re

import pytest

from client.commands.checkup import settings
from client.commands.checkup.facts import File
from tests.client.commands.checkup.judged import told
from tests.support.daemon import ROOT


def test_variables_are_all_that_the_client_rooms_read() -> None:
    """A variable that is read and not in the table would be called unknown."""
    rooms = [*(ROOT / "client").rglob("*.py"), *(ROOT / "pyvisa_daemon").rglob("*.py")]
    read = {name for room in rooms for name in re.findall(r'"(PYVISA_DAEMON_[A-Z_]+)"', room.read_text())}
    assert read == settings.VARIABLES.keys()


def test_unknown_variable_is_told_when_set() -> None:
    """With the one that was meant, if one is like it. A token is never shown."""
    given = {"PYVISA_DAEMON_HOST": "labpc", "PYVISA_DAEMON_QQQQ": "1", "PYVISA_DAEMON_TOKEN": "pvd_x", "HOME": "/h"}
    rows = {text.split()[0]: (level, remedy) for level, text, remedy in told(settings.variables, environment=given)}
    assert rows["PYVISA_DAEMON_HOST"] == ("warning", "write PYVISA_DAEMON_HOSTS")
    assert rows["PYVISA_DAEMON_QQQQ"][1].startswith("leave it out; known are PYVISA_DAEMON_HOSTS, ")
    assert rows["PYVISA_DAEMON_TOKEN"] == ("ok", "")
    assert "pvd_x" not in str(told(settings.variables, environment=given))
    assert "looked for at 127.0.0.1:1340" in told(settings.variables)[-1][1]


def test_lock_variables_are_a_problem_when_one_is_without_the_other() -> None:
    both = {"PYVISA_DAEMON_LOCK_RESOURCE": "A B", "PYVISA_DAEMON_LOCK_KEY": "1 2"}
    assert told(settings.lock_variables, environment=both) == told(settings.lock_variables) == []
    [(level, _, remedy)] = told(settings.lock_variables, environment={**both, "PYVISA_DAEMON_LOCK_KEY": "1"})
    assert (level, remedy.startswith("unset both")) == ("problem", True)


@pytest.mark.parametrize(
    ("file", "text", "remedy"),
    [
        (File("/t", is_there=False), "/t is not there", "ask the daemon's operator for a token"),
        (File("/t", can_read=False), "/t cannot be read by you", "sudo chown $USER /t"),
        (File("/t", flaw="is empty"), "/t is empty", "ask the daemon's operator for a token"),
        (File("/t", mode=0o644), "/t can be read by others than its owner", "chmod 600 /t"),
    ],
)
def test_token_file_is_a_problem_when_it_cannot_be_used(file: File, text: str, remedy: str) -> None:
    found = told(settings.token, token_files=(file,))[-1]
    assert found[0] == "problem"
    assert found[1].startswith(text)
    assert found[2].startswith(remedy)


def test_token_file_is_fine_when_it_is_its_owners_alone() -> None:
    """Also where there are no such modes, and where there is no token at all."""
    assert told(settings.token, token_files=(File("/t"),)) == [("ok", "/t can be read, mode 600", "")]
    assert told(settings.token, token_files=(File("/t", mode=None),)) == [("ok", "/t can be read", "")]
    assert [row[0] for row in told(settings.token)] == ["ok"]


def test_two_tokens_are_told_when_one_does_not_count() -> None:
    both = {"PYVISA_DAEMON_TOKEN": "pvd_x", "PYVISA_DAEMON_TOKEN_FILE": "/t"}
    assert told(settings.token, environment=both, token_files=(File("/t"),))[0][2] == "unset PYVISA_DAEMON_TOKEN"


@pytest.mark.parametrize(
    ("file", "level", "remedy"),
    [
        (File("/c", is_there=False), "problem", "copy the daemon's certificate there"),
        (File("/c", flaw="holds no certificate in PEM form"), "problem", "copy the daemon's certificate there"),
        (File("/c", mode=0o666), "warning", "chmod go-w /c"),
        (File("/c", mode=0o644), "ok", ""),
    ],
)
def test_certificates_are_judged_when_settings_name_them(file: File, level: str, remedy: str) -> None:
    """They may be read by everybody, and written by their owner only."""
    found = told(settings.certificates, ca_files=(file,))[-1]
    assert (found[0], found[2].startswith(remedy)) == (level, True)
