"""Where firmware puts BARs, ROMs and bridge windows: addresses that nest and never overlap."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from atoll.pci.address import Address
from atoll.twin import vmd
from atoll.twin.sizes import MEBIBYTE
from atoll.twin.spec import Bar, Blueprint, FunctionSpec, HostBridge, Window

__all__ = ["ROM", "Placement", "Range", "Space", "place", "room"]

ROM = 6
"""The index of an expansion ROM among BARs, as Linux counts resources (``PCI_ROM_RESOURCE``)."""


class Space(Enum):
    """What a bridge has a window for."""

    LOW = "low"
    """Memory below 4 GiB, not prefetchable."""
    HIGH = "high"
    """Prefetchable memory."""
    IO = "io"
    """I/O ports, of which there are so few that some BARs get none."""

    @property
    def grain(self) -> int:
        """Windows are multiples of this (PCI-to-PCI Bridge 1.2, 3.2.5.6 and 3.2.5.8)."""
        return 0x1000 if self is Space.IO else MEBIBYTE


@dataclass(frozen=True, slots=True)
class Range:
    """``size`` bytes from ``start``, as PCI bus addresses; ``shift`` leads to the system's address."""

    start: int
    size: int
    shift: int = 0

    @property
    def end(self) -> int:
        """The last byte."""
        return self.start + self.size - 1

    @property
    def system(self) -> int:
        """The first byte, as the processor addresses it."""
        return self.start + self.shift


@dataclass(frozen=True, slots=True)
class Placement:
    """All addresses of a machine: BARs by function and index (virtual functions' at index -1), and windows."""

    bars: dict[tuple[Address, int], Range] = field(default_factory=dict)
    """Memory, ROMs among it."""
    low: dict[Address, Range] = field(default_factory=dict)
    """Memory windows of bridges; absent where nothing is below."""
    high: dict[Address, Range] = field(default_factory=dict)
    """Prefetchable windows."""
    ports: dict[tuple[Address, int], Range] = field(default_factory=dict)
    """BARs of I/O ports; absent where none were left."""
    io: dict[Address, Range] = field(default_factory=dict)
    """I/O windows."""

    def windows(self, space: Space) -> dict[Address, Range]:
        """Return the windows for a space."""
        return {Space.LOW: self.low, Space.HIGH: self.high, Space.IO: self.io}[space]


class _Cursor:
    def __init__(self, start: int, end: int, shift: int) -> None:
        self.at = start
        self.end = end
        self.shift = shift

    def align(self, size: int) -> None:
        self.at = (self.at + size - 1) & ~(size - 1)

    def take(self, size: int) -> Range:
        self.align(size)
        found = Range(self.at, size, self.shift)
        self.at += size
        if self.at > self.end:
            raise ValueError(f"no room for {size:#x} bytes below {self.end:#x}")
        return found

    def fits(self, size: int) -> bool:
        return (self.at + size - 1 & ~(size - 1)) + size <= self.end


def place(blueprint: Blueprint) -> Placement:
    """Give every BAR and window of a machine its address, from each host bridge's apertures."""
    done = Placement()
    for bridge in sorted(blueprint.bridges, key=lambda each: each.vmd is not None):
        for space, window in _apertures(bridge, done).items():
            cursor = _Cursor(window.bus, window.bus + window.size, window.cpu - window.bus)
            _place_bus(blueprint.functions, bridge, bridge.bus, space, cursor, done)
    return done


def room(functions: tuple[FunctionSpec, ...], bridge: HostBridge, space: Space, *, start: int = 0) -> int:
    """Return how many bytes an aperture of a host bridge must have, the first ``start`` left free: a power of two."""
    cursor = _Cursor(start, 1 << 63, 0)
    _place_bus(functions, bridge, bridge.bus, space, cursor, Placement())
    return max(MEBIBYTE, 1 << (cursor.at - 1).bit_length())


def _apertures(bridge: HostBridge, done: Placement) -> dict[Space, Window]:
    """Return a host bridge's: behind a Volume Management Device, what of its BARs is not its own, and no ports."""
    if bridge.vmd is None:
        return {Space.LOW: bridge.low, Space.HIGH: bridge.high, Space.IO: bridge.io}
    low, high = done.bars[bridge.vmd, vmd.LOW], done.bars[bridge.vmd, vmd.HIGH]
    inner = Window(high.start + vmd.OWN, high.system + vmd.OWN, high.size - vmd.OWN)
    return {Space.LOW: Window(low.start, low.system, low.size), Space.HIGH: inner}


def _space(bar: Bar, *, root: bool) -> Space:
    """Return what a BAR needs a window for.

    What a bridge forwards above 4 GiB is prefetchable; on a root bus there is no bridge in the way.
    """
    if bar.io:
        return Space.IO
    return Space.HIGH if bar.prefetchable or (bar.wide and root) else Space.LOW


def _place_bus(
    functions: tuple[FunctionSpec, ...], bridge: HostBridge, bus: int, space: Space, cursor: _Cursor, done: Placement
) -> None:
    for spec in functions:
        if spec.address.domain != bridge.domain or spec.address.bus != bus or spec.physfn is not None:
            continue
        for bar in spec.bars:
            if _space(bar, root=bus == bridge.bus) is not space:
                continue
            if space is not Space.IO:
                done.bars[spec.address, bar.index] = cursor.take(bar.size)
            elif cursor.fits(bar.size):
                done.ports[spec.address, bar.index] = cursor.take(bar.size)
        if spec.rom and space is Space.LOW:
            done.bars[spec.address, ROM] = cursor.take(spec.rom)
        if spec.vf_total and space is Space.HIGH:
            cursor.align(spec.vf_bar * spec.vf_total)
            done.bars[spec.address, -1] = Range(cursor.at, spec.vf_bar * spec.vf_total, cursor.shift)
            cursor.take(spec.vf_bar * spec.vf_total)
        if spec.secondary:
            _place_below(functions, bridge, spec, space, cursor, done)


def _place_below(
    functions: tuple[FunctionSpec, ...],
    bridge: HostBridge,
    above: FunctionSpec,
    space: Space,
    cursor: _Cursor,
    done: Placement,
) -> None:
    """Place what is below a bridge, in a window of its own; without windows, among what is on the bus above."""
    biggest = _biggest(functions, bridge.domain, above.secondary, above.subordinate, space)
    spare = 0 if space is Space.IO else above.spare
    if not biggest and not spare:
        return
    if above.windowless:
        _place_bus(functions, bridge, above.secondary, space, cursor, done)
        return
    alignment = max(space.grain, biggest)
    if space is Space.IO and not cursor.fits(alignment):
        return
    cursor.align(alignment)
    start = cursor.at
    _place_bus(functions, bridge, above.secondary, space, cursor, done)
    for _ in range(spare // MEBIBYTE):
        cursor.take(MEBIBYTE)
    cursor.align(space.grain)
    if cursor.at > start:
        done.windows(space)[above.address] = Range(start, cursor.at - start, cursor.shift)


def _biggest(functions: tuple[FunctionSpec, ...], domain: int, first: int, last: int, space: Space) -> int:
    """Return the size of the biggest that is to be placed on some buses, which everything is aligned to."""
    sizes = [0]
    for spec in functions:
        if spec.address.domain == domain and first <= spec.address.bus <= last and spec.physfn is None:
            sizes += [bar.size for bar in spec.bars if _space(bar, root=False) is space]
            sizes += [spec.vf_bar * spec.vf_total] if space is Space.HIGH else []
            sizes += [spec.rom] if space is Space.LOW else []
            sizes += [MEBIBYTE] if spec.spare and space is not Space.IO else []
    return max(sizes)
