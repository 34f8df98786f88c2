"""Vendor ids that rules ask for. Source: ``include/linux/pci_ids.h`` and the PCI ID Repository (``pci.ids``)."""

from __future__ import annotations

__all__ = ["AMD", "ATI", "HYGON", "IBM", "INTEL", "NVIDIA", "ZHAOXIN"]

AMD = 0x1022
"""Of AMD's processors and chip sets; its GPUs, and the IOMMU of older chip sets, have ATI's."""
ATI = 0x1002
HYGON = 0x1D94
IBM = 0x1014
INTEL = 0x8086
NVIDIA = 0x10DE
ZHAOXIN = 0x1D17
