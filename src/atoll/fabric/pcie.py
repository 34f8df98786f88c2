"""Traffic over PCIe between two functions: where the ways meet, what lets it turn there.

What stops it on the way up and down is in ``fabric.passage``. At the bus where the ways meet it turns or goes on to the
root (``fabric.root``).
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, worst
from atoll.fabric.meeting import Meetings
from atoll.fabric.passage import (
    Ascent,
    Descent,
    blocks_ports,
    climbs,
    descending,
    passes,
    sends_translated,
    translation_blocked,
)
from atoll.fabric.port_bars import port_bar
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Branches, Topology
from atoll.fabric.turn import Bit, Traffic, Turn, bit
from atoll.host.model import Platform
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["TRANSLATED_WITHOUT_ATS", "PeerToPeer", "outcome", "peer_to_peer"]


TRANSLATED_WITHOUT_ATS = "translated-without-ats"
"""Id of the assumption that a function whose ATS is off sends nothing that it marks as translated."""


_UNREAD = "a command register or ATS state on the way was not read"
_COPIES = "whether copies leave by a port that decodes no memory is left open"
_PORTS = "no memory request comes to its target, and whoever sends I/O requests hits its I/O ports"


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
            return port_bar(topology, settings, self.policy, source, target)
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

    def end(self, source: Address, target: Address) -> bool:
        """Whether requests for ``target`` surely end where the ways meet: egress control blocks them there.

        They come to no root complex then, whatever that would make of them. So it is on x86: elsewhere host bridges may
        shift addresses (``resource_entry.offset``), and from below a target need not look as it does from above.
        What is marked as translated ends there too, or turns.
        """
        topology = self.topology
        branches = topology.meeting(source, target)
        if topology.host.platform is not Platform.X86 or branches.source == branches.target:
            return False
        step = dict(self._meetings.at(branches))[Traffic.UNTRANSLATED]
        return step.answer is Answer.BLOCKED and step.ends is True

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
                not any(blocks_ports(self.topology, self.settings, port) for port in passed),
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
