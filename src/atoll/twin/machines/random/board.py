"""What is soldered to a board, in random machines: conventional functions and event collectors on the root bus.

And devices of kinds that others do not have: legacy endpoints, ports and adapters without ACS that Linux knows to
isolate by their ids (``pci_dev_acs_enabled``, drivers/pci/quirks.c).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.machines import vmd
from atoll.twin.machines.random.acs import device_controls
from atoll.twin.machines.random.products import CARD
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, Blueprint, FunctionSpec, HostBridge

__all__ = ["with_board"]

_CHIPSET, _COLLECTOR, _INTEGRATED = (0x1106, 0x3177), (0x1022, 0x14CA), (0x1022, 0x1486)
_KNOWN_PORT = (0x17CB, 0x0400)
"""Its ports forward nothing to one another (``pci_quirk_qcom_rp_acs``)."""
_KNOWN_ADAPTERS = ((0x8086, 0x10FB), (0x8086, 0x151C), (0x1924, 0x0903))
"""Their functions do not reach one another (``pci_quirk_mf_endpoint_acs``)."""
_SLOTS = (0x16, 0x18, 0x1A, 0x1C)


def with_board(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with more on its root buses, and more kinds of endpoints and ports below."""
    several = [spec.address[:3] for spec in plan.functions if spec.address.function]
    known = {place for place in several if dice.random() < 0.4}
    ids = {place: dice.choice(_KNOWN_ADAPTERS) for place in sorted(known)}
    functions = [_changed(spec, ids, dice) for spec in plan.functions]
    unit = {(spec.address.domain, spec.address.bus): spec.iommu for spec in plan.functions if spec.iommu is not None}
    for bridge in plan.bridges:
        if bridge.vmd is None:
            functions += _soldered(bridge, unit.get((bridge.domain, bridge.bus)), dice)
    functions.sort(key=lambda spec: spec.address)
    return replace(plan, functions=vmd.refitted(tuple(functions), plan.bridges))


def _changed(
    spec: FunctionSpec, known: dict[tuple[int, int, int], tuple[int, int]], dice: random.Random
) -> FunctionSpec:
    plain = CARD.matches(spec) and not spec.dma_aliases
    if spec.port is PortType.ROOT_PORT and spec.acs is None and dice.random() < 0.5:
        vendor, device = _KNOWN_PORT
        return replace(spec, vendor=vendor, device=device, acs_quirk=True)
    if plain and spec.port is PortType.ENDPOINT and spec.multifunction and spec.address[:3] in known:
        vendor, device = known[spec.address[:3]]
        return replace(
            spec, vendor=vendor, device=device, acs_quirk=True, loopback=False, acs=None, egress_bits=0, driver="ixgbe"
        )
    if plain and spec.port is PortType.ENDPOINT and dice.random() < 0.4:
        return replace(spec, port=PortType.LEGACY_ENDPOINT)
    return spec


def _soldered(bridge: HostBridge, iommu: str | None, dice: random.Random) -> Iterator[FunctionSpec]:
    """Yield functions of one to three slots: of a chipset, conventional all, or integrated ones with a collector."""
    for slot in _SLOTS[: dice.randint(1, 3)]:
        count = dice.choice((1, 1, 2, 3))
        chipset = dice.random() < 0.5
        controls, loops = device_controls(dice), dice.random() < 0.5
        for number in range(count):
            collects = not chipset and number == count - 1 and dice.random() < 0.6
            kind = PortType.CONVENTIONAL if chipset else PortType.ROOT_INTEGRATED
            vendor, device = _CHIPSET if chipset else _COLLECTOR if collects else _INTEGRATED
            own = None if chipset or collects else controls.acs
            yield FunctionSpec(
                Address(bridge.domain, bridge.bus, slot, number),
                vendor,
                device,
                ClassCode.OTHER_PERIPHERAL,
                port=PortType.EVENT_COLLECTOR if collects else kind,
                bars=() if collects and dice.random() < 0.6 else (Bar(0, 16 * KIBIBYTE),),
                multifunction=count > 1,
                loopback=loops or bool(own),
                acs=own,
                egress_bits=controls.egress_bits if own is not None else 0,
                subsystem=(vendor, 0x0001),
                numa_node=bridge.numa_node,
                iommu=iommu,
            )
