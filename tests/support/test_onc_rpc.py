"""Remote procedure calls, as their RFCs have them, byte by byte where pyvisa-py's client would not look."""

import asyncio
import socket

import pytest

from tests.support.onc_rpc import Arguments, Program, converse, opaque, port_mapper, serve, word

NO_AUTHENTICATION = bytes(16)
ACCEPTED = word(1) + word(0) + bytes(8)  # a reply, accepted, no verifier


def call(program, version, procedure, arguments=b"", *, transaction=7, rpc_version=2):
    words = (transaction, 0, rpc_version, program, version, procedure)
    return b"".join(map(word, words)) + NO_AUTHENTICATION + arguments


async def double(arguments):
    return word(2 * arguments.word())


DOUBLING = Program(99, 3, {5: double})


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (call(99, 3, 5, word(21)), word(7) + ACCEPTED + word(0) + word(42)),
        (call(99, 3, 0), word(7) + ACCEPTED + word(0)),
        (call(98, 3, 5), word(7) + ACCEPTED + word(1)),
        (call(99, 4, 5), word(7) + ACCEPTED + word(2) + word(3) + word(3)),
        (call(99, 3, 6), word(7) + ACCEPTED + word(3)),
        (call(99, 3, 5, b"\0\0"), word(7) + ACCEPTED + word(4)),
        (call(99, 3, 5, rpc_version=3), word(7) + word(1) + word(1) + word(0) + word(2) + word(2)),
        (word(7) + word(1), None),
        (b"\0", None),
    ],
    ids=["answered", "null", "program", "version", "procedure", "arguments", "rpc version", "a reply", "half a call"],
)
def test_program_replies_to_a_call(request_, reply):
    """And says nothing to what is no call."""
    assert asyncio.run(DOUBLING.reply(request_)) == reply


@pytest.mark.parametrize(("protocol", "port"), [(6, 4711), (17, 0)], ids=["tcp", "udp"])
def test_port_mapper_tells_the_port_of_a_program(protocol, port):
    """By TCP only; 0 is nowhere."""
    asked = word(99) + word(3) + word(protocol) + word(0)
    reply = asyncio.run(port_mapper({(99, 3): 4711}).reply(call(100000, 2, 3, asked)))
    assert reply == word(7) + ACCEPTED + word(0) + word(port)


@pytest.mark.parametrize("data", [b"", b"a", b"abcd", b"abcde"])
def test_opaque_is_padded_to_words(data):
    """And what follows it is found."""
    packed = opaque(data) + word(9)
    arguments = Arguments(packed)
    assert len(packed) % 4 == 0
    assert (arguments.opaque(), arguments.word()) == (data, 9)


def test_conversation_joins_fragments_and_answers_one_call_after_another():
    """RFC 5531, 11: only the last fragment's header has its first bit set."""

    async def play():
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        serving = asyncio.create_task(serve(listener, lambda *streams: converse(DOUBLING, *streams)))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        first, second = call(99, 3, 5, word(1), transaction=1), call(99, 3, 5, word(2), transaction=2)
        writer.write(word(10) + first[:10] + word(0x8000_0000 | len(first[10:])) + first[10:])
        writer.write(word(0x8000_0000 | len(second)) + second)
        replies = [await reader.readexactly(32) for _ in range(2)]
        writer.close()
        await writer.wait_closed()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()
        return replies

    first, second = asyncio.run(play())
    assert first == word(0x8000_001C) + word(1) + ACCEPTED + word(0) + word(2)
    assert second == word(0x8000_001C) + word(2) + ACCEPTED + word(0) + word(4)
