"""What a program message (IEEE 488.2, 7) asks of an instrument, as far as both ends of the wire must agree on it.

Pure; no PyVISA. The backend posts a write that may have an answer, the front holds the instrument for it: both by the
same judgement.
"""


def contains_query(message: bytes) -> bool:
    """May this message make the instrument answer? Yes when in doubt: that costs time, never correctness."""
    return b"?" in message


def count_answers(message: bytes) -> int:
    """How many answers may follow: one for each line with a query."""
    return sum(contains_query(line) for line in message.split(b"\n"))
