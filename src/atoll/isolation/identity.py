"""Shared identity: whose requester ids a function can send, and whose mappings it can so use.

Source Validation checks that the requester's bus lies below the port (PCI Express Base Specification
6.12.1.1). A function below a port that does not validate can send the id of any other function below the
first port further up that does, and of any function of its segment where none does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.passage import climbs
from atoll.fabric.settings import Settings
from atoll.fabric.statement import VENDOR_STATEMENT, perhaps_validates
from atoll.fabric.topology import Topology
from atoll.fabric.turn import Bit, bit
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import value_of
from atoll.host.model import Platform
from atoll.isolation.groups.dma_alias import unread_aliases
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, EXPRESS_PORTS, PortType
from atoll.pci.quirks.aliases import dma_alias_mask

__all__ = [
    "INTEGRATED_IDENTITY",
    "SIBLING_IDENTITY",
    "Identities",
    "Spoofing",
    "alias_ids",
    "shares_above",
    "spoofing",
    "spoofs",
    "tables",
    "within",
]

INTEGRATED_IDENTITY = "integrated-endpoint-identity"
"""Id of the assumption that root complex integrated endpoints send their own requester ids only."""

SIBLING_IDENTITY = "sibling-identity"
"""Id of the assumption that functions of one device send their own requester ids only."""

_UNSEEN = 0x10000
"""In place of the requester id of a VMD that the record does not show."""


def alias_ids(
    topology: Topology, address: Address, above: dict[Address, frozenset[tuple[int, int]]]
) -> frozenset[tuple[int, int]]:
    """Return the ids, as (segment, requester id), that a function's requests carry at the IOMMU.

    A PCIe-to-PCI bridge replaces them by (secondary bus, 00.0), a conventional bridge by its own
    (drivers/pci/search.c ``pci_for_each_dma_alias``); what stands behind one shares them. Some devices
    are known to use other functions' ids as well (drivers/pci/quirks.c ``pci_add_dma_alias``), of others the firmware
    tells it (AMD's IVRS table), be it an id of another bus. What lies behind
    Intel's VMD uses the VMD's id (arch/x86/pci/common.c ``pci_real_dma_dev``); where it is not told which, any.
    ``above`` remembers, from call to call, what the ports above one add.
    """
    function = topology.functions[address]
    found = {(address.domain, address.requester_id)}
    for devfn in dma_alias_mask(function.vendor, function.device, value_of(function.subsystem, None), address.devfn):
        found.add((address.domain, address.bus << 8 | devfn))
    used = value_of(topology.host.firmware_aliases, {}).get(address)
    if used is not None:
        found.add((address.domain, used))
    if address.domain >= FIRST_SEGMENT:
        vmds = topology.vmds if function.behind is None else (function.behind,)
        found |= {(vmd.domain, vmd.requester_id) for vmd in vmds}
        if not vmds and topology.host.platform in (Platform.X86, Platform.UNKNOWN):
            # Only VMDs make such segments on x86: whichever it is, all behind it use one id, which stands for it here.
            found.add((address.domain, _UNSEEN))
    up = topology.up(address)
    if up:
        added = above.get(up[0])
        if added is None:
            added = above[up[0]] = frozenset(_ids_of_bridges(topology, up))
        found |= added
    return frozenset(found)


def _ids_of_bridges(topology: Topology, ports: Iterable[Address]) -> Iterator[tuple[int, int]]:
    for port in ports:
        bridge = value_of(topology.functions[port].bridge, None)
        match topology.port_type(port):
            case PortType.PCIE_TO_PCI if bridge is not None:
                yield port.domain, bridge.secondary << 8
            case PortType.PCI_TO_PCIE | PortType.CONVENTIONAL | PortType.PCIE_TO_PCI:
                yield port.domain, port.requester_id


def _unvalidated(topology: Topology, settings: Settings, source: Address) -> Iterator[tuple[Address, Bit]]:
    """Yield the ports above ``source`` up to, not including, the first that validates, with their state.

    Whose bus numbers hold more than is below it compares ids with those, and may let through what it should not.
    """
    for port in topology.up(source):
        kind = topology.port_type(port)
        if kind is None:
            yield port, Bit.UNREAD
        elif kind in DOWNSTREAM_PORTS:
            function = topology.functions[port]
            state = bit(function, settings, AcsFlag.SV)
            if state in (Bit.NO_ACS, Bit.STATED) and perhaps_validates(function, value_of(topology.host.kernel, None)):
                state = Bit.UNREAD
            if state in (Bit.ON, Bit.STATED):
                if port not in topology.straying:
                    return
                yield port, state
                continue
            yield port, state


class Spoofing(NamedTuple):
    """Whose ids a function can send, by what stands above it."""

    answer: Answer
    """For ids that pass the port that validates: ``BLOCKED`` where the first port does."""
    validator: Address | None = None
    """The first port above that surely validates; None: the ids of its whole segment pass."""
    open_ports: tuple[tuple[Address, Bit], ...] = ()
    """The ports below that one, which do not validate or may not, nearest first."""


def spoofing(topology: Topology, settings: Settings, source: Address) -> Spoofing:
    """Return whose ids a function can send. What is above it decides, so it is the same for all of one bus."""
    above = topology.up(source)
    open_ports = tuple(_unvalidated(topology, settings, source))
    passed = {port for port, _ in open_ports}
    validator = next((p for p in above if topology.port_type(p) in DOWNSTREAM_PORTS and p not in passed), None)
    if validator is not None and not open_ports:
        answer = Answer.BLOCKED
    elif topology.severed(source) or (not open_ports and topology.below_hidden_port((source, *above)[-1])):
        answer = Answer.POSSIBLE
    elif not open_ports:
        # No port stands between it and the root complex, which tags its own integrated endpoints.
        answer = Answer.BLOCKED
    elif any(topology.conventional_bus(port) for port in above):
        # PCI has no ids to send, PCI-X has; a bridge to either may lack the PCI Express capability (ASM1083).
        answer = Answer.POSSIBLE
    else:
        open_to_doubt = any(state in (Bit.UNREAD, Bit.ON, Bit.STATED) for _, state in open_ports)
        answer = Answer.POSSIBLE if open_to_doubt else Answer.DIRECT
    return Spoofing(answer, validator, open_ports)


def spoofs(found: Spoofing, source: Address) -> Address | None:
    """Return where a function may pass for others by sending their ids: below a port, or (itself) in its segment.

    ``found`` is what ``spoofing`` says of it.
    """
    if not found.open_ports:
        return source if found.answer > Answer.BLOCKED else None
    return found.validator or source


class Identities:
    """Who shares an identity with whom in one setting; what is so of a function or a bus alone is found out once."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self.settings = settings
        self._ids: dict[Address, frozenset[tuple[int, int]]] = {}
        self._above: dict[Address, frozenset[tuple[int, int]]] = {}
        self._climbs: dict[Address, bool | None] = {}
        self._spoofing: dict[tuple[Address, ...] | Address, Spoofing] = {}

    def ids(self, address: Address) -> frozenset[tuple[int, int]]:
        """Return the ``aliases`` of a function."""
        found = self._ids.get(address)
        if found is None:
            found = self._ids[address] = alias_ids(self.topology, address, self._above)
        return found

    def spoofing(self, source: Address) -> Spoofing:
        """Return whose ids a function can send: the same for all that stand on one bus."""
        bus = self.topology.up(source)[:1] or source
        found = self._spoofing.get(bus)
        if found is None:
            found = self._spoofing[bus] = spoofing(self.topology, self.settings, source)
        return found

    def shared(self, source: Address, target: Address) -> Finding:
        """Say whether ``source`` can use ``target``'s mappings by sending requests under an id of ``target``.

        ``DIRECT``: it can; ``POSSIBLE``: a port's state was not read; ``BLOCKED``: it cannot.
        """
        topology = self.topology
        if self._sends(source) is False:
            return BLOCKED
        shared = self.ids(source) & self.ids(target)
        if shared:
            because = f"both send the same id: {_sharing(topology, source, target, shared)}"
            return Finding(Answer.DIRECT, (Hop(str(source), "requester id", because),))
        looked_up = target.domain == source.domain and same_tables(topology, source, target)
        found = _spoofed(topology, self.settings, self.spoofing(source), source, target) if looked_up else BLOCKED
        if found.answer is Answer.BLOCKED and _may_alias(topology, source, target):
            because = f"whether {source} or {target} uses the other's requester id was not read"
            return Finding(Answer.POSSIBLE, (Hop(str(source), "requester id", because),))
        if looked_up and found.answer is Answer.BLOCKED and (topology.severed(source) or topology.severed(target)):
            taker = shares_above(topology, source) or shares_above(topology, target)
            if taker is not None:
                because = f"whether both {source} and {target} stand behind {taker}, which shares an id, was not read"
                return Finding(Answer.POSSIBLE, (Hop(str(source), "requester id", because),))
        return found

    def _sends(self, source: Address) -> bool | None:
        """Whether a function's requests come up to the root; None where that was not read."""
        if source not in self._climbs:
            self._climbs[source] = climbs(self.settings, source, self.topology.up(source))
        return self._climbs[source]


def _sharing(topology: Topology, source: Address, target: Address, shared: frozenset[tuple[int, int]]) -> str:
    """Return why two functions send an id of ``shared``."""
    segments = {address.domain for address in (source, target) if address.domain >= FIRST_SEGMENT}
    if segments and any(domain not in segments or requester_id == _UNSEEN for domain, requester_id in shared):
        lender = next((vmd for vmd in topology.vmds if (vmd.domain, vmd.requester_id) in shared), None)
        return f"that of the VMD {lender if lender is not None else 'whose segment it is, which was not read'}"
    told = value_of(topology.host.firmware_aliases, {})
    if any((one.domain, told.get(one)) in shared for one in (source, target)):
        return "so the firmware says (IVRS)"
    bridge = next((port for port in topology.up(source) if port in topology.up(target)), None)
    if bridge is None:
        return "devices of this kind are known to (drivers/pci/quirks.c)"
    return f"they stand behind {bridge}"


def _may_alias(topology: Topology, one: Address, other: Address) -> bool:
    """Whether one of two functions on a bus may use the other's id: where its own ids do not tell, or a table in it."""
    if one[:2] != other[:2]:
        return False
    a, b = topology.functions[one], topology.functions[other]
    return other.devfn in unread_aliases(a) or one.devfn in unread_aliases(b)


def _spoofed(topology: Topology, settings: Settings, spoofs: Spoofing, source: Address, target: Address) -> Finding:
    """Say whether ``source`` can send requests under ``target``'s id, past the ports above it."""
    validator = spoofs.validator
    inside = validator is None or within(topology, validator, target)
    if validator is not None and (not spoofs.open_ports or inside is False):
        stated = bit(topology.functions[validator], settings, AcsFlag.SV) is Bit.STATED
        taken = {VENDOR_STATEMENT} if stated else set()
        if not spoofs.open_ports and inside is not False:
            # Source Validation compares bus numbers only: all buses below the port pass, those behind a sibling too.
            taken.add(SIBLING_IDENTITY)
        return Finding(Answer.BLOCKED, (), frozenset(taken))
    if spoofs.answer is Answer.BLOCKED:
        return Finding(Answer.BLOCKED, (), frozenset({INTEGRATED_IDENTITY}))
    answer = spoofs.answer if inside else Answer.POSSIBLE
    return Finding(answer, (_spoofing_hop(topology, spoofs, source, target, inside=inside is True),))


def _spoofing_hop(topology: Topology, spoofs: Spoofing, source: Address, target: Address, *, inside: bool) -> Hop:
    above = topology.up(source)
    if not inside:
        return Hop(str(target), "requester id", f"whether {target} hangs below {spoofs.validator} was not read")
    if topology.severed(source) or not spoofs.open_ports:
        return Hop(str(source), "requester id", f"the port above {(source, *above)[-1]} was not read")
    nearest, _ = spoofs.open_ports[0]
    stray = next((port for port, state in spoofs.open_ports if state in (Bit.ON, Bit.STATED)), None)
    taker = next((port for port in above if topology.port_type(port) is PortType.PCIE_TO_PCI), None)
    if taker is not None:
        # A bridge puts its own id on requests from a PCI bus, and may pass on those of a PCI-X bus (PCI Express to
        # PCI/PCI-X Bridge Specification 1.0, 2.3); which bus it is was not read.
        because = f"{taker} puts its own id on requests, unless its bus is PCI-X; no port above it validates"
    elif stray is not None:
        because = f"{stray} validates by its bus numbers, which hold buses that are not below it"
    elif spoofs.answer is Answer.POSSIBLE:
        because = f"whether {nearest} validates requester ids was not read"
    else:
        scope = f"below {spoofs.validator}" if spoofs.validator is not None else f"in segment {source.domain:04x}"
        because = (
            f"no port below the root validates: {nearest} SrcValid-, so it can send any id {scope}, {target}'s too"
        )
    return Hop(str(nearest), "requester id", because)


def shares_above(topology: Topology, address: Address) -> Address | None:
    """Return the nearest port above a function that may put an id of its own on what passes, None without one."""
    return next((port for port in topology.up(address) if topology.port_type(port) not in EXPRESS_PORTS), None)


def within(topology: Topology, port: Address, target: Address) -> bool | None:
    """Whether a function's id passes a port that validates, by its bus number; None where that was not read."""
    if port in topology.up(target):
        return True
    if not topology.severed(target):
        return False
    buses = value_of(topology.functions[port].bridge, None)
    return None if buses is None else buses.secondary <= target.bus <= buses.subordinate


_INTEL = "dmar"
"""How the kernel names Intel's units (``alloc_iommu`` in drivers/iommu/intel/dmar.c)."""


def same_tables(topology: Topology, one: Address, other: Address) -> bool:
    """Whether one IOMMU would look up both functions' ids."""
    a, b = tables(topology, one), tables(topology, other)
    return a is None or b is None or a == b


def tables(topology: Topology, address: Address) -> str | None:
    """Return the IOMMU that has tables of its own for a function's ids; Intel's units do (VT-d 3.4).

    The empty text where such units are all there are and none serves it, as the graphics device with
    ``intel_iommu=igfx_off``: no unit has an entry for its id, and no request of its own comes to one. None where that
    does not show.
    """
    function = topology.functions[address]
    unit = value_of(function.iommu, "unread")
    if unit is not None:
        return unit if unit.startswith(_INTEL) else None
    units = topology.host.iommu_units
    apart = bool(units) and all(each.kind == "intel" for each in units)
    return "" if apart and value_of(function.group, 0) is None else None
