"""Several records of one machine as one tree: what the first lacks, the next may have."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from atoll.host.tree import Tree

__all__ = ["Overlay"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Overlay:
    """Trees on top of one another: a folder shows the names of all, a file is the first one there is."""

    trees: tuple[Tree, ...]

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return " + ".join(tree.name for tree in self.trees)

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder of any of the trees, sorted."""
        found: set[str] = set()
        missing: OSError | None = None
        seen = False
        for tree in self.trees:
            try:
                found.update(tree.list(path))
                seen = True
            except OSError as error:
                missing = missing or error
        if not seen:
            raise missing or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return tuple(sorted(found))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return bytes of a file of the first tree that has it."""
        return self._first(path, lambda tree: tree.read(path, offset=offset, size=size))

    def readlink(self, path: str) -> str:
        """Return the target of a link of the first tree that has it."""
        return self._first(path, lambda tree: tree.readlink(path))

    def _first(self, path: str, get: Callable[[Tree], T]) -> T:
        missing: OSError | None = None
        for tree in self.trees:
            try:
                return get(tree)
            except OSError as error:
                missing = missing or error
        raise missing or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
