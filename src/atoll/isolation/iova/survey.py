"""All that there is to say about the I/O virtual addresses of each cluster."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.fabric.answer import Answer
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.isolation.iova.aperture import Aperture, aperture
from atoll.isolation.iova.claim import Claim
from atoll.isolation.iova.conflicts import Conflict, Space, conflicts, unusable
from atoll.isolation.iova.layout import Guest
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import NOTHING, Ranges
from atoll.isolation.iova.reserved import Region, Unassignable, reserved
from atoll.pci.address import Address

__all__ = ["ClusterIova", "survey"]


@dataclass(frozen=True, slots=True)
class ClusterIova:
    """The addresses of one cluster."""

    name: str
    functions: tuple[Address, ...]
    apertures: tuple[Aperture, ...]
    end: int | None
    """The last address of the aperture that surely can be mapped; None where nothing is known."""
    regions: tuple[Region, ...]
    claims: tuple[Claim, ...]
    usable: Ranges
    """What surely can be used: what is open or was not read is left out."""
    unassignable: tuple[Unassignable, ...]
    conflicts: tuple[Conflict, ...]
    unknown: tuple[str, ...]
    """Facts that were not read and may take more away."""
    notes: tuple[str, ...]
    """Facts that were not read and could only add addresses."""
    assumptions: frozenset[str]
    """Ids of what the policy takes as true."""

    @property
    def refuted(self) -> bool:
        """Whether something surely does not work."""
        return bool(self.unassignable) or any(one.answer is Answer.DIRECT for one in self.conflicts)

    @property
    def undecided(self) -> bool:
        """Whether facts that were not read, or open questions, decide whether it works."""
        return bool(self.unknown) or bool(self.conflicts)


def survey(polluter: Polluter, clusters: Clusters, guest: Guest | None = None) -> tuple[ClusterIova, ...]:
    """Return each named cluster's addresses; with a guest also where its memory meets what it cannot use."""
    return tuple(_cluster(polluter, cluster, guest) for cluster in clusters.named)


def _cluster(polluter: Polluter, cluster: Cluster, guest: Guest | None) -> ClusterIova:
    topology = polluter.topology
    functions = [topology.functions[address] for address in cluster.functions]
    kept = reserved(topology.host, functions)
    # A host driver works with one-to-one regions, and without any IOMMU as well.
    unassignable = () if cluster.handover is Handover.KERNEL else kept.unassignable
    untranslated = {one.device for one in kept.untranslated}
    apertures = aperture(topology.host, (f for f in functions if f.address not in untranslated))
    pollutions = tuple(polluter.of(address) for address in cluster.functions if address not in untranslated)
    space = Space(apertures, kept.regions, pollutions)
    unknown = [one.because for one in apertures if one.end is None]
    unknown += [*kept.unknown, *(text for pollution in pollutions for text in pollution.unknown)]
    usable = NOTHING if space.end is None else Ranges.of((0, space.end)) - unusable(space)
    return ClusterIova(
        cluster.name,
        cluster.functions,
        apertures,
        space.end,
        kept.regions,
        tuple(claim for pollution in pollutions for claim in pollution.claims),
        usable,
        unassignable,
        () if guest is None else conflicts(space, guest, polluter),
        tuple(dict.fromkeys(unknown)),
        tuple(dict.fromkeys(one.more for one in apertures if one.end is not None and one.more)),
        frozenset[str]().union(*(pollution.assumptions for pollution in pollutions)),
    )
