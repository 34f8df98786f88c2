"""What the ACS controls of a port or function make of a packet for a peer.

Source: PCI Express Base 6.12.1.1 to 6.12.3 and 7.7.11. A peer is another port of a switch or root
complex, or another function of the same device.
"""

from __future__ import annotations

from enum import Enum

from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.header import DOWNSTREAM_PORTS
from atoll.twin.function import Function
from atoll.twin.packet import Packet

__all__ = ["Way", "own_memory", "toward", "upstream_memory"]

_OWN = (AcsEnhanced.OWN_BLOCK, AcsEnhanced.OWN_REDIRECT)
_UPSTREAM = (AcsEnhanced.UP_BLOCK, AcsEnhanced.UP_REDIRECT)


class Way(Enum):
    """Where a packet goes."""

    PEER = "peer"
    UP = "up"
    BLOCKED = "blocked"


def toward(function: Function, peer: Function, packet: Packet, *, groups: bool = False) -> tuple[Way, str]:
    """Return where a packet for a peer goes, and what decides it; ``groups`` tells that vectors are of such.

    A capability without the bit that routing to peers needs: the component does no such routing, unless it has
    egress control, which nothing else needs.
    """
    control, name = function.acs, function.address
    if packet.translated and AcsFlag.DT in control:
        return Way.PEER, "DirectTrans"
    if not packet.request:
        return _completion(function, packet)
    able = function.spec.acs
    egress = AcsFlag.EC in control
    listed = egress and function.egress(number(function, peer, groups=groups))
    if AcsFlag.RR in control:
        if egress and not listed:
            return Way.PEER, f"EgressCtrl at {name} lets requests for {peer.address} pass ReqRedir"
        return Way.UP, f"ReqRedir at {name}"
    if listed:
        return Way.BLOCKED, f"EgressCtrl at {name} blocks requests for {peer.address}"
    if able is not None and not able & (AcsFlag.RR | AcsFlag.EC):
        return Way.UP, f"{name} has no ReqRedir: it does no such routing"
    return Way.PEER, "ReqRedir is off"


def _completion(function: Function, packet: Packet) -> tuple[Way, str]:
    """Egress control leaves completions alone, and so does redirection where their ordering is relaxed."""
    name, able = function.address, function.spec.acs
    if packet.relaxed:
        return Way.PEER, "ordering is relaxed"
    if AcsFlag.CR in function.acs:
        return Way.UP, f"CmpltRedir at {name}"
    if able is not None and AcsFlag.CR not in able:
        return Way.UP, f"{name} has no CmpltRedir: it does no such routing"
    return Way.PEER, "CmpltRedir is off"


def number(function: Function, peer: Function, *, groups: bool = False) -> int | None:
    """Return which bit of a function's egress vector stands for a peer; None where no bit does.

    Ports count by port number, functions of a device by function number, or by the group that each is in where its
    function 0 says so (7.7.11.4, 7.8.8.3). Numbers have 8 bits where ARI gives them (6.13). Of virtual functions on
    further buses no table tells a bit: the worst is that none stands for them.
    """
    if function.spec.port in DOWNSTREAM_PORTS:
        return peer.port_number if peer.spec.port in DOWNSTREAM_PORTS else None
    if groups:
        return peer.function_group
    if peer.spec.physfn is not None and peer.address.bus != peer.spec.physfn.bus:
        return None
    return peer.address.requester_id & 0xFF if peer.layout.ari else peer.address.function


def own_memory(port: Function) -> Way:
    """Return what becomes of a request from below for a port's own BARs.

    Without ACS Enhanced that is the port's own affair: the twin's ports take it.
    """
    return _target(port, *_OWN)


def upstream_memory(port: Function) -> Way:
    """Return what becomes of a request from below a downstream port for the BARs of its switch's upstream port."""
    return _target(port, *_UPSTREAM)


def _target(port: Function, block: AcsEnhanced, redirect: AcsEnhanced) -> Way:
    if block in port.acs_enhanced:
        return Way.BLOCKED
    return Way.UP if redirect in port.acs_enhanced else Way.PEER
