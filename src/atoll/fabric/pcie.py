"""Traffic over PCIe between two functions: where the ways meet, what lets it turn there, what stops it before.

Traffic climbs from its sender: the sender and every bridge it passes upwards must be bus masters. At the bus
where the ways meet it turns or goes on to the root, where the IOMMU translates. Going down, windows and
memory decoding decide; Access Control Services do not (they are an egress control of what comes from below).
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, Question, worst
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Branches, Topology
from atoll.fabric.turn import Bit, Place, Traffic, Turn, bit, turn
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, RootRouting
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["climbs", "meeting_turn", "peer_to_peer", "reflected", "sends_translated", "to_memory", "turns"]


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
    if branches.source == branches.target:
        return _port_bar(topology, settings, policy, source, target)
    findings = [_over(topology, settings, policy, source, target, branches, Traffic.UNTRANSLATED)]
    if sends_translated(topology, settings, source) is not False:
        findings.append(_over(topology, settings, policy, source, target, branches, Traffic.TRANSLATED))
    findings.append(_over(topology, settings, policy, source, target, branches, Traffic.COMPLETION))
    return worst(*findings)


def _over(
    topology: Topology,
    settings: Settings,
    policy: Policy,
    source: Address,
    target: Address,
    branches: Branches,
    traffic: Traffic,
) -> Finding:
    """One kind of traffic, to the meeting bus, around and down."""
    up = topology.up(source)
    passed = up[: up.index(branches.source) + 1] if branches.source in up else ()
    certain = True
    if traffic is not Traffic.COMPLETION:
        climbing = climbs(topology, settings, source, passed)
        if climbing is False or not topology.has_memory(topology.functions[target]):
            return BLOCKED
        decoding = _decodes(topology, settings, target, branches.target)
        if decoding is False:
            return BLOCKED
        certain = climbing is True and decoding is True
    if traffic is Traffic.TRANSLATED:
        certain = certain and sends_translated(topology, settings, source) is True
        blocked = _translation_blocked(topology, settings, passed)
        if blocked is True:
            return BLOCKED
        certain = certain and blocked is False
    step = meeting_turn(topology, settings, branches, traffic)
    return _judge(policy, step, certain, source, target, branches, traffic)


def _judge(
    policy: Policy, step: Turn, certain: bool, source: Address, target: Address, branches: Branches, traffic: Traffic
) -> Finding:
    """The finding that one turn makes under a policy."""
    if step.answer is Answer.BLOCKED:
        return BLOCKED if step.assumption is None else Finding(Answer.BLOCKED, (), frozenset({step.assumption}))
    if step.question is not None and not step.question.open_under(policy):
        return Finding(Answer.BLOCKED, (), frozenset({step.question.value}))
    answer = step.answer if certain else Answer.POSSIBLE
    hops = [Hop(str(branches.source), traffic.value, step.because)]
    if not certain:
        hops.append(Hop(str(source), traffic.value, "a command register or ATS state on the way was not read"))
    hops.append(Hop(str(target), "PCIe", "delivered below " + str(branches.target)))
    return Finding(answer, tuple(hops))


def turns(topology: Topology, settings: Settings, source: Address, target: Address, bridge: Address | None) -> bool:
    """Whether any traffic may turn from what stands at ``source`` to what stands at ``target``, on one bus.

    ``bridge`` is the port right above the bus; None: the two meet in the root complex.
    """
    branches = Branches(source, target, bridge)
    return any(meeting_turn(topology, settings, branches, traffic).answer > Answer.BLOCKED for traffic in Traffic)


def meeting_turn(topology: Topology, settings: Settings, branches: Branches, traffic: Traffic) -> Turn:
    """What happens on the bus where the ways meet."""
    decider = topology.functions[branches.source]
    peer = topology.functions[branches.target]
    kind = topology.port_type(branches.source)
    if topology.conventional_bus(branches.bridge):
        return Turn(Answer.DIRECT, f"they share the conventional bus below {branches.bridge}")
    if branches.bridge is None:
        for branch in (branches.source, branches.target):
            if topology.severed(branch):
                return Turn(Answer.POSSIBLE, f"the port above {branch} was not read")
    if kind is PortType.DOWNSTREAM:
        return turn(decider, settings, traffic, Place.SWITCH, egress=value_of(peer.port_number, None))
    if kind is PortType.ROOT_PORT or branches.bridge is None:
        return _root_turn(topology, settings, branches, traffic)
    if kind is None or (kind is PortType.CONVENTIONAL and topology.port_type(branches.bridge) is None):
        unread = branches.source if kind is None else branches.bridge
        return Turn(Answer.POSSIBLE, f"the kind of port of {unread} was not read")
    return _device_turn(topology, settings, decider, peer, traffic)


def _device_turn(topology: Topology, settings: Settings, decider: Function, peer: Function, traffic: Traffic) -> Turn:
    """Between functions of one device (or a function inside a switch): the sender's own ACS, a PF's for its VFs."""
    # With ARI, bits of the vector may stand for groups of functions (6.12.1.2); which, is not read.
    numbered = isinstance(peer.ari, Known) and not peer.ari.value and peer.address.device == decider.address.device
    egress = peer.address.function if numbered else None
    if decider.physical_function is not None and bit(decider, settings, AcsFlag.RR) is Bit.NO_ACS:
        physical = topology.functions.get(decider.physical_function)
        if physical is not None and bit(physical, settings, AcsFlag.RR) is not Bit.NO_ACS:
            return turn(physical, settings, traffic, Place.DEVICE, egress=egress)
        return Turn(
            Answer.POSSIBLE,
            f"{decider.address} is a virtual function of a device without ACS",
            question=Question.VIRTUAL_FUNCTION,
        )
    return turn(decider, settings, traffic, Place.DEVICE, egress=egress)


def _root_turn(topology: Topology, settings: Settings, branches: Branches, traffic: Traffic) -> Turn:
    """In the root complex: between root ports, integrated endpoints, and what hangs on other host bridges."""
    decider, peer = topology.functions[branches.source], topology.functions[branches.target]
    routing = _routing(topology, decider)
    if decider.host_bridge != peer.host_bridge and routing is RootRouting.DIRECT:
        # What one host bridge routes between its own ports says nothing of ports of another.
        routing = None
    device = (
        topology.port_type(branches.source) is not PortType.ROOT_PORT
        and decider.host_bridge == peer.host_bridge
        and topology.same_device(branches.source, branches.target)
    )
    if device:
        return _device_turn(topology, settings, decider, peer, traffic)
    if routing is RootRouting.DIRECT and topology.port_type(branches.source) is not PortType.ROOT_PORT:
        # What is stated of root ports is not stated of integrated endpoints: theirs is a matter of their own.
        routing = None
    return turn(decider, settings, traffic, Place.ROOT, egress=value_of(peer.port_number, None), routing=routing)


def _routing(topology: Topology, function: Function) -> RootRouting | None:
    fact = topology.host.root_routing.get(function.host_bridge)
    return fact.value if isinstance(fact, Known) else None


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


def _translation_blocked(topology: Topology, settings: Settings, ports: Iterable[Address]) -> bool | None:
    """Whether a port on the way blocks translated requests (TB); None where a port's ACS was not read."""
    unread = False
    for port in ports:
        if topology.port_type(port) not in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
            continue
        state = bit(topology.functions[port], settings, AcsFlag.TB)
        if state is Bit.ON:
            return True
        unread = unread or state is Bit.UNREAD
    return None if unread else False


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
    blocked = _translation_blocked(topology, settings, topology.up(source))
    if translated is not False and blocked is not True and not Question.HONEST_ATS.open_under(policy):
        found.append(Finding(Answer.IOMMU, (), frozenset({Question.HONEST_ATS.value})))
    elif translated is not False and blocked is not True:
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
    decoding = _decodes(topology, settings, target, topology.functions[target].address)
    chain = topology.up(target)
    windows = [settings.decodes_memory(port) for port in chain]
    if decoding is False or False in windows:
        return BLOCKED
    returned = _forwarded(topology, settings, source, target)
    if returned is False:
        return BLOCKED
    hop = Hop(str(target), "PCIe", "the root complex sends it down again")
    whole = not topology.severed(source) and not topology.severed(target)
    answer = finding.answer if decoding and None not in windows and returned and whole else Answer.POSSIBLE
    return Finding(answer, (*finding.path, hop), finding.assumptions)


def _forwarded(topology: Topology, settings: Settings, source: Address, target: Address) -> bool | None:
    """Whether ports above both pass an address on their own side upwards (UF); without it the request ends there."""
    above = set(topology.up(target))
    unread = False
    for port in topology.up(source):
        if port not in above or topology.port_type(port) not in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
            continue
        function = topology.functions[port]
        root = topology.port_type(port) is PortType.ROOT_PORT
        if root and _routing(topology, function) is RootRouting.TRANSLATED:
            continue
        state = bit(function, settings, AcsFlag.UF)
        if state in (Bit.OFF, Bit.ABSENT) or (state is Bit.NO_ACS and not root):
            return False
        # What a root port without ACS does with a request for its own side is the root complex's secret.
        unread = unread or state in (Bit.UNREAD, Bit.NO_ACS)
    return None if unread else True
