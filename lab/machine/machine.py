"""A blueprint as a QEMU machine: arguments, where everything stands in the guest, and what QEMU cannot model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin.spec import Blueprint, FunctionSpec, Model, Platform
from lab.errors import LabError
from lab.machine.device import QemuDevice, choose
from lab.machine.numbering import Place, Placing, place
from lab.machine.served import served_argument

__all__ = ["Attach", "Iommu", "Machine", "build", "gpus", "identity"]

Attach = Callable[[int, str, str, bool], str]
"""Returns the ``-device`` argument of an emulated GPU: its index, QEMU's bus, slot and function, multifunction."""


class Iommu(StrEnum):
    """Which IOMMU the guest has."""

    INTEL = "intel"
    AMD = "amd"
    VIRTIO = "virtio"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Machine:
    """What to give to QEMU."""

    qemu: tuple[str, ...]
    cmdline: str
    """What the guest's kernel has to be told."""
    addresses: Mapping[Address, Address]
    """From the blueprint's addresses to the guest's. What is missing, ``gaps`` tells."""
    drivers: Mapping[Address, str]
    """Which of QEMU's devices each of the blueprint's functions became."""
    served: tuple[FunctionSpec, ...]
    """What is to be served from outside (`Served`), by index."""
    gaps: tuple[str, ...]
    """What the guest lacks or does differently: results about these are not the blueprint's."""


def gpus(blueprint: Blueprint) -> tuple[Address, ...]:
    """Return the GPUs to be emulated, in the order of their addresses: their indices."""
    return tuple(sorted(spec.address for spec in blueprint.functions if spec.model is Model.V100))


def build(
    blueprint: Blueprint,
    *,
    iommu: Iommu = Iommu.INTEL,
    options: Mapping[str, object] | None = None,
    attach: Attach | None = None,
    serve: bool = False,
) -> Machine:
    """Return the QEMU machine of a blueprint.

    ``options`` of the IOMMU replace the usual ones. ``attach`` gives the emulated GPUs; without it they are left out,
    and told as gaps. ``serve``: devices that QEMU does not have are served from outside, as declared; otherwise others
    stand in for them. LabError for what is no PC.
    """
    if blueprint.platform is not Platform.INTEL:
        raise LabError(f"{blueprint.name} is no PC", "only blueprints of the intel platform become a q35 machine")
    builder = _Builder(blueprint, attach, serve)
    builder.iommu(iommu, options or {})
    builder.expanders()
    for each in builder.placing.places:
        builder.function(each)
    builder.virtual_functions()
    builder.not_modelled()
    cmdline = "intel_iommu=on" if iommu is Iommu.INTEL else ""
    return Machine(
        tuple(builder.arguments),
        cmdline,
        builder.addresses,
        builder.drivers,
        tuple(builder.served),
        tuple(builder.gaps),
    )


@dataclass(slots=True)
class _Builder:
    blueprint: Blueprint
    attach: Attach | None
    serve: bool
    placing: Placing = field(init=False)
    arguments: list[str] = field(default_factory=list)
    addresses: dict[Address, Address] = field(default_factory=dict)
    drivers: dict[Address, str] = field(default_factory=dict)
    served: list[FunctionSpec] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    _chassis: int = 0

    def __post_init__(self) -> None:
        self.placing = place(self.blueprint)

    def device(self, driver: str, **properties: object) -> None:
        """Add a ``-device`` argument."""
        self.arguments += ["-device", json.dumps({"driver": driver, **properties})]

    def iommu(self, iommu: Iommu, options: Mapping[str, object]) -> None:
        """The IOMMU comes before the devices that it is to translate for."""
        if iommu is Iommu.INTEL:
            self.device("intel-iommu", **{"intremap": "on", "caching-mode": True, **options})
        elif iommu is Iommu.AMD:
            slot = self.placing.free.pop(0)
            self.device("AMDVI-PCI", id="iommu", bus="pcie.0", addr=f"{slot:x}.0")
            self.device("amd-iommu", **{"pci-id": "iommu", "dma-remap": True, "intremap": "on", **options})
        elif iommu is Iommu.VIRTIO:
            where = f"{self.placing.free.pop(0):x}.0"
            self.device("virtio-iommu-pci", id="iommu", bus="pcie.0", addr=where, **options)
        else:
            self.gaps.append("there is no IOMMU: nothing has a group")

    def expanders(self) -> None:
        """A root bus of its own for every host bridge but the first."""
        for bridge, (slot, bus) in self.placing.expanders.items():
            self.device("pxb-pcie", id=_bus_id(bridge.bus), bus="pcie.0", addr=f"{slot:x}.0", bus_nr=bus)

    def function(self, each: Place) -> None:
        """One function, or the gap that it leaves; what hangs from a bridge that is left out is left out too."""
        spec = each.spec
        if gap := self._barred(each):
            self.gaps.append(f"{spec.address}: {gap}")
            return
        where = {"bus": self._bus(each), "addr": f"{each.guest.device:x}.{each.guest.function}"}
        if spec.model is Model.V100:
            self._attach_gpu(each, **where)
            return
        conventional = each.parent is not None and each.parent.port in (PortType.PCIE_TO_PCI, PortType.CONVENTIONAL)
        chosen = choose(spec, conventional=conventional)
        if self.serve and not spec.is_bridge and (chosen is None or chosen.ids != (spec.vendor, spec.device)):
            told = {"id": identity(spec), **where, "multifunction": each.shared}
            self.arguments += ["-device", served_argument(len(self.served), told)]
            self.served.append(spec)
            self._added(each, "vfio-user-pci")
            return
        if chosen is None or (conventional and spec.is_bridge and spec.port is not PortType.CONVENTIONAL):
            self.gaps.append(f"{spec.address}: QEMU has nothing like a {spec.port.label} here")
            return
        vfs = chosen.vf_total if chosen.vf_always else min(spec.vf_total, chosen.vf_total)
        if vfs and chosen.last_vf(each.guest.devfn, vfs) > 0xFF:
            gap = f"left out, {chosen.driver} has no room for its virtual functions behind it"
            self.gaps.append(f"{spec.address}: {gap}")
            return
        shared = {"multifunction": True} if each.shared else {}
        self.device(chosen.driver, **{"id": identity(spec), **where, **shared, **self._properties(spec, chosen, vfs)})
        self._added(each, chosen.driver)
        self._differences(spec, chosen, on_root=each.parent is None)

    def _barred(self, each: Place) -> str:
        """Return why nothing can stand in a place, or nothing."""
        if each.parent is not None and each.parent.address not in self.addresses:
            return "left out, the bridge above it is"
        if each.parent is None and each.bridge in self.placing.expanders and each.spec.port is not PortType.ROOT_PORT:
            return "left out, QEMU takes nothing but ports on an expander's root bus"
        return ""

    def _bus(self, each: Place) -> str:
        """The bus of a place, as QEMU calls it."""
        if each.parent is not None:
            return identity(each.parent)
        return _bus_id(each.bridge.bus) if each.bridge in self.placing.expanders else "pcie.0"

    def _added(self, each: Place, driver: str) -> None:
        self.addresses[each.spec.address] = each.guest
        self.drivers[each.spec.address] = driver

    def _properties(self, spec: FunctionSpec, chosen: QemuDevice, vfs: int) -> dict[str, object]:
        """What one of QEMU's devices has to be told beside its name and place."""
        properties = dict(chosen.properties)
        if spec.port in DOWNSTREAM_PORTS:
            self._chassis += 1
            properties |= {"chassis": self._chassis, "slot": self._chassis}
        if chosen.driver == "pci-bridge":
            self._chassis += 1
            properties |= {"chassis_nr": self._chassis}
        if chosen.driver == "nvme":
            properties |= {"serial": f"{spec.address}", **self._nvme_vfs(spec, vfs)}
        return properties

    def _nvme_vfs(self, spec: FunctionSpec, count: int) -> dict[str, object]:
        """What an nvme with virtual functions needs: a subsystem, and queues and interrupts to give to each."""
        if not count:
            return {}
        name = f"{identity(spec)}-subsystem"
        self.device("nvme-subsys", id=name)
        return {
            "subsys": name,
            "sriov_max_vfs": count,
            "sriov_vq_flexible": 2 * count,
            "sriov_vi_flexible": count,
            "max_ioqpairs": 2 * count + 2,
            "msix_qsize": count + 2,
        }

    def virtual_functions(self) -> None:
        """They appear when their physical function's ``sriov_numvfs`` is written."""
        for spec in self.blueprint.functions:
            if spec.physfn is None:
                continue
            guest = self.addresses.get(spec.physfn)
            if guest is None or self.drivers[spec.physfn] != "igb":
                self.gaps.append(f"{spec.address}: left out, its physical function has no virtual ones here")
                continue
            number = (guest.bus << 8 | guest.device << 3 | guest.function) + 0x80 + 2 * spec.vf_index
            self.addresses[spec.address] = Address(0, number >> 8, number >> 3 & 0x1F, number & 7)
            self.drivers[spec.address] = "igbvf"

    def not_modelled(self) -> None:
        """What no argument can bring."""
        if any(spec.port is PortType.DOWNSTREAM for spec in self.blueprint.functions):
            self.gaps.append(
                "traffic below switches: QEMU sends every request through the IOMMU of its sender, whatever ACS says"
            )
        elif any(spec.port is PortType.ROOT_PORT for spec in self.blueprint.functions):
            self.gaps.append("traffic between root ports: QEMU sends every request through the IOMMU, ACS or not")
        if self.blueprint.cpu_links:
            self.gaps.append("links to processors: QEMU has none")

    def _attach_gpu(self, each: Place, *, bus: str, addr: str) -> None:
        if self.attach is None:
            self.gaps.append(f"{each.spec.address}: left out, no emulated GPU was given")
            return
        index = gpus(self.blueprint).index(each.spec.address)
        self.arguments += ["-device", self.attach(index, bus, addr, each.shared)]
        self._added(each, "vfio-user-pci")

    def _differences(self, spec: FunctionSpec, chosen: QemuDevice, *, on_root: bool) -> None:
        """Tell what decides about isolation and is not as declared."""
        name = f"{spec.address}: {chosen.driver}"
        if chosen.acs != spec.acs:
            self.gaps.append(f"{name} has {_acs(chosen.acs)}, declared is {_acs(spec.acs)}")
        port = chosen.integrated if on_root else chosen.port
        if port is not spec.port:
            self.gaps.append(f"{name} is a {port.label}, declared is a {spec.port.label}")
        if spec.ats:
            self.gaps.append(f"{name} has no ATS, declared is one that has")
        if spec.vf_total > chosen.vf_total:
            self.gaps.append(f"{name} has {chosen.vf_total} virtual functions, declared are {spec.vf_total}")


def identity(spec: FunctionSpec) -> str:
    """Return what QEMU calls a function, and the bus behind it."""
    address = spec.address
    return f"f{address.bus:02x}-{address.device:02x}-{address.function}"


def _bus_id(bus: int) -> str:
    return f"root{bus:02x}"


def _acs(flags: AcsFlag | None) -> str:
    if flags is None:
        return "no ACS capability"
    return f"an ACS capability of {'|'.join(flag.name or '' for flag in flags) or 'nothing'}"
