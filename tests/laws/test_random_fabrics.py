"""Reach against packets on random fabrics; ``make law`` does the same for a million packets and more."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from packets import Tally, try_fabric

from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin import Twin
from atoll.twin.decoding import VGA_MEMORY, claimed, fixed_ports, forwarded, subtracts
from atoll.twin.function import Function
from atoll.twin.spec import DomainKind, Model

HIVES = (7, 8, 17, 23, 29, 31, 188, 204)
"""Machines with GPUs behind one switch or several, with links between those, and with hives."""


def test_no_packet_arrives_that_reach_denies_and_each_direct_is_shown_by_one() -> None:
    tally = Tally()
    for seed in range(40):
        tally += try_fabric(f"random-{seed}", random.Random(seed), pairs=25, clusters=1)
    assert not tally.wrong, tally.wrong[0]
    assert tally.packets > 50_000
    assert tally.delivered > 1_000, "hardly a packet arrived: the law was not tried"
    assert tally.directs > 100, "hardly a pair was direct: the law was not tried"
    assert tally.messages > 100
    assert tally.requests > 3_000
    assert tally.answered > 500, "hardly a request was answered before the IOMMU: the law was not tried"
    assert tally.taken > 100, "hardly a range is surely taken: the law was not tried"


def test_the_same_where_hardware_fixed_addresses() -> None:
    tally, fixed = Tally(), 0
    for seed in range(12):
        tally += try_fabric(f"random-{seed}-fixed", random.Random(seed), pairs=25, clusters=1)
        fixed += sum(spec.fixed for spec in Twin.new(f"random-{seed}-fixed").blueprint.functions)
    assert not tally.wrong, tally.wrong[0]
    assert fixed > 50
    assert tally.directs > 20
    assert tally.taken > 20


def test_the_same_with_virtual_functions_on_further_buses() -> None:
    tally, beyond = Tally(), 0
    for seed in (2, 18, 32, 38, 41, 44, 58):
        tally += try_fabric(f"random-{seed}-virtual", random.Random(seed), pairs=25, clusters=1)
        specs = Twin.new(f"random-{seed}-virtual").blueprint.functions
        beyond += sum(spec.physfn is not None and spec.physfn.bus != spec.address.bus for spec in specs)
    assert not tally.wrong, tally.wrong[0]
    assert beyond > 10
    assert tally.directs > 10


def test_the_same_with_cardbus_and_ports_of_ide() -> None:
    tally, sockets, ports = Tally(), 0, 0
    for seed in (4, 10, 13, 17, 24, 9026):
        tally += try_fabric(f"random-{seed}-legacy", random.Random(seed), pairs=25, clusters=1)
        functions = Twin.new(f"random-{seed}-legacy").kernel.hardware.functions.values()
        sockets += sum(each.spec.cardbus for each in functions)
        ports += sum(bool(fixed_ports(each)) for each in functions)
    assert not tally.wrong, tally.wrong[0]
    assert sockets > 5
    assert ports > 10
    assert tally.directs > 10


def test_the_same_where_somebody_resized_memory() -> None:
    tally, resized = Tally(), 0
    for seed in (2016, 9005, 9025):
        tally += try_fabric(f"random-{seed}-resizable", random.Random(seed), pairs=25, clusters=2)
        functions = Twin.new(f"random-{seed}-resizable").kernel.hardware.functions.values()
        resized += sum(each.size(bar) != bar.size for each in functions for bar in each.spec.bars)
    assert not tally.wrong, tally.wrong[0]
    assert resized > 10
    assert tally.directs > 10


def test_the_same_where_ports_and_devices_sleep() -> None:
    tally, sleepers = Tally(), 0
    for seed in (9, 10, 14, 100, 106):
        tally += try_fabric(f"random-{seed}-asleep", random.Random(seed), pairs=25, clusters=1)
        functions = Twin.new(f"random-{seed}-asleep").kernel.hardware.functions.values()
        sleepers += sum(bool(each.power) for each in functions)
    assert not tally.wrong, tally.wrong[0]
    assert sleepers > 20
    assert tally.delivered > 100
    assert tally.woken > 10, "hardly a pair is direct only once all is awake: the law was not tried"


def test_the_same_with_atomic_operations() -> None:
    tally = Tally()
    for seed in (1, 4, 8, 9):
        tally += try_fabric(f"random-{seed}-atomic", random.Random(seed), pairs=25, clusters=0)
    assert not tally.wrong, tally.wrong[0]
    assert tally.atomics > 20, "hardly an AtomicOp arrived: the law was not tried"


def test_the_same_where_tables_leave_out_alias_and_map() -> None:
    tally, left, named, wanted = Tally(), 0, 0, 0
    for seed in (0, 1, 4, 7, 9, 12, 17, 27):
        tally += try_fabric(f"random-{seed}-tables", random.Random(seed), pairs=25, clusters=1)
        plan = Twin.new(f"random-{seed}-tables").blueprint
        left += sum(each.iommu is None for each in plan.functions) if plan.iommus else 0
        named += sum(bool(each.dma_aliases) for each in plan.functions)
        wanted += len(plan.firmware_memory)
    assert not tally.wrong, tally.wrong[0]
    assert min(left, named, wanted) > 5
    assert tally.directs > 20


def test_the_same_with_ports_as_others_do_not_have_them() -> None:
    tally, together, second, own = Tally(), 0, 0, 0
    for seed in (1, 3, 5, 6, 8, 12):
        tally += try_fabric(f"random-{seed}-ports", random.Random(seed), pairs=25, clusters=1)
        ports = [each for each in Twin.new(f"random-{seed}-ports").blueprint.functions if each.is_bridge]
        together += sum(each.port is PortType.DOWNSTREAM and each.address.function > 0 for each in ports)
        second += sum(each.port is PortType.UPSTREAM and each.address.function > 0 for each in ports)
        own += sum(each.port in DOWNSTREAM_PORTS and bool(each.bars) for each in ports)
    assert not tally.wrong, tally.wrong[0]
    assert min(together, second, own) > 2
    assert tally.directs > 10


def test_the_same_where_ports_want_more_memory_than_there_was() -> None:
    for seed in (96000048, 96000108):  # with more functions, and with more memory of their own
        tally = try_fabric(f"random-{seed}-ports", random.Random(seed), pairs=25, clusters=1)
        assert not tally.wrong, tally.wrong[0]
        assert tally.packets > 0


def test_the_same_with_virtual_functions_of_several_physical_ones() -> None:
    tally, physical, translating = Tally(), 0, 0
    for seed in (2032, 2040, 2047, 2161):
        tally += try_fabric(f"random-{seed}-adapters", random.Random(seed), pairs=25, clusters=1)
        specs = Twin.new(f"random-{seed}-adapters").blueprint.functions
        physical += sum(each.address.function > 0 and each.vf_total > 0 for each in specs)
        translating += sum(each.physfn is not None and each.ats for each in specs)
    assert not tally.wrong, tally.wrong[0]
    assert min(physical, translating) > 5
    assert tally.directs > 10


def test_the_same_with_what_is_soldered_to_boards() -> None:
    tally, collectors, chipset, known = Tally(), 0, 0, 0
    for seed in (1, 2, 4, 7, 9, 10):
        tally += try_fabric(f"random-{seed}-board", random.Random(seed), pairs=25, clusters=1)
        specs = Twin.new(f"random-{seed}-board").blueprint.functions
        collectors += sum(each.port is PortType.EVENT_COLLECTOR for each in specs)
        chipset += sum(each.port is PortType.CONVENTIONAL and not each.is_bridge for each in specs)
        known += sum(bool(each.acs_quirk) for each in specs)
    assert not tally.wrong, tally.wrong[0]
    assert min(collectors, chipset, known) > 2
    assert tally.directs > 10


def test_the_same_on_arm_where_host_bridges_shift_addresses() -> None:
    tally, shifted, without = Tally(), 0, 0
    for seed in (1, 2, 4, 7, 9, 4040):
        tally += try_fabric(f"random-{seed}-arm", random.Random(seed), pairs=25, clusters=1)
        plan = Twin.new(f"random-{seed}-arm").blueprint
        shifted += sum(window.bus != window.cpu for bridge in plan.bridges for window in (bridge.low, bridge.high))
        without += not plan.iommus
    assert not tally.wrong, tally.wrong[0]
    assert shifted > 5
    assert without > 0
    assert tally.directs > 10


def test_the_same_with_functions_beyond_7_and_virtual_ones_anywhere() -> None:
    tally, wide, apart, further, grouped, hidden, narrow = Tally(), 0, 0, 0, 0, 0, 0
    for seed in (1, 6, 11, 18, 24, 34, 40000):
        tally += try_fabric(f"random-{seed}-ari", random.Random(seed), pairs=25, clusters=1)
        hardware = Twin.new(f"random-{seed}-ari").kernel.hardware
        for each in hardware.functions.values():
            spec = each.spec
            wide += spec.ari_next is not None and each.address.device > 0
            apart += spec.physfn is not None and spec.vf_stride > 1
            further += spec.physfn is not None and spec.physfn.bus != each.address.bus
            grouped += each.groups_functions
            hidden += not hardware.answers(each)
            narrow += not spec.ari_forwarding
    assert not tally.wrong, tally.wrong[0]
    assert min(wide, apart, further) > 10
    assert min(grouped, hidden, narrow) > 5
    assert tally.directs > 20


def test_the_same_with_switches_of_links_and_hives() -> None:
    tally, switched, between, hives = Tally(), 0, 0, 0
    for seed in HIVES:
        tally += try_fabric(f"random-{seed}-hive", random.Random(seed), pairs=25, clusters=1)
        plan = Twin.new(f"random-{seed}-hive").blueprint
        models = {each.address: each.model for each in plan.functions}
        for link in plan.links:
            ends = [models[link.a], models[link.b]]
            hives += Model.XGMI in ends
            switched += ends.count(Model.NVSWITCH) == 1
            between += ends.count(Model.NVSWITCH) == 2
    assert not tally.wrong, tally.wrong[0]
    assert switched > 40
    assert min(between, hives) > 3
    assert tally.forwarded > 20, "hardly anything was passed on over links: the law was not tried"
    assert tally.directs > 20


def test_the_same_with_power9_where_buses_are_endpoints() -> None:
    tally, together, further, apart, bypassed, links = Tally(), 0, 0, 0, 0, 0
    for seed in (0, 6, 7, 10, 12):
        tally += try_fabric(f"random-{seed}-powernv", random.Random(seed), pairs=25, clusters=1)
        kernel = Twin.new(f"random-{seed}-powernv").kernel
        for group in kernel.groups.values():
            members = [kernel.hardware.functions[address] for address in group.members]
            conventional = any(one.spec.port is PortType.CONVENTIONAL for one in members)
            buses = {address[:2] for address in group.members}
            assert len(buses) == 1 or conventional
            together += len(group.members) > 1
            further += len(buses) > 1
            apart += any(one.spec.physfn is not None for one in members) and len(members) == 1
            bypassed += group.kind is DomainKind.BYPASS
        links += len(kernel.blueprint.links)
    assert not tally.wrong, tally.wrong[0]
    assert min(together, apart, bypassed, links) > 5
    assert further > 0
    assert tally.directs > 20


def test_random_machines_decode_all_there_is() -> None:
    """Each of these in some of the machines that the law above tries, and machines without any of it, too."""
    machines = [Twin.new(f"random-{seed}") for seed in range(40)]
    functions = [each for twin in machines for each in twin.kernel.hardware.functions.values()]
    words = {what for each in functions for what, _, _ in each_claims(each)}
    assert {"ROM", "VGA memory", "VGA ports", "BAR 0"} <= words
    assert any(subtracts(each, io=False) for each in functions)
    bridges = [each for each in functions if each.spec.is_bridge]
    assert any(VGA_MEMORY in forwarded(each, io=False) for each in bridges)
    assert any(forwarded(each, io=True) for each in bridges)
    strayed = {store.offset for twin in machines for store in twin.blueprint.stray}
    assert {0x04, 0x10, 0x20, 0x3E} <= strayed
    assert any(not any(bridge.io.size for bridge in twin.blueprint.bridges) for twin in machines)


def each_claims(function: Function) -> list[tuple[str, int, int]]:
    return [*claimed(function, io=False), *claimed(function, io=True)]


@settings(max_examples=25)
@given(st.integers(0, 10**18 - 1))
def test_a_seed_is_one_machine(seed: int) -> None:
    one, other = (Twin.new(f"random-{seed}").blueprint for _ in range(2))
    assert one == other
    buses = [(each.address.domain, each.secondary) for each in one.functions if each.secondary]
    assert len(buses) == len(set(buses)), "two bridges with the same secondary bus"
    addresses = [each.address for each in one.functions]
    assert len(addresses) == len(set(addresses))
