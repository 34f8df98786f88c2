"""Functions that have others in hand: what drives them decides what those can do, and what keeps them apart."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.domains import is_amd_iommu
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode, DeviceClass
from atoll.pci.header import PortType

__all__ = ["of_chipset", "of_switch", "of_translation", "of_virtual"]

_CHIPSET = frozenset(
    {DeviceClass.HOST_BRIDGE, DeviceClass.ISA_BRIDGE, DeviceClass.OTHER_MEMORY, DeviceClass.OTHER_SERIAL_BUS}
)
"""Host bridges and data fabrics (what addresses lead where), LPC bridges, sideband and power management (P2SB, PMC),
the controller of the firmware's flash memory."""
_IN_PART = frozenset({DeviceClass.OTHER_PERIPHERAL, DeviceClass.PERFORMANCE_COUNTERS})
"""What Intel's uncore shows too, with registers in configuration space alone; accelerators have BARs (DSA)."""


def of_virtual(topology: Topology, source: Address, target: Address) -> Finding:
    """A physical function programs, disables and resets its virtual ones, and routes what they send.

    VFIO has an owner of both show the same token for it (drivers/vfio/pci/vfio_pci_core.c
    ``vfio_pci_validate_vf_token``).
    """
    one, other = topology.functions[source], topology.functions[target]
    if other.physical_function == source:
        hop = Hop(str(source), "SR-IOV", f"{target} is its virtual function, which it sets up and takes away")
        return Finding(Answer.DIRECT, (hop,))
    maybe = other.perhaps_virtual and not one.perhaps_virtual and value_of(one.sriov, True) is not None
    if maybe and one.parent == other.parent and source.domain == target.domain and source < target:
        hop = Hop(str(source), "SR-IOV", f"whether {target} is its virtual function was not read")
        return Finding(Answer.POSSIBLE, (hop,))
    return BLOCKED


def of_translation(topology: Topology, source: Address) -> Finding:
    """An IOMMU that is a function: its capability says where its registers are, and these what all others reach."""
    if not is_amd_iommu(topology.functions[source]):
        return BLOCKED
    return Finding(Answer.DIRECT, (Hop(str(source), "IOMMU", "it translates for others: who drives it decides how"),))


def of_chipset(topology: Topology, source: Address) -> Finding:
    """A part of the chipset, on a root bus: what others reach, or what firmware runs, is set up by its registers.

    VFIO lets its user write what it does not know of configuration space (drivers/vfio/pci/vfio_pci_config.c,
    ``unassigned_perms``). Which registers there are, and which of them firmware has locked, is not known.
    """
    function = topology.functions[source]
    if function.parent is not None or source in topology.bricks:
        return BLOCKED
    in_part = function.device_class in _IN_PART and not value_of(function.bars, ())
    if function.class_code == ClassCode.USB4_HOST:
        because = "it sets up the tunnels of USB4, behind which devices of others may be"
    elif function.device_class in _CHIPSET or in_part:
        because = "it is a part of the chipset: who drives it may set up what others reach"
    else:
        return BLOCKED
    return Finding(Answer.POSSIBLE, (Hop(str(source), "chipset", because),))


def of_switch(topology: Topology, source: Address, owner: Mapping[Address, str]) -> tuple[Address, Finding] | None:
    """A function of a switch's own device, or on its inner bus, by the upstream port of the switch.

    Such are the management endpoints and the DMA engines of switches. Whether one sets up the ports, its vendor knows.
    None where there is none, or where nothing of another owner is below that switch.
    """
    up = topology.up(source)
    beside = topology.on_bus.get(up[0] if up else None, ())
    ports = [
        one for one in beside if topology.port_type(one) is PortType.UPSTREAM and topology.same_device(source, one)
    ]
    if up and topology.port_type(up[0]) is PortType.UPSTREAM:
        ports.append(up[0])
    for port in ports:
        others = (a for a in topology.below.get(port, ()) if not topology.functions[a].is_port)
        if any(owner[other] != owner[source] for other in others):
            hop = Hop(str(source), "switch", f"it is a function of the switch of {port}, and may set up its ports")
            return port, Finding(Answer.POSSIBLE, (hop,))
    return None
