"""What a record or a user's privileges leave unseen, in few words: one gap for one cause."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.fact import Fact, Unknown
from atoll.host.gap import Gap
from atoll.host.model import Function, Group
from atoll.pci.address import Address
from atoll.pci.config import NO_ANSWER

__all__ = ["coverage"]


def coverage(functions: Mapping[Address, Function], groups: Fact[Mapping[int, Group]]) -> tuple[Gap, ...]:
    """Return what is missing to judge isolation: capabilities of functions, by reason, and groups."""
    gaps = []
    if not functions:
        gaps.append(Gap("PCI functions", "no sys/bus/pci/devices and no sys/devices/pci*", "name a record with sys/"))
    missing: dict[str, list[Address]] = {}
    for address, function in functions.items():
        if isinstance(function.acs, Unknown):
            missing.setdefault(function.acs.reason, []).append(address)
    for reason, addresses in missing.items():
        hint = "record the host as root with atoll capture"
        if "root" in reason:
            hint = "run as root, or record the host as root"
        elif NO_ANSWER in reason:
            hint = "atoll doctor says what to do"
        which = str(addresses[0]) if len(addresses) == 1 else f"{len(addresses)} functions ({addresses[0]} first)"
        gaps.append(Gap(f"ACS and other extended capabilities of {which}", reason, hint))
    if functions and isinstance(groups, Unknown):
        gaps.append(Gap("IOMMU groups", groups.reason, "record the host with atoll capture"))
    return tuple(gaps)
