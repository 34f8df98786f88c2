"""Where a blueprint's functions stand in the guest: bus numbers as its firmware gives them.

Source: SeaBIOS ``src/fw/pciinit.c``, ``pci_bios_init_bus_rec``: depth first in the order of devices, a bridge's
secondary bus is the next free number; a root bus of an expander keeps the number that QEMU gave it. Linux keeps what
the firmware set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.pci.address import Address
from atoll.twin.spec import Blueprint, FunctionSpec, HostBridge
from lab.errors import LabError

__all__ = ["Place", "Placing", "place"]

_FIRST_SLOT, _LAST_SLOT = 0x01, 0x1E
"""Of the first root bus: q35 has its host bridge at 0x00 and its chipset at 0x1f."""


@dataclass(frozen=True, slots=True)
class Place:
    """A function with its place in the guest, and the bridge above it."""

    spec: FunctionSpec
    guest: Address
    parent: FunctionSpec | None
    """None on a root bus."""
    bridge: HostBridge
    shared: bool
    """Whether its slot has other functions."""


@dataclass(slots=True)
class Placing:
    """Where everything stands."""

    places: list[Place] = field(default_factory=list)
    """Parents before what is below them."""
    expanders: dict[HostBridge, tuple[int, int]] = field(default_factory=dict)
    """For each host bridge but the first: the slot of the function that stands for it, and its root bus."""
    free: list[int] = field(default_factory=list)
    """Slots of the first root bus that nothing stands at."""


def place(blueprint: Blueprint) -> Placing:
    """Place all functions. LabError for a machine that has more than QEMU's one domain, or too many slots."""
    domains = {bridge.domain for bridge in blueprint.bridges}
    if len(domains) > 1:
        raise LabError(f"{blueprint.name} has {len(domains)} PCI domains", "QEMU's q35 has one")
    done = Placing()
    bridges = sorted(blueprint.bridges, key=lambda bridge: bridge.bus)
    slots = _root_slots(blueprint, bridges[0])
    used = {slot for slot in slots.values() if slot is not None}
    done.free = [slot for slot in range(_LAST_SLOT, _FIRST_SLOT - 1, -1) if slot not in used]
    if len(done.free) < len(bridges):
        raise LabError(f"{blueprint.name} has too much on its first root bus", "q35 has 30 slots there")
    last = _walk(blueprint, bridges[0], None, bridges[0].bus, 0, 0, slots, done)
    for bridge in bridges[1:]:
        bus = max(bridge.bus, last + 1)
        done.expanders[bridge] = (done.free.pop(0), bus)
        last = _walk(blueprint, bridge, None, bridge.bus, bus, bus, {}, done)
    return done


def _root_slots(blueprint: Blueprint, bridge: HostBridge) -> dict[int, int]:
    """Return where each slot of the first root bus goes: to itself where q35 leaves it free."""
    wanted = sorted({spec.address.device for spec in blueprint.functions if _on(spec, bridge, bridge.bus)})
    kept = {slot: slot for slot in wanted if _FIRST_SLOT <= slot <= _LAST_SLOT}
    free = [slot for slot in range(_FIRST_SLOT, _LAST_SLOT + 1) if slot not in kept]
    for slot in wanted:
        if slot not in kept:
            if not free:
                raise LabError(f"{blueprint.name} has too much on its first root bus", "q35 has 30 slots there")
            kept[slot] = free.pop(0)
    return kept


def _on(spec: FunctionSpec, bridge: HostBridge, bus: int) -> bool:
    return spec.address.domain == bridge.domain and spec.address.bus == bus and spec.physfn is None


def _walk(
    blueprint: Blueprint,
    bridge: HostBridge,
    parent: FunctionSpec | None,
    bus: int,
    guest: int,
    last: int,
    slots: dict[int, int],
    done: Placing,
) -> int:
    """Place what is on one bus and below; return the highest bus number in use."""
    here = [spec for spec in blueprint.functions if _on(spec, bridge, bus)]
    here.sort(key=lambda spec: (slots.get(spec.address.device, spec.address.device), spec.address.function))
    for spec in here:
        slot = slots.get(spec.address.device, spec.address.device)
        shared = sum(other.address.device == spec.address.device for other in here) > 1
        done.places.append(Place(spec, Address(0, guest, slot, spec.address.function), parent, bridge, shared))
        if spec.is_bridge:
            last += 1
            last = _walk(blueprint, bridge, spec, spec.secondary, last, last, {}, done)
    if last > 0xFF:
        raise LabError(f"{blueprint.name} needs more than 256 buses", "QEMU's q35 has one domain")
    return last
