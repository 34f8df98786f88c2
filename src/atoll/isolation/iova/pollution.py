"""Which of a device's addresses never come to the IOMMU: a peer answers first, or the request ends on the way.

A device's request climbs. Wherever it may turn (the routing step of ``atoll.fabric``), what stands beside the way
takes the addresses that it holds: BARs of functions beside, windows of ports beside. An address on a port's own
side comes back only with UpstreamFwd; one inside a switch's window that no port of it holds ends there as well
(PCI Express Base Specification 6.12.1.1 and 6.12.3).

Whether the device is a bus master now does not matter: its user will make it one. A peer that decodes nothing now
counts as ``possible``: its own user will switch that on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.meeting import bus_turn
from atoll.fabric.multicast import copiers
from atoll.fabric.pcie import peer_to_peer
from atoll.fabric.port_bars import blocked_from_bars
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Branches, Topology
from atoll.fabric.turn import Bit, Traffic, bit
from atoll.host.fact import Known
from atoll.isolation.iova.claim import Claim, Fate, Pollution
from atoll.isolation.iova.ranges import ADDRESSES, NOTHING, Range, Ranges
from atoll.isolation.iova.windows import (
    BEHIND,
    Addresses,
    addresses,
    decoding,
    is_subtractive,
    own_side,
    vectored,
    windows,
)
from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType

__all__ = ["Polluter"]


_COPIED = "Multicast window"


class Polluter:
    """Finds pollution on one host in one setting under one policy."""

    def __init__(self, topology: Topology, settings: Settings, policy: Policy) -> None:
        self.topology = topology
        self.settings = settings
        self.policy = policy

    def of(self, device: Address) -> Pollution:
        """Return what becomes of a device's requests on their way up, nearest first; no address is claimed twice."""
        if device in self.topology.bricks:
            return Pollution(())
        return _Climb(self, device).done()


class _Climb:
    """One device's way up."""

    def __init__(self, polluter: Polluter, device: Address) -> None:
        self.polluter = polluter
        self.topology = polluter.topology
        self.settings = _sending(polluter.topology, polluter.settings, device)
        self.device = device
        self.open = ADDRESSES
        """Addresses that surely came up to here."""
        self.copied = NOTHING
        """Addresses of which copies may go on from here, whatever windows hold."""
        self.claims: list[Claim] = []
        self.unknown: dict[str, None] = {}
        self.assumptions: set[str] = set()

    def done(self) -> Pollution:
        chain = (self.device, *self.topology.up(self.device))
        if self.topology.severed(self.device) or not self.topology.functions[chain[-1]].parent_told:
            self.unknown[f"what stands above {chain[-1]} was not read: more peers may claim addresses there"] = None
        for address in self.topology.host.unread:
            self.unknown[f"{address} was not read: which addresses it claims is not known"] = None
        for place, here in enumerate(chain):
            bridge = chain[place + 1] if place + 1 < len(chain) else None
            self.copied = Ranges.of(*self.copied, *(part for _, part in self.multicast_windows(here, bridge)))
            if here != self.device:
                self.port_bars(here)
                self.own_side(here)
            self.bus(here, bridge)
        return Pollution(tuple(self.claims), tuple(self.unknown), frozenset(self.assumptions))

    def take(self, claims: list[Claim]) -> None:
        """Keep claims of one place. What is certainly gone goes no further; what is possibly gone, or copied, may."""
        left = self.open
        for claim in claims:
            sure = claim.answer is Answer.DIRECT
            inside = claim.ranges & self.open
            copied = inside & self.copied if sure else NOTHING
            if apart := inside - copied:
                self.claims.append(replace(claim, ranges=apart))
                left = left - apart if sure else left
            if copied:
                because = f"{claim.because}; Multicast is on, and a copy may go on"
                self.claims.append(replace(claim, ranges=copied, answer=Answer.POSSIBLE, because=because))
        self.open = left

    def claim(
        self, held: Addresses, by: Address, answer: Answer, because: str, decider: Address, fate: Fate = Fate.CLAIMED
    ) -> Claim:
        """Return a claim, in doubt where the addresses are, or where they are not decoded now."""
        if held.doubt:
            answer, because = Answer.POSSIBLE, f"{because}; {held.doubt}"
        state = decoding(self.topology, self.polluter.settings, by)
        if state is not True:
            doubt = "decodes nothing now, and will once it is used" if state is False else "decodes: not read"
            answer, because = Answer.POSSIBLE, f"{because}; {by} {doubt}"
        return Claim(self.device, held.ranges, by, held.what, fate, answer, because, decider)

    def either_way(
        self,
        inside: Ranges,
        held: Addresses,
        by: Address,
        answer: Answer,
        because: str,
        decider: Address,
        fate: Fate = Fate.CLAIMED,
    ) -> Iterator[Claim]:
        """Yield the claims of what registers give somebody, some of it ``inside`` what the port on the way forwards as
        well: nobody says which comes first."""
        both = held.ranges & inside
        for part, sure in ((held.ranges - both, answer), (both, min(answer, Answer.POSSIBLE))):
            if part:
                yield self.claim(replace(held, ranges=part), by, sure, because, decider, fate)

    # -- a port on the way

    def port_bars(self, port: Address) -> None:
        """The BARs of a port above: whether redirection covers them is left open."""
        finding = peer_to_peer(self.topology, self.settings, self.polluter.policy, self.device, port)
        self.assumptions |= finding.assumptions
        answer, fate = finding.answer, Fate.CLAIMED
        because = finding.path[-1].because if finding.path else ""
        if answer <= Answer.IOMMU:
            blocking = blocked_from_bars(self.topology, self.settings, self.device, port)
            if blocking is None:
                return
            answer, fate = Answer.DIRECT, Fate.LOST
            because = f"ACS Enhanced at {blocking} blocks requests for what {port} itself answers to"
        claims: list[Claim] = []
        inside = windows(self.topology.functions[port]).ranges
        for held in addresses(self.topology, self.polluter.settings, port):
            if not held.what.startswith(("BAR", "ROM")):
                continue
            if held.unread:
                self.unknown[f"{held.unread}; {because}"] = None
                continue
            claims += self.either_way(inside, held, port, answer, because, port, fate)
        self.take(claims)

    def own_side(self, port: Address) -> None:
        """What a port's own windows hold comes back from above only if it forwards upwards (UF)."""
        kind = self.topology.port_type(port)
        function = self.topology.functions[port]
        if kind not in (PortType.ROOT_PORT, PortType.DOWNSTREAM, PortType.PCI_TO_PCIE, None):
            return
        state = bit(function, self.settings, AcsFlag.UF)
        if state in (Bit.ON, Bit.STATED) and kind is not None:
            return
        told = {
            Bit.OFF: f"UpstreamFwd- at {port}",
            Bit.ABSENT: f"{port} has ACS without UpstreamFwd",
            Bit.NO_ACS: f"{port} has no ACS, hence no UpstreamFwd",
        }.get(state, f"ACS of {port} was not read")
        # A PCI bridge takes from below only what its windows do not hold (PCI-to-PCI Bridge Architecture Specification
        # 1.2, chapter 4).
        ends = kind in (PortType.DOWNSTREAM, PortType.PCI_TO_PCIE)
        certain = state in (Bit.OFF, Bit.ABSENT) or (state is Bit.NO_ACS and ends)
        if kind is None:
            certain, told = False, f"the kind of port of {port} was not read"
        because = f"{told}: a request for its own side " + ("ends there" if certain else "may end there")
        answer = Answer.DIRECT if certain else Answer.POSSIBLE
        for held in own_side(function):
            if held.unread:
                self.unknown[f"{held.unread} (which requests end there)"] = None
            self.take([self.claim(replace(held, what="own side"), port, answer, because, port, Fate.LOST)])

    # -- a bus on the way

    def bus(self, here: Address, bridge: Address | None) -> None:
        """What stands beside ``here`` on its bus."""
        found = list(self.copies(here, bridge))
        peers = [peer for peer in self.topology.on_bus.get(bridge, ()) if peer != here]
        for peer in peers:
            found += self.peer(here, peer, bridge)
        self.take(found)
        if bridge is not None:
            self.unclaimed(bridge, here)

    def multicast_windows(self, here: Address, bridge: Address | None) -> Iterator[tuple[Address, Range]]:
        """Yield the Multicast windows of the component that ``here`` sends into, and whose they are."""
        for function in copiers(self.topology, here, bridge):
            at, multicast = function.address, function.multicast
            if isinstance(multicast, Known) and multicast.value is not None:
                yield at, Range(multicast.value.base, multicast.value.base + multicast.value.size - 1)
            else:
                self.unknown[f"whether Multicast is on at {at} was not read"] = None

    def copies(self, here: Address, bridge: Address | None) -> Iterator[Claim]:
        """What hits a Multicast window of the component that ``here`` sends into does not, or not only, go upwards."""
        for at, window in self.multicast_windows(here, bridge):
            if any(claim.by == at and claim.what == _COPIED for claim in self.claims):
                # What stands beside an upstream port is a part of its switch: met on its bus, and above.
                continue
            because = f"Multicast is on at {at}: what hits its window is copied, whatever ACS says"
            yield Claim(self.device, Ranges.of(window), at, _COPIED, Fate.CLAIMED, Answer.POSSIBLE, because, at)

    def peer(self, here: Address, peer: Address, bridge: Address | None) -> Iterator[Claim]:
        held = addresses(self.topology, self.polluter.settings, peer)
        if not held:
            return
        step = bus_turn(self.topology, self.settings, Branches(here, peer, bridge), Traffic.UNTRANSLATED)
        if step.answer is Answer.BLOCKED and step.ends is False:
            self.assumptions |= {step.assumption} if step.assumption else set()
            return
        if step.question is not None and not step.question.open_under(self.polluter.policy):
            self.assumptions.add(step.question.value)
            return
        inside = windows(self.topology.functions[here]).ranges
        for one in held:
            if one.what == BEHIND and self.topology.conventional_bus(bridge):
                # The bridge above takes all that its windows do not hold; what they do, see ``unclaimed``.
                continue
            if one.unread:
                self.unknown[f"{one.unread}; {step.because}"] = None
            if step.answer is Answer.BLOCKED:
                ends = Answer.DIRECT if step.ends else Answer.POSSIBLE
                yield from self.either_way(inside, one, peer, ends, step.because, here, Fate.LOST)
            else:
                yield from self.either_way(inside, one, peer, step.answer, step.because, here)

    def unclaimed(self, bridge: Address, here: Address) -> None:
        """What a switch's upstream port or a bridge to a shared bus holds, and nothing behind it: it ends there."""
        shared = self.topology.conventional_bus(bridge)
        if not shared and self.topology.port_type(bridge) is not PortType.UPSTREAM:
            return
        if not shared and self.settings.enhanced.get(here, AcsEnhanced(0)) & AcsEnhanced.UNCLAIMED_REDIRECT:
            return
        held, more = windows(self.topology.functions[bridge]), vectored(self.topology.functions[bridge])
        if held.unread:
            self.unknown[f"{held.unread} (which requests end there)"] = None
        perhaps = f"{more.doubt}; what nothing behind it answers ends there"
        if shared:
            self.subtracted(bridge, here, held.ranges)
            # Nothing is redirected on a shared bus: what no one answers does not go up either.
            self.take([self.lost(bridge, held.ranges, Answer.DIRECT, _gap(bridge))])
            self.take([self.lost(bridge, more.ranges, Answer.POSSIBLE, perhaps)])
            return
        sure, maybe, unread = self.decoded_behind(bridge)
        answer = Answer.POSSIBLE if unread else Answer.DIRECT
        because = _gap(bridge) + (f"; not all was read: {unread}" if unread else "")
        doubt = f"inside the windows of {bridge}, and ends there while nothing behind it decodes it"
        self.take(
            [
                self.lost(bridge, held.ranges - sure - maybe, answer, because),
                self.lost(bridge, (held.ranges & maybe) - sure, Answer.POSSIBLE, doubt),
                self.lost(bridge, more.ranges - held.ranges - sure, Answer.POSSIBLE, perhaps),
            ]
        )

    def subtracted(self, bridge: Address, here: Address, held: Ranges) -> None:
        """What bridges beside ``here`` take of a shared bus because nobody else there does."""
        for peer in self.topology.on_bus.get(bridge, ()):
            if peer != here and is_subtractive(self.topology.functions[peer]):
                because = f"inside the windows of {bridge}, and {peer} takes what nobody else there does"
                self.take([self.claim(Addresses("subtractive decoding", held), peer, Answer.DIRECT, because, here)])

    def decoded_behind(self, bridge: Address) -> tuple[Ranges, Ranges, str]:
        """Return which addresses are surely answered behind a port, which perhaps, and what of that was not read."""
        sure, maybe, unread = NOTHING, NOTHING, ""
        for member in self.topology.on_bus.get(bridge, ()):
            decodes = decoding(self.topology, self.polluter.settings, member)
            for one in addresses(self.topology, self.polluter.settings, member):
                unread = unread or one.unread
                if decodes is True and not one.doubt:
                    sure = sure | one.ranges
                else:
                    maybe = maybe | one.ranges
        return sure, maybe, unread

    def lost(self, bridge: Address, ranges: Ranges, answer: Answer, because: str) -> Claim:
        """Return the claim of a port that keeps what it should not."""
        return self.claim(Addresses("gap", ranges), bridge, answer, because, bridge, Fate.LOST)


def _gap(bridge: Address) -> str:
    return f"inside the windows of {bridge}, and nothing behind it answers"


def _sending(topology: Topology, settings: Settings, device: Address) -> Settings:
    """The settings in which a device and the ports above it may send; whether ports decode is asked for elsewhere."""
    command = dict(settings.command)
    for address in (device, *topology.up(device)):
        command[address] = (command.get(address) or Command(0)) | Command.MASTER | Command.MEMORY
    return replace(settings, command=command)
