"""What is owed back: how the journal says devices were before atoll touched them, held against the host as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from atoll.act.before import Before, is_as_before, was_before
from atoll.act.below import changed_ports, is_above
from atoll.act.busy import busy_neighbours, may_be_used, relied_on
from atoll.act.entries import Entry
from atoll.act.exchanged import exchanged
from atoll.act.machine import Machine
from atoll.act.owed_refusal import check_owners, check_possible, find_held
from atoll.act.pace import Pace
from atoll.act.regrouped import changes_groups, is_kept, keeps_its_group
from atoll.act.shared_links import shared_links
from atoll.act.site import Site
from atoll.fabric.domains import holder_of
from atoll.host.model import Host
from atoll.isolation.clusters import HOST, Cluster, Clusters
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.spec import Spec
from atoll.plan.step import Step, StepKind

__all__ = ["Owed", "find_owed"]


@dataclass(frozen=True, slots=True)
class Owed:
    """What there is to give back."""

    site: Site
    entries: tuple[Entry, ...]
    was: Mapping[Address, Before]
    """How each device was that there is something to give back of."""
    held: Mapping[Address, Cluster]
    over: tuple[Entry, ...] = ()
    """Entries of which nothing is left: the device was exchanged, or is as before, pulled and plugged again."""
    left: tuple[str, ...] = ()
    relied_on: str = ""
    """Who may rely on what devices are set to now, so that nothing is opened that resets have closed; empty: nobody."""
    closed: frozenset[Address] = frozenset()
    """Ports that stay as they are set, and decide about groups."""
    unmoved: frozenset[Address] = frozenset()
    """Functions that keep the groups in which they were found again."""
    shared: Mapping[Address, Step] = field(default_factory=dict)
    """Of devices with links to those of clusters that stay, what keeps these links cut."""


def find_owed(machine: Machine, host: Host, spec: Spec, entries: tuple[Entry, ...], pace: Pace) -> Owed:
    """Return what there is to give back. Raises RefusedError where it cannot be."""
    clusters = _with_given(spec.clusters, host, entries)
    held = find_held(Site(machine, host), clusters)
    # What its holder has open was not exchanged: there, the journal and the host cannot both be right.
    strange, told = exchanged((entry for entry in entries if entry.step.device not in held), host.functions.get)
    entries = tuple(entry for entry in entries if entry not in strange)
    site = Site(machine, host, _fingerprints(host, entries), pace=pace)
    owners = {address: cluster for cluster in clusters.named for address in cluster.functions}
    mine = {cluster.name for cluster in clusters.named}
    others = {entry.step.device for entry in entries if entry.step.cluster not in (*mine, HOST, None)} - owners.keys()
    check_owners(entries, owners)
    in_use = busy_neighbours(machine, entries, {**owners, **dict.fromkeys(others)})
    others |= in_use.keys()
    kept = _kept(host, entries, owners)
    # What the clusters were given is theirs to give back: whoever read their file has checked that.
    named = {address for cluster in spec.clusters.named for address in cluster.functions}
    needed = host.essential.keys() - named - spec.essential
    was = was_before(host, [entry for entry in entries if entry.step.device not in needed], owners, others, kept)
    back = _back_already(site, was, held)
    over = (*strange, *(entry for entry in entries if entry.step.device in back))
    was = {address: before for address, before in was.items() if address not in back}
    for address in held:
        was.setdefault(address, Before())
    check_possible(site, was, held)
    left = [*_absent(host, entries), *told, *(_stays(host, port, user) for port, user in kept.items())]
    left += _needed_by_now(host, entries, needed)
    left += [f"{who}: its links stay cut at both ends" for who in in_use.values()]
    shared = {address: step for address in was if (step := shared_links(host, entries, address, others))}
    by_whom = relied_on(host, {*was, *owners}, others)
    closed = _others_of(filter(changes_groups, entries), host, was)
    waiting = dict(_waiting(host, entries, was, closed))
    was = {address: before for address, before in was.items() if address not in waiting}
    left += waiting.values()
    unmoved = _others_of((entry for entry in entries if entry.step.kind is StepKind.REMOVE), host, was)
    return Owed(site, entries, was, held, over, tuple(left), by_whom, closed, unmoved, shared)


def _others_of(entries: Iterable[Entry], host: Host, was: Mapping[Address, Before]) -> frozenset[Address]:
    """Return the functions that entries tell of and that are not given back now."""
    return frozenset({entry.step.device for entry in entries} & host.functions.keys() - was)


def _waiting(
    host: Host, entries: tuple[Entry, ...], was: Mapping[Address, Before], closed: Set[Address]
) -> Iterator[tuple[Address, str]]:
    """Yield what is the host's again but for its group, below a port that stays as it is set, with the sentence that
    tells it: its driver is not taken off for nothing."""
    for address in was:
        port = next((port for port in sorted(closed) if is_above(host, address, port)), None)
        if port is not None and all(is_kept(entry) for entry in entries if entry.step.device == address):
            yield address, keeps_its_group(address, port)


def _needed_by_now(host: Host, entries: tuple[Entry, ...], needed: Set[Address]) -> Iterator[str]:
    for address in sorted({entry.step.device for entry in entries} & needed):
        yield f"{address} stays as it is: by now the host itself needs it ({host.essential[address]})"


def _with_given(clusters: Clusters, host: Host, entries: tuple[Entry, ...]) -> Clusters:
    """Return the clusters with what the journal says they were given beside: a file that names fewer devices by now
    gives them back too, so nobody may have them open."""
    others = exchanged(entries, host.functions.get)[0]
    given: dict[str | None, set[Address]] = {}
    for entry in entries:
        if entry.step.device in host.functions and entry not in others:
            given.setdefault(entry.step.cluster, set()).add(entry.step.device)
    elsewhere = {address: cluster.name for cluster in clusters.named for address in cluster.functions}
    named = []
    for cluster in clusters.named:
        mine = {a for a in given.get(cluster.name, ()) if elsewhere.get(a, cluster.name) == cluster.name}
        named.append(replace(cluster, functions=tuple(sorted(mine.union(cluster.functions)))))
    return replace(clusters, named=tuple(named))


def _back_already(site: Site, was: Mapping[Address, Before], held: Mapping[Address, Cluster]) -> set[Address]:
    """Return the devices of which there is nothing to give back, nor any other group to be found again in."""
    moved = [address for address, before in was.items() if before.removed]
    return {
        address
        for address, before in was.items()
        if address not in held
        and not any(is_above(site.host, address, port) for port in moved)
        and is_as_before(site, address, before)
    }


def _fingerprints(host: Host, entries: Iterable[Entry]) -> dict[Address, str]:
    """What each device was known by when it was changed; of those that only a holder has, what it is known by now."""
    found = {address: fingerprint(function) for address, function in host.functions.items()}
    found.update((entry.step.device, str(entry.before["fingerprint"])) for entry in entries)
    return found


def _absent(host: Host, entries: Iterable[Entry]) -> Iterator[str]:
    for address in sorted({entry.step.device for entry in entries} - host.functions.keys()):
        yield f"{address} is not there: a rescan (/sys/bus/pci/rescan) may find it; it is not given back"


def _kept(host: Host, entries: Iterable[Entry], owners: Mapping[Address, Cluster]) -> dict[Address, Address]:
    """Return the ports that were changed and stay so, each with a device of another user below it.

    What a VFIO driver has may be in use now or be opened at any moment, by who relies on the setting; of one that
    needed no other change than that of the port, no entry tells.
    """
    ports = changed_ports(entries)
    found: dict[Address, Address] = {}
    for address, function in sorted(host.functions.items()):
        if address in owners or address in ports or function.is_port or not may_be_used(host, function):
            continue
        for port in ports & host.functions.keys():
            if is_above(host, address, port):
                found.setdefault(port, address)
    return dict(sorted(found.items()))


def _stays(host: Host, port: Address, user: Address) -> str:
    holder = holder_of(host, host.functions[user])
    who = f"open in process {holder.pid} ({holder.name})" if holder is not None else "bound to a VFIO driver"
    return f"{port} stays as it is set: {user} below it is {who}, and is not released with this"
