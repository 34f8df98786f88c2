"""Whether two functions are in one I/O address space."""

from __future__ import annotations

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.pci.address import Address

__all__ = ["shared_space"]


def shared_space(topology: Topology, settings: Settings, source: Address, target: Address) -> Finding:
    """Say whether two functions share a group or an I/O address space: what is mapped for one is mapped for both."""
    one, other = topology.functions[source], topology.functions[target]
    group = value_of(one.group, None)
    if group is not None and group == value_of(other.group, None):
        because = f"both are in IOMMU group {group}, which has one address space"
        return Finding(Answer.DIRECT, (Hop(str(source), "IOMMU group", because),))
    a, b = settings.domain.get(source), settings.domain.get(target)
    if a is None or b is None or DomainKind.UNKNOWN in (a.kind, b.kind):
        if settings.can_master(source) is False:
            return BLOCKED
        missing = a.because if a is not None and a.kind is DomainKind.UNKNOWN else ""
        missing = missing or (b.because if b is not None else "") or "address spaces were not read"
        return Finding(Answer.POSSIBLE, (Hop(str(source), "address space", missing),))
    if a.kind is DomainKind.TRANSLATED and a.space and a.space == b.space:
        if a.certain and b.certain:
            return Finding(Answer.DIRECT, (Hop(str(source), "address space", f"both are in {a.space}"),))
        because = f"{a.because}, and {target} {b.because}: which container each is in does not show"
        return Finding(Answer.POSSIBLE, (Hop(str(source), "address space", because),))
    return BLOCKED
