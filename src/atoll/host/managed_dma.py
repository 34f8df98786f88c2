"""Drivers that leave a device's DMA to whoever opens its group."""

from __future__ import annotations

__all__ = ["MANAGED_DMA"]

MANAGED_DMA = ("pci-stub", "pcieport")
"""Those with ``driver_managed_dma``, VFIO's own aside: commit 512881eacfa7 "bus: platform,amba,fsl-mc,PCI: Add device
DMA ownership management" (in v5.19); before, ``vfio_driver_allowed`` in ``drivers/vfio/vfio.c``."""
