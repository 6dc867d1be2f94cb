"""Resources' names as they are compared: in any case, and with their numbers in any spelling that VISA takes.

Pure. Runs in the front. `USB0::2391::1031::…` and `USB0::0x957::0x0407::…` are one device to every VISA library, and
canonical both.
"""

import re

_BOARD = re.compile(r"(asrl|gpib|pxi|tcpip|usb|vxi)0*([0-9]+)")

_NUMBER = re.compile(r"0*([0-9]{1,12})")

_USB_ID = re.compile(r"0x([0-9a-f]{1,12})|([0-9]{1,12})")

#: Parts behind the board that are no numbers, whatever they look like: a host, a serial number.
_HOST, _SERIAL_NUMBER = 1, 3


def folded(name: str) -> str:
    """The one spelling of a canonical name, or of a pattern as far as its numbers are written out."""
    parts = name.casefold().split("::")
    is_usb = parts[0].startswith("usb")
    is_lan = parts[0].startswith(("tcpip", "prlgx-tcpip", "vicp"))
    for at, part in enumerate(parts):
        if at == 0:
            parts[at] = _BOARD.sub(r"\1\2", part) if _BOARD.fullmatch(part) else part
        elif is_usb and at < _SERIAL_NUMBER:
            parts[at] = _usb_id(part)
        elif not (is_usb and at == _SERIAL_NUMBER) and not (is_lan and at == _HOST):
            parts[at] = _NUMBER.sub(r"\1", part) if _NUMBER.fullmatch(part) else part
    return "::".join(parts)


def spellings(name: str) -> set[str]:
    """A name as it is, and folded: a pattern with `*` in a number is for the first, one without it for both."""
    return {name.casefold(), folded(name)}


def _usb_id(part: str) -> str:
    """A vendor or a model, as VISA libraries write it by themselves."""
    match = _USB_ID.fullmatch(part)
    if match is None:
        return part
    return f"0x{int(match[1], 16) if match[1] else int(match[2]):04x}"
