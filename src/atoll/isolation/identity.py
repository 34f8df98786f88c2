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
from atoll.fabric.topology import Topology
from atoll.fabric.turn import Bit, bit
from atoll.host.fact import value_of
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.pci.quirks.aliases import dma_alias_mask

__all__ = ["INTEGRATED_IDENTITY", "aliases", "shares_identity"]

INTEGRATED_IDENTITY = "integrated-endpoint-identity"
"""Id of the assumption that root complex integrated endpoints send their own requester ids only."""

_VALIDATING = (PortType.ROOT_PORT, PortType.DOWNSTREAM)


def aliases(topology: Topology, address: Address) -> frozenset[tuple[int, int]]:
    """Return the ids, as (segment, requester id), that a function's requests carry at the IOMMU.

    A PCIe-to-PCI bridge replaces them by (secondary bus, 00.0), a conventional bridge by its own
    (drivers/pci/search.c ``pci_for_each_dma_alias``); what stands behind one shares them. Some devices
    are known to use other functions' ids as well (drivers/pci/quirks.c ``pci_add_dma_alias``).
    """
    function = topology.functions[address]
    found = {(address.domain, address.requester_id)}
    for devfn in dma_alias_mask(function.vendor, function.device, value_of(function.subsystem, None), address.devfn):
        found.add((address.domain, address.bus << 8 | devfn))
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
        if topology.port_type(port) in _VALIDATING:
            state = bit(topology.functions[port], settings, AcsFlag.SV)
            if state in (Bit.ON, Bit.STATED):
                return
            yield port, state


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
    open_ports = tuple(_unvalidated(topology, settings, source))
    above = topology.up(source)
    if not any(topology.port_type(port) in _VALIDATING for port in above):
        # No port stands between it and the root complex, which tags its own integrated endpoints.
        return Finding(Answer.BLOCKED, (), frozenset({INTEGRATED_IDENTITY}))
    if not open_ports:
        return BLOCKED
    validator = next(
        (p for p in above if topology.port_type(p) in _VALIDATING and p not in {port for port, _ in open_ports}), None
    )
    if validator is not None and validator not in topology.up(target):
        return BLOCKED
    nearest, _ = open_ports[0]
    unread = any(state is Bit.UNREAD for _, state in open_ports)
    scope = f"below {validator}" if validator is not None else f"in segment {source.domain:04x}"
    because = (
        f"whether {nearest} validates requester ids was not read"
        if unread
        else f"no port below the root validates: {nearest} SrcValid-, so it can send any id {scope}, {target}'s too"
    )
    return Finding(Answer.POSSIBLE if unread else Answer.DIRECT, (Hop(str(nearest), "requester id", because),))


def _same_tables(topology: Topology, one: Address, other: Address) -> bool:
    """Whether one IOMMU would look up both functions' ids. Intel units have tables of their own (VT-d 3.4)."""
    a = value_of(topology.functions[one].iommu, None)
    b = value_of(topology.functions[other].iommu, None)
    return not (a and b and a.startswith("dmar") and b.startswith("dmar") and a != b)
