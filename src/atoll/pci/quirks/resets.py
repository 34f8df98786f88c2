"""Functions that a reset must not be tried on, or that it does not work on: the kernel's reset quirks.

Source: the fixups ``quirk_no_bus_reset``, ``quirk_no_pm_reset``, ``quirk_no_flr`` and
``quirk_nvidia_no_bus_reset`` of ``drivers/pci/quirks.c`` (Linux 7.3.4).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["no_bus_reset", "no_flr", "no_pm_reset"]

# fmt: off
_NO_BUS_RESET: Mapping[int, frozenset[int]] = {
    0x10de: frozenset({0x22ce, 0x22d0}),
    0x168c: frozenset({0x0030, 0x0032, 0x003c, 0x0033, 0x0034, 0x003e}),
    0x17cb: frozenset({0x1103, 0x1107, 0x0308}),
    0x177d: frozenset({0xa100}),
    0x104c: frozenset({0xb005}),
    0x1b21: frozenset({0x1164}),
}
_NO_PM_RESET: Mapping[int, frozenset[int]] = {
    0x15b3: frozenset({0xcb84, 0xcf6c, 0xcf70, 0xcf80}),
}
_NO_FLR: Mapping[int, frozenset[int]] = {
    0x1022: frozenset({0x1487, 0x148c, 0x149c, 0x7901, 0x1502, 0x17f0}),
    0x8086: frozenset({0x1502, 0x1503}),
    0x14c3: frozenset({0x0616, 0x7925}),
}
# fmt: on

_ATI = 0x1002
_NVIDIA = 0x10DE
_VGA = 0x0300


def no_bus_reset(vendor: int, device: int) -> bool:
    """Whether the kernel refuses secondary bus resets that hit this function (``PCI_DEV_FLAGS_NO_BUS_RESET``)."""
    return device in _NO_BUS_RESET.get(vendor, ()) or (vendor == _NVIDIA and device & 0xFFC0 == 0x2340)


def no_pm_reset(vendor: int, device: int, class_code: int, *, on_root_bus: bool) -> bool:
    """Whether the kernel refuses D3hot-to-D0 resets of this function (``PCI_DEV_FLAGS_NO_PM_RESET``).

    ``class_code`` is the 24-bit one; AMD display adapters count unless they sit on a root bus.
    """
    if vendor == _ATI and class_code >> 8 == _VGA:
        return not on_root_bus
    return device in _NO_PM_RESET.get(vendor, ())


def no_flr(vendor: int, device: int) -> bool:
    """Whether the kernel takes the function's advertised FLR as broken (``PCI_DEV_FLAGS_NO_FLR_RESET``)."""
    return device in _NO_FLR.get(vendor, ())
