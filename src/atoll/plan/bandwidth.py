"""The bandwidth of links that clusters keep and lose."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.fabric.links import far_end
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


def bandwidth(topology: Topology, clusters: Clusters) -> tuple[Bandwidth, ...]:
    """Return what each named cluster keeps (links inside it) and loses (links that lead out of it).

    Bytes per second, each link counted once, both directions together. CPU-facing links are not counted: they
    are never cut.
    """
    owner = clusters.cluster_of(topology.functions)
    found = []
    for cluster in clusters.named:
        kept: set[int] = set()
        cut: set[int] = set()
        every = {id(link): link for function in cluster.functions for link in topology.links.get(function, ())}
        for function in cluster.functions:
            kept |= {id(link) for link in inside(topology, owner, function)}
            numbers = links_to_cut(topology, owner, function)
            for link in topology.links.get(function, ()):
                near = link.a if link.a.function == function else link.b
                if near.number in numbers:
                    cut.add(id(link))
        rate = {key: 2 * (link.bytes_per_second or 0) for key, link in every.items()}
        found.append(
            Bandwidth(
                cluster.name,
                cluster.functions,
                kept_bytes_per_second=sum(rate[key] for key in kept),
                cut_bytes_per_second=sum(rate[key] for key in cut),
            )
        )
    return tuple(found)
