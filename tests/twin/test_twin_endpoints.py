"""Partitionable endpoints of PowerNV: what shares one, and what requests under which ids select it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.iommu import Iommu
from atoll.twin.spec import DomainKind, FunctionSpec, Platform, Routing
from twin.bench import at
from twin.small import bridge, card, small

PCI = PortType.CONVENTIONAL


def powernv(*functions: FunctionSpec) -> Twin:
    plan = small(*functions).blueprint
    bridges = tuple(replace(each, routing=Routing.TRANSLATED) for each in plan.bridges)
    made = Twin(replace(plan, platform=Platform.POWERNV, bridges=bridges, iommus=(), default_domain=DomainKind.BYPASS))
    made.kernel.boot()
    return made


def groups(twin: Twin) -> set[str]:
    return {" ".join(str(a)[5:] for a in sorted(group.members)) for group in twin.kernel.groups.values()}


@pytest.fixture
def old() -> Twin:
    """A bridge to conventional PCI, with another bridge below, and a card beside it on another link."""
    return powernv(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 3)),
        bridge("01:00.0", PortType.PCIE_TO_PCI, (2, 3)),
        card("02:00.0", PCI),
        bridge("02:01.0", PCI, (3, 3)),
        card("03:04.0", PCI),
        bridge("00:02.0", PortType.ROOT_PORT, (4, 4)),
        card("04:00.0"),
    )


def test_all_below_a_bridge_to_conventional_pci_is_one(old: Twin) -> None:
    """A bridge is in the group of those that were there before it."""
    assert groups(old) == {"02:00.0 02:01.0 03:04.0", "04:00.0"}


def test_any_id_below_selects_it(old: Twin) -> None:
    found = [Iommu(old.kernel, old.vfio).requester(0, name) for name in (0x0200, 0x0208, 0x0300, 0x0320, 0x03FF)]
    assert [str(one.address)[5:] for one in found if one is not None] == [
        "02:00.0",
        "02:00.0",
        "03:04.0",
        "03:04.0",
        "03:04.0",
    ]
    assert Iommu(old.kernel, old.vfio).requester(0, 0x0500) is None
    alone = Iommu(old.kernel, old.vfio).requester(0, 0x0100)
    assert alone is not None
    assert alone.address == at("0000:01:00.0"), "a bus of bridges alone maps nothing"


def test_virtual_functions_are_one_each() -> None:
    physical = card("01:00.0", vf_total=2, vf_bar=0x10000, vf_offset=4)
    virtual = [card(f"01:00.{4 + n}", physfn=Address(0, 1, 0, 0), vf_index=n, bars=()) for n in range(2)]
    twin = powernv(bridge("00:01.0", PortType.ROOT_PORT, (1, 1)), physical, *virtual)
    assert groups(twin) == {"01:00.0", "01:00.4", "01:00.5"}
    found = [Iommu(twin.kernel, twin.vfio).requester(0, name) for name in (0x0100, 0x0104, 0x0105, 0x0106)]
    assert [one.address.function for one in found if one is not None] == [0, 4, 5, 0]
