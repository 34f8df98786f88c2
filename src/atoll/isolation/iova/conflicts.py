"""Where a guest's memory meets addresses that cannot be used, why, and what avoids it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from atoll.controls.acs import closed
from atoll.controls.acs_recipe import acs_recipes
from atoll.fabric.answer import Answer
from atoll.isolation.iova.aperture import Aperture
from atoll.isolation.iova.claim import Claim, Fate, Pollution
from atoll.isolation.iova.layout import GIBIBYTE, Cpu, Guest
from atoll.isolation.iova.machine_type import RELOCATING, Distribution, MachineType
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import ADDRESSES, Range, Ranges
from atoll.isolation.iova.reserved import HYPER_TRANSPORT, Region
from atoll.isolation.remedies.remedy import Remedy
from atoll.pci.acs import OPENING, AcsFlag
from atoll.pci.address import Address

__all__ = ["Conflict", "ConflictKind", "Space", "conflicts", "unusable"]

_STEP = 256 << 20
"""Sizes of lower memory are tried in such steps where whole GiB do not do."""
_LATER = "where memory may be plugged in later"
_LATER_BY = {
    MachineType.CLOUD_HYPERVISOR: "hotplug_size",
    MachineType.FIRECRACKER: "memory-hotplug",
    MachineType.FIRECRACKER_ARM: "memory-hotplug",
}
"""What lets memory be plugged in later, for those with which it is not QEMU's option."""
_FIRST_RELOCATING = {None: ".".join(map(str, RELOCATING)), Distribution.RHEL: "rhel9.2.0", Distribution.UBUNTU: "lunar"}
"""The first machine types that move an AMD guest's upper memory, by whose they are."""


class ConflictKind(StrEnum):
    """Why guest memory cannot stand at an address."""

    APERTURE = "aperture"
    """The IOMMU translates no such address: the map fails."""
    RESERVED = "reserved"
    """The kernel reserves it: the map fails."""
    POLLUTED = "polluted"
    """A peer answers instead of memory: DMA goes astray, silently."""
    LOST = "lost"
    """Requests end on the way: DMA fails."""
    WIDTH = "width"
    """Its processor has no such address: QEMU refuses to start."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A part of a guest's memory that cannot be used for DMA, or perhaps not."""

    range: Range
    kind: ConflictKind
    answer: Answer
    """``DIRECT``: certain. ``POSSIBLE``: an open question or an unread fact decides."""
    because: str
    device: Address | None = None
    claimed_by: Address | None = None
    remedies: tuple[Remedy, ...] = ()
    """What avoids it; each was tried out, on paper, before it is told."""


@dataclass(frozen=True, slots=True)
class Space:
    """A cluster's address space: all that takes addresses out of it."""

    apertures: tuple[Aperture, ...]
    regions: tuple[Region, ...]
    pollutions: tuple[Pollution, ...]

    @property
    def end(self) -> int | None:
        """The last address that surely can be mapped; None where no address is known to."""
        ends = [one.end for one in self.apertures]
        return None if not ends or None in ends else min(end for end in ends if end is not None)


def unusable(space: Space) -> Ranges:
    """Return all addresses that cannot be used or of which it is not sure, aperture included."""
    return Ranges.of(*((one.range.start, one.range.end) for one in _meets(space, ADDRESSES)))


def conflicts(space: Space, guest: Guest, polluter: Polluter) -> tuple[Conflict, ...]:
    """Return where a guest's memory meets what cannot be used, in address order, with what avoids it.

    ``polluter`` found the pollution; remedies by ACS are tried out with it.
    """
    return tuple(replace(one, remedies=_remedies(one, space, guest, polluter)) for one in _of_guest(space, guest))


def _of_guest(space: Space, guest: Guest) -> list[Conflict]:
    """All that a guest meets: what its memory does, what memory that is plugged in later may, and its own limit."""
    found = _meets(space, guest.ram - guest.unused)
    # What cannot be mapped makes a map fail of memory that no guest uses, too.
    found += _in_reserved(space, guest.mapped & guest.unused)
    for one in _meets(space, guest.pluggable):
        because = f"{_LATER}: {one.because}"
        found.append(replace(one, answer=min(one.answer, Answer.POSSIBLE), because=because))
    limit = None if guest.phys_bits is None else (1 << guest.phys_bits) - 1
    if limit is not None and guest.highest is not None and guest.highest > limit:
        because = (
            f"memory and room for 64-bit BARs reach up to 0x{guest.highest:x}, and a processor with "
            f"{guest.phys_bits} bits of physical address (phys-bits) up to 0x{limit:x}"
        )
        found.append(Conflict(Range(limit + 1, guest.highest), ConflictKind.WIDTH, Answer.DIRECT, because))
    return sorted(found, key=_order)


def _order(one: Conflict) -> tuple[object, ...]:
    return one.range, one.kind, str(one.device), str(one.claimed_by)


def _meets(space: Space, memory: Ranges) -> list[Conflict]:
    return sorted((*_beyond(space, memory), *_in_reserved(space, memory), *_in_polluted(space, memory)), key=_order)


def _beyond(space: Space, memory: Ranges) -> Iterator[Conflict]:
    for one in space.apertures:
        if one.end is None:
            # All addresses alike are not known: that is said once, and no conflict of any one of them.
            continue
        sure = not one.more
        because = f"beyond the aperture: {one.because}" if sure else f"may be beyond the aperture: {one.more}"
        for part in memory - Ranges.of((0, one.end)):
            yield Conflict(part, ConflictKind.APERTURE, Answer.DIRECT if sure else Answer.POSSIBLE, because)


def _in_reserved(space: Space, memory: Ranges) -> Iterator[Conflict]:
    seen: set[tuple[int, int, str, bool]] = set()
    for region in space.regions:
        key = (region.start, region.end, region.type, region.told)
        if not region.taken or key in seen:
            continue
        seen.add(key)
        answer = Answer.DIRECT if region.told else Answer.POSSIBLE
        for part in memory & Ranges.of((region.start, region.end)):
            yield Conflict(part, ConflictKind.RESERVED, answer, _reserved_because(region))


def _in_polluted(space: Space, memory: Ranges) -> Iterator[Conflict]:
    for claim in (claim for pollution in space.pollutions for claim in pollution.claims):
        kind = ConflictKind.POLLUTED if claim.fate is Fate.CLAIMED else ConflictKind.LOST
        for part in memory & claim.ranges:
            yield Conflict(part, kind, claim.answer, claim.because, claim.device, claim.by)


def _reserved_because(region: Region) -> str:
    where = "" if region.group is None else f" of group {region.group}"
    hole = " (AMD's HyperTransport range)" if (region.start, region.end) == HYPER_TRANSPORT else ""
    if region.told:
        return f"reserved region{where}, type {region.type}{hole}"
    return f"not recorded, but such a host reserves it{hole}: type {region.type}"


# -- remedies


def _remedies(conflict: Conflict, space: Space, guest: Guest, polluter: Polluter) -> tuple[Remedy, ...]:
    found = []
    if conflict.kind in (ConflictKind.POLLUTED, ConflictKind.LOST):
        found += _by_acs(conflict, polluter)
    found += _by_layout(conflict, lambda other: _of_guest(space, other), guest)
    return tuple(found)


def _by_acs(conflict: Conflict, polluter: Polluter) -> list[Remedy]:
    """Close ACS at the ports that decide, one after the other, until the range comes through to the IOMMU."""
    device = conflict.device
    if device is None:
        return []
    trial, changed = polluter, dict[Address, AcsFlag]()
    while left := [one for one in trial.of(device).claims if one.ranges & Ranges((conflict.range,))]:
        port = _closable(trial, left)
        if port is None:
            return []
        changed[port] = _closed(trial, port) or AcsFlag(0)
        trial = Polluter(trial.topology, trial.settings.with_acs(port, changed[port]), trial.policy)
    before = polluter.settings.acs
    cleared = {port: (before.get(port) or AcsFlag(0)) & ~word & OPENING for port, word in changed.items()}
    what = f"let {', '.join(map(str, sorted(changed)))} send such requests up to the IOMMU"
    recipes = acs_recipes(polluter.topology.host, changed, cleared)
    return [Remedy(what, "\n".join(recipe.lines), recipe.note) for recipe in recipes]


def _closable(polluter: Polluter, claims: list[Claim]) -> Address | None:
    """The first deciding port whose ACS is not closed yet."""
    for claim in claims:
        word = _closed(polluter, claim.decider)
        if word is not None and word != polluter.settings.acs.get(claim.decider):
            return claim.decider
    return None


def _closed(polluter: Polluter, port: Address) -> AcsFlag | None:
    control = polluter.settings.acs.get(port)
    return None if control is None else closed(polluter.topology.functions[port], control)


def _by_layout(conflict: Conflict, meets: Callable[[Guest], list[Conflict]], guest: Guest) -> list[Remedy]:
    """Other layouts of the same guest in which nothing meets this conflict's kind of place, and nothing new."""
    before = set(map(_cause, meets(guest)))

    def avoids(other: Guest) -> bool:
        after = set(map(_cause, meets(other)))
        return _cause(conflict) not in after and after <= before

    found = [*_lower_memory(conflict, guest, avoids), *_relocation(guest, avoids)]
    if conflict.kind is ConflictKind.WIDTH and guest.highest is not None:
        found.append(
            Remedy(
                "give its processor as many bits as its memory takes, where the host's has them",
                f"-cpu host,host-phys-bits=on, or phys-bits={guest.highest.bit_length()}",
            )
        )
    if not found and guest.pluggable and avoids(replace(guest, max_memory=None)):
        without = _LATER_BY.get(guest.machine, "maxmem")
        found.append(Remedy("leave no room for more memory", f"{_memory(guest, guest.memory)}, without {without}"))
    below = guest.memory - _from(guest.ram, conflict.range.start)
    smaller = below // GIBIBYTE * GIBIBYTE
    if not found and smaller > 0 and avoids(replace(guest, memory=smaller)):
        found.append(Remedy("give the guest less memory", _memory(guest, smaller)))
    return found


def _lower_memory(conflict: Conflict, guest: Guest, avoids: Callable[[Guest], bool]) -> Iterator[Remedy]:
    """A lower memory of a PC that ends before a place below 4 GiB: of whole GiB, where that does."""
    if guest.pc and conflict.range.start < 4 * GIBIBYTE:
        size = next((size for size in _lower(guest.below_4g) if avoids(guest.with_below_4g(size))), None)
        if size is not None:
            how = f"-machine {_type(guest)},max-ram-below-4g={_size(size)}"
            yield Remedy("keep the guest's lower memory below it", how)


def _relocation(guest: Guest, avoids: Callable[[Guest], bool]) -> Iterator[Remedy]:
    """A machine type and a processor with which QEMU moves the upper memory of a PC."""
    other = replace(guest, version=None, cpu=Cpu.AMD)
    if not guest.pc or guest.relocates or not avoids(other):
        return
    name = "pc-i440fx" if guest.machine is MachineType.I440FX else "pc-q35"
    old = guest.version is not None and guest.version < RELOCATING
    parts = [f"-machine {name}-{_FIRST_RELOCATING[guest.distribution]} or newer"] if old else []
    parts += ["-cpu host on an AMD host, or another AMD model"] if guest.cpu is not Cpu.AMD else []
    if guest.phys_bits is None and other.highest is not None:
        # QEMU's models have 40 where nothing else is said (TCG_PHYS_ADDR_BITS), with which it refuses to start.
        parts.append(f"with phys-bits={other.highest.bit_length()} or more")
    yield Remedy("let QEMU move the upper memory above 1 TiB", "; ".join(parts))


def _cause(conflict: Conflict) -> tuple[object, ...]:
    return conflict.kind, conflict.because, conflict.device, conflict.claimed_by


def _lower(below: int) -> list[int]:
    """Sizes to try for the lower memory: whole GiB first, which keep big pages aligned, then smaller steps."""
    whole = range((below - 1) // GIBIBYTE * GIBIBYTE, 0, -GIBIBYTE)
    steps = range((below - 1) // _STEP * _STEP, 0, -_STEP)
    return [*whole, *(size for size in steps if size % GIBIBYTE)]


def _from(ram: Ranges, start: int) -> int:
    """How much memory stands from an address on."""
    return (ram & Ranges.of((start, ADDRESSES.parts[0].end))).size


def _type(guest: Guest) -> str:
    """The machine type as QEMU takes it."""
    if guest.name is not None:
        return guest.name
    if guest.version is None:
        return "pc" if guest.machine is MachineType.I440FX else guest.machine.value
    return f"pc-{guest.machine.value}-" + ".".join(map(str, guest.version))


def _memory(guest: Guest, size: int) -> str:
    """The option that gives a guest so much memory, in bytes, as the program takes it that runs it."""
    match guest.machine:
        case MachineType.CLOUD_HYPERVISOR:
            return f"--memory size={_size(size)}"
        case MachineType.CROSVM:
            return f"--mem {size >> 20}"
        case MachineType.FIRECRACKER | MachineType.FIRECRACKER_ARM:
            return f'"mem_size_mib": {size >> 20} in its machine-config'
    return f"-m {_size(size)}"


def _size(count: int) -> str:
    return f"{count // GIBIBYTE}G" if count % GIBIBYTE == 0 else f"{count >> 20}M"
