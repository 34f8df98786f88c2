"""The folders of all functions in sysfs: what is in them, and what one tells of others."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import cached_property

from atoll.host.attribute import names, number
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.place import Place
from atoll.host.tree import Tree

__all__ = ["FolderNames", "FunctionFolders"]


class FolderNames(Container[str]):
    """The names in a function's folder. Listing one costs more than all that routing reads of it: done when asked."""

    __slots__ = ("_folder", "_listed", "_tree")

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree, self._folder = tree, folder
        self._listed: frozenset[str] | None = None

    @property
    def all(self) -> frozenset[str]:
        """All of them; none where the folder cannot be listed."""
        if self._listed is None:
            found = names(self._tree, self._folder)
            self._listed = frozenset(found.value) if isinstance(found, Known) else frozenset()
        return self._listed

    @property
    def whole(self) -> bool:
        """Whether the folder was copied whole: what is not in it does not exist; else it may not have been captured."""
        return {"uevent", "subsystem", "config"} <= self.all

    def __contains__(self, name: object) -> bool:
        return name in self.all


class FunctionFolders:
    """The folders of all functions of one tree: what one lacks, another may show that the kernel has."""

    def __init__(
        self,
        tree: Tree,
        places: Iterable[Place],
        *,
        extent: Extent,
        group_of: Callable[[Place], Fact[int | None]],
    ) -> None:
        self.tree, self.extent, self.group_of = tree, extent, group_of
        self.names = {place.address: FolderNames(tree, place.folder) for place in places}
        self._ari: dict[tuple[int, int], Fact[bool]] = {}
        """By bus: every function of a bus shows the same (``pci_ari_enabled(pci_dev->bus)``, pci-sysfs.c)."""

    @cached_property
    def seen(self) -> frozenset[str]:
        """What the folder of any function holds."""
        return frozenset[str]().union(*(listed.all for listed in self.names.values()))

    def ari_of(self, place: Place) -> Fact[bool]:
        """Return what ``ari_enabled`` tells."""
        bus = place.address[:2]
        known = self._ari.get(bus)
        if known is None:
            path = f"{place.folder}/ari_enabled"
            known = _flag(number(self.tree, path))
            if isinstance(known, Unknown):
                return known if "ari_enabled" in self.names[place.address] else Unknown(f"{path}: not captured")
            self._ari[bus] = known
        return known


def _flag(fact: Fact[int]) -> Fact[bool]:
    return Known(bool(fact.value), fact.source) if isinstance(fact, Known) else fact
