"""A model of the kernel's VFIO, by the rules of drivers/vfio and drivers/iommu: groups, containers, iommufd.

It shares nothing with ``atoll.vfio`` but the layouts, which the kernel's own headers check.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from atoll.pci.address import Address

__all__ = ["FakeDevice", "FakeMachine", "Refusal", "address"]

PAGE = 4096


class Refusal(OSError):
    """What the model answers; an ordinary OSError to who asks."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))


def address(text: str) -> Address:
    return Address.parse(f"0000:{text}")


@dataclass(repr=False)
class FakeDevice:
    """A function: its group, its driver, and what is behind its BARs."""

    address: Address
    group: int
    driver: str | None = "vfio-pci"
    bus: int = 0
    """Devices of one bus are reset together (the dev_set)."""
    resets: bool = True
    bus_resets: bool = True
    irqs: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 4, 2: 0, 3: 1, 4: 1})
    vectors: int = 1 << 16
    """How many MSI or MSI-X vectors the kernel has left for it."""
    file_offset: int = 0
    """Where BAR 0 stands in the device's file."""
    broken: int = 0
    """What asking for its regions fails with."""
    chain: bytes = b""
    """A capability chain that stands behind the information on BAR 0; its offsets count from 32."""
    aperture: tuple[tuple[int, int], ...] = ((0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1))
    token: bytes | None = None
    physical: bool = False
    """Whether it has virtual functions."""
    memory: bytearray = field(default_factory=lambda: bytearray(4 * PAGE))
    config: bytearray = field(default_factory=lambda: bytearray(4096))
    events: dict[tuple[int, int], int] = field(default_factory=dict)
    opened: int = 0
    """How many open files there are of it."""
    seen: list[str] = field(default_factory=list)
    """Resets, in order, with their cause."""

    def __post_init__(self) -> None:
        self.config[4] = 0x02

    def __repr__(self) -> str:
        return f"FakeDevice({self.address}, {self.group}, {self.driver!r}, bus={self.bus}, resets={self.resets})"

    @property
    def name(self) -> str:
        return f"vfio{self.address.bus}{self.address.device}"

    def lose(self, why: str) -> None:
        """What a reset does to a device: what stands behind its BARs is lost, the kernel puts the header back."""
        self.memory[:] = bytes(len(self.memory))
        self.seen.append(why)


@dataclass
class FakeMachine:
    """The kernel's side: devices by group, what is configured, and who owns each group's DMA."""

    devices: list[FakeDevice]
    cdev: bool = False
    """Whether there are device nodes and /dev/iommu (CONFIG_VFIO_DEVICE_CDEV and CONFIG_IOMMUFD)."""
    container: bool = True
    """Whether there is /dev/vfio/vfio (CONFIG_VFIO_CONTAINER)."""
    isolated_msi: bool = True
    noiommu: frozenset[int] = frozenset()
    type1: bool = True
    spapr: bool = False
    limit: int = 65535
    """dma_entry_limit of type 1."""
    locked_limit: int = 1 << 30
    """RLIMIT_MEMLOCK, in bytes."""
    long_bind: bool = True
    """Whether structures have the fields that came after 6.12."""
    unopenable: dict[str, int] = field(default_factory=dict)
    """Nodes that cannot be opened, with the error number."""
    group_files: dict[int, object] = field(default_factory=dict)
    owners: dict[int, object] = field(default_factory=dict)
    """Who has each group's DMA: a container or an iommufd."""

    def device(self, name: str) -> FakeDevice | None:
        return next((d for d in self.devices if str(d.address) == name), None)

    def members(self, group: int) -> list[FakeDevice]:
        return [d for d in self.devices if d.group == group]

    def neighbours(self, device: FakeDevice) -> list[FakeDevice]:
        return [d for d in self.devices if d.bus == device.bus]

    def host_owned(self, group: int) -> bool:
        """``iommu_group.owner_cnt`` by drivers of the host's: those without ``driver_managed_dma``."""
        return any(d.driver not in (None, "vfio-pci", "pci-stub", "pcieport") for d in self.members(group))

    def claim(self, group: int, owner: object) -> None:
        """iommu_group_claim_dma_owner."""
        if self.host_owned(group):
            raise Refusal(errno.EPERM)
        if self.owners.get(group, owner) is not owner:
            raise Refusal(errno.EPERM)
        self.owners[group] = owner

    def aperture(self, groups: set[int]) -> list[tuple[int, int]]:
        """What every device of the groups can reach."""
        found = [(0, (1 << 64) - 1)]
        for device in self.devices:
            if device.group in groups:
                found = [(max(a, c), min(b, d)) for a, b in found for c, d in device.aperture if max(a, c) <= min(b, d)]
        return found

    def files(self) -> dict[str, Callable[[], bytes] | str]:
        """Files and links (those are text) of sysfs and dev."""
        found: dict[str, Callable[[], bytes] | str] = {"sys/module/vfio/version": lambda: b"0.3\n"}
        if self.container:
            found["dev/vfio/vfio"] = lambda: b""
        if self.cdev:
            found["dev/iommu"] = lambda: b""
        for device in self.devices:
            here = f"sys/bus/pci/devices/{device.address}"
            found[f"{here}/vendor"] = lambda: b"0x10de\n"
            found[f"{here}/iommu_group"] = f"../../../kernel/iommu_groups/{device.group}"
            found[f"sys/kernel/iommu_groups/{device.group}/devices/{device.address}"] = f"../../../../{here}"
            name = b"vfio-noiommu\n" if device.group in self.noiommu else b""
            found[f"sys/kernel/iommu_groups/{device.group}/name"] = lambda name=name: name  # type: ignore[misc]
            if device.driver:
                found[f"{here}/driver"] = f"../../../bus/pci/drivers/{device.driver}"
            if device.driver == "vfio-pci":
                found[f"{here}/vfio-dev/{device.name}/dev"] = lambda: b"511:0\n"
                found[f"dev/vfio/{'noiommu-' if device.group in self.noiommu else ''}{device.group}"] = lambda: b""
                if self.cdev:
                    found[f"dev/vfio/devices/{device.name}"] = lambda: b""
        return found
