"""benchmark.sh: what it says of itself. What it runs has its tests in tests/benchmarks."""

import subprocess

from benchmarks.measures import MEASURES
from benchmarks.peers import PEERS
from tests.support.daemon import ROOT


def test_benchmark_help_names_every_measure_and_every_peer():
    """Without setting anything up."""
    done = subprocess.run([ROOT / "scripts" / "benchmark.sh", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    assert [name for name in (*MEASURES, *PEERS) if name not in words] == []
