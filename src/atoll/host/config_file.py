"""Configuration space as a file of a tree."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from atoll.host.tree import OpeningTree, Tree
from atoll.pci.config import ConfigSource

__all__ = ["config_opener"]


def config_opener(tree: Tree) -> Callable[[str], AbstractContextManager[ConfigSource]]:
    """Return what opens configuration spaces by path; where the tree can, each is opened once for all its pieces."""
    if isinstance(tree, OpeningTree):
        return tree.opened

    def each_apart(path: str) -> AbstractContextManager[ConfigSource]:
        return nullcontext(lambda offset, size: tree.read(path, offset=offset, size=size))

    return each_apart
