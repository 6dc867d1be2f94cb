"""The VXI-11 server, spoken to by pyvisa-py's client, which knows nothing of our code."""

import contextlib
import itertools
import threading

import pytest
from pyvisa_py.protocols import rpc, vxi11
from pyvisa_py.tcpip import Vxi11CoreClient

from tests.support.vxi11 import ABORT, END, MAX_RECEIVE_SIZE, TERM_CHAR_SET, WAIT_LOCK
from tests.support.vxi11_link import (
    ABORTED,
    INVALID_LINK,
    IO_TIMEOUT,
    LOCKED,
    MESSAGE_AVAILABLE,
    MESSAGE_END,
    NOT_LOCKED,
    NOT_SUPPORTED,
    REQUEST_COUNT,
    REQUEST_SERVICE,
    TERM_CHAR,
)
from tests.support.waiting import wait_until

PATIENCE_MS = 20_000
NO_LOCK_WAIT = (0, 0)


class Opened:
    """One connection with one link."""

    def __init__(self, port, *, wants_lock=False):
        self.client = Vxi11CoreClient("127.0.0.1", port)
        self.error, self.link, self.abort_port, self.receive_size = self.client.create_link(1, wants_lock, 0, "inst0")

    def write(self, data, flags=END, lock_timeout_ms=0):
        return self.client.device_write(self.link, PATIENCE_MS, lock_timeout_ms, flags, data)

    def read(self, count=1000, timeout_ms=PATIENCE_MS, flags=0, term_char=0):
        return self.client.device_read(self.link, count, timeout_ms, 0, flags, term_char)

    def ask(self, message):
        assert self.write(message) == (0, len(message))
        error, reason, data = self.read()
        assert (error, reason) == (0, MESSAGE_END)
        return data

    def status_byte(self):
        error, status_byte = self.client.device_read_stb(self.link, *NO_LOCK_WAIT, PATIENCE_MS)
        assert error == 0
        return status_byte

    def clear(self):
        return self.client.device_clear(self.link, *NO_LOCK_WAIT, PATIENCE_MS)


@pytest.fixture
def instrument(vxi11):
    return vxi11


@pytest.fixture
def open_link(instrument):
    """Opens links, each on a connection of its own."""
    with contextlib.ExitStack() as stack:

        def open_link(**options):
            opened = Opened(instrument.vxi11_port, **options)
            stack.callback(opened.client.close)
            return opened

        yield open_link


@pytest.fixture
def link(open_link):
    return open_link()


def test_link_is_made_with_what_a_client_must_know(link):
    """An abort channel's port, and how much a device_write may carry."""
    assert link.error == 0
    assert link.abort_port > 0
    assert link.receive_size == MAX_RECEIVE_SIZE


def test_message_is_gathered_until_end(link, instrument):
    """Whatever number of calls it takes."""
    link.write(b"ECHO? in ", flags=0)
    link.write(b"two pieces", flags=0)
    assert instrument.history() == []
    assert link.ask(b"\n") == b"in two pieces\n"


@pytest.mark.parametrize(
    ("count", "flags", "reason", "data"),
    [
        (4, 0, REQUEST_COUNT, b"one,"),
        (100, 0, MESSAGE_END, b"one,two\n"),
        (8, 0, REQUEST_COUNT | MESSAGE_END, b"one,two\n"),
        (100, TERM_CHAR_SET, TERM_CHAR, b"one,"),
        (4, TERM_CHAR_SET, TERM_CHAR | REQUEST_COUNT, b"one,"),
        (3, TERM_CHAR_SET, REQUEST_COUNT, b"one"),
    ],
)
def test_read_ends_for_a_reason(link, count, flags, reason, data):
    """What it leaves is read next."""
    link.write(b"ECHO? one,two")
    assert link.read(count, flags=flags, term_char=ord(",")) == (0, reason, data)
    rest = b"one,two\n"[len(data) :]
    if rest:
        assert link.read() == (0, MESSAGE_END, rest)


def test_read_ends_with_its_answer_and_not_with_the_next(link):
    """END separates them in the queue."""
    link.write(b"ECHO? one")
    link.write(b"ECHO? two")
    assert [link.read()[2], link.read()[2]] == [b"one\n", b"two\n"]


def test_read_that_times_out_leaves_what_comes_later(link):
    """The late answer is the next one's, if nobody clears."""
    link.write(b"SLOW? 300,late")
    assert link.read(timeout_ms=10)[:2] == (IO_TIMEOUT, 0)
    assert link.ask(b"ECHO? prompt") == b"late\n"
    assert link.read() == (0, MESSAGE_END, b"prompt\n")


def test_answer_without_end_is_not_read_as_a_message(link):
    """Its bytes are there for a read that asks for no more."""
    link.write(b"HALF? part")
    assert link.read(timeout_ms=10)[0] == IO_TIMEOUT
    assert link.read(2) == (0, REQUEST_COUNT, b"pa")
    assert link.status_byte() == MESSAGE_AVAILABLE


def test_status_byte_tells_of_an_answer_and_keeps_a_service_request_until_it_is_polled(link):
    """IEEE 488.2 11.2: MAV stays for as long as there is something to read."""
    assert link.status_byte() == 0
    link.write(b"SRQ? 10,ready")
    polled = wait_until(link.status_byte)
    assert polled == REQUEST_SERVICE | MESSAGE_AVAILABLE
    assert link.status_byte() == MESSAGE_AVAILABLE
    link.read()
    assert link.status_byte() == 0


def test_device_clear_throws_away_what_waits_and_what_is_being_executed(link, instrument):
    """Half a message, messages not begun, a slow answer, an answer not read."""
    link.write(b"ECHO? unread")
    link.write(b"SLOW? 20000,never")
    link.write(b"ECHO? not begun")
    link.write(b"ECHO? half", flags=0)
    wait_until(lambda: instrument.count("SLOW?"))
    assert link.clear() == 0
    assert link.status_byte() == 0
    assert link.ask(b"ECHO? after") == b"after\n"
    assert instrument.history() == ["ECHO? unread", "SLOW? 20000,never", "ECHO? after"]


def test_trigger_reaches_the_instrument(link):
    """Each once."""
    for _ in range(2):
        assert link.client.device_trigger(link.link, *NO_LOCK_WAIT, PATIENCE_MS) == 0
    assert link.ask(b"TRIGGERS?") == b"2\n"


def test_remote_and_local_are_taken(link):
    """There is no front panel."""
    assert link.client.device_remote(link.link, *NO_LOCK_WAIT, PATIENCE_MS) == 0
    assert link.client.device_local(link.link, *NO_LOCK_WAIT, PATIENCE_MS) == 0


def test_lock_keeps_other_links_out(open_link):
    """For all that touches the device; it is the holder's to release."""
    holder, other = open_link(), open_link()
    assert holder.client.device_lock(holder.link, 0, 0) == 0
    assert other.write(b"*IDN?") == (LOCKED, 0)
    assert other.read() == (LOCKED, 0, b"")
    assert other.clear() == LOCKED
    assert other.client.device_lock(other.link, 0, 0) == LOCKED
    assert other.client.device_unlock(other.link) == NOT_LOCKED
    assert holder.ask(b"ECHO? mine") == b"mine\n"
    assert holder.client.device_unlock(holder.link) == 0
    assert other.ask(b"ECHO? yours") == b"yours\n"


@pytest.mark.parametrize("end", ["destroy_link", "close"])
def test_lock_ends_with_its_link(open_link, end):
    """Whether the link is destroyed or its connection lost; who waits for it gets it."""
    holder, other = open_link(wants_lock=True), open_link()
    assert other.write(b"*IDN?") == (LOCKED, 0)
    errors = []
    waiting = threading.Thread(target=lambda: errors.append(other.client.device_lock(other.link, WAIT_LOCK, 3000)))
    waiting.start()
    holder.client.destroy_link(holder.link) if end == "destroy_link" else holder.client.close()
    waiting.join()
    assert errors == [0]


def test_link_with_a_lock_is_not_made_while_another_has_it(open_link):
    """Nor is one without the lock left in its place."""
    open_link(wants_lock=True)
    assert open_link(wants_lock=True).error == LOCKED


def test_abort_ends_a_read_that_waits(link):
    """It comes on a connection of its own; with no read under way it is a success and means nothing."""
    results = []
    reading = threading.Thread(target=lambda: results.append(link.read()))
    channel = rpc.RawTCPClient("127.0.0.1", *ABORT, link.abort_port)
    channel.packer, channel.unpacker = vxi11.Vxi11Packer(), vxi11.Vxi11Unpacker(b"")

    def abort(number):
        return channel.make_call(1, number, channel.packer.pack_device_link, channel.unpacker.unpack_device_error)

    assert abort(link.link) == 0
    assert abort(link.link + 1) == INVALID_LINK
    reading.start()
    wait_until(lambda: abort(link.link) == 0 and results)
    assert results == [(ABORTED, 0, b"")]
    reading.join()
    channel.close()
    assert link.ask(b"ECHO? after") == b"after\n"


def test_unknown_link_is_an_error(link):
    """A destroyed one is unknown."""
    assert link.client.destroy_link(link.link) == 0
    assert link.write(b"*IDN?") == (INVALID_LINK, 0)
    assert link.client.destroy_link(link.link) == INVALID_LINK


def test_what_is_not_there_is_refused(link):
    """By an error in its own reply, not by the call's failure."""
    assert link.client.device_docmd(link.link, 0, PATIENCE_MS, 0, 0, True, 1, b"") == (NOT_SUPPORTED, b"")
    assert link.client.device_enable_srq(link.link, True, b"handle") == NOT_SUPPORTED
    assert link.client.destroy_intr_chan() == NOT_SUPPORTED


def test_connection_that_is_told_to_stall_answers_no_call(link, open_link):
    """pyvisa-py's client gives up a second after the read's own timeout; another connection is served."""
    link.write(b"STALL")
    assert link.read(timeout_ms=10)[0] == vxi11.ErrorCodes.io_error
    assert open_link().ask(b"ECHO? another") == b"another\n"


def test_links_of_one_instrument_have_queues_of_their_own(open_link, instrument):
    """What was set and counted is shared."""
    links = [open_link() for _ in range(3)]
    for number, link in enumerate(links):
        link.write(f"ECHO? {number}".encode())
    assert [link.read()[2] for link in links] == [b"0\n", b"1\n", b"2\n"]
    assert instrument.count("ECHO?") == 3


def test_long_message_comes_in_pieces(link):
    """Both ways."""
    message = b"LOAD #550000" + bytes(50_000)
    pieces = [message[start : start + MAX_RECEIVE_SIZE] for start in range(0, len(message), MAX_RECEIVE_SIZE)]
    for piece, is_last in zip(pieces, itertools.chain([False] * (len(pieces) - 1), [True]), strict=True):
        assert link.write(piece, flags=END if is_last else 0) == (0, len(piece))
    assert link.ask(b"LOAD?") == b"50000\n"
    link.write(b"BLOCK? 50000")
    read = b""
    reason = 0
    while not reason & MESSAGE_END:
        error, reason, data = link.read(7000)
        assert error == 0
        read += data
    assert len(read) == len("#550000") + 50_000 + len("\n")
