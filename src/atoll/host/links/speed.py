"""How fast a link is, per direction."""

from __future__ import annotations

from atoll.pci.vendor import NVIDIA

__all__ = ["device_tree_speed", "nvlink_speed"]


_BY_DIE = (
    (0x15F0, 0x15FF, 20_000_000_000),  # GP100: NVIDIA Tesla P100 whitepaper, 40 GB/s a link in both directions
    (0x1D80, 0x1DFF, 25_000_000_000),  # GV100: NVIDIA Tesla V100 whitepaper, 50 GB/s a link
    (0x1E00, 0x1EFF, 25_000_000_000),  # TU102, TU104: NVIDIA Turing whitepaper, 50 GB/s a link
    (0x2080, 0x20FF, 25_000_000_000),  # GA100: NVIDIA A100 whitepaper, 12 links, 600 GB/s
    (0x2200, 0x223F, 14_062_500_000),  # GA102: NVIDIA GA102 whitepaper, 4 links, 112.5 GB/s in both directions
    (0x2300, 0x237F, 25_000_000_000),  # GH100: NVIDIA H100 whitepaper, 18 links, 900 GB/s
    (0x2900, 0x29FF, 50_000_000_000),  # GB100, GB102: NVIDIA Blackwell brief, 18 links, 1.8 TB/s
    (0x3180, 0x31FF, 50_000_000_000),  # GB110: the same links as GB100
)
"""Ranges of device ids by die as in pci.ids, and bytes per second of one link in one direction."""

_BY_LINE_RATE = {
    20_000_000_000: 20_000_000_000,
    25_000_000_000: 25_000_000_000,
    25_781_250_000: 25_000_000_000,
}
"""``ibm,link-speed`` in bits per second and lane; a link has eight lanes, and 25.78125 carries 64 bits in 66."""

_BY_CODE = {3: 20_000_000_000, 8: 25_000_000_000, 9: 25_000_000_000}
"""``nvidia,link-speed``: NVIDIA_LINK_SPEED_*_BPS in skiboot ``platforms/astbmc/swift.c``."""


def nvlink_speed(vendor: int, device: int) -> int | None:
    """Return the bytes per second of one NVLink in one direction, None for what the table does not know."""
    if vendor != NVIDIA:
        return None
    return next((speed for first, last, speed in _BY_DIE if first <= device <= last), None)


def device_tree_speed(line_rate: int | None, code: int | None) -> int | None:
    """Return the bytes per second and direction that a POWER link node tells, None where it tells nothing known."""
    if line_rate is not None:
        return _BY_LINE_RATE.get(line_rate)
    return None if code is None else _BY_CODE.get(code)
