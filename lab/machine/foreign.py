"""Devices that QEMU has no model of, served to it from outside, and what Linux's tables say of them by their ids.

Source: ``pci_dev_acs_enabled[]`` and the ``quirk_*_dma_alias`` fixups of Linux ``drivers/pci/quirks.c``; written down
once more here, so that a twin made of these is no echo of ``atoll.pci.quirks``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.header import PortType

__all__ = ["ALIASING", "CONVENTIONAL", "EXPRESS", "Foreign", "told_by_table"]

_NOTHING = AcsFlag(0)
_RR_CR = AcsFlag.RR | AcsFlag.CR
_INTEL, _WANGXUN, _ATI = 0x8086, 0x8088, 0x1002
_ISOLATING = {
    (_INTEL, 0x10C9),
    (_INTEL, 0x10FB),
    (0x14E4, 0x16D7),
    (0x1924, 0x0A03),
    (0x177D, 0xA026),
    (0x1D17, 0x3038),
    (0x19A2, 0x0710),
    (_WANGXUN, 0x0101),
}
"""Of the devices that appear here, those that ``pci_quirk_mf_endpoint_acs`` or ``pci_quirk_wangxun_nic_acs`` names."""


def _no_alias(devfn: int) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Foreign:
    """A kind of device."""

    ids: tuple[int, int]
    class_code: int
    acs: AcsFlag | None = None
    egress_bits: int = 0
    subsystem: tuple[int, int] = (0x1AF4, 0x1100)
    aliases: Callable[[int], tuple[int, ...]] = _no_alias
    """The devfns whose ids it uses too, by its own."""


def told_by_table(ids: tuple[int, int], port: PortType, *, shared: bool, on_root: bool, amd: bool) -> bool | None:
    """What ``pci_dev_specific_acs_enabled`` says of a function; None where it says nothing."""
    vendor, _ = ids
    if vendor == _ATI:
        # ``pci_quirk_amd_sb_acs``: functions of one device on a root bus, where firmware has an IVRS table.
        return True if shared and on_root and amd else None
    if ids in _ISOLATING or (vendor == _INTEL and port is PortType.ROOT_INTEGRATED):
        return True
    return False if vendor == _WANGXUN else None


_NETWORK, _OTHER, _ACCELERATOR, _AUDIO, _IDE = 0x020000, 0x088000, 0x120000, 0x040300, 0x010100

EXPRESS = (
    Foreign((_INTEL, 0x10FB), _NETWORK),
    Foreign((_INTEL, 0x1563), _NETWORK),
    Foreign((_INTEL, 0x1572), _NETWORK, acs=_NOTHING),
    Foreign((0x14E4, 0x16D7), _NETWORK),
    Foreign((0x14E4, 0x1657), _NETWORK),
    Foreign((0x1924, 0x0A03), _NETWORK),
    Foreign((0x177D, 0xA026), _NETWORK),
    Foreign((0x1D17, 0x3038), _OTHER),
    Foreign((0x19A2, 0x0710), _NETWORK, acs=_RR_CR),
    Foreign((_WANGXUN, 0x0101), _NETWORK),
    # Its vendor's handler says no, whatever the capability.
    Foreign((_WANGXUN, 0x0200), _NETWORK, acs=REDIRECTING),
    Foreign((0x15B3, 0x1017), _NETWORK, acs=_NOTHING),
    Foreign((0x15B3, 0x1019), _NETWORK, acs=_RR_CR | AcsFlag.DT),
    Foreign((0x1EDE, 0x0001), _ACCELERATOR, acs=REDIRECTING | AcsFlag.TB),
    Foreign((0x1EDE, 0x0002), _ACCELERATOR, acs=AcsFlag.RR | AcsFlag.EC, egress_bits=8),
    Foreign((0x1EDE, 0x0003), _ACCELERATOR, acs=AcsFlag.SV | AcsFlag.UF),
    Foreign((0x1EDE, 0x0004), _ACCELERATOR),
)
"""Endpoints of PCI Express: tables that say yes or no, ACS capabilities whole, in part and empty, and none."""


def _function_0(devfn: int) -> tuple[int, ...]:
    return (devfn & ~7,) if devfn & 7 else ()


def _function_1(devfn: int) -> tuple[int, ...]:
    return (devfn | 1,) if devfn & 7 == 0 else (devfn & ~7 | 1,) if devfn & 7 != 1 else ()


ALIASING = (
    Foreign((0x1180, 0xE832), 0x0C0010, aliases=_function_0),
    Foreign((0x1180, 0xE476), 0x088001, aliases=_function_0),
    Foreign((0x1B4B, 0x9230), 0x010400, aliases=_function_1),
    Foreign((0x1103, 0x0642), 0x010400, aliases=_function_1),
    Foreign((0x9005, 0x0285), 0x010400, subsystem=(0x9005, 0x02BB), aliases=lambda devfn: (1 << 3,)),
    Foreign((_INTEL, 0x2260), 0x0B4000, aliases=lambda devfn: (0x80, 0x88, 0x93)),
    Foreign((_INTEL, 0x2954), 0x068000, aliases=lambda devfn: tuple(at for at in range(256) if at & 7 < 5)),
    Foreign((0x10B5, 0x87B0), 0x068000, aliases=lambda devfn: tuple(range(256))),
)
"""Functions that use others' requester ids."""

CONVENTIONAL = (
    Foreign((_ATI, 0x4383), _AUDIO),
    Foreign((_ATI, 0x439C), _IDE),
    Foreign((_INTEL, 0x1229), _NETWORK),
    Foreign((0x1180, 0xE832), 0x0C0010, aliases=_function_0),
)
"""Functions of conventional PCI: no ACS; a table of AMD's southbridges counts on a root bus."""
