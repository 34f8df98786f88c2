"""Shared identity: whose requester ids a function can send, and whose mappings it can so use.

Source Validation checks that the requester's bus lies below the port (PCI Express Base Specification
6.12.1.1). A function below a port that does not validate can send the id of any other function below the
first port further up that does, and of any function of its segment where none does.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.pcie import climbs
from atoll.fabric.settings import Settings
from atoll.fabric.statement import VENDOR_STATEMENT
from atoll.fabric.topology import Topology
from atoll.fabric.turn import Bit, bit
from atoll.host.fact import value_of
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.pci.quirks.aliases import dma_alias_mask

__all__ = ["INTEGRATED_IDENTITY", "SIBLING_IDENTITY", "aliases", "shares_above", "shares_identity", "spoofs"]

INTEGRATED_IDENTITY = "integrated-endpoint-identity"
"""Id of the assumption that root complex integrated endpoints send their own requester ids only."""

SIBLING_IDENTITY = "sibling-identity"
"""Id of the assumption that functions of one device send their own requester ids only."""

_VALIDATING = (PortType.ROOT_PORT, PortType.DOWNSTREAM)
_VMD_DOMAINS = 0x10000


def aliases(topology: Topology, address: Address) -> frozenset[tuple[int, int]]:
    """Return the ids, as (segment, requester id), that a function's requests carry at the IOMMU.

    A PCIe-to-PCI bridge replaces them by (secondary bus, 00.0), a conventional bridge by its own
    (drivers/pci/search.c ``pci_for_each_dma_alias``); what stands behind one shares them. Some devices
    are known to use other functions' ids as well (drivers/pci/quirks.c ``pci_add_dma_alias``). What lies behind
    Intel's VMD uses the VMD's id (arch/x86/pci/common.c ``pci_real_dma_dev``); where it is not told which, any.
    """
    function = topology.functions[address]
    found = {(address.domain, address.requester_id)}
    for devfn in dma_alias_mask(function.vendor, function.device, value_of(function.subsystem, None), address.devfn):
        found.add((address.domain, address.bus << 8 | devfn))
    if address.domain >= _VMD_DOMAINS:
        vmds = topology.vmds if function.behind is None else (function.behind,)
        found |= {(vmd.domain, vmd.requester_id) for vmd in vmds}
    for port in topology.up(address):
        bridge = value_of(topology.functions[port].bridge, None)
        match topology.port_type(port):
            case PortType.PCIE_TO_PCI if bridge is not None:
                found.add((port.domain, bridge.secondary << 8))
            case PortType.PCI_TO_PCIE | PortType.CONVENTIONAL | PortType.PCIE_TO_PCI:
                found.add((port.domain, port.requester_id))
    return frozenset(found)


def _unvalidated(topology: Topology, settings: Settings, source: Address) -> Iterator[tuple[Address, Bit]]:
    """Yield the ports above ``source`` up to, not including, the first that validates, with their state."""
    for port in topology.up(source):
        kind = topology.port_type(port)
        if kind is None:
            yield port, Bit.UNREAD
        elif kind in _VALIDATING:
            state = bit(topology.functions[port], settings, AcsFlag.SV)
            if state in (Bit.ON, Bit.STATED):
                return
            yield port, state


def spoofs(topology: Topology, settings: Settings, source: Address) -> Address | None:
    """Return where a function may pass for others by sending their ids: below a port, or (itself) in its segment."""
    open_ports = tuple(port for port, _ in _unvalidated(topology, settings, source))
    if not open_ports:
        return source if topology.severed(source) else None
    above = topology.up(source)
    return next((p for p in above if topology.port_type(p) in _VALIDATING and p not in open_ports), source)


def shares_identity(topology: Topology, settings: Settings, source: Address, target: Address) -> Finding:
    """Say whether ``source`` can use ``target``'s mappings by sending requests under an id of ``target``.

    ``DIRECT``: it can; ``POSSIBLE``: a port's state was not read; ``BLOCKED``: it cannot.
    """
    if climbs(topology, settings, source, topology.up(source)) is False:
        return BLOCKED
    shared = aliases(topology, source) & aliases(topology, target)
    if shared:
        bridge = next((str(p) for p in topology.up(source) if p in topology.up(target)), str(source))
        hop = Hop(str(source), "requester id", f"both send the same id: they stand behind {bridge}")
        return Finding(Answer.DIRECT, (hop,))
    if target.domain != source.domain or not _same_tables(topology, source, target):
        return BLOCKED
    if topology.severed(source) or topology.severed(target):
        taker = shares_above(topology, source) or shares_above(topology, target)
        if taker is not None:
            because = f"whether both {source} and {target} stand behind {taker}, which shares an id, was not read"
            return Finding(Answer.POSSIBLE, (Hop(str(source), "requester id", because),))
    open_ports = tuple(_unvalidated(topology, settings, source))
    above = topology.up(source)
    validator = next(
        (p for p in above if topology.port_type(p) in _VALIDATING and p not in {port for port, _ in open_ports}), None
    )
    within = validator is None or _below(topology, validator, target)
    if validator is not None and (not open_ports or within is False):
        stated = bit(topology.functions[validator], settings, AcsFlag.SV) is Bit.STATED
        taken = {VENDOR_STATEMENT} if stated else set()
        if not open_ports and topology.functions[source].parent == topology.functions[target].parent:
            # Source Validation compares bus numbers only.
            taken.add(SIBLING_IDENTITY)
        return Finding(Answer.BLOCKED, (), frozenset(taken))
    if within is None:
        hop = Hop(str(target), "requester id", f"whether {target} hangs below {validator} was not read")
        return Finding(Answer.POSSIBLE, (hop,))
    if topology.severed(source):
        hop = Hop(str(source), "requester id", f"the port above {(source, *above)[-1]} was not read")
        return Finding(Answer.POSSIBLE, (hop,))
    if not open_ports:
        # No port stands between it and the root complex, which tags its own integrated endpoints.
        return Finding(Answer.BLOCKED, (), frozenset({INTEGRATED_IDENTITY}))
    nearest, _ = open_ports[0]
    taker = next((port for port in above if topology.port_type(port) is PortType.PCIE_TO_PCI), None)
    if taker is not None:
        # A bridge puts its own id on requests from a PCI bus, and may pass on those of a PCI-X bus (PCI Express to
        # PCI/PCI-X Bridge Specification 1.0, 2.3); which bus it is was not read.
        because = f"{taker} puts its own id on requests, unless its bus is PCI-X; no port above it validates"
        return Finding(Answer.POSSIBLE, (Hop(str(nearest), "requester id", because),))
    unread = any(state is Bit.UNREAD for _, state in open_ports)
    scope = f"below {validator}" if validator is not None else f"in segment {source.domain:04x}"
    because = (
        f"whether {nearest} validates requester ids was not read"
        if unread
        else f"no port below the root validates: {nearest} SrcValid-, so it can send any id {scope}, {target}'s too"
    )
    return Finding(Answer.POSSIBLE if unread else Answer.DIRECT, (Hop(str(nearest), "requester id", because),))


def shares_above(topology: Topology, address: Address) -> Address | None:
    """Return the nearest port above a function that may put an id of its own on what passes, None without one."""
    clear = (PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM)
    return next((port for port in topology.up(address) if topology.port_type(port) not in clear), None)


def _below(topology: Topology, port: Address, target: Address) -> bool | None:
    """Whether a function's id passes a port that validates, by its bus number; None where that was not read."""
    if port in topology.up(target):
        return True
    if not topology.severed(target):
        return False
    buses = value_of(topology.functions[port].bridge, None)
    return None if buses is None else buses.secondary <= target.bus <= buses.subordinate


def _same_tables(topology: Topology, one: Address, other: Address) -> bool:
    """Whether one IOMMU would look up both functions' ids. Intel units have tables of their own (VT-d 3.4)."""
    a = value_of(topology.functions[one].iommu, None)
    b = value_of(topology.functions[other].iommu, None)
    return not (a and b and a.startswith("dmar") and b.startswith("dmar") and a != b)
