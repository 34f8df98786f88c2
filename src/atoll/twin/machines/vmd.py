"""Volume Management Devices: the function that one is, and the segment behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.placement import Space, room
from atoll.twin.sizes import KIBIBYTE, MEBIBYTE
from atoll.twin.spec import Bar, FunctionSpec, HostBridge, Routing, Window
from atoll.twin.vmd import CONFIG, DRIVER, HIGH, LOW, OWN

__all__ = ["IDS", "bars", "companion", "device", "refitted", "segment"]

IDS = (0x201D, 0x28C0, 0x467F, 0x4C3D, 0x9A0B, 0xA77F, 0x7D0B, 0xAD0B)
"""Intel's, as in ``vmd_ids``."""
_BUSES = {0x00: 0x80, 0x80: 0x80, 0xE0: 0x20}
"""Where the bus numbers behind one begin, and how many there are then (``vmd_get_bus_number_start``)."""
_NOTHING = Window(0, 0, 0)


def segment(index: int, bus: int, device: Address, routing: Routing, numa: int) -> HostBridge:
    """Return the root complex behind a device; ``bus`` is 0, 0x80 or 0xe0."""
    last = bus + _BUSES[bus] - 1
    return HostBridge(0x10000 + index, bus, last, _NOTHING, _NOTHING, routing, numa_node=numa, vmd=device)


def bars(bridge: HostBridge, inside: tuple[FunctionSpec, ...]) -> tuple[Bar, ...]:
    """Return the BARs of the device before a root complex, as big as what is behind it needs."""
    buses = bridge.last_bus - bridge.bus + 1
    return (
        Bar(CONFIG, buses * MEBIBYTE, wide=True, prefetchable=True),
        Bar(LOW, room(inside, bridge, Space.LOW)),
        Bar(HIGH, room(inside, bridge, Space.HIGH, start=OWN), wide=True),
    )


def device(
    bridge: HostBridge,
    inside: Iterable[FunctionSpec],
    *,
    ids: int,
    iommu: str | None,
    multifunction: bool = False,
    flr: bool = False,
) -> FunctionSpec:
    """Return the function before a root complex, its BARs as big as what is ``inside`` needs.

    Like all of Intel's endpoints of the root complex it reaches others through the translation alone (VT-d 3.16), which
    the kernel knows (``pci_quirk_rciep_acs``, drivers/pci/quirks.c).
    """
    assert bridge.vmd is not None
    return FunctionSpec(
        bridge.vmd,
        0x8086,
        ids,
        ClassCode.RAID,
        port=PortType.ROOT_INTEGRATED,
        bars=bars(bridge, tuple(inside)),
        multifunction=multifunction,
        loopback=False,
        acs_quirk=True,
        flr=flr,
        driver=DRIVER,
        subsystem=(0x8086, 0x0000),
        numa_node=bridge.numa_node,
        iommu=iommu,
        revision=0x04,
    )


def refitted(functions: tuple[FunctionSpec, ...], bridges: tuple[HostBridge, ...]) -> tuple[FunctionSpec, ...]:
    """Return functions with each device's BARs as what is behind it needs them now."""
    found = {
        bridge.vmd: bars(bridge, tuple(spec for spec in functions if spec.address.domain == bridge.domain))
        for bridge in bridges
        if bridge.vmd is not None
    }
    return tuple(replace(spec, bars=found[spec.address]) if spec.address in found else spec for spec in functions)


def companion(address: Address, *, iommu: str | None, numa: int) -> FunctionSpec:
    """Return function 0 of the slot that servers have theirs in: registers of the platform, without a driver."""
    return FunctionSpec(
        address,
        0x8086,
        0x09A2,
        ClassCode.OTHER_PERIPHERAL,
        port=PortType.ROOT_INTEGRATED,
        bars=(Bar(0, 4 * KIBIBYTE),),
        multifunction=True,
        loopback=False,
        acs_quirk=True,
        subsystem=(0x8086, 0x0000),
        numa_node=numa,
        iommu=iommu,
        revision=0x04,
    )
