"""Functions that the kernel lists and that do not answer."""

from __future__ import annotations

from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.pci.config import NO_ANSWER

__all__ = ["silent"]


def silent(host: Host) -> tuple[Address, ...]:
    """Return the functions whose configuration space was read, and was all ones, in address order."""
    return tuple(
        address
        for address, function in host.functions.items()
        if isinstance(function.acs, Unknown) and NO_ANSWER in function.acs.reason
    )
