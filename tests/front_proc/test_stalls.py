"""Stalls of the event loop: what is recorded of which history, and once with a real loop, thread and clock."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.stalls import LONG_TIME, QUIET_TIME, STALL_TIME, TICK_TIME, Judge
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE


class History:
    """A process whose loop and threads run, block and stand still, as a test says."""

    def __init__(self):
        self.now = 1000.0
        self.ticked_at = self.now
        self.processor_time = 5.0
        self.records = []
        self.doing = "idle"
        self._judge = Judge(self.now, self.processor_time)

    def _look(self):
        self.records += self._judge.look(self.now, self.processor_time, self.ticked_at, lambda: self.doing)

    def runs(self, seconds):
        """The loop ticks, the thread looks."""
        for _ in range(round(seconds / TICK_TIME)):
            self.now += TICK_TIME
            self.ticked_at = self.now
            self._look()

    def blocks(self, seconds, doing="idle"):
        """The loop does not come to tick; the thread looks."""
        self.doing = doing
        for _ in range(round(seconds / TICK_TIME)):
            self.now += TICK_TIME
            self._look()
        self.doing = "idle"

    def holds_the_lock(self, seconds, doing):
        """C code keeps the thread out as well, and computes."""
        self.doing = doing
        self.now += seconds
        self.processor_time += seconds
        self._look()

    def stands_still(self, seconds, *, ticks_first=False):
        """Nothing of the process runs; then either may be first to run again."""
        self.now += seconds
        if ticks_first:
            self.ticked_at = self.now
        self._look()

    def events(self):
        return [event for event, _ in self.records]


@pytest.fixture
def history():
    return History()


def test_stall_is_recorded_with_its_stack_and_duration_when_it_ends(history):
    """One record, whatever the number of looks meanwhile."""
    history.runs(3)
    history.blocks(2, "sorting the archive")
    assert history.records == []
    history.runs(1)
    assert history.records == [("stall", {"seconds": pytest.approx(2.1), "stack": "sorting the archive"})]


@pytest.mark.parametrize("seconds", [0.1, 0.2])
def test_short_delay_is_no_stall(history, seconds):
    """Over and over."""
    for _ in range(20):
        history.blocks(seconds, "a little work")
        history.runs(TICK_TIME)
    assert history.records == []


def test_stall_that_goes_on_is_recorded_before_it_ends(history):
    """It may never end; if it does, that is told too."""
    history.runs(1)
    history.blocks(LONG_TIME + 1, "waiting for a dead disk")
    assert history.records == [
        ("stall", {"seconds": pytest.approx(LONG_TIME, abs=0.2), "stack": "waiting for a dead disk"})
    ]
    history.blocks(20, "waiting for a dead disk")
    history.runs(1)
    assert history.records[1:] == [("stall_over", {"seconds": pytest.approx(LONG_TIME + 21.1, abs=0.2)})]


@pytest.mark.parametrize("ticks_first", [True, False])
def test_process_that_stood_still_did_not_stall(history, ticks_first):
    """SIGSTOP, a suspended machine: the thread was late itself, and no processor time was used."""
    history.runs(1)
    history.stands_still(3600, ticks_first=ticks_first)
    history.runs(1)
    assert history.records == [("stopped", {"seconds": 3600})]


def test_stall_after_standing_still_is_one(history):
    """The time of standing still is not in it."""
    history.stands_still(3600)
    history.blocks(1, "catching up")
    history.runs(1)
    assert history.records[1:] == [("stall", {"seconds": pytest.approx(1.1), "stack": "catching up"})]


def test_thread_that_is_kept_out_while_somebody_computes_saw_a_stall(history):
    """C code held Python's global lock; it is still in that function when the thread gets to run."""
    history.runs(1)
    history.holds_the_lock(2, "decompressing")
    history.runs(1)
    assert history.records == [("stall", {"seconds": pytest.approx(2.1), "stack": "decompressing"})]


def test_records_are_rare_and_the_others_are_counted(history):
    """A loop that stalls all the time does not fill the log."""
    for _ in range(20):
        history.blocks(0.5, "thrashing")
        history.runs(0.5)
    assert len(history.records) == 2
    assert history.records[1][1]["skipped"] == round(QUIET_TIME) - 1


def test_stall_is_recorded_though_the_process_stood_still_just_before(history):
    """Each kind is rare by itself: a starved machine does not hide what blocks."""
    history.stands_still(1)
    history.blocks(0.5, "blocking")
    history.runs(0.5)
    assert history.events() == ["stopped", "stall"]


steps = st.lists(
    st.tuples(st.sampled_from(["runs", "blocks", "holds_the_lock", "stands_still"]), st.floats(0.1, 30.0)), max_size=30
)


@given(steps)
def test_records_of_any_history_are_rare_and_true(steps):
    """No stall without one, none longer than it was, no more records than time allows; at rest nothing is added."""
    history = History()
    spent = {"runs": [0.0], "blocks": [0.0], "holds_the_lock": [0.0], "stands_still": [0.0]}
    for kind, seconds in steps:
        getattr(history, kind)(*(seconds, kind) if kind in ("blocks", "holds_the_lock") else (seconds,))
        history.runs(TICK_TIME)
        spent[kind].append(seconds)
    blocked = sum(spent["blocks"]) + sum(spent["holds_the_lock"])
    history.runs(1)
    at_rest = len(history.records)
    history.runs(30)
    assert len(history.records) == at_rest
    stalls = [fields for event, fields in history.records if event == "stall"]
    stops = [fields for event, fields in history.records if event == "stopped"]
    assert len(stalls) <= blocked / STALL_TIME
    assert all(fields["seconds"] <= max(spent["stands_still"]) + 0.01 for fields in stops)
    assert all(fields["stack"] in ("blocks", "holds_the_lock") for fields in stalls)
    elapsed = history.now - 1000.0
    assert max(len(stalls), len(stops)) <= elapsed / QUIET_TIME + 1


# A real loop.

_SCRIPT = """
    import asyncio, os, signal, sys, time
    from pathlib import Path
    from front_proc.record.log_writer import LogWriter
    from front_proc.stalls import StallWatch

    def dawdle():
        time.sleep(1)

    async def main():
        file = Path(sys.argv[1])
        log = LogWriter(file)
        watch = StallWatch(log)
        await asyncio.sleep(0.3)
        while b'"stall"' not in file.read_bytes():  # a machine that is busy with others may take it for a stop
            dawdle()
            await asyncio.sleep(0.3)
        print("stop me", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.sleep(0.3)
        watch.close()
        log.close()

    asyncio.run(main())
"""


def test_real_stall_is_recorded_with_the_name_of_what_blocked_and_a_real_stop_as_such(tmp_path):
    """One process that dawdles, and is then stopped for a while."""
    file = tmp_path / "daemon.log"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_SCRIPT), str(file)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "stop me\n"
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate("go on\n", timeout=DEADLINE)
    assert process.returncode == 0
    records = [json.loads(line) for line in file.read_text().splitlines()]
    [stall] = [record for record in records if record["event"] == "stall"]
    assert ", in dawdle\n" in stall["stack"]
    assert stall["seconds"] >= 0.9
    assert [record for record in records if record["event"] == "stopped"]
