"""Kernels that may form groups by other rules than the mainline's: NVIDIA's, with a series that was not merged."""

from __future__ import annotations

from atoll.host.fact import value_of
from atoll.host.model import Host, Platform
from atoll.isolation.groups.comparison import compare
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.address import Address

__all__ = ["perhaps_reworked"]

_SINCE = (6, 14)
"""Ubuntu's linux-nvidia 6.14 (branch nvidia-6.14-next; NVIDIA/NV-Kernels pull request 164) is the first that has the
series "Fix incorrect iommu_groups with PCIe ACS" (J. Gunthorpe, v2, 2025-07-10): all below the ports of a switch
of which one does not isolate is one group, and bridges to PCI are apart from what is below."""


def perhaps_reworked(host: Host, prediction: Prediction) -> dict[Address, str]:
    """Return the functions that NVIDIA's kernel groups otherwise than the mainline's rules would."""
    kernel = value_of(host.kernel, None)
    if kernel is None or "-nvidia" not in kernel.text or (kernel.major, kernel.minor) < _SINCE:
        return {}
    if host.platform is Platform.POWERNV:
        return {}
    comparison = compare(host, prediction)
    what = 'whether this kernel has NVIDIA\'s series "Fix incorrect iommu_groups with PCIe ACS"'
    found = () if comparison is None else comparison.differences
    return {d.function: f"{d.function}: {what} ({kernel.text})" for d in found if d.recorded and d.predicted}
