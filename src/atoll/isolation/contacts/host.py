"""All contacts of a host: over links, over PCIe, by shared identity; and what follows from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from atoll.fabric.answer import Answer, Finding
from atoll.fabric.families import possible_cpu_links, possible_kinds
from atoll.fabric.links import across_links, unended
from atoll.host.model import LinkKind
from atoll.isolation.contacts.contact import Contact
from atoll.isolation.contacts.crossing import Crossings
from atoll.isolation.contacts.impersonation import impersonations
from atoll.isolation.contacts.partition import Partition, closure
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["contacts", "partition", "roamers"]

_Find = Callable[[Address, Address], Finding]
"""What says whether one function reaches another over links."""


def contacts(reach: Reach, *, least: Answer) -> Iterator[Contact]:
    """Yield the contacts whose answer is at least ``least`` (``POSSIBLE`` or more). Of a pair the worst counts.

    What goes through the IOMMU untranslated reaches everything: see ``roamers``.
    """
    yield from _over_links(reach, least)
    yield from Crossings(reach, least).contacts()
    yield from impersonations(reach, least)


def _over_links(reach: Reach, least: Answer) -> Iterator[Contact]:
    """Yield contacts over links that sources told, pair by pair, and over those that they did not, by kind."""
    topology = reach.topology
    find = partial(across_links, topology, reach.settings)
    linked = [
        address
        for address in topology.endpoints
        if address in topology.links or topology.functions[address].physical_function in topology.links
    ]
    yield from _told(reach, least, linked, find)
    if least <= Answer.POSSIBLE:
        yield from _untold(reach, linked, find)
        yield from _to_bricks(reach, find)


def _told(reach: Reach, least: Answer, linked: Sequence[Address], find: _Find) -> Iterator[Contact]:
    for source in linked:
        if source in reach.topology.bricks:
            # What goes through it is what its GPU sends (see ``into_system``).
            continue
        by_answer: dict[Answer, list[Address]] = defaultdict(list)
        for target in linked:
            answer = find(source, target).answer if source != target else Answer.BLOCKED
            if answer >= least:
                by_answer[answer].append(target)
        for answer, targets in by_answer.items():
            yield Contact((source,), tuple(targets), answer, False, find)


def _untold(reach: Reach, linked: Sequence[Address], find: _Find) -> Iterator[Contact]:
    """Yield what links may join of which no source told: all that may have the same kind."""
    topology, told = reach.topology, reach.topology.host.links_told
    by_kind: dict[LinkKind, list[Address]] = defaultdict(list)
    for address in topology.endpoints:
        if address not in told and address not in topology.bricks:
            for kind in possible_kinds(topology.functions[address]):
                by_kind[kind].append(address)
    untold = {kind: tuple(members) for kind, members in by_kind.items()}
    for members in dict.fromkeys(untold.values()):
        yield Contact(members, members, Answer.POSSIBLE, False, find)
    for kind, members in untold.items():
        # Links that lead to a chip, or nobody knows where, may meet those of functions of which no source told any.
        ends = tuple(a for a in linked if a in told and kind in unended(topology, reach.settings, a))
        if ends:
            yield Contact(ends, members, Answer.POSSIBLE, False, find)
            yield Contact(members, ends, Answer.POSSIBLE, False, find)


def _to_bricks(reach: Reach, find: _Find) -> Iterator[Contact]:
    """Yield what may lead to NPU bricks because no source told it: from the GPU that each faces, or from any."""
    topology = reach.topology
    if not topology.faceable:
        return
    gpus = [a for a in topology.endpoints if possible_cpu_links(topology.functions[a], powernv=True)]
    for target in topology.faceable:
        brick = topology.bricks.get(target)
        facing = gpus if brick is None or brick.gpu is None else [brick.gpu]
        sources = tuple(
            address
            for address in facing
            if address != target and address in topology.functions and find(address, target).answer is Answer.POSSIBLE
        )
        if sources:
            yield Contact(sources, (target,), Answer.POSSIBLE, False, find)


def roamers(reach: Reach, *, least: Answer) -> dict[Address, Finding]:
    """Return the functions that access memory which nothing mapped for them: identity or absent domains, ATS."""
    found = {}
    for address in reach.topology.endpoints:
        finding = reach.memory(address)
        if finding.answer >= least and finding.answer > Answer.IOMMU:
            found[address] = finding
    return found


def partition(
    reach: Reach,
    *,
    least: Answer,
    found: Iterable[Contact] | None = None,
    roaming: Mapping[Address, Finding] | None = None,
) -> Partition:
    """Return the classes of functions that answers of at least ``least``, or a shared identity, connect.

    ``found`` are the host's contacts of at least ``least``, ``roaming`` its ``roamers``, where they are known already.
    """
    endpoints = reach.topology.endpoints
    pairs: list[tuple[Address, Address]] = []
    for contact in contacts(reach, least=least) if found is None else found:
        pairs.extend(contact.joined())
    if roaming is None:
        roaming = roamers(reach, least=least)
    if roaming:
        memory = [a for a in endpoints if reach.topology.has_memory(reach.topology.functions[a])]
        first = next(iter(roaming))
        pairs.extend((first, member) for member in (*memory, *roaming))
    return closure(endpoints, pairs)
