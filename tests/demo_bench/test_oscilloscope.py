"""The oscilloscope's record, fetched with plain pyvisa-py."""

import math

import pytest


@pytest.fixture
def oscilloscope(bench, open_resource):
    return open_resource("@py", bench.names["oscilloscope"])


def test_record_holds_every_byte_value(oscilloscope):
    """LF and NUL are among them: whoever takes a block for a line is found out."""
    oscilloscope.write("CURV?")
    raw = oscilloscope.read_bytes(len("#41000") + 1000 + 1)
    assert raw.startswith(b"#41000")
    assert raw.endswith(b"\n")
    assert set(raw[6:-1]) == set(range(256))


@pytest.mark.parametrize("query", ["CURV?", "curve?", "WAV:DATA?", ":WAVEFORM:DATA?"])
def test_record_is_the_signal_when_scaled_by_the_preamble(oscilloscope, query):
    """1 kHz, 2 V: the preamble's increments turn levels into volts and points into seconds."""
    levels = oscilloscope.query_binary_values(query, datatype="b")
    _, _, points, _, seconds, _, _, volts, _, _ = map(float, oscilloscope.query("WAV:PRE?").split(","))
    assert len(levels) == points
    for point, level in enumerate(levels):
        assert level * volts == pytest.approx(2 * math.sin(2 * math.pi * 1000 * point * seconds), abs=2 * volts)


def test_record_has_as_many_points_as_set(oscilloscope):
    """The largest record is a megabyte, for whoever wants to see one travel."""
    oscilloscope.timeout = 20_000
    oscilloscope.write("ACQ:POIN 1000000")
    assert len(oscilloscope.query_binary_values("CURV?", datatype="b")) == 1_000_000


def test_record_is_cut_at_the_edge_when_the_scale_is_too_fine(oscilloscope):
    """As on a real screen."""
    oscilloscope.write("CHAN1:SCAL 0.1")
    levels = oscilloscope.query_binary_values("CURV?", datatype="b")
    assert max(levels) == 127
    assert min(levels) == -128
