"""Random machines with Arm processors: SMMUv3s for IOMMUs, and host bridges that shift addresses.

What stands below 4 GiB on the PCI side is elsewhere for the system, as on many of them: the same addresses in each
segment, where there are several (``resource`` tells the system's, base address registers the PCI side's).
"""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import Blueprint, FunctionSpec, HostBridge, IommuUnit, KernelSpec, Platform, Window

__all__ = ["with_arm"]

_SYSTEM, _STEP = 0x600000000000, 0x10000000000
"""Where the system has what lies elsewhere on the PCI side, each host bridge's so far from the next one's."""
_RELEASE = (6, 16)
"""A kernel that gives all functions groups when it finds them (``iommu_fwspec`` known then, since 6.15)."""


def with_arm(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with Arm processors, without what only x86 has: Volume Management Devices, AMD's functions."""
    behind = {bridge.domain for bridge in plan.bridges if bridge.vmd is not None}
    gone = plan.platform_functions
    kept = [spec for spec in plan.functions if spec.address.domain not in behind and spec.address not in gone]
    names = {unit.name: f"smmu3.0x{0x2B400000 + 0x1000000 * i:016x}" for i, unit in enumerate(plan.iommus)}
    functions = tuple(replace(spec, iommu=None if spec.iommu is None else names[spec.iommu]) for spec in kept)
    bridges = _shifted(tuple(bridge for bridge in plan.bridges if bridge.vmd is None), dice)
    told = root_complex(bridges, "rolled by the twin")
    return replace(
        plan,
        platform=Platform.ARM,
        kernel=_kernel(plan.kernel),
        bridges=bridges,
        functions=functions,
        disk=replace(plan.disk, function=_disk(functions, plan.disk.function)),
        links=tuple(link for link in plan.links if not {link.a.domain, link.b.domain} & behind),
        iommus=tuple(IommuUnit(name, ()) for name in names.values()),
        files=tuple(told if name == told[0] else (name, text) for name, text in plan.files),
        interrupt_chip="ITS-PCI-MSI-",
    )


def _kernel(spec: KernelSpec) -> KernelSpec:
    major, minor = _RELEASE
    text = f"Linux version {major}.{minor}.3-arm64 (root@builder) (gcc) #1 SMP PREEMPT_DYNAMIC"
    words = [word for word in spec.cmdline.split() if word not in ("intel_iommu=on", "amd_iommu=off")]
    words = ["iommu.passthrough=1" if word == "iommu=pt" else word for word in words]
    return replace(spec, version=_RELEASE, text=text, cmdline=" ".join(words))


def _disk(functions: tuple[FunctionSpec, ...], before: Address) -> Address:
    """Return the disk with the root file system: another one, where that was behind what is gone."""
    disks = [spec.address for spec in functions if spec.class_code == ClassCode.NVME]
    return before if before in disks else disks[0]


def _shifted(bridges: tuple[HostBridge, ...], dice: random.Random) -> tuple[HostBridge, ...]:
    apart = len({bridge.domain for bridge in bridges}) > 1
    same = bridges[0].low.bus if apart and dice.random() < 0.6 else None
    found = []
    for index, bridge in enumerate(bridges):
        low, high, start = bridge.low, bridge.high, _SYSTEM + index * _STEP
        if same is not None or dice.random() < 0.8:
            low = Window(low.bus if same is None else same, start, low.size)
        if dice.random() < 0.5:
            high = Window(high.bus, start + _STEP // 2, high.size)
        found.append(replace(bridge, low=low, high=high))
    return tuple(found)
