"""Memory that firmware has mapped one to one: whoever is in a domain of the kernel's can see it, for all such devices.

``iommu_create_device_direct_mappings`` maps a group's ``direct`` and ``direct-relaxable`` regions (RMRRs, unity maps)
in the domain that the kernel's drivers map in. A user of VFIO does not have the relaxable ones, and gets no device with
others.
"""

from __future__ import annotations

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.domains import DEFAULT
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import ReservedRegion
from atoll.pci.address import Address

__all__ = ["mapped_for_both", "mapped_for_firmware"]


def mapped_for_firmware(topology: Topology, settings: Settings, address: Address) -> Fact[tuple[ReservedRegion, ...]]:
    """Return the regions that firmware has mapped in the domain that a function is in; none in a user's."""
    domain = settings.domain.get(address)
    if domain is None or domain.kind is not DomainKind.TRANSLATED or not domain.space.startswith(DEFAULT):
        return Known(())
    number = value_of(topology.functions[address].group, None)
    group = value_of(topology.host.groups, {}).get(number) if number is not None else None
    regions = group.reserved_regions if group is not None else Unknown("its group was not read")
    if isinstance(regions, Unknown):
        return regions
    return Known(tuple(region for region in regions.value if region.type.startswith("direct")), regions.source)


def mapped_for_both(topology: Topology, settings: Settings, source: Address, target: Address) -> Finding:
    """Say whether firmware has the same memory mapped for two functions: what one writes there, the other reads."""
    if settings.can_master(source) is False or settings.can_master(target) is False:
        return BLOCKED
    other = value_of(mapped_for_firmware(topology, settings, target), ())
    for one in value_of(mapped_for_firmware(topology, settings, source), ()) if other else ():
        for region in other:
            start, end = max(one.start, region.start), min(one.end, region.end)
            if start <= end:
                because = f"firmware has 0x{start:x}-0x{end:x} mapped one to one for both (reserved_regions: direct)"
                sure = settings.can_master(source) and settings.can_master(target)
                answer = Answer.DIRECT if sure else Answer.POSSIBLE
                return Finding(answer, (Hop(str(source), "address space", because),))
    return BLOCKED
