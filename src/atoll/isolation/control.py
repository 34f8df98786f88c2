"""Functions that control others: who drives one decides what those can do, and what keeps them apart."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop
from atoll.fabric.default_domain import is_amd_iommu
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode, DeviceClass
from atoll.pci.header import PortType
from atoll.pci.vendor import AMD, ASPEED, HP, HUAWEI, HYGON, INTEL, MATROX, MELLANOX

__all__ = ["chipset_control", "iommu_control", "management_control", "switch_control", "virtual_function_control"]

_CHIPSET = frozenset(
    {
        *(DeviceClass.HOST_BRIDGE, DeviceClass.ISA_BRIDGE, DeviceClass.OTHER_MEMORY),
        *(DeviceClass.OTHER_SERIAL_BUS, DeviceClass.SMBUS),
    }
)
"""Host bridges and data fabrics (what addresses lead where), LPC bridges, sideband and power management (P2SB, PMC),
the controller of the firmware's flash memory, and that of the board's SMBus: PCI Express switches have an interface to
such a bus with all of their registers (Documentation/PCI/pex8xxx_i2c.txt of "PCI: The PEX8xxx I2C Interface driver",
Rajat Jain, 2014)."""
_IN_PART = frozenset({DeviceClass.OTHER_PERIPHERAL, DeviceClass.PERFORMANCE_COUNTERS})
"""What Intel's uncore shows too, with registers in configuration space alone; accelerators have BARs (DSA)."""
_ENGINES = frozenset({0x1468, 0x1498, 0x1537})
"""AMD's encryption controllers without a secure processor behind them (``sp_pci_table`` of drivers/crypto/ccp/sp-pci.c;
1498: ``pt_pci_table`` of drivers/dma/ptdma)."""
_OF_BOARDS = {
    HP: frozenset({0x3300, 0x3301, 0x3302, 0x3305, 0x3306, 0x3307, 0x3308, 0x22F6}),
    HUAWEI: frozenset({0x1711}),
    MATROX: frozenset({0x0522, 0x0530, 0x0532, 0x0533, 0x0534, 0x0536, 0x0538}),
    MELLANOX: frozenset({0xC2D2, 0xC2D3, 0xC2D4, 0xC2D5, 0xC2D6}),
}
"""Functions of board management controllers, by maker: iLO, iBMC, the G200 that is part of many (``pci.ids``); those
that start and stop the processors of a BlueField card, which has the card's other functions in hand (rshim)."""


def virtual_function_control(topology: Topology, source: Address, target: Address) -> Finding:
    """Say whether ``target`` is a virtual function of ``source``.

    A physical function programs, disables and resets its virtual ones, and routes what they send. VFIO has an
    owner of both show the same token for it (drivers/vfio/pci/vfio_pci_core.c ``vfio_pci_validate_vf_token``).
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


def iommu_control(topology: Topology, source: Address) -> Finding:
    """Say whether a function is an IOMMU: its capability says where its registers are, and these what others reach."""
    if not is_amd_iommu(topology.functions[source]):
        return BLOCKED
    return Finding(Answer.DIRECT, (Hop(str(source), "IOMMU", "it translates for others: who drives it decides how"),))


def chipset_control(topology: Topology, source: Address) -> Finding:
    """Say whether a function is a part of the chipset, on a root bus.

    Its registers set up what others reach, or what firmware runs; which there are, and which of them firmware has
    locked, is not known. VFIO lets its user write what it does not know of configuration space
    (drivers/vfio/pci/vfio_pci_config.c, ``unassigned_perms``).
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


def management_control(topology: Topology, source: Address) -> Finding:
    """Say whether a function manages the machine, or holds memory of it, wherever it stands.

    Who drives the VGA function of ASPEED's BMCs may reach all that the BMC does (CVE-2019-6260), and through it the
    machine; AMD's secure processor takes commands about all encrypted guests (drivers/crypto/ccp); Intel's management
    engine about the firmware. A CXL memory device decodes what the host, or firmware, has mapped to it (CXL
    Specification 3.1, 8.2.4.20).
    """
    function = topology.functions[source]
    if function.is_port:
        return BLOCKED
    root = function.parent is None
    if function.device_class == DeviceClass.CXL_MEMORY:
        because = "memory of the machine may be behind it (CXL.mem)"
    elif _manages_board(function):
        because = "it is a function of the board's management controller, which may have the machine in hand"
    elif function.device_class == DeviceClass.ENCRYPTION and function.made_by(AMD, HYGON) and _may_command(function):
        because = "it is the processor's secure processor, which sets up the encryption of all guests"
    elif function.device_class == DeviceClass.OTHER_COMMUNICATION and root and function.made_by(INTEL):
        because = "it is the interface of the chipset's management engine"
    else:
        return BLOCKED
    return Finding(Answer.POSSIBLE, (Hop(str(source), "management", because),))


def _manages_board(function: Function) -> bool:
    """Whether it is, or may be where a record hides its ids, a function of a board's management controller."""
    of_boards = any(v == ASPEED or device in _OF_BOARDS.get(v or 0, ()) for v, device in function.all_ids)
    return of_boards or function.device_class == DeviceClass.IPMI


def _may_command(function: Function) -> bool:
    return any(device not in _ENGINES for _, device in function.all_ids)


def switch_control(topology: Topology, source: Address, owner: Mapping[Address, str]) -> tuple[Address, Finding] | None:
    """Say whether a function may set up a switch that others' functions are below; return its upstream port, too.

    Such are functions of a switch's own device, or on its inner bus: management endpoints and DMA engines. Whether one
    sets up the ports, its vendor knows. None for any other function, or where nothing of another owner is below.
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
