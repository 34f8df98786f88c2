"""Vendor ids that rules ask for. Source: ``include/linux/pci_ids.h`` and the PCI ID Repository (``pci.ids``)."""

from __future__ import annotations

__all__ = [
    "AMAZON",
    "AMD",
    "ASPEED",
    "ATI",
    "BAIDU",
    "CAMBRICON",
    "ENFLAME",
    "GOOGLE",
    "GRAPHCORE",
    "HP",
    "HUAWEI",
    "HYGON",
    "IBM",
    "IDT",
    "INTEL",
    "MATROX",
    "MELLANOX",
    "MOORE_THREADS",
    "NVIDIA",
    "PLX",
    "RED_HAT",
    "TENSTORRENT",
    "VMWARE",
    "ZHAOXIN",
]

AMAZON = 0x1D0F
AMD = 0x1022
"""Of AMD's processors and chip sets; its GPUs, and the IOMMU of older chip sets, have ATI's."""
ASPEED = 0x1A03
ATI = 0x1002
BAIDU = 0x1D22
CAMBRICON = 0xCABC
ENFLAME = 0x1E36
GOOGLE = 0x1AE0
GRAPHCORE = 0x1D95
HP = 0x103C
HUAWEI = 0x19E5
HYGON = 0x1D94
IBM = 0x1014
IDT = 0x111D
INTEL = 0x8086
MATROX = 0x102B
MELLANOX = 0x15B3
MOORE_THREADS = 0x1ED5
NVIDIA = 0x10DE
PLX = 0x10B5
RED_HAT = 0x1B36
"""Of what QEMU emulates and is no virtio device."""
TENSTORRENT = 0x1E52
VMWARE = 0x15AD
ZHAOXIN = 0x1D17
