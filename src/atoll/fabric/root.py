"""Traffic by way of the root complex: what the IOMMU makes of requests that come up, and what is sent down again."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, Question, worst
from atoll.fabric.meeting import routing_of
from atoll.fabric.multicast import past_overlays
from atoll.fabric.passage import climbs, decodes, sends_translated, translation_blocked
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.fabric.turn import Bit, Traffic, bit
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.model import Function, Platform, RootRouting
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = ["by_mapping", "reflected", "to_memory"]


def to_memory(topology: Topology, settings: Settings, policy: Policy, source: Address) -> Finding:
    """Say what ``source`` can access, over PCIe, of memory that is not mapped for it.

    That is what the IOMMU does with requests of ``source`` that come up to the root: where they can go from there.
    """
    root = topology.root(source)
    climbing = climbs(settings, source, topology.up(source))
    if climbing is False:
        return BLOCKED
    climbing = None if topology.severed(source) else climbing
    return worst(
        _untranslated(root, settings.domain.get(source), comes_up=climbing),
        _translated(topology, settings, policy, source, root, comes_up=climbing),
    )


def _untranslated(root: str, domain: Domain | None, *, comes_up: bool | None) -> Finding:
    """What the IOMMU lets requests reach that ask it for the address."""
    if domain is None:
        return Finding(Answer.POSSIBLE, (Hop(root, "untranslated request", "its I/O address space is not known"),))
    match domain.kind:
        case DomainKind.TRANSLATED:
            return Finding(Answer.IOMMU, (Hop(root, "IOMMU", domain.because),))
        case DomainKind.IDENTITY | DomainKind.NONE:
            answer = Answer.DIRECT if comes_up else Answer.POSSIBLE
            return Finding(answer, (Hop(root, "untranslated request", domain.because),))
        case DomainKind.BLOCKED:
            return BLOCKED
        case DomainKind.UNKNOWN:
            return Finding(Answer.POSSIBLE, (Hop(root, "untranslated request", domain.because),))


def _translated(
    topology: Topology, settings: Settings, policy: Policy, source: Address, root: str, *, comes_up: bool | None
) -> Finding:
    """What requests reach that bear an address which the IOMMU is said to have translated (ATS)."""
    translated = sends_translated(topology, settings, source)
    blocked = translated is False or translation_blocked(topology, settings, topology.up(source))
    if blocked is True:
        return BLOCKED
    if not Question.HONEST_ATS.open_under(policy):
        return Finding(Answer.IOMMU, (), frozenset({Question.HONEST_ATS.value}))
    sure = translated and blocked is False and comes_up
    because = "ATS is enabled and no port blocks translated requests" if translated else "whether ATS is on is unread"
    if source.domain >= FIRST_SEGMENT:
        # They bear the VMD's id, whose entry lets translated requests pass only if the kernel says so there.
        sure = False
        because = f"{because}; whether the IOMMU takes such requests from its VMD is not read"
    return Finding(Answer.DIRECT if sure else Answer.POSSIBLE, (Hop(root, Traffic.TRANSLATED.value, because),))


def reflected(topology: Topology, settings: Settings, source: Address, target: Address, finding: Finding) -> Finding:
    """Say whether ``source`` can access ``target``'s BARs by way of the root: up through the IOMMU and down again.

    ``finding`` is what ``to_memory`` says of ``source``.
    """
    if finding.answer <= Answer.IOMMU:
        return finding
    if not topology.has_memory(topology.functions[target]):
        return BLOCKED
    one, other = topology.functions[source], topology.functions[target]
    routing = {routing_of(topology, end) for end in (one, other, *_makers(topology, one), *_makers(topology, other))}
    tops = {(address, *topology.up(address))[-1] for address in (source, target)}
    ports = {topology.port_type(top) for top in tops} == {PortType.ROOT_PORT} and len(tops) == 2
    if routing == {RootRouting.NONE} and one.host_bridge == other.host_bridge and ports:
        return BLOCKED
    # What a host bridge that routes nothing does with requests from, or for, another one is left open.
    sure = RootRouting.NONE not in routing
    decoding = decodes(topology, settings, target, target)
    chain = topology.up(target)
    windows = [settings.decodes_memory(port) for port in chain]
    if decoding is False or False in windows:
        return BLOCKED
    returned = _forwarded(topology, settings, source, target)
    if returned is False:
        return by_mapping(settings, source)
    may = "sends" if sure else "may send"
    hop = Hop(str(target), "PCIe", f"the root complex {may} it down again")
    whole = not topology.severed(source) and not topology.severed(target) and sure
    answer = finding.answer if decoding and None not in windows and returned and whole else Answer.POSSIBLE
    return Finding(answer, (*finding.path, hop), finding.assumptions)


def by_mapping(settings: Settings, source: Address) -> Finding:
    """Say what ``source`` reaches of a target whose own addresses come to no root complex: what is mapped for it.

    Where the IOMMU passes addresses through as they are, or nothing at all, that is nothing.
    """
    domain = settings.domain.get(source)
    if domain is not None and domain.kind in (DomainKind.IDENTITY, DomainKind.NONE, DomainKind.BLOCKED):
        return BLOCKED
    because = "its I/O address space is not known" if domain is None else domain.because
    return Finding(Answer.IOMMU, (Hop(str(source), "IOMMU", because),))


def _makers(topology: Topology, function: Function) -> Iterator[Function]:
    """The VMDs that may have made its segment: what leaves that goes through the root complex that they stand in."""
    if function.address.domain >= FIRST_SEGMENT:
        for vmd in topology.vmds if function.behind is None else (function.behind,):
            if vmd in topology.functions:
                yield topology.functions[vmd]


def _forwarded(topology: Topology, settings: Settings, source: Address, target: Address) -> bool | None:
    """Whether ports above both pass an address on their own side upwards (UF); without it the request ends there."""
    if topology.host.platform is Platform.POWERNV:
        # Through the bypass window addresses have bit 59 set (``pnv_pci_ioda2_set_bypass``): no port takes them for its
        # own side.
        return True
    above = set(topology.up(target))
    way = (source, *topology.up(source))
    seeing = past_overlays(topology, way)
    unread = False
    for port in way[1:]:
        if port not in above or topology.port_type(port) not in DOWNSTREAM_PORTS:
            continue
        function = topology.functions[port]
        root = topology.port_type(port) is PortType.ROOT_PORT
        state = bit(function, settings, AcsFlag.UF)
        secret = root and (state is Bit.NO_ACS or routing_of(topology, function) is RootRouting.TRANSLATED)
        # What a root port without ACS does with a request for its own side is the root complex's secret. Off x86 a
        # host bridge may shift addresses (``resource_entry.offset``): from below they need not look like its own side.
        if state in (Bit.OFF, Bit.ABSENT, Bit.NO_ACS) and not secret and topology.host.platform is Platform.X86:
            if port in seeing:
                return False
            # Past it a copy may get the target's address (Multicast's overlay); which one, is not read.
            unread = True
        unread = unread or state not in (Bit.ON, Bit.STATED)
    return None if unread else True
