"""The bus where the ways of two functions meet: whether traffic turns there, and what of the two decides about it.

Two functions or ports on one bus that have the same key as deciders (and two that have the same as peers) turn alike.
"""

from __future__ import annotations

from collections.abc import Hashable

from atoll.fabric.answer import Answer, Question
from atoll.fabric.multicast import copies, meets, past_overlays
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Branches, Topology
from atoll.fabric.turn import Bit, Component, Traffic, Turn, bit, contradicting, turn
from atoll.host.fact import Known, value_of
from atoll.host.model import Function, Platform, RootRouting
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.ari import Ari
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = [
    "Meetings",
    "bus_turn",
    "decider_key",
    "decides_by_number",
    "device_of",
    "meeting_turn",
    "peer_key",
    "routing_of",
    "turns",
]


_OF_PORTS = (RootRouting.DIRECT, RootRouting.NONE)
"""What is stated of one root complex's own root ports, and of nothing else."""


def turns(topology: Topology, settings: Settings, source: Address, target: Address, bridge: Address | None) -> bool:
    """Whether any traffic may turn from what stands at ``source`` to what stands at ``target``, on one bus.

    ``bridge`` is the port right above the bus; None: the two meet in the root complex.
    """
    branches = Branches(source, target, bridge)
    return any(bus_turn(topology, settings, branches, traffic).answer > Answer.BLOCKED for traffic in Traffic)


class Meetings:
    """The turns of one host in one setting, each found out once: very many pairs of functions have one meeting, and
    what one function does is the same towards all peers of one key."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self.settings = settings
        self._turns: dict[tuple[Address, Address | None, Hashable], tuple[tuple[Traffic, Turn], ...]] = {}
        self._keys: dict[tuple[Address, bool], Hashable] = {}
        self._numbered: dict[Address, bool] = {}

    def at(self, branches: Branches) -> tuple[tuple[Traffic, Turn], ...]:
        """Return what each kind of traffic does where two ways meet (see ``meeting_turn``)."""
        key = branches.source, branches.bridge, self._of_peer(branches)
        found = self._turns.get(key)
        if found is None:
            found = self._turns[key] = tuple(
                (traffic, meeting_turn(self.topology, self.settings, branches, traffic)) for traffic in Traffic
            )
        return found

    def _of_peer(self, branches: Branches) -> Hashable:
        """Return all of ``branches.target`` that what ``branches.source`` does depends on, or is told with."""
        source, target, bridge = branches
        numbered = self._numbered.get(source)
        if numbered is None:
            numbered = self._numbered[source] = decides_by_number(self.topology, self.settings, source)
        key = self._keys.get((target, numbered))
        if key is None:
            key = target
            if bridge is not None or not self.topology.severed(target):
                key = peer_key(self.topology, target, bridge, numbered=numbered)
            self._keys[target, numbered] = key
        if bridge is not None:
            return key
        functions = self.topology.functions
        beside = functions[source].host_bridge == functions[target].host_bridge
        return key, beside, self.topology.same_device(source, target)


def meeting_turn(topology: Topology, settings: Settings, branches: Branches, traffic: Traffic) -> Turn:
    """What happens on the bus where the ways meet, and further up to what does not turn there."""
    here = bus_turn(topology, settings, branches, traffic)
    if traffic is Traffic.UNTRANSLATED and (here.answer is Answer.BLOCKED or here.question is not None):
        copied = copies(topology, branches.source, branches.bridge) if meets(topology, branches) else ""
        if copied:
            return Turn(Answer.POSSIBLE, copied, copied=True)
    if here.ends and traffic is Traffic.UNTRANSLATED and _overlaid_above(topology, branches.source):
        here = here._replace(ends=None)
    if here.answer is not Answer.BLOCKED or here.ends or branches.bridge is None:
        return here
    back = _sent_back(topology, settings, branches.bridge, traffic)
    return here if back is None else back._replace(because=f"{here.because}; {back.because}")


def _overlaid_above(topology: Topology, source: Address) -> bool:
    """Whether what passes here may get another address further up (Multicast's overlay): here it looks harmless."""
    return source not in past_overlays(topology, (source, *topology.up(source)))


def _sent_back(topology: Topology, settings: Settings, bridge: Address, traffic: Traffic) -> Turn | None:
    """What a root port may do with traffic from below for what is below it: send it back, past the IOMMU.

    Upstream Forwarding passes it on to the root complex, which validates it, and a port that has ACS without it takes
    it for an error (Base Specification 6.12.1.1). What a root port without ACS does is the root complex's secret;
    Linux counts none as isolating (``pci_acs_path_enabled``). None: it does not come back.
    """
    ports = (bridge, *topology.up(bridge))
    root = topology.functions[ports[-1]]
    at, kind = str(root.address), topology.port_type(root.address)
    if topology.severed(bridge):
        return Turn(Answer.POSSIBLE, f"the port above {at} was not read: it may send back what is for its own side")
    hidden = topology.below_hidden_port(root.address)
    if kind not in (PortType.ROOT_PORT, None) and not hidden:
        return None
    if traffic is not Traffic.COMPLETION and any(settings.can_master(port) is False for port in ports):
        return None
    seeing = past_overlays(topology, ports) if traffic is Traffic.UNTRANSLATED else ports
    if any(_ends_own_side(topology, settings, port) for port in seeing[:-1]):
        return None
    routing = routing_of(topology, root)
    if routing is RootRouting.TRANSLATED:
        return None
    if hidden:
        return Turn(Answer.POSSIBLE, _hidden(root.address))
    if kind is None:
        return Turn(Answer.POSSIBLE, f"the kind of port of {at} was not read: it may send back what it gets")
    match bit(root, settings, AcsFlag.UF):
        case Bit.NO_ACS:
            # Stated of a root complex is what it does between its ports, not what it sends back to one.
            question = None if routing is RootRouting.DIRECT else Question.ROOT_COMPLEX
            because = f"{at} has no ACS: whether it sends back what is for its own side is not known"
            return Turn(Answer.POSSIBLE, because, question=question)
        case Bit.UNREAD:
            return Turn(Answer.POSSIBLE, f"ACS of {at} not read: it may send back what is for its own side")
    return None


def _ends_own_side(topology: Topology, settings: Settings, port: Address) -> bool:
    """Whether a switch's downstream port surely passes nothing up that is for its own side."""
    if topology.port_type(port) is not PortType.DOWNSTREAM or topology.host.platform is not Platform.X86:
        return False
    return bit(topology.functions[port], settings, AcsFlag.UF) in (Bit.OFF, Bit.ABSENT, Bit.NO_ACS)


def _hidden(address: Address) -> str:
    return f"the port that {address} hangs below is not shown: it may send back what it gets, or pass it to a peer"


def bus_turn(topology: Topology, settings: Settings, branches: Branches, traffic: Traffic) -> Turn:
    """What happens on the bus where the ways meet, and only there."""
    found = _bus_turn(topology, settings, branches, traffic)
    open_anyway = found.answer is not Answer.BLOCKED and found.question is None
    if open_anyway or found.ends or branches.bridge is not None:
        return found
    source = topology.functions[branches.source]
    if topology.below_hidden_port(branches.source) and routing_of(topology, source) is not RootRouting.TRANSLATED:
        return Turn(Answer.POSSIBLE, f"{found.because}; {_hidden(branches.source)}")
    return found


def _bus_turn(topology: Topology, settings: Settings, branches: Branches, traffic: Traffic) -> Turn:
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
        return turn(decider, settings, traffic, Component.SWITCH, egress=_port_bit(topology, branches))
    if kind is PortType.ROOT_PORT or branches.bridge is None:
        return _root_turn(topology, settings, branches, traffic)
    if kind is None or (kind is PortType.CONVENTIONAL and topology.port_type(branches.bridge) is None):
        unread = branches.source if kind is None else branches.bridge
        return Turn(Answer.POSSIBLE, f"the kind of port of {unread} was not read")
    return _device_turn(topology, settings, decider, peer, traffic)


def _device_turn(topology: Topology, settings: Settings, decider: Function, peer: Function, traffic: Traffic) -> Turn:
    """Between functions of one device (or a function inside a switch): the sender's own ACS, a PF's for its VFs."""
    if decider.physical_function is not None and bit(decider, settings, AcsFlag.RR) is Bit.NO_ACS:
        physical = topology.functions.get(decider.physical_function)
        if physical is not None and bit(physical, settings, AcsFlag.RR) is not Bit.NO_ACS:
            bit_of_peer = _function_bit(topology, physical, decider, peer)
            return turn(physical, settings, traffic, Component.DEVICE, egress=bit_of_peer)
        return Turn(
            Answer.POSSIBLE,
            f"{decider.address} is a virtual function of a device without ACS",
            question=Question.VIRTUAL_FUNCTION,
        )
    return turn(decider, settings, traffic, Component.DEVICE, egress=_function_bit(topology, decider, decider, peer))


def _function_bit(topology: Topology, controls: Function, sender: Function, peer: Function) -> int | None:
    """Return the bit that stands for a function in the egress control vector of another one of its device.

    None where no bit is known to. Without ARI that is the number of the function. With it, also where the port above
    forwards without, numbers have 8 bits, and where function 0 says so bits stand for groups of functions (6.12.1.2,
    7.8.8.3). None is known to stand for what virtual functions on other buses are, nor for the groups of virtual ones.
    """
    bus, ari = controls.address[:2], _ari(controls)
    if ari is None:
        narrow = isinstance(peer.ari, Known) and not peer.ari.value
        return peer.address.function if narrow and peer.address.slot == sender.address.slot else None
    zero = topology.functions.get(Address(*bus, 0, 0))
    groups = None if zero is None or _virtual(zero) or (told := _ari(zero)) is None else told.groups
    if groups is None or sender.address[:2] != bus or peer.address[:2] != bus:
        return None
    if not groups:
        return peer.address.devfn
    of_peer = None if _virtual(peer) else _ari(peer)
    return None if of_peer is None else of_peer.group


def _virtual(function: Function) -> bool:
    return function.physical_function is not None or function.perhaps_virtual


def _root_turn(topology: Topology, settings: Settings, branches: Branches, traffic: Traffic) -> Turn:
    """In the root complex: between root ports, integrated endpoints, and what hangs on other host bridges."""
    decider, peer = topology.functions[branches.source], topology.functions[branches.target]
    routing = routing_of(topology, decider)
    if decider.host_bridge != peer.host_bridge and routing in _OF_PORTS:
        # What one host bridge does between its own ports says nothing of ports of another.
        routing = None
    device = (
        topology.port_type(branches.source) is not PortType.ROOT_PORT
        and decider.host_bridge == peer.host_bridge
        and topology.same_device(branches.source, branches.target)
    )
    if device:
        return _device_turn(topology, settings, decider, peer, traffic)
    ends = {topology.port_type(branch) for branch in (branches.source, branches.target)}
    inside = topology.port_type(branches.source) is not PortType.ROOT_PORT or (
        routing is RootRouting.NONE and ends != {PortType.ROOT_PORT}
    )
    if routing in _OF_PORTS and inside:
        # What is stated of root ports is not stated of integrated endpoints: theirs is a matter of their own.
        routing = None
    return turn(decider, settings, traffic, Component.ROOT, egress=_port_bit(topology, branches), routing=routing)


def _port_bit(topology: Topology, branches: Branches) -> int | None:
    """Return the bit of a port's egress control vector that stands for its peer; None where no bit is known to.

    Bits are port numbers, which tell apart the ports of one component (Base Specification 6.12.1.1, 7.5.3.6): those of
    another root complex, and of functions inside a switch, may be the same.
    """
    one, other = topology.functions[branches.source], topology.functions[branches.target]
    kind = topology.port_type(one.address)
    if kind not in DOWNSTREAM_PORTS or topology.port_type(other.address) is not kind:
        return None
    return value_of(other.port_number, None) if one.host_bridge == other.host_bridge else None


def _ari(function: Function | None) -> Ari | None:
    """What a function that has an egress control vector tells of ARI; None where it has none, or no such vector."""
    acs = None if function is None else value_of(function.acs, None)
    return None if acs is None else acs.ari


def routing_of(topology: Topology, function: Function) -> RootRouting | None:
    """Return what is known of the routing of the root complex above a function."""
    fact = topology.host.root_routing.get(function.host_bridge)
    return fact.value if isinstance(fact, Known) else None


def decider_key(topology: Topology, settings: Settings, address: Address, bridge: Address | None) -> Hashable:
    """Return all that ``meeting_turn`` looks at of what stands on the bus below ``bridge`` when it decides."""
    if topology.conventional_bus(bridge):
        return None
    if bridge is None and topology.severed(address):
        return "severed"
    function = topology.functions[address]
    kind = topology.port_type(address)
    found: list[Hashable] = [kind, *_bits(function, settings), bool(copies(topology, address, bridge))]
    if bridge is None or kind is PortType.ROOT_PORT:
        routing = routing_of(topology, function)
        found += [routing, function.host_bridge if routing in _OF_PORTS else None]
    if kind is not PortType.DOWNSTREAM:
        if function.physical_function is not None:
            physical = topology.functions.get(function.physical_function)
            found.append("no physical function" if physical is None else _bits(physical, settings))
        if decides_by_number(topology, settings, address):
            found.append(address.slot)
    if bridge is None and decides_by_number(topology, settings, address):
        found.append(function.host_bridge)
    return tuple(found)


def _bits(function: Function, settings: Settings) -> tuple[Hashable, ...]:
    if isinstance(function.acs, Known) and function.acs.value is None:
        return bit(function, settings, AcsFlag.RR), bit(function, settings, AcsFlag.CR), False, None
    egress = bit(function, settings, AcsFlag.EC) is Bit.ON
    return (
        *(
            # Where redirection is missing, it decides whether there is a bit that contradicts that.
            (state, contradicting(function, settings) is None) if state is Bit.ABSENT else state
            for flag in (AcsFlag.RR, AcsFlag.CR)
            for state in (bit(function, settings, flag),)
        ),
        bit(function, settings, AcsFlag.DT) is Bit.ON,
        (settings.egress.get(function.address), _ari(function)) if egress else None,
    )


def decides_by_number(topology: Topology, settings: Settings, address: Address) -> bool:
    """Whether egress control is on, so that a decider's answer depends on numbers of its peers."""
    function = topology.functions[address]
    physical = topology.functions.get(function.physical_function) if function.physical_function is not None else None
    return any(bit(one, settings, AcsFlag.EC) is Bit.ON for one in (function, physical) if one is not None)


def peer_key(topology: Topology, address: Address, bridge: Address | None, *, numbered: bool) -> Hashable:
    """Return all that ``meeting_turn`` looks at of what stands on the bus below ``bridge`` as a peer.

    ``numbered``: with what egress control looks at.
    """
    function = topology.functions[address]
    stated = any(value_of(fact, None) in _OF_PORTS for fact in topology.host.root_routing.values())
    found: list[Hashable] = [bridge is None and topology.severed(address)]
    if stated:
        found += [function.host_bridge, topology.port_type(address) is PortType.ROOT_PORT]
    if numbered:
        found += [address, topology.port_type(address), function.host_bridge, value_of(function.port_number, None)]
    return tuple(found)


def device_of(topology: Topology, address: Address) -> Hashable:
    """Return what two functions right below the root complex have in common where they are of one device."""
    if topology.severed(address):
        return address
    function = topology.functions[address]
    return function.host_bridge, (function.physical_function or address).slot
