"""The small machine with AMD's IOMMU, on kernels that have its driver: Debian's cloud kernels do not."""

from __future__ import annotations

from lab.report import Report, Setting
from lab.scenarios.smoke import DEVICES, run_machine

__all__ = ["AMD", "run"]

# Without dma-remap QEMU's model passes DMA through untranslated, whatever the kernel maps.
AMD = ("-device", "amd-iommu,dma-remap=on,intremap=on,xtsup=on")


def run(setting: Setting) -> Report:
    """Boot every kernel of the setting, one after the other."""
    return run_machine("amd", setting, (*AMD, *DEVICES), cmdline="amd_iommu=on")
