"""Settings: every option in both places, who wins, and what is said of a wrong one."""

import argparse
import contextlib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.access.rights import Loopback
from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.configuration.resource_settings import ResourceSettings
from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.settings import OPTIONS, Settings, parser, read_settings
from tests.support.daemon import ROOT

BENCH = str(ROOT / "demo_bench" / "bench.yaml")

#: option -> a value as typed, as in TOML, and as it is understood.
VALUES = {
    "host": ("0.0.0.0", '"0.0.0.0"', "0.0.0.0"),
    "port": ("0", "0", 0),
    "tls-host": ("0.0.0.0", '"0.0.0.0"', "0.0.0.0"),
    "tls-port": ("0", "0", 0),
    "tls-certificate": ("/tmp/c.pem", '"/tmp/c.pem"', Path("/tmp/c.pem")),
    "tls-key": ("/tmp/k.pem", '"/tmp/k.pem"', Path("/tmp/k.pem")),
    "visa-library": (f"{BENCH}@sim", f'"{BENCH}@sim"', f"{BENCH}@sim"),
    "demo": (None, "true", True),
    "daemonize": (None, "true", True),
    "run-dir": ("/tmp/run", '"/tmp/run"', Path("/tmp/run")),
    "audit-log": ("/tmp/audit", '"/tmp/audit"', Path("/tmp/audit")),
    "audit-key-file": ("/tmp/key", '"/tmp/key"', Path("/tmp/key")),
    "audit-rotate-size": ("1.5 MB", '"1.5MB"', 1_500_000),
    "audit-rotate-age": ("7", "7", 7.0),
    "audit-keep": ("3", "3", 3),
    "linger": ("0", "0", 0.0),
    "grace": ("1.5", "1.5", 1.5),
    "token-file": ("/tmp/tokens", '"/tmp/tokens"', Path("/tmp/tokens")),
    "allow": ("10.0.0.0/8, ::1", '["10.0.0.0/8", "::1"]', (ip_network("10.0.0.0/8"), ip_network("::1"))),
    "loopback": ("token", '"token"', Loopback.TOKEN),
    "lan": (None, "true", True),
    "announce": (None, "false", False),
}
OTHER = {"host": "::1", "port": "1", "linger": "3", "grace": "4", "run-dir": "/tmp/other", "audit-log": "/tmp/b"}
OTHER |= {"visa-library": "@ivi", "token-file": "/tmp/c", "allow": "10.0.0.1", "loopback": "admin"}
OTHER |= {"tls-host": "::1", "tls-port": "1", "tls-certificate": "/tmp/c2", "tls-key": "/tmp/k2"}
OTHER |= {"audit-key-file": "/tmp/c", "audit-rotate-size": "64000", "audit-rotate-age": "0.5", "audit-keep": "0"}

#: option -> what it is of no use without.
NEEDS = {
    "tls-host": ["--tls-port", "0"],
    "tls-certificate": ["--tls-port", "0"],
    "tls-key": ["--tls-port", "0", "--tls-certificate", "/tmp/c.pem"],
}

#: option -> values that are refused, as typed and in TOML.
WRONG = {
    "host": (["", "a\0b"], ['""', "5", "[]", "true"]),
    "port": (["65536", "-1", "x", "", "1.5"], ["65536", '"1340"', "true", "1340.5", "inf", "nan", "[1340]"]),
    "tls-host": (["", "a\0b"], ['""', "5"]),
    "tls-port": (["65536", "-1", "x", "", "none"], ["65536", '"1341"', "true", "false"]),
    "tls-certificate": ([""], ["false"]),
    "tls-key": ([""], ["false"]),
    "visa-library": (["", "missing.yaml@sim"], ['""', "1"]),
    "demo": ([], ["1", '"yes"']),
    "daemonize": ([], ["0", '"no"']),
    "run-dir": (["", "~no-such-user/run"], ["7", '""', '"~no-such-user/run"']),
    "audit-log": ([""], ["false"]),
    "audit-key-file": ([""], ["0"]),
    "audit-rotate-size": (["-1", "1", "9999", "10 TB", "MB", "", "1e6"], ["9999", "-1", "true", "inf", '"10"']),
    "audit-rotate-age": (["-1", "nan", "1d"], ["-1", '"1"']),
    "audit-keep": (["-1", "1.5", "all", ""], ["-1", "1.5", '"3"', "true"]),
    "linger": (["-1", "inf", "nan", "soon"], ["-1", "inf", "nan", '"60"', "true"]),
    "grace": (["-0.1", "1e999", ""], ["-1", '"2"']),
    "token-file": (["", "~no-such-user/tokens"], ["1", '""']),
    "allow": (["", "10.0.0.1/8", "labpc", "10.0.0.0/33"], ["10", "[10]", '["10.0.0.1/8"]', '[["::1"]]']),
    "loopback": (["", "use", "ADMIN"], ["true", "1", '"none"', "[]"]),
    "lan": ([], ["1", '"yes"']),
    "announce": ([], ["1", '"no"']),
}

names = pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)


@pytest.fixture
def toml(tmp_path):
    def write(text, name="daemon.toml"):
        file = tmp_path / name
        file.write_text(text)
        return ["--config", str(file)]

    return write


def typed(name):
    value, switch = VALUES[name][0], next(option.switch for option in OPTIONS if option.name == name)
    return [switch] if value is None else [switch, value]


def field(settings, name):
    return getattr(settings, name.replace("-", "_"))


def test_every_option_is_tried_here():
    """A new option needs a row above."""
    assert {option.name for option in OPTIONS} == set(VALUES) == set(WRONG)
    assert {option.field for option in OPTIONS} | {"limits", "resources", "config"} == set(
        Settings.__dataclass_fields__
    )


def test_defaults_are_those_of_the_card():
    """Loopback, port 1340, pyvisa-py, in the foreground."""
    settings = read_settings([])
    assert (settings.host, settings.port, settings.visa_library) == ("127.0.0.1", 1340, "@py")
    assert (settings.demo, settings.daemonize) == (False, False)
    assert (settings.linger, settings.grace) == (60.0, 2.0)
    assert settings.resources == ()
    assert settings.limits == LIMITS
    assert settings.run_dir.is_absolute()
    assert settings.audit_file == settings.run_dir / "audit.jsonl"


@pytest.mark.parametrize("name", ["tls-host", "tls-certificate", "tls-key"])
def test_what_is_said_of_tls_is_refused_without_a_port_for_it(name):
    """Whoever asks for TLS must not get a daemon that does without."""
    with pytest.raises(SettingsError, match=f"--{name}: there is no TLS without --tls-port"):
        read_settings(typed(name))


def test_key_is_refused_without_its_certificate():
    """It would be left out in silence."""
    with pytest.raises(SettingsError, match="it needs its certificate, --tls-certificate"):
        read_settings(["--tls-port", "0", "--tls-key", "/tmp/k.pem"])


@names
def test_option_is_taken_from_the_command_line(option):
    """As typed."""
    assert (
        field(read_settings([*typed(option.name), *NEEDS.get(option.name, [])]), option.name) == VALUES[option.name][2]
    )


@names
@pytest.mark.parametrize("separator", ["-", "_"])
def test_option_is_taken_from_the_file(option, separator, toml):
    """Under its long name, with either kind of stroke."""
    key = option.name.replace("-", separator)
    settings = read_settings([*toml(f"{key} = {VALUES[option.name][1]}\n"), *NEEDS.get(option.name, [])])
    assert field(settings, option.name) == VALUES[option.name][2]


def test_all_options_stand_in_one_file(toml):
    """Except the library, which the demo brings itself."""
    text = "".join(f"{name} = {value[1]}\n" for name, value in VALUES.items() if name != "visa-library")
    settings = read_settings(toml(text))
    assert all(field(settings, name) == value[2] for name, value in VALUES.items() if name != "visa-library")


@pytest.mark.parametrize("name", sorted(OTHER))
def test_command_line_wins_over_the_file(name, toml):
    """And the file over the default."""
    file = toml(f"{name} = {VALUES[name][1]}\n")
    settings = read_settings([*file, *NEEDS.get(name, []), f"--{name}", OTHER[name]])
    option = next(option for option in OPTIONS if option.name == name)
    assert field(settings, name) == option.accept(OTHER[name])


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name][0]])
def test_wrong_value_on_the_command_line_is_refused_with_what_is_accepted(name, value):
    """The option, the value, and what would be right."""
    accepted = next(option.accepted for option in OPTIONS if option.name == name)
    with pytest.raises(SettingsError) as raised:
        read_settings([f"--{name}={value}"])
    assert f"--{name}" in str(raised.value)
    assert repr(value) in str(raised.value)
    assert accepted in str(raised.value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name][1]])
def test_wrong_value_in_the_file_is_refused_with_what_is_accepted(name, value, toml):
    """The file, the key, and what would be right."""
    accepted = next(option.accepted for option in OPTIONS if option.name == name)
    with pytest.raises(SettingsError) as raised:
        read_settings(toml(f"{name} = {value}\n"))
    assert "daemon.toml" in str(raised.value)
    assert name in str(raised.value)
    assert accepted in str(raised.value)


@pytest.mark.parametrize("text", ["prot = 1340\n", "[daemon]\nport = 1340\n", 'config = "x"\n'])
def test_wrong_key_is_refused_with_all_that_there_are(text, toml):
    """A typing error must not silently be a default."""
    with pytest.raises(SettingsError) as raised:
        read_settings(toml(text))
    assert repr(text.strip("[").split("]")[0].split(" ")[0]) in str(raised.value)
    assert all(option.name in str(raised.value) for option in OPTIONS)
    assert "[[resource]]" in str(raised.value)


def test_rows_of_resources_stand_behind_the_settings(toml):
    """In the order of the file, with the file and the row's number for whoever complains about one later."""
    arguments = toml('port = 1\n[[resource]]\nmatch = "GPIB*"\n[[resource]]\nmatch = "GPIB::1"\nname = "dmm"\n')
    settings = read_settings(arguments)
    where = f"{arguments[1]}, [[resource]]"
    assert settings.port == 1
    assert settings.resources == (
        ResourceSettings("GPIB*", None, {}, f"{where} 1"),
        ResourceSettings("GPIB::1", "dmm", {}, f"{where} 2"),
    )


def test_rows_of_resources_are_no_option(capsys):
    """They are in the file only."""
    with pytest.raises(SystemExit):
        read_settings(["--resource=GPIB*"])
    assert "--resource" in capsys.readouterr().err


def test_wrong_row_is_refused_with_file_and_number(toml):
    """As every setting: `daemon.toml, [[resource]] 2: ...`."""
    with pytest.raises(SettingsError, match=r"daemon\.toml, \[\[resource\]\] 2: match = 5 is not "):
        read_settings(toml('[[resource]]\nmatch = "GPIB*"\n[[resource]]\nmatch = 5\n'))


@pytest.mark.parametrize("content", [b"port = ", b"port 1340", b"\xff\xfe", b"port = 1\nport = 2\n"])
def test_file_that_is_no_toml_is_refused(content, tmp_path):
    """With its name."""
    file = tmp_path / "daemon.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"daemon\.toml: not a TOML file"):
        read_settings(["--config", str(file)])


def test_file_that_cannot_be_read_is_refused(tmp_path):
    """Missing, or a folder."""
    for file in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(SettingsError, match=str(file)):
            read_settings(["--config", str(file)])


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--por", "1"], ["stray"], ["--port"], ["--demo=1"]])
def test_unknown_option_ends_with_exit_code_2(arguments, capsys):
    """No abbreviations either: a later option must not change what a script means."""
    with pytest.raises(SystemExit) as ended:
        read_settings(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_help_ends_with_exit_code_0_and_names_every_option(capsys):
    """With its default and what it is for."""
    with pytest.raises(SystemExit) as ended:
        read_settings(["--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS:
        assert option.switch in said
        assert option.help in said


def test_demo_with_a_library_of_one_s_own_is_refused(toml):
    """It would silently be ignored; wherever the two come from."""
    for arguments in (
        ["--demo", "--visa-library", "@ivi"],
        [*toml("demo = true\n", "demo.toml"), "--visa-library", "@ivi"],
        [*toml('visa-library = "@ivi"\n', "library.toml"), "--demo"],
    ):
        with pytest.raises(SettingsError, match=r"--demo.*--visa-library"):
            read_settings(arguments)


def test_paths_are_made_absolute(monkeypatch, tmp_path):
    """A daemon leaves the folder in which it was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "bench.yaml").touch()
    settings = read_settings(["--run-dir", "run", "--audit-log", "~/audit", "--visa-library", "bench.yaml@sim"])
    assert settings.run_dir == tmp_path / "run"
    assert settings.audit_file == Path("/home/ann/audit")
    assert settings.visa_library == f"{tmp_path}/bench.yaml@sim"


@given(st.sampled_from([option.name for option in OPTIONS if not option.is_flag]), st.text(max_size=20))
def test_no_text_raises_anything_but_a_settings_error(name, value):
    """Whatever is typed."""
    with contextlib.suppress(SettingsError):
        read_settings([f"--{name}={value}"])


def test_parser_takes_nothing_that_the_table_does_not_have():
    """One table: for the command line, the file and the reference page."""
    actions = [action for action in parser()._actions if not isinstance(action, argparse._HelpAction)]
    others = {"config", "check_config", "print_config"}
    assert {action.dest for action in actions} == {option.field for option in OPTIONS} | others


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("0", 0),
        ("10000", 10_000),
        ("10kB", 10_000),
        ("16 KiB", 16_384),
        ("100mb", 10**8),
        ("0.5GB", 5 * 10**8),
        ("2GiB", 2**31),
    ],
)
def test_size_is_read_as_people_write_it(text, bytes_):
    """In any case, with a space or without."""
    assert read_settings(["--audit-rotate-size", text]).audit_rotate_size == bytes_
