"""Whether VFIO takes a group as its drivers are now: QEMU says ``group N is not viable`` where it does not.

Source: ``vfio_group_viable`` in ``drivers/vfio/group.c``. Since Linux 5.19 (commit 512881eacfa7 "bus: platform,amba,
fsl-mc,PCI: Add device DMA ownership management") a driver stands in the way unless it declares ``driver_managed_dma``,
as those of VFIO, ``pci-stub`` and ``pcieport`` do. Before, ``vfio_dev_viable`` took ``pci-stub`` and whatever has a
bridge. Functions without a driver never stand in the way.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.fabric.domains import may_be_vfio
from atoll.host.fact import Known, Unknown
from atoll.host.managed_dma import MANAGED_DMA
from atoll.host.model import Function, Host, KernelRelease
from atoll.pci.address import Address

__all__ = ["in_the_way", "is_vfio"]

_SINCE = KernelRelease(5, 19, "")


def is_vfio(host: Host, function: Function) -> bool:
    """Return whether a driver of VFIO's is known to have the function."""
    return isinstance(function.driver, Known) and may_be_vfio(host, function)


def in_the_way(host: Host, members: Iterable[Address]) -> dict[Address, str]:
    """Return the functions whose drivers keep VFIO from their group, with these drivers."""
    found = {}
    for address in members:
        function = host.functions.get(address)
        if function is None or isinstance(function.driver, Unknown):
            continue
        driver = function.driver.value
        if driver is None or driver in MANAGED_DMA or is_vfio(host, function):
            continue
        if function.is_port and isinstance(host.kernel, Known) and host.kernel.value < _SINCE:
            continue
        found[address] = driver
    return found
