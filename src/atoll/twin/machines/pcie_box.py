"""A box without NVLink that has one of everything that decides about PCI Express isolation.

Declared throughout: root ports with and without ACS, a switch whose downstream ports have it only in part,
devices with several functions with and without ACS, conventional PCI behind a bridge, virtual functions, and a
function with Address Translation Services. Functions of one device reach each other inside it where no ACS
control redirects; those of the SR-IOV adapter never do, which its empty ACS capability says.
"""

from __future__ import annotations

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.machines.intel import PORT_ACS, dmar, endpoint, host_bridge, kernels, port
from atoll.twin.machines.records import root_complex
from atoll.twin.machines.sriov import virtual_function
from atoll.twin.sizes import GIBIBYTE, KIBIBYTE, MEBIBYTE
from atoll.twin.spec import Bar, Blueprint, Disk, DomainKind, FunctionSpec, Network, Platform

__all__ = ["machine"]

KERNELS = kernels("root=/dev/nvme0n1p2 ro intel_iommu=on")
ROOT = (0x8086, 0x6F08)
SWITCH = (0x10B5, 0x8747)
CARD = (0x10EE, 0x9038)
"""An accelerator card (the vendor's example id)."""
VF_COUNT = 4


def machine(kernel: str, links: bool) -> Blueprint:
    """Return the machine; there are no links to tell of."""
    bridges = (host_bridge(0, 0x00, 0xFF, 0),)
    declared = "declared by the twin: requests cross between root ports where ReqRedir is off or missing"
    return Blueprint(
        name="pcie-box",
        platform=Platform.INTEL,
        kernel=KERNELS[kernel],
        bridges=bridges,
        functions=(*_switch(), *_without_acs(), *_multifunction(), *_conventional(), *_virtual(), *_host()),
        default_domain=DomainKind.DMA_FQ,
        disk=Disk(Address(0, 0x0D, 0, 0), "nvme/nvme0/nvme0n1", "nvme0n1", "nvme0n1p2", (259, 0)),
        networks=(Network(Address(0, 0x0E, 0, 0), "eno1", default=True),),
        ram=512 * GIBIBYTE,
        iommus=(dmar(0, 0xFED90000),),
        files=(root_complex(bridges, declared),),
        linked=links,
        interrupt_chip="IR-PCI-MSI-",
    )


def _root(slot: int, first: int, last: int, *, acs: AcsFlag | None = PORT_ACS) -> FunctionSpec:
    return port(f"00:{slot:02x}.0", ROOT, PortType.ROOT_PORT, (first, last), acs=acs, numa=0)


def _card(bus: int, *, ats: bool = False) -> FunctionSpec:
    bars = (Bar(0, 64 * KIBIBYTE), Bar(2, 16 * MEBIBYTE, wide=True, prefetchable=True))
    return endpoint(
        f"{bus:02x}:00.0", CARD, ClassCode.ACCELERATOR, "xdma", *bars, ats=ats, flr=True, numa=0, serial=0xCA4D00 + bus
    )


def _switch() -> list[FunctionSpec]:
    """Four downstream ports: two with ACS (behind the second a card with ATS), two without."""
    found = [_root(0x01, 0x01, 0x06), port("01:00.0", SWITCH, PortType.UPSTREAM, (0x02, 0x06), numa=0)]
    for slot, acs in enumerate((PORT_ACS | AcsFlag.DT, PORT_ACS | AcsFlag.DT, None, None)):
        bus = 3 + slot
        found.append(port(f"02:{slot:02x}.0", SWITCH, PortType.DOWNSTREAM, (bus, bus), acs=acs, numa=0))
        found.append(_card(bus, ats=slot == 1))
    return found


def _without_acs() -> list[FunctionSpec]:
    """A root port without ACS, and a card behind one with it to compare."""
    return [_root(0x02, 0x07, 0x07, acs=None), _card(0x07), _root(0x09, 0x0F, 0x0F), _card(0x0F)]


def _multifunction() -> list[FunctionSpec]:
    """Two devices of two functions: a graphics card without ACS, a network adapter with it."""
    graphics = ((0x10DE, 0x1B06), (0x10DE, 0x10EF))
    return [
        _root(0x03, 0x08, 0x08),
        endpoint(
            "08:00.0", graphics[0], ClassCode.DISPLAY_3D, "nouveau", Bar(0, 16 * MEBIBYTE), multifunction=True, numa=0
        ),
        endpoint(
            "08:00.1", graphics[1], ClassCode.HD_AUDIO, "snd_hda_intel", multifunction=True, pm_reset=True, numa=0
        ),
        _root(0x04, 0x09, 0x09),
        *(
            endpoint(
                f"09:00.{n}",
                (0x15B3, 0x1017),
                ClassCode.ETHERNET,
                "mlx5_core",
                Bar(0, 32 * MEBIBYTE, wide=True, prefetchable=True),
                multifunction=True,
                acs=AcsFlag.RR | AcsFlag.CR | AcsFlag.DT,
                flr=True,
                numa=0,
                serial=0x5000E60300B20000 + n,
            )
            for n in (0, 1)
        ),
    ]


def _conventional() -> list[FunctionSpec]:
    """Two conventional devices behind a PCIe-to-PCI bridge, and the console on the root bus."""
    kind = PortType.CONVENTIONAL
    return [
        _root(0x05, 0x0A, 0x0B),
        port("0a:00.0", (0x10B5, 0x8112), PortType.PCIE_TO_PCI, (0x0B, 0x0B), numa=0),
        endpoint(
            "0b:00.0", (0x1415, 0x9501), ClassCode.SERIAL_16950, "serial", Bar(0, 4 * KIBIBYTE), port=kind, numa=0
        ),
        endpoint(
            "0b:01.0",
            (0x1102, 0x0002),
            ClassCode.MULTIMEDIA_AUDIO,
            "snd_emu10k1",
            Bar(0, 4 * KIBIBYTE),
            port=kind,
            numa=0,
        ),
        endpoint(
            "00:0a.0",
            (0x102B, 0x0522),
            ClassCode.VGA,
            "mgag200",
            Bar(0, 16 * MEBIBYTE),
            port=kind,
            console=True,
            numa=0,
        ),
    ]


def _virtual() -> list[FunctionSpec]:
    """A network adapter with four virtual functions on its own bus."""
    physical = FunctionSpec(
        Address(0, 0x0C, 0, 0),
        0x15B3,
        0x1015,
        ClassCode.ETHERNET,
        bars=(Bar(0, 32 * MEBIBYTE, wide=True, prefetchable=True),),
        loopback=False,
        acs=AcsFlag(0),
        flr=True,
        driver="mlx5_core",
        subsystem=(0x15B3, 0x0003),
        numa_node=0,
        iommu="dmar0",
        serial=0x248A0700C3000001,
        vf_total=VF_COUNT,
        vf_bar=MEBIBYTE,
        vf_device=0x1016,
    )
    return [_root(0x06, 0x0C, 0x0C), physical, *(virtual_function(physical, index) for index in range(VF_COUNT))]


def _host() -> list[FunctionSpec]:
    """What the host needs: the disk with its root file system, and the adapter of its default route."""
    return [
        _root(0x07, 0x0D, 0x0D),
        endpoint("0d:00.0", (0x144D, 0xA804), ClassCode.NVME, "nvme", Bar(0, 16 * KIBIBYTE), flr=True, numa=0),
        _root(0x08, 0x0E, 0x0E),
        endpoint("0e:00.0", (0x8086, 0x1533), ClassCode.ETHERNET, "igb", Bar(0, 512 * KIBIBYTE), flr=True, numa=0),
    ]
