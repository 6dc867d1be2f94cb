"""The daemon's command on another system, played by an interpreter that says so and lacks what that system lacks."""

import subprocess
import sys

import pytest

from tests.support.daemon import ROOT

#: What the standard library has on Linux alone, or not everywhere; and what is installed on Linux only.
ABSENT = ("fcntl", "grp", "pwd", "resource", "termios", "platformdirs", "psutil", "pyvisa_py", "structlog", "uvloop")


@pytest.mark.parametrize("platform", ["win32", "darwin", "freebsd14"])
def test_command_ends_with_one_sentence_when_the_system_is_another(platform):
    """Exit code 2, as for whatever else is asked for in vain; from supervisor.py and from the installed command."""
    for start in (
        "import runpy; runpy.run_path('supervisor.py', run_name='__main__')",
        "from front_proc.entry import main; main()",
    ):
        program = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); sys.platform = {platform!r}; {start}"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
        [sentence] = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (2, "")
        assert "runs on Linux only" in sentence


def test_command_goes_on_when_the_system_is_linux():
    """With the options that it was given."""
    program = "from front_proc.entry import main; main(['--port', 'none'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "port" in done.stderr
