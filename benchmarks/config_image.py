"""Configuration spaces of generated functions: every structure that a real one of its kind has, filled in.

Layouts: PCI Local Bus 3.0 chapter 6, PCI-to-PCI Bridge 1.2 chapter 3, PCI Express Base 7.5 to 7.9; offsets as in
Linux ``include/uapi/linux/pci_regs.h``.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ConfigImage"]

_EXPRESS_AT = 0xC0


class ConfigImage:
    """Bytes of one configuration space, and the tails of its two lists."""

    def __init__(self, ids: tuple[int, int], class_code: int, *, header: int, multifunction: bool) -> None:
        self.data = bytearray(256)
        self._standard_tail = 0x34
        self._extended_tail = self._size = 0
        self.put(0x00, 2, ids[0])
        self.put(0x02, 2, ids[1])
        self.put(0x04, 4, 0x0010_0406)
        self.put(0x08, 4, class_code << 8 | 0x01)
        self.put(0x0C, 4, (0x80 if multifunction else 0) << 16 | header << 16 | 0x10)
        self.put(0x3C, 2, 0x01FF)

    def put(self, offset: int, width: int, value: int) -> None:
        """Fill a little-endian field."""
        self.data[offset : offset + width] = value.to_bytes(width, "little")

    def bridge(self, buses: tuple[int, int, int], window: tuple[int, int], prefetchable: tuple[int, int]) -> None:
        """Fill in bus numbers (primary, secondary, subordinate) and windows (start, end inclusive)."""
        for place, bus in enumerate(buses):
            self.put(0x18 + place, 1, bus)
        self.put(0x1C, 2, 0x00F0)
        self.put(0x20, 4, (window[1] >> 16 & 0xFFF0) << 16 | window[0] >> 16 & 0xFFF0)
        low = (prefetchable[1] >> 16 & 0xFFF0 | 1) << 16 | prefetchable[0] >> 16 & 0xFFF0 | 1
        self.put(0x24, 4, low)
        self.put(0x28, 4, prefetchable[0] >> 32)
        self.put(0x2C, 4, prefetchable[1] >> 32)
        self.put(0x3E, 2, 0x0013)

    def endpoint(self, subsystem: tuple[int, int], wide: int, narrow: int) -> None:
        """Fill in the subsystem, a 64-bit prefetchable BAR 0 and a 32-bit BAR 2; a BAR at 0 is none."""
        self.put(0x2C, 2, subsystem[0])
        self.put(0x2E, 2, subsystem[1])
        if wide:
            self.put(0x10, 8, wide | 0xC)
        if narrow:
            self.put(0x18, 4, narrow)

    def conventional(self) -> None:
        """Give it the capabilities of conventional PCI."""
        self._standard(0x40, 0x01, 0x0003)
        self._standard(0x50, 0x05, 0x0080)

    def express(self, kind: int, *, port: int = 0, ari_forwarding: bool = False) -> None:
        """Give it the capabilities of PCI Express, of a device or port type; configuration space grows to 4096."""
        self.data += bytes(4096 - 256)
        self._standard(0x40, 0x01, 0x0003)
        self._standard(0x50, 0x05, 0x0080)
        if kind in (0, 1, 9):
            self._standard(0x70, 0x11, 0x801F)
        self._standard(_EXPRESS_AT, 0x10, kind << 4 | 2)
        self.put(_EXPRESS_AT + 4, 4, 0x1000_8022 if kind == 0 else 0x0000_8001)
        self.put(_EXPRESS_AT + 8, 2, 0x2830)
        self.put(_EXPRESS_AT + 0xC, 4, 0x0040_0104 | port << 24)
        self.put(_EXPRESS_AT + 0x12, 2, 0x1104)
        self.put(_EXPRESS_AT + 0x28, 2, 0x0020 if ari_forwarding else 0)

    def extended(self, identity: int, words: Sequence[int], *, version: int = 1) -> int:
        """Chain an extended capability behind the last and fill in its dwords after the head; return its offset."""
        offset = 0x100
        if self._extended_tail:
            tail = self._extended_tail
            offset = tail + self._size
            self.put(tail, 4, int.from_bytes(self.data[tail : tail + 4], "little") | offset << 20)
        self.put(offset, 4, identity | version << 16)
        for place, word in enumerate(words):
            self.put(offset + 4 + 4 * place, 4, word)
        self._extended_tail, self._size = offset, 4 + 4 * len(words)
        return offset

    def _standard(self, offset: int, identity: int, word: int) -> None:
        self.put(self._standard_tail, 1, offset)
        self.put(offset, 4, identity | word << 16)
        self._standard_tail = offset + 1
