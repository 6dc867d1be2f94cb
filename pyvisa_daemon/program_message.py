"""What a program message (IEEE 488.2, 7) asks of an instrument, as far as both ends of the wire must agree on it.

Pure; no PyVISA. The backend posts a write that may have an answer, the front holds the instrument for it: both by the
same judgement.
"""


def contains_query(message: bytes) -> bool:
    """May this message make the instrument answer? Yes when in doubt: that costs time, never correctness."""
    return b"?" in message
