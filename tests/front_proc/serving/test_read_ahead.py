"""What was read ahead is read as from the instrument: in order, by counts, with viRead's statuses."""

from hypothesis import given
from hypothesis import strategies as st

from front_proc.serving.read_ahead import ReadAhead
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT

TERM_CHAR = 0x3FFF0005

messages = st.lists(st.tuples(st.binary(max_size=20), st.sampled_from([0, TERM_CHAR])), max_size=5)
counts = st.lists(st.one_of(st.none(), st.integers(0, 25)), max_size=40)


def ahead_with(*given_messages):
    ahead = ReadAhead()
    for message, status in given_messages:
        ahead.add(message, status)
    return ahead


def test_nothing_is_ahead_at_first():
    """The read goes to the instrument."""
    assert not ReadAhead()


def test_message_is_there_until_it_was_taken_to_its_end():
    """Also one without bytes: that the message ended is something to be read."""
    ahead = ahead_with((b"5.0\n", TERM_CHAR), (b"", 0))
    assert ahead.take(1000) == (b"5.0\n", TERM_CHAR)
    assert ahead
    assert ahead.take(1000) == (b"", 0)
    assert not ahead


def test_count_ends_a_read_before_the_message_does():
    """viRead: as many bytes as were asked for, and the message goes on."""
    ahead = ahead_with((b"12345", 0))
    assert ahead.take(2) == (b"12", VI_SUCCESS_MAX_CNT)
    assert ahead.take(2) == (b"34", VI_SUCCESS_MAX_CNT)
    assert ahead.take(2) == (b"5", 0)


def test_count_that_is_just_enough_reads_the_message_to_its_end():
    """END came with the last byte."""
    ahead = ahead_with((b"12345", 0), (b"6", 0))
    assert ahead.take(5) == (b"12345", 0)
    assert ahead.take(5) == (b"6", 0)


def test_clear_leaves_nothing():
    """Nobody will ask for it any more; what comes next is read from its beginning."""
    ahead = ahead_with((b"12", 0), (b"3", 0))
    ahead.take(1)
    ahead.clear()
    assert not ahead
    ahead.add(b"45", 0)
    assert ahead.take(2) == (b"45", 0)


def test_size_is_of_all_that_is_kept():
    """It has a limit."""
    ahead = ahead_with((b"12", 0), (b"3", 0))
    assert ahead.size == 3
    ahead.take(2)
    assert ahead.size == 1
    ahead.clear()
    assert ahead.size == 0


@given(messages, counts)
def test_reads_give_all_messages_in_their_order_whatever_the_counts(given_messages, given_counts):
    """No byte is lost, none twice; no read goes beyond its count or its message's end, which its status tells."""
    ahead, taken, left = ahead_with(*given_messages), b"", [message for message, _ in given_messages]
    statuses = [status for _, status in given_messages]
    for count in given_counts:
        if not ahead:
            break
        data, status = ahead.take(count)
        taken += data
        assert count is None or len(data) <= count
        assert left[0].startswith(data)
        left[0] = left[0][len(data) :]
        if status == VI_SUCCESS_MAX_CNT:
            assert left[0]
            assert len(data) == count
        else:
            assert (left.pop(0), status) == (b"", statuses.pop(0))
    assert bool(ahead) == bool(left)
    assert taken + b"".join(left) == b"".join(message for message, _ in given_messages)
