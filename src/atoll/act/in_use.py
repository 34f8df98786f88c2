"""Who uses what clusters were given, and the proof that they are apart: asked once dead runs are recovered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.given import Given, given_to
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.others import with_others
from atoll.act.owner import boot_of
from atoll.controls.present import present
from atoll.errors import AtollError
from atoll.fabric.answer import Policy
from atoll.fabric.domains import holder_of
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Cluster, Handover
from atoll.isolation.proof import Proof, Verdict, prove
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.plan.spec import read_spec

__all__ = ["prove_those_in_use"]

_Devices = Mapping[str, tuple[Address, ...]]
"""Of clusters, by name."""
_WORSE = (Verdict.PROVEN, Verdict.UNKNOWN, Verdict.VIOLATED)
"""Each worse than the one before."""


def prove_those_in_use(
    machine: Machine, host: Host, files: Sequence[Given], policy: Policy
) -> tuple[Proof | None, tuple[str, ...]]:
    """Return the proof that clusters with devices in use are apart now, the worst of all files, None where none is; and
    the clusters that were given devices and of which nothing was proven, as nobody uses them."""
    worst: Proof | None = None
    to = _given(machine, host)
    looked_at: set[str] = set()
    for given, clusters in zip(files, _by_now(files, to), strict=True):
        named, proof = _proof(machine, host, given, clusters, to, policy)
        looked_at.update(named)
        if proof is not None and (worst is None or _WORSE.index(proof.verdict) > _WORSE.index(worst.verdict)):
            worst = proof
    return worst, tuple(sorted({*to.values()} - looked_at))


def _given(machine: Machine, host: Host) -> dict[Address, str]:
    """Return what clusters have been given by now, be it in use or not."""
    to = given_to(read_journal(machine).since(boot_of(machine)).entries, host)
    return {address: name for address, name in to.items() if address in host.functions}


def _by_now(files: Sequence[Given], to: Mapping[Address, str]) -> Iterator[_Devices]:
    """Yield the clusters of each file, oldest first, as they are by now: without what was given to another since, and
    as a later file has them that names all of their devices and more."""
    for number, given in enumerate(files):
        clusters = dict(given.clusters)
        for later in files[number + 1 :]:
            for name, addresses in later.clusters.items():
                if clusters.get(name) and set(addresses).issuperset(clusters[name]):
                    clusters[name] = addresses
        yield {name: tuple(a for a in those if to.get(a, name) == name) for name, those in clusters.items()}


def _proof(
    machine: Machine, host: Host, given: Given, by_now: _Devices, to: Mapping[Address, str], policy: Policy
) -> tuple[tuple[str, ...], Proof | None]:
    """Return which clusters of a file are in use, and the proof of these."""
    told = [address for functions in given.clusters.values() for address in functions]
    try:
        gone = set(told) - host.functions.keys()
        clusters = read_spec(given.spec, host, name="the journal's cluster file", gone=gone, known=given.clusters)
    except AtollError as error:
        # Whose devices these are cannot be told any more: of those that are in use, nothing is proven.
        left = [address for address in (told or host.functions) if address in host.functions]
        if not any(_in_use(machine, host, address) or _driven(host, address, to) for address in left):
            return (), None
        reason = f"whose devices are in use cannot be told: {error.message}"
        return tuple(given.clusters), Proof(Verdict.UNKNOWN, (), (), (reason,), (), 0, 0)
    named = []
    for cluster in clusters.named:
        functions = by_now.get(cluster.name, cluster.functions)
        there = replace(cluster, functions=tuple(address for address in functions if address in host.functions))
        if _used(machine, host, there, to):
            named.append(there)
    if not named:
        return (), None
    settings = present(host, allow_assumed=clusters.allow_assumed)
    clusters = with_others(machine, host, replace(clusters, named=tuple(named)))
    others = []
    for cluster in clusters.others:
        if cluster.handover is not Handover.KERNEL:
            cluster = replace(cluster, functions=tuple(a for a in cluster.functions if _in_use(machine, host, a)))
        others.append(cluster)
    clusters = replace(clusters, others=tuple(others), elsewhere={})
    return tuple(cluster.name for cluster in named), prove(Reach(Topology(host), settings, policy), clusters)


def _used(machine: Machine, host: Host, cluster: Cluster, to: Mapping[Address, str]) -> bool:
    """Whether a cluster's devices are in use: one is open, or a host's driver has it for the cluster."""
    if cluster.handover is Handover.KERNEL and any(
        _driven(host, address, to) and to[address] == cluster.name for address in cluster.functions
    ):
        return True
    return any(_in_use(machine, host, address) for address in cluster.functions)


def _driven(host: Host, address: Address, to: Mapping[Address, str]) -> bool:
    """Whether a host's driver has a function that a cluster was given. Nobody needs to have it open."""
    return address in to and "vfio" not in (value_of(host.functions[address].driver, None) or "vfio")


def _in_use(machine: Machine, host: Host, address: Address) -> bool:
    """Whether somebody has a function open, or may have: it was handed to him, or that is not seen."""
    if "vfio" not in (value_of(host.functions[address].driver, "vfio") or ""):
        return holder_of(host, host.functions[address]) is not None
    try:
        return device.other(machine, address) is not None
    except Failure:
        return True
