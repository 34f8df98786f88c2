"""The addresses that functions and ports answer to or forward, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown
from atoll.host.model import Function
from atoll.isolation.iova.ranges import NOTHING, Ranges
from atoll.pci.address import Address

__all__ = ["Addresses", "addresses", "decoding", "windows"]


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


def windows(function: Function) -> Addresses:
    """Return the memory that a port forwards downwards."""
    if isinstance(function.bridge, Unknown):
        return Addresses("windows", NOTHING, unread=f"the windows of {function.address}: {function.bridge.reason}")
    bridge = function.bridge.value
    if bridge is None:
        return Addresses("windows", NOTHING)
    return Addresses("windows", Ranges.of(*((w.start, w.end) for w in bridge.windows if w.memory)))


def addresses(topology: Topology, address: Address) -> tuple[Addresses, ...]:
    """Return all that a function answers to: its BARs, and as a port its windows."""
    function = topology.functions[address]
    found = [windows(function)] if function.is_port else []
    above = topology.functions.get(function.parent) if function.parent is not None else None
    outer = windows(above) if above is not None else None
    around = outer.ranges if outer is not None and not outer.unread else None
    if isinstance(function.bars, Unknown) or (function.physical_function is not None and not function.bars.value):
        why = function.bars.reason if isinstance(function.bars, Unknown) else "a virtual function's were not recorded"
        doubt = f"which addresses the BARs of {address} hold was not read ({why})"
        if around is not None:
            found.append(Addresses("BARs", around, doubt=doubt))
        else:
            found.append(Addresses("BARs", NOTHING, unread=doubt))
        return tuple(found)
    for bar in function.bars.value:
        if not bar.memory or not bar.start:
            continue
        if bar.size:
            found.append(Addresses(f"BAR {bar.index}", Ranges.of((bar.start, bar.start + bar.size - 1))))
            continue
        # A BAR stands at a multiple of its size, a power of two, and within the window above it.
        most = Ranges.of((bar.start, bar.start + (bar.start & -bar.start) - 1))
        held = [part for part in around or () if bar.start >= part.start and bar.start <= part.end]
        most = most & Ranges.of(*held) if held else most
        found.append(
            Addresses(f"BAR {bar.index}", most, doubt=f"the size of BAR {bar.index} of {address} was not read")
        )
    return tuple(found)


def decoding(topology: Topology, settings: Settings, address: Address) -> bool | None:
    """Whether a function answers to its addresses now; a virtual function's are its physical function's matter."""
    function = topology.functions[address]
    if function.physical_function is not None:
        return True if isinstance(function.bars, Known) else None
    return settings.decodes_memory(address)
