"""ACS of a port or function as a control: what closes peer-to-peer, and what the kernel makes of it again.

Source: drivers/pci/pci.c ``pci_enable_acs`` (kernel default: SV, RR, CR, UF as far as implemented, once an
IOMMU driver has called ``pci_request_acs``). ACS is not part of the state that the kernel saves over a reset:
afterwards it is policy, not what it was.
"""

from __future__ import annotations

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, Platform
from atoll.pci.acs import OPENING, REDIRECTING, AcsFlag
from atoll.pci.quirks.acs import BROKEN_SOURCE_VALIDATION

__all__ = ["closed", "kernel_requests_acs", "policy"]


_REQUESTING = ("intel", "amd", "smmu", "virtio")
"""Kinds of IOMMU whose set-up calls ``pci_request_acs()``, be it by way of IORT, VIOT or device trees."""


def closed(function: Function, control: AcsFlag) -> AcsFlag | None:
    """Return the control word that closes all peer-to-peer there is a bit for; None without ACS.

    Egress control and direct translated peer-to-peer, which both let traffic past redirection, go off.
    """
    if not isinstance(function.acs, Known) or function.acs.value is None:
        return None
    capability = function.acs.value.capability
    return (control | (capability & REDIRECTING)) & ~OPENING


def kernel_requests_acs(host: Host) -> bool | None:
    """Whether an IOMMU driver of this kernel asked for ACS; None unknown.

    PowerNV never does: its isolation does not rest on ACS.
    """
    if host.platform is Platform.POWERNV:
        return False
    if isinstance(host.groups, Unknown):
        return None
    if host.platform is Platform.OTHER and not any(unit.kind in _REQUESTING for unit in host.iommu_units):
        # Logical partitions of POWER (spapr) and s390 have groups, and nothing there calls pci_request_acs().
        return None
    return any(not group.made_up for group in host.groups.value.values()) or bool(host.iommu_units)


def policy(host: Host, function: Function) -> AcsFlag | None:
    """Return the control word that the kernel leaves after a reset of this port; None where it cannot be told."""
    if not isinstance(function.acs, Known) or function.acs.value is None:
        return None
    words = host.command_line.value if isinstance(host.command_line, Known) else None
    requested = kernel_requests_acs(host)
    if words is None or requested is None or "config_acs" in words or "disable_acs_redir" in words:
        return None
    if not requested:
        return AcsFlag(0)
    wanted = function.acs.value.capability & REDIRECTING
    if (function.vendor, function.device) not in BROKEN_SOURCE_VALIDATION:
        return wanted
    kernel = value_of(host.kernel, None)
    if kernel is None:
        return None
    return wanted & ~AcsFlag.SV if (kernel.major, kernel.minor) >= (7, 0) else wanted
