"""Intel's Volume Management Device (VMD): a function that is the root complex of a PCI segment of its own.

Sources: Linux ``pci_real_dma_dev`` (arch/x86/pci/common.c) for whose requests come up; drivers/pci/controller/vmd.c
for what its BARs are and what its driver does. The function is an endpoint of the root complex. Its first BAR is the
configuration space of all that lies behind, the two others are that segment's memory; what comes up from there leaves
under its own name.

Declared: the kernel counts segments up from 10000 in the order in which it binds the driver; the twin's keep their
numbers whatever the order. Nothing says that the function's own bus mastering holds back what comes up through it:
here it does not.
"""

from __future__ import annotations

from atoll.pci.address import Address
from atoll.twin.spec import HostBridge

__all__ = ["CONFIG", "DRIVER", "HIGH", "LOW", "OWN", "configured"]

DRIVER = "vmd"
"""The driver that finds what is behind: without it, the kernel knows of nothing there."""
CONFIG, LOW, HIGH = 0, 2, 4
"""Its BARs: ``VMD_CFGBAR``, ``VMD_MEMBAR1``, ``VMD_MEMBAR2``."""
OWN = 0x2000
"""So many bytes at the start of the last BAR are its own: the table of its interrupts (``membar2_offset``)."""


def configured(bridge: HostBridge, offset: int) -> tuple[Address, int]:
    """Return which function's configuration space an offset into the first BAR is in, and where (PCIe 7.2.2)."""
    bus, devfn = bridge.bus + (offset >> 20), offset >> 12 & 0xFF
    return Address(bridge.domain, bus, devfn >> 3, devfn & 7), offset & 0xFFF
