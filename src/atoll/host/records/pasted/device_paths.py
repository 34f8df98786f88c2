"""What links into ``/sys/devices`` tell of places, where a text shows them: ``ls -l`` of groups and of bus/pci/devices.

``0000:61:00.0 -> ../../../../devices/pci0000:60/0000:60:03.1/0000:61:00.0``: each function stands below the one named
before it, the first on a root bus (``pci_setup_device``, ``pci_create_root_bus``; see ``atoll.host.place``).
"""

from __future__ import annotations

from itertools import pairwise

from atoll.host.place import addresses_in, standing
from atoll.pci.address import Address

__all__ = ["DevicePaths"]

_DEEPEST = 64


class DevicePaths:
    """The bridges above functions, and root buses, as far as paths tell; of two that disagree, neither counts."""

    def __init__(self) -> None:
        self._above: dict[Address, Address | None] = {}
        """None: right on a root bus."""
        self._disputed: set[Address] = set()

    def take(self, line: str) -> None:
        """Note what the paths in a line tell. The line may tell something else as well."""
        if "/pci" not in line:
            return
        for word in line.split():
            bus = standing(word)[0] if "/pci" in word and word.count("/") < _DEEPEST else ""
            if bus:
                self._note(addresses_in(word.rstrip("/:").rpartition(f"/{bus}/")[2]))

    def _note(self, chain: list[Address]) -> None:
        for above, address in pairwise((None, *chain)):
            assert address is not None
            if self._above.setdefault(address, above) != above:
                self._disputed.add(address)

    @property
    def above(self) -> dict[Address, Address]:
        """The bridge right above a function."""
        return {a: up for a, up in self._above.items() if up is not None and a not in self._disputed}

    @property
    def roots(self) -> set[tuple[int, int]]:
        """Domain and bus of root buses."""
        return {a[:2] for a, up in self._above.items() if up is None and a not in self._disputed}
