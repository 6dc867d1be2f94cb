"""Is it one of PyVISA's own queries that writes? Then its read follows at once, and takes the message along.

Runs in the user's process, under `highlevel`. PyVISA's queries are a write and a read to a library, and a library is
not told which writes are theirs. Sent apart, the daemon carries out the write before the read is there, at the price of
one more way through everything. A query that is not recognised, because a driver has functions of its own on the way
from the question to the answer, is sent as a write and a read.
"""

from types import FrameType

from pyvisa.resources import MessageBasedResource

_WRITE, _WRITE_RAW = MessageBasedResource.write.__code__, MessageBasedResource.write_raw.__code__

#: PyVISA's methods that write, wait for their `delay`, and read; and by what they read.
_QUERIES = {
    MessageBasedResource.query.__code__: ("read", "_read_raw"),
    MessageBasedResource.query_ascii_values.__code__: ("read_ascii_values", "read", "_read_raw"),
    MessageBasedResource.query_binary_values.__code__: ("read_binary_values", "_read_raw"),
}

#: What PyVISA's own resources read by.
_OWN = {name: getattr(MessageBasedResource, name) for reads in _QUERIES.values() for name in reads}


def reads_at_once(caller: FrameType | None) -> bool:
    """Will whoever calls viWrite from `caller` call viRead next, and without a delay?"""
    writing = None if caller is None else caller.f_back
    querying = None if writing is None else writing.f_back
    if caller is None or writing is None or querying is None:
        return False
    reads = _QUERIES.get(querying.f_code)
    if reads is None or caller.f_code is not _WRITE_RAW or writing.f_code is not _WRITE:
        return False
    names = querying.f_locals
    resource, delay = names["self"], names["delay"]
    if resource.query_delay if delay is None else delay:
        return False
    return all(getattr(getattr(resource, name), "__func__", None) is _OWN[name] for name in reads)
