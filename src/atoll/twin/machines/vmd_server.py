"""A server with two sockets whose drives are behind Volume Management Devices, one a socket.

Declared: which slots and buses there are, and that both segments' root ports reach each other where the ingress one
does not redirect. As on real ones the devices are functions 5 of slot 5; the drive with the root file system is behind
the first, and two more drives behind it stand below a switch.
"""

from __future__ import annotations

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.machines import vmd
from atoll.twin.machines.intel import PORT_ACS, dmar, endpoint, host_bridge, kernels, port
from atoll.twin.machines.records import root_complex
from atoll.twin.sizes import GIBIBYTE, KIBIBYTE, MEBIBYTE
from atoll.twin.spec import Bar, Blueprint, Disk, DomainKind, FunctionSpec, HostBridge, Network, Platform, Routing

__all__ = ["machine"]

KERNELS = kernels("root=/dev/nvme0n1p2 ro intel_iommu=on")
ROOT, SWITCH = (0x8086, 0x347A), (0x10B5, 0x8747)
DRIVE, CARD, NETWORK = (0x8086, 0x0A54), (0x10EE, 0x9038), (0x8086, 0x1533)


def machine(kernel: str, links: bool) -> Blueprint:
    """Return the machine; there are no links to tell of."""
    sockets = (host_bridge(0, 0x00, 0x7F, 0), host_bridge(1, 0x80, 0xFF, 1))
    segments = tuple(
        vmd.segment(index, 0, Address(0, socket.bus, 0x05, 5), Routing.DIRECT, index)
        for index, socket in enumerate(sockets)
    )
    inside = [*_drives_and_switch(0), *_drives(1)]
    declared = "declared by the twin: requests cross between root ports where ReqRedir is off or missing"
    return Blueprint(
        name="vmd-server",
        platform=Platform.INTEL,
        kernel=KERNELS[kernel],
        bridges=(*sockets, *segments),
        functions=(*_devices(sockets, segments, inside), *_cards(), *inside),
        default_domain=DomainKind.DMA_FQ,
        disk=Disk(Address(0x10000, 0x01, 0, 0), "nvme/nvme0/nvme0n1", "nvme0n1", "nvme0n1p2", (259, 0)),
        networks=(Network(Address(0, 0x01, 0, 0), "eno1", default=True),),
        ram=512 * GIBIBYTE,
        iommus=(dmar(0, 0xFED90000), dmar(1, 0xFED91000)),
        files=(root_complex((*sockets, *segments), declared),),
        linked=links,
        interrupt_chip="IR-PCI-MSI-",
    )


def _devices(
    sockets: tuple[HostBridge, ...], segments: tuple[HostBridge, ...], inside: list[FunctionSpec]
) -> list[FunctionSpec]:
    """In slot 5 of each socket: the device, and function 0 beside it."""
    found = []
    for index, (socket, behind) in enumerate(zip(sockets, segments, strict=True)):
        unit = f"dmar{index}"
        found.append(vmd.companion(Address(0, socket.bus, 0x05, 0), iommu=unit, numa=index))
        found.append(vmd.device(behind, inside, ids=0x28C0, iommu=unit, multifunction=True))
    return found


def _cards() -> list[FunctionSpec]:
    """What is not behind a device: the network adapter, and an accelerator card a socket."""
    bars = (Bar(0, 64 * KIBIBYTE), Bar(2, 16 * MEBIBYTE, wide=True, prefetchable=True))
    found = [
        port("00:01.0", ROOT, PortType.ROOT_PORT, (0x01, 0x01), acs=PORT_ACS, numa=0),
        endpoint("01:00.0", NETWORK, ClassCode.ETHERNET, "igb", Bar(0, 512 * KIBIBYTE), flr=True, numa=0),
    ]
    for index, (root, bus) in enumerate((("00:02.0", 0x02), ("80:02.0", 0x81))):
        unit = f"dmar{index}"
        found.append(port(root, ROOT, PortType.ROOT_PORT, (bus, bus), acs=PORT_ACS, numa=index, iommu=unit))
        card = endpoint(f"{bus:02x}:00.0", CARD, ClassCode.ACCELERATOR, "xdma", *bars, flr=True, numa=index, iommu=unit)
        found.append(card)
    return found


def _drive(index: int, bus: int) -> FunctionSpec:
    serial = 0x5CD2E40000000000 + (index << 8) + bus
    address, unit = f"{0x10000 + index:x}:{bus:02x}:00.0", f"dmar{index}"
    bar = Bar(0, 16 * KIBIBYTE)
    return endpoint(address, DRIVE, ClassCode.NVME, "nvme", bar, flr=True, numa=index, iommu=unit, serial=serial)


def _port(index: int, place: str, kind: PortType, first: int, last: int, acs: AcsFlag | None) -> FunctionSpec:
    ids = ROOT if kind is PortType.ROOT_PORT else SWITCH
    unit = f"dmar{index}"
    return port(f"{0x10000 + index:x}:{place}", ids, kind, (first, last), acs=acs, numa=index, iommu=unit)


def _drives(index: int) -> list[FunctionSpec]:
    """Two drives, each behind a root port with ACS."""
    found = []
    for bus in (0x01, 0x02):
        found.append(_port(index, f"00:{bus + 1:02x}.0", PortType.ROOT_PORT, bus, bus, PORT_ACS))
        found.append(_drive(index, bus))
    return found


def _drives_and_switch(index: int) -> list[FunctionSpec]:
    """Two drives, and two more below a switch without ACS."""
    return [
        *_drives(index),
        _port(index, "00:04.0", PortType.ROOT_PORT, 0x03, 0x06, PORT_ACS),
        _port(index, "03:00.0", PortType.UPSTREAM, 0x04, 0x06, None),
        _port(index, "04:00.0", PortType.DOWNSTREAM, 0x05, 0x05, None),
        _drive(index, 0x05),
        _port(index, "04:01.0", PortType.DOWNSTREAM, 0x06, 0x06, None),
        _drive(index, 0x06),
    ]
