"""A stock PyVISA program that reads or writes one message of SIZE bytes: ADDRESS RESOURCE HOW SIZE.

HOW is a row of WAYS. Says "ready" and waits for a line; then says how many bytes it read or wrote, and their SHA-256.
"""

import hashlib
import json
import sys

import pyvisa

from tests.daemon.programs.bulk_instrument import pattern

#: Bytes that viRead is asked for at once, where it is not told otherwise.
CHUNK = 1 << 20


def read_raw(instrument, size):
    instrument.write(f"BULK? {size}")
    data = instrument.read_raw(CHUNK).removesuffix(b"\n")
    return data[2 + int(data[1:2]) :]


def query_binary_values(instrument, size):
    return instrument.query_binary_values(f"BULK? {size}", datatype="s", container=bytes, chunk_size=CHUNK)


def read_bytes(instrument, size):
    """All in one viRead, whatever bytes there are: only the count ends it."""
    instrument.read_termination = None
    instrument.write(f"RAW? {size}")
    data = instrument.read_bytes(size, chunk_size=size)
    assert instrument.read_bytes(1) == b"\n"
    return data


def read_slowly(instrument, size):
    """All in one viRead, from an instrument that takes its time."""
    instrument.read_termination = None
    header = f"#{len(str(size))}{size}"
    instrument.write(f"PACED? {size}")
    data = instrument.read_bytes(len(header) + size + 1, chunk_size=len(header) + size + 1)
    return data[len(header) : -1]


def write_raw(instrument, size):
    data = b"".join(pattern(size, has_lf=True))
    instrument.write_raw(b"LOAD #%d%d%b\n" % (len(str(size)), size, data))
    return data


def write_binary_values(instrument, size):
    data = b"".join(pattern(size, has_lf=True))
    instrument.write_binary_values("LOAD ", data, datatype="B")
    return data


WAYS = {way.__name__: way for way in (read_raw, query_binary_values, read_bytes, read_slowly, write_raw)}
WAYS["write_binary_values"] = write_binary_values


def main(address: str, resource: str, how: str, size: str) -> None:
    manager = pyvisa.ResourceManager(f"{address}@daemon")
    options = {"read_termination": "\n", "write_termination": "\n"}
    instrument = manager.open_resource(resource, timeout=20_000, **options)
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    data = WAYS[how](instrument, int(size))
    print(json.dumps([len(data), hashlib.sha256(data).hexdigest()]), flush=True)
    instrument.read_termination = "\n"
    assert instrument.query("ECHO? after it") == "after it"


if __name__ == "__main__":
    main(*sys.argv[1:])
