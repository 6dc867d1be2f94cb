"""Rights: who may do what, and who a connection is by its address alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.access.rights import ALLOWED, EVERYTHING, NOTHING, ByAddress, Loopback, Rights, Role, networks
from front_proc.configuration.resource_table import fit

ROLES = st.sampled_from(Role)

#: Names and patterns of a small world, so that patterns fit often.
NAMES = st.from_regex(r"(GPIB0|USB0|gpib1)::[1-3]::INSTR", fullmatch=True)
PATTERNS = st.one_of(
    NAMES, st.sampled_from(["*", "GPIB*", "gpib0::*", "*::2::*", "USB0::[13]::INSTR", "GPIB::?::INSTR"])
)


def rights(role, resources, user="ann"):
    fits = tuple((fit(name, is_pattern=not {"*", "?", "["}.isdisjoint(name)), limit) for name, limit in resources)
    return Rights(user, role, fits)


SOMEBODYS = st.builds(rights, ROLES, st.lists(st.tuples(PATTERNS, ROLES), max_size=5))


def test_lowest_role_of_the_patterns_that_fit_counts():
    """Where none fits it is the token's own; names have no case, and the board may be left out of a pattern."""
    ann = rights(Role.USE, [("GPIB*", Role.ADMIN), ("GPIB::22::*", Role.OBSERVE), ("gpib0::22::instr", Role.NONE)])
    assert ann.role_on("GPIB0::22::INSTR") is Role.NONE
    assert ann.role_on("gpib0::22::INSTR") is Role.NONE
    assert ann.role_on("GPIB0::3::INSTR") is Role.ADMIN
    assert ann.role_on("USB0::1::INSTR") is Role.USE
    assert ann.role_on(None) is Role.USE


def test_admin_of_one_resource_is_not_the_daemons():
    """What ends the daemon takes the role on the daemon itself; what needs no resource takes any."""
    ann = rights(Role.OBSERVE, [("GPIB*", Role.ADMIN)])
    assert ann.suffices(Role.ADMIN, "GPIB0::1::INSTR")
    assert not ann.suffices(Role.ADMIN, "USB0::1::INSTR")
    assert not ann.suffices(Role.ADMIN, None)
    assert ann.suffices(Role.USE, None)
    assert ann.highest is Role.ADMIN
    assert not ann.is_unlimited


@given(SOMEBODYS, NAMES, PATTERNS, ROLES)
def test_another_pattern_never_gives_more_where_one_fits(somebody, name, pattern, role):
    """Deny wins, in whatever order: with a further row a role can only fall, unless it was the token's own before."""
    before = somebody.role_on(name)
    more = Rights(somebody.user, somebody.role, (*somebody.resources, *rights(role, [(pattern, role)]).resources))
    is_limited = any(fits.fullmatch(name.casefold()) for fits, _ in somebody.resources)
    if is_limited:
        assert more.role_on(name) <= before
    else:
        assert more.role_on(name) in (before, role)
    assert more.role_on(None) is somebody.role


@given(SOMEBODYS, NAMES)
def test_order_of_the_patterns_means_nothing(somebody, name):
    turned = Rights(somebody.user, somebody.role, somebody.resources[::-1])
    assert turned.role_on(name) is somebody.role_on(name)


@given(SOMEBODYS, NAMES, ROLES)
def test_what_suffices_on_a_resource_is_the_role_there(somebody, name, role):
    """And nobody's highest role is below one that it has anywhere."""
    assert somebody.suffices(role, name) == (somebody.role_on(name) >= role)
    assert somebody.highest >= somebody.role_on(name)
    assert somebody.sees(name) == somebody.suffices(Role.OBSERVE, name)
    assert not somebody.suffices(Role.ADMIN, None) or somebody.role is Role.ADMIN


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", EVERYTHING),
        ("127.8.8.8", EVERYTHING),
        ("::1", EVERYTHING),
        ("::ffff:127.0.0.1", EVERYTHING),
        ("10.0.0.7", ALLOWED),
        ("::ffff:10.0.0.7", ALLOWED),
        ("10.0.1.7", NOTHING),
        ("fe80::2%eth0", ALLOWED),
        ("fe80::3", NOTHING),
        ("192.168.0.1", NOTHING),
        ("0.0.0.0", NOTHING),
    ],
)
def test_address_alone_gives(host, expected):
    """Loopback is admin, what is allowed may use, everybody else may nothing."""
    assert ByAddress(allow=networks(["10.0.0.0/24", "fe80::2"])).rights_at(host) == expected


def test_loopback_has_nothing_without_a_token_where_that_is_asked_for():
    """Unless it is allowed as any other address."""
    assert ByAddress(Loopback.TOKEN).rights_at("127.0.0.1") == NOTHING
    assert ByAddress(Loopback.TOKEN, networks("127.0.0.0/8")).rights_at("127.0.0.1") == ALLOWED


@given(st.ip_addresses())
def test_no_stranger_has_rights_by_default(address):
    """Of all addresses only loopback's, however they are written."""
    assert (ByAddress().rights_at(str(address)) == EVERYTHING) == (
        getattr(address, "ipv4_mapped", None) or address
    ).is_loopback
