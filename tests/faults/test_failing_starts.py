"""Every way in which a start can fail, beside a daemon that serves: exit code, reason, and nothing left of it.

What each of them says word by word is in tests/daemon/test_start_and_end.py.
"""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.daemon.started import BackgroundDaemon, start
from tests.support.daemon import MARKER
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.fault(56)

#: Nobody may make a folder or a file there, not even root.
NOBODYS = "/proc/sys"

#: Starts under way at once: as somebody does who tries again and again.
AT_ONCE = 3

TOML = {
    "no TOML": "= 3",
    "unknown option": "prot = 1340",
    "wrong kind": "port = 'high'",
    "out of range": "linger = -1",
    "unknown limit": "[limits]\nopen-tome = 3",
    "limit of nothing": "[limits]\nopen-time = 0",
    "no resource": "[[resource]]\nmatch = 'nonsense'",
    "unknown setting": "[[resource]]\nmatch = 'GPIB0::*'\ncolour = 'red'",
}


def ways(bench, folder):
    """name -> the options, the exit code, and what the reason must name."""
    used, port = bench.daemon.run_dir, bench.daemon.port
    file = folder / "file"
    file.write_text("")
    bad = folder / "bad.yaml"
    bad.write_text("spec: '1.1'\ndevices: [oh")
    found = {
        "port busy": (["--port", port], 1, [str(port), "--port"]),
        "port of nobody": (["--port", 65536], 2, ["--port"]),
        "address of another machine": (["--host", "192.0.2.1"], 1, ["192.0.2.1"]),
        "address of nobody": (["--host", "no-such-host.invalid"], 1, ["no-such-host.invalid"]),
        "folder in a file": (["--run-dir", file / "run"], 1, [str(file / "run")]),
        "folder that nobody can make": (["--run-dir", f"{NOBODYS}/run"], 1, [f"{NOBODYS}/run"]),
        "folder that is not writable": (["--run-dir", NOBODYS], 1, [NOBODYS]),
        "audit log of nobody": (["--audit-log", f"{NOBODYS}/audit.jsonl"], 1, [f"{NOBODYS}/audit.jsonl"]),
        "second start": (["--run-dir", used], 1, [f"already running: process {bench.daemon.pid}", str(used)]),
        "no such library": (["--visa-library", "@nosuchbackend"], 1, ["@nosuchbackend"]),
        "bad simulation": (["--visa-library", f"{bad}@sim"], 1, [str(bad)]),
        "no such file": (["--config", folder / "missing.toml"], 2, [str(folder / "missing.toml")]),
        "unknown argument": (["--nonsense"], 2, ["--nonsense"]),
    }
    for name, text in TOML.items():
        config = folder / f"{name.replace(' ', '-')}.toml"
        config.write_text(text)
        found[name] = (["--config", config], 2, [str(config)])
    return found


def is_left(marker):
    """Processes of a start that live on."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (psutil.Error, OSError):
            continue
    return False


@pytest.mark.parametrize("mode", [(), ("--daemonize",)], ids=["foreground", "background"])
def test_start_that_fails_says_why_and_hurts_nobody(bench, tmp_path, mode):
    """The daemon that serves there already does not notice, though some want its port, its folder or its files."""
    used = bench.daemon.run_dir
    before = (used / "daemon.pid").read_text()

    def fails(number, options):
        """Options given twice: the last one counts."""
        usual = ["--port", 0, "--run-dir", tmp_path / f"failing{number}"]
        return start(*usual, *options, *mode, environment={MARKER: f"{tmp_path}-{number}"})

    found = ways(bench, tmp_path)
    with bench.figures.timed("all_failed"), ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(fails, range(len(found)), [options for options, _, _ in found.values()]))
    for (name, (_, code, named)), failed in zip(found.items(), results, strict=True):
        assert (failed.returncode, failed.stdout) == (code, ""), (name, failed)
        assert all(word in failed.stderr for word in named), (name, failed.stderr)
        assert "Traceback" not in failed.stderr, name
    # One in the background says why it fails, and is gone a moment later.
    wait_until(lambda: not any(is_left(f"{tmp_path}-{number}") for number in range(len(found))))
    bench.figures.note("ways", len(found))
    assert (used / "daemon.pid").read_text() == before
    log = [json.loads(line)["event"] for line in (used / "daemon.log").read_text().splitlines()]
    assert set(log) <= {"stall", "stopped"}, "a busy machine may stop it for a moment; there is nothing else to say"
    assert bench.daemon.status()["state"] == "serving"


def test_ten_starts_at_once_in_a_folder_that_is_in_use_are_all_refused(bench):
    """Each names the process that serves."""
    with ThreadPoolExecutor(10) as pool:
        results = list(
            pool.map(lambda _: start("--daemonize", "--port", 0, "--run-dir", bench.daemon.run_dir), range(10))
        )
    assert [failed.returncode for failed in results] == [1] * 10
    assert all(f"already running: process {bench.daemon.pid}" in failed.stderr for failed in results)


def test_pid_file_that_is_stale_stops_nobody(bench, tmp_path):
    """Neither one of a daemon that was killed, though its number is that of a live process by now, nor garbage."""
    for stale in (f"{bench.daemon.pid} {bench.daemon.address}\n", "\0garbage\n" * 100):
        run_dir = tmp_path / "stale"
        run_dir.mkdir(exist_ok=True)
        (run_dir / "daemon.pid").write_text(stale)
        with BackgroundDaemon(run_dir) as daemon:
            assert (run_dir / "daemon.pid").read_text().split()[0] == str(daemon.pid)
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait()
            wait_until(lambda daemon=daemon: not daemon.children(), DEADLINE)
