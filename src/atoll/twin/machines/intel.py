"""What the x86 machines share: kernels, host bridges, root ports, switches, IOMMU units."""

from __future__ import annotations

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, FunctionSpec, HostBridge, IommuUnit, KernelSpec, Routing, Window

__all__ = ["PORT_ACS", "dmar", "endpoint", "host_bridge", "kernels", "port"]

PORT_ACS = REDIRECTING | AcsFlag.TB
"""What Intel's root ports implement."""

_LOW = (Window(0x90000000, 0x90000000, 0x30000000), Window(0xC0000000, 0xC0000000, 0x3B000000))
_HIGH_BASE, _HIGH_SIZE = 0x380000000000, 0x8000000000


def kernels(cmdline: str) -> dict[str, KernelSpec]:
    """Return the kernels that an x86 machine runs; DMAR detection asks for ACS."""
    found = {}
    for label, release in (("6.12", "6.12.117"), ("6.1", "6.1.192")):
        major, minor = label.split(".")
        text = f"Linux version {release}-amd64 (root@builder) (gcc) #1 SMP PREEMPT_DYNAMIC"
        found[label] = KernelSpec(label, (int(major), int(minor)), text, cmdline, sets_acs=True)
    return found


def host_bridge(index: int, bus: int, last: int, numa: int) -> HostBridge:
    """A host bridge of domain 0 whose root ports reach each other where the ingress one does not redirect."""
    start = _HIGH_BASE + index * _HIGH_SIZE
    return HostBridge(0, bus, last, _LOW[index], Window(start, start, _HIGH_SIZE), Routing.DIRECT, numa_node=numa)


def port(
    text: str,
    ids: tuple[int, int],
    kind: PortType,
    buses: tuple[int, int],
    *,
    acs: AcsFlag | None = None,
    numa: int = -1,
    iommu: str = "dmar0",
) -> FunctionSpec:
    """A bridge with its secondary and subordinate bus."""
    return FunctionSpec(
        Address.parse(text),
        *ids,
        ClassCode.PCI_BRIDGE,
        port=kind,
        secondary=buses[0],
        subordinate=buses[1],
        acs=acs,
        driver=None if kind is PortType.PCIE_TO_PCI else "pcieport",
        numa_node=numa,
        iommu=iommu,
        revision=0x01,
    )


def endpoint(
    text: str,
    ids: tuple[int, int],
    class_code: int,
    driver: str | None,
    *bars: Bar,
    port: PortType = PortType.ENDPOINT,
    multifunction: bool = False,
    acs: AcsFlag | None = None,
    ats: bool = False,
    flr: bool = False,
    pm_reset: bool = False,
    serial: int | None = None,
    numa: int = -1,
    iommu: str = "dmar0",
    console: bool = False,
) -> FunctionSpec:
    """A function that is no bridge."""
    return FunctionSpec(
        Address.parse(text),
        *ids,
        class_code,
        port=port,
        bars=bars or (Bar(0, 64 * KIBIBYTE),),
        driver=driver,
        multifunction=multifunction,
        acs=acs,
        ats=ats,
        flr=flr,
        pm_reset=pm_reset,
        serial=serial,
        numa_node=numa,
        iommu=iommu,
        subsystem=(ids[0], 0x0001),
        console=console,
    )


def dmar(index: int, address: int) -> IommuUnit:
    """A VT-d unit that can remap interrupts (extended capability bit 3)."""
    return IommuUnit(
        f"dmar{index}",
        (
            ("intel-iommu/version", "1:0\n"),
            ("intel-iommu/address", f"{address:x}\n"),
            ("intel-iommu/cap", "d2078c106f0466\n"),
            ("intel-iommu/ecap", "f020df\n"),
        ),
    )
