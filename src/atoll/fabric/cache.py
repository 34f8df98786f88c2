"""Memory that a device caches: CXL.cache names it by host physical addresses, and no IOMMU is asked.

A device has to ask for these addresses first, by ATS (CXL Specification 3.1, 3.2: its requests carry host
physical addresses): that it does is its own word, as with translated requests of PCI Express. Bus mastering is no
matter of it. What it reaches is memory; BARs of peers are none that is cached.
"""

from __future__ import annotations

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, Question
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["by_caching"]


def by_caching(topology: Topology, policy: Policy, source: Address) -> Finding:
    """Say what ``source`` can access, by caching it, of memory that is not mapped for it."""
    caches = value_of(topology.functions[source].cxl_cache, None)
    if caches is False or topology.port_type(source) is PortType.CONVENTIONAL:
        return BLOCKED
    if not Question.HONEST_ATS.open_under(policy):
        return Finding(Answer.IOMMU, (), frozenset({Question.HONEST_ATS.value}))
    enabled = "it is enabled, or its driver may do that, and memory that it names is not translated"
    because = enabled if caches else "whether it is enabled was not read"
    return Finding(Answer.POSSIBLE, (Hop(str(source), "CXL.cache", because),))
