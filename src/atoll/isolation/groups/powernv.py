"""Groups on PowerNV: one for each partitionable endpoint (PE), whatever ACS says.

Source: ``arch/powerpc/platforms/powernv/pci-ioda.c`` (``pnv_ioda_setup_bus_PE``, ``pnv_ioda_setup_vf_PE``) and, up
to Linux 5.12, ``npu-dma.c`` (``pnv_try_setup_npu_table_group``).
"""

from __future__ import annotations

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


def predict_powernv(host: Host, served: frozenset[Address]) -> Prediction:
    """Return the groups of the ``served`` functions; ports are in none."""
    union = _Union()
    reasons: dict[Address, tuple[str, ...]] = {}
    missing: dict[Address, str] = {}
    pe: dict[Address, str] = {}
    for address in sorted(served):
        function = host.functions[address]
        if not function.is_port:
            pe[address] = _endpoint(host, function, reasons, missing)
    isolated = _nvlink(host, pe, union, reasons, missing)
    members: dict[str, list[Address]] = {}
    for address, name in pe.items():
        members.setdefault(union.top(name), []).append(address)
    founders = {group[0] for group in members.values()}
    return Prediction(
        groups=tuple(tuple(group) for group in sorted(members.values())),
        undetermined=tuple(sorted((a, why) for a, why in missing.items() if a in pe)),
        reasons={a: reasons[a] for a in sorted(reasons) if a in pe and a not in founders},
        override=isolated,
    )


def _endpoint(
    host: Host,
    function: Function,
    reasons: dict[Address, tuple[str, ...]],
    missing: dict[Address, str],
) -> str:
    """Return a name for the PE of a function: its bus, the outermost PCI bus above it, or its own if virtual."""
    address = function.address
    if function.physical_function is not None:
        return f"vf {address}"
    name = f"bus {address.domain:04x}:{address.bus:02x}"
    why = f"PE: all functions of {name} share one (pnv_ioda_setup_bus_PE)"
    parent = function.parent
    below = False
    while parent is not None and (bridge := host.functions.get(parent)) is not None:
        if not isinstance(bridge.port_type, Known):
            if below and bridge.parent is not None:
                missing[address] = f"{bridge.address}: the PCI Express type was not read"
        elif bridge.port_type.value is PortType.PCIE_TO_PCI:
            name = f"below {bridge.address}"
            why = f"PE: everything below the PCIe-to-PCI bridge {bridge.address} shares one (PNV_IODA_PE_BUS_ALL)"
        below = True
        parent = bridge.parent
    reasons[address] = (why,)
    return name


def _nvlink(
    host: Host,
    pe: dict[Address, str],
    union: _Union,
    reasons: dict[Address, tuple[str, ...]],
    missing: dict[Address, str],
) -> bool:
    """Merge the PEs of GPUs and of their NPU functions; return whether ``isolate_nvlink`` decided."""
    kernel = value_of(host.kernel, None)
    functions = [brick.function for brick in host.npu_bricks if brick.function in pe]
    if kernel is None or _release(kernel) < _NVLINK_GONE:
        _untold(host, pe, frozenset(functions), missing)
    if not host.npu_bricks:
        return False
    if kernel is None:
        for brick in host.npu_bricks:
            for end in (brick.gpu, brick.function):
                if end is not None:
                    missing[end] = f"{end}: the kernel's release, which decides how NVLinked GPUs are grouped"
    elif _release(kernel) >= _NVLINK_GONE:
        return False
    if not functions:
        return False
    power8 = _is_power8(host)
    isolate = not power8 and has_parameter(value_of(host.command_line, ""), "isolate_nvlink")
    compound = not power8 and not isolate and (kernel is None or _release(kernel) >= _COMPOUND_FIRST)
    if compound:
        rule = "NVLink: GPUs and bricks of one NPU (pnv_try_setup_npu_table_group, POWER9)"
    elif isolate:
        rule = "NVLink: a GPU and its bricks (isolate_nvlink)"
    else:
        rule = "NVLink: a GPU and its bricks (pnv_pci_npu_setup_iommu)"
    for brick in host.npu_bricks:
        hub = f"npu {brick.npu}" if compound else f"gpu {brick.gpu or brick.path}"
        for end in (brick.gpu, brick.function):
            if end is not None and end in pe:
                if end == brick.function:
                    # The bricks that face one GPU share a PE; their bus has none (pnv_ioda_setup_npu_PE).
                    pe[end] = f"bricks {brick.gpu or brick.path}"
                union.merge(pe[end], hub)
                reasons[end] = (rule,)
    return isolate


def _untold(host: Host, pe: dict[Address, str], told: frozenset[Address | None], missing: dict[Address, str]) -> None:
    """Note the NPU functions of which no device tree tells which GPU they face, and the GPUs that they may face."""
    lone = [address for address in pe if address not in told and is_brick(host.functions[address])]
    if not lone:
        return
    for address in lone:
        missing[address] = f"{address}: which GPU it faces, and which NPU it is of, no device tree tells"
    faced = {brick.gpu for brick in host.npu_bricks if brick.function in told}
    facing = {link.a.function for link in host.links if link.b.kind is EndKind.CPU} - faced
    for address in pe:
        open_links = address in facing or address not in host.links_told
        if open_links and possible_cpu_links(host.functions[address], powernv=True):
            missing[address] = f"{address}: which NPU functions face it, no device tree tells"


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
