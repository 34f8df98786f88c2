"""Random machines with POWER9 processors: partitionable endpoints, with a window that bypasses translation.

Without what a PHB4 does not have: endpoints of its own, several host bridges in a segment, IOMMUs that are told as
such.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.devicetree import DeviceTree, cells, strings
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import (
    Blueprint,
    DomainKind,
    FunctionSpec,
    HostBridge,
    KernelSpec,
    Link,
    Platform,
    Routing,
    Window,
)

__all__ = ["with_powernv"]

_SYSTEM, _STEP = 0x600C000000000, 0x80000000
"""Where the system has what lies below 4 GiB on the PCI side: a PHB4's, so far from the next one's."""
_BUS = 0x80000000


def with_powernv(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with POWER9 processors, each host bridge in a segment of its own."""
    own = tuple(bridge for bridge in plan.bridges if bridge.vmd is None)
    segments = {bridge.name: index for index, bridge in enumerate(own)}
    kept = list(_kept(plan))
    moved = {spec.address: _moved(spec.address, own, segments) for spec in kept}
    functions = tuple(
        replace(
            spec,
            address=moved[spec.address],
            iommu=None,
            ats=False,
            physfn=None if spec.physfn is None else moved[spec.physfn],
        )
        for spec in kept
    )
    bridges = tuple(_bridge(bridge, index) for index, bridge in enumerate(own))
    links = tuple(link for link in plan.links if link.a in moved and link.b in moved)
    told = root_complex(bridges, "rolled by the twin")
    files = [told if file[0] == told[0] else file for file in plan.files if not file[0].startswith("records/nvidia")]
    disks = [spec.address for spec in functions if spec.driver == "nvme"]
    disk = moved.get(plan.disk.function, disks[0])
    return replace(
        plan,
        platform=Platform.POWERNV,
        kernel=_kernel(plan.kernel),
        bridges=bridges,
        functions=tuple(sorted(functions, key=lambda spec: spec.address)),
        default_domain=DomainKind.BYPASS,
        disk=replace(plan.disk, function=disk),
        networks=tuple(replace(network, function=moved[network.function]) for network in plan.networks),
        links=tuple(Link(moved[link.a], link.a_number, moved[link.b], link.b_number) for link in links),
        iommus=(),
        files=(*files, *_tree(bridges)),
        linked=False,
        interrupt_chip="",
    )


def _kept(plan: Blueprint) -> Iterator[FunctionSpec]:
    """Yield functions but those in a root complex or behind a device, and what is below a bridge that is one of them or
    leads back to PCI Express."""
    behind = {bridge.domain for bridge in plan.bridges if bridge.vmd is not None}
    roots = {(bridge.domain, bridge.bus) for bridge in plan.bridges}
    old = [spec for spec in plan.functions if _inside(spec, roots) or spec.port is PortType.PCI_TO_PCIE]
    gone = {(spec.address.domain, bus) for spec in old for bus in range(spec.secondary, spec.subordinate + 1) if bus}
    for spec in plan.functions:
        if spec.address.domain not in behind and spec.address[:2] not in gone and spec not in old:
            yield spec


def _inside(spec: FunctionSpec, roots: set[tuple[int, int]]) -> bool:
    return (spec.physfn or spec.address)[:2] in roots and spec.port is not PortType.ROOT_PORT


def _moved(address: Address, bridges: tuple[HostBridge, ...], segments: dict[str, int]) -> Address:
    bridge = next(b for b in bridges if b.domain == address.domain and b.bus <= address.bus <= b.last_bus)
    return address._replace(domain=segments[bridge.name])


def _bridge(bridge: HostBridge, index: int) -> HostBridge:
    return replace(
        bridge,
        domain=index,
        low=Window(_BUS, _SYSTEM + index * _STEP, bridge.low.size),
        routing=Routing.TRANSLATED,
        of_node=f"pciex@{0x600C3C0000000 + index * 0x100000:x}",
    )


def _kernel(spec: KernelSpec) -> KernelSpec:
    text = f"Linux version {spec.label} (root@builder) (gcc) #1 SMP ppc64le"
    return replace(spec, text=text, cmdline="root=/dev/nvme0n1p2 ro", sets_acs=False)


def _tree(bridges: tuple[HostBridge, ...]) -> tuple[tuple[str, bytes], ...]:
    tree = DeviceTree()
    tree.add("", compatible=strings("ibm,powernv"), model=strings("8335-GTH"), vendor=strings("IBM"))
    for bridge in bridges:
        assert bridge.of_node is not None
        tree.add(
            bridge.of_node,
            compatible=strings("ibm,power9-pciex", "ibm,ioda3-phb"),
            device_type=strings("pciex"),
            bus_range=cells(bridge.bus, bridge.last_bus),
            **{"linux,pci-domain": cells(bridge.domain), "ibm,chip-id": cells(bridge.numa_node)},
        )
    return tree.files()
