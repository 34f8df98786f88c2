"""Traffic over PCIe between two functions: where the ways meet, what lets it turn there, what stops it before.

Traffic climbs from its sender: the sender and every bridge it passes upwards must be bus masters. At the bus
where the ways meet it turns or goes on to the root, where the IOMMU translates. Going down, windows and
memory decoding decide; Access Control Services do not (they are an egress control of what comes from below).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, Question, worst
from atoll.fabric.meeting import meeting_turn, routing_of
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Branches, Topology
from atoll.fabric.turn import Bit, Traffic, Turn, bit
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import Unknown
from atoll.host.model import Function, Platform, RootRouting
from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = [
    "TRANSLATED_WITHOUT_ATS",
    "Ascent",
    "climbs",
    "outcome",
    "passes",
    "peer_to_peer",
    "reflected",
    "sends_translated",
    "stops_translated",
    "to_memory",
]


TRANSLATED_WITHOUT_ATS = "translated-without-ats"
"""Id of the assumption that a function whose ATS is off sends nothing that it marks as translated."""


class Ascent(NamedTuple):
    """What the requests of a function meet on their way up to a bus. None: not read."""

    mastering: bool | None
    """Whether it and every bridge on the way may send requests upwards."""
    translating: bool | None
    """Whether it may send requests that it marks as translated."""
    stopped: bool | None
    """Whether a port on the way blocks translated requests."""


def climbs(topology: Topology, settings: Settings, source: Address, ports: Iterable[Address]) -> bool | None:
    """Whether requests of ``source`` pass upwards through ``ports``; None where a command register was not read."""
    states = [settings.can_master(address) for address in (source, *ports)]
    if False in states:
        return False
    return None if None in states else True


def sends_translated(topology: Topology, settings: Settings, source: Address) -> bool | None:
    """Whether a function may send requests that it marks as translated (ATS is enabled); None unknown."""
    function = topology.functions[source]
    if isinstance(function.ats, Unknown):
        # A function without a PCIe capability has no extended capabilities, hence no ATS.
        return False if topology.port_type(source) is PortType.CONVENTIONAL else None
    if function.ats.value is None:
        return False
    return settings.ats.get(source)


def peer_to_peer(topology: Topology, settings: Settings, policy: Policy, source: Address, target: Address) -> Finding:
    """Say whether packets of ``source`` arrive at ``target`` without going through the IOMMU."""
    branches = topology.meeting(source, target)
    if source in topology.up(target) and not topology.functions[source].is_port:
        # No rule says what such a function, no bridge as far as it was read, sends down to those below it.
        because = f"{target} stands below it, which is no bridge as far as it was read"
        return Finding(Answer.POSSIBLE, (Hop(str(source), "PCIe", because),))
    if branches.source == branches.target:
        return _port_bar(topology, settings, policy, source, target)
    up = topology.up(source)
    passed = up[: up.index(branches.source) + 1] if branches.source in up else ()
    ascent = Ascent(
        climbs(topology, settings, source, passed),
        sends_translated(topology, settings, source),
        _translation_blocked(topology, settings, passed),
    )
    answering = topology.has_memory(topology.functions[target]) and _decodes(
        topology, settings, target, branches.target
    )
    findings = []
    for traffic in Traffic:
        passing = passes(traffic, ascent, answering)
        if passing is not False:
            step = meeting_turn(topology, settings, branches, traffic)
            findings.append(_judge(policy, step, passing is True, source, target, branches, traffic))
        elif traffic is Traffic.TRANSLATED and ascent.translating is False:
            findings += _without_ats(topology, settings, branches)
    return worst(BLOCKED, *findings)


def _without_ats(topology: Topology, settings: Settings, branches: Branches) -> Iterator[Finding]:
    """What it rests on that no request turns for being marked as translated (DT): ports do not ask whose ATS is on."""
    decider = topology.functions[branches.source]
    physical = topology.functions.get(decider.physical_function) if decider.physical_function is not None else None
    if any(bit(one, settings, AcsFlag.DT) is Bit.ON for one in (decider, physical) if one is not None):
        yield Finding(Answer.BLOCKED, (), frozenset({TRANSLATED_WITHOUT_ATS}))


def passes(traffic: Traffic, ascent: Ascent, answering: bool | None) -> bool | None:
    """Whether a kind of traffic arrives where it is let through at the meeting bus; None unknown.

    ``answering``: whether requests come down from there to the target, and whether it has memory that answers.
    """
    if traffic is Traffic.COMPLETION:
        return True
    states = [ascent.mastering, answering]
    if traffic is Traffic.TRANSLATED:
        states += [ascent.translating, None if ascent.stopped is None else not ascent.stopped]
    if False in states:
        return False
    return None if None in states else True


def outcome(policy: Policy, step: Turn, passing: bool | None) -> Answer:
    """Return the answer that one turn makes under a policy."""
    if passing is False or (step.question is not None and not step.question.open_under(policy)):
        return Answer.BLOCKED
    return step.answer if passing or step.answer is Answer.BLOCKED else Answer.POSSIBLE


def _judge(
    policy: Policy, step: Turn, certain: bool, source: Address, target: Address, branches: Branches, traffic: Traffic
) -> Finding:
    """The finding that one turn makes under a policy."""
    if step.answer is Answer.BLOCKED:
        return BLOCKED if step.assumption is None else Finding(Answer.BLOCKED, (), frozenset({step.assumption}))
    if step.question is not None and not step.question.open_under(policy):
        return Finding(Answer.BLOCKED, (), frozenset({step.question.value}))
    answer = outcome(policy, step, True if certain else None)
    hops = [Hop(str(branches.source), traffic.value, step.because)]
    if not certain:
        hops.append(Hop(str(source), traffic.value, "a command register or ATS state on the way was not read"))
    hops.append(Hop(str(target), "PCIe", "delivered below " + str(branches.target)))
    return Finding(answer, tuple(hops))


def _decodes(topology: Topology, settings: Settings, target: Address, branch: Address) -> bool | None:
    """Whether requests come down from the meeting bus to the target and are answered there; None unknown."""
    chain = (target, *topology.up(target))
    ports = chain[1 : chain.index(branch) + 1] if branch in chain else chain[1:]
    states = [settings.decodes_memory(port) for port in ports]
    if topology.functions[target].physical_function is None:
        # A virtual function's own memory enable reads as zero: the physical function's SR-IOV control decides.
        states.append(settings.decodes_memory(target))
    if False in states:
        return False
    return None if None in states else True


def stops_translated(topology: Topology, settings: Settings, port: Address) -> bool | None:
    """Whether a port blocks translated requests that come up to it (TB); None where its ACS was not read."""
    if topology.port_type(port) not in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
        return False
    state = bit(topology.functions[port], settings, AcsFlag.TB)
    return None if state is Bit.UNREAD else state is Bit.ON


def _translation_blocked(topology: Topology, settings: Settings, ports: Iterable[Address]) -> bool | None:
    """Whether a port on the way blocks translated requests (TB); None where a port's ACS was not read."""
    states = [stops_translated(topology, settings, port) for port in ports]
    if True in states:
        return True
    return None if None in states else False


def _port_bar(topology: Topology, settings: Settings, policy: Policy, source: Address, port: Address) -> Finding:
    """Requests to the BARs of a port above the sender: whether redirection covers them is left open."""
    if port == source or not topology.has_memory(topology.functions[port]):
        return BLOCKED
    up = topology.up(source)
    if port not in up or settings.decodes_memory(port) is False:
        return BLOCKED
    passed = up[: up.index(port)]
    climbing = climbs(topology, settings, source, passed)
    if climbing is False:
        return BLOCKED
    # An upstream port's BARs are reached from the downstream port below it; other ports see the request themselves.
    decider = passed[-1] if passed and topology.port_type(port) is PortType.UPSTREAM else port
    state = bit(topology.functions[decider], settings, AcsFlag.RR)
    enhanced = settings.enhanced.get(decider)
    if enhanced is not None and topology.port_type(decider) in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
        own = decider == port
        block = AcsEnhanced.OWN_BLOCK if own else AcsEnhanced.UP_BLOCK
        redirect = AcsEnhanced.OWN_REDIRECT if own else AcsEnhanced.UP_REDIRECT
        if bool(enhanced & block) != bool(enhanced & redirect):
            return BLOCKED
        if not enhanced & (block | redirect):
            state = Bit.OFF
    if state is Bit.ON and not Question.PORT_BAR.open_under(policy):
        return Finding(Answer.BLOCKED, (), frozenset({Question.PORT_BAR.value}))
    if state is Bit.ON:
        because = f"ReqRedir+ at {decider}; whether that covers the BARs of {port} is left open"
        return Finding(Answer.POSSIBLE, (Hop(str(port), Traffic.UNTRANSLATED.value, because),))
    certain = state is not Bit.UNREAD and climbing is True and settings.decodes_memory(port) is True
    answer = Answer.DIRECT if certain else Answer.POSSIBLE
    return Finding(answer, (Hop(str(port), Traffic.UNTRANSLATED.value, f"{port} answers to its own BARs"),))


def to_memory(topology: Topology, settings: Settings, policy: Policy, source: Address) -> Finding:
    """Say what ``source`` can access, over PCIe, of memory that is not mapped for it.

    That is what the IOMMU does with requests of ``source`` that come up to the root: where they can go from there.
    """
    root = f"root complex of {topology.functions[source].host_bridge}"
    climbing = climbs(topology, settings, source, topology.up(source))
    if climbing is False:
        return BLOCKED
    severed = topology.severed(source)
    climbing = None if severed else climbing
    found = []
    domain = settings.domain.get(source)
    match domain.kind if domain is not None else DomainKind.UNKNOWN:
        case DomainKind.TRANSLATED:
            found.append(Finding(Answer.IOMMU, (Hop(root, "IOMMU", domain.because if domain else ""),)))
        case DomainKind.IDENTITY | DomainKind.NONE:
            answer = Answer.DIRECT if climbing else Answer.POSSIBLE
            found.append(Finding(answer, (Hop(root, "untranslated request", domain.because if domain else ""),)))
        case DomainKind.BLOCKED:
            found.append(BLOCKED)
        case DomainKind.UNKNOWN:
            because = domain.because if domain is not None else "its I/O address space is not known"
            found.append(Finding(Answer.POSSIBLE, (Hop(root, "untranslated request", because),)))
    translated = sends_translated(topology, settings, source)
    blocked = translated is False or _translation_blocked(topology, settings, topology.up(source))
    if blocked is not True and not Question.HONEST_ATS.open_under(policy):
        found.append(Finding(Answer.IOMMU, (), frozenset({Question.HONEST_ATS.value})))
    elif blocked is not True:
        answer = Answer.DIRECT if translated and blocked is False and climbing else Answer.POSSIBLE
        because = (
            "ATS is enabled and no port blocks translated requests" if translated else "whether ATS is on is unread"
        )
        found.append(Finding(answer, (Hop(root, Traffic.TRANSLATED.value, because),)))
    return worst(*found)


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
    tops = {topology.port_type((address, *topology.up(address))[-1]) for address in (source, target)}
    if routing == {RootRouting.NONE} and one.host_bridge == other.host_bridge and tops == {PortType.ROOT_PORT}:
        return BLOCKED
    # What a host bridge that routes nothing does with requests from, or for, another one is left open.
    sure = RootRouting.NONE not in routing
    decoding = _decodes(topology, settings, target, target)
    chain = topology.up(target)
    windows = [settings.decodes_memory(port) for port in chain]
    if decoding is False or False in windows:
        return BLOCKED
    returned = _forwarded(topology, settings, source, target)
    if returned is False:
        return BLOCKED
    may = "sends" if sure else "may send"
    hop = Hop(str(target), "PCIe", f"the root complex {may} it down again")
    whole = not topology.severed(source) and not topology.severed(target) and sure
    answer = finding.answer if decoding and None not in windows and returned and whole else Answer.POSSIBLE
    return Finding(answer, (*finding.path, hop), finding.assumptions)


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
    unread = False
    for port in topology.up(source):
        if port not in above or topology.port_type(port) not in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
            continue
        function = topology.functions[port]
        root = topology.port_type(port) is PortType.ROOT_PORT
        state = bit(function, settings, AcsFlag.UF)
        secret = root and (state is Bit.NO_ACS or routing_of(topology, function) is RootRouting.TRANSLATED)
        # What a root port without ACS does with a request for its own side is the root complex's secret. Off x86 a
        # host bridge may shift addresses (``resource_entry.offset``): from below they need not look like its own side.
        if state in (Bit.OFF, Bit.ABSENT, Bit.NO_ACS) and not secret and topology.host.platform is Platform.X86:
            return False
        unread = unread or state not in (Bit.ON, Bit.STATED)
    return None if unread else True
