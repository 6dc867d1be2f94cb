"""PyVISA's own suite for real VISA libraries passes through a daemon.

`pyvisa.testsuite.keysight_assisted_tests` is what PyVISA runs against Keysight's VISA and its virtual instrument; here
it runs, as it is installed, against `@daemon` and an instrument of ours that understands the same words. What does not
pass by the suite's own account is listed below one by one, so that whatever changes shows up.
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.daemon import ROOT
from tests.support.instrument_process import KeysightInstrument

SUITE = "pyvisa.testsuite.keysight_assisted_tests"
MODULES = ("test_tcpip_resources", "test_resource_manager", "test_util")

#: The daemon's own library finds simulated instruments only: what hangs on this machine must not matter, since the
#: suite takes every board for a number and pyvisa-py finds ASRL/dev/ttyS0.
CONFIG = """
visa_library = "@sim"

[[resource]]
match = "TCPIP0::127.0.0.1::inst0::INSTR"
library = "@py"
srq_poll = 0.02

[[resource]]
match = "TCPIP0::127.0.0.1::5025::SOCKET"
library = "@py"
"""

#: The suite expects these to fail: a raw socket has no END and no output queue that a new message would empty.
EXPECTED_TO_FAIL = {
    "TestTCPIPSocket.test_write_raw_read_bytes": "flushing the read buffer throws away the answer that has come",
    "TestTCPIPSocket.test_write_read": "the LF behind a CR that ended a read is read next",
}

SKIPPED = {
    "TestTCPIPInstr.test_handling_malformed_binary": "is empty",
    "TestTCPIPSocket.test_handling_malformed_binary": "is empty",
    "TestTCPIPSocket.test_stb": "a raw socket has no status byte",
    "TestResourceManager.test_cleanup_on_del": "PyVISA calls it flaky",
}


@pytest.fixture
def keysight_instrument():
    """It has fixed ports, as the suite has fixed addresses."""
    try:
        instrument = KeysightInstrument()
    except OSError as error:
        pytest.skip(str(error))
    yield instrument
    instrument.switch_off()


def outcomes(report: Path) -> dict[str, str]:
    """Class.test -> passed, failed, expected to fail, skipped. What passes though it is expected to fail has passed."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        skipped = case.find("skipped")
        if skipped is not None:
            found[name] = "expected to fail" if skipped.get("type") == "pytest.xfail" else "skipped"
        else:
            has_failed = case.find("failure") is not None or case.find("error") is not None
            found[name] = "failed" if has_failed else "passed"
    return found


@pytest.mark.full
def test_pyvisas_own_suite_passes_through_a_daemon(keysight_instrument, daemon_factory, tmp_path):
    """Every test of it but those that cannot."""
    config, report = tmp_path / "daemon.toml", tmp_path / "report.xml"
    config.write_text(CONFIG)
    daemon = daemon_factory("--config", str(config))
    own = ["-c", os.devnull, f"--rootdir={tmp_path}", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *own, "--pyargs", *(f"{SUITE}.{module}" for module in MODULES)],
        cwd=ROOT,
        env={**os.environ, "PYVISA_KEYSIGHT_VIRTUAL_INSTR": "0", "PYVISA_LIBRARY": f"{daemon.address}@daemon"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    print(ran.stdout, ran.stderr)
    found = outcomes(report)
    assert {name: outcome for name, outcome in found.items() if outcome != "passed"} == {
        **dict.fromkeys(EXPECTED_TO_FAIL, "expected to fail"),
        **dict.fromkeys(SKIPPED, "skipped"),
    }
