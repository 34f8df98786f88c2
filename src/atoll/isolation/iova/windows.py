"""The addresses that functions and ports answer to or forward, as far as they are known.

Beside BARs and windows: expansion ROMs (PCI Local Bus 3.0, 6.2.5.2), VGA's memory (PCI-to-PCI Bridge 1.2, 3.2.5.18;
Linux, ``include/linux/vgaarb.h``, VGA_RSRC_LEGACY_MEM), what a bridge of subtractive decoding takes because nobody else
does (programming interface 01h: PCI Code and ID Assignment, 1.7), and the BARs of virtual functions, which stand in
their physical function's SR-IOV capability whether they are on or not.

A BAR that holds 0 stands there as it would at any other address (Base Specification 7.5.1.2.1): it answers from 0 up
while memory is decoded. Where that is off, nobody has given it an address yet, and who switches it on will.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Platform
from atoll.isolation.iova.ranges import NOTHING, Ranges
from atoll.pci.address import Address
from atoll.pci.bar import Bar
from atoll.pci.bridge import VGA_MEMORY
from atoll.pci.class_code import VGA_CLASSES, ClassCode

__all__ = ["BEHIND", "Addresses", "addresses", "decoding", "is_subtractive", "own_side", "vectored", "windows"]

BEHIND = "behind it, by subtractive decoding"
_VGA = Ranges.of(VGA_MEMORY)
_MOST_ROM = 16 << 20
"""No expansion ROM takes more (PCI Local Bus 3.0, 6.2.5.2)."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """What something answers to."""

    what: str
    """``windows``, ``BAR 2``, …"""
    ranges: Ranges
    doubt: str = ""
    """Why it may be less than ``ranges``; empty where it is exact."""
    unread: str = ""
    """Why ``ranges`` may not be all; empty where it is."""


def is_subtractive(function: Function) -> bool:
    """Whether a bridge takes what nobody on its bus takes, beside its windows (``transparent`` in Linux)."""
    return function.is_port and function.class_code == ClassCode.SUBTRACTIVE_BRIDGE


def windows(function: Function) -> Addresses:
    """Return the memory that a port forwards downwards, VGA's where it is told to."""
    if isinstance(function.bridge, Unknown):
        return Addresses("windows", NOTHING, unread=f"the windows of {function.address}: {function.bridge.reason}")
    bridge = function.bridge.value
    if bridge is None:
        return Addresses("windows", NOTHING)
    forwarded = Ranges.of(*((w.start, w.end) for w in bridge.windows if w.memory))
    unread = f"the windows of {function.address}: {bridge.unread}" if bridge.unread else ""
    return Addresses("windows", forwarded | _VGA if bridge.vga else forwarded, unread=unread)


def vectored(function: Function) -> Addresses:
    """Return the memory that a port may forward besides, as vectors of which the bits were not read say."""
    bridge = value_of(function.bridge, None)
    covered = Ranges.of(*((w.start, w.end) for w in bridge.vectors)) if bridge is not None else NOTHING
    doubt = f"which of it {function.address} forwards, the vectors of a Flattening Portal Bridge say: not read"
    return Addresses("vectors", covered, doubt=doubt)


def addresses(topology: Topology, settings: Settings, address: Address) -> tuple[Addresses, ...]:
    """Return all that a function answers to: its BARs, its ROM, VGA's memory, and as a port what it forwards."""
    function = topology.functions[address]
    found = list(_forwarded(topology, settings, function)) if function.is_port else []
    around = _around(topology, function)
    if function.device_class in VGA_CLASSES or not (function.class_told or function.is_port):
        verb = "is" if function.class_told else "may be"
        doubt = f"{address} {verb} a VGA controller, and whether it has VGA's addresses switched off is not known"
        found.append(Addresses("VGA memory", _VGA, doubt=doubt))
    if isinstance(function.bars, Unknown) or (function.physical_function is not None and not function.bars.value):
        why = function.bars.reason if isinstance(function.bars, Unknown) else "a virtual function's were not recorded"
        doubt = f"which addresses the BARs of {address} hold was not read ({why})"
        if around is not None:
            found.append(Addresses("BARs", around, doubt=doubt))
        else:
            found.append(Addresses("BARs", NOTHING, unread=doubt))
        return tuple(found)
    decodes = decoding(topology, settings, address) is not False
    for bar in function.bars.value:
        if bar.memory:
            found += _bar(topology, function, f"BAR {bar.index}", bar, around, decodes=decodes)
    return (*found, *_rom(function, around), *_virtual(topology, function, around))


def _around(topology: Topology, function: Function) -> Ranges | None:
    """What the port right above forwards to a function; None where there is none, or it was not read."""
    above = topology.functions.get(function.parent) if function.parent is not None else None
    if above is None or is_subtractive(above):
        return None
    outer = windows(above)
    return None if outer.unread else outer.ranges | vectored(above).ranges


def own_side(function: Function) -> Iterator[Addresses]:
    """Return what a port forwards downwards, and where it was not read, that it may forward VGA's addresses."""
    yield windows(function)
    more = vectored(function)
    if more.ranges:
        yield more
    bridge = value_of(function.bridge, None)
    if bridge is not None and bridge.vga is None:
        doubt = f"whether {function.address} forwards VGA's addresses (bridge control) was not read"
        yield Addresses("VGA window", _VGA, doubt=doubt)


def _forwarded(topology: Topology, settings: Settings, function: Function) -> Iterator[Addresses]:
    yield from own_side(function)
    if not is_subtractive(function):
        return
    behind = [one for peer in topology.on_bus.get(function.address, ()) for one in addresses(topology, settings, peer)]
    ranges = Ranges.of(*((part.start, part.end) for one in behind for part in one.ranges))
    unread = next((one.unread for one in behind if one.unread), "")
    doubt = next((one.doubt for one in behind if one.doubt), "")
    yield Addresses(BEHIND, ranges, doubt, unread)


def _bar(
    topology: Topology, function: Function, what: str, bar: Bar, around: Ranges | None, *, decodes: bool
) -> Iterator[Addresses]:
    """Yield where a memory BAR answers; ``decodes``: whether it may do so now."""
    address = function.address
    register = bar.register if function.physical_function is None else _shared_register(topology, function, bar)
    at_zero = decodes and (bar.start if register is None else register) == 0
    if not bar.size:
        if bar.start:
            yield Addresses(what, _most(bar.start, around), doubt=f"the size of {what} of {address} was not read")
        if at_zero:
            yield Addresses(what, NOTHING, unread=f"how far {what} of {address} reaches, which holds 0, was not read")
        return
    x86 = topology.host.platform is Platform.X86
    shown = Ranges.of((bar.start, bar.start + bar.size - 1)) if bar.start else NOTHING
    if register and not x86:
        # Elsewhere what the kernel and lspci show of BARs are CPU addresses; windows were read from registers too.
        shown = Ranges.of((register, register + bar.size - 1))
    moved = Ranges.of((register, register + bar.size - 1)) if register and x86 else NOTHING
    if at_zero:
        moved = moved | Ranges.of((0, bar.size - 1))
    doubts = []
    if not x86 and around and shown - around:
        where = f"is shown at {shown.parts[0].start:#x}, in no window above it: they may count addresses otherwise"
        doubts.append(f"{what} of {address} {where}")
        shown = shown | around
    if shown and moved:
        # It answers where the register points, if the kernel does not put that back first.
        where = f"stands at {bar.start:#x} for the kernel, and its register points to {register or 0:#x}"
        doubts.append(f"{what} of {address} {where}")
    if bar.resized is not None:
        # It answers to as much as its capability says, if the kernel does not put its own size back first.
        base = bar.start if register is None else register
        moved = moved | (Ranges.of((base, base + bar.resized - 1)) if base or at_zero else NOTHING)
        doubts.append(f"{what} of {address} has {bar.size:#x} bytes for the kernel, and {bar.resized:#x} by itself")
    if shown or moved:
        yield Addresses(what, shown | moved, doubt="; ".join(doubts))


def _shared_register(topology: Topology, function: Function, bar: Bar) -> int | None:
    """Return where the physical function's register puts a BAR of a virtual one, None where the kernel's place counts.

    A virtual function's own registers are hardwired to zero, and say nothing.
    """
    physical = topology.functions.get(function.physical_function) if function.physical_function is not None else None
    sriov = None if physical is None else value_of(physical.sriov, None)
    for shared in (sriov.bars or ()) if sriov is not None else ():
        if shared.index == bar.index and shared.register is not None and shared.start <= bar.start:
            return bar.start - shared.start + shared.register
    return None


def _most(start: int, around: Ranges | None) -> Ranges:
    """All that a BAR at ``start`` may hold: it stands at a multiple of its size, a power of two, in one window."""
    most = Ranges.of((start, start + (start & -start) - 1))
    held = [part for part in around or () if part.start <= start <= part.end]
    return most & Ranges.of(*held) if held else most


def _rom(function: Function, around: Ranges | None) -> Iterator[Addresses]:
    address = function.address
    if isinstance(function.rom, Unknown):
        doubt = f"where the expansion ROM of {address} stands was not read ({function.rom.reason})"
        if around is None:
            yield Addresses("ROM", NOTHING, unread=doubt)
        else:
            yield Addresses("ROM", around, doubt=doubt)
        return
    rom = function.rom.value
    if rom is None:
        return
    doubts = [] if rom.enabled else [f"the expansion ROM of {address} is off now, and on while it is read"]
    if rom.size:
        held = Ranges.of((rom.start, rom.start + rom.size - 1))
    else:
        held = Ranges.of((rom.start, rom.start + _MOST_ROM - 1))
        held = held & _most(rom.start, around) if rom.start else held
        doubts.append(f"the size of the expansion ROM of {address} was not read")
    yield Addresses("ROM", held, doubt="; ".join(doubts))


def _virtual(topology: Topology, function: Function, around: Ranges | None) -> Iterator[Addresses]:
    """Where virtual functions answer, or will once they are switched on."""
    if not isinstance(function.sriov, Known) or function.sriov.value is None:
        return
    on = function.sriov.value.enabled and function.sriov.value.memory is not False
    if function.sriov.value.bars is None:
        why = f"where the BARs of virtual functions of {function.address} stand was not read"
        yield Addresses("BARs", NOTHING, unread=why) if around is None else Addresses("BARs", around, doubt=why)
        return
    for bar in function.sriov.value.bars:
        if not bar.memory:
            continue
        what = f"BAR {bar.index} of virtual functions"
        if bar.start and not bar.size:
            # It stands at a multiple of one function's size, and goes on for as many as there can be.
            rest = Ranges.of((bar.start, (1 << 64) - 1))
            if around is None:
                yield Addresses(what, NOTHING, unread=f"how far {what} of {function.address} reaches was not read")
                continue
            within = Ranges.of(*(part for part in around if part.start <= bar.start <= part.end)) or around
            yield Addresses(what, within & rest, doubt=f"the size of {what} of {function.address} was not read")
            continue
        doubt = "as far as there are such functions" if on else "no virtual function is on now, and they may be"
        for held in _bar(topology, function, what, bar, around, decodes=bool(on)):
            told = "; ".join(filter(None, (held.doubt, doubt)))
            yield held if held.unread else Addresses(what, held.ranges, doubt=told)


def decoding(topology: Topology, settings: Settings, address: Address) -> bool | None:
    """Whether a function answers to its addresses now; a virtual function's are its physical function's matter."""
    function = topology.functions[address]
    if function.physical_function is None:
        return settings.decodes_memory(address)
    physical = topology.functions.get(function.physical_function)
    sriov = None if physical is None else value_of(physical.sriov, None)
    if sriov is not None and (not sriov.enabled or sriov.memory is False):
        return False
    return True if isinstance(function.bars, Known) else None
