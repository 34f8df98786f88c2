"""Links outside PCIe: what is taken of their cuts, and of where they lead."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.controls.registry import link_control
from atoll.fabric.families import possible_kinds
from atoll.fabric.links import far_end, is_open, leads_on
from atoll.isolation.assumptions.assumption import Assumption
from atoll.isolation.clusters import Clusters
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["link_controls", "off_host_links"]


def link_controls(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Of each control by which links of clusters are cut."""
    for address in sorted(clusters.tenant()):
        control = link_control(reach.topology.functions[address])
        if control is not None and reach.settings.cut.get(address):
            yield Assumption(f"control:{control.name}", f"{control.name} cuts links as written; level: {control.level}")


def off_host_links(reach: Reach, clusters: Clusters) -> Iterator[Assumption]:
    """Where links of clusters lead to what is no function of the host, or may."""
    leading = [address for address in clusters.tenant() if _leads_off_host(reach, address)]
    if leading:
        yield Assumption(
            "off-host-links",
            f"links of {len(leading)} function(s) of clusters lead, or may lead, to what is no function of this host:"
            " what else hangs there, of other hosts say, is kept apart there",
        )


def _leads_off_host(reach: Reach, address: Address) -> bool:
    """Whether a link that is not cut leads to a chip that the host does not show, to another host, or nobody knows.

    A virtual function's links are those of its physical one. Links that no source told may lead anywhere.
    """
    topology = reach.topology
    if address not in topology.host.links_told and possible_kinds(topology.functions[address]):
        return True
    physical = topology.functions[address].physical_function
    return any(
        leads_on(link, end) and far_end(link, end).function is None and is_open(reach.settings, link) is not False
        for end in (address, *((physical,) if physical is not None else ()))
        for link in topology.links.get(end, ())
    )
