"""Which links are open at each end: a page that all GPUs of a run share, each writing its own word.

A link's two ends are cut independently. Traffic passes where both are open, so whoever sends looks at its own gate
and at the other end's, which only the other end's process writes.
"""

from __future__ import annotations

import mmap
import os

__all__ = ["Gates", "gates_file"]

_STRIDE = 8
_SIZE = mmap.PAGESIZE


def gates_file(count: int) -> int:
    """Return a descriptor of a page for ``count`` GPUs, all links of all of them open."""
    descriptor = os.memfd_create("gates")
    os.pwrite(descriptor, b"\xff" * (count * _STRIDE), 0)
    os.ftruncate(descriptor, _SIZE)
    return descriptor


class Gates:
    """The shared page. A word is stored and loaded whole."""

    def __init__(self, descriptor: int) -> None:
        self._words = memoryview(mmap.mmap(descriptor, _SIZE)).cast("Q")

    def publish(self, gpu: int, cut: int) -> None:
        """Tell which links of a GPU are cut at its end, one bit each."""
        self._words[gpu] = ~cut & (1 << 64) - 1

    def open(self, gpu: int, link: int) -> bool:
        """Whether a GPU's end of a link is open."""
        return bool(self._words[gpu] >> link & 1)
