"""Class codes that rules ask for, and those of simulated machines.

A class code has 24 bits: the base class, the sub-class and the programming interface. Sources: PCI Code and ID
Assignment Specification 1.19, section 1; ``include/linux/pci_ids.h``. Plain numbers: what is not here is met as well.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BUS_BRIDGES", "VGA_CLASSES", "BaseClass", "ClassCode", "DeviceClass", "answers_fixed_ports"]


class BaseClass:
    """Bits 23:16."""

    STORAGE: Final = 0x01
    NETWORK: Final = 0x02
    DISPLAY: Final = 0x03
    MULTIMEDIA: Final = 0x04
    BRIDGE: Final = 0x06
    COMMUNICATION: Final = 0x07
    """Serial and parallel ports, modems."""
    INPUT: Final = 0x09
    PROCESSOR: Final = 0x0B
    SERIAL_BUS: Final = 0x0C
    WIRELESS: Final = 0x0D
    ACCELERATOR: Final = 0x12


class DeviceClass:
    """Bits 23:8, base class and sub-class: what Linux has in ``PCI_CLASS_DEVICE``."""

    UNCLASSIFIED_VGA: Final = 0x0001
    """A VGA compatible device from before there were class codes."""
    IDE: Final = 0x0101
    RAID: Final = 0x0104
    SATA: Final = 0x0106
    ETHERNET: Final = 0x0200
    VGA: Final = 0x0300
    DISPLAY_3D: Final = 0x0302
    OTHER_DISPLAY: Final = 0x0380
    AUDIO: Final = 0x0403
    CXL_MEMORY: Final = 0x0502
    OTHER_MEMORY: Final = 0x0580
    HOST_BRIDGE: Final = 0x0600
    ISA_BRIDGE: Final = 0x0601
    PCI_BRIDGE: Final = 0x0604
    CARDBUS_BRIDGE: Final = 0x0607
    SEMI_TRANSPARENT_BRIDGE: Final = 0x0609
    OTHER_BRIDGE: Final = 0x0680
    """NVSwitches, NPU functions, non-transparent bridges."""
    OTHER_COMMUNICATION: Final = 0x0780
    """Intel's management engine among others."""
    IOMMU: Final = 0x0806
    OTHER_PERIPHERAL: Final = 0x0880
    USB: Final = 0x0C03
    SMBUS: Final = 0x0C05
    IPMI: Final = 0x0C07
    OTHER_SERIAL_BUS: Final = 0x0C80
    ENCRYPTION: Final = 0x1080
    """Encryption controllers other than those of networks and entertainment."""
    PERFORMANCE_COUNTERS: Final = 0x1101
    ACCELERATOR: Final = 0x1200


class ClassCode:
    """All 24 bits, with the programming interface."""

    NVME: Final = 0x010802
    AHCI: Final = 0x010601
    RAID: Final = 0x010400
    ETHERNET: Final = 0x020000
    INFINIBAND: Final = 0x020700
    VGA: Final = 0x030000
    DISPLAY_3D: Final = 0x030200
    MULTIMEDIA_AUDIO: Final = 0x040100
    HD_AUDIO: Final = 0x040300
    PCI_BRIDGE: Final = 0x060400
    SUBTRACTIVE_BRIDGE: Final = 0x060401
    """A PCI bridge that also takes what nobody else on its primary bus takes."""
    NPU: Final = 0x068001
    """What POWER's firmware shows for each end of NVLink at a CPU (skiboot ``hw/npu2.c``)."""
    SERIAL_16950: Final = 0x070006
    IOMMU: Final = 0x080600
    OTHER_PERIPHERAL: Final = 0x088000
    FIREWIRE_OHCI: Final = 0x0C0010
    XHCI: Final = 0x0C0330
    USB4_HOST: Final = 0x0C0340
    """The host interface (NHI) of a USB4 or Thunderbolt router."""
    ACCELERATOR: Final = 0x120000


BUS_BRIDGES = frozenset({DeviceClass.PCI_BRIDGE, DeviceClass.SEMI_TRANSPARENT_BRIDGE, DeviceClass.CARDBUS_BRIDGE})
"""What has a bridge's header: a bus of its own below it."""

VGA_CLASSES = frozenset({DeviceClass.VGA, DeviceClass.UNCLASSIFIED_VGA})
"""What answers to VGA's own addresses."""

_NATIVE = 0x01, 0x04
"""The bits of an IDE controller's programming interface that have its channels stand in BARs."""


def answers_fixed_ports(class_code: int) -> bool:
    """Whether a function of a class answers I/O requests at ports that no BAR tells.

    So does VGA (03B0h to 03DFh; Linux, ``include/linux/vgaarb.h``, VGA_RSRC_LEGACY_IO), and an IDE controller of which
    a channel is in compatibility mode (01F0h and 03F6h, 0170h and 0376h; ``pci_setup_device`` in drivers/pci/probe.c).
    """
    if class_code >> 8 == DeviceClass.IDE:
        return any(not class_code & bit for bit in _NATIVE)
    return class_code >> 8 in VGA_CLASSES
