"""What cannot be given back: what somebody else has open, was given to another cluster, or is not what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.act import device
from atoll.act.before import Before
from atoll.act.capability import require
from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.site import Site
from atoll.errors import RefusedError
from atoll.host.model import Holder
from atoll.isolation.clusters import HOST, Cluster, Clusters
from atoll.pci.address import Address
from atoll.plan.possession import HOLDER_PREFIX

__all__ = ["check_owners", "check_possible", "find_held"]

_IN_USE = "shut its user down first: atoll takes no device from a running owner"
_RENAMED = (
    "it is held for another cluster, or for this one by an earlier name: atoll release with the file that named it so, "
    "or end its holder (atoll hold --stop, or stop its service), which gives its devices back itself"
)


def find_held(site: Site, clusters: Clusters) -> dict[Address, Cluster]:
    """Return which devices the clusters' holders have open. Raises RefusedError for those that others have."""
    held: dict[Address, Cluster] = {}
    followers = {brick.function for brick in site.host.npu_bricks}
    for cluster in clusters.named:
        for address in cluster.functions:
            if address in followers or not device.present(site.machine, address):
                continue
            try:
                other = device.other(site.machine, address, cluster.name)
                # A holder that has its group open may have closed it already, in a release that ended half-way.
                may_be = device.has_vfio(site.machine, address)
                is_held = may_be and device.is_open(site.machine, address, cluster.name)
            except Failure as error:
                raise RefusedError(error.message, hint=error.hint or "run as root") from error
            if other is not None:
                raise RefusedError(device.in_use(address, other), hint=_RENAMED if _is_holder(other) else _IN_USE)
            if is_held:
                held[address] = cluster
    return held


def _is_holder(holder: Holder) -> bool:
    return holder.name.startswith(HOLDER_PREFIX) and holder.root is not False


def check_owners(entries: Iterable[Entry], owners: Mapping[Address, Cluster]) -> None:
    """Raise RefusedError where a device was given to another cluster than the one that is to give it back: numbers of
    GPUs are counted anew each time a file is read, and name others once one was pulled or plugged in."""
    given = {entry.step.device: entry.step.cluster for entry in entries if entry.step.cluster not in (HOST, None)}
    for address, name in given.items():
        if address in owners and owners[address].name != name:
            raise RefusedError(
                f"{address} was given to cluster {name}, and this file counts it to {owners[address].name}",
                hint=f'name devices by address, as they were given: cluster.{name}.devices = ["{address}"]',
            )


def check_possible(site: Site, was: Mapping[Address, Before], held: Mapping[Address, Cluster]) -> None:
    """Raise RefusedError where devices cannot be written, are a living holder's, or are not what they were."""
    machine = site.machine
    if was:
        require(machine, ("attributes", "config"))
    if held and "hold" not in machine.capabilities:
        address, cluster = next(iter(held.items()))
        holder = next(iter(device.holders(machine, address)), None)
        # A keeper heeds no signal but one that closes its devices, which resets them and opens their links.
        raise RefusedError(
            f"{address} is held open for {cluster.name} by process {holder.pid if holder else 'unknown'}",
            hint="end the holder, which gives its devices back itself: atoll hold --stop, or stop its service",
        )
    for address in was:
        try:
            site.check_fingerprint(address)
        except Failure as error:
            raise RefusedError(
                error.message, hint="that device was moved or exchanged: give it back by hand"
            ) from error
