"""Groups that formed while ACS was off, which is on now.

Before Linux 6.15 groups form ahead of ``pci_dma_configure``. Kernels of these that took commit c41e2fb67e26 "PCI:
Enable ACS after configuring IOMMU for OF platforms" (stable ones of spring 2026, and distributions' that follow them)
switch ACS on there, too late for the groups. Reverted in Linux 5.10.253, 6.1.169, 6.6.135 and 6.12.83.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.host.fact import Known, value_of
from atoll.host.model import Host, Platform
from atoll.isolation.groups.predict import predict
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["formed_before_acs"]

_IN_TIME = (6, 15)


def formed_before_acs(host: Host, addresses: Iterable[Address]) -> bool:
    """Whether these functions are in the groups that form where all ACS is off, and the kernel may be to blame."""
    kernel = value_of(host.kernel, None)
    wanted = tuple(addresses)
    if not wanted or host.platform is Platform.POWERNV or not isinstance(host.groups, Known):
        return False
    if kernel is not None and (kernel.major, kernel.minor) >= _IN_TIME:
        return False
    on = [a for a, function in host.functions.items() if (acs := value_of(function.acs, None)) and acs.control]
    if not on:
        return False
    there = {a: group for group in predict(host, acs_control=dict.fromkeys(on, AcsFlag(0))).groups for a in group}
    here = {a: tuple(sorted(group.members)) for group in host.groups.value.values() for a in group.members}
    return all(there.get(address, ()) == here.get(address) for address in wanted)
