"""--check-config and --print-config: what is said of settings, beside a daemon or without one; nothing is started."""

import re

import pytest

from pyvisa_daemon import tokens
from tests.daemon.started import start
from tests.docs.pages import examples
from tests.support.daemon import ROOT

LAB = """
linger = 5
allow = ["192.168.1.0/24"]
[limits]
queue-length = 2
[[resource]]
match = "*"
deny = ["*RST"]
termination = '\\r\\n'
[[resource]]
match = "GPIB::22"
name = "dmm"
deny = ["SYSTem:PRESet"]
termination = '\\n'
[[resource]]
match = "TCPIP::192.168.0.2"
library = "@nowhere"
[[resource]]
match = "USB*"
"""


@pytest.fixture
def check(tmp_path):
    """What is said of a file with this text."""

    def run(text, *options):
        (tmp_path / "lab.toml").write_text(text)
        place = ("--config", tmp_path / "lab.toml", "--run-dir", tmp_path / "run")
        return start("--check-config", *place, *options)

    return run


def test_what_settings_come_to_is_said(check, tmp_path):
    """Each in its place, with the row that it comes from; nothing is made."""
    done = check(LAB, "--host", "0.0.0.0", "--tls-port", "0")
    assert (done.returncode, done.stderr) == (0, "")
    blocks = dict(re.findall(r"^(\S.*)\n((?:  .*\n)+)", done.stdout, re.MULTILINE))
    assert done.stdout.startswith(f"{tmp_path / 'lab.toml'}: in order\n")
    assert {"  linger = 5.0", "  limits.queue-length = 2"} <= set(
        blocks["Settings other than the defaults"].splitlines()
    )
    assert "0.0.0.0 port 1340, plain, for other machines too" in blocks["Where it listens"]
    assert "0.0.0.0 port 0, TLS with" in blocks["Where it listens"]
    assert "no token is needed from 192.168.1.0/24" in blocks["Where it listens"]
    assert blocks["Resources by name, and what holds for them"].splitlines() == [
        "  GPIB0::22::INSTR = dmm",
        "    termination = '\\n'  # [[resource]] 2",
        '    deny = ["*RST"]  # [[resource]] 1',
        '    deny = ["SYSTem:PRESet"]  # [[resource]] 2',
        "  TCPIP0::192.168.0.2::inst0::INSTR",
        '    library = "@nowhere"  # [[resource]] 3',
        "    termination = '\\r\\n'  # [[resource]] 1",
        '    deny = ["*RST"]  # [[resource]] 1',
    ]
    assert blocks["Patterns"].splitlines() == [
        "  [[resource]] 1 * fits of those: GPIB0::22::INSTR, TCPIP0::192.168.0.2::inst0::INSTR",
        "  [[resource]] 4 USB* fits none of those",
    ]
    assert "'@nowhere' cannot be loaded" in blocks["To be looked after"]
    assert not (tmp_path / "run").exists()


def test_bench_is_among_the_resources_when_it_would_be_served(check):
    """What is played from a file; the ports of the rest are known when it is started."""
    done = check("[[resource]]\nmatch = 'USB0::0x0957::*'\nsafe-state = ['OUTP 0']\n", "--demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  GPIB0::22::INSTR = multimeter\n" in done.stdout
    assert "[[resource]] 1 USB0::0x0957::* fits of those: USB0::0x0957::0x0407::PS000407::0::INSTR\n" in done.stdout


def test_all_that_is_not_accepted_is_said_at_once(check):
    """From every part of the file, and from the command line."""
    done = check("linger = -1\nprot = 1\n[limits]\nclients = 0\n[[resource]]\nname = 'a b'\n", "--port", "x")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert all(line.startswith("instrument-daemon: ") for line in lines)
    parts = ["linger = -1", "'prot' (port is)", "clients = 0", "name = 'a b'", "match is missing", "--port: 'x'"]
    assert [sum(part in line for line in lines) for part in parts] == [1] * len(parts)
    assert len(lines) == len(parts)


def test_all_that_would_end_a_start_is_said_at_once(check, tmp_path):
    """Though each setting is accepted."""
    file = tmp_path / "tokens.toml"
    tokens.add_row(file, tokens.row("alice", tokens.new_token(), "use", {"volts": "none"}))
    (tmp_path / "short.key").write_bytes(b"short")
    (tmp_path / "short.key").chmod(0o600)
    done = check(
        "host = 'no.such.host.invalid'\n[[resource]]\nmatch = 'amps'\n",
        *("--token-file", file, "--audit-key-file", tmp_path / "short.key"),
    )
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    parts = ["no.such.host.invalid", "has 5 bytes", "'amps' is no resource"]
    assert [part for part in parts if part not in done.stderr] == []
    assert len(lines) == 3
    assert "'volts' is no resource" in check("", "--token-file", file).stderr


def test_daemon_that_others_reach_without_a_token_is_wrong(check):
    """With --lan it makes one, and that is said."""
    assert "nobody there would need a token" in check("host = '0.0.0.0'").stderr
    assert "a token is made, and shown, at the first start" in check("lan = true").stdout


def test_daemon_that_serves_is_not_disturbed(daemon, tmp_path):
    """Of its own folder and port, too."""
    done = start("--check-config", "--run-dir", daemon.run_dir, "--port", daemon.port, "--demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.status()["clients"] == 1


def test_example_of_the_settings_page_is_in_order(check):
    """The one that it shows, and those of the guards."""
    [example] = examples("toml", ROOT / "docs" / "reference" / "settings.md")
    text = re.sub("^audit-key-file = .*$", "", example.text, flags=re.MULTILINE)
    done = check(text)
    assert done.returncode == 0, done.stderr
    assert "TCPIP0::192.168.0.2::inst0::INSTR = scope" in done.stdout


def test_printed_file_is_in_order(tmp_path, check):
    """And is the one in packaging."""
    printed = start("--print-config")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout == (ROOT / "packaging" / "instrument-daemon.toml").read_text()
    assert check(printed.stdout).returncode == 0


def test_alias_of_the_bench_is_a_name_for_tokens(check, tmp_path):
    """Though nothing of the bench is started; without it there is none."""
    file = tmp_path / "tokens.toml"
    tokens.add_row(file, tokens.row("alice", tokens.new_token(), "use", {"Oscilloscope": "none"}))
    assert check(f"demo = true\ntoken-file = '{file}'\n").returncode == 0
    done = check(f"token-file = '{file}'\n")
    assert (done.returncode, "'Oscilloscope' is no resource" in done.stderr) == (2, True)


def test_what_is_in_the_way_of_several_things_is_said_once(check, tmp_path):
    file = tmp_path / "tokens.toml"
    tokens.add_row(file, tokens.row("alice", tokens.new_token(), "use", {}))
    file.chmod(0o644)
    done = check(f"token-file = '{file}'\n")
    assert (done.returncode, done.stderr.count("chmod 600")) == (2, 1)
