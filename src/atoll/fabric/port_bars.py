"""What a port itself answers to: requests from below to its own BARs, and what Enhanced ACS says of them."""

from __future__ import annotations

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, Question
from atoll.fabric.passage import climbs
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.fabric.turn import Bit, Traffic, bit
from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = ["blocked_from_bars", "port_bar"]

_BRIDGES = (PortType.PCIE_TO_PCI, PortType.PCI_TO_PCIE, PortType.CONVENTIONAL)


def port_bar(topology: Topology, settings: Settings, policy: Policy, source: Address, port: Address) -> Finding:
    """Say whether requests arrive at the BARs of a port above the sender; whether redirection covers them is left
    open."""
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
