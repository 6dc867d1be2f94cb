"""SCPI messages and their execution, without any socket."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo_bench.generator import Generator
from demo_bench.scpi import Command, block, commands, end_of_message, spellings


def ask(instrument: Generator, message: bytes) -> bytes | None:
    return asyncio.run(instrument.answer(cast(Any, None), message))


def test_header_is_spelled_short_and_long():
    """As SCPI manuals write them: capitals are the short form."""
    assert spellings("CHANnel1:SCALe") == ["CHAN1:SCAL", "CHAN1:SCALE", "CHANNEL1:SCAL", "CHANNEL1:SCALE"]
    assert spellings("*IDN?") == ["*IDN?"]


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_message_ends_after_its_block_whatever_bytes_that_holds(content, following):
    """No LF inside a block ends the message, and nothing short of the whole message does."""
    message = b"DATA:VOL " + block(content) + b"\n"
    assert end_of_message(message + following) == len(message)
    assert not any(end_of_message(message[:length]) for length in range(len(message)))
    assert list(commands(message[:-1])) == [Command("DATA:VOL", "", content)]


@pytest.mark.parametrize("message", [b"ECHO? #none\n", b"ECHO? #3a\n", b"ECHO? a#11\n", b"*IDN?\n", b"\n"])
def test_message_ends_at_lf_when_it_holds_no_block(message):
    """A `#` alone makes no block: there must be a blank or comma before it, and a length behind it."""
    assert end_of_message(message + b"FREQ 1\n") == len(message)


def test_answers_come_in_one_line_when_the_message_holds_several_queries():
    """IEEE 488.2: response units are separated by semicolons."""
    assert ask(Generator(), b"FREQ 2e3;:frequency?; OUTP ON;outp?;FUNC squ;FUNC?") == b"2000;1;SQU"


@pytest.mark.parametrize(
    ("message", "error", "event"),
    [
        (b"SING 1", b'-113,"Undefined header"', b"32"),
        (b"FREQ", b'-109,"Missing parameter"', b"32"),
        (b"FREQ high", b'-104,"Data type error"', b"32"),
        (b"FREQ 1e99", b'-222,"Data out of range"', b"16"),
        (b"FUNC TRIANGLE", b'-224,"Illegal parameter value"', b"16"),
        (b"OUTP 2", b'-224,"Illegal parameter value"', b"16"),
        (b"\xff\xfe?", b'-113,"Undefined header"', b"32"),
    ],
)
def test_error_is_queued_when_a_command_fails(message, error, event):
    """It answers nothing, and says in the queue and the registers what was wrong."""
    generator = Generator()
    assert ask(generator, message) is None
    assert ask(generator, b"*STB?") == b"4"
    assert ask(generator, b"SYST:ERR?") == error
    assert ask(generator, b"*ESR?;SYSTEM:ERROR?") == event + b';+0,"No error"'


def test_settings_are_the_defaults_when_reset():
    """*RST; and *CLS empties the error queue."""
    generator = Generator()
    ask(generator, b"FREQ 5;WHAT")
    assert ask(generator, b"*RST;*CLS;FREQ?;SYST:ERR?") == b'1000;+0,"No error"'
