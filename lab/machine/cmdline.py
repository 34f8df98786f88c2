"""Random command lines and IOMMUs that shape a kernel's groups, or might, for a machine of a blueprint."""

from __future__ import annotations

import random
from collections.abc import Mapping

from atoll.pci.header import PortType
from atoll.twin.spec import Blueprint, FunctionSpec
from lab.machine.machine import Iommu

__all__ = ["random_cmdline", "random_options", "virtio_works"]

_WITHOUT_CONFIG_ACS = "6.1"
"""``pci=config_acs=`` came with Linux 6.11 (commit 47c8846a49ba "PCI: Extend ACS configurability")."""

_OPTIONS: Mapping[Iommu, tuple[Mapping[str, object], ...]] = {
    Iommu.INTEL: ({}, {"aw-bits": 39}, {"scalable-mode": True}, {"device-iotlb": True}),
    # Not {"dma-remap": False}: QEMU then says that it translates nothing (HATDis), kernels before 6.17 do not look at
    # that and wait for devices whose requests go astray, and of later ones some form groups all the same.
    Iommu.AMD: ({}, {"device-iotlb": True}),
    Iommu.VIRTIO: ({}, {"boot-bypass": False}, {"granule": "4k", "aw-bits": 48}),
    Iommu.NONE: ({},),
}
_UNSERVED: Mapping[str, object] = {"caching-mode": False, "snoop-control": True}
"""Of Intel's: not with functions that are served to QEMU."""


def random_options(dice: random.Random, iommu: Iommu, *, served: bool) -> Mapping[str, object]:
    """Return what QEMU is told of its IOMMU, beyond what is usual."""
    choices = _OPTIONS[iommu]
    return dice.choice(choices if served or iommu is not Iommu.INTEL else (*choices, _UNSERVED))


def virtio_works(blueprint: Blueprint) -> bool:
    """Whether QEMU's virtio IOMMU can serve all of a machine.

    A function behind a bridge to conventional PCI has the bridge's secondary bus as an alias, for which QEMU knows no
    endpoint where nothing stands at 00.0 there: the driver then gives up on the whole machine.
    """
    return not any(
        spec.is_bridge and spec.port in (PortType.PCIE_TO_PCI, PortType.CONVENTIONAL) for spec in blueprint.functions
    ) and not any(spec.dma_aliases for spec in blueprint.functions)


def random_cmdline(dice: random.Random, blueprint: Blueprint, kernel: str, iommu: Iommu) -> str:
    """Return words beyond what the machine needs; half of the machines get none.

    Addresses are the blueprint's: right for machines that are numbered as firmware numbers them.
    """
    ports = [spec for spec in blueprint.functions if spec.acs is not None]
    pick = dice.random()
    if pick < 0.5 or not ports:
        return ""
    if pick < 0.57:
        return "iommu=pt"
    if pick < 0.59:
        return "amd_iommu=off" if iommu is Iommu.AMD else "intel_iommu=off"
    if pick < 0.63:
        return dice.choice(("pci=noats", "iommu.strict=1", "iommu=nopt"))
    if pick < 0.67:
        return "pci=nommconf"
    some = dice.sample(ports, dice.randint(1, min(3, len(ports))))
    redirection = f"pci=disable_acs_redir={';'.join(_names(dice, port, blueprint) for port in some)}"
    if pick < 0.78 or kernel.startswith(_WITHOUT_CONFIG_ACS):
        return redirection
    some = dice.sample(ports, dice.randint(1, min(3, len(ports))))
    control = f"pci=config_acs={';'.join(f'{_bits(dice)}@{_names(dice, port, blueprint)}' for port in some)}"
    return control if pick < 0.92 else f"{redirection} {control}"


def _names(dice: random.Random, port: FunctionSpec, blueprint: Blueprint) -> str:
    """By address, by the way from the bridge above, or by ids: then all of its kind."""
    pick = dice.random()
    above = [spec for spec in blueprint.functions if spec.is_bridge and spec.secondary == port.address.bus]
    if pick < 0.2:
        return f"pci:{port.vendor:04x}:{port.device:04x}"
    if pick < 0.6 and above:
        return f"{above[0].address}/{port.address.device:02x}.{port.address.function}"
    return str(port.address)


def _bits(dice: random.Random) -> str:
    """Up to seven of 0, 1 and x, the last for bit 0."""
    return "".join(dice.choice("01x") for _ in range(7))
