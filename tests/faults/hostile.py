"""What a port gets to hear from strangers: seeds and words for the fuzzer, and byte strings by number."""

import random

import msgspec

from front_proc.languages.text_commands import COMMANDS
from pyvisa_daemon import wire
from pyvisa_daemon.framing import frame

#: Those that any client may say and that do not end the daemon.
VERBS = [row.verb for rows in COMMANDS.values() for row in rows.values() if row.verb not in ("end_daemon", "drain")]

#: Of the text protocol: pieces of its lines, each beside what it may be taken for.
_TEXT_WORDS = [
    *(word.encode() for verb in VERBS for word in (f".#.{verb} ", f"...{verb} ", f".!.{verb} ")),
    *(b"\n", b"\r\n", b"\r", b"\0", b" ", b",", b'"', b"'", b"@"),
    *(b"#0", b"#1", b"#15hello", b"#9000000001x", b"#9999999999", b"#800000000", b"\xff\xfe", b"\xc3\x28"),
    *("\u0663".encode(), "\uff11".encode(), b"inf", b"-1", b"4294967295", b"99999999999", b"1e9", b"none", b"\\x4"),
    *(b"shared ", b"tagged", b"plain", b"nonsense", b"*IDN?", b":", b"%s{0}"),
]

#: What a field of the wire may hold.
_NUMBERS = (0, 1, 2, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63), 2**64 - 1)
_VALUES = (*_NUMBERS, None, True, 1.5, float("inf"), float("nan"), "", "x", b"", b"x", [], [1], {}, ["a"])
_REQUESTS = (wire.Hello, *wire.Request.__args__)

_HELLO = wire.MAGIC + wire.encode(wire.Hello(wire.VERSION))


def _fits(value: object, kind: object) -> bool:
    try:
        msgspec.convert(value, kind)  # type: ignore[call-overload]
    except msgspec.ValidationError:
        return False
    return True


class Stranger:
    """Knows the name of one resource, and both languages a little."""

    def __init__(self, resource: str) -> None:
        name = resource.encode()
        self._values = (*_VALUES, resource)
        self._opened = _HELLO + wire.encode(wire.Open(1, resource, 0, 0))
        self.text_words = [*_TEXT_WORDS, name, b"@" + name + b" "]
        self.text_seeds = [
            *(f".#.{verb}\n".encode() for verb in VERBS),
            b".#.open_resource " + name + b"\n.#.query_resource *IDN?\n.#.timeout 5\n.#.lock\n.#.lock shared A 5\n",
            b".#.open_resource " + name + b"\r\n.#.write_binary CURV #15a\nb\r\n\r\n.#.query_binary C?\r\n",
            b".#.open_resource " + name + b"\n.#.termination \\r\\n none\n.#.wait_srq 5\n.#.stb\n.#.clear\n",
            b"...open " + name + b"\n*IDN?\nCONF\n...sta\n...help\n",
            b".!.status\n.!.restart x\n.#.mode tagged\n.#.hello a\n.#.nonsense\n",
            b".#.ping",
        ]
        write, read, lock = wire.Write(2, 1, b"b"), wire.Read(3, 1, 9, 2), wire.Lock(2, 1, 1, 5, None)
        self.wire_words = [wire.MAGIC, b"\0\0\0\0", b"\x7f\xff\xff\xff", *map(self.message, range(500))]
        self.wire_seeds = [
            wire.MAGIC,
            _HELLO,
            *(self._opened + self.message(number) for number in range(500, 600)),
            self._opened + b"".join(map(wire.encode, (wire.Part(2, b"a"), write, read))),
            self._opened + b"".join(map(wire.encode, (lock, wire.Unlock(3, 1), wire.Abandon(2)))),
        ]

    def message(self, number: int) -> bytes:
        """Of the wire, and nearly right: as many fields as there may be, mostly of the right type."""
        chance = random.Random(number)
        row = chance.choice(_REQUESTS)
        fields = []
        for field in msgspec.structs.fields(row):
            fitting = [value for value in self._values if _fits(value, field.type)]
            fields.append(chance.choice(fitting if fitting and chance.random() < 0.9 else self._values))
        return frame(msgspec.msgpack.encode([row.__struct_config__.tag, *fields]))

    def says(self, number: int) -> bytes:
        """Random bytes, words in random order, messages that are nearly right, or all of it."""
        chance = random.Random(number)
        kind = number % 4
        if kind == 0:
            return chance.randbytes(chance.randrange(1, 2000))
        if kind == 1:
            return b".#." + b"".join(chance.choices(self.text_words, k=chance.randrange(1, 30)))
        if kind == 2:
            return self._opened + b"".join(self.message(chance.getrandbits(32)) for _ in range(chance.randrange(1, 20)))
        pieces = [chance.choice(self.text_seeds + self.wire_seeds), chance.randbytes(chance.randrange(100)), b"\n"]
        return chance.choice([b".#.", b"...", b".!.", wire.MAGIC, _HELLO]) + b"".join(chance.choices(pieces, k=5))
