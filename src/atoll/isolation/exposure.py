"""Which addresses of a function another one's requests hit, where they turn below the root: by windows and BARs."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.pcie import peer_to_peer
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.iova.windows import addresses, is_subtractive, vectored, windows
from atoll.pci.address import Address

__all__ = ["Exposed", "Exposure", "exposure"]


@dataclass(frozen=True, slots=True)
class Exposed:
    """One BAR, or what is known of it."""

    what: str
    """``BAR 0``."""
    ranges: Ranges
    """What of it lies in the windows of all ports on the way down."""
    doubt: str = ""
    """Why it may be otherwise; empty where it is exact."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What of a function can be hit."""

    exposed: tuple[Exposed, ...]
    unknown: tuple[str, ...]
    """Why there may be more; empty where there is not."""


def exposure(
    topology: Topology, settings: Settings, policy: Policy, source: Address, target: Address
) -> Exposure | None:
    """Return the addresses of ``target`` that requests of ``source`` can hit without the IOMMU, over PCIe.

    None where no request turns towards it below the root complex's IOMMU; requests that come down from there may hit
    all that the target answers to.
    """
    if peer_to_peer(topology, settings, policy, source, target).answer <= Answer.IOMMU:
        return None
    turned = topology.meeting(source, target).target
    chain = topology.up(target)
    ports = chain[: chain.index(turned) + 1] if turned in chain else ()
    forwarded: Ranges | None = None
    unknown: list[str] = []
    for port in ports:
        if is_subtractive(topology.functions[port]):
            continue
        window = windows(topology.functions[port])
        if window.unread:
            unknown.append(window.unread)
        else:
            ranges = window.ranges | vectored(topology.functions[port]).ranges
            forwarded = ranges if forwarded is None else forwarded & ranges
    exposed = []
    for answered in addresses(topology, settings, target):
        if answered.unread:
            unknown.append(answered.unread)
            continue
        within = answered.ranges if forwarded is None else answered.ranges & forwarded
        if within:
            exposed.append(Exposed(answered.what, within, answered.doubt))
    return Exposure(tuple(exposed), tuple(dict.fromkeys(unknown)))
