"""Entries: where a daemon is, and how to speak to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvisa_daemon.addresses import CA_FILE, Address, parse

TOKEN = "pvd_" + "Ab1_-" * 8 + "xyz"

# Whom to show which token.


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("labpc?token_file=/home/a/.pvd", Address("labpc", 1340, {"token_file": "/home/a/.pvd"})),
        ("labpc:1341?token_file=", Address("labpc", 1341, {"token_file": ""})),
        ("[::1]?token_file=~/x", Address("::1", 1340, {"token_file": "~/x"})),
        (" ::1?token_file=a=b%2Cc%26d%25 ", Address("::1", 1340, {"token_file": "a=b,c&d%"})),
    ],
)
def test_entry_may_name_a_token_file(entry: str, address: Address) -> None:
    """As text it is an entry again, in which nothing separates what belongs together."""
    assert parse(entry) == address
    assert parse(address.entry) == address
    assert "?" not in str(address)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_path_survives_the_way_through_text(path: str) -> None:
    """And a list of hosts, in which commas separate."""
    address = Address("labpc", 1340, {"token_file": path})
    entry = address.entry
    assert "," not in entry
    if path == path.strip() or path.isascii():
        assert parse(entry) == address


@pytest.mark.parametrize(
    "entry",
    [
        f"labpc?token={TOKEN}",
        f"labpc:1340?token_file=/x&token={TOKEN}",
        f"labpc?{TOKEN}",
        f"labpc?{TOKEN}=x",
        f"labpc?tokn={TOKEN}",
        f"labpc?token_file=/x&token_file={TOKEN}",
        f"labpc:{TOKEN}",
        f"labpc {TOKEN}",
        f"labpc {TOKEN}?token_file=x",
        f"{TOKEN} x",
        "labpc?",
        "labpc?token_file",
        "labpc?token_file=/x&",
        "?token_file=/x",
    ],
)
def test_entry_with_a_token_or_an_unknown_option_is_refused(entry: str) -> None:
    """And the error does not repeat what may be one."""
    with pytest.raises(ValueError, match=r"labpc|names no daemon") as refused:
        parse(entry)
    assert TOKEN not in str(refused.value)


def test_entry_with_the_token_itself_says_what_to_do_instead() -> None:
    with pytest.raises(ValueError, match=r"labpc\?token=\.\.\. is not accepted.*write labpc\?token_file=PATH"):
        parse(f"labpc?token={TOKEN}")


# In TLS, or not.


@pytest.mark.parametrize(
    ("entry", "port", "options"),
    [
        ("labpc:1341?tls=1&ca_file=/x", 1341, {"tls": "1", "ca_file": "/x"}),
        ("labpc?tls=1", 1341, {"tls": "1"}),
        ("labpc?tls=0", 1340, {"tls": "0"}),
        ("[::1]?ca_file=/x/y z.pem", 1341, {"ca_file": "/x/y z.pem"}),
        ("labpc:9", 9, {}),
    ],
)
def test_entry_says_how_to_connect(entry: str, port: int, options: dict[str, str]) -> None:
    """As text an address has none of that: it stands in logs and errors."""
    address = parse(entry)
    assert (address.port, address.options) == (port, options)
    assert "?" not in str(address)
    assert parse(address.entry) == address


@pytest.mark.parametrize(
    "entry",
    ["a?", "a?x=1", "a?tls", "a?tls=", "a?tls=yes", "a?tls=1&tls=1", "a?ca_file=", "a?tls=0&ca_file=/x", "a?tls=1&"],
)
def test_entry_with_an_option_that_is_none_is_refused(entry: str) -> None:
    """A misspelt one must not end in a connection without TLS."""
    with pytest.raises(ValueError, match=r"a\?\.\.\.: "):
        parse(entry)


def test_environment_says_tls_for_all_who_do_not_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its file for who names none."""
    monkeypatch.setenv(CA_FILE, "/ca")
    addresses = [parse(entry) for entry in ("a", "a:1340", "a?tls=1", "a?ca_file=/b", "a?tls=0")]
    assert [address.is_tls for address in addresses] == [True, True, True, True, False]
    assert [address.ca_file for address in addresses[:4]] == ["/ca", "/ca", "/ca", "/b"]
    assert [address.port for address in addresses] == [1341, 1340, 1341, 1341, 1340]
