"""What firmware's tables leave out, name otherwise, or want mapped one to one."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from atoll.host.ivrs import id_aliases
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.machines import blueprint
from atoll.twin.machines.random.tables import ivrs
from atoll.twin.packet import Kind, Outcome, Packet
from atoll.twin.spec import Platform
from twin.bench import at, give
from twin.small import bridge, card, small

ROOT = PortType.ROOT_PORT
SERVED, LEFT_OUT = at("0000:01:00.0"), at("0000:02:00.0")
HOST_MEMORY = 0x1_0000_0000
REGION = (HOST_MEMORY, HOST_MEMORY + 0xFFFF)


def two() -> Twin:
    """Two cards behind root ports: of one the tables tell nothing."""
    return small(
        bridge("00:01.0", ROOT, (1, 1)),
        card("01:00.0"),
        bridge("00:02.0", ROOT, (2, 2), iommu=None),
        card("02:00.0", iommu=None),
    )


def as_requester(twin: Twin, source: Address, requester: int) -> Outcome:
    packet = Packet(Kind.WRITE, HOST_MEMORY, requester)
    return twin._attacker.router.send(twin._hardware(source), packet)


def test_nothing_translates_for_what_tables_leave_out() -> None:
    twin = two()
    assert twin.send(LEFT_OUT, HOST_MEMORY).memory_of == "host"
    assert twin.send(SERVED, HOST_MEMORY).stopped
    assert "iommu_group" not in twin.list(f"sys/bus/pci/devices/{LEFT_OUT}")


def test_its_name_means_nothing_to_an_iommu_and_names_mean_nothing_where_none_is() -> None:
    twin = two()
    assert as_requester(twin, SERVED, LEFT_OUT.requester_id).stopped.startswith("no context")
    assert as_requester(twin, LEFT_OUT, SERVED.requester_id).memory_of == "host"


def wanting() -> Twin:
    twin = two()
    twin = Twin(replace(twin.blueprint, firmware_memory=((SERVED, *REGION),)))
    twin.kernel.boot()
    return twin


def test_memory_for_firmware_is_mapped_one_to_one_and_shown() -> None:
    twin = wanting()
    group = twin.kernel.devices[SERVED].group
    lines = twin.read(f"sys/kernel/iommu_groups/{group}/reserved_regions").decode().splitlines()
    assert f"0x{REGION[0]:016x} 0x{REGION[1]:016x} direct" in lines
    assert twin.send(SERVED, REGION[0]).memory_of == "host"
    assert twin.send(SERVED, REGION[1]).memory_of == "host"
    assert twin.send(SERVED, REGION[1] + 1).stopped
    assert twin.send(SERVED, REGION[0] - 1).stopped


def test_nobody_is_given_a_device_whose_firmware_wants_memory() -> None:
    twin = wanting()
    give(twin, SERVED)
    with pytest.raises(OSError, match="firmware") as found:
        twin.event("open", [SERVED])
    assert found.value.errno == errno.EINVAL


def test_a_table_tells_the_aliases_of_the_machine_and_no_others() -> None:
    told = 0
    for seed in range(40):
        plan = blueprint(f"random-{seed}-tables", None, True)
        if plan.platform is not Platform.AMD or not plan.iommus:
            continue
        wanted = {
            (each.address.domain, each.address.requester_id, each.address.requester_id & 0xFF00 | each.dma_aliases[0])
            for each in plan.functions
            if each.iommu is not None and each.dma_aliases and (each.vendor, each.device) == (0x10EE, 0x9038)
        }
        found = id_aliases(ivrs(plan))
        assert {(each.segment, each.first, each.used) for each in found} == wanted
        assert all(each.first == each.last for each in found)
        told += len(wanted)
    assert told > 20
