"""Agreeing on a version: the first message each way.

Source: QEMU ``docs/interop/vfio-user.rst``, ``VFIO_USER_VERSION``: two 16-bit numbers and, optionally, JSON that
ends in a NUL.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.protocol import MAJOR, MAX_DATA, MAX_DMA_MAPS, MINOR

__all__ = ["Version"]

_NUMBERS = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Version:
    """What one side speaks, and what it takes from the other."""

    major: int = MAJOR
    minor: int = MINOR
    max_message_fds: int = 1
    """Descriptors it takes with one message."""
    max_data: int = MAX_DATA
    """Bytes it takes in one read or write."""
    max_dma_maps: int = MAX_DMA_MAPS
    page_sizes: int = 0x1000
    """Page sizes of DMA maps, or'ed together."""
    write_multiple: bool = False
    """Takes ``REGION_WRITE_MULTI``."""

    def pack(self) -> bytes:
        """Return the body."""
        told = {
            "max_msg_fds": self.max_message_fds,
            "max_data_xfer_size": self.max_data,
            "max_dma_maps": self.max_dma_maps,
            "pgsizes": self.page_sizes,
        }
        capabilities = told | ({"write_multiple": True} if self.write_multiple else {})
        text = json.dumps({"capabilities": capabilities})
        return _NUMBERS.pack(self.major, self.minor) + text.encode() + b"\0"

    @classmethod
    def parse(cls, body: bytes) -> Version:
        """Return what a body says, with the specification's defaults. ProtocolError where it makes no sense."""
        if len(body) < _NUMBERS.size:
            raise ProtocolError(f"VERSION of {len(body)} bytes, not {_NUMBERS.size} or more")
        major, minor = _NUMBERS.unpack_from(body)
        told = _capabilities(body[_NUMBERS.size :])
        return cls(
            major,
            minor,
            max_message_fds=_number(told, "max_msg_fds", 1, least=0),
            max_data=_number(told, "max_data_xfer_size", MAX_DATA, least=1),
            max_dma_maps=_number(told, "max_dma_maps", MAX_DMA_MAPS, least=0),
            page_sizes=_number(told, "pgsizes", 0x1000, least=1),
            write_multiple=told.get("write_multiple") is True,
        )


def _capabilities(data: bytes) -> dict[str, object]:
    text = data.rstrip(b"\0")
    if not text:
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"VERSION with data that is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ProtocolError("VERSION with data that is no JSON object")
    told = document.get("capabilities", {})
    if not isinstance(told, dict):
        raise ProtocolError("VERSION with capabilities that are no JSON object")
    return told


def _number(told: dict[str, object], name: str, default: int, *, least: int) -> int:
    value = told.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ProtocolError(f"VERSION with {name} {value!r}")
    return value
