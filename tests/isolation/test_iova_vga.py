"""Pollution beside windows and BARs: VGA's memory, expansion ROMs, and who decodes subtractively."""

from __future__ import annotations

from dataclasses import replace

from groups_hosts import ACS_OFF, ACS_ON, at, port
from pollution_hosts import (
    BLUE_PORT,
    RED_PORT,
    SHARED,
    TOP,
    box,
    card,
    changed,
    conflicts,
    conventional,
    pollution,
    told,
    windowed,
)

from atoll.fabric.answer import Answer
from atoll.host.fact import Known, Unknown
from atoll.host.model import UNTOLD_CLASS, Host
from atoll.isolation.iova.claim import Fate
from atoll.isolation.iova.conflicts import ConflictKind
from atoll.isolation.iova.layout import GIBIBYTE, Guest
from atoll.isolation.iova.machine_type import MachineType
from atoll.isolation.iova.ranges import Ranges
from atoll.pci.acs import AcsFlag
from atoll.pci.bar import Rom
from atoll.pci.header import Command, PortType


def forwarding_vga(machine: Host, place: str, vga: bool | None = True) -> Host:
    bridge = machine.functions[at(place)].bridge
    assert isinstance(bridge, Known)
    assert bridge.value is not None
    return changed(machine, place, bridge=Known(bridge.value._replace(vga=vga)))


def test_an_expansion_rom_answers_where_it_is_on() -> None:
    for enabled, answer in ((True, "direct"), (False, "possible")):
        rom = Known(Rom(0x80400000, 0x80000, enabled))
        found = pollution(changed(conventional(), SHARED, rom=rom))
        claims = [c for c in found.claims if c.what == "ROM"]
        assert [(c.answer.word, c.ranges) for c in claims] == [(answer, Ranges.of((0x80400000, 0x8047FFFF)))]
        asleep = changed(conventional(), SHARED, rom=rom, command=Known(Command(0)))
        assert {c.answer.word for c in pollution(asleep).claims if c.what == "ROM"} == {"possible"}
    unsized = pollution(changed(conventional(), SHARED, rom=Known(Rom(0, 0, enabled=True))))
    most = [(c.answer.word, c.ranges) for c in unsized.claims if c.what == "ROM"]
    assert most == [("possible", Ranges.of((0, 0xFFFFFF)))], "no ROM is larger"
    unread = pollution(changed(conventional(), SHARED, rom=Unknown("cut")))
    assert [c.ranges for c in unread.claims if c.what == "ROM"] == [Ranges.of((0x80000000, 0x80FFFFFF))]
    assert not [c for c in pollution(conventional()).claims if c.what == "ROM"]


VGA = (0xA0000, 0xBFFFF)


def test_vgas_window_is_a_window() -> None:
    off = replace(ACS_OFF, control=AcsFlag.UF)
    assert ("claimed", "direct", BLUE_PORT, *VGA) in told(pollution(forwarding_vga(box(red=off), BLUE_PORT)))
    assert ("claimed", "possible", BLUE_PORT, *VGA) in told(pollution(forwarding_vga(box(red=off), BLUE_PORT, None)))
    redirected = forwarding_vga(box(), BLUE_PORT)
    assert VGA not in {entry[3:] for entry in told(pollution(redirected))}
    own = box(red=replace(ACS_ON, control=ACS_ON.control & ~AcsFlag.UF))
    assert ("lost", "direct", RED_PORT, *VGA) in told(pollution(forwarding_vga(own, RED_PORT)))
    assert ("lost", "possible", RED_PORT, *VGA) in told(pollution(forwarding_vga(own, RED_PORT, None)))
    top = told(pollution(forwarding_vga(box(), TOP)))
    assert ("lost", "direct", TOP, *VGA) in top, "nothing behind the switch answers"


def test_a_vga_controller_answers_to_vgas_memory() -> None:
    screen = conventional(second=0x030000)
    assert ("claimed", "possible", SHARED, *VGA) in told(pollution(screen))
    assert ("claimed", "possible", SHARED, *VGA) in told(pollution(changed(screen, SHARED, bars=Unknown("cut"))))
    assert VGA not in {entry[3:] for entry in told(pollution(conventional()))}
    # What shows no class may be one; what fits no class is none.
    assert ("claimed", "possible", SHARED, *VGA) in told(pollution(conventional(second=UNTOLD_CLASS)))
    assert VGA not in {entry[3:] for entry in told(pollution(conventional(second=0xFF0000)))}


def test_no_guest_of_a_pc_uses_vgas_memory() -> None:
    machine = forwarding_vga(box(red=replace(ACS_OFF, control=AcsFlag.UF), base=0xE0000000), BLUE_PORT)
    assert not [c for c in conflicts(machine, Guest(8 * GIBIBYTE)) if c.range.start == VGA[0]]
    met = [c for c in conflicts(machine, Guest(2 * GIBIBYTE, MachineType.MICROVM)) if c.range.start == VGA[0]]
    assert [c.kind for c in met] == [ConflictKind.POLLUTED]


def test_subtractive_decoding_takes_what_nobody_takes() -> None:
    found = pollution(conventional(second=0x060401))
    taken = [c for c in found.claims if c.what == "subtractive decoding"]
    assert [(c.fate, c.answer, c.by) for c in taken] == [(Fate.CLAIMED, Answer.DIRECT, at(SHARED))]
    assert taken[0].ranges == Ranges.of((0x80000000, 0x801FFFFF), (0x80300000, 0x80FFFFFF))
    assert not [c for c in pollution(conventional(second=0x060400)).claims if c.what == "subtractive decoding"]


def test_behind_a_subtractive_bridge_devices_answer_outside_its_windows() -> None:
    bridge = windowed(port("00:1e.0", 5, None, PortType.CONVENTIONAL, acs=None), 0x90000000, 0x900FFFFF)
    old = card("05:00.0", "00:1e.0", 0x91000000)
    for code, seen in ((0x060401, True), (0x060400, False)):
        machine = box(root=replace(ACS_OFF, control=AcsFlag.UF), extra=(replace(bridge, class_code=code), old))
        assert (("claimed", "possible", "00:1e.0", 0x91000000, 0x910FFFFF) in told(pollution(machine))) is seen


def test_a_bridge_takes_upwards_what_its_windows_do_not_hold_before_a_subtractive_one_does() -> None:
    shared = conventional(second=0x060401)
    outside, inside = card("04:00.0", SHARED, 0x91000000), card("04:01.0", SHARED, 0x80400000)
    machine = replace(shared, functions={**shared.functions, outside.address: outside, inside.address: inside})
    claims = pollution(machine).claims
    assert not [c for c in claims if 0x91000000 in c.ranges]
    assert [(c.answer, c.by) for c in claims if 0x80400000 in c.ranges] == [(Answer.DIRECT, at(SHARED))]
