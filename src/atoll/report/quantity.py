"""Numbers as people and programs write them."""

from __future__ import annotations

__all__ = ["bandwidth", "hexadecimal", "size"]


def bandwidth(bytes_per_second: int | None) -> str:
    """Return a bandwidth in decimal units, as link speeds are sold: ``25 GB/s``; ``? GB/s`` where it is unknown."""
    if bytes_per_second is None:
        return "? GB/s"
    for unit, factor in (("TB/s", 10**12), ("GB/s", 10**9), ("MB/s", 10**6), ("kB/s", 10**3)):
        if bytes_per_second >= factor:
            return f"{bytes_per_second / factor:.4g} {unit}"
    return f"{bytes_per_second} B/s" if bytes_per_second else "0 GB/s"


def size(count: int) -> str:
    """Return a size in binary units: ``16 MiB``."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.4g} {unit}"
    return f"{count} B"


def hexadecimal(value: int | None, digits: int = 1) -> str | None:
    """Return a mask or register as programs get it: ``0x150000``; None stays None."""
    return None if value is None else f"0x{value:0{digits}X}"
