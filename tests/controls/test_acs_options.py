"""The kernel's parameters for ACS, read and written."""

from __future__ import annotations

import pytest
from groups_hosts import at, function, host, port

from atoll.controls.acs_options import AcsOption, acs_ignored, acs_options, config_acs, option_on
from atoll.controls.acs_recipe import acs_recipes
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

_TREE = host(
    [
        port("00:01.0", 1),
        port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None),
        port("02:05.0", 3, "01:00.0", PortType.DOWNSTREAM),
        function("03:00.0", "02:05.0", subsystem=(0x1458, 0x1)),
    ]
)


@pytest.mark.parametrize(
    ("control", "clear", "expected"),
    [
        (REDIRECTING, AcsFlag(0), "xx111x1@0000:01:00.0"),
        (AcsFlag.SV, AcsFlag(0), "xxxxxx1@0000:01:00.0"),
        (AcsFlag.UF | AcsFlag.TB, AcsFlag(0), "xx1xx1x@0000:01:00.0"),
        (REDIRECTING, AcsFlag.DT | AcsFlag.EC, "00111x1@0000:01:00.0"),
        (AcsFlag(0), AcsFlag(0), "xxxxxxx@0000:01:00.0"),
    ],
)
def test_the_kernels_parameter(control: AcsFlag, clear: AcsFlag, expected: str) -> None:
    """Right-most is SV, then TB, RR, CR, UF, EC, DT (Documentation/admin-guide/kernel-parameters.txt)."""
    assert config_acs(control, at("01:00.0"), clear=clear) == expected


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("ro pci=disable_acs_redir=02:05.0", "02:05.0"),
        ("ro pci=noats,disable_acs_redir=00:01.0/00.0/05.0 quiet", "02:05.0"),
        ("pci=disable_acs_redir=pci:1022:1483", "00:01.0 01:00.0 02:05.0"),
        ("pci=disable_acs_redir=pci:1022:0", "00:01.0 01:00.0 02:05.0"),
        ("pci=disable_acs_redir=pci:0:0:1458:1", "03:00.0"),
        ("pci=disable_acs_redir=00:01.0;0000:02:05.0", "00:01.0 02:05.0"),
        ("pci=disable_acs_redir=00:01.0 pci=disable_acs_redir=02:05.0", "02:05.0"),
        ('pci="config_acs=xx111x1@02:05.0;xx1@00:01.0"', "00:01.0 02:05.0"),
        ("pci=config_acs=xx1@00:01.0/00.1/05.0", ""),
        ("pci=config_acs=xxxxxxxxxX1xx@00:01.0", "00:01.0"),
        ("pci=config_acs=1xxxxxxx@00:01.0", ""),
        ("pci=config_acs=xyx1@00:01.0", ""),
        ("pci=config_acs=yy1@00:01.0", ""),
        ("pci=config_acs=1", ""),
        ("pci=disable_acs_redir=nonsense", ""),
        ("pci=disable_acs_redir=pci:1:2:3", ""),
        ("config_acs=1@00:01.0", ""),
        # A comma ends the option.
        ("pci=disable_acs_redir=00:01.0,02:05.0", "00:01.0"),
        # What cannot be parsed ends the reading.
        ("pci=disable_acs_redir=00:01.0;pci:10de:*;02:05.0", "00:01.0"),
        ("pci=disable_acs_redir=00:01.0;;02:05.0", "00:01.0"),
        ("pci=config_acs=xx1@00:01.0;yy1@01:00.0;xx1@02:05.0", "00:01.0"),
        ("pci=disable_acs_redir=0:0:1.0;2:5.0", "00:01.0 02:05.0"),
    ],
)
def test_whom_the_command_line_names(line: str, names: str) -> None:
    options = acs_options(line)
    found = [a for a, f in _TREE.functions.items() if option_on(f, _TREE.functions, options) is not None]
    assert found == [at(name) for name in names.split()]


@pytest.mark.parametrize(
    ("line", "ignored"),
    [
        ("quiet pci=noats pci=disable_acs_redir=00:01.0;02:05.0", ""),
        ("pci=disable_acs_redir=00:01.0,realloc,noaer", ""),
        ("pci=config_acs=1@00:01.0 pci=disable_acs_redir=00:01.0", ""),
        ("pci=resource_alignment=20@00:01.0,disable_acs_redir=00:01.0", ""),
        # An option each: the last counts.
        ("pci=disable_acs_redir=00:01.0 pci=disable_acs_redir=02:05.0", "disable_acs_redir=00:01.0"),
        ("pci=realloc,config_acs=1@00:01.0 pci=config_acs=1@02:05.0,noats", "config_acs=1@00:01.0"),
        # A comma ends the option, and what comes after it is no option of pci=.
        ("pci=disable_acs_redir=00:01.0,02:05.0,0000:03:00.0", "02:05.0 0000:03:00.0"),
        ("pci=config_acs=1@00:01.0,x1@02:05.0,noats", "x1@02:05.0"),
        # What cannot be parsed ends the reading.
        ("pci=disable_acs_redir=00:01.0;pci:10de:*;02:05.0", "pci:10de:*;02:05.0"),
        ("pci=config_acs=10x", "10x"),
        ("disable_acs_redir=00:01.0", ""),
    ],
)
def test_what_the_kernel_does_not_act_on(line: str, ignored: str) -> None:
    assert [what for what, _ in acs_ignored(line)] == ignored.split()
    assert all(why for _, why in acs_ignored(line))


def test_the_bits_of_an_entry() -> None:
    (option,) = acs_options("pci=config_acs=10X01@00:01.0")
    assert option == AcsOption("config_acs", AcsFlag.SV | AcsFlag.UF, AcsFlag.TB | AcsFlag.CR, "00:01.0")


def test_config_acs_is_applied_last() -> None:
    options = acs_options("pci=config_acs=1@00:01.0 pci=disable_acs_redir=00:01.0")
    found = option_on(_TREE.functions[at("00:01.0")], _TREE.functions, options)
    assert found is not None
    assert found.parameter == "config_acs"


@pytest.mark.parametrize(
    ("kernel", "starts"),
    [((6, 10), ["setpci"]), ((6, 11), ["pci=config_acs"]), ((7, 3), ["pci=config_acs"]), (None, ["pci=", "setpci"])],
)
def test_by_what_means(kernel: tuple[int, int] | None, starts: list[str]) -> None:
    there = host(_TREE.functions.values(), kernel=kernel)
    words = {at("02:05.0"): REDIRECTING | AcsFlag.TB}
    recipes = acs_recipes(there, words, {at("02:05.0"): AcsFlag.DT})
    assert len(recipes) == len(starts)
    for recipe, start in zip(recipes, starts, strict=True):
        assert recipe.lines[0].startswith(start)
    assert recipes[-1].lines[0] in (
        "setpci -s 0000:02:05.0 ECAP_ACS+6.w=001f:005f",
        "pci=config_acs=0x11111@0000:02:05.0",
    )


def test_what_early_kernels_make_of_it_is_told() -> None:
    there = host(_TREE.functions.values(), kernel=(6, 12))
    one, two = at("02:05.0"), at("00:01.0")

    def note(words: dict[Address, AcsFlag], cleared: dict[Address, AcsFlag]) -> str:
        return acs_recipes(there, words, cleared)[0].note

    assert "early kernels" not in note({one: REDIRECTING}, {})
    assert "clear no bits: check afterwards" in note({one: REDIRECTING}, {one: AcsFlag.DT})
    assert "misread lists: check afterwards" in note({one: REDIRECTING, two: REDIRECTING}, {})


def test_an_entry_that_is_there_already() -> None:
    there = host(_TREE.functions.values(), command_line="pci=config_acs=1@00:01.0")
    (recipe,) = acs_recipes(there, {at("02:05.0"): REDIRECTING}, {})
    assert "the last pci=config_acs= replaces the others" in recipe.note
