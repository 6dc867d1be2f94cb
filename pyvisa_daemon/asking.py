"""Is it one of PyVISA's own queries that writes? Then its read follows at once, and both may go out as one.

Runs in the user's process, under `highlevel`. PyVISA's queries are a write and a read to a library, and a library is
not told which writes are theirs. Sent apart, the daemon meets each alone: the write is carried out before the read is
there, at the price of one more way through front and process. What is seen here only decides how the kernel cuts
segments: a query that is not recognised, or whose read never comes, is sent all the same.
"""

from types import FrameType

from pyvisa.resources import MessageBasedResource

#: PyVISA's methods that write, wait for their `delay`, and read.
_QUERIES = frozenset(
    {
        MessageBasedResource.query.__code__,
        MessageBasedResource.query_ascii_values.__code__,
        MessageBasedResource.query_binary_values.__code__,
    }
)


def reads_at_once(caller: FrameType | None) -> bool:
    """Will whoever calls viWrite from `caller` (`write_raw`, of `write`) call viRead next, and without a delay?"""
    writing = None if caller is None else caller.f_back
    querying = None if writing is None else writing.f_back
    if querying is None or querying.f_code not in _QUERIES:
        return False
    names = querying.f_locals
    delay = names["delay"]
    return not (names["self"].query_delay if delay is None else delay)
