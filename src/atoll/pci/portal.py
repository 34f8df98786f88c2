"""Flattening Portal Bridges: what a port may forward beside its windows.

Source: PCI Express Base Specification 6.26 and 7.8.10. Each bit of a vector stands for as much memory as the
granularity says, from a start on, and says whether that is forwarded. Sizes stand in the capabilities (+4), start and
granularity in the vector controls (+0x10 for memory below 4 GiB, +0x14 and +0x18 above). The bits are not read: to
choose which of them the data register shows, one has to write.
"""

from __future__ import annotations

from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace

__all__ = ["Vectors", "read_vectors"]

_LEAST_BITS = 256
_RESERVED = "a vector of its Flattening Portal Bridge has a size or granularity that the specification does not know"


class Vectors(NamedTuple):
    """The memory vectors of a port that are on."""

    covered: tuple[tuple[int, int], ...] = ()
    """First and last address of what each covers; its bits say which parts of that are forwarded."""
    unread: str = ""
    """Why they may cover more; empty where they do not."""


class _Kind(NamedTuple):
    present: int
    """Bit of the capabilities."""
    size: int
    """Where in them the code of its size stands: a power of two."""
    sizes: int
    granularities: int
    """The last codes that are no reserved ones."""
    least: int
    """Of the finest granularity, a power of two."""
    width: int
    """Of addresses, in bits."""


_LOW = _Kind(present=1, size=16, sizes=4, granularities=4, least=20, width=32)
_HIGH = _Kind(present=2, size=24, sizes=5, granularities=7, least=28, width=64)


def read_vectors(config: ConfigSpace) -> Vectors:
    """Return what a port's vectors cover; nothing without the capability, or where that was not read so far."""
    try:
        at = config.find(CapabilityId.FLATTENING_PORTAL_BRIDGE)
        if at is None:
            return Vectors()
        capabilities, low, high = config.dword(at + 4), config.dword(at + 0x10), config.dword(at + 0x14)
        upper = config.dword(at + 0x18)
    except Unreadable:
        return Vectors()
    found = [
        _covered(kind, capabilities, control, start)
        for kind, control, start in ((_LOW, low, low & 0xFFF0_0000), (_HIGH, high, upper << 32 | high & 0xF000_0000))
        if capabilities >> kind.present & 1 and control & 1
    ]
    return Vectors(tuple(span for span in found if span is not None), _RESERVED if None in found else "")


def _covered(kind: _Kind, capabilities: int, control: int, start: int) -> tuple[int, int] | None:
    """Return what a vector covers, None for reserved codes.

    What becomes of a start that is not aligned is not defined: what lies before it counts too.
    """
    size, granularity = capabilities >> kind.size & 0x7, control >> 4 & 0xF
    if size > kind.sizes or granularity > kind.granularities:
        return None
    shift = kind.least + granularity
    last = start + (_LEAST_BITS << size << shift) - 1
    return start >> shift << shift, min(last, (1 << kind.width) - 1)
