"""``uevent`` in a function's folder: one file that tells what five others do.

Source: ``pci_uevent`` (drivers/pci/pci-driver.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from errno import EBUSY

from atoll.host.attribute import reason
from atoll.host.tree import Tree

__all__ = ["ids_in", "read_uevent"]

_SIZE_AT_MOST = 1 << 16


def read_uevent(tree: Tree, folder: str) -> tuple[dict[str, str], str]:
    """Return the variables, and why there are none where the kernel holds the device's lock; empty: it does not.

    A driver that is being taken off has no link any more, and has the device still (``__device_release_driver``,
    drivers/base/dd.c).
    """
    path = f"{folder}/uevent"
    try:
        found = tree.read(path, size=_SIZE_AT_MOST).decode("utf-8", "replace")
    except OSError as error:
        return {}, reason(error, path) if error.errno == EBUSY else ""
    return dict(line.split("=", 1) for line in found.splitlines() if "=" in line), ""


def ids_in(event: Mapping[str, str], name: str) -> tuple[int, int] | None:
    """Return the two numbers that a variable holds, ``VENDOR:DEVICE``; None where it is not there, or holds others."""
    vendor, colon, device = event.get(name, "").partition(":")
    try:
        return (int(vendor, 16), int(device, 16)) if colon else None
    except ValueError:
        return None
