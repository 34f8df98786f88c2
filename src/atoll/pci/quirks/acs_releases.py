"""Which releases of the kernel decide as the table of ACS quirks says, and which of its quirks work."""

from __future__ import annotations

from typing import NamedTuple

from atoll.pci.quirks.acs import AcsHandler

__all__ = ["kernel_decides_alike", "makes_chipsets_validate", "stops_chipset_peers"]

_COMPARED = (5, 4)
"""From this release on, all are there but what is listed below: by the tables of Ubuntu's first 5.4 and 5.15
(5.4.0-26.30 and 5.15.0-25.25), of 5.18, 6.1.176 and 7.3.4."""
_COMPARED_LONG_TERM = {(6, 1): 176, (6, 12): 117}
"""Long-term releases whose tables were compared row by row: they have it all, by backports."""


class Added(NamedTuple):
    """What a release has for sure and some before it lack: a handler's rows for a vendor and its devices."""

    since: tuple[int, int]
    handler: AcsHandler
    vendor: int
    devices: frozenset[int] | None
    """None for any, and for all that a handler lists by itself."""

    def lists(self, device: int) -> bool:
        """Whether it is about this device of the vendor."""
        return self.devices is None or device in self.devices


# fmt: off
_ADDED = (
    # f338bb9f0179 "PCI: Apply Cavium ACS quirk to ThunderX2 and ThunderX3"
    Added((5, 5), AcsHandler.CAVIUM, 0x177d, frozenset({0xaf84, 0xb884})),
    # 0325837c51cb "PCI: Add ACS quirk for Zhaoxin multi-function devices"
    Added((5, 7), AcsHandler.MF_ENDPOINT, 0x1d17, None),
    # 299bd044a6f3 "PCI: Add ACS quirk for Zhaoxin Root/Downstream Ports"
    Added((5, 7), AcsHandler.ZHAOXIN_PORTS, 0x1d17, None),
    # 3247bd10a450 "PCI: Add ACS quirk for Intel Root Complex Integrated Endpoints"
    Added((5, 8), AcsHandler.RCIEP, 0x8086, None),
    # db2f77e2bd99 "PCI: Add ACS quirk for Broadcom BCM57414 NIC"
    Added((5, 14), AcsHandler.MF_ENDPOINT, 0x14e4, frozenset({0x16d7})),
    # d08c8b855140 "PCI: Add ACS quirks for NXP LX2xx0 and LX2xx2 platforms"
    Added((5, 15), AcsHandler.NXP_RP, 0x1957, None),
    # "PCI: Add ACS quirk for Cavium multi-function devices"
    Added((5, 16), AcsHandler.MF_ENDPOINT, 0x177d, frozenset({0xa026, 0xa059, 0xa060})),
    # "PCI: Add ACS quirk for Broadcom BCM5750x NICs"
    Added((6, 0), AcsHandler.MF_ENDPOINT, 0x14e4, frozenset({0x1750, 0x1751, 0x1752})),
    Added((6, 3), AcsHandler.WANGXUN_NIC, 0x8088, None),  # "PCI: Add ACS quirk for Wangxun NICs"
    # e367e3c765f5 "PCI: Add ACS quirk for more Zhaoxin Root Ports"
    Added((6, 8), AcsHandler.ZHAOXIN_PORTS, 0x1d17, frozenset(range(0x0733, 0x0753))),
    # "PCI: Add ACS quirk for Qualcomm SA8775P"
    Added((6, 12), AcsHandler.QCOM_RP, 0x17cb, frozenset({0x0115})),
    # 524e057b2d66 "PCI: Add ACS quirk for Broadcom BCM5760X NIC"
    Added((6, 12), AcsHandler.MF_ENDPOINT, 0x14e4, frozenset({0x1760, 0x1761, 0x1762, 0x1763})),
    # aa46a3736afc "PCI: Add ACS quirk for Wangxun FF5xxx NICs"
    Added((6, 13), AcsHandler.WANGXUN_NIC, 0x8088, frozenset({0x5010, 0x5025, 0x5040, 0x5110, 0x5125, 0x5140})),
    Added((6, 16), AcsHandler.LOONGSON, 0x0014, None),  # "PCI: Add ACS quirk for Loongson PCIe"
    Added((7, 0), AcsHandler.QCOM_RP, 0x17cb, frozenset({0x0111, 0x0120})),  # 44d2f70b1fd7, Hamoa and Glymur
)
# fmt: on
"""Most of it was also backported to the long-term releases of its time, so that an older number does not tell that it
is missing."""


def kernel_decides_alike(release: str, handler: AcsHandler, vendor: int, device: int) -> bool:
    """Whether a kernel of this release asks this handler for these ids, and it says the same; False where its number
    does not tell.

    ``release`` is as ``uname -r`` prints it.
    """
    numbers = _numbers(release)
    if len(numbers) < 2:
        return False
    series = (numbers[0], numbers[1])
    compared = _COMPARED_LONG_TERM.get(series)
    if compared is not None and len(numbers) > 2 and numbers[2] >= compared:
        return True
    added = [row.since for row in _ADDED if (row.handler, row.vendor) == (handler, vendor) and row.lists(device)]
    return series >= max(added, default=_COMPARED)


def makes_chipsets_validate(release: str) -> bool:
    """Whether a kernel of this release switches on the check of requester ids in the root ports of Intel's chipsets.

    ``pci_quirk_enable_intel_rp_mpc_acs`` wrote 16 of the 32 bits of MPC, of which IRBNCE is bit 26, until "PCI: Correct
    MPC register write to use dword access" (A. Tiwari, 2025-10-14): not in 6.1.176 and 6.8, in 6.12.117 and 7.3.4.
    """
    numbers = _numbers(release)
    return tuple(numbers[:2]) >= (7, 3) or (tuple(numbers[:2]) == (6, 12) and tuple(numbers[2:]) >= (117,))


def stops_chipset_peers(release: str) -> bool:
    """Whether a kernel of this release stops what ports of Intel's chipsets send one another.

    ``pci_quirk_enable_intel_lpc_acs`` took another register for UPDCR until "PCI: Fix Intel ACS quirk UPDCR register
    address" (S. Liebergeld, in v5.5 and 5.4.6).
    """
    return tuple(_numbers(release)) >= (5, 4, 6)


def _numbers(release: str) -> list[int]:
    """The first numbers of what ``uname -r`` prints, three at most."""
    numbers = []
    for word in release.split(".")[:3]:
        digits = word[: len(word) - len(word.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return numbers
