"""Where firmware puts BARs and bridge windows: addresses that nest and never overlap."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.address import Address
from atoll.twin import vmd
from atoll.twin.spec import Blueprint, FunctionSpec, HostBridge, Window

__all__ = ["Placement", "Range", "place", "room"]

MEBIBYTE = 1 << 20


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

    bars: dict[tuple[Address, int], Range]
    low: dict[Address, Range]
    """Memory windows of bridges; absent where nothing is below."""
    high: dict[Address, Range]
    """Prefetchable windows."""


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


def place(blueprint: Blueprint) -> Placement:
    """Give every BAR and window of a machine its address, from each host bridge's apertures."""
    done = Placement({}, {}, {})
    for bridge in sorted(blueprint.bridges, key=lambda each: each.vmd is not None):
        for wide, window in zip((False, True), _apertures(bridge, done), strict=True):
            cursor = _Cursor(window.bus, window.bus + window.size, window.cpu - window.bus)
            _place_bus(blueprint.functions, bridge, bridge.bus, wide, cursor, done)
    return done


def room(functions: tuple[FunctionSpec, ...], bridge: HostBridge, wide: bool, *, start: int = 0) -> int:
    """Return how many bytes an aperture of a host bridge must have, the first ``start`` left free: a power of two."""
    cursor = _Cursor(start, 1 << 63, 0)
    _place_bus(functions, bridge, bridge.bus, wide, cursor, Placement({}, {}, {}))
    return max(MEBIBYTE, 1 << (cursor.at - 1).bit_length())


def _apertures(bridge: HostBridge, done: Placement) -> tuple[Window, Window]:
    """Return a host bridge's two: behind a Volume Management Device, what of its BARs is not its own."""
    if bridge.vmd is None:
        return bridge.low, bridge.high
    low, high = done.bars[bridge.vmd, vmd.LOW], done.bars[bridge.vmd, vmd.HIGH]
    inner = Window(high.start + vmd.OWN, high.system + vmd.OWN, high.size - vmd.OWN)
    return Window(low.start, low.system, low.size), inner


def _place_bus(
    functions: tuple[FunctionSpec, ...], bridge: HostBridge, bus: int, wide: bool, cursor: _Cursor, done: Placement
) -> None:
    for spec in functions:
        if spec.address.domain != bridge.domain or spec.address.bus != bus or spec.physfn is not None:
            continue
        for bar in spec.bars:
            # What a bridge forwards above 4 GiB is prefetchable; on a root bus there is no bridge in the way.
            if (bar.prefetchable or (bar.wide and bus == bridge.bus)) == wide:
                done.bars[spec.address, bar.index] = cursor.take(bar.size)
        if spec.vf_total and wide:
            cursor.align(spec.vf_bar * spec.vf_total)
            done.bars[spec.address, -1] = Range(cursor.at, spec.vf_bar * spec.vf_total, cursor.shift)
            cursor.take(spec.vf_bar * spec.vf_total)
        if spec.secondary:
            biggest = _biggest(functions, bridge.domain, spec.secondary, spec.subordinate, wide)
            if not biggest:
                continue
            cursor.align(max(MEBIBYTE, biggest))
            start = cursor.at
            _place_bus(functions, bridge, spec.secondary, wide, cursor, done)
            cursor.align(MEBIBYTE)
            (done.high if wide else done.low)[spec.address] = Range(start, cursor.at - start, cursor.shift)


def _biggest(functions: tuple[FunctionSpec, ...], domain: int, first: int, last: int, wide: bool) -> int:
    """Return the size of the biggest BAR on some buses, which everything is aligned to."""
    sizes = [0]
    for spec in functions:
        if spec.address.domain == domain and first <= spec.address.bus <= last:
            sizes += [bar.size for bar in spec.bars if bar.prefetchable == wide]
            sizes += [spec.vf_bar * spec.vf_total] if wide else []
    return max(sizes)
