"""Groups on PowerNV: one for each partitionable endpoint (PE), whatever ACS says.

Source: ``arch/powerpc/platforms/powernv/pci-ioda.c`` (``pnv_ioda_setup_bus_PE``, ``pnv_ioda_setup_vf_PE``) and, up
to Linux 5.12, ``npu-dma.c`` (``pnv_try_setup_npu_table_group``).
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.fabric.families import is_brick, possible_cpu_links
from atoll.host.fact import Known, value_of
from atoll.host.model import EndKind, Function, Host, KernelRelease
from atoll.isolation.groups.override import has_parameter
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.pci.vendor import NVIDIA

__all__ = ["predict_powernv"]

_COMPOUND_FIRST = (5, 0)
"""commit 0bd971676e68 "powerpc/powernv/npu: Add compound IOMMU groups" (in v5.0)."""
_NVLINK_GONE = (5, 13)
"""The NVLink support of powernv was removed in v5.13."""
_AS_ADDED_FIRST = (5, 8)
"""commit dc3d8f85bb57 "powerpc/powernv/pci: Re-work bus PE configuration" (in v5.8)."""


def predict_powernv(host: Host, served: frozenset[Address]) -> Prediction:
    """Return the groups of the ``served`` functions; a port is in one only beside others of its PE."""
    endpoints = _Endpoints(host)
    kernel = value_of(host.kernel, None)
    functions = [host.functions[address] for address in sorted(served)]
    for function in functions:
        if not function.is_port:
            endpoints.add(function)
    endpoints.add_ports([function for function in functions if function.is_port], kernel)
    isolated = (kernel is None or _release(kernel) < _NVLINK_GONE) and endpoints.join_nvlinked(kernel)
    members = endpoints.members()
    founders = {group[0] for group in members}
    pe, reasons = endpoints.pe, endpoints.reasons
    return Prediction(
        groups=members,
        undetermined=tuple(sorted((a, why) for a, why in endpoints.missing.items() if a in pe)),
        company={
            address: f"whether {port} is in its group: {endpoints.missing[port]}"
            for group in members
            for port in group
            if host.functions[port].is_port and port in endpoints.missing
            for address in group
        },
        reasons={a: reasons[a] for a in sorted(reasons) if a in pe and a not in founders},
        override=isolated,
    )


class _Endpoints:
    """Partitionable endpoints being set up."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._union = _Union()
        self.pe: dict[Address, str] = {}
        """A name for the PE of each function."""
        self.reasons: dict[Address, tuple[str, ...]] = {}
        self.missing: dict[Address, str] = {}

    def members(self) -> tuple[tuple[Address, ...], ...]:
        """Return the functions of each group, in address order."""
        found: dict[str, list[Address]] = {}
        for address, name in sorted(self.pe.items()):
            found.setdefault(self._union.top(name), []).append(address)
        return tuple(tuple(group) for group in sorted(found.values()))

    def add(self, function: Function) -> None:
        """Name the PE of a function: its bus, the outermost PCI bus above it, or its own if virtual."""
        address = function.address
        if function.physical_function is not None:
            self.pe[address] = f"vf {address}"
            return
        self.pe[address], why = self._bus(function)
        self.reasons[address] = (why,)

    def add_ports(self, ports: Iterable[Function], kernel: KernelRelease | None) -> None:
        """Name the PE of those that share the group of another function.

        A PE has a group once a function that is no port is added to it (``pnv_pci_ioda_dma_dev_setup``), in the order
        of addresses: a port before that one has none, unless it was found again. Older kernels made all groups first.
        """
        founders: dict[str, Address] = {}
        for address in sorted(self.pe):
            founders.setdefault(self.pe[address], address)
        at_once = kernel is not None and _release(kernel) < _AS_ADDED_FIRST
        recorded = {member for group in value_of(self._host.groups, {}).values() for member in group.members}
        for port in ports:
            name, why = self._bus(port)
            founder = founders.get(name)
            beside = founder is not None and (at_once or founder < port.address)
            untold = founder is not None and kernel is None
            if beside or untold or port.address in recorded:
                self.pe[port.address], self.reasons[port.address] = name, (why,)
            if untold and not beside and port.address not in recorded:
                what = "the kernel's release, which decides whether a port before the others of its PE has a group"
                self.missing[port.address] = f"{port.address}: {what}"

    def _bus(self, function: Function) -> tuple[str, str]:
        """Name the PE of a function by its bus, or the outermost PCI bus above it, and say why."""
        address = function.address
        name = f"bus {address.domain:04x}:{address.bus:02x}"
        why = f"PE: all functions of {name} share one (pnv_ioda_setup_bus_PE)"
        parent = function.parent
        below = False
        while parent is not None and (bridge := self._host.functions.get(parent)) is not None:
            if not isinstance(bridge.port_type, Known):
                if below and bridge.parent is not None:
                    self.missing[address] = f"{bridge.address}: the PCI Express type was not read"
            elif bridge.port_type.value is PortType.PCIE_TO_PCI:
                name = f"below {bridge.address}"
                why = f"PE: everything below the PCIe-to-PCI bridge {bridge.address} shares one (PNV_IODA_PE_BUS_ALL)"
            below = True
            parent = bridge.parent
        return name, why

    def join_nvlinked(self, kernel: KernelRelease | None) -> bool:
        """Join the PEs of GPUs and of their NPU functions; return whether ``isolate_nvlink`` decided."""
        bricks = self._host.npu_bricks
        faced = frozenset(brick.function for brick in bricks if brick.function in self.pe)
        self._note_untold(faced)
        if kernel is None:
            ends = (end for brick in bricks for end in (brick.gpu, brick.function) if end is not None)
            what = "the kernel's release, which decides how NVLinked GPUs are grouped"
            self.missing |= {end: f"{end}: {what}" for end in ends}
        if not faced:
            return False
        power8 = _is_power8(self._host)
        isolate = not power8 and has_parameter(value_of(self._host.command_line, ""), "isolate_nvlink")
        compound = not power8 and not isolate and (kernel is None or _release(kernel) >= _COMPOUND_FIRST)
        if compound:
            rule = "NVLink: GPUs and bricks of one NPU (pnv_try_setup_npu_table_group, POWER9)"
        elif isolate:
            rule = "NVLink: a GPU and its bricks (isolate_nvlink)"
        else:
            rule = "NVLink: a GPU and its bricks (pnv_pci_npu_setup_iommu)"
        for brick in bricks:
            faces = brick.gpu or brick.path
            hub = f"npu {brick.npu}" if compound else f"gpu {faces}"
            if brick.function is not None and brick.function in faced:
                # The bricks that face one GPU share a PE; their bus has none (pnv_ioda_setup_npu_PE).
                self.pe[brick.function] = f"bricks {faces}"
            for end in (brick.gpu, brick.function):
                if end is not None and end in self.pe:
                    self._union.merge(self.pe[end], hub)
                    self.reasons[end] = (rule,)
        return isolate

    def _note_untold(self, told: frozenset[Address | None]) -> None:
        """Note the NPU functions of which no device tree tells which GPU they face, and the GPUs they may face.

        A record that shows a part of the machine, or names members of groups and nothing else of them, may hide some.
        """
        host = self._host
        lone = [address for address in self.pe if address not in told and is_brick(host.functions[address])]
        grouped = (member for group in value_of(host.groups, {}).values() for member in group.members)
        if not (lone or host.excerpt or any(member not in host.functions for member in grouped)):
            return
        for address in lone:
            self.missing[address] = f"{address}: which GPU it faces, and which NPU it is of, no device tree tells"
        faced = {brick.gpu for brick in host.npu_bricks if brick.function in told}
        facing = {link.a.function for link in host.links if link.b.kind is EndKind.CPU} - faced
        for address in self.pe:
            open_links = address in facing or address not in host.links_told
            if open_links and possible_cpu_links(host.functions[address], powernv=True):
                self.missing[address] = f"{address}: which NPU functions face it, no device tree tells"


def _release(kernel: KernelRelease) -> tuple[int, int]:
    return kernel.major, kernel.minor


def _is_power8(host: Host) -> bool:
    """NVLink 1: POWER8 bricks face GP100 GPUs and nothing else has them."""
    if any("power8" in brick.npu or "power8" in brick.path for brick in host.npu_bricks):
        return True
    gpus = [host.functions[b.gpu] for b in host.npu_bricks if b.gpu is not None and b.gpu in host.functions]
    return any(gpu.vendor == NVIDIA and gpu.device & 0xFFF0 == 0x15F0 for gpu in gpus)


class _Union:
    """Names that stand for one another."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def top(self, name: str) -> str:
        while name in self._above:
            name = self._above[name]
        return name

    def merge(self, one: str, other: str) -> None:
        one, other = self.top(one), self.top(other)
        if one != other:
            self._above[one] = other
