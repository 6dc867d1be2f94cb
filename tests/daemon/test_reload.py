"""SIGHUP: the settings are read anew in a daemon that serves; what counts when, and a file that is wrong."""

import json
import os
import signal

import pytest

from pyvisa_daemon import tokens
from tests.daemon.started import BackgroundDaemon
from tests.support.certificates import Authority
from tests.support.daemon import ROOT
from tests.support.waiting import wait_until

SUPPLY, MULTIMETER = "USB0::0x0957::0x0407::PS000407::0::INSTR", "GPIB0::22::INSTR"
HEAD = f"visa-library = '{ROOT / 'demo_bench' / 'bench.yaml'}@sim'\n"
NAMES = (
    f"[[resource]]\nmatch = '{SUPPLY}'\nname = 'supply'\n[[resource]]\nmatch = '{MULTIMETER}'\nname = 'multimeter'\n"
)
DENY = f"[[resource]]\nmatch = '{SUPPLY}'\ndeny = ['OUTPut ON']\n"


@pytest.fixture
def lab(tmp_path, daemon_factory):
    """A daemon, and what puts another text into its file and has it read that."""
    file = tmp_path / "lab.toml"
    file.write_text(HEAD + NAMES)
    daemon = daemon_factory("--config", str(file))

    def change(text):
        before = daemon.audit(event="settings")
        file.write_text(HEAD + text + NAMES)
        os.kill(daemon.pid, signal.SIGHUP)
        records = wait_until(lambda: daemon.audit(event="settings")[len(before) :], what="the settings read anew")
        return records[0]

    daemon.change = change
    return daemon


def counts(record):
    return {change["setting"]: change["counts"] for change in record["changes"]}


def test_rows_count_when_a_resource_is_opened_next(lab):
    """An open one keeps what it has, and that is said; one that only lingers does not."""
    with lab.text() as client, lab.text() as other:
        client.ask(".#.open_resource supply")
        other.ask(".#.open_resource multimeter")
        other.ask(".#.close_resource")
        record = lab.change("[[resource]]\nmatch = '*'\ntermination = '\\r\\n'\n")
        assert counts(record) == {"[[resource]]": "when the resource is opened next"}
        assert record["open"] == [SUPPLY]
        assert client.ask(".#.termination") == "\\n \\n"
        other.ask(".#.open_resource multimeter")
        assert other.ask(".#.termination") == "\\r\\n \\r\\n"


def test_guards_count_at_once(lab):
    """For who has it open, too: tightened, changed, or taken away."""
    with lab.text() as client:
        client.ask(".#.open_resource supply")
        assert client.ask(".#.write_resource OUTP OFF") == "9"
        record = lab.change(DENY)
        assert counts(record) == {"[[resource]], guards": "at once"}
        assert record["open"] == []
        assert "GUARDED" in client.ask(".#.write_resource OUTP ON")
        assert client.ask(".#.write_resource OUTP OFF") == "9"
        lab.change(f"[[resource]]\nmatch = '{SUPPLY}'\nlimit = {{ VOLTage = [0, 5] }}\n")
        assert "GUARDED" in client.ask(".#.write_resource VOLT 6")
        assert client.ask(".#.write_resource OUTP ON") == "8"
        lab.change("")
        assert client.ask(".#.write_resource VOLT 6") == "7"
        lab.change("linger = 7\n" + DENY)
        assert "GUARDED" in client.ask(".#.write_resource OUTP ON")


def test_message_that_is_held_back_is_judged_by_the_guards_that_there_are_when_it_ends(
    tmp_path, daemon_factory, instrument
):
    """It began before they came."""
    file = tmp_path / "lab.toml"
    file.write_text("[[resource]]\nmatch = '*'\ndeny = ['SYSTem:PRESet']\n")
    daemon = daemon_factory("--config", str(file))
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        client.ask(".#.termination none none")
        assert client.ask(".#.write_resource SE") == "2"
        file.write_text("[[resource]]\nmatch = '*'\ndeny = ['SET']\n")
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for_audit(event="settings")
        client.ask(".#.termination \\n \\n")
        assert "GUARDED" in client.ask(".#.write_resource T it")
        assert client.ask(".#.query_resource ECHO? it") == "it"
    assert instrument.history() == ["ECHO? it"]


def test_aliases_of_new_rows_can_be_used_at_once(lab):
    """Those that are taken back cannot; who has it open goes on."""
    lab.change(f"[[resource]]\nmatch = '{SUPPLY}'\nname = 'psu'\n")
    with lab.text() as client:
        assert client.ask(".#.open_resource psu") == client.ask(".#.open_resource supply") == SUPPLY
        lab.change("")
        assert "VI_ERROR_INV_RSRC_NAME" in client.ask(".#.open_resource psu")
        assert client.ask(f".#.query_resource @{SUPPLY} VOLT?") == "0.0000"


def test_what_takes_a_new_start_is_said_and_not_done(lab):
    """Told at every reading, until it is done or taken back."""
    record = lab.change("host = '127.0.0.2'\nlinger = 5\n[limits]\nsearch-time = 3\nqueue-length = 2\n")
    assert counts(record) == {
        "host": "with the next start",
        "linger": "at once",
        "limits.search-time": "with the next start",
        "limits.queue-length": "at once",
    }
    again = lab.change("host = '127.0.0.2'\nlinger = 5\n")
    assert counts(again) == {"host": "with the next start", "limits.queue-length": "at once"}
    assert lab.status()["addresses"]["plain"] == lab.address
    assert lab.status()["settings"]["changes"] == again["changes"]


def test_limit_counts_at_once(lab):
    """For who comes next."""
    with lab.text(), lab.text():
        lab.change("[limits]\nclients = 2\nreserved-clients = 1\n")
        with lab.text() as third:
            assert third.ask(".#.ping") == "pong"
            assert "TOO_MANY_CLIENTS" in third.ask(".#.open_resource supply")


#: text -> what is said of it.
WRONG = {
    "linger = -1\ngrace = 'x'\n[[resource]]\nnmae = 'a'\n": [
        "linger = -1",
        "grace = 'x'",
        "'nmae'",
        "match is missing",
    ],
    "linger =": ["not a TOML file"],
    f"linger = {'[' * 5000}": ["not a TOML file"],
    "[[resource]]\nmatch = 'volt'\n[[resource]]\nmatch = 'amp'\n": ["'volt' is no resource", "'amp' is no resource"],
    "loopback = 'token'\n": ["there is no token"],
    "token-file = '/nowhere/tokens.toml'\n": ["there is no /nowhere/tokens.toml"],
    "audit-key-file = 5\n": ["audit-key-file = 5"],
}


def test_wrong_file_changes_nothing_and_all_that_is_wrong_is_said(lab):
    """In the audit log, in the daemon's own, and in the status."""
    for text, said in WRONG.items():
        error = lab.change("audit-keep = 3\n" + text)["error"]
        assert [part for part in said if part not in error] == []
        assert error.endswith("; nothing was changed")
        assert lab.status()["settings"]["error"] == error
    logged = [json.loads(line) for line in (lab.run_dir / "daemon.log").read_text().splitlines() if '"error"' in line]
    assert [record["event"] for record in logged] == ["settings"] * len(WRONG)
    assert counts(lab.change("linger = 5\n")) == {"linger": "at once"}


def test_clients_are_cut_who_may_do_something_else_now(lab):
    """By their address; who has shown a token stays."""
    token = tokens.new_token()
    tokens.add_row(lab.run_dir / tokens.FILE_NAME, tokens.row("alice", token, "admin", {}))
    with lab.text() as known, lab.text() as unknown:
        assert known.ask(f".#.auth {token}") == "ok alice admin"
        lab.change("loopback = 'token'\n")
        unknown.everything()  # to its end
        assert lab.audit(event="rejected")[0]["error"].startswith("what it may do without a token was changed")
        assert known.ask(".#.open_resource supply") == SUPPLY
        with lab.text() as stranger:
            assert "FORBIDDEN" in stranger.ask(".#.open_resource supply")
    lab.token = token


def test_same_file_is_no_news_for_the_audit(lab):
    """SIGHUP comes from logrotate every night."""
    os.kill(lab.pid, signal.SIGHUP)
    log = lab.run_dir / "daemon.log"
    wait_until(lambda: '"event":"settings"' in log.read_text().replace(" ", ""), what="a record in the log")
    assert lab.audit(event="settings") == []
    assert lab.status()["settings"]["changes"] == []


def test_certificate_in_another_file_is_shown_to_who_connects(tmp_path, daemon_factory):
    """One that is of no use changes nothing."""
    authority = Authority(tmp_path / "ca")
    first, second = authority.issue(name="first"), authority.issue(name="second")
    file = tmp_path / "lab.toml"

    def text(pair):
        return f"{HEAD}tls-port = 0\ntls-certificate = '{pair.file}'\ntls-key = '{pair.key}'\n"

    file.write_text(text(first))
    daemon = daemon_factory("--config", str(file))
    shown = daemon.status()["addresses"]["tls"]["sha256"]
    file.write_text(text(second._replace(key=first.key)))
    os.kill(daemon.pid, signal.SIGHUP)
    assert "nothing was changed" in daemon.wait_for_audit(event="settings")["error"]
    assert daemon.status()["addresses"]["tls"]["sha256"] == shown
    file.write_text(text(second))
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: daemon.status()["addresses"]["tls"]["sha256"] != shown, what="the other certificate")


def test_daemon_in_the_background_finds_its_file(tmp_path):
    """Though it has left the folder in which it was started, from which the name counts."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "lab.toml").write_text("linger = 5\n")
    name = os.path.relpath(folder / "lab.toml", ROOT)
    with BackgroundDaemon(tmp_path / "run", "--config", name) as daemon:
        (folder / "lab.toml").write_text("linger = 6\n")
        os.kill(daemon.pid, signal.SIGHUP)
        assert counts(daemon.wait_for_audit(event="settings")) == {"linger": "at once"}


def test_resource_that_was_open_has_its_new_rows_after_all_have_closed_it(lab):
    """It does not linger, to be found as it was by who comes next."""
    with lab.text() as client:
        client.ask(".#.open_resource supply")
        lab.change(DENY)
        client.ask(".#.close_resource")
        client.ask(".#.open_resource supply")
        assert "GUARDED" in client.ask(".#.write_resource OUTP ON")


def test_resource_that_is_closing_has_its_new_rows_when_it_is_opened_again(tmp_path, daemon_factory, serial_line):
    """Who comes in the middle of that waits for its end."""
    file = tmp_path / "lab.toml"
    file.write_text("")
    daemon = daemon_factory("--config", str(file))
    with daemon.text() as client:
        client.ask(f".#.open_resource {serial_line.resource}")
        client.ask(".#.close_resource")
        os.kill(daemon.resource(serial_line.resource)["pid"], signal.SIGSTOP)
        file.write_text("[limits]\nclose-time = 0.5\n[[resource]]\nmatch = '*'\nread-only = true\n")
        os.kill(daemon.pid, signal.SIGHUP)
        assert daemon.wait_for_audit(event="settings")["open"] == []
        assert client.ask(f".#.open_resource {serial_line.resource}") == serial_line.resource
        assert "GUARDED" in client.ask(".#.write_resource SET it")


def test_resource_that_somebody_waits_for_is_told_as_open(tmp_path, daemon_factory, instrument):
    """It is opened as it was set when that was asked for."""
    file = tmp_path / "lab.toml"
    row = "[[resource]]\nmatch = '*'\nidentity = 'check'\n"
    file.write_text(row)
    instrument.ask("BE;*OPC?")
    daemon = daemon_factory("--config", str(file))
    with daemon.text() as client:
        client.send(f".#.open_resource {instrument.resource}\n".encode())
        wait_until(lambda: daemon.resource(instrument.resource), what="an open under way")
        file.write_text(row + "termination = '\\r'\n")
        os.kill(daemon.pid, signal.SIGHUP)
        assert daemon.wait_for_audit(event="settings")["open"] == [instrument.resource]


def test_safe_state_that_came_by_a_row_is_not_called_sent(lab):
    """What is open has none yet."""
    with lab.text() as client:
        client.ask(".#.open_resource supply")
        lab.change(f"[[resource]]\nmatch = '{SUPPLY}'\nsafe-state = ['OUTP OFF']\n")
        assert "has no safe-state" in client.ask(".!.safe supply")
