"""The bandwidth of links that clusters keep and lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atoll.fabric.links import far_end, is_open
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import EndKind, Link
from atoll.isolation.clusters import Clusters
from atoll.isolation.handover import links_to_cut
from atoll.pci.address import Address
from atoll.plan.step import Bandwidth

__all__ = ["bandwidth", "inside"]


def inside(topology: Topology, owner: Mapping[Address, str], function: Address) -> tuple[Link, ...]:
    """Return the links of a function whose other end is a function of the same owner."""
    return tuple(
        link
        for link in topology.links.get(function, ())
        if (far := far_end(link, function).function) is not None
        and far_end(link, function).kind is EndKind.FUNCTION
        and owner.get(far) == owner[function]
    )


def bandwidth(topology: Topology, settings: Settings, clusters: Clusters) -> tuple[Bandwidth, ...]:
    """Return what each named cluster keeps (links inside it) and loses (links that lead out of it, or stay cut).

    Bytes per second in the given settings, those after a plan say; each link counted once, both directions
    together. CPU-facing links are not counted: they are never cut.
    """
    owner = clusters.cluster_of(topology.functions)
    found = []
    for cluster in clusters.named:
        links = {id(link): link for function in cluster.functions for link in topology.links.get(function, ())}
        kept = cut = 0
        for link in links.values():
            functions = [end.function for end in (link.a, link.b) if end.function in owner]
            if EndKind.CPU in (link.a.kind, link.b.kind):
                continue
            rate = 2 * (link.bytes_per_second or 0)
            whole = link.a.kind is link.b.kind is EndKind.FUNCTION
            if whole and all(owner[f] == cluster.name for f in functions if f is not None) and is_open(settings, link):
                kept += rate
            elif whole or _named(topology, owner, link, cluster.functions):
                cut += rate
            else:
                kept += rate
        found.append(Bandwidth(cluster.name, cluster.functions, kept, cut))
    return tuple(found)


def _named(topology: Topology, owner: Mapping[Address, str], link: Link, functions: Sequence[Address]) -> bool:
    """Whether a link to a switch chip is among those that must be cut."""
    for end in (link.a, link.b):
        if end.function in functions and end.function is not None:
            return end.number in links_to_cut(topology, owner, end.function)
    return False
