"""Blocks through a daemon are read as they are here: value for value, status for status, failure for failure.

A program made of random reads runs with PyVISA's own backend and through a daemon, each on a connection of its own to
an instrument whose answers are blocks full of whatever may end a read.
"""

import contextlib
import random
import socketserver
import threading

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import BufferOperation, EventMechanism, EventType, ResourceAttribute

from tests.support.daemon import Daemon

#: PyVISA warns of viReads by hand that end at their count.
pytestmark = pytest.mark.filterwarnings("ignore::pyvisa.errors.VisaIOWarning")

#: What the blocks are made of: much that looks like an end, or like another block.
KINDS = {
    "lines": b"\n\n\n\nab",
    "any": bytes(range(256)),
    "few": bytes(range(256)) * 40 + b"\n",
    "blocks": b"#1234567890 ,;\"'\n",
    "none": b"x",
}


RECEIVED = (
    BufferOperation.discard_read_buffer
    | BufferOperation.discard_read_buffer_no_io
    | BufferOperation.discard_receive_buffer
    | BufferOperation.discard_receive_buffer2
)

#: Of one answer: it has 100 000 bytes, which come by the thousand or not at all.
MOST_STEPS = 200_000


def block(seed: int, size: int, kind: str) -> bytes:
    """A block of `size` bytes, the same for the same arguments, and the LF behind it."""
    data = bytes(random.Random(seed).choices(KINDS[kind], k=size))
    length = b"%d" % size
    return b"#%d" % len(length) + length + data + b"\n"


class Handler(socketserver.StreamRequestHandler):
    """CURV? SEED SIZE KIND; TEXT? ANYTHING gives that; PART? COUNT SEED SIZE KIND its first bytes, and no more."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            for line in self.rfile:
                self.wfile.write(self.answer(line.decode().rstrip("\n")))

    def answer(self, message: str) -> bytes:
        header, _, argument = message.partition(" ")
        if header == "TEXT?":
            return argument.encode() + b"\n"
        if header == "PART?":
            count, _, argument = argument.partition(" ")
            return self.answer(f"CURV? {argument}")[: int(count)]
        if header == "CURV?":
            seed, size, kind = argument.split()
            return block(int(seed), int(size), kind)
        return b""


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture(scope="module")
def curves():
    """The instrument's name."""
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"TCPIP0::127.0.0.1::{server.server_address[1]}::SOCKET"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("daemon") / "run", "--visa-library", "@py")
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()


class Program:
    """A session, and all that was seen by it."""

    def __init__(self, manager, name):
        self.resource = manager.open_resource(name, write_termination="\n", timeout=5000)
        self.library, self.session = self.resource.visalib, self.resource.session
        self.seen = []

    def sees(self, call, *arguments, **options):
        try:
            outcome = call(*arguments, **options)
        except pyvisa.VisaIOError as error:
            outcome = error.error_code
        except ValueError as error:
            outcome = str(error)
        self.seen.append((outcome, self.resource.last_status))
        return outcome

    def reads(self, count):
        """viRead; how many bytes it gave."""
        outcome = self.sees(self.library.read, self.session, count)
        return len(outcome[0]) if isinstance(outcome, tuple) else 0

    def ends_reads_at(self, character):
        """None: at nothing."""
        attribute, enabled = ResourceAttribute.termchar, ResourceAttribute.termchar_enabled
        if character is not None:
            self.library.set_attribute(self.session, attribute, character)
        self.library.set_attribute(self.session, enabled, character is not None)


def wanders(program, dice):
    """Asks for a block and reads it in whatever way comes; never for more than there is."""
    seed, kind = dice.randrange(1 << 30), dice.choice(list(KINDS))
    size = dice.choice([0, 1, 9, 10, 300, 5000, 20_000, dice.randrange(50_000)])
    left = len(block(seed, size, kind))
    program.resource.write(f"CURV? {seed} {size} {kind}")
    for _ in range(MOST_STEPS):
        if not left:
            return
        few = min(left, dice.choice([1, 2, 7, 100, 5000, 20_480]))
        match dice.choice(["viRead"] * 6 + ["bytes", "raw", "character", "rest", "nothing", "asks", "clears", "flush"]):
            case "viRead":
                got = program.reads(few)
                assert got, program.seen[-1]
                left -= got
            case "bytes":
                left -= len(program.sees(program.resource.read_bytes, few, chunk_size=dice.choice([3, 700, None])))
            case "raw":
                program.ends_reads_at(10)
                left -= len(program.sees(program.resource.read_raw, dice.choice([50, 20_480])))
            case "character":
                program.ends_reads_at(dice.choice([None, 10, 10, ord("a"), 0]))
            case "rest":
                program.ends_reads_at(None)
                left -= len(program.sees(program.resource.read_bytes, left))
            case "nothing":
                program.reads(0)
            case "asks":  # on a stream answers line up
                text = f"TEXT? {'y' * dice.randrange(30)}"
                program.resource.write(text)
                left += len(text) - 5
            case "clears":
                if dice.random() < 0.1:
                    program.resource.clear()
                    left = 0
            case "flush":
                mask = dice.choice(
                    [BufferOperation.flush_write_buffer, BufferOperation.flush_transmit_buffer],
                )
                program.sees(program.resource.flush, mask)
    raise AssertionError(f"{left} bytes never come: {program.seen[-1]}")


def asks_for_values(program, dice):
    """`query_binary_values`, as most programs do it."""
    program.resource.read_termination = "\n"
    program.resource.chunk_size = dice.choice([20, 1000, 20_480])
    size = dice.choice([0, 1, 10, 1000, 50_000])
    question = f"CURV? {dice.randrange(1 << 30)} {size} {dice.choice(list(KINDS))}"
    values = program.sees(program.resource.query_binary_values, question, datatype="B", container=bytes)
    assert len(values) == size
    program.sees(program.resource.query, "TEXT? next")


def both(daemon, name, play):
    """What two programs see that play the same: one here, one through the daemon."""
    seen = []
    for library in ("@py", f"{daemon.address}@daemon"):
        manager = pyvisa.ResourceManager(library)
        try:
            program = Program(manager, name)
            play(program)
            seen.append(program.seen)
        finally:
            manager.close()
    here, there = seen
    return here, there


def agree(daemon, name, play):
    here, there = both(daemon, name, play)
    for number, (mine, its) in enumerate(zip(here, there, strict=False)):
        assert its == mine, f"step {number} of {len(here)}"
    assert len(there) == len(here)


def rounds(seed, count):
    def play(program):
        dice = random.Random(seed)
        for _ in range(count):
            dice.choice([wanders, wanders, asks_for_values])(program, dice)

    return play


@pytest.mark.parametrize("seed", range(3))
def test_random_reads_of_blocks_see_the_same_through_a_daemon(daemon, curves, seed):
    """Counts, terminations and functions as they come."""
    agree(daemon, curves, rounds(seed, 12))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_random_reads_of_blocks_see_the_same_through_a_daemon(daemon, curves, seed):
    """For long."""
    agree(daemon, curves, rounds(seed, 100))


@pytest.mark.parametrize(
    "text", ["Slot #12", "SN #3100", "#", "5 #", "#6", "#5x", "a,#210", "#H20", "#15abc", "'#3100'"]
)
def test_text_that_looks_like_a_block_is_answered_as_here(daemon, curves, text):
    """And so is the question behind it: nobody waits for what does not come."""

    def play(program):
        program.resource.timeout = 400
        program.resource.read_termination = "\n"
        for _ in range(2):
            program.sees(program.resource.query, f"TEXT? {text}")
            program.sees(program.resource.query, "TEXT? next")

    agree(daemon, curves, play)


def reads_text(program, count):
    program.resource.read_termination = "\n"
    for number in range(3):
        program.resource.write(f"TEXT? {'0.125,' * 2000}{number}")
        program.reads(count)
        while program.resource.last_status != constants.StatusCode.success_termination_character_read:
            program.reads(count)


@pytest.mark.parametrize("count", [1, 7, 1000, 20_480])
def test_text_is_read_as_here(daemon, curves, count):
    """However little is asked for at once: a byte at a time in a program is not one on the way to the instrument."""
    agree(daemon, curves, lambda program: reads_text(program, count))


def test_bytes_that_a_program_leaves_of_a_text_are_its_next_answer(daemon, curves):
    """As on any stream."""

    def play(program):
        program.resource.read_termination = "\n"
        program.resource.write("TEXT? 0123456789")
        program.sees(program.resource.read_bytes, 4)
        program.sees(program.resource.query, "TEXT? next")
        program.sees(program.resource.read)
        program.sees(program.resource.query, "TEXT? last")

    agree(daemon, curves, play)


def test_answer_that_ends_at_a_number_sign_is_all_there_is(daemon, curves):
    """A prompt, say; the LF is left for the next read."""

    def play(program):
        program.resource.timeout = 400
        program.resource.read_termination = "#"
        program.resource.write("TEXT? ready #")
        program.sees(program.resource.read_raw)
        program.sees(program.resource.read_bytes, 1)
        program.sees(program.resource.query, "TEXT? once more #")

    agree(daemon, curves, play)


@pytest.mark.parametrize("count", [100, 3007, 20_487])
def test_instrument_that_stops_within_a_block_times_out_when_its_bytes_are_used_up(daemon, curves, count):
    """Not before."""

    def play(program):
        program.resource.timeout = 200
        program.resource.write(f"PART? {count} 1 30000 none")
        while program.reads(50):
            pass
        program.resource.clear()
        program.sees(program.resource.query, "TEXT? next")

    agree(daemon, curves, play)


@pytest.mark.parametrize("mask", list(BufferOperation))
def test_flush_within_a_block_drops_what_was_received_and_nothing_else(daemon, curves, mask):
    """Which that is here depends on what had arrived, so what is left of the block then is not compared."""

    def play(program):
        program.resource.read_termination = "\n"
        program.resource.write("CURV? 1 5000 lines")
        program.sees(program.resource.read_bytes, 100)
        program.sees(program.resource.flush, mask)
        if mask & RECEIVED:
            program.resource.clear()
        else:
            program.sees(program.resource.read_bytes, len(block(1, 5000, "lines")) - 100)
        program.sees(program.resource.query, "TEXT? next")

    agree(daemon, curves, play)


def test_flush_of_received_bytes_leaves_nothing_of_what_came_ahead(daemon, curves):
    """Whoever flushes does not want it."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    try:
        program = Program(manager, curves)
        program.resource.write("CURV? 1 5000 lines")
        program.resource.read_bytes(100, chunk_size=100)
        program.resource.flush(BufferOperation.discard_receive_buffer)
        program.resource.write("TEXT? next")
        program.resource.read_termination = "\n"
        left = program.resource.read_bytes(300, break_on_termchar=True)
        while not left.endswith(b"next\n"):
            left += program.resource.read_raw()
        assert len(left) < 4000
    finally:
        manager.close()


def test_asynchronous_read_within_a_block_goes_on_where_the_last_read_ended(daemon, curves):
    """Its completion has the bytes and the status of viRead."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    try:
        program = Program(manager, curves)
        whole = block(5, 5000, "lines")
        program.resource.enable_event(EventType.io_completion, EventMechanism.queue)
        program.resource.write("CURV? 5 5000 lines")
        position = program.reads(100)
        for count in (50, 500, 10_000):
            buffer, job, _ = program.library.read_asynchronously(program.session, min(count, len(whole) - position))
            response = program.resource.wait_on_event(EventType.io_completion, 5000)
            event = response.event
            got = event.get_visa_attribute(pyvisa.constants.EventAttribute.return_count)
            assert event.get_visa_attribute(pyvisa.constants.EventAttribute.job_id) == job
            assert bytes(buffer)[:got] == whole[position : position + got]
            position += got
            position += program.reads(min(20, len(whole) - position))
        assert position == len(whole)
    finally:
        manager.close()


def test_two_clients_with_blocks_on_one_instrument_get_their_own(daemon, curves):
    """Not a byte of each other's, however they read."""
    failures = []

    def reads(host, seed):
        manager = pyvisa.ResourceManager(f"{host}:{daemon.port}@daemon")
        try:
            program, dice = Program(manager, curves), random.Random(seed)
            program.resource.timeout = 30_000
            for number in range(25):
                size, kind = dice.choice([10, 500, 30_000]), dice.choice(list(KINDS))
                whole = block(seed + number, size, kind)
                program.resource.read_termination = dice.choice(["\n", None])
                program.resource.write(f"CURV? {seed + number} {size} {kind}")
                data = b""
                while len(data) < len(whole):
                    count = min(len(whole) - len(data), dice.choice([8, 300, 20_480]))
                    data += program.library.read(program.session, count)[0]
                assert data == whole, f"block {number} of {host}"
        except BaseException as failure:
            failures.append(failure)
        finally:
            manager.close()

    threads = [threading.Thread(target=reads, args=each) for each in (("localhost", 1000), ("127.0.0.1", 2000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures, failures


def test_block_is_one_record_for_each_read_that_went_to_the_instrument(daemon, curves):
    """Far fewer than its line feeds: this is what reading ahead is for."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    try:
        program = Program(manager, curves)
        program.resource.read_termination = "\n"
        data = program.resource.query_binary_values("CURV? 77 20000 lines", datatype="B", container=bytes)
        assert data.count(b"\n") > 10_000
    finally:
        manager.close()
    daemon.wait_for_audit(command="write_read 20480 CURV? 77 20000 lines")
    reads = [record for record in daemon.audit(event="command") if record["command"].startswith("read 20480")]
    assert len(reads) < 2000
