"""Names of one resource in several spellings."""

import pytest

from front_proc.access.rights import Rights, Role
from front_proc.configuration.resource_names import folded, spellings
from front_proc.configuration.resource_settings import read_rows
from front_proc.configuration.resource_table import ResourceTable, fit

SAME = [
    (
        "USB0::0x0957::0x0407::PS01::0::INSTR",
        "USB0::2391::1031::PS01::0::INSTR",
        "usb0::0x957::0X407::ps01::00::instr",
        "USB00::02391::0x0407::PS01::0::INSTR",
    ),
    ("GPIB0::22::INSTR", "GPIB0::022::INSTR", "GPIB00::22::INSTR"),
    ("GPIB1::5::96::INSTR", "GPIB01::05::096::INSTR"),
    ("TCPIP0::127.0.0.1::5340::SOCKET", "TCPIP0::127.0.0.1::05340::SOCKET"),
    ("ASRL1::INSTR", "ASRL01::INSTR"),
]


def rows(match):
    return ResourceTable(read_rows([{"match": match, "deny": ["*RST"], "deadline": 7}], "lab.toml"), "@py")


@pytest.mark.parametrize("names", SAME)
def test_row_is_for_every_spelling_of_its_resource(names):
    """By name and by pattern, whichever of them the file has; and one that is configured is one resource."""
    for written in names:
        for said in names:
            assert folded(written) == folded(said)
            assert rows(written).of(said).guards
            assert rows(written).spelling(said) == written
            assert rows(written[: -len("INSTR")] + "*").of(said).guards
            assert rows("*" + written[1:]).of(written).guards


@pytest.mark.parametrize("names", SAME)
def test_role_is_for_every_spelling_of_its_resource(names):
    """What is kept from somebody stays kept."""
    for written in names:
        rights = Rights("bob", Role.USE, ((fit(written, is_pattern=False), Role.NONE),))
        assert {rights.role_on(said) for said in names} == {Role.NONE}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("USB0::0x0957::0x0407::001::0::INSTR", "USB0::0x0957::0x0407::1::0::INSTR"),  # serial numbers
        ("USB0::0x0957::0x0407::PS01::0::INSTR", "USB0::957::407::PS01::0::INSTR"),
        ("GPIB0::22::INSTR", "GPIB0::2::INSTR"),
        ("GPIB0::22::INSTR", "GPIB0::220::INSTR"),
        ("TCPIP0::010.0.0.1::5025::SOCKET", "TCPIP0::10.0.0.1::5025::SOCKET"),
        ("ASRL/dev/ttyS01::INSTR", "ASRL/dev/ttyS1::INSTR"),
        ("ASRLCOM1::INSTR", "ASRLCOM01::INSTR"),
    ],
)
def test_other_resources_are_others(one, other):
    assert folded(one) != folded(other)
    assert not rows(one).of(other).guards
    assert rows(one).spelling(other) == other


def test_wildcard_within_a_number_stands_for_its_digits():
    """As the name has them, or as VISA writes them."""
    assert rows("USB0::0x09*::*").of("USB0::2391::1031::PS01::0::INSTR").guards
    assert rows("USB0::23*::1031::*").of("USB0::2391::1031::PS01::0::INSTR").guards
    assert spellings("GPIB0::05::INSTR") == {"gpib0::05::instr", "gpib0::5::instr"}
