"""Pollution on handmade hosts: what the rules say of switches, devices and root complexes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from groups_hosts import ACS_OFF, ACS_ON, at, function, port
from pollution_hosts import (
    BLUE,
    BLUE_PORT,
    MIB,
    ON,
    RED,
    RED_PORT,
    ROOT,
    SHARED,
    TOP,
    box,
    card,
    changed,
    conventional,
    pollution,
    told,
    windowed,
)

from atoll.fabric.answer import Answer, Policy
from atoll.host.fact import Known, Unknown
from atoll.host.model import Platform, RootRouting
from atoll.isolation.iova.ranges import Ranges
from atoll.pci.acs import Acs, AcsEnhanced, AcsFlag
from atoll.pci.bar import Bar
from atoll.pci.bridge import Window
from atoll.pci.header import Command, PortType
from atoll.pci.multicast import Multicast
from atoll.pci.sriov import Sriov


def test_a_port_that_redirects_lets_nothing_turn() -> None:
    found = pollution(box())
    assert told(found) == [("lost", "direct", TOP, 0x80800000, 0x80FFFFFF)]
    assert not found.unknown


def test_of_what_multicast_copies_nothing_is_surely_taken() -> None:
    """Normal routing is suspended for it (Base Specification 6.14.1): a copy may go up, whatever the windows hold."""
    window = Known(Multicast(enabled=True, base=0x80A00000, size=MIB))
    found = pollution(changed(box(), TOP, multicast=window))
    lost = [one for one in told(found) if one[0] == "lost"]
    assert lost == [
        ("lost", "direct", TOP, 0x80800000, 0x809FFFFF),
        ("lost", "direct", TOP, 0x80B00000, 0x80FFFFFF),
        ("lost", "possible", TOP, 0x80A00000, 0x80AFFFFF),
    ]
    assert ("claimed", "possible", TOP, 0x80A00000, 0x80AFFFFF) in told(found)


def test_what_nobody_claims_may_be_redirected_too() -> None:
    better = replace(ACS_ON, enhanced=AcsEnhanced.UNCLAIMED_REDIRECT)
    assert told(pollution(box(red=better))) == []
    assert told(pollution(box(red=better), BLUE)) == [("lost", "direct", TOP, 0x80800000, 0x80FFFFFF)]
    assert told(pollution(box(red=replace(ACS_ON, enhanced=AcsEnhanced(0)))))


def test_a_port_that_does_not_lets_its_peers_answer() -> None:
    off = replace(ACS_OFF, control=AcsFlag.UF)
    found = pollution(box(red=off))
    assert told(found) == [
        ("claimed", "direct", BLUE_PORT, 0x80400000, 0x807FFFFF),
        ("lost", "direct", TOP, 0x80800000, 0x80FFFFFF),
    ]
    assert found.claims[0].decider == at(RED_PORT)
    assert "ReqRedir-" in found.claims[0].because
    assert told(pollution(box(red=off), BLUE)) == [("lost", "direct", TOP, 0x80800000, 0x80FFFFFF)]


@pytest.mark.parametrize(
    ("control", "vector", "expected"),
    [
        (AcsFlag.UF | AcsFlag.EC, 1 << 7, ("lost", "direct")),
        (AcsFlag.UF | AcsFlag.EC | AcsFlag.RR, 1 << 7, None),
        (AcsFlag.UF | AcsFlag.EC | AcsFlag.RR, 0, ("claimed", "direct")),
        (AcsFlag.UF | AcsFlag.EC, None, ("claimed", "possible")),
    ],
    ids=["blocks", "redirects", "leaves open", "not read"],
)
def test_what_egress_control_blocks_is_lost(
    control: AcsFlag, vector: int | None, expected: tuple[str, str] | None
) -> None:
    acs = Acs(ACS_ON.capability | AcsFlag.EC, control, 0x148, 0x14E, egress_bits=8, egress_vector=vector)
    machine = changed(box(red=acs), BLUE_PORT, port_number=Known(7))
    found = [one for one in told(pollution(machine)) if one[2] == BLUE_PORT]
    assert found == ([] if expected is None else [(*expected, BLUE_PORT, 0x80400000, 0x807FFFFF)])


@pytest.mark.parametrize(
    ("place", "enhanced", "fate"),
    [
        (RED_PORT, AcsEnhanced.OWN_BLOCK, "lost"),
        (RED_PORT, AcsEnhanced.OWN_REDIRECT, None),
        (RED_PORT, AcsEnhanced(0), "claimed"),
        (TOP, AcsEnhanced.UP_BLOCK, "lost"),
        (TOP, AcsEnhanced.UP_REDIRECT, None),
        (TOP, AcsEnhanced.OWN_BLOCK, "claimed"),
    ],
)
def test_what_a_port_answers_to_itself_may_be_blocked(place: str, enhanced: AcsEnhanced, fate: str | None) -> None:
    bars = Known((Bar(0, 0xC0000000, MIB, memory=True),))
    found = pollution(changed(box(red=replace(ACS_ON, enhanced=enhanced)), place, bars=bars))
    held = [one for one in told(found) if one[3] == 0xC0000000]
    assert held == ([] if fate is None else [(fate, "direct", place, 0xC0000000, 0xC00FFFFF)])


def test_without_upstream_forwarding_the_own_side_is_lost() -> None:
    found = pollution(box(red=replace(ACS_ON, control=ACS_ON.control & ~AcsFlag.UF)))
    assert told(found)[0] == ("lost", "direct", RED_PORT, 0x80000000, 0x803FFFFF)
    # Redirected by the switch, and not sent back by the root port.
    found = pollution(box(root=replace(ACS_ON, control=ACS_ON.control & ~AcsFlag.UF)))
    assert ("lost", "direct", ROOT, 0x80000000, 0x807FFFFF) in told(found)


def test_a_bridge_to_pcie_keeps_what_is_for_its_own_side() -> None:
    machine = changed(box(), RED_PORT, port_type=Known(PortType.PCI_TO_PCIE), acs=Known(None))
    assert ("lost", "direct", RED_PORT, 0x80000000, 0x803FFFFF) in told(pollution(machine))


def test_acs_that_was_not_read_is_possible() -> None:
    found = pollution(box(red=Unknown("cut")))
    assert ("claimed", "possible", BLUE_PORT, 0x80400000, 0x807FFFFF) in told(found)
    assert ("lost", "possible", RED_PORT, 0x80000000, 0x803FFFFF) in told(found)


def test_what_decodes_nothing_now_may_later() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    functions = dict(machine.functions)
    functions[at(BLUE_PORT)] = replace(functions[at(BLUE_PORT)], command=Known(Command(0)))
    found = pollution(replace(machine, functions=functions))
    assert ("claimed", "possible", BLUE_PORT, 0x80400000, 0x807FFFFF) in told(found)


def test_windows_that_were_not_read_are_unknown() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    functions = dict(machine.functions)
    functions[at(BLUE_PORT)] = replace(functions[at(BLUE_PORT)], bridge=Unknown("cut to 64 bytes"))
    found = pollution(replace(machine, functions=functions))
    assert any(BLUE_PORT in text and "cut to 64 bytes" in text for text in found.unknown)
    redirected = replace(box(), functions={**functions, at(RED_PORT): box().functions[at(RED_PORT)]})
    assert not pollution(redirected).unknown, "nothing turns towards it"


def test_what_vectors_cover_is_forwarded_perhaps() -> None:
    """A Flattening Portal Bridge's: which part of it, is not read."""
    span = (0x1_0000_0000, 0x1_0FFF_FFFF)

    def found(place: str, **more: Any) -> list[tuple[str, str, str, int, int]]:
        machine = box(**more)
        numbers = machine.functions[at(place)].bridge
        assert isinstance(numbers, Known)
        assert numbers.value is not None
        bridge = numbers.value._replace(vectors=(Window(*span, memory=True),))
        polluted = pollution(changed(machine, place, bridge=Known(bridge)))
        assert not polluted.unknown
        return [one for one in told(polluted) if one[3] == span[0]]

    assert found(BLUE_PORT) == []
    assert found(BLUE_PORT, red=ACS_OFF) == [("claimed", "possible", BLUE_PORT, *span)]
    assert found(RED_PORT) == []
    assert found(RED_PORT, red=ACS_OFF) == [("lost", "possible", RED_PORT, *span)]
    assert found(TOP) == [("lost", "possible", TOP, *span)], "what nothing behind it answers"


def test_a_bar_without_size_takes_what_it_may_hold() -> None:
    second = replace(
        function("03:00.1", RED_PORT, multifunction=True),
        bars=Known((Bar(0, 0x80200000, 0, memory=True),)),
        command=ON,
    )
    found = pollution(box(extra=(second,)))
    assert ("claimed", "possible", "03:00.1", 0x80200000, 0x803FFFFF) in told(found)


def test_a_bar_that_was_moved_answers_in_either_place() -> None:
    bar = Bar(0, 0x80400000, MIB, memory=True, register=0x80900000)
    second = replace(function("03:00.1", RED_PORT, multifunction=True), bars=Known((bar,)), command=ON)
    found = [one for one in told(pollution(box(extra=(second,)))) if one[2] == "03:00.1"]
    assert found == [
        ("claimed", "possible", "03:00.1", 0x80400000, 0x804FFFFF),
        ("claimed", "possible", "03:00.1", 0x80900000, 0x809FFFFF),
    ]


def beside(bar: Bar, *, on: bool = True, **more: Any) -> list[tuple[str, str, str, int, int]]:
    """What the other function of red's device, with this BAR, takes of red's requests."""
    command = ON if on else Known(Command.MASTER)
    other = replace(function("03:00.1", RED_PORT, multifunction=True), bars=Known((bar,)), command=command)
    return [one for one in told(pollution(box(extra=(replace(other, **more),)))) if one[2] == "03:00.1"]


@pytest.mark.parametrize(
    ("size", "register", "first"), [(4 * MIB, None, 0x80400000), (4 * MIB, 0x80800000, 0x80800000)]
)
def test_a_bar_that_was_made_bigger_answers_to_all_of_it(size: int, register: int | None, first: int) -> None:
    found = beside(Bar(0, 0x80400000, MIB, memory=True, register=register, resized=size))
    parts = {(one[0], one[1], start, end) for one in found for start, end in [one[3:]]}
    assert all(certain == "possible" for _, certain, _, _ in parts)
    taken = {mib for _, _, start, end in parts for mib in range(start, end, MIB)}
    assert taken == {0x80400000, *range(first, first + size, MIB)}


def test_a_bar_that_was_made_smaller_is_in_doubt() -> None:
    found = beside(Bar(0, 0x80400000, 4 * MIB, memory=True, resized=MIB))
    assert {one[1] for one in found} == {"possible"}
    assert {mib for one in found for mib in range(one[3], one[4], MIB)} == set(range(0x80400000, 0x80800000, MIB))


def test_a_bar_that_holds_0_answers_there_while_memory_is_decoded() -> None:
    at_zero = ("claimed", "possible", "03:00.1", 0, MIB - 1)
    moved = Bar(0, 0x80400000, MIB, memory=True, register=0)
    placed = ("claimed", "possible", "03:00.1", 0x80400000, 0x804FFFFF)
    assert beside(moved) == [at_zero, placed]
    assert beside(moved, on=False) == [placed], "who switches it on gives it an address first"
    assert beside(Bar(0, 0, MIB, memory=True)) == [at_zero]
    assert beside(Bar(0, 0, MIB, memory=True), on=False) == []
    assert beside(Bar(0, 0, MIB, memory=True, register=0x80400000)) == [placed], "where the kernel found no place"
    assert at_zero not in beside(moved, physical_function=at("03:00.7")), (
        "registers of virtual functions are zero and mean nothing"
    )


def test_how_far_a_bar_without_size_reaches_from_0_is_unknown() -> None:
    bar = Bar(0, 0, 0, memory=True)
    other = replace(function("03:00.1", RED_PORT, multifunction=True), bars=Known((bar,)), command=ON)
    assert any("BAR 0 of 0000:03:00.1" in text for text in pollution(box(extra=(other,))).unknown)
    off = replace(other, command=Known(Command.MASTER))
    assert not pollution(box(extra=(off,))).unknown


def test_where_virtual_functions_hold_0() -> None:
    bar = Bar(0, 0x80300000, 0x40000, memory=True, register=0)
    for enabled, expected in ((4, [(0, 0x3FFFF), (0x80300000, 0x8033FFFF)]), (0, [(0x80300000, 0x8033FFFF)])):
        sriov = Known(Sriov(8, enabled, 0x160, True, (bar,)))
        found = beside(Bar(0, 0x80200000, MIB, memory=True), sriov=sriov)
        assert [one[3:] for one in found if one[3] != 0x80200000] == expected


def test_where_virtual_functions_are_switched_on() -> None:
    bar = Bar(0, 0x80300000, 0x40000, memory=True)
    ranges = (0x80300000, 0x8033FFFF)
    second = replace(
        card("03:00.1", RED_PORT, 0x80200000), multifunction=Known(True), sriov=Known(Sriov(8, 0, 0x160, False, (bar,)))
    )
    assert ("claimed", "possible", "03:00.1", *ranges) in told(pollution(box(extra=(second,))))
    unsized: Known[Sriov | None] = Known(Sriov(8, 4, 0x160, True, (replace(bar, size=0),)))
    found = told(pollution(box(extra=(replace(second, sriov=unsized),))))
    assert ("claimed", "possible", "03:00.1", 0x80300000, 0x803FFFFF) in found, "to the end of the port's window"
    unread: Known[Sriov | None] = Known(Sriov(8, 4, 0x160, True, None))
    found = told(pollution(box(extra=(replace(second, sriov=unread),))))
    assert any(each[2] == "03:00.1" and each[3] <= 0x80300000 <= each[4] for each in found), "anywhere in the window"
    virtual = replace(card("03:00.2", RED_PORT, 0x80300000, 0x10000), physical_function=at("03:00.1"))
    for memory, answer in ((True, "direct"), (False, "possible")):
        owner = replace(second, acs=Known(ACS_OFF), sriov=Known(Sriov(8, 4, 0x160, memory, (bar,))))
        red = replace(card(RED, RED_PORT, 0x80000000), acs=Known(ACS_OFF), multifunction=Known(True))
        claims = pollution(box(extra=(red, owner, virtual))).claims
        assert {c.answer.word for c in claims if c.by == virtual.address} == {answer}


def test_virtual_functions_answer_where_the_register_of_their_physical_one_puts_them() -> None:
    shared = Bar(0, 0x80300000, 0x40000, memory=True, register=0x80700000)
    owner = replace(
        card("03:00.1", RED_PORT, 0x80200000),
        multifunction=Known(True),
        acs=Known(ACS_OFF),
        sriov=Known(Sriov(8, 4, 0x160, True, (shared,))),
    )
    virtual = replace(card("03:00.3", RED_PORT, 0x80310000, 0x10000), physical_function=at("03:00.1"))
    red = replace(card(RED, RED_PORT, 0x80000000), acs=Known(ACS_OFF), multifunction=Known(True))
    claims = [one for one in pollution(box(extra=(red, owner, virtual))).claims if one.by == virtual.address]
    assert {one.answer for one in claims} == {Answer.POSSIBLE}
    spans = [(part.start, part.end) for one in claims for part in one.ranges]
    assert spans == [(0x80310000, 0x8031FFFF), (0x80710000, 0x8071FFFF)]


def test_elsewhere_than_on_x86_bars_may_count_addresses_otherwise() -> None:
    off = replace(conventional(), platform=Platform.POWERNV)
    far = changed(off, SHARED, bars=Known((Bar(0, 0x3FE0_8020_0000, MIB, memory=True),)))
    claims = [c for c in pollution(far).claims if c.what == "BAR 0"]
    assert [c.answer for c in claims] == [Answer.POSSIBLE]
    assert all(0x80200000 in c.ranges for c in claims), "it answers somewhere in the window"
    assert not [c for c in pollution(off).claims if c.what == "BAR 0" and c.answer is not Answer.DIRECT]
    bar = Bar(0, 0x3FE0_8020_0000, MIB, memory=True, register=0x80200000)
    read = [c for c in pollution(changed(off, SHARED, bars=Known((bar,)))).claims if c.what == "BAR 0"]
    assert [(c.answer, c.ranges) for c in read] == [(Answer.DIRECT, Ranges.of((0x80200000, 0x802FFFFF)))]


def test_functions_of_a_device_without_acs_are_an_open_question() -> None:
    second = replace(card("03:00.1", RED_PORT, 0x80200000), multifunction=Known(True))
    assert ("claimed", "possible", "03:00.1", 0x80200000, 0x802FFFFF) in told(pollution(box(extra=(second,))))
    trusted = pollution(box(extra=(second,)), policy=Policy.TRUSTED)
    assert "03:00.1" not in {entry[2] for entry in told(trusted)}
    assert "multifunction-without-acs" in trusted.assumptions


@pytest.mark.parametrize(
    ("routing", "answer"), [(None, "possible"), (RootRouting.DIRECT, "direct"), (RootRouting.NONE, None)]
)
def test_the_root_complex(routing: RootRouting | None, answer: str | None) -> None:
    other = windowed(port("00:02.0", 5), 0x90000000, 0x900FFFFF)
    machine = box(root=replace(ACS_OFF, control=AcsFlag.UF), extra=(other,))
    if routing is not None:
        machine = replace(machine, root_routing={"pci0000:00": Known(routing)})
    entries = [entry for entry in told(pollution(machine)) if entry[2] == "00:02.0"]
    assert entries == ([] if answer is None else [("claimed", answer, "00:02.0", 0x90000000, 0x900FFFFF)])


@pytest.mark.parametrize(
    ("routing", "answer"), [(None, "possible"), (RootRouting.DIRECT, "direct"), (RootRouting.NONE, "possible")]
)
def test_egress_control_of_a_root_port_blocks_what_is_routed_to_peers(routing: RootRouting | None, answer: str) -> None:
    """Where the root complex routes nothing to peers, it goes up to the translation."""
    control = AcsFlag.UF | AcsFlag.EC
    acs = Acs(ACS_ON.capability | AcsFlag.EC, control, 0x148, 0x14E, egress_bits=8, egress_vector=1 << 2)
    machine = box(root=acs, extra=(windowed(port("00:02.0", 5), 0x90000000, 0x900FFFFF),))
    machine = changed(machine, "00:02.0", port_number=Known(2))
    if routing is not None:
        machine = replace(machine, root_routing={"pci0000:00": Known(routing)})
    entries = [entry for entry in told(pollution(machine)) if entry[2] == "00:02.0"]
    assert entries == [("lost", answer, "00:02.0", 0x90000000, 0x900FFFFF)]


@pytest.mark.parametrize(
    ("start", "answer"), [(0x81000000, "direct"), (0x80300000, "possible")], ids=["apart", "in its window"]
)
def test_what_a_port_answers_to_and_forwards_as_well_may_be_either(start: int, answer: str) -> None:
    off = replace(ACS_ON, control=AcsFlag.UF)
    machine = changed(box(red=off), TOP, bars=Known((Bar(0, start, 0x2000, memory=True),)))
    claims = [(c.answer.word, c.ranges) for c in pollution(machine).claims if c.what == "BAR 0"]
    assert claims == [(answer, Ranges.of((start, start + 0x1FFF)))]


def test_what_a_port_forwards_and_its_peer_as_well_may_go_either_way() -> None:
    """Windows that somebody set one over another: with UpstreamFwd it may as well go up."""
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    wider = windowed(machine.functions[at(BLUE_PORT)], 0x80200000, 0x807FFFFF)
    machine = changed(machine, BLUE_PORT, bridge=wider.bridge)
    claims = [claim for claim in told(pollution(machine)) if claim[2] == BLUE_PORT]
    assert claims == [
        ("claimed", "direct", BLUE_PORT, 0x80400000, 0x807FFFFF),
        ("claimed", "possible", BLUE_PORT, 0x80200000, 0x803FFFFF),
    ]


def test_a_way_up_that_was_not_read_is_unknown() -> None:
    machine = box()
    functions = {a: f for a, f in machine.functions.items() if a != at(RED_PORT)}
    assert pollution(replace(machine, functions=functions)).unknown


@pytest.mark.parametrize("what", ["bars", "rom"])
def test_what_a_port_above_holds_and_no_window_bounds_is_told_where_it_was_not_read(what: str) -> None:
    """No port stands above a root port: its own BARs and ROM may be anywhere, and whether it redirects from them is
    left open."""
    machine = box()
    assert not pollution(machine).unknown
    root = machine.functions[at(ROOT)]
    if what == "rom":
        root = replace(root, bars=Known((Bar(0, 0xC0000000, MIB, memory=True),)), rom=Unknown("not shown"))
    else:
        root = replace(root, bars=Unknown("not shown"))
    found = pollution(replace(machine, functions={**machine.functions, at(ROOT): root}))
    assert any(ROOT in text and "not shown" in text for text in found.unknown)
