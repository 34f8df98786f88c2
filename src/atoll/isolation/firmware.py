"""Memory that firmware has mapped one to one: whoever is in a domain of the kernel's can see it, for all such devices.

``iommu_create_device_direct_mappings`` maps a group's ``direct`` and ``direct-relaxable`` regions (RMRRs, unity maps)
in the domain that the kernel's drivers map in. A user of VFIO does not have the relaxable ones, and gets no device with
others.

AMD's IOMMU can be told to translate nothing of what some devices send to one range: whatever domain they are in.
Between commit 8aafaaf22121 "iommu/amd: Reserve exclusion range in iova-domain" (in v5.2, and in stable releases from
4.14 on) and commit 387caf0b759a "iommu/amd: Treat per-device exclusion ranges as r/w unity-mapped regions" (in v5.5)
its driver did so, and showed the range as ``reserved``, which else it shows of the HyperTransport range alone.
"""

from __future__ import annotations

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.default_domain import DEFAULT
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import ReservedRegion
from atoll.isolation.iova.reserved import HYPER_TRANSPORT
from atoll.pci.address import Address

__all__ = ["excluded_for", "mapped_for_both", "mapped_for_firmware"]


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


def excluded_for(topology: Topology, address: Address) -> tuple[ReservedRegion, ...]:
    """Return the ranges that firmware has AMD's IOMMU not translate for a function, as far as they were read."""
    function, host = topology.functions[address], topology.host
    unit = value_of(function.iommu, None)
    if not any(one.kind == "amd" and unit in (None, one.name) for one in host.iommu_units):
        return ()
    number = value_of(function.group, None)
    group = value_of(host.groups, {}).get(number) if number is not None else None
    regions = value_of(group.reserved_regions, ()) if group is not None else ()
    return tuple(one for one in regions if one.type == "reserved" and not _in_hyper_transport(one))


def _in_hyper_transport(region: ReservedRegion) -> bool:
    return HYPER_TRANSPORT.start <= region.start and region.end <= HYPER_TRANSPORT.end


def mapped_for_both(topology: Topology, settings: Settings, source: Address, target: Address) -> Finding:
    """Say whether firmware has the same memory mapped for two functions: what one writes there, the other reads."""
    if settings.can_master(source) is False or settings.can_master(target) is False:
        return BLOCKED
    other = _for_firmware(topology, settings, target)
    for one in _for_firmware(topology, settings, source) if other else ():
        for region in other:
            start, end = max(one.start, region.start), min(one.end, region.end)
            if start <= end:
                types = " and ".join(sorted({one.type, region.type}))
                because = f"firmware has 0x{start:x}-0x{end:x} mapped one to one for both (reserved_regions: {types})"
                sure = settings.can_master(source) and settings.can_master(target)
                answer = Answer.DIRECT if sure else Answer.POSSIBLE
                return Finding(answer, (Hop(str(source), "address space", because),))
    return BLOCKED


def _for_firmware(topology: Topology, settings: Settings, address: Address) -> tuple[ReservedRegion, ...]:
    mapped = value_of(mapped_for_firmware(topology, settings, address), ())
    return (*mapped, *excluded_for(topology, address))
