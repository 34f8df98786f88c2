"""Device families that have links outside PCIe: of these, "no source told" is not "has none".

Ids: NVIDIA's by die as in NVIDIA/gpu-admin-tools (Hopper, Blackwell ranges) and pci.ids (SXM boards and boards
with a bridge connector before); AMD's as listed by the amdgpu driver for parts with XGMI; NVSwitch by pci.ids.
A range takes in boards of the die without connector: they count as unknown until a source tells, never as safe. So do
parts that are newer than these tables: NVIDIA's ids from 0x3000 (consumer Blackwell ends at 0x2fff), and whatever AMD
sells as a processing accelerator (class 12). Other makers' are in ``interconnects``.
"""

from __future__ import annotations

from atoll.fabric.interconnects import kinds
from atoll.host.links.chips import has_c2c, may_have_xgmi_to_cpu
from atoll.host.model import Function, LinkKind
from atoll.pci.class_code import BaseClass, DeviceClass
from atoll.pci.vendor import ATI, NVIDIA

__all__ = ["family", "has_cpu_links", "is_brick", "possible_cpu_links", "possible_kinds", "possible_xgmi_to_cpu"]


_NVLINK_RANGES = (
    (0x2080, 0x20FF),  # GA100: A100, A30, A800
    (0x2300, 0x237F),  # GH100: H100, H200, H20, GH200
    (0x2900, 0x297F),  # GB100
    (0x2980, 0x29FF),  # GB102
    (0x3000, 0xFFFE),  # GB110 (0x3180), GB112 (0x3200), and what is newer
)
_NVLINK_IDS = frozenset(
    (
        # GP100, GV100 (SXM2, SXM3, DGX Station, Quadro)
        *(0x15F9, 0x15F0, 0x15F1),
        *(0x1DB0, 0x1DB1, 0x1DB2, 0x1DB3, 0x1DB5, 0x1DB7, 0x1DB8, 0x1DBA, 0x1DBE),
        *(0x1DF2, 0x1DF5),  # PG503 boards, that of the SXM2 V100; PG500 (1df0) is the PCIe one
        # TU102, TU104, GA102 boards with a bridge connector
        *(0x1E02, 0x1E03, 0x1E04, 0x1E07, 0x1E2D, 0x1E2E, 0x1E30, 0x1E36, 0x1E3C, 0x1E3D, 0x1E3E, 0x1E78),
        *(0x1E81, 0x1E82, 0x1E84, 0x1E87, 0x1EB0, 0x1EB5, 0x1EC2, 0x1EC7),
        *(0x2200, 0x2203, 0x2204, 0x222B, 0x2230, 0x2231, 0x2232, 0x2233, 0x2235, 0x2236, 0x223F),
        # NVSwitch of DGX-2, HGX A100, HGX H100
        *(0x1AC2, 0x1AF1, 0x22A3),
    )
)
_XGMI_IDS = frozenset(
    (
        *(0x66A0, 0x66A1, 0x66A2, 0x66A3, 0x66A7),  # Vega 20
        *(0x73A2, 0x73AB),  # Navi 21 of the Mac Pro: W6900X, W6800X, with a bridge connector
        *(0x7388, 0x738C, 0x738E, 0x7390),  # MI100
        *(0x7408, 0x740C, 0x740F, 0x7410),  # MI200
        *(0x74A0, 0x74A1, 0x74A2, 0x74A5, 0x74A8, 0x74A9, 0x74B5, 0x74B6, 0x74B9, 0x74BD),  # MI300
        *(0x75A0, 0x75A3, 0x75B0, 0x75B3),  # MI350
    )
)
_LINKED_CLASSES = (BaseClass.DISPLAY, BaseClass.PROCESSOR, BaseClass.ACCELERATOR)
"""What has links; NVSwitches, which do too, are other bridges."""
_BRICK = (0x1014, 0x04EA)
"""The function that POWER8 and POWER9 firmware emulates for each CPU-facing link (skiboot hw/npu.c, hw/npu2.c)."""
_SXM2_IDS = frozenset((0x15F9, 0x1DB1, 0x1DB3, 0x1DB5))


def family(vendor: int, device: int) -> LinkKind | None:
    """Return the kind of links that a device of these ids may have, None where its family has none."""
    if vendor == NVIDIA and (device in _NVLINK_IDS or any(low <= device <= high for low, high in _NVLINK_RANGES)):
        return LinkKind.NVLINK
    if vendor == ATI and device in _XGMI_IDS:
        return LinkKind.XGMI
    return None


def has_cpu_links(vendor: int, device: int, *, powernv: bool) -> bool:
    """Whether a device may have links to the CPU: SXM2 boards on POWER, and C2C parts."""
    return has_c2c(vendor, device) or (powernv and vendor == NVIDIA and device in _SXM2_IDS)


def possible_kinds(function: Function) -> frozenset[LinkKind]:
    """Return the kinds of links that a function may have by its ids: where a record hides them, by all they can be.

    The same holds for its class, which some records do not show (``lspci -t``).
    """
    found: set[LinkKind] = set()
    class_code = None if _of_any_class(function) else function.class_code
    for vendor, device in function.all_ids:
        found |= kinds(vendor, device, class_code)
        if vendor is not None and device is not None:
            kind = family(vendor, device)
            found |= {kind} if kind is not None else set()
            accelerator = function.base_class == BaseClass.ACCELERATOR or _of_any_class(function)
            found |= {LinkKind.XGMI} if vendor == ATI and accelerator else set()
        elif (
            function.base_class in _LINKED_CLASSES
            or function.device_class == DeviceClass.OTHER_BRIDGE
            or _of_any_class(function)
        ):
            found |= {LinkKind.NVLINK} if vendor in (None, NVIDIA) else set()
            found |= {LinkKind.XGMI} if vendor in (None, ATI) else set()
    return frozenset(found)


def possible_cpu_links(function: Function, *, powernv: bool) -> bool:
    """Whether a function may have links to the CPU by its ids, or by all they can be."""
    return any(
        has_cpu_links(vendor, device, powernv=powernv)
        if vendor is not None and device is not None
        else vendor in (None, NVIDIA) and LinkKind.NVLINK in possible_kinds(function)
        for vendor, device in function.all_ids
    )


def possible_xgmi_to_cpu(function: Function) -> bool:
    """Whether a function may have XGMI links to its processor by its ids, or by all they can be."""
    return LinkKind.XGMI in possible_kinds(function) and any(
        vendor in (None, ATI) and (device is None or may_have_xgmi_to_cpu(ATI, device))
        for vendor, device in function.all_ids
    )


def is_brick(function: Function) -> bool | None:
    """Whether a function is an NPU brick of POWER by its ids; None where a record hides what decides."""
    if function.device_class != DeviceClass.OTHER_BRIDGE:
        return False
    fits = [vendor in (None, _BRICK[0]) and device in (None, _BRICK[1]) for vendor, device in function.all_ids]
    if not any(fits):
        return False
    return True if set(function.all_ids) == {_BRICK} else None


def _of_any_class(function: Function) -> bool:
    """Whether it may be a device of any class: the record does not show which."""
    return not function.class_told and not function.is_port
