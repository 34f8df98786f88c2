"""Random machines that a twin can be and QEMU can model: the same seed gives the same machine.

Bus numbers are given as the guest's firmware gives them, so that addresses are the same on both sides.
"""

from __future__ import annotations

import random

from atoll.twin.machines.intel import dmar, host_bridge, kernels
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import Blueprint, Disk, DomainKind, Platform
from lab.machine.grower import Grower
from lab.machine.wide import WideGrower

__all__ = ["random_blueprint"]

_KERNELS = kernels("root=/dev/nvme0n1p2 ro intel_iommu=on")
_EXPANDER_BUS = 0x80


def random_blueprint(seed: int, *, kernel: str = "6.12", wide: bool = False, amd: bool = False) -> Blueprint:
    """Return a machine: root ports with and without ACS, alone or as functions of one slot, switches, bridges to PCI,
    devices with one or several functions, on up to two host bridges. ``kernel`` is the twin's.

    ``wide``: also what QEMU has no model of, and has to be served to it. ``amd``: with an AMD IOMMU, for which a table
    of the kernel's has rows.
    """
    dice = random.Random(seed)
    grower = WideGrower(dice, amd=amd) if wide else Grower(dice)
    last = grower.root_bus(0, first=True)
    bridges = [host_bridge(0, 0x00, _EXPANDER_BUS - 1, 0)]
    if grower.chance(0.3):
        bridges.append(host_bridge(1, _EXPANDER_BUS, 0xFF, 1))
        last = grower.root_bus(_EXPANDER_BUS, first=False)
    assert last <= 0xFF
    disk = next(spec.address for spec in grower.functions if spec.class_code >> 8 == 0x0108)
    declared = "declared by the generator: requests cross between root ports where ReqRedir is off or missing"
    return Blueprint(
        name=f"random-{seed}",
        platform=Platform.INTEL,
        kernel=_KERNELS[kernel],
        bridges=tuple(bridges),
        functions=tuple(grower.functions),
        default_domain=DomainKind.DMA_FQ,
        disk=Disk(disk, "nvme/nvme0/nvme0n1", "nvme0n1", "nvme0n1p2", (259, 0)),
        networks=(),
        ram=16 << 30,
        iommus=(dmar(0, 0xFED90000),),
        files=(root_complex(tuple(bridges), declared),),
        interrupt_chip="IR-PCI-MSI-",
    )
