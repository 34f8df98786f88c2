"""Several records of one machine as one tree: what the first lacks, the next may have.

A tree has one content for each file, so who reads it alone never sees that two records disagree: ``read_each`` does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from atoll.host.model import Host
from atoll.host.tree import Tree

__all__ = ["Overlay", "read_each"]

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


def read_each(overlay: Overlay, read: Callable[[Tree], Host]) -> Host:
    """Return the host that trees show together: each is read, and where two disagree, neither counts.

    A tree without functions (a folder with ``proc/`` alone, say) adds its files to each that shows some, and is held
    against them in what it tells by itself: groups, kernel release, command line.
    """
    from atoll.host.place import find_places
    from atoll.host.records.merge.hosts import merge

    whole: list[Tree] = []
    parts: list[Tree] = []
    for tree in overlay.trees:
        (whole if find_places(tree) else parts).append(tree)
    read_whole = [replace(read(Overlay((tree, *parts))), name=tree.name) for tree in whole]
    # Of the trees laid over one another, a folder of groups shows the members that any of them names.
    alone = overlay.trees if parts and len(overlay.trees) > 1 else ()
    hosts = [*(read_whole or [read(overlay)]), *(_claims(read(tree)) for tree in alone)]
    return replace(merge(hosts), name=overlay.name, provenance=_read_from(overlay, hosts))


def _read_from(overlay: Overlay, hosts: Iterable[Host]) -> tuple[str, ...]:
    told = (source for host in hosts for source in host.provenance if " + " not in source)
    return tuple(dict.fromkeys((*(tree.name for tree in overlay.trees), *told)))


def _claims(host: Host) -> Host:
    return Host(host.name, {}, host.groups, kernel=host.kernel, command_line=host.command_line)
