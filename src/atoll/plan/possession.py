"""Who has a device now: what stands in the way of changing it."""

from __future__ import annotations

from atoll.fabric.domains import holder_of
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import Holder
from atoll.isolation.clusters import Clusters, Handover
from atoll.pci.address import Address
from atoll.plan.step import Unachievable

__all__ = ["HOLDER_PREFIX", "holder_name", "holds_for", "obstacles"]

HOLDER_PREFIX = "atoll-hold:"
"""How holders of clusters are named, followed by the cluster's name."""

_COMM_LENGTH = 15
"""A process's name is cut to this length (TASK_COMM_LEN - 1, include/linux/sched.h)."""


def holder_name(cluster: str) -> str:
    """Return the name of the process that holds a cluster's devices."""
    return HOLDER_PREFIX + cluster


def holds_for(holder: Holder | None, cluster: str) -> bool:
    """Whether a process is the holder of a cluster, as far as its name tells."""
    if holder is None:
        return False
    name = holder_name(cluster)
    return holder.name == name or (len(holder.name) == _COMM_LENGTH and name.startswith(holder.name))


def obstacles(topology: Topology, settings: Settings, clusters: Clusters) -> tuple[Unachievable, ...]:
    """Return what others have open, and what is held in a way that its cluster file no longer asks for."""
    found = []
    for cluster in clusters.named:
        busy: dict[int, list[Address]] = {}
        names: dict[int, str] = {}
        for address in cluster.functions:
            holder = holder_of(topology.host, topology.functions[address])
            if holder is None or (holds_for(holder, cluster.name) and cluster.handover in _KEPT):
                continue
            busy.setdefault(holder.pid, []).append(address)
            names[holder.pid] = holder.name
        for pid, addresses in busy.items():
            listed = ", ".join(map(str, addresses))
            ours = names[pid].startswith(HOLDER_PREFIX)
            remedy = (
                "release the clusters it is held for first: atoll release SPEC"
                if ours
                else "shut its user down first: atoll takes no device from a running owner"
            )
            found.append(
                Unachievable(
                    (cluster.name,), f"{listed}: open in process {pid} ({names[pid]})", remedy, tuple(addresses)
                )
            )
    return tuple(found)


_KEPT = (Handover.HELD, Handover.BROKER)
