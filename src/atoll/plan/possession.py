"""Who has a device now: what stands in the way of changing it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from atoll.fabric.domains import holder_of
from atoll.fabric.links import far_end
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import value_of
from atoll.host.model import Function, Holder
from atoll.isolation.clusters import HOST, Clusters, Handover
from atoll.isolation.iova.reserved import reserved
from atoll.pci.address import Address
from atoll.plan.npu import follow
from atoll.plan.step import Unachievable

__all__ = ["HOLDER_PREFIX", "holder_name", "holds_for", "obstacles", "release_first"]

HOLDER_PREFIX = "atoll-hold:"
"""How holders of clusters are named, followed by the cluster's name."""

_COMM_LENGTH = 15
"""A process's name is cut to this length (TASK_COMM_LEN - 1, include/linux/sched.h)."""


def holder_name(cluster: str) -> str:
    """Return the name of the process that holds a cluster's devices: another for each cluster.

    Where the cluster's name is too long for the kernel, ``~`` and three characters stand for it: cut, ``tenant-a`` and
    ``tenant-b`` would be the same, and what one has open would pass for the other's.
    """
    name = HOLDER_PREFIX + cluster
    if len(name) <= _COMM_LENGTH:
        return name
    digest = hashlib.sha256(cluster.encode()).digest()
    return f"{HOLDER_PREFIX}~{''.join(_DIGITS[byte % len(_DIGITS)] for byte in digest[:3])}"


_DIGITS = "abcdefghijkmnpqrstuvwxyz23456789"


def holds_for(holder: Holder | None, cluster: str) -> bool:
    """Whether a process is the holder of a cluster, as far as its name tells: root's word, no other user's."""
    return holder is not None and holder.name == holder_name(cluster) and holder.root is not False


def obstacles(
    topology: Topology, settings: Settings, clusters: Clusters, cut: Mapping[Address, frozenset[int]]
) -> tuple[Unachievable, ...]:
    """Return what stands in the way: what others have open or were given, and what is held in a way that its file no
    longer asks for; devices whose virtual functions would vanish, or that firmware keeps from users; neighbours to
    ``cut`` that cannot be taken from their users.
    """
    return (
        *_open(topology, clusters),
        *_elsewhere(topology, clusters),
        *_with_virtual_functions(topology, clusters),
        *_with_segments(topology, clusters),
        *_mapped_one_to_one(topology, clusters),
        *_neighbours(topology, settings, clusters, cut),
    )


def _open(topology: Topology, clusters: Clusters) -> Iterator[Unachievable]:
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
            reason = f"{listed}: open in process {pid} ({names[pid]})"
            yield Unachievable((cluster.name,), reason, remedy, tuple(addresses))


def _elsewhere(topology: Topology, clusters: Clusters) -> Iterator[Unachievable]:
    """What a cluster of another file was given is that one's until it is released, be it open or not: its owner may
    start any moment, and counts on what was proven to him."""
    followers = follow(topology.host)
    for cluster in clusters.named:
        given: dict[str, list[Address]] = {}
        for address in cluster.functions:
            other = clusters.elsewhere.get(address)
            # NPU functions go with their GPU.
            if other is not None and address not in followers:
                given.setdefault(other, []).append(address)
        for other, addresses in given.items():
            listed = ", ".join(map(str, addresses))
            reason = f"{listed}: given to {other}, a cluster that this file does not name"
            yield Unachievable((cluster.name,), reason, release_first(other, addresses), tuple(addresses))


def release_first(cluster: str, devices: Sequence[Address]) -> str:
    """Return how a device is had that a cluster of another file was given."""
    listed = ", ".join(f'"{address}"' for address in devices)
    return (
        f"release it first, by that name: atoll release with the file that names {cluster}, or with one that says "
        f"cluster.{cluster}.devices = [{listed}]"
    )


def _with_virtual_functions(topology: Topology, clusters: Clusters) -> Iterator[Unachievable]:
    """Taking the driver off a physical function takes its virtual functions away, whoever uses them."""
    for cluster in clusters.named:
        for address in cluster.functions:
            function = topology.functions[address]
            if function.virtual_functions and value_of(function.driver, "") not in (None, cluster.driver):
                reason = (
                    f"{address} has {len(function.virtual_functions)} virtual functions, which vanish when its driver "
                    f"is taken off: {', '.join(map(str, function.virtual_functions[:4]))}"
                )
                remedy = f"shut their users down and write 0 to sriov_numvfs of {address}, or name virtual functions"
                yield Unachievable((cluster.name,), reason, remedy, (address, *function.virtual_functions))


def _mapped_one_to_one(topology: Topology, clusters: Clusters) -> Iterator[Unachievable]:
    """What the kernel gives no user, as firmware wants addresses of it mapped one to one whatever happens."""
    for cluster in clusters.named:
        if cluster.handover is Handover.KERNEL:
            continue
        functions = [topology.functions[address] for address in cluster.functions]
        for kept in reserved(topology.host, functions).direct:
            remedy = 'leave it with the host (handover = "kernel"), or look for a firmware setting that frees it'
            yield Unachievable((cluster.name,), f"{kept.device}: {kept.because}", remedy, (kept.device,))


def _with_segments(topology: Topology, clusters: Clusters) -> Iterator[Unachievable]:
    """Taking the driver off a VMD takes away all that is behind it (``vmd_remove``, drivers/pci/controller/vmd.c)."""
    for cluster in clusters.named:
        for address in cluster.functions:
            function = topology.functions[address]
            if address not in topology.vmds or value_of(function.driver, "vmd") != "vmd":
                continue
            others = topology.functions.values()
            behind = tuple(f.address for f in others if f.address.domain >= FIRST_SEGMENT and _is_behind(f, address))
            if behind:
                listed = ", ".join(map(str, behind[:4])) + (", …" if len(behind) > 4 else "")
                reason = f"{address} is a VMD: what is behind it vanishes when its driver is taken off: {listed}"
                remedy = f"unbind {address} from vmd, where the host can do without, and name it alone"
                yield Unachievable((cluster.name,), reason, remedy, (address, *behind))


def _is_behind(function: Function, vmd: Address) -> bool:
    return function.behind in (None, vmd)


def _neighbours(
    topology: Topology, settings: Settings, clusters: Clusters, cut: Mapping[Address, frozenset[int]]
) -> Iterator[Unachievable]:
    """The host's devices at the other ends of links: cutting there takes their driver off for a while."""
    owner = clusters.cluster_of(topology.functions)
    for address, links in sorted(cut.items()):
        if owner[address] != HOST or links <= (settings.cut.get(address) or frozenset()):
            continue
        peers = {far_end(link, address).function for link in topology.links.get(address, ())}
        names = tuple(sorted({owner[peer] for peer in peers if peer is not None} - {HOST}))
        holder = holder_of(topology.host, topology.functions[address])
        listed = ", ".join(map(str, sorted(links)))
        if holder is not None:
            reason = f"{address}, whose link(s) {listed} lead to {', '.join(names)}, is open in process {holder.pid}"
            remedy = "shut its user down first, or name it in a cluster: atoll takes no device from a running owner"
            yield Unachievable(names, f"{reason} ({holder.name})", remedy, (address,))
        elif address in topology.host.essential:
            reason = f"{address}, whose link(s) {listed} lead to {', '.join(names)}, is needed by the host itself"
            remedy = "choose devices that have no links to it"
            yield Unachievable(names, f"{reason}: {topology.host.essential[address]}", remedy, (address,))


_KEPT = (Handover.HELD, Handover.BROKER)
