"""Capability chains: what follows an information structure, found by offsets that must not be trusted.

Source of the format: include/uapi/linux/vfio.h, struct vfio_info_cap_header: offsets count from the start of
the information structure, and 0 ends the chain.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from atoll.vfio.errors import VfioError
from atoll.vfio.uapi.capability import CapabilityHeader
from atoll.vfio.uapi.layout import Sized, from_bytes

__all__ = ["Capability", "capabilities", "query"]

_BYTES_AT_MOST = 1 << 20
"""More than any chain needs: 65,535 sparse areas fit in it."""

_TRIES = 8
"""How often a request is made with the room that it asked for before."""


@dataclass(frozen=True, slots=True)
class Capability:
    """One link of a chain. ``data`` runs from its header to the next one in memory, or to the end."""

    id: int
    version: int
    data: bytes


S = TypeVar("S", bound=Sized)


def capabilities(data: bytes, first: int, fixed: int) -> tuple[Capability, ...]:
    """Return the capabilities of a chain that starts at ``first`` behind a structure of ``fixed`` bytes.

    Raises VfioError where it leaves the data, points into the structure, overlaps a header or runs in a circle.
    """
    size = ctypes.sizeof(CapabilityHeader)
    headers: dict[int, CapabilityHeader] = {}
    offset = first
    while offset:
        if offset < fixed or offset + size > len(data):
            raise _bad(f"leads to offset {offset} of {len(data)} bytes, {fixed} of which are the structure")
        if offset in headers or len(headers) > len(data) // size:
            raise _bad(f"comes back to offset {offset}")
        headers[offset] = from_bytes(CapabilityHeader, data, offset)
        offset = headers[offset].next
    starts = sorted(headers)
    ends = dict(zip(starts, [*starts[1:], len(data)], strict=False))
    for start in starts:
        if ends[start] - start < size:
            raise _bad(f"has a header at offset {start} that the next one overlaps")
    return tuple(Capability(h.id, h.version, bytes(data[start : ends[start]])) for start, h in headers.items())


def query(layout: type[S], ask: Callable[[bytearray], object], fill: Callable[[S], None]) -> tuple[S, bytes]:
    """Return the structure that a request answers with, and all its bytes with the chain behind it.

    ``fill`` sets what the request needs to know, ``ask`` sends it. The kernel says in ``argsz`` how many bytes
    it has to tell; it is asked again with as many. Raises VfioError where that never ends.
    """
    fixed = ctypes.sizeof(layout)
    size = fixed
    for _ in range(_TRIES):
        buffer = bytearray(size)
        view = layout.from_buffer(buffer)
        view.argsz = size
        fill(view)
        del view
        ask(buffer)
        answer = from_bytes(layout, buffer)
        if answer.argsz <= size:
            return answer, bytes(buffer)
        if answer.argsz > _BYTES_AT_MOST:
            break
        size = answer.argsz
    raise _bad(f"of {layout.c_name} wants {answer.argsz} bytes, and more each time")


def _bad(what: str) -> VfioError:
    return VfioError(f"a capability chain {what}", hint="the kernel's driver of this device has a defect: report it")
