"""The token file: what is read, and what is refused with a reason and without the token."""

import os
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.access.rights import Role
from front_proc.access.token_file import SIZE_LIMIT, Token, find, read_tokens
from pyvisa_daemon import tokens
from pyvisa_daemon.tokens import TokenFileError

TOKEN = "pvd_" + "Ab1_-" * 8 + "xyz"
SHA256 = tokens.digest(TOKEN)
GOOD = f'[[token]]\nname = "ann"\nsha256 = "{SHA256}"\nrole = "use"\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens.toml"


def written(file, text, mode=0o600):
    file.write_text(text)
    file.chmod(mode)
    return file


def test_file_that_is_not_there_has_no_tokens(file):
    assert read_tokens(file) == ()


def test_row_is_read_with_all_that_may_stand_there(file):
    more = 'resources = { "GPIB0::*" = "use", scope = "none" }\nexpires = 2027-01-01\n'
    [token] = read_tokens(written(file, GOOD + more))
    resources = (("GPIB0::*", Role.USE), ("scope", Role.NONE))
    assert token == Token("ann", SHA256, Role.USE, resources, date(2027, 1, 1), f"{file}, [[token]] 1")
    assert token.is_good_on(date(2026, 12, 31))
    assert not token.is_good_on(date(2027, 1, 1))


def test_token_is_found_by_its_digest(file):
    """And by nothing else, its digest least of all."""
    rows = read_tokens(written(file, GOOD + GOOD.replace(SHA256, "0" * 64).replace("ann", "bob")))
    assert [row.name for row in rows] == ["ann", "bob"]
    assert find(rows, TOKEN) is rows[0]
    for wrong in ("", SHA256, TOKEN[:-1], TOKEN + " ", TOKEN.upper(), "\u2603"):
        assert find(rows, wrong) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666, 0o610])
def test_file_that_others_may_touch_is_refused(file, mode):
    """The text says what to do."""
    with pytest.raises(TokenFileError, match=f"chmod 600 {file}"):
        read_tokens(written(file, GOOD, mode))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[token]", "no TOML file"),
        ("\x00", "no TOML file"),
        ('token = "x"', r"rows that begin with the line \[\[token\]\]"),
        (GOOD + "[other]\n", r"rows that begin with the line \[\[token\]\]"),
        ("[[tokens]]\n", r"rows that begin with the line \[\[token\]\]"),
        (GOOD + "admin = true\n", r"\[\[token\]\] 1: no key of a token is called 'admin'; there are name, sha256"),
        (GOOD + GOOD, "two rows have the same sha256"),
        (GOOD.replace('"ann"', '"a b"'), r"\[\[token\]\] 1: name is not letters, digits"),
        (GOOD.replace('"ann"', "3"), "name is not"),
        (GOOD.replace('"use"', '"none"'), "role is not one of observe, use, admin"),
        (GOOD.replace('"use"', '"root"'), "role is not one of observe, use, admin"),
        (GOOD.replace('name = "ann"', ""), "name is missing"),
        (GOOD.replace('role = "use"', ""), "role is missing"),
        (GOOD + 'resources = "GPIB0::*"\n', "resources is not a table of names or patterns"),
        (GOOD + 'resources = { "GPIB0::*" = "all" }\n', "resources is not a table of names or patterns"),
        (GOOD + 'resources = { "" = "use" }\n', "resources is not a table of names or patterns"),
        (GOOD + 'expires = "2027-01-01"\n', "expires is not a date, such as 2027-01-01"),
        (GOOD + "expires = 2027-01-01T00:00:00Z\n", "expires is not a date"),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_the_reason(file, text, reason):
    with pytest.raises(TokenFileError, match=reason):
        read_tokens(written(file, text))


def test_token_in_the_place_of_its_digest_is_not_repeated(file):
    with pytest.raises(TokenFileError, match="the token itself does not belong here") as refused:
        read_tokens(written(file, GOOD.replace(SHA256, TOKEN)))
    assert TOKEN not in str(refused.value)


def test_file_that_is_too_long_is_refused_whole(file):
    """Were it cut, the row at its end could lack what narrows it."""
    padding = "#" * (SIZE_LIMIT - len(GOOD) - 1) + "\n"
    assert len(read_tokens(written(file, padding + GOOD))) == 1
    with pytest.raises(TokenFileError, match="has more than 1048576 bytes"):
        read_tokens(written(file, padding + GOOD + 'resources = { "GPIB0::*" = "none" }\n'))


def test_folder_is_no_token_file(tmp_path):
    with pytest.raises(TokenFileError, match="Is a directory"):
        read_tokens(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(TokenFileError, match="is no file"):
        read_tokens(tmp_path / "pipe")


@given(
    name=st.from_regex(r"[A-Za-z0-9_@.-]{1,64}", fullmatch=True),
    role=st.sampled_from(["observe", "use", "admin"]),
    resources=st.dictionaries(
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), st.sampled_from(["none", "observe", "use"])
    ),
    expires=st.none() | st.dates(),
)
def test_row_that_was_written_is_read_as_it_was_meant(tmp_path_factory, name, role, resources, expires):
    """Whatever a pattern has in it."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    token = tokens.new_token()
    tokens.add_row(file, tokens.row(name, token, role, resources, "" if expires is None else expires.isoformat()))
    [row] = read_tokens(file)
    assert (row.name, row.role, row.expires) == (name, Role.named(role), expires)
    assert dict(row.resources) == {pattern: Role.named(word) for pattern, word in resources.items()}
    assert find([row], token) is row
    assert token not in file.read_text()
