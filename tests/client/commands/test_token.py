"""`instruments token`: makes a row, and shows the token once; what is wrong is said in a line and changes nothing."""

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.commands.main import main
from front_proc.access.rights import Role
from front_proc.access.token_file import find, read_tokens


def token(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments], env=environment)


def test_token_is_shown_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    """In a file that is its owner's only; the token alone is on stdout, what to do with it on stderr."""
    file = tmp_path / "run" / "tokens.toml"
    made = token("ann", "--file", str(file))
    assert made.exit_code == 0, made.output
    shown = made.stdout.removesuffix("\n")
    assert (len(shown), shown[:4]) == (47, "pvd_")
    assert shown not in made.stderr
    assert "kill -HUP" in made.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert shown not in file.read_text()
    [row] = read_tokens(file)
    assert (row.name, row.role, row.resources, row.expires) == ("ann", Role.USE, (), None)
    assert find([row], shown) is row


def test_token_has_the_rights_that_were_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    token("ann", "--file", str(file))
    limits = ("--resource", "GPIB0::*=use", "--resource", "a=b=none")
    assert token("wall", "--role", "observe", *limits, "--expires", "2027-01-01", "--file", str(file)).exit_code == 0
    _, row = read_tokens(file)
    assert (row.name, row.role, row.expires) == ("wall", Role.OBSERVE, date(2027, 1, 1))
    assert row.resources == (("GPIB0::*", Role.USE), ("a=b", Role.NONE))


def test_default_file_is_in_the_daemons_own_run_folder(tmp_path: Path) -> None:
    assert token("ann", XDG_STATE_HOME=str(tmp_path)).exit_code == 0
    assert len(read_tokens(tmp_path / "pyvisa-daemon" / "tokens.toml")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("two words",),
        ("ann", "--role", "root"),
        ("ann", "--role", "none"),
        ("ann", "--resource", "GPIB0::*"),
        ("ann", "--resource", "=use"),
        ("ann", "--resource", "GPIB0::*=all"),
        ("ann", "--expires", "tomorrow"),
    ],
)
def test_wrong_usage_makes_no_token(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = token(*arguments, "--file", str(tmp_path / "tokens.toml"))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "mode", "reason"), [("[[token]", 0o600, "no TOML file"), ("", 0o644, "chmod 600")])
def test_file_that_cannot_be_used_is_left_as_it_is(tmp_path: Path, content: str, mode: int, reason: str) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(content)
    file.chmod(mode)
    done = token("ann", "--file", str(file))
    assert done.exit_code == 1
    assert reason in done.stderr
    assert (done.stdout, file.read_text()) == ("", content)
