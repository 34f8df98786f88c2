"""Conflicts of a guest's memory with pollution: what meets, and the layout or the bit that avoids it."""

from __future__ import annotations

from dataclasses import replace

from groups_hosts import ACS_OFF
from pollution_hosts import BLUE_PORT, RED_PORT, box, conflicts

from atoll.isolation.iova.conflicts import ConflictKind
from atoll.isolation.iova.layout import GIBIBYTE, Guest, MachineType
from atoll.pci.acs import AcsFlag


def test_the_layout_or_the_bit_that_avoids_it() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    met = [c for c in conflicts(machine, Guest(3 * GIBIBYTE, MachineType.I440FX)) if c.kind is ConflictKind.POLLUTED]
    assert [(c.range.start, str(c.claimed_by)[5:]) for c in met] == [(0x80400000, BLUE_PORT)]
    assert [remedy.how for remedy in met[0].remedies] == [
        f"pci=config_acs=xx111x1@0000:{RED_PORT}",
        "-machine pc,max-ram-below-4g=2G",
    ]
    lower = Guest(3 * GIBIBYTE, MachineType.I440FX, max_ram_below_4g=2 * GIBIBYTE)
    assert not [c for c in conflicts(machine, lower) if c.kind is ConflictKind.POLLUTED]
    closed = [c for c in conflicts(box(), Guest(3 * GIBIBYTE, MachineType.I440FX)) if c.kind is ConflictKind.POLLUTED]
    assert not closed


def test_no_bit_helps_where_there_is_no_acs() -> None:
    met = conflicts(box(red=None), Guest(3 * GIBIBYTE, MachineType.I440FX))
    assert {c.kind for c in met} >= {ConflictKind.POLLUTED, ConflictKind.LOST}
    assert not [r for c in met for r in c.remedies if "config_acs" in r.how]
