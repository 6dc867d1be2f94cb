"""What a daemon says of itself on the network, and what is believed of it."""

import pytest

from pyvisa_daemon.announcement import Announcement, read


def as_heard(announcement: Announcement) -> dict[bytes, bytes | None]:
    return {key.encode(): value.encode() for key, value in announcement.properties().items()}


@pytest.mark.parametrize(
    "announcement",
    [
        Announcement("0.1.0", 1340, None, 5, needs_token=True),
        Announcement("0.1.0", 1340, 1341, 0, needs_token=False),
        Announcement("", None, 65535, 1_000_000, needs_token=True),
    ],
)
def test_announcement_is_read_as_it_was_said(announcement: Announcement) -> None:
    """Over the TXT record there and back."""
    assert read(as_heard(announcement)) == announcement


def test_announcement_names_the_port_in_tls_when_there_is_no_other() -> None:
    """The plain one comes first, for it takes no certificate; who wants the other finds it in the record."""
    both, one = Announcement("1", 1340, 1341, 0, needs_token=True), Announcement("1", None, 1341, 0, needs_token=True)
    assert (both.best_port, both.is_tls) == (1340, False)
    assert (one.best_port, one.is_tls) == (1341, True)


def test_announcement_fits_where_it_is_said() -> None:
    """RFC 6763, 6.4: a key has nine characters at most, and is text."""
    properties = Announcement("0.1.0", 1340, 1341, 5, needs_token=True).properties()
    assert all(len(key) <= 9 and key.isascii() for key in properties)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {b"version": b"1"},
        {b"port": b"0"},
        {b"port": b"65536"},
        {b"port": b"-1"},
        {b"port": b"13\xb2"},
        {b"port": "1\N{SUPERSCRIPT TWO}".encode()},
        {b"port": b"1" * 5000},
        {b"port": None},
        {b"port": b"1340", b"resources": b"many"},
        {b"port": b"1340", b"resources": b"1000001"},
        {b"port": b"1340", b"version": b"\x1b[2J"},
        {b"port": b"1340", b"version": b"1" * 33},
        {b"p\xc3\xb6rt": b"1340"},
    ],
)
def test_what_no_daemon_says_is_refused(properties: dict[bytes, bytes | None]) -> None:
    """Anybody on the network can say anything: nothing for a terminal to obey, no number that is none."""
    with pytest.raises(ValueError):  # noqa: PT011 - nobody reads its text
        read(properties)


def test_a_token_is_needed_when_nothing_is_said_of_it() -> None:
    """And what later versions say besides does not matter."""
    assert read({b"port": b"1340", b"colour": b"blue", b"bare": None}) == Announcement("", 1340, None, 0, True)
