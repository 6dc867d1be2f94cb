"""Where the daemon may listen: what is refused, what --lan makes, and what is said of it."""

import re
from pathlib import Path

import pytest

from front_proc.access.token_file import find, read_tokens
from front_proc.configuration.settings import read_settings
from front_proc.daemonize import StartError
from front_proc.doors.bind_policy import Door
from pyvisa_daemon import tokens
from pyvisa_daemon.tokens import TokenFileError

ELSEWHERE = pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "fe80::1%eth0", "::ffff:192.168.0.7"])
HERE = pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])


@pytest.fixture
def door(tmp_path):
    def door(host, *options):
        return Door(host, 1340, read_settings([f"--run-dir={tmp_path}", *options]))

    return door


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens.toml"


def add(file, **options):
    tokens.add_row(file, tokens.row("ann", tokens.new_token(), "use", {}, **options))


@ELSEWHERE
def test_door_to_others_is_refused_without_tokens(door, host):
    """One line, which says what would do."""
    with pytest.raises(StartError) as refused:
        door(host).judge()
    text = str(refused.value)
    assert all(word in text for word in ("--lan", "instruments token", "--allow", "--host 127.0.0.1"))
    assert "\n" not in text


@ELSEWHERE
def test_door_to_others_is_open_with_a_token_or_an_allowed_address(door, file, host):
    door(host, "--allow=10.0.0.0/8").judge()
    add(file)
    door(host).judge()


def test_door_to_others_is_refused_when_all_tokens_have_expired(door, file):
    add(file, expires="2001-01-01")
    with pytest.raises(StartError):
        door("0.0.0.0").judge()


@HERE
def test_door_to_this_machine_is_open(door, host):
    door(host).judge()


def test_this_machine_needs_tokens_where_it_was_to_show_them(door, file):
    with pytest.raises(StartError, match="loopback = token, and there is no token in"):
        door("127.0.0.1", "--loopback=token").judge()
    add(file)
    door("127.0.0.1", "--loopback=token").judge()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_file_that_others_may_read_is_refused_wherever_it_listens(door, file, host):
    add(file)
    file.chmod(0o644)
    with pytest.raises(TokenFileError, match="chmod 600"):
        door(host).judge()


def test_lan_listens_on_every_network_unless_told_otherwise(tmp_path):
    """As any option: the command line wins over the file."""
    config = tmp_path / "daemon.toml"
    config.write_text('host = "10.0.0.7"\n')
    assert read_settings(["--lan"]).host == "0.0.0.0"
    assert read_settings(["--lan", "--host=::1"]).host == "::1"
    assert read_settings(["--lan", f"--config={config}"]).host == "10.0.0.7"
    assert read_settings([]).host == "127.0.0.1"


def test_lan_leaves_the_plain_port_on_loopback_where_tls_is_for_the_others():
    """Who says where TLS is to be had wants no second door beside it, in clear."""
    settings = read_settings(["--lan", "--tls-port=1341", "--tls-host=0.0.0.0"])
    assert (settings.host, settings.tls_host) == ("127.0.0.1", "0.0.0.0")
    assert read_settings(["--lan", "--tls-port=1341"]).host == "0.0.0.0"
    assert read_settings(["--lan", "--tls-port=1341", "--tls-host=::", "--host=::"]).host == "::"


def test_lan_makes_one_token_and_shows_it_once(door, file):
    """A token of the role use, which is good; the file is its owner's only. The second time there is nothing new."""
    said = door("0.0.0.0", "--lan").make_first_token({})
    [token] = re.findall(r"pvd_[\w-]{43}", said)
    assert "export PYVISA_DAEMON_HOSTS=" in said
    assert file.stat().st_mode & 0o777 == 0o600
    [row] = read_tokens(file)
    assert (row.name, row.role.word, find([row], token)) == ("lan", "use", row)
    again = door("0.0.0.0", "--lan").make_first_token({})
    assert str(file) in again
    assert "pvd_" not in again
    assert len(read_tokens(file)) == 1
    assert door("0.0.0.0").make_first_token({}) == ""


@pytest.mark.parametrize(
    ("host", "shown"),
    [("10.0.0.7", "10.0.0.7:1340"), ("fe80::7", r"\[fe80::7\]:1340"), ("0.0.0.0", r"[\w.-]+:1340")],
)
def test_lan_says_where_others_reach_it(door, host, shown):
    """Never 0.0.0.0, which is nowhere."""
    said = door(host, "--lan").make_first_token({})
    assert re.search(f"^export PYVISA_DAEMON_HOSTS={shown}$", said, re.MULTILINE)
    assert "=0.0.0.0" not in said


def test_lan_leads_others_to_the_port_in_tls_if_there_is_one(tmp_path):
    """The token that was just made is not to travel in clear; whom to believe is said, too."""
    certificate = tmp_path / "tls-certificate.pem"
    settings = read_settings([f"--run-dir={tmp_path}", "--lan", "--host=127.0.0.1", "--tls-port=1341"])
    said = Door("10.0.0.7", 1341, settings, certificate).make_first_token({})
    assert "\nexport PYVISA_DAEMON_HOSTS=10.0.0.7:1341\nexport PYVISA_DAEMON_CA_FILE=" in said
    assert f"a copy of {certificate}" in said


def test_refusal_names_the_option_of_the_door(door, tmp_path):
    with pytest.raises(StartError, match="; --host 127"):
        door("0.0.0.0").judge()
    with pytest.raises(StartError, match="; --tls-host 127"):
        Door("0.0.0.0", 1341, read_settings([f"--run-dir={tmp_path}"]), tmp_path / "c.pem").judge()


@pytest.mark.parametrize("manager", ["NOTIFY_SOCKET", "JOURNAL_STREAM"])
def test_lan_prints_no_token_into_a_service_managers_log(door, file, manager):
    with pytest.raises(StartError, match="instruments token NAME --file"):
        door("0.0.0.0", "--lan").make_first_token({manager: "x"})
    assert not file.exists()


def test_what_is_said_at_the_start_is_what_holds(door):
    """Who is admin, who needs no token, and who can listen."""
    admin = "every process of this machine is admin"
    assert door("127.0.0.1").remarks().count("\n") == 1
    assert admin in door("127.0.0.1").remarks()
    remarks = door("0.0.0.0", "--allow=10.0.0.0/8", "--loopback=token").remarks()
    assert admin not in remarks
    assert "no token is needed from 10.0.0.0/8" in remarks
    assert "not encrypted" in remarks
    assert "not encrypted" not in Door("0.0.0.0", 1, read_settings([]), Path("c.pem")).remarks()
