"""Selectors, on a simulated machine with four GPUs and a BMC's display."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest

from atoll.controls.registry import registers
from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.model import UNTOLD_CLASS, Host
from atoll.pci.address import Address
from atoll.plan.selector import gpus, resolve
from atoll.twin import Twin

FOUR = ("0004:04:00.0", "0004:05:00.0", "0035:03:00.0", "0035:04:00.0")


@functools.cache
def host() -> Host:
    return read_host(Twin.new("ac922-4gpu"), registers=registers)


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("0004:04:00.0", FOUR[:1]),
        ("10de:1db1", FOUR),
        ("10DE:1DB1", FOUR),
        ("gpu[0]", FOUR[:1]),
        ("gpu[3]", FOUR[3:]),
        ("gpu[0:2]", FOUR[:2]),
        ("gpu[2:]", FOUR[2:]),
        ("gpu[:1]", FOUR[:1]),
        ("gpu[:]", FOUR),
    ],
)
def test_what_selectors_name(selector: str, found: tuple[str, ...]) -> None:
    assert tuple(map(str, resolve(selector, host()))) == found


@pytest.mark.parametrize(
    ("vendor", "class_code", "is_gpu"),
    [
        (0x10DE, 0x030200, True),
        (0x10DE, 0x030000, True),
        (0x10DE, 0x040300, False),
        (0x1A03, 0x030000, False),
        (0x1002, 0x038000, True),
        (0x1002, 0x120000, True),
        (0x1DA3, 0x120000, False),
        (0x8086, 0x030000, True),
    ],
)
def test_the_display_of_a_management_controller_is_no_gpu(vendor: int, class_code: int, is_gpu: bool) -> None:
    address = Address.parse(FOUR[0])
    function = replace(host().functions[address], vendor=vendor, class_code=class_code)
    changed = replace(host(), functions={**host().functions, address: function})
    assert (address in gpus(changed)) is is_gpu


def _with(address: str, *possible: tuple[int | None, int | None], class_code: int = 0x030200) -> Host:
    """Return the host with one function of which a text shows no ids, only what they can be."""
    hidden = Address.parse(address)
    function = replace(
        host().functions[hidden], vendor=0xFFFF, device=0xFFFF, possible_ids=possible, class_code=class_code
    )
    return replace(host(), functions={**host().functions, hidden: function})


def test_a_maker_named_without_ids_is_enough_for_a_gpu() -> None:
    named = _with(FOUR[1], (0x10DE, None))
    assert tuple(map(str, resolve("gpu[:]", named))) == FOUR
    assert tuple(map(str, resolve("gpu[:]", _with(FOUR[1], (0x1A03, None))))) == (FOUR[0], *FOUR[2:])
    audio = _with(FOUR[1], (None, None), class_code=0x040300)
    assert tuple(map(str, resolve("gpu[:]", audio))) == (FOUR[0], *FOUR[2:])


@pytest.mark.parametrize(
    ("selector", "hidden"),
    [
        ("gpu[0]", _with(FOUR[1], (None, None))),
        ("gpu[0]", _with(FOUR[1], (0x10DE, None), (0x1A03, None))),
        ("gpu[0]", _with(FOUR[1], (0x10DE, None), class_code=UNTOLD_CLASS)),
        ("10de:1db1", _with(FOUR[1], (0x10DE, None))),
        ("10de:1db1", _with(FOUR[1], (0x10DE, 0x1DB1), (0x10DE, 0x1DB4))),
    ],
)
def test_what_a_selector_names_is_not_guessed(selector: str, hidden: Host) -> None:
    """A device left out would stay with the host, which is trusted."""
    with pytest.raises(InputError, match=f"does not show what {FOUR[1]} is") as caught:
        resolve(selector, hidden)
    assert "lspci -nnvvv" in caught.value.hint
    assert [str(a) for a in resolve(FOUR[1], hidden)] == [FOUR[1]]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("gpu[4]", "matches nothing: this host has 4 GPUs"),
        ("gpu[1:1]", "matches nothing"),
        ("gpu[2:9]", "names GPUs that are not there: this host has 4 GPUs"),
        ("gpu[]", "no selector of GPUs"),
        ("gpu[-1]", "no selector of GPUs"),
        ("gpu[1:2:3]", "no selector of GPUs"),
        ("gpu[٣]", "no selector of GPUs"),
        ("10de:ffff", "matches no function"),
        ("0004:04:00.1", "no function 0004:04:00.1"),
        ("0004:04:00", "is no selector"),
        ("", "is no selector"),
        ("0004:00:00.0", "names the port"),
        ("10b5:8725", "names the port"),
    ],
)
def test_what_names_nothing_is_said(selector: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")) as caught:
        resolve(selector, host())
    assert caught.value.hint


def test_an_address_in_the_wrong_domain_is_guessed() -> None:
    with pytest.raises(InputError) as caught:
        resolve("04:00.0", host())
    assert "0004:04:00.0" in caught.value.hint
