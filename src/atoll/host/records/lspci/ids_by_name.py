"""Vendor and device ids by the names that lspci prints where nobody asked for numbers.

lspci takes names from pci.ids. Read backwards, a name can stand for several ids, and a newer edition has names
that this one lacks: so the result is every pair that a text can mean, not one.

Source: pci.ids 2023.04.10 (https://pci-ids.ucw.cz/, 3-clause BSD or GPL-2.0-or-later), vendors and devices.
"""

from __future__ import annotations

import lzma
from functools import cache
from importlib.resources import files
from typing import TypeAlias

__all__ = ["Pair", "ids_of"]

Pair: TypeAlias = tuple[int, int | None]
"""Vendor and device; device None: any of the vendor's."""

_FORMER_VENDORS = {
    "Advanced Micro Devices [AMD]": 0x1022,
    "Advanced Micro Devices [AMD] nee ATI": 0x1002,
    "Advanced Micro Devices [AMD/ATI]": 0x1002,
    "ATI Technologies Inc": 0x1002,
    "nVidia Corporation": 0x10DE,
    "nVidia Corp": 0x10DE,
    "NVIDIA": 0x10DE,
    "Intel Corp.": 0x8086,
    "Intel": 0x8086,
    "Broadcom Corporation": 0x14E4,
    "Mellanox Technologies": 0x15B3,
    "LSI Logic / Symbios Logic": 0x1000,
    "Realtek Semiconductor Co., Ltd.": 0x10EC,
    "ASMedia Technology Inc.": 0x1B21,
    "PLX Technology, Inc.": 0x10B5,
    "Red Hat, Inc.": 0x1AF4,
    "Red Hat, Inc": 0x1AF4,
    "Samsung Electronics Co Ltd": 0x144D,
    "IBM": 0x1014,
}
"""Spellings of other editions."""


@cache
def _by_name() -> tuple[dict[str, tuple[int, ...]], dict[tuple[int, str], tuple[int, ...]]]:
    text = lzma.decompress((files("atoll.host.records.lspci") / "pci.ids.xz").read_bytes()).decode()
    vendors: dict[str, tuple[int, ...]] = {}
    devices: dict[tuple[int, str], tuple[int, ...]] = {}
    vendor = 0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        number, _, name = line.strip().partition("  ")
        if line.startswith("\t"):
            key = vendor, _plain(name)
            devices[key] = (*devices.get(key, ()), int(number, 16))
        elif number:
            vendor = int(number, 16)
            vendors[_plain(name)] = (*vendors.get(_plain(name), ()), vendor)
    for name, vendor in _FORMER_VENDORS.items():
        vendors.setdefault(_plain(name), (vendor,))
    return vendors, devices


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


def ids_of(name: str) -> tuple[Pair, ...]:
    """Return the pairs that ``Vendor Name Device Name`` can mean; nothing where not even the vendor is known."""
    vendors, devices = _by_name()
    words = _plain(name).split()
    for count in range(min(len(words), 16), 0, -1):
        rest = words[count:]
        vendor_name = " ".join(words[:count])
        # Before pciutils 2.2: ``ATI Technologies Inc: Unknown device 4966``.
        found = vendors.get(vendor_name.removesuffix(":") if rest[:2] == ["unknown", "device"] else vendor_name)
        if found is None:
            continue
        number = _number(rest)
        if number is not None:
            return tuple((vendor, number) for vendor in found)
        pairs: list[Pair] = []
        for vendor in found:
            named = devices.get((vendor, " ".join(rest)), ())
            pairs += [(vendor, device) for device in named] or [(vendor, None)]
        # Where one vendor of this name has the device, it is that vendor.
        told = [pair for pair in pairs if pair[1] is not None]
        return tuple(told or pairs)
    return ()


def _number(words: list[str]) -> int | None:
    """``Device a700``, ``Unknown device 00e0``: what lspci prints for a device without a name."""
    if words[:1] == ["unknown"]:
        words = words[1:]
    if len(words) != 2 or words[0] != "device" or len(words[1]) != 4:
        return None
    try:
        return int(words[1], 16)
    except ValueError:
        return None
