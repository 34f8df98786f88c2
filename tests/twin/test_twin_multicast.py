"""Multicast: its registers, and where copies of posted writes go (PCI Express Base 6.14 and 7.9.11)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.packet import Kind, Outcome, Packet
from atoll.twin.spec import DomainKind, Routing
from twin.bench import set_acs, set_command
from twin.groups import (
    BASE,
    EVERYTHING,
    FAR,
    FIRST,
    GROUPS,
    INDEX,
    OTHER_ROOT,
    PORTS,
    ROOT_PORT,
    SECOND,
    THIRD,
    UPSTREAM,
    capability,
    control,
    load,
    parts,
    receive,
    store,
    switched_on,
    to_all,
)
from twin.small import bridge, card, small

ROOT, UP, DOWN, INTEGRATED = PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM, PortType.ROOT_INTEGRATED


def packet(source: Address, group: int, *, kind: Kind = Kind.WRITE, **more: Any) -> Packet:
    return Packet(kind, BASE + (group << INDEX) + 0x40, more.pop("requester", source.requester_id), **more)


def send(twin: Twin, source: Address, group: int = 1, **more: Any) -> Outcome:
    router = twin._attacker.router
    router.claims.begin()
    return router.send(twin.kernel.hardware.functions[source], packet(source, group, **more))


def takers(twin: Twin, source: Address, group: int = 1, **more: Any) -> set[Address]:
    return {end.function for end in send(twin, source, group, **more).ends() if end.function is not None}


# -- registers


def test_capability_is_found_by_its_number_and_only_where_it_is() -> None:
    twin = small(*parts())
    found = {}
    for address in (ROOT_PORT, UPSTREAM, FIRST):
        offset, heads = 0x100, []
        while offset:
            head = twin.peek(address, "config", offset)
            heads.append(head & 0xFFFF)
            offset = head >> 20
        found[address] = 0x0012 in heads
    assert found == {ROOT_PORT: True, UPSTREAM: True, FIRST: False}


@pytest.mark.parametrize("groups", [1, 5, 64])
def test_registers_hold_what_the_specification_lets_them_hold(groups: int) -> None:
    twin = small(*parts(groups, groups))
    ones, each = (1 << 64) - 1, (1 << groups) - 1
    for address, port in ((PORTS[0], True), (FIRST, False)):
        for register in (0x08, 0x10, 0x18, 0x20):
            store(twin, address, register, ones)
        control(twin, address, 0xFFFF)
        assert capability(twin, address) & 0x3F == groups - 1
        assert capability(twin, address) >> 8 == (0 if port else 12)
        assert load(twin, address, 0x04) >> 16 & 0xFFFF == 0x803F
        assert load(twin, address, 0x08) == ones & ~0xFC0
        assert [load(twin, address, register) for register in (0x10, 0x18, 0x20)] == [each] * 3
    store(twin, PORTS[0], 0x28, ones)
    assert load(twin, PORTS[0], 0x28) == ones
    before = load(twin, FIRST, 0x28)
    store(twin, FIRST, 0x28, ones)
    assert load(twin, FIRST, 0x28) == before, "an endpoint has no overlay"


def test_no_kernel_restores_it_after_a_reset() -> None:
    twin = switched_on(twin=small(*parts(cards=GROUPS, ats=True)))
    receive(twin, PORTS[0], 1)
    receive(twin, FIRST, 1)
    twin.reset(FIRST, "flr")
    assert (load(twin, FIRST, 0x08), load(twin, FIRST, 0x10)) == (0, 0)
    assert load(twin, PORTS[0], 0x10) == 2, "what was not reset keeps it"
    twin.reset(ROOT_PORT, "subordinate")
    assert load(twin, PORTS[0], 0x10) == 0
    assert twin.peek(PORTS[0], "config", 0x18) >> 8 & 0xFF == 3, "bus numbers are restored"


def test_registers_are_part_of_the_document(tmp_path: Any) -> None:
    name = next(f"random-{seed}-multicast" for seed in range(9) if Twin.new(f"random-{seed}-multicast").blueprint.setup)
    twin = Twin.new(name)
    twin.save(tmp_path / "twin")
    again = Twin.load(tmp_path / "twin")
    for change in twin.blueprint.setup:
        function = again.kernel.hardware.functions[change.function]
        assert function.get(change.offset, change.width), "a register that is set"
        break
    assert all(
        again.kernel.hardware.functions[address].config == function.config
        for address, function in twin.kernel.hardware.functions.items()
    )


# -- through a switch


def test_each_port_that_receives_a_group_forwards_it_but_never_back() -> None:
    twin = to_all(switched_on())
    assert takers(twin, FIRST) == {SECOND, THIRD}
    assert takers(twin, SECOND) == {FIRST, THIRD}
    assert takers(twin, FIRST, 2) == set()
    assert send(twin, FIRST, 2).stopped == "nobody receives group 2"


def test_only_posted_writes_to_groups_in_use_hit() -> None:
    twin = to_all(switched_on())
    assert takers(twin, FIRST, kind=Kind.READ) == set()
    assert send(twin, FIRST, kind=Kind.READ).asked, "a read goes where its address leads"
    receive(twin, PORTS[1], 0, 1, 2, 3, onto=SECOND)
    assert [takers(twin, FIRST, group) for group in (-1, 0, 3, 4)] == [set(), {SECOND}, {SECOND}, set()]
    for port in (UPSTREAM, *PORTS):
        control(twin, port, GROUPS - 1)
    assert takers(twin, FIRST) == set()


def test_of_acs_only_source_validation_applies() -> None:
    twin = to_all(switched_on())
    others = EVERYTHING & ~AcsFlag.SV
    set_acs(twin, PORTS[0], int(others))
    twin.poke(PORTS[0], "config", 0x228, 0xFFFFFFFF)
    assert takers(twin, FIRST) == {SECOND, THIRD}
    assert takers(twin, FIRST, translated=True) == {SECOND, THIRD}
    assert takers(twin, FIRST, requester=FAR.requester_id) == {SECOND, THIRD}
    set_acs(twin, PORTS[0], int(AcsFlag.SV))
    assert takers(twin, FIRST) == {SECOND, THIRD}
    assert takers(twin, FIRST, requester=FAR.requester_id) == set()


def test_blocks_are_those_of_the_port_that_it_comes_in_by() -> None:
    twin = to_all(switched_on())
    store(twin, PORTS[1], 0x18, 0b10)
    assert takers(twin, FIRST) == {SECOND, THIRD}
    store(twin, PORTS[0], 0x18, 0b100)
    assert takers(twin, FIRST) == {SECOND, THIRD}, "another group"
    store(twin, PORTS[0], 0x18, 0b10)
    assert takers(twin, FIRST) == set()
    assert "MC_Block_All at 0000:02:01.0" in send(twin, FIRST).stopped
    store(twin, PORTS[0], 0x18, 0)
    store(twin, PORTS[0], 0x20, 0b10)
    assert takers(twin, FIRST) == set()
    assert takers(twin, FIRST, translated=True) == {SECOND, THIRD}
    assert "MC_Block_Untranslated" in send(twin, FIRST).stopped


def test_a_port_without_bus_mastering_takes_nothing_from_below() -> None:
    twin = to_all(switched_on())
    set_command(twin, PORTS[0], off=4)
    assert takers(twin, FIRST) == set()


def test_overlay_replaces_the_upper_bits_of_an_address() -> None:
    twin = switched_on()
    start = twin.kernel.hardware.placement.bars[SECOND, 0].start
    receive(twin, PORTS[1], 1)
    assert takers(twin, FIRST) == set(), "the card knows nothing of the group's own address"
    for bits, reached in ((5, False), (0, False), (12, True), (16, True)):
        store(twin, PORTS[1], 0x28, start | bits)
        assert (takers(twin, FIRST) == {SECOND}) == reached, bits
    store(twin, PORTS[1], 0x28, start | 20)
    assert takers(twin, FIRST) == set(), "group 1 of 64 KiB is 64 KiB beyond, where the overlay covers all of them"


def test_a_copy_that_leaves_upwards_is_a_request_of_its_own() -> None:
    twin = switched_on(UPSTREAM, *PORTS, twin=small(*parts(), domain=DomainKind.IDENTITY))
    assert not send(twin, FIRST).asked
    receive(twin, UPSTREAM, 1)
    store(twin, UPSTREAM, 0x28, 0x1_0000_0000 | 16)
    (end,) = send(twin, FIRST).ends()
    assert end.memory_of == "host"
    assert end.path[-1].via == "0x100000040"
    set_command(twin, UPSTREAM, off=4)
    assert "bus mastering" in send(twin, FIRST).stopped


def test_what_comes_from_above_is_copied_downwards() -> None:
    twin = to_all(switched_on(UPSTREAM, *PORTS, OTHER_ROOT, ROOT_PORT))
    receive(twin, ROOT_PORT, 1)
    assert takers(twin, FAR) == {FIRST, SECOND, THIRD}
    store(twin, UPSTREAM, 0x18, 0b10)
    assert takers(twin, FAR) == set()


def test_functions_that_disagree_do_what_any_of_them_says() -> None:
    twin = to_all(switched_on(UPSTREAM, *PORTS))
    control(twin, PORTS[1], 0)
    ends = list(send(twin, FIRST).ends())
    assert {end.function for end in ends if end.function} == {SECOND, THIRD}
    assert any(end.asked for end in ends), "it may go by its address, too"
    store(twin, PORTS[0], 0x18, 0b10)
    assert takers(twin, FIRST) == set()
    control(twin, PORTS[0], 0)
    assert takers(twin, FIRST) == {SECOND, THIRD}, "nothing says that a block counts where Multicast is off"


def test_a_port_without_the_capability_may_let_it_in_and_never_out() -> None:
    plain = [bridge(f"02:0{number}.0", DOWN, (2 + number, 2 + number)) for number in (1, 3)]
    kept = [each for each in parts() if each.address not in (PORTS[0], PORTS[2])]
    twin = switched_on(UPSTREAM, PORTS[1], twin=small(*kept, *plain))
    receive(twin, PORTS[1], 1, onto=SECOND)
    ends = list(send(twin, FIRST).ends())
    assert {end.function for end in ends if end.function} == {SECOND}
    assert any(end.asked for end in ends)


# -- endpoints


def test_an_endpoint_with_the_capability_takes_its_groups_and_no_bar_of_its_own_there() -> None:
    twin = switched_on(twin=small(*parts(cards=GROUPS, ats=True)))
    receive(twin, PORTS[1], 0, 1, 2)
    receive(twin, SECOND, 1)
    assert [takers(twin, FIRST, group) for group in (0, 1, 2)] == [set(), {SECOND}, set()]
    set_command(twin, SECOND, off=2)
    assert takers(twin, FIRST) == set()


@pytest.mark.parametrize("on", [True, False])
def test_an_endpoint_that_hits_does_not_look_at_its_bars(on: bool) -> None:
    twin = switched_on(twin=small(*parts(cards=GROUPS)))
    start = twin.kernel.hardware.placement.bars[SECOND, 0].start
    for address in (UPSTREAM, *PORTS, FIRST, SECOND, THIRD):
        store(twin, address, 0x08, start | 12)
    store(twin, PORTS[1], 0x10, 0b10)
    if not on:
        control(twin, SECOND, 0)
    ends = twin.send(FIRST, start + 0x1040).ends()
    assert {end.function for end in ends} == ({None} if on else {SECOND})


def test_an_endpoint_does_not_send_what_it_blocks() -> None:
    twin = to_all(switched_on(twin=small(*parts(cards=GROUPS, ats=True))))
    for address in (SECOND, THIRD):
        control(twin, address, 0)
    assert takers(twin, FIRST) == {SECOND, THIRD}
    store(twin, FIRST, 0x20, 0b10)
    assert takers(twin, FIRST) == set()
    assert takers(twin, FIRST, translated=True) == {SECOND, THIRD}
    store(twin, FIRST, 0x18, 0b10)
    assert takers(twin, FIRST, translated=True) == set()


def test_functions_of_a_device_take_what_another_one_sends() -> None:
    both = [card(f"01:00.{number}", multifunction=True, acs=REDIRECTING, multicast_groups=4) for number in (0, 1)]
    twin = switched_on(twin=small(bridge("00:01.0", ROOT, (1, 1)), *both))
    one, other = (each.address for each in both)
    set_acs(twin, one, int(AcsFlag.RR | AcsFlag.CR))
    receive(twin, other, 1)
    assert takers(twin, one) == {other}
    assert any(end.asked for end in send(twin, one).ends()), "it leaves by the link, too"
    alone = [card(f"01:00.{number}", multifunction=True, loopback=False, multicast_groups=4) for number in (0, 1)]
    twin = switched_on(twin=small(bridge("00:01.0", ROOT, (1, 1)), *alone))
    receive(twin, other, 1)
    assert takers(twin, one) == set()


def test_a_switch_takes_what_an_engine_in_its_own_slot_sends() -> None:
    found = [each for each in parts() if each.address != UPSTREAM]
    upstream = bridge("01:00.0", UP, (2, 5), multicast_groups=GROUPS, multifunction=True)
    engine = card("01:00.1", multifunction=True)
    twin = to_all(switched_on(UPSTREAM, *PORTS, twin=small(*found, upstream, engine)))
    assert takers(twin, engine.address) == {FIRST, SECOND, THIRD}
    store(twin, UPSTREAM, 0x18, 0b10)
    assert takers(twin, engine.address) == set()


# -- root complexes


def test_a_root_complex_forwards_between_its_ports_and_asks_its_translation() -> None:
    twin = switched_on(ROOT_PORT, OTHER_ROOT)
    set_acs(twin, OTHER_ROOT, int(REDIRECTING))
    receive(twin, ROOT_PORT, 1, onto=FIRST)
    ends = list(send(twin, FAR).ends())
    assert {end.function for end in ends if end.function} == {FIRST}
    assert any(end.asked for end in ends)
    store(twin, OTHER_ROOT, 0x20, 0b10)
    assert takers(twin, FAR) == set()
    assert not send(twin, FAR).asked


@pytest.mark.parametrize("routing", [Routing.TRANSLATED, Routing.NONE])
def test_a_root_complex_that_routes_nothing_by_itself_copies_nothing_by_itself(routing: Routing) -> None:
    inside = card("00:05.0", INTEGRATED, multicast_groups=GROUPS)
    plan = small(*parts(), inside).blueprint
    twin = Twin(replace(plan, bridges=(replace(plan.bridges[0], routing=routing),)))
    twin.kernel.boot()
    switched_on(twin=twin)
    receive(twin, ROOT_PORT, 1, onto=FIRST)
    receive(twin, inside.address, 1)
    for source in (FAR, inside.address):
        assert takers(twin, source) == set()
        assert send(twin, source).asked
    to_all(twin)
    assert takers(twin, FIRST) == {SECOND, THIRD}, "a switch does not ask it"


def test_endpoints_in_a_root_complex_send_and_take() -> None:
    inside = card("00:05.0", INTEGRATED, multicast_groups=GROUPS)
    twin = switched_on(ROOT_PORT, OTHER_ROOT, inside.address, twin=small(*parts(), inside))
    receive(twin, OTHER_ROOT, 1, onto=FAR)
    receive(twin, inside.address, 1)
    assert takers(twin, inside.address) == {FAR}
    assert takers(twin, FAR) == {inside.address}
    store(twin, inside.address, 0x20, 0b10)
    assert takers(twin, inside.address) == set()
    told = card("00:05.0", INTEGRATED, acs_quirk=True)
    twin = switched_on(ROOT_PORT, OTHER_ROOT, twin=small(*parts(), told))
    receive(twin, OTHER_ROOT, 1, onto=FAR)
    assert takers(twin, told.address) == set(), "the vendor says that what it sends is translated"


def test_what_was_translated_may_hit_again() -> None:
    plain = small(*parts(), domain=DomainKind.IDENTITY).blueprint
    twin = Twin(replace(plain, bridges=(replace(plain.bridges[0], routing=Routing.TRANSLATED),)))
    twin.kernel.boot()
    switched_on(OTHER_ROOT, twin=twin)
    store(twin, OTHER_ROOT, 0x10, 0b10)
    store(twin, OTHER_ROOT, 0x28, twin.kernel.hardware.placement.bars[FAR, 0].start | 16)
    set_acs(twin, ROOT_PORT, int(REDIRECTING))
    assert takers(twin, FIRST) == {FAR}


# -- attacks


def test_an_attack_finds_a_group_that_leads_to_its_victim() -> None:
    twin = switched_on(UPSTREAM, *PORTS, twin=small(*parts(ats=True)))
    for port in (ROOT_PORT, *PORTS):
        set_acs(twin, port, int(REDIRECTING | AcsFlag.TB))
    assert not twin.attack(FIRST, SECOND).reached
    receive(twin, PORTS[1], 2, onto=SECOND)
    attack = twin.attack(FIRST, SECOND)
    assert attack.reached
    assert {each.kind for each in attack.attempts if each.delivered and "write" in each.kind} == {
        "multicast-write",
        "translated-multicast-write",
    }
    assert not twin.attack(SECOND, FIRST).reached
    assert not twin.attack(FIRST, THIRD).reached
