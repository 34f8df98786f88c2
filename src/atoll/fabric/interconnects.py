"""Interconnects outside PCIe that no record which is read here tells of: which devices may have them, by their ids.

Of these it is only known that they may be joined. Not here: accelerators that are joined by a network alone, whose
other end says what it lets in (Gaudi).

Sources: the PCI ID Repository (``pci.ids``), and where it lacks an id the device's driver. Whose maker sells parts with
links and parts without, and whose ids are not all known, counts with all its accelerators; so does a maker that no
table names: most that is sold for training has links.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from atoll.host.model import LinkKind
from atoll.pci.class_code import BaseClass, DeviceClass
from atoll.pci.quirks.aliases import SWITCHTEC_NTB
from atoll.pci.vendor import (
    AMAZON,
    AMD,
    ATI,
    BAIDU,
    CAMBRICON,
    ENFLAME,
    GOOGLE,
    GRAPHCORE,
    HUAWEI,
    HYGON,
    IDT,
    INTEL,
    MOORE_THREADS,
    NVIDIA,
    PLX,
    TENSTORRENT,
)

__all__ = ["RECORDED", "kinds"]

RECORDED = frozenset({LinkKind.NVLINK, LinkKind.XGMI, LinkKind.C2C})
"""The kinds of links that records which are read tell of."""

_ANY = ((0x0000, 0xFFFF),)
_COMPUTES = frozenset({BaseClass.DISPLAY, BaseClass.PROCESSOR, BaseClass.ACCELERATOR})


class _Family(NamedTuple):
    kind: LinkKind
    vendor: int
    ids: tuple[tuple[int, int], ...]
    """Ranges, inclusive."""
    classes: frozenset[int]
    """Base classes, or classes with their sub-class, that its members have."""

    def has(self, vendor: int | None, device: int | None, class_code: int | None) -> bool:
        """Whether a device may be of the family. Its class counts where its ids do not tell it from others."""
        if vendor not in (None, self.vendor):
            return False
        if device is not None and not any(low <= device <= high for low, high in self.ids):
            return False
        if device is not None and self.ids is not _ANY and self.classes is not _BRIDGES:
            return True
        return class_code is None or not self.classes.isdisjoint((class_code >> 16, class_code >> 8))


def _only(*ids: int) -> tuple[tuple[int, int], ...]:
    return tuple((one, one) for one in ids)


_BRIDGES = frozenset({DeviceClass.OTHER_BRIDGE})
_FAMILIES = (
    # Data Center GPU Max (Ponte Vecchio), 1450 (0b69) as in intel/compute-runtime.
    _Family(LinkKind.XE_LINK, INTEL, ((0x0BD0, 0x0BDB), (0x0B69, 0x0B69)), frozenset({DeviceClass.OTHER_DISPLAY})),
    # Ascend 910 and its successors, as its driver lists them; 310 (d100, d105) and 310P (d500, d501) have PCIe alone.
    _Family(LinkKind.HCCS, HUAWEI, ((0xA126, 0xA126), (0xD801, 0xD8FF)), frozenset({BaseClass.ACCELERATOR})),
    # Inferentia and Trainium, in all generations (aws-neuron-driver, neuron_pci.c).
    _Family(
        LinkKind.NEURONLINK,
        AMAZON,
        ((0x7064, 0x7067), *_only(0x7164, 0x7264, 0x7364, 0x7564, 0x7565)),
        frozenset({DeviceClass.OTHER_PERIPHERAL}),
    ),
    # TPU v2 to v6e (jax/_src/hardware_utils.py), whose class is none or tells nothing.
    _Family(LinkKind.ICI, GOOGLE, _only(0x0027, 0x0056, 0x005E, 0x0062, 0x0063, 0x006F), frozenset({0xFF})),
    _Family(LinkKind.MLU_LINK, CAMBRICON, _ANY, frozenset({BaseClass.ACCELERATOR})),
    _Family(LinkKind.IPU_LINK, GRAPHCORE, _ANY, frozenset({BaseClass.ACCELERATOR})),
    # Wormhole and Blackhole (tt-kmd, enumerate.h): chips read and write one another's memory over Ethernet.
    _Family(LinkKind.TENSTORRENT, TENSTORRENT, _only(0x401E, 0xB140), frozenset({BaseClass.ACCELERATOR})),
    _Family(LinkKind.GCU_LARE, ENFLAME, _ANY, frozenset({BaseClass.ACCELERATOR})),
    _Family(LinkKind.XPU_LINK, BAIDU, _ANY, frozenset({BaseClass.ACCELERATOR})),
    _Family(LinkKind.MTLINK, MOORE_THREADS, _ANY, _COMPUTES),
    # DCUs descend from Vega 20; the processors' own functions have other classes.
    _Family(LinkKind.XGMI, HYGON, _ANY, _COMPUTES),
    # Non-transparent bridges: drivers/ntb/hw/intel/ntb_hw_intel.h, amd/ntb_hw_amd.c and idt/ntb_hw_idt.h; PLX's by
    # pci.ids, at the end of their link and inside; Switchtec's as the kernel's quirk lists them.
    _Family(
        LinkKind.NTB,
        INTEL,
        (
            *((0x3725, 0x3727), (0x3C0D, 0x3C0F), (0x0E0D, 0x0E0F), (0x2F0D, 0x2F0F), (0x6F0D, 0x6F0F)),
            *_only(0x0C4E, 0x201A, 0x201C, 0x347E, 0x0DB4, 0x7868),
        ),
        _BRIDGES,
    ),
    _Family(LinkKind.NTB, AMD, _only(0x145B, 0x148B, 0x14C0, 0x14C3, 0x155A, 0x162B), _BRIDGES),
    _Family(LinkKind.NTB, HYGON, _only(0x145B), _BRIDGES),
    _Family(LinkKind.NTB, IDT, _ANY, _BRIDGES),
    _Family(LinkKind.NTB, PLX, _ANY, _BRIDGES),
    *(_Family(LinkKind.NTB, vendor, _only(*sorted(ids)), _BRIDGES) for vendor, ids in sorted(SWITCHTEC_NTB.items())),
)
_LINKLESS = frozenset(
    (
        *(0x17CB, 0x1AC1, 0x1E60, 0x1FE9, 0x1FF4),  # Qualcomm, Global Unichip (Coral), Hailo, MemryX, DEEPX: inference
        *(0x10EE, 0x15B3, 0x177D, 0x1DA3, 0x1DD8),  # Xilinx, Mellanox, Marvell, Habana, Pensando: network ports
        *(0x1234, 0x1414, 0x15AD, 0x1AF4, 0x1B36),  # QEMU, Microsoft, VMware, Red Hat: emulated displays
    )
)
"""Makers none of whose accelerators and displays have such links."""
_MAKERS = frozenset({NVIDIA, ATI, *_LINKLESS, *(family.vendor for family in _FAMILIES)})
_DRAWS_NOTHING = (DeviceClass.DISPLAY_3D, DeviceClass.OTHER_DISPLAY)


@lru_cache(maxsize=1 << 12)
def kinds(vendor: int | None, device: int | None, class_code: int | None) -> frozenset[LinkKind]:
    """Return the kinds of links here that a device may have; None is what a record does not show."""
    found = {family.kind for family in _FAMILIES if family.has(vendor, device, class_code)}
    if class_code is None:
        # Whoever is named there may make anything.
        unknown = vendor is None
    else:
        accelerates = class_code >> 16 == BaseClass.ACCELERATOR or class_code >> 8 in _DRAWS_NOTHING
        unknown = accelerates and vendor not in _MAKERS
    return frozenset({*found, LinkKind.OTHER} if unknown else found)
