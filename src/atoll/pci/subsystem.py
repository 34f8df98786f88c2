"""The ids of the board that a function is on.

Source: PCI Express Base Specification 7.5.1.2.3 (at 2Ch and 2Eh of a type 0 header; the header of a bridge has none).
"""

from __future__ import annotations

from atoll.errors import Unreadable
from atoll.pci.config import ConfigSpace
from atoll.pci.header import HeaderType

__all__ = ["read_subsystem"]


def read_subsystem(config: ConfigSpace) -> tuple[int, int]:
    """Return the vendor and the id of the subsystem. Raises Unreadable for a bridge."""
    if config.header_type is not HeaderType.NORMAL:
        raise Unreadable("a bridge's header has no subsystem ids")
    return config.word(0x2C), config.word(0x2E)
