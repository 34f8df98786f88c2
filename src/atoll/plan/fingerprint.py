"""What a device is known by when its address may have moved: ids, serial number, position in the PCIe tree."""

from __future__ import annotations

from atoll.host.fact import value_of
from atoll.host.model import Function

__all__ = ["fingerprint"]


def fingerprint(function: Function) -> str:
    """Return a function's fingerprint: ``10de:1db1 at pci0004:00/0004:03:00.0/0004:04:00.0 serial 00-80-…``.

    The position is the root bus and the bridge right above; a path through other bridges shows in their addresses.
    """
    parts = [function.host_bridge, *([str(function.parent)] if function.parent else []), str(function.address)]
    serial = value_of(function.serial, None)
    text = f"{function.vendor:04x}:{function.device:04x} at {'/'.join(parts)}"
    return text + (f" serial {serial}" if serial else "")
