"""Reach: what the hardware, in given settings, lets one function access of another, and how."""

from __future__ import annotations

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, worst
from atoll.fabric.links import across_links, into_system
from atoll.fabric.pcie import peer_to_peer, reflected, to_memory
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.isolation.identity import shares_identity
from atoll.pci.address import Address

__all__ = ["Reach"]


class Reach:
    """Answers about one host in one setting under one policy; each asked answer is remembered."""

    def __init__(self, topology: Topology, settings: Settings, policy: Policy = Policy.STRICT) -> None:
        self.topology = topology
        self.settings = settings
        self.policy = policy
        self._answers: dict[tuple[Address, Address], Finding] = {}
        self._memory: dict[Address, Finding] = {}
        self._root: dict[Address, Finding] = {}
        self._system: dict[Address, Finding] = {}

    def answer(self, source: Address, target: Address) -> Finding:
        """Return the worst that ``source`` can do to ``target`` over all paths and all traffic."""
        finding = self._answers.get((source, target))
        if finding is None:
            finding = self._find(source, target)
            self._answers[source, target] = finding
        return finding

    def _find(self, source: Address, target: Address) -> Finding:
        if source == target:
            return Finding(Answer.DIRECT, (Hop(str(source), "itself", "it is the same function"),))
        topology, settings = self.topology, self.settings
        if source in topology.bricks:
            return self._into_system(source) if topology.has_memory(topology.functions[target]) else BLOCKED
        found = [
            across_links(topology, settings, source, target),
            peer_to_peer(topology, settings, self.policy, source, target),
            reflected(topology, settings, source, target, self._over_pcie(source)),
        ]
        system = self._into_system(source)
        if topology.has_memory(topology.functions[target]):
            found.append(system)
        return worst(*found)

    def _into_system(self, source: Address) -> Finding:
        if source not in self._system:
            self._system[source] = into_system(self.topology, self.settings, source)
        return self._system[source]

    def memory(self, source: Address) -> Finding:
        """Return the worst that ``source`` can do to memory that is not mapped for it, another cluster's say."""
        if source in self.topology.bricks:
            return self._into_system(source)
        if source not in self._memory:
            self._memory[source] = worst(self._over_pcie(source), self._into_system(source))
        return self._memory[source]

    def _over_pcie(self, source: Address) -> Finding:
        if source not in self._root:
            self._root[source] = to_memory(self.topology, self.settings, self.policy, source)
        return self._root[source]

    def identity(self, source: Address, target: Address) -> Finding:
        """Return whether ``source`` can send requests under ``target``'s identity."""
        return (
            BLOCKED
            if source == target or source in self.topology.bricks
            else shares_identity(self.topology, self.settings, source, target)
        )
