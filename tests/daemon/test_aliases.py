"""Settings per resource in a real daemon: aliases at both doors, a library of one's own, names that nobody found."""

import subprocess
import sys

import pytest
import pyvisa

from tests.support.daemon import ROOT
from tests.support.waiting import wait_until

BENCH = f"{ROOT / 'demo_bench' / 'bench.yaml'}@sim"
MULTIMETER, SUPPLY = "GPIB0::22::INSTR", "USB0::0x0957::0x0407::PS000407::0::INSTR"
IDENTITY = "DEMO BENCH,MULTIMETER,DM000022,1.0"

#: A second bench, for a library of its own.
OTHER_BENCH = r"""
spec: "1.1"
devices:
  other:
    eom:
      GPIB INSTR: {q: "\n", r: "\n"}
    dialogues:
      - {q: "*IDN?", r: "OTHER BENCH"}
resources:
  GPIB1::3::INSTR: {device: other}
  GPIB1::4::INSTR: {device: other}
  GPIB2::3::INSTR: {device: other}
"""


@pytest.fixture
def configured(daemon_factory, tmp_path):
    """Starts a daemon with this TOML file; OTHER stands for the second bench."""

    def start(text, *options):
        (tmp_path / "other.yaml").write_text(OTHER_BENCH)
        file = tmp_path / "lab.toml"
        file.write_text(text.replace("OTHER", f"{tmp_path / 'other.yaml'}@sim"))
        return daemon_factory("--config", str(file), *options)

    return start


@pytest.fixture
def lab(configured):
    """The bench, its multimeter under two names."""
    rows = f"""
[[resource]]
match = "GPIB::22"
name = "multimeter"

[[resource]]
match = "{MULTIMETER}"
name = "DMM"
"""
    return configured(rows, "--visa-library", BENCH)


def test_alias_stands_for_its_resource_in_every_command(lab):
    """In any case; replies have the canonical name."""
    with lab.text() as client:
        assert client.ask(".#.open_resource multimeter") == MULTIMETER
        assert client.ask_json(".#.list_open_resources") == [MULTIMETER]
        client.ask(f".#.open_resource {SUPPLY}")
        assert client.ask(".#.query_resource @multimeter *IDN?") == IDENTITY
        assert client.ask(".#.use Multimeter") == MULTIMETER
        assert client.ask(".#.query_resource *IDN?") == IDENTITY
        assert client.ask(".#.write_resource @dmm *IDN?") == "6"
        assert client.ask(".#.read_resource DMM") == IDENTITY
        assert client.ask(".!.restart multimeter") == "ok"
        assert client.ask(".#.close_resource dmm") == "ok"
        assert client.ask_json(".#.list_open_resources") == [SUPPLY]
        assert client.ask(".#.use multimeter").startswith(".#.error NO_RESOURCE effect=none ")


def test_aliases_and_the_name_itself_are_one_resource(lab):
    """One process, whoever says what."""
    with lab.text() as one, lab.text() as other:
        assert one.ask(".#.open_resource multimeter") == other.ask(".#.open_resource gpib::22") == MULTIMETER
        assert one.ask(".#.open_resource dmm") == MULTIMETER
        [row] = lab.status()["resources"]
    assert (row["resource"], row["sessions"]) == (MULTIMETER, 2)


def test_status_has_all_aliases(lab):
    """Of what nobody has open, too."""
    assert lab.status()["aliases"] == {"multimeter": MULTIMETER, "DMM": MULTIMETER}


def test_alias_opens_from_the_wire(lab):
    """The backend's viOpen."""
    manager = pyvisa.ResourceManager(f"{lab.address}@daemon")
    session, _ = manager.visalib.open(manager.session, "multimeter")
    assert lab.resource(MULTIMETER)["sessions"] == 1
    manager.visalib.close(session)
    manager.close()


def test_unknown_alias_is_refused(lab):
    """As any name that VISA cannot parse."""
    with lab.text() as client:
        assert client.ask(".#.open_resource voltmeter").startswith(".#.error VI_ERROR_INV_RSRC_NAME effect=none ")


def test_each_resource_is_found_and_opened_by_its_own_library(configured):
    """Two in one daemon; of what the second finds, what it would not open is not listed."""
    daemon = configured('[[resource]]\nmatch = "GPIB1::*"\nlibrary = "OTHER"\n', "--visa-library", BENCH)
    with daemon.text() as client:
        names = client.ask_json(".#.list_resources")
        assert names == [MULTIMETER, SUPPLY, "ASRL1::INSTR", "GPIB1::3::INSTR", "GPIB1::4::INSTR"]
        for name, identity in ((MULTIMETER, IDENTITY), ("GPIB1::3::INSTR", "OTHER BENCH")):
            assert client.ask(f".#.open_resource {name}") == name
            assert client.ask(".#.query_resource *IDN?") == identity


def test_library_that_is_not_there_hides_nothing(configured):
    """The log says which, and why."""
    daemon = configured('[[resource]]\nmatch = "GPIB1::*"\nlibrary = "@nowhere"\n', "--visa-library", BENCH)
    with daemon.text() as client:
        assert client.ask_json(".#.list_resources") == [MULTIMETER, SUPPLY, "ASRL1::INSTR"]
    log = daemon.run_dir / "daemon.log"
    wait_until(lambda: "@nowhere: " in log.read_text(), what="a line of trouble with @nowhere in the log")


def test_configured_resource_is_listed_though_no_search_finds_it(configured):
    """By its canonical name; opening it is another matter."""
    daemon = configured('[[resource]]\nmatch = "GPIB::9"\nname = "ghost"\n', "--visa-library", BENCH)
    with daemon.text() as client:
        assert client.ask_json(".#.list_resources") == [MULTIMETER, SUPPLY, "ASRL1::INSTR", "GPIB0::9::INSTR"]
        assert client.ask(".#.open_resource ghost").startswith(".#.error VI_ERROR_RSRC_NFOUND effect=none ")


def test_demo_bench_has_aliases(daemon):
    """One for each of its instruments."""
    kinds = {
        "multimeter": "MULTIMETER",
        "supply": "POWER SUPPLY",
        "temperature": "TEMPERATURE",
        "oscilloscope": "OSCILLOSCOPE",
        "generator": "GENERATOR",
    }
    with daemon.text() as client:
        names = [client.ask(f".#.open_resource {alias}") for alias in kinds]
        said = [client.ask(f".#.query_resource @{alias} *IDN?") for alias in kinds]
        assert sorted(client.ask_json(".#.list_resources")) == sorted(names)
    assert all(kind in identity for kind, identity in zip(kinds.values(), said, strict=True)), said


def test_rows_of_the_file_come_behind_the_bench_s(configured):
    """A bench instrument can have another name, and its alias can go to another."""
    rows = f'[[resource]]\nmatch = "{MULTIMETER}"\nname = "dmm"\n[[resource]]\nmatch = "ASRL1"\nname = "supply"\n'
    with configured(rows, "--demo").text() as client:
        assert client.ask(".#.open_resource dmm") == client.ask(".#.open_resource multimeter") == MULTIMETER
        assert client.ask(".#.open_resource supply") == "ASRL1::INSTR"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('match = "voltmeter"', "[[resource]] 1: match = 'voltmeter' is no resource: "),
        ('match = "GPIB*"\nname = "dmm"', "[[resource]] 1: name = 'dmm' "),
        ('match = "GPIB*"\nhold = "("', "[[resource]] 1: hold = '(' "),
    ],
)
def test_wrong_row_ends_the_start(tmp_path, row, reason):
    """Exit code 2, the reason on stderr, nothing left behind."""
    file = tmp_path / "lab.toml"
    file.write_text(f"[[resource]]\n{row}\n")
    options = ["--config", str(file), "--port", "0", "--run-dir", str(tmp_path / "run"), "--visa-library", BENCH]
    done = subprocess.run(
        [sys.executable, "supervisor.py", *options], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}, {reason}" in done.stderr
    assert done.stderr.count("\n") == 1
