"""The A100's link blocks: disable, lock, and what resets leave of them."""

from __future__ import annotations

import pytest

from atoll.twin import a100

FIRST = {0: 0xA17000, 3: 0xA2F000, 4: 0xA57000, 11: 0xAAF000}
"""Where blocks stand, worked out by hand: 0xA17000 + link div 4 * 0x40000 + link mod 4 * 0x8000."""


def cut_and_lock(registers: dict[int, int], *links: int) -> None:
    for link in links:
        a100.write(registers, FIRST[link] + 0x64C, 1)
        a100.write(registers, FIRST[link] + 0x650, 1)


@pytest.mark.parametrize(("link", "block"), FIRST.items())
def test_a_link_has_its_own_block(link: int, block: int) -> None:
    registers: dict[int, int] = {}
    a100.write(registers, block + 0x64C, 1)
    assert a100.cut_links(registers) == 1 << link
    assert a100.read(registers, block + 0x64C) == 1
    a100.write(registers, block + 0x64C, 0)
    assert a100.cut_links(registers) == 0


def test_the_lock_can_only_be_set_and_holds_the_disable() -> None:
    registers: dict[int, int] = {}
    cut_and_lock(registers, 0)
    a100.write(registers, 0xA17000 + 0x650, 0)
    a100.write(registers, 0xA17000 + 0x64C, 0)
    assert a100.cut_links(registers) == 0b1


def test_a_link_locked_open_stays_open() -> None:
    registers: dict[int, int] = {}
    a100.write(registers, 0xA17000 + 0x650, 1)
    a100.write(registers, 0xA17000 + 0x64C, 1)
    assert a100.cut_links(registers) == 0


def test_a_function_reset_keeps_what_is_locked() -> None:
    registers: dict[int, int] = {}
    cut_and_lock(registers, 3, 11)
    a100.write(registers, 0xA17000 + 0x64C, 1)
    a100.function_reset(registers)
    assert a100.cut_links(registers) == 0b1000_0000_1000
    a100.write(registers, 0xA2F000 + 0x64C, 0)
    assert a100.cut_links(registers) == 0b1000_0000_1000


def test_other_registers_hold_nothing() -> None:
    registers: dict[int, int] = {}
    a100.write(registers, 0x1000, 5)
    assert a100.read(registers, 0x1000) == 0
    assert a100.read(registers, 0) == 0x170000A1
