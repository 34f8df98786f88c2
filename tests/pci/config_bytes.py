"""Handmade configuration spaces."""

from __future__ import annotations

from atoll.pci.config import ConfigSpace

__all__ = ["Recorded", "Space", "space_of"]


class Space:
    """Bytes that a test fills in; all zero but for ids and a list of capabilities that starts empty."""

    def __init__(self, size: int = 4096, *, header: int = 0) -> None:
        self.data = bytearray(size)
        self.put(0x00, 0x1234_8086, 4)
        self.put(0x08, 0x020000_01, 4)
        self.data[0x0E] = header

    def put(self, offset: int, value: int, size: int) -> Space:
        self.data[offset : offset + size] = value.to_bytes(size, "little")
        return self

    def standard(self, *entries: tuple[int, int]) -> Space:
        """Chain standard capabilities: (id, offset)."""
        self.put(0x06, 0x10, 2)
        self.data[0x34] = entries[0][1] if entries else 0
        for place, (number, offset) in enumerate(entries):
            following = entries[place + 1][1] if place + 1 < len(entries) else 0
            self.put(offset, number | following << 8, 2)
        return self

    def express(self, kind: int, *, at: int = 0x40) -> Space:
        """Make it PCI Express with this one standard capability."""
        return self.standard((0x10, at)).put(at + 2, 0x2 | kind << 4, 2)

    def extended(self, *entries: tuple[int, int]) -> Space:
        """Chain extended capabilities: (id, offset); the first has to stand at 0x100."""
        for place, (number, offset) in enumerate(entries):
            following = entries[place + 1][1] if place + 1 < len(entries) else 0
            self.put(offset, number | 1 << 16 | following << 20, 4)
        return self

    def config(self, *, cut: int | None = None) -> ConfigSpace:
        return space_of(bytes(self.data[:cut]))


def space_of(data: bytes) -> ConfigSpace:
    return ConfigSpace(lambda offset, size: data[offset : offset + size])


class Recorded:
    """A source that counts what is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, size: int) -> bytes:
        self.asked.append((offset, size))
        return self.data[offset : offset + size]
