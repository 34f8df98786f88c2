"""The one seam for input: a tree of files, be it a live ``/``, a folder, an archive or a twin."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from atoll.pci.config import ConfigSource

__all__ = ["OpeningTree", "Tree"]


class Tree(Protocol):
    """Files of a host. Paths are relative to its root, with ``/`` between names and none in front.

    Links inside the tree are followed within the tree: absolute targets resolve from the root and ``..``
    stops there. Errors are the OSError that the kernel would give: FileNotFoundError, PermissionError,
    NotADirectoryError, OSError(EINVAL), …
    """

    @property
    def name(self) -> str:
        """What to call it in messages."""

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer where the file ends; all of it with None.

        Of ``resourceN`` (a BAR), only 4 bytes at offsets divisible by 4 can be read: one 32-bit load.
        """

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link, unresolved."""


@runtime_checkable
class OpeningTree(Protocol):
    """A tree that can keep a file open while it is read in pieces. For the rest, each piece is a ``read``."""

    def opened(self, path: str) -> AbstractContextManager[ConfigSource]:
        """Return what reads the pieces of a file; errors come with the first of them."""
