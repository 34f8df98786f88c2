"""Functions that hang elsewhere: what one may do to them is the same for all of one kind, so one of them is asked.

Two functions hang elsewhere for one another where nothing ties them: no device at the root, no bus, no
requester id, no IOMMU group or address space, no SR-IOV. What ``Reach`` and a proof look at of a target is then what
``kind`` returns, and nothing of the pair. Findings that tell of something name both, so those are asked one by one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from atoll.fabric.links import linkless
from atoll.fabric.meeting import decides_by_number, peer_key
from atoll.fabric.passage import descending
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import value_of
from atoll.isolation.firmware import excluded_for, mapped_for_firmware
from atoll.isolation.identity import alias_ids, tables
from atoll.pci.address import Address

__all__ = ["Elsewhere"]


class Elsewhere:
    """The kinds and ties of the functions of one host in one setting; each is found out once."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self.settings = settings
        self._kinds: dict[Address, Hashable] = {}
        self._ties: dict[Address, frozenset[Hashable]] = {}
        self._above: dict[Address, frozenset[tuple[int, int]]] = {}

    def tells_apart(self, source: Address) -> bool:
        """Whether what a function does depends on more of a target than its kind, however far away that hangs.

        What passes the IOMMU untranslated may come down to any target, and is for the caller to see (``Reach.memory``).
        """
        topology = self.topology
        return (
            source in topology.bricks
            or topology.severed(source)
            or decides_by_number(topology, self.settings, self._top(source))
        )

    def kind(self, source: Address, target: Address) -> Hashable:
        """Return all of a target elsewhere that decides what a function may do to it; None where it has to be asked."""
        if target not in self._kinds:
            self._kinds[target] = self._kind(target)
        kind = self._kinds[target]
        return kind if kind is not None and self._tied(source).isdisjoint(self._tied(target)) else None

    def _kind(self, target: Address) -> Hashable:
        topology, settings = self.topology, self.settings
        function, top, domain = topology.functions[target], self._top(target), settings.domain.get(target)
        if (
            topology.severed(target)
            or target.domain >= FIRST_SEGMENT
            or function.perhaps_virtual
            or not linkless(topology, settings, target)
            or value_of(mapped_for_firmware(topology, settings, target), ())
            or excluded_for(topology, target)
        ):
            return None
        return (
            function.is_port,
            topology.has_memory(function),
            descending(topology, settings, target, top),
            peer_key(topology, top, None, numbered=False),
            topology.functions[top].host_bridge,
            target.domain,
            tables(topology, target),
            None if domain is None else domain.kind,
        )

    def _tied(self, address: Address) -> frozenset[Hashable]:
        found = self._ties.get(address)
        if found is None:
            found = self._ties[address] = frozenset(self._ties_of(address))
        return found

    def _ties_of(self, address: Address) -> Iterator[Hashable]:
        """What a function has in common with those to which it may do more than to others of their kind."""
        function, top, domain = self.topology.functions[address], self._top(address), self.settings.domain.get(address)
        yield "device at the root", (self.topology.functions[top].physical_function or top).slot
        yield "bus", address[:2]
        yield "device", function.physical_function or address
        for requester in alias_ids(self.topology, address, self._above):
            yield "requester id", requester
        group = value_of(function.group, None)
        if group is not None:
            yield "group", group
        if domain is not None and domain.space:
            yield "space", domain.space

    def _top(self, address: Address) -> Address:
        return (address, *self.topology.up(address))[-1]
