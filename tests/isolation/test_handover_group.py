"""Ports that are in the IOMMU group of a device that VFIO has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import OFF, Scene, acs, at, clusters, machine, scene, switch

from atoll.fabric.answer import Answer
from atoll.host.fact import Known
from atoll.host.model import Holder, Platform
from atoll.isolation.handover import handed_over
from atoll.isolation.reach import Reach

CARD = at("03:00.0")


def below_a_switch(platform: Platform = Platform.X86, *, held: bool = False) -> Scene:
    """A card that can send the ids of all ports above it, all in one group, whose addresses pass unchanged by default.

    Other ids do not pass the root port.
    """
    functions = [replace(function, group=Known(7)) for function in switch(OFF, root=acs("SV"))]
    host = machine(*functions, kind="identity", platform=platform)
    holders = (Holder(7, "qemu", (7,), (CARD,), Known(1)),) if held else ()
    return scene(replace(host, holders=Known(holders)))


@pytest.mark.parametrize("platform", [Platform.X86, Platform.POWERNV])
def test_ports_are_in_the_address_space_of_whoever_gets_their_group(platform: Platform) -> None:
    """VFIO puts whole groups into an address space (``iommu_attach_group``): no id of it passes unchanged."""
    found = below_a_switch(platform)
    assert found.reach().memory(CARD).answer is Answer.DIRECT
    after = handed_over(found.topology, found.settings, clusters(found.host, red="03:00.0"))
    assert Reach(found.topology, after).memory(CARD).answer is Answer.IOMMU


def test_ports_are_in_the_address_space_of_whoever_holds_their_group() -> None:
    assert below_a_switch(held=True).reach().memory(CARD).answer is Answer.IOMMU
