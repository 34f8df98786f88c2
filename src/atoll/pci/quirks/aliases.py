"""Functions whose requests carry other requester ids than their own: the kernel's DMA alias quirks.

Source: the fixups of ``drivers/pci/quirks.c`` that call ``pci_add_dma_alias()`` or set an alias flag (Linux 7.3.4),
``drivers/pci/controller/vmd.c`` for Intel VMD. Those that AMD's driver takes from the
firmware's table are in :mod:`atoll.host.ivrs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias

__all__ = [
    "BRIDGE_ALIAS",
    "BRIDGE_NO_ALIAS",
    "BRIDGE_TRANSLATION_ROOT",
    "SWITCHTEC_NTB",
    "VMD",
    "dma_alias_mask",
    "is_one_of",
    "known_since",
    "possible_alias_mask",
]

Ids: TypeAlias = Mapping[int, frozenset[int]]
"""Devices by vendor."""

# fmt: off
_FUNCTION_0: Ids = {
    0x1180: frozenset({0xe832, 0xe476}),
    0x6766: frozenset({0x3d40, 0x3d41}),
}
"""``quirk_dma_func0_alias``: also function 0 of the slot."""

_FUNCTION_1: Ids = {
    0x1b4b: frozenset({
        0x9120, 0x9123, 0x9125, 0x9128, 0x9130, 0x9170, 0x9172, 0x917a, 0x9182, 0x9183, 0x91a0, 0x9215, 0x9220,
        0x9230, 0x9235,
    }),
    0x1103: frozenset({0x0642, 0x0645}),
    0x197b: frozenset({0x2392}),
    0x1c28: frozenset({0x0122}),
}
"""``quirk_dma_func1_alias``: also function 1 of the slot."""

_ADDED = (
    # "PCI: Add function 1 DMA alias quirk for Marvell 88SE9125" and 88SE9215: Ubuntu's first 5.15 has them, not its 5.4
    ((5, 18), 0x1b4b, frozenset({0x9125, 0x9215})),
    ((6, 6), 0x1b4b, frozenset({0x9235})),  # 88d341716b83 "PCI: Add function 1 DMA alias quirk for Marvell 88SE9235"
    ((6, 12), 0x6766, frozenset({0x3d40, 0x3d41})),  # "PCI: Add function 0 DMA alias quirk for Glenfly Arise chip"
)
"""What was added since 5.4: a release that has it for sure, the vendor, its devices. Older ones may have it by a
backport."""

_FIXED = {(0x9005, 0x0285, 0x9005, 0x02BB), (0x9005, 0x0285, 0x9005, 0x02BC)}
"""``quirk_fixed_dma_alias``: 01.0, by device and subsystem."""

_MIC_X200: Ids = {
    0x8086: frozenset({0x2260, 0x2264}),
}
"""``quirk_mic_x200_dma_alias``: 10.0, 11.0 and 12.3."""

_VCA: Ids = {
    0x8086: frozenset({0x2954, 0x2955, 0x2956, 0x2958, 0x2959, 0x295a}),
}
"""``quirk_pex_vca_alias``: functions 0 to 4 of every slot."""

_PLX_NTB: Ids = {
    0x10b5: frozenset({0x87b0, 0x87b1}),
}
"""``quirk_plx_ntb_dma_alias``: the whole bus."""

SWITCHTEC_NTB: Ids = {
    0x11f8: frozenset({
        0x8531, 0x8532, 0x8533, 0x8534, 0x8535, 0x8536, 0x8541, 0x8542, 0x8543, 0x8544, 0x8545, 0x8546, 0x8551,
        0x8552, 0x8553, 0x8554, 0x8555, 0x8556, 0x8561, 0x8562, 0x8563, 0x8564, 0x8565, 0x8566, 0x8571, 0x8572,
        0x8573, 0x8574, 0x8575, 0x8576, 0x4000, 0x4084, 0x4068, 0x4052, 0x4036, 0x4028, 0x4100, 0x4184, 0x4168,
        0x4152, 0x4136, 0x4128, 0x4200, 0x4284, 0x4268, 0x4252, 0x4236, 0x4228, 0x4352, 0x4336, 0x4328, 0x4452,
        0x4436, 0x4428, 0x4552, 0x4536, 0x4528, 0x5000, 0x5084, 0x5068, 0x5052, 0x5036, 0x5028, 0x5100, 0x5184,
        0x5168, 0x5152, 0x5136, 0x5128, 0x5200, 0x5284, 0x5268, 0x5252, 0x5236, 0x5228, 0x5300, 0x5384, 0x5368,
        0x5352, 0x5336, 0x5328, 0x5400, 0x5484, 0x5468, 0x5452, 0x5436, 0x5428, 0x5500, 0x5584, 0x5568, 0x5552,
        0x5536, 0x5528,
    }),
    0x1055: frozenset({0x1001, 0x1002, 0x1003, 0x1004, 0x1005, 0x1006, 0x1008}),
}
"""``quirk_switchtec_ntb_dma_alias``: what the chip's proxy id table says, which no record shows. Class 0680 only."""

BRIDGE_ALIAS: Ids = {
    0x1b21: frozenset({0x1080}),
    0x10e3: frozenset({0x8113}),
    0x1283: frozenset({0x8892, 0x8893}),
    0x8086: frozenset({0x244e}),
}
"""``quirk_use_pcie_bridge_dma_alias``: bridges without a PCIe capability that alias as if they had one."""

BRIDGE_TRANSLATION_ROOT: Ids = {
    0x14e4: frozenset({0x9000, 0x9084}),
}
"""``quirk_bridge_cavm_thrx2_pcie_root``: the IOMMU sits here: aliases do not go further up."""

BRIDGE_NO_ALIAS: Ids = {
    0x1a03: frozenset({0x1150}),
}
"""``quirk_aspeed_pci_bridge_no_alias``: a PCIe-to-PCI bridge that keeps the requester id."""

VMD: Ids = {
    0x8086: frozenset({0x201d, 0x28c0, 0x467f, 0x4c3d, 0x9a0b, 0xa77f, 0x7d0b, 0xad0b, 0xb60b, 0xb06f, 0xb07f}),
}
"""Intel Volume Management Devices: what lies in the domain behind one uses its requester id (``pci_real_dma_dev``)."""
# fmt: on


def is_one_of(ids: Ids, vendor: int, device: int) -> bool:
    """Whether the ids list the device."""
    return device in ids.get(vendor, ())


@lru_cache(maxsize=1 << 12)
def dma_alias_mask(vendor: int, device: int, subsystem: tuple[int, int] | None, devfn: int) -> frozenset[int]:
    """Return the devfns on its own bus that a function also uses in requests (``dma_alias_mask`` in Linux).

    ``subsystem`` None: unknown, taken as no match.
    """
    slot = devfn & ~7
    if is_one_of(_FUNCTION_0, vendor, device):
        return frozenset({slot} - {devfn})
    if is_one_of(_FUNCTION_1, vendor, device):
        return frozenset({slot | 1} - {devfn})
    if subsystem is not None and (vendor, device, *subsystem) in _FIXED:
        return frozenset({1 << 3})
    if is_one_of(_MIC_X200, vendor, device):
        return frozenset({0x10 << 3, 0x11 << 3, 0x12 << 3 | 3})
    if is_one_of(_VCA, vendor, device):
        return frozenset(slot << 3 | function for slot in range(32) for function in range(5))
    if is_one_of(_PLX_NTB, vendor, device):
        return frozenset(range(256))
    return frozenset()


def known_since(vendor: int, device: int) -> tuple[int, int]:
    """Return a release from which on every kernel knows whose ids a device uses; (0, 0) where all do."""
    return max((since for since, owner, devices in _ADDED if owner == vendor and device in devices), default=(0, 0))


@lru_cache(maxsize=1 << 12)
def possible_alias_mask(
    vendor: int | None, device: int | None, subsystem: tuple[int, int] | None, devfn: int, *, card: bool
) -> frozenset[int]:
    """Return the devfns that ``dma_alias_mask`` may come to for ids of which not all is known (None).

    Of an unknown vendor nothing is returned: any device at all could be any of these few. The chips that use ids of
    a whole bus are non-transparent bridges and coprocessors on cards: they count only where it may be on a ``card``.
    """
    if vendor is None:
        return frozenset()
    found = set[int]()
    tables = (_FUNCTION_0, _FUNCTION_1, *((_MIC_X200, _VCA, _PLX_NTB) if card else ()))
    for one in {number for table in tables for number in table.get(vendor, ())} if device is None else {device}:
        found |= dma_alias_mask(vendor, one, subsystem, devfn)
    if subsystem is None and any(vendor == row[0] and device in (None, row[1]) for row in _FIXED):
        found.add(1 << 3)
    return frozenset(found - {devfn})
