"""Traffic over PCIe between two functions: where the ways meet, what lets it turn there, what stops it before.

Traffic climbs from its sender: the sender and every bridge it passes upwards must be bus masters. At the bus
where the ways meet it turns or goes on to the root (``fabric.root``). Going down, windows and memory decoding
decide; Access Control Services do not (they are an egress control of what comes from below).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, Question, worst
from atoll.fabric.meeting import Meetings
from atoll.fabric.multicast import copying
from atoll.fabric.settings import Settings
from atoll.fabric.three_valued import both
from atoll.fabric.topology import Branches, Topology
from atoll.fabric.turn import Bit, Traffic, Turn, bit
from atoll.host.fact import Unknown
from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = [
    "TRANSLATED_WITHOUT_ATS",
    "Ascent",
    "Descent",
    "PeerToPeer",
    "blocked_from_bars",
    "climbs",
    "decodes",
    "descending",
    "outcome",
    "passes",
    "peer_to_peer",
    "sends_translated",
    "stops_translated",
    "translation_blocked",
]


TRANSLATED_WITHOUT_ATS = "translated-without-ats"
"""Id of the assumption that a function whose ATS is off sends nothing that it marks as translated."""


_UNREAD = "a command register or ATS state on the way was not read"
_COPIES = "whether copies leave by a port that decodes no memory is left open"
_PORTS = "no memory request comes to its target, and whoever sends I/O requests hits its I/O ports"


_BRIDGES = (PortType.PCIE_TO_PCI, PortType.PCI_TO_PCIE, PortType.CONVENTIONAL)


class Ascent(NamedTuple):
    """What the requests of a function meet on their way up to a bus. None: not read."""

    mastering: bool | None
    """Whether it and every bridge on the way may send requests upwards."""
    translating: bool | None
    """Whether it may send requests that it marks as translated."""
    stopped: bool | None
    """Whether a port on the way blocks translated requests."""


class Descent(NamedTuple):
    """Whether what comes down from a bus arrives at a function and is answered there. None: not read, or left open."""

    memory: bool | None
    copies: bool | None
    """What Multicast makes."""
    ports: bool | None
    """I/O requests: ports let them through, and functions answer them, by a bit of their own (7.5.1.1.3)."""

    @classmethod
    def to(cls, topology: Topology, settings: Settings, target: Address) -> Descent:
        """Return what a function answers of what comes to it."""
        function = topology.functions[target]
        # A virtual function's own memory enable reads as zero.
        decodes = True if function.physical_function is not None else settings.decodes_memory(target)
        memory = both(topology.has_memory(function), decodes)
        return cls(memory, memory, both(topology.has_ports(function), settings.decodes_ports(target)))

    def past(self, topology: Topology, settings: Settings, port: Address) -> Descent:
        """Return what arrives of what comes down to a port above."""
        decodes = settings.decodes_memory(port)
        open_to_copies = decodes is False and bool(topology.multicasting) and copying(topology, port)
        copies = both(self.copies, None if open_to_copies else decodes)
        return Descent(both(self.memory, decodes), copies, both(self.ports, settings.decodes_ports(port)))

    def requests(self, *, copied: bool) -> bool | None:
        """Whether any request arrives: of what no memory request comes to, an I/O request may be answered.

        PCI Express endpoints must not send those, legacy ones may (Base Specification 1.3.2.1); whether a sender does
        is up to it.
        """
        memory = self.copies if copied else self.memory
        return None if memory is False and self.ports is not False else memory


def climbs(settings: Settings, source: Address, ports: Iterable[Address]) -> bool | None:
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
    return PeerToPeer(topology, settings, policy).between(source, target)


class PeerToPeer:
    """``peer_to_peer`` of many pairs in one setting: what many pairs have in common is found out once."""

    def __init__(self, topology: Topology, settings: Settings, policy: Policy) -> None:
        self.topology = topology
        self.settings = settings
        self.policy = policy
        self._meetings = Meetings(topology, settings)
        self._ascents: dict[tuple[Address, Address], Ascent] = {}
        self._descents: dict[tuple[Address, Address], Descent] = {}

    def between(self, source: Address, target: Address) -> Finding:
        """Say whether packets of ``source`` arrive at ``target`` without going through the IOMMU."""
        topology, settings = self.topology, self.settings
        branches = topology.meeting(source, target)
        if source in topology.up(target) and not topology.functions[source].is_port:
            # No rule says what such a function, no bridge as far as it was read, sends down to those below it.
            because = f"{target} stands below it, which is no bridge as far as it was read"
            return Finding(Answer.POSSIBLE, (Hop(str(source), "PCIe", because),))
        if branches.source == branches.target:
            return _port_bar(topology, settings, self.policy, source, target)
        ascent = self._ascent(source, branches.source)
        descent = self._descent(target, branches.target)
        findings: list[Finding] = []
        for traffic, step in self._meetings.at(branches):
            passing = passes(step, traffic, ascent, descent)
            if passing is not False:
                doubt = "" if passing else _doubt(step, descent)
                findings.append(_judge(self.policy, step, doubt, source, target, branches, traffic))
            elif traffic is Traffic.TRANSLATED and ascent.translating is False:
                findings += _without_ats(topology, settings, branches)
        return worst(BLOCKED, *findings)

    def _ascent(self, source: Address, branch: Address) -> Ascent:
        """Return what requests meet on their way up to the bus where ``branch`` stands."""
        found = self._ascents.get((source, branch))
        if found is None:
            up = self.topology.up(source)
            passed = up[: up.index(branch) + 1] if branch in up else ()
            found = self._ascents[source, branch] = Ascent(
                climbs(self.settings, source, passed),
                sends_translated(self.topology, self.settings, source),
                translation_blocked(self.topology, self.settings, passed),
            )
        return found

    def _descent(self, target: Address, branch: Address) -> Descent:
        """Return what comes down from the bus where ``branch`` stands to the target, and is answered there."""
        if (target, branch) not in self._descents:
            self._descents[target, branch] = descending(self.topology, self.settings, target, branch)
        return self._descents[target, branch]


def _doubt(step: Turn, descent: Descent) -> str:
    if step.copied and descent.memory is False and descent.copies is None:
        return _COPIES
    return _PORTS if descent.memory is False else _UNREAD


def _without_ats(topology: Topology, settings: Settings, branches: Branches) -> Iterator[Finding]:
    """What it rests on that no request turns for being marked as translated (DT): ports do not ask whose ATS is on."""
    decider = topology.functions[branches.source]
    physical = topology.functions.get(decider.physical_function) if decider.physical_function is not None else None
    if any(bit(one, settings, AcsFlag.DT) is Bit.ON for one in (decider, physical) if one is not None):
        yield Finding(Answer.BLOCKED, (), frozenset({TRANSLATED_WITHOUT_ATS}))


def passes(step: Turn, traffic: Traffic, ascent: Ascent, descent: Descent) -> bool | None:
    """Whether a kind of traffic arrives where ``step`` lets it through at the meeting bus; None unknown."""
    if traffic is Traffic.COMPLETION:
        return True
    states = [ascent.mastering, descent.requests(copied=step.copied)]
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
    policy: Policy, step: Turn, doubt: str, source: Address, target: Address, branches: Branches, traffic: Traffic
) -> Finding:
    """The finding that one turn makes under a policy; ``doubt``: why it may not arrive, empty where it surely does."""
    if step.answer is Answer.BLOCKED:
        return BLOCKED if step.assumption is None else Finding(Answer.BLOCKED, (), frozenset({step.assumption}))
    if step.question is not None and not step.question.open_under(policy):
        return Finding(Answer.BLOCKED, (), frozenset({step.question.value}))
    answer = outcome(policy, step, None if doubt else True)
    hops = [Hop(str(branches.source), traffic.value, step.because)]
    if doubt:
        hops.append(Hop(str(source), traffic.value, doubt))
    place = "on its own bus" if branches.target == target else f"below {branches.target}"
    hops.append(Hop(str(target), "PCIe", f"delivered {place}"))
    return Finding(answer, tuple(hops))


def decodes(topology: Topology, settings: Settings, target: Address, branch: Address) -> bool | None:
    """Whether requests come down from the meeting bus to the target and are answered there; None unknown."""
    states = _forwarding(topology, settings, target, branch)
    if topology.functions[target].physical_function is None:
        # A virtual function's own memory enable reads as zero: the physical function's SR-IOV control decides.
        states.append(settings.decodes_memory(target))
    if False in states:
        return False
    return None if None in states else True


def _forwarding(topology: Topology, settings: Settings, target: Address, branch: Address) -> list[bool | None]:
    """Whether each port between the meeting bus and the target forwards memory requests downwards."""
    return [settings.decodes_memory(port) for port in _between(topology, target, branch)]


def _between(topology: Topology, target: Address, branch: Address) -> tuple[Address, ...]:
    chain = (target, *topology.up(target))
    return chain[1 : chain.index(branch) + 1] if branch in chain else chain[1:]


def descending(topology: Topology, settings: Settings, target: Address, branch: Address) -> Descent:
    """Return what comes down to the target from the bus where ``branch`` stands above it, and is answered there."""
    descent = Descent.to(topology, settings, target)
    for port in _between(topology, target, branch):
        descent = descent.past(topology, settings, port)
    return descent


def stops_translated(topology: Topology, settings: Settings, port: Address) -> bool | None:
    """Whether a port blocks translated requests that come up to it (TB); None where its ACS was not read."""
    if topology.port_type(port) not in DOWNSTREAM_PORTS:
        return False
    state = bit(topology.functions[port], settings, AcsFlag.TB)
    return None if state is Bit.UNREAD else state is Bit.ON


def translation_blocked(topology: Topology, settings: Settings, ports: Iterable[Address]) -> bool | None:
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
    climbing = climbs(settings, source, passed)
    if climbing is False:
        return BLOCKED
    decider = _bar_decider(topology, source, port)
    state = _redirects_from_bars(topology, settings, decider, own=decider == port)
    if state is None:
        return BLOCKED
    if state is Bit.ON and not Question.PORT_BAR.open_under(policy):
        return Finding(Answer.BLOCKED, (), frozenset({Question.PORT_BAR.value}))
    if state is Bit.ON:
        because = f"ReqRedir+ at {decider}; whether that covers the BARs of {port} is left open"
        return Finding(Answer.POSSIBLE, (Hop(str(port), Traffic.UNTRANSLATED.value, because),))
    because = f"{port} answers to its own BARs"
    certain = state is not Bit.UNREAD and climbing is True and settings.decodes_memory(port) is True
    if topology.port_type(port) in _BRIDGES:
        # It is a target on its primary side (PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5); of what comes
        # from the other nothing is said.
        certain, because = False, f"whether {port} answers to its own BARs from below is left open"
    answer = Answer.DIRECT if certain else Answer.POSSIBLE
    return Finding(answer, (Hop(str(port), Traffic.UNTRANSLATED.value, because),))


def blocked_from_bars(topology: Topology, settings: Settings, source: Address, port: Address) -> Address | None:
    """Return the port that blocks what ``source`` sends to the BARs of a port above it (ACS Enhanced); None if none."""
    decider = _bar_decider(topology, source, port)
    block, redirect = _kept_from_bars(topology, settings, decider, own=decider == port)
    return decider if block and not redirect else None


def _bar_decider(topology: Topology, source: Address, port: Address) -> Address:
    """An upstream port's BARs are reached from the downstream port below it; other ports see the request themselves."""
    up = topology.up(source)
    place = up.index(port)
    return up[place - 1] if place and topology.port_type(port) is PortType.UPSTREAM else port


def _kept_from_bars(topology: Topology, settings: Settings, decider: Address, *, own: bool) -> tuple[bool, bool]:
    """Whether ACS Enhanced at ``decider`` blocks, and redirects, requests for a port's BARs."""
    enhanced = settings.enhanced.get(decider)
    if enhanced is None or topology.port_type(decider) not in DOWNSTREAM_PORTS:
        return False, False
    block = AcsEnhanced.OWN_BLOCK if own else AcsEnhanced.UP_BLOCK
    redirect = AcsEnhanced.OWN_REDIRECT if own else AcsEnhanced.UP_REDIRECT
    return bool(enhanced & block), bool(enhanced & redirect)


def _redirects_from_bars(topology: Topology, settings: Settings, decider: Address, *, own: bool) -> Bit | None:
    """Whether ``decider`` redirects requests for a port's BARs, its ``own`` or those of the upstream port above it.

    None where Enhanced ACS keeps them away for sure. Of the two bits that it has for either (Base Specification 5.0,
    7.7.11.3) one blocks and one redirects; none lets requests through, and both together are reserved, hence settle
    nothing.
    """
    state = bit(topology.functions[decider], settings, AcsFlag.RR)
    enhanced = settings.enhanced.get(decider)
    if enhanced is None or topology.port_type(decider) not in DOWNSTREAM_PORTS:
        return state
    block, redirect = _kept_from_bars(topology, settings, decider, own=own)
    if block != redirect:
        return None
    return state if block else Bit.OFF
