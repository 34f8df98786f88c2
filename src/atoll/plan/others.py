"""Who else has devices than the clusters of a file: not the host, which alone is trusted."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.fabric.domains import holder_of, may_be_vfio
from atoll.host.fact import Known, value_of
from atoll.host.model import Function, Host
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.pci.address import Address
from atoll.plan.npu import follow
from atoll.plan.possession import HOLDER_PREFIX

__all__ = ["others"]

_NOT_OPEN = "a user of VFIO"
"""Whose a function is that has a VFIO driver: it waits for one, and may be opened at any moment."""


def others(host: Host, clusters: Clusters, given: Mapping[Address, str]) -> tuple[Cluster, ...]:
    """Return what clusters of other files were ``given``, and what the host gave away by hand: what somebody has open
    through VFIO, or may open.

    Ports belong to nobody, and NPU functions to whoever has their GPU.
    """
    named = clusters.owner()
    followers = follow(host)
    found: dict[tuple[str, Handover], list[Address]] = {}
    for address, function in host.functions.items():
        leader = followers.get(address, address)
        whose = _whose(host, host.functions.get(leader, function), given.get(leader))
        if whose is not None and address not in named and not function.is_port:
            found.setdefault(whose, []).append(address)
    mine = {cluster.name for cluster in clusters.named}
    return tuple(
        Cluster(f"{name} (not in this file)" if name in mine else name, tuple(sorted(functions)), handover)
        for (name, handover), functions in sorted(found.items())
    )


def _whose(host: Host, function: Function, given: str | None) -> tuple[str, Handover] | None:
    """Return who has a function, and how; None for what is the host's."""
    holder = holder_of(host, function)
    if holder is not None:
        kept = holder.name.startswith(HOLDER_PREFIX) and holder.root is not False
        return given or f"process {holder.pid} ({holder.name})", Handover.HELD if kept else Handover.VFIO
    if isinstance(function.driver, Known) and may_be_vfio(host, function):
        return given or _NOT_OPEN, Handover.VFIO
    if given is None:
        return None
    return given, Handover.KERNEL if value_of(function.driver, "") is not None else Handover.VFIO
