"""Who touches whom in a host: contacts between all functions, found class by class.

Functions that hang in the same place, with the same settings and without links, reach the same others the
same way; so answers are sought between classes of functions and hold for their members.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atoll.fabric.answer import Answer, Finding, worst
from atoll.fabric.families import family
from atoll.fabric.links import across_links
from atoll.fabric.pcie import peer_to_peer
from atoll.isolation.partition import Partition, closure
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Contact", "contacts", "partition", "roamers"]


@dataclass(frozen=True, slots=True)
class Contact:
    """One class of functions reaches another without going through the IOMMU, or under its identity."""

    sources: tuple[Address, ...]
    targets: tuple[Address, ...]
    finding: Finding
    identity: bool
    """It can send requests as the targets, rather than reach them."""


def _classes(reach: Reach) -> tuple[tuple[Address, ...], ...]:
    """Functions, ports aside, that no question about routing tells apart; singles where links may differ."""
    topology, settings = reach.topology, reach.settings
    found: dict[object, list[Address]] = {}
    for address in topology.endpoints:
        function = topology.functions[address]
        if address in topology.links or family(function.vendor, function.device) is not None or function.parent is None:
            found[address] = [address]
            continue
        key = (
            function.parent,
            address[:3],
            function.physical_function,
            function.acs,
            settings.acs.get(address),
            settings.command.get(address),
            function.ats,
            settings.ats.get(address),
            function.port_type,
            function.multifunction,
            topology.has_memory(function),
            function.iommu,
        )
        found.setdefault(key, []).append(address)
    return tuple(tuple(members) for members in found.values())


def contacts(reach: Reach, *, least: Answer) -> Iterator[Contact]:
    """Yield contacts between classes, and within them, whose answer is at least ``least``.

    What goes through the IOMMU untranslated reaches everything: see ``roamers``.
    """
    topology, settings, policy = reach.topology, reach.settings, reach.policy
    classes = _classes(reach)
    for sources in classes:
        for targets in classes:
            one, other = sources[0], targets[0] if targets is not sources else sources[-1]
            if one == other:
                continue
            finding = worst(
                across_links(topology, settings, one, other), peer_to_peer(topology, settings, policy, one, other)
            )
            if finding.answer >= least:
                yield Contact(sources, targets, finding, False)
            identity = reach.identity(one, other)
            if identity.answer >= least:
                yield Contact(sources, targets, identity, True)


def roamers(reach: Reach, *, least: Answer) -> dict[Address, Finding]:
    """Return the functions that access memory which nothing mapped for them: identity or absent domains, ATS."""
    found = {}
    for address in reach.topology.endpoints:
        finding = reach.memory(address)
        if finding.answer >= least and finding.answer > Answer.IOMMU:
            found[address] = finding
    return found


def partition(reach: Reach, *, least: Answer) -> Partition:
    """Return the classes of functions that answers of at least ``least``, or a shared identity, connect."""
    endpoints = reach.topology.endpoints
    pairs: list[tuple[Address, Address]] = []
    for contact in contacts(reach, least=least):
        members = (*contact.sources, *contact.targets)
        pairs.extend((members[0], member) for member in members[1:])
    if roamers(reach, least=least):
        memory = [a for a in endpoints if reach.topology.has_memory(reach.topology.functions[a])]
        first = next(iter(roamers(reach, least=least)))
        pairs.extend((first, member) for member in memory)
        pairs.extend((first, roamer) for roamer in roamers(reach, least=least))
    return closure(endpoints, pairs)
