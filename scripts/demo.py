"""The story of the daemon, told in a terminal with a real one: called by demo.sh.

Two people share a bench. One makes an instrument hang; the other never notices; the instrument comes back by itself;
the audit log tells it all. Everything here goes over the text protocol with plain sockets, as anybody's program could.
Each `check` is a claim: if one does not hold, the story ends there, with exit code 1.

To add a scene: a function that takes the Stage, and its place in `SCENES`.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 30.0  # seconds; nothing here takes as long
MULTIMETER = "GPIB0::22::INSTR"


class StoryError(Exception):
    """Something did not happen as told."""


class Person:
    """Somebody with a connection to the daemon."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self._connection = socket.create_connection((host, port), DEADLINE)
        self._replies = self._connection.makefile("rb")
        self.ask(f".#.hello {name}")

    def ask(self, request: str) -> str:
        """Send a line; its reply: a line, or the content of a block as Latin-1."""
        self._connection.sendall(request.encode() + b"\n")
        head = self._replies.read(2)
        if head[:1] == b"#" and head[1:].isdigit():
            length = int(self._replies.read(int(head[1:])))
            return self._replies.read(length + 1)[:-1].decode("latin-1")
        if not head.endswith(b"\n"):
            head += self._replies.readline()
        return head.decode().rstrip("\n")

    def leave(self) -> None:
        self._replies.close()
        self._connection.close()


class Watch(threading.Thread):
    """Somebody who reads the multimeter every 20 ms and notes how long each answer took."""

    def __init__(self, person: Person) -> None:
        super().__init__(daemon=True)
        self._person = person
        self._is_over = threading.Event()
        self.milliseconds: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._is_over.wait(0.02):
            asked = time.perf_counter()
            try:
                float(self._person.ask(".#.query_resource MEAS:VOLT:DC?"))
            except (OSError, ValueError) as failure:  # no answer, or an error in its place
                self.failures.append(str(failure))
            self.milliseconds.append((time.perf_counter() - asked) * 1000)

    def stop(self) -> None:
        self._is_over.set()
        self.join(DEADLINE)


class Stage:
    """The daemon, the people, and the terminal that shows them."""

    def __init__(self, run_dir: Path, is_fast: bool) -> None:
        self.run_dir = run_dir
        self._is_fast = is_fast
        self.people: dict[str, Person] = {}
        self.instruments: dict[str, str] = {}  # what it is -> its resource
        self.host, self.port = "", 0
        self.daemon: subprocess.Popen[str] | None = None

    def tell(self, text: str, pause: float = 1.5) -> None:
        print(text, flush=True)
        if not self._is_fast:
            time.sleep(pause)

    def check(self, holds: bool, claim: str) -> None:
        if not holds:
            raise StoryError(claim)
        self.tell(f"   ✓ {claim}")

    def arrive(self, name: str) -> Person:
        self.people[name] = Person(name, self.host, self.port)
        return self.people[name]

    def ask(self, name: str, request: str) -> str:
        """As somebody would type it, shown with its reply."""
        reply = self.people[name].ask(request)
        self.tell(f"   {name:>4} > {request}", pause=0.4)
        self.tell(f"        {shortened(reply)}", pause=0.8)
        return reply

    def resource(self, name: str) -> dict[str, Any]:
        """What `status` says of a resource."""
        status = json.loads(self.people["Eve"].ask(".#.status"))
        return next((row for row in status["resources"] if row["resource"] == name), {})

    def clear(self) -> None:
        """Everybody leaves, and the daemon ends if it has not."""
        for person in self.people.values():
            person.leave()
        if self.daemon is None:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()

    def wait_until(self, condition: Callable[[], bool], claim: str) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > end:
                raise StoryError(claim)
            time.sleep(0.02)


def shortened(text: str, width: int = 104) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def a_daemon_starts(stage: Stage) -> None:
    options = ["--demo", "--port", "0", "--grace", "1", "--run-dir"]
    stage.tell(f"   $ python supervisor.py {' '.join(options)} {stage.run_dir}")
    command = [sys.executable, str(ROOT / "supervisor.py"), *options, str(stage.run_dir)]
    stage.daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert stage.daemon.stdout is not None
    ready = stage.daemon.stdout.readline().strip()
    match = re.fullmatch(r"READY (.+):(\d+) pid=\d+", ready)
    if match is None:
        raise StoryError("the daemon says READY")
    stage.tell(f"   {ready}")
    stage.host, stage.port = match[1], int(match[2])
    names: list[str] = json.loads(stage.arrive("Eve").ask(".#.list_resources"))
    stage.tell("   On its bench: " + ", ".join(names))
    for name in names:
        if name.endswith("::SOCKET"):
            stage.people["Eve"].ask(f".#.open_resource {name}")
            what = stage.people["Eve"].ask(f".#.query_resource @{name} *IDN?").split(",")[1].lower()
            stage.people["Eve"].ask(f".#.close_resource {name}")
            stage.instruments[what] = name
    stage.check(MULTIMETER in names and len(stage.instruments) == 2, "five simulated instruments wait to be opened")


def two_people_share(stage: Stage) -> None:
    for name in ("Ann", "Ben"):
        stage.arrive(name)
        stage.ask(name, f".#.open_resource {MULTIMETER}")
    answers = [stage.ask(name, ".#.query_resource *IDN?") for name in ("Ann", "Ben")]
    stage.check(answers[0] == answers[1] and "MULTIMETER" in answers[0], "both talk to the same multimeter")
    row = stage.resource(MULTIMETER)
    stage.check(row["sessions"] == 2, f"one process (pid {row['pid']}) holds it, with two sessions")
    stage.ask("Ben", f".#.open_resource {stage.instruments['oscilloscope']}")
    record = stage.people["Ben"].ask(".#.query_binary CURV?").encode("latin-1")
    stage.tell(f"    Ben > .#.query_binary CURV?\n        {drawn(record)}")
    stage.check(len(record) == 1000, "the oscilloscope's 1000 bytes came as one block, whatever bytes they are")


def drawn(record: bytes, width: int = 72) -> str:
    """A record of signed bytes as one line of blocks."""
    levels = [record[index * len(record) // width] for index in range(width)]
    return "".join("▁▂▃▄▅▆▇█"[((level + 128) % 256) // 32] for level in levels)


def an_instrument_hangs(stage: Stage) -> None:
    generator = stage.instruments["waveform generator"]
    stage.tell("   Ann reads the multimeter every 20 ms from here on.")
    watch = Watch(stage.people["Ann"])
    watch.start()
    stage.ask("Ben", f".#.open_resource {generator}")
    before = stage.resource(generator)
    stage.tell("   Ben asks the generator something it answers byte by byte, for ever.", pause=0.5)
    stage.tell("   VISA's own timeout does not help: the library looks at it only when nothing comes.", pause=0.5)
    first, began = len(watch.milliseconds), time.monotonic()
    reply = stage.ask("Ben", ".#.query_resource SYST:BABBLE?")
    seconds = time.monotonic() - began
    during = watch.milliseconds[first:]
    stage.check("INSTRUMENT_HUNG" in reply, f"after {seconds:.1f} s the daemon killed the process that hung in there")
    stage.check("effect=maybe" in reply, "and says that the instrument may have acted on the command")
    stage.wait_until(lambda: stage.resource(generator).get("state") == "ready", "the generator comes back")
    after = stage.resource(generator)
    stage.check(after["pid"] != before["pid"], f"a new process (pid {after['pid']}) opened it again, by itself")
    reply = stage.ask("Ben", ".#.query_resource *IDN?")
    stage.check("WAVEFORM GENERATOR" in reply, "the generator answers as ever")
    watch.stop()
    stage.check(not watch.failures, f"meanwhile Ann made {len(watch.milliseconds)} readings, and none failed")
    stage.check(len(during) > 1, f"the slowest of {len(during)} during the hang took {max(during):.1f} ms")


def the_audit_log_tells_it(stage: Stage) -> None:
    generator = stage.instruments["waveform generator"]
    log = stage.run_dir / "audit.jsonl"

    def records() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in log.read_text().splitlines()]
        return [record for record in found if record.get("resource") == generator and record.get("name") != "Eve"]

    stage.wait_until(lambda: any("*IDN?" in record.get("command", "") for record in records()), "the log is complete")
    stage.tell(f"   {log.name}, where it speaks of the generator:")
    for record in records():
        moment = record["time"].partition("T")[2][:12]
        fields = [record.get(key) for key in ("event", "pid", "name", "command", "outcome", "effect")]
        stage.tell("   " + "  ".join([moment, *(str(field) for field in fields if field)]), pause=0.3)
    events = {record["event"] for record in records()}
    outcomes = {record.get("outcome") for record in records()}
    stage.check("INSTRUMENT_HUNG" in outcomes, "it says who hung it, with what, and when")
    stage.check({"hung", "killed", "restarted"} <= events, "and what the daemon did about it")


def it_ends_clean(stage: Stage) -> None:
    assert stage.daemon is not None
    family = [psutil.Process(stage.daemon.pid), *psutil.Process(stage.daemon.pid).children(recursive=True)]
    stage.check(stage.ask("Eve", ".!.end_daemon") == "ended", f"the daemon and its {len(family) - 1} children end")
    stage.check(stage.daemon.wait(DEADLINE) == 0, "exit code 0")
    gone, left = psutil.wait_procs(family, DEADLINE)
    stage.check(not left, f"none of the {len(gone)} processes is left")


SCENES: list[tuple[str, Callable[[Stage], None]]] = [
    ("A daemon starts, with a simulated bench", a_daemon_starts),
    ("Two people share instruments", two_people_share),
    ("One instrument hangs", an_instrument_hangs),
    ("The audit log tells the story", the_audit_log_tells_it),
    ("It ends clean", it_ends_clean),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo.sh", description="Tells what the daemon does, with a real one.")
    parser.add_argument("--fast", action="store_true", help="without the pauses that let a person read along")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instrument-demo-") as folder:
        stage = Stage(Path(folder) / "run", options.fast)
        try:
            for title, scene in SCENES:
                stage.tell(f"\n━━ {title}")
                scene(stage)
        except (StoryError, OSError, ValueError) as failure:
            print(f"   ✗ {failure}\n\nThe story broke off.", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        finally:
            stage.clear()
    print("\nEverything happened as told, and nothing is left running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
