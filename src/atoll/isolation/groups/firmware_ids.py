"""Groups that AMD's firmware joins, or may have: its table (IVRS) can give functions of one bus one requester id."""

from __future__ import annotations

from collections.abc import Collection

from atoll.fabric.default_domain import shows_amd_iommu
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
from atoll.isolation.groups.prediction import Prediction
from atoll.pci.address import Address

__all__ = ["joins", "perhaps_joined"]


def joins(host: Host, members: Collection[Address]) -> bool:
    """Whether that table, where it was read, gives a member the id of another member on its bus."""
    used = value_of(host.firmware_aliases, {})
    ids = {(a.domain, a.requester_id) for a in members}
    return any(
        used.get(a, a.requester_id) != a.requester_id and used[a] >> 8 == a.bus and (a.domain, used[a]) in ids
        for a in members
    )


def perhaps_joined(host: Host, prediction: Prediction) -> dict[Address, str]:
    """Return the functions whose recorded group is several predicted ones that meet on a bus, where that table, which
    only root can read, was not read (``setup_aliases`` in drivers/iommu/amd/iommu.c)."""
    if isinstance(host.firmware_aliases, Known) or not shows_amd_iommu(host):
        return {}
    there = {address: group for group in prediction.groups for address in group}
    found: dict[Address, str] = {}
    for group in value_of(host.groups, {}).values():
        parts = {there[address] for address in group.members if address in there}
        if len(parts) > 1 and {a for part in parts for a in part} == set(group.members) and _meet(parts):
            why = "whether the firmware (IVRS) gives functions of one bus one id: what root captures tells"
            found |= {address: f"{address}: {why}" for address in group.members}
    return found


def _meet(parts: set[tuple[Address, ...]]) -> bool:
    """Whether one gets from each part to each other by buses on which both have functions."""
    on_bus: dict[tuple[int, int], list[tuple[Address, ...]]] = {}
    for part in parts:
        for bus in {(address.domain, address.bus) for address in part}:
            on_bus.setdefault(bus, []).append(part)
    waiting = [next(iter(parts))]
    joined = set(waiting)
    while waiting:
        for address in waiting.pop():
            near = [part for part in on_bus.pop((address.domain, address.bus), ()) if part not in joined]
            joined.update(near)
            waiting += near
    return joined == parts
