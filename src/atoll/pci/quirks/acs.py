"""Functions for which Linux answers by table, not by register, whether they isolate.

The rows stand in the order of ``pci_dev_acs_enabled[]`` in ``drivers/pci/quirks.c`` (Linux 7.3.4; the same 132
entries in 6.1.176 and 6.12.117): the first row whose handler decides wins, and a handler may decline. What each
handler decides is in :mod:`atoll.isolation.groups.acs_handler`, what older kernels lack in
:mod:`atoll.pci.quirks.acs_releases`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.class_code import BaseClass, ClassCode, DeviceClass

__all__ = [
    "BROKEN_SOURCE_VALIDATION",
    "CLAIMED",
    "AcsHandler",
    "acs_handlers",
    "is_cavium_root_port",
    "is_intel_pch_root_port",
    "is_intel_spt_root_port",
    "is_wangxun_nic",
    "is_zhaoxin_port",
    "one_of_each",
]


class AcsHandler(StrEnum):
    """The handlers of the table, by the kernel's function names."""

    AMD_SB = "pci_quirk_amd_sb_acs"
    MF_ENDPOINT = "pci_quirk_mf_endpoint_acs"
    RCIEP = "pci_quirk_rciep_acs"
    QCOM_RP = "pci_quirk_qcom_rp_acs"
    INTEL_PCH = "pci_quirk_intel_pch_acs"
    INTEL_SPT_PCH = "pci_quirk_intel_spt_pch_acs"
    CAVIUM = "pci_quirk_cavium_acs"
    XGENE = "pci_quirk_xgene_acs"
    BRCM = "pci_quirk_brcm_acs"
    LOONGSON = "pci_quirk_loongson_acs"
    AL = "pci_quirk_al_acs"
    NXP_RP = "pci_quirk_nxp_rp_acs"
    ZHAOXIN_PORTS = "pci_quirk_zhaoxin_pcie_ports_acs"
    WANGXUN_NIC = "pci_quirk_wangxun_nic_acs"


CLAIMED = {
    AcsHandler.AMD_SB: AcsFlag.RR | AcsFlag.CR,
    AcsHandler.MF_ENDPOINT: REDIRECTING | AcsFlag.TB | AcsFlag.DT,
    AcsHandler.RCIEP: REDIRECTING,
    AcsHandler.QCOM_RP: REDIRECTING,
    AcsHandler.INTEL_PCH: REDIRECTING,
    AcsHandler.CAVIUM: REDIRECTING,
    AcsHandler.XGENE: REDIRECTING,
    AcsHandler.BRCM: REDIRECTING,
    AcsHandler.LOONGSON: REDIRECTING,
    AcsHandler.AL: REDIRECTING,
    AcsHandler.NXP_RP: REDIRECTING,
    AcsHandler.ZHAOXIN_PORTS: REDIRECTING,
    AcsHandler.WANGXUN_NIC: REDIRECTING,
}
"""The controls that a handler claims where it applies; ``INTEL_SPT_PCH`` reads registers instead."""

BROKEN_SOURCE_VALIDATION = frozenset({(0x111D, 0x80B5), (0x111D, 0x8090)})
"""IDT switches whose SV capability the kernel drops (``pci_disable_broken_acs_cap``, series "PCI: Fix ACS
enablement for Root Ports in OF platforms", in v7.0)."""


class Row(NamedTuple):
    """A handler, a vendor, and the devices of it; None for any."""

    handler: AcsHandler
    vendor: int
    devices: frozenset[int] | None


# fmt: off
_TABLE = (
    Row(AcsHandler.AMD_SB, 0x1002, frozenset({0x4385, 0x439c, 0x4383, 0x439d, 0x4384, 0x4399})),
    Row(AcsHandler.AMD_SB, 0x1022, frozenset({0x780f, 0x7809})),
    Row(AcsHandler.MF_ENDPOINT, 0x1924, frozenset({0x0903, 0x0923, 0x0a03})),
    Row(
        AcsHandler.MF_ENDPOINT,
        0x8086,
        frozenset(
            {
                0x10c6, 0x10db, 0x10dd, 0x10e1, 0x10f1, 0x10f7, 0x10f8, 0x10f9, 0x10fa, 0x10fb, 0x10fc, 0x1507,
                0x1514, 0x151c, 0x1529, 0x152a, 0x154d, 0x154f, 0x1551, 0x1558, 0x1509, 0x150e, 0x150f, 0x1510,
                0x1511, 0x1516, 0x1527, 0x10c9, 0x10e6, 0x10e7, 0x10e8, 0x150a, 0x150d, 0x1518, 0x1526, 0x10a7,
                0x10a9, 0x10d6, 0x1521, 0x1522, 0x1523, 0x1524, 0x105e, 0x105f, 0x1060, 0x10d9, 0x15b7, 0x15b8,
            }
        ),
    ),
    Row(AcsHandler.RCIEP, 0x8086, None),
    Row(AcsHandler.QCOM_RP, 0x17cb, frozenset({0x0400, 0x0401, 0x0115, 0x0111, 0x0120})),
    Row(AcsHandler.QCOM_RP, 0x1dbf, frozenset({0x0401})),
    Row(AcsHandler.INTEL_PCH, 0x8086, None),
    Row(AcsHandler.INTEL_SPT_PCH, 0x8086, None),
    Row(AcsHandler.MF_ENDPOINT, 0x19a2, frozenset({0x0710})),
    Row(AcsHandler.MF_ENDPOINT, 0x10df, frozenset({0x0720})),
    Row(AcsHandler.CAVIUM, 0x177d, None),
    Row(AcsHandler.MF_ENDPOINT, 0x177d, frozenset({0xa026, 0xa059, 0xa060})),
    Row(AcsHandler.XGENE, 0x10e8, frozenset({0xe004})),
    Row(AcsHandler.XGENE, 0x1def, frozenset({0xe005, 0xe006, 0xe007, 0xe008, 0xe009, 0xe00a, 0xe00b, 0xe00c})),
    Row(AcsHandler.MF_ENDPOINT, 0x14e4, frozenset({0x16d7, 0x1750, 0x1751, 0x1752, 0x1760, 0x1761, 0x1762, 0x1763})),
    Row(AcsHandler.BRCM, 0x14e4, frozenset({0xd714})),
    Row(
        AcsHandler.LOONGSON,
        0x0014,
        frozenset(
            {
                0x3c09, 0x3c19, 0x3c29, 0x7a09, 0x7a19, 0x7a29, 0x7a39, 0x7a49, 0x7a59, 0x7a69,
            }
        ),
    ),
    Row(AcsHandler.AL, 0x1c36, frozenset({0x0031})),
    Row(AcsHandler.MF_ENDPOINT, 0x1d17, frozenset({0x3038, 0x3104, 0x9083})),
    Row(
        AcsHandler.NXP_RP,
        0x1957,
        frozenset(
            {
                0x8d81, 0x8da1, 0x8d83, 0x8d80, 0x8da0, 0x8d82, 0x8d90, 0x8db0, 0x8d92, 0x8d91, 0x8db1, 0x8d93,
                0x8d89, 0x8da9, 0x8d8b, 0x8d88, 0x8da8, 0x8d8a, 0x8d98, 0x8db8, 0x8d9a, 0x8d99, 0x8db9, 0x8d9b,
            }
        ),
    ),
    Row(AcsHandler.ZHAOXIN_PORTS, 0x1d17, None),
    Row(AcsHandler.WANGXUN_NIC, 0x8088, None),
)

_INTEL_PCH_ROOT_PORTS = frozenset(
    {
        0x3b42, 0x3b43, 0x3b44, 0x3b45, 0x3b46, 0x3b47, 0x3b48, 0x3b49, 0x3b4a, 0x3b4b, 0x3b4c, 0x3b4d, 0x3b4e,
        0x3b4f, 0x3b50, 0x3b51, 0x1c10, 0x1c11, 0x1c12, 0x1c13, 0x1c14, 0x1c15, 0x1c16, 0x1c17, 0x1c18, 0x1c19,
        0x1c1a, 0x1c1b, 0x1c1c, 0x1c1d, 0x1c1e, 0x1c1f, 0x1e10, 0x1e11, 0x1e12, 0x1e13, 0x1e14, 0x1e15, 0x1e16,
        0x1e17, 0x1e18, 0x1e19, 0x1e1a, 0x1e1b, 0x1e1c, 0x1e1d, 0x1e1e, 0x1e1f, 0x8c10, 0x8c11, 0x8c12, 0x8c13,
        0x8c14, 0x8c15, 0x8c16, 0x8c17, 0x8c18, 0x8c19, 0x8c1a, 0x8c1b, 0x8c1c, 0x8c1d, 0x8c1e, 0x8c1f, 0x9c10,
        0x9c11, 0x9c12, 0x9c13, 0x9c14, 0x9c15, 0x9c16, 0x9c17, 0x9c18, 0x9c19, 0x9c1a, 0x9c1b, 0x9c90, 0x9c91,
        0x9c92, 0x9c93, 0x9c94, 0x9c95, 0x9c96, 0x9c97, 0x9c98, 0x9c99, 0x9c9a, 0x9c9b, 0x1d10, 0x1d12, 0x1d14,
        0x1d16, 0x1d18, 0x1d1a, 0x1d1c, 0x1d1e, 0x8d10, 0x8d11, 0x8d12, 0x8d13, 0x8d14, 0x8d15, 0x8d16, 0x8d17,
        0x8d18, 0x8d19, 0x8d1a, 0x8d1b, 0x8d1c, 0x8d1d, 0x8d1e, 0x8c90, 0x8c92, 0x8c94, 0x8c96, 0x8c98, 0x8c9a,
        0x8c9c, 0x8c9e,
    }
)
# fmt: on


def _by_vendor() -> dict[int, tuple[Row, ...]]:
    rows: dict[int, tuple[Row, ...]] = {}
    for row in _TABLE:
        rows[row.vendor] = (*rows.get(row.vendor, ()), row)
    return rows


_ROWS = _by_vendor()


def acs_handlers(vendor: int, device: int) -> tuple[AcsHandler, ...]:
    """Return the handlers to ask for a function with these ids, in the kernel's order."""
    return tuple(row.handler for row in _ROWS.get(vendor, ()) if row.devices is None or device in row.devices)


_BY_OWN_LIST = ((0x8086, 0x1C10), (0x8086, 0x9D10), (0x177D, 0xA000), (0x1D17, 0x0710), (0x8088, 0x0100))
"""A device of each list that a handler keeps by itself: two of Intel's, Cavium, Zhaoxin, Wangxun."""
_NETWORK = (0x8086, 0x14E4, 0x1924, 0x177D)
"""Vendors whose multifunction endpoints in the table are all network controllers."""
_AMD_SB_CLASSES = (
    DeviceClass.SMBUS,
    DeviceClass.IDE,
    DeviceClass.AUDIO,
    DeviceClass.ISA_BRIDGE,
    DeviceClass.USB,
)
"""Of the southbridge functions in the table (pci.ids); the bridges among them decode subtractively."""


def one_of_each(vendor: int | None, class_code: int) -> tuple[tuple[int, int], ...]:
    """Return ids such that any device of the vendor (None: of any) and class is treated like one of them.

    For functions whose ids are not known: what all of these agree on holds.
    """
    rows = [row for row in _TABLE if vendor in (None, row.vendor) and row.devices is not None]
    network = class_code >> 16 == BaseClass.NETWORK
    southbridge = class_code >> 8 in _AMD_SB_CLASSES or class_code == ClassCode.SUBTRACTIVE_BRIDGE
    found = [
        (row.vendor, min(row.devices))
        for row in rows
        if row.devices
        and (row.handler is not AcsHandler.MF_ENDPOINT or network or row.vendor not in _NETWORK)
        and (row.handler is not AcsHandler.AMD_SB or southbridge)
    ]
    found += [pair for pair in (*_BY_OWN_LIST, min(BROKEN_SOURCE_VALIDATION)) if vendor in (None, pair[0])]
    vendors = sorted({row.vendor for row in _TABLE}) if vendor is None else [vendor]
    return ((0xFFFF if vendor is None else vendor, 0xFFFF), *found, *((other, 0xFFFF) for other in vendors))


def is_intel_pch_root_port(device: int) -> bool:
    """Whether ``pci_quirk_intel_pch_acs_ids`` lists it (Ibex Peak to Wellsburg)."""
    return device in _INTEL_PCH_ROOT_PORTS


def is_intel_spt_root_port(device: int) -> bool:
    """Whether ``pci_quirk_intel_spt_pch_acs_match`` takes it: a PCH with ACS registers one dword each."""
    return (
        0xA110 <= device <= 0xA11F
        or 0xA167 <= device <= 0xA16A
        or 0xA290 <= device <= 0xA29F
        or 0xA2E7 <= device <= 0xA2EE
        or 0x9D10 <= device <= 0x9D1B
    )


def is_cavium_root_port(device: int) -> bool:
    """Whether ``pci_quirk_cavium_acs_match`` takes it (ThunderX 1 to 3)."""
    return 0xA000 <= device <= 0xA7FF or device in (0xAF84, 0xB884)


def is_zhaoxin_port(device: int) -> bool:
    """Whether ``pci_quirk_zhaoxin_pcie_ports_acs`` says yes to it; it says *no* to any other port of the vendor."""
    return 0x0710 <= device <= 0x071E or device == 0x0721 or 0x0723 <= device <= 0x0752


def is_wangxun_nic(device: int) -> bool:
    """Whether ``pci_quirk_wangxun_nic_acs`` says yes to it; it says *no* to anything else of the vendor."""
    return 0x0100 <= device <= 0x010F or device in (
        0x1001, 0x2001, 0x5010, 0x5025, 0x5040, 0x5110, 0x5125, 0x5140,
    )  # fmt: skip
