"""The small machine with a virtio IOMMU, whose driver is a module: functions were there before it.

Linux 6.12 then forms groups only for those that a driver is bound to; a function without one has no group. That is
no isolation, and atoll must neither invent a group nor leave the function out.
"""

from __future__ import annotations

from lab.report import Report, Setting
from lab.scenarios.smoke import DEVICES, run_machine

__all__ = ["VIRTIO", "run"]

VIRTIO = ("-device", "virtio-iommu-pci")


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    return run_machine("virtio", setting, (*VIRTIO, *DEVICES), cmdline="")
