"""The header of configuration space: layouts, command bits, device and port types."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["DOWNSTREAM_PORTS", "EXPRESS_PORTS", "Command", "HeaderType", "PortType"]


class HeaderType(IntEnum):
    """Header layout, bits 6:0 of the byte at 0x0e."""

    NORMAL = 0
    BRIDGE = 1
    CARDBUS = 2


class Command(IntFlag):
    """The command register at 0x04 (the bits that decide about traffic)."""

    IO = 0x1
    MEMORY = 0x2
    """Memory space: the function answers to its BARs; a bridge forwards downwards through its windows."""
    MASTER = 0x4
    """Bus master: the function may send memory requests; a bridge forwards them upwards."""
    INTX_DISABLE = 0x400


class PortType(IntEnum):
    """Device/port type of the PCI Express capability (bits 7:4 of its flags), and what has none."""

    ENDPOINT = 0x0
    LEGACY_ENDPOINT = 0x1
    ROOT_PORT = 0x4
    UPSTREAM = 0x5
    """Upstream port of a switch."""
    DOWNSTREAM = 0x6
    """Downstream port of a switch."""
    PCIE_TO_PCI = 0x7
    """PCI Express to PCI or PCI-X bridge."""
    PCI_TO_PCIE = 0x8
    """PCI or PCI-X to PCI Express bridge."""
    ROOT_INTEGRATED = 0x9
    """Root complex integrated endpoint."""
    EVENT_COLLECTOR = 0xA
    """Root complex event collector."""
    CONVENTIONAL = 0x100
    """No PCI Express capability: conventional PCI or PCI-X."""

    @property
    def label(self) -> str:
        """The type in the words people use."""
        return self.name.lower().replace("_", "-")


DOWNSTREAM_PORTS = (PortType.ROOT_PORT, PortType.DOWNSTREAM)
"""What has a PCI Express link below it: a root port is a downstream port too (Base Specification, terms)."""
EXPRESS_PORTS = (*DOWNSTREAM_PORTS, PortType.UPSTREAM)
"""Ports that are no bridge to or from conventional PCI: they pass requester ids on as they are."""
