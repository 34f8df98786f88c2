"""Which functions the kernel will have in one group, and whether a group would be split between owners.

A group is the unit of ownership: VFIO takes all of it or nothing. What counts are the groups predicted *after*
the plan: ACS that the plan changes lets functions be found again in smaller groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from atoll.controls.acs import closed
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT, SWITCHING_OFF
from atoll.host.fact import Known, value_of
from atoll.host.model import Platform
from atoll.isolation.clusters import HOST, Clusters
from atoll.isolation.groups import Prediction, predict
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.step import Unachievable

__all__ = ["Regrouping", "group_for"]


@dataclass(frozen=True, slots=True)
class Regrouping:
    """How named functions must be grouped, and what it takes."""

    acs: Mapping[Address, AcsFlag]
    """Control words that must change before functions are found again."""
    regroup: Mapping[Address, tuple[Address, ...]]
    """Functions to be found again, with the group predicted for each."""
    remove: Mapping[Address, tuple[Address, ...]]
    """What is removed and rescanned for that, with its predicted group: those functions, or ports above them."""
    impossible: tuple[Unachievable, ...]


def group_for(
    topology: Topology, settings: Settings, clusters: Clusters, wanted: Mapping[Address, AcsFlag]
) -> Regrouping:
    """Return what makes no group of this kernel span two owners, or why nothing does.

    ``wanted`` are control words that the plan changes anyway. Removing and rescanning is only needed where the
    groups that the kernel formed at discovery are mixed.
    """
    host = topology.host
    if not isinstance(host.groups, Known):
        reason = f"which IOMMU groups there are is not known: {host.groups.reason}"
        return _none(clusters, reason, "read the host with its /sys/kernel/iommu_groups", unknown=True)
    if not host.groups.value:
        reason = "this host has no IOMMU groups: nothing translates or limits what a device sends"
        return _none(clusters, reason, "switch the IOMMU on in the firmware and on the kernel's command line")
    owner = clusters.cluster_of(topology.functions)
    recorded = {address: group.members for group in host.groups.value.values() for address in group.members}
    ungrouped = [address for address in clusters.owner() if address not in recorded]
    if ungrouped:
        reason = f"{', '.join(map(str, ungrouped))}: in no IOMMU group"
        return _none(clusters, reason, "name functions that are behind an IOMMU")
    mixed = _mixed(topology, owner, recorded)
    if not mixed:
        return Regrouping({}, {}, {}, ())
    present = {address: control for address, control in settings.acs.items() if control is not None}
    set_anyway = {**present, **wanted}
    acs: dict[Address, AcsFlag] = {}
    prediction = predict(host, acs_control=set_anyway)
    if host.platform is not Platform.POWERNV and _mixed(topology, owner, _members(prediction)):
        acs = _close_above(topology, set_anyway, mixed)
        prediction = predict(host, acs_control={**set_anyway, **acs})
        acs = _needed(topology, owner, set_anyway, acs)
    members = _members(prediction)
    still = _mixed(topology, owner, members)
    if still:
        return Regrouping({}, {}, {}, tuple(_split(topology, owner, prediction, members, still)))
    return _found_again(topology, owner, {**set_anyway, **acs}, acs, mixed)


def _found_again(
    topology: Topology,
    owner: Mapping[Address, str],
    control: Mapping[Address, AcsFlag],
    acs: Mapping[Address, AcsFlag],
    mixed: Iterable[Address],
) -> Regrouping:
    """Return what to remove and rescan, the least that leads to unmixed groups.

    A function that is found again joins the group of a port above it that does not isolate. Where that is one of
    the mixed groups of before, the port has to be found again too, with all that is below it.
    """
    functions = topology.functions
    removed = {address: address for address in mixed if owner[address] != HOST}
    while True:
        roots = frozenset(removed.values())
        anew = frozenset(a for a in functions if not roots.isdisjoint((a, *topology.up(a))))
        strangers = [a for a in sorted(anew) if not functions[a].is_port and owner.get(a, HOST) == HOST]
        members = _members(predict(topology.host, acs_control=control, anew=anew))
        still = [a for a in _mixed(topology, owner, members) if a in removed]
        if strangers or any(_above(topology, removed[a]) is None for a in still):
            return _none_alone(topology, owner, removed, strangers or still)
        if not still:
            break
        removed |= {a: above for a in still if (above := _above(topology, removed[a])) is not None}
    regroup = {a: members[a] for a in sorted(anew) if not functions[a].is_port and a in members}
    top = {root: members.get(root, ()) for root in sorted(roots) if roots.isdisjoint(topology.up(root))}
    return Regrouping(acs, regroup, top, ())


def _above(topology: Topology, address: Address) -> Address | None:
    return next(iter(topology.up(address)), None)


def _none_alone(
    topology: Topology, owner: Mapping[Address, str], removed: Mapping[Address, Address], standing: Iterable[Address]
) -> Regrouping:
    """Say that nothing can be found again without taking others' devices along."""
    names = tuple(sorted({owner[address] for address in removed}))
    ports = sorted({port for port in removed.values() if topology.functions[port].is_port})
    listed = ", ".join(map(str, standing))
    what = f"{', '.join(map(str, ports))} and all below" if ports else "their functions"
    reason = f"new groups need {what} to be found again by the kernel, and {listed} cannot be"
    remedy = f"name {listed} in a cluster, or restart the host with its ACS set by the kernel (pci=config_acs=)"
    return Regrouping({}, {}, {}, (Unachievable(names, reason, remedy, tuple(standing)),))


def _none(clusters: Clusters, reason: str, remedy: str, *, unknown: bool = False) -> Regrouping:
    names = tuple(cluster.name for cluster in clusters.named)
    return Regrouping({}, {}, {}, (Unachievable(names, reason, remedy, unknown=unknown),))


def _members(prediction: Prediction) -> dict[Address, tuple[Address, ...]]:
    return {address: group for group in prediction.groups for address in group}


def _mixed(
    topology: Topology, owner: Mapping[Address, str], groups: Mapping[Address, tuple[Address, ...]]
) -> tuple[Address, ...]:
    """Return the functions, ports aside, of groups that span several owners, one of them named."""
    found: set[Address] = set()
    for address, name in owner.items():
        if name == HOST or address not in groups:
            continue
        companions = [a for a in groups[address] if a in topology.functions and not topology.functions[a].is_port]
        if any(owner.get(companion) != name for companion in companions):
            found |= {address, *companions}
    return tuple(sorted(found))


def _close_above(
    topology: Topology, control: Mapping[Address, AcsFlag], functions: Iterable[Address]
) -> dict[Address, AcsFlag]:
    """Close every function and port on the way up from functions, as far as each can."""
    found = {}
    for function in functions:
        for address in (function, *topology.up(function)):
            if address in control:
                after = closed(topology.functions[address], control[address])
                if after is not None and after != control[address]:
                    found[address] = after
    return found


def _needed(
    topology: Topology,
    owner: Mapping[Address, str],
    control: Mapping[Address, AcsFlag],
    acs: Mapping[Address, AcsFlag],
) -> dict[Address, AcsFlag]:
    """Leave out, one by one, the changes without which no group is mixed either."""
    kept = dict(acs)
    for address in sorted(acs):
        without = {a: c for a, c in kept.items() if a != address}
        if not _mixed(topology, owner, _members(predict(topology.host, acs_control={**control, **without}))):
            kept = without
    return kept


def _split(
    topology: Topology,
    owner: Mapping[Address, str],
    prediction: Prediction,
    members: Mapping[Address, tuple[Address, ...]],
    still: Iterable[Address],
) -> Iterator[Unachievable]:
    """Say of each group that stays mixed why, and what would help."""
    seen: set[tuple[Address, ...]] = set()
    for address in still:
        group = members[address]
        if group in seen:
            continue
        seen.add(group)
        inside = [a for a in group if a in topology.functions and not topology.functions[a].is_port]
        listed = ", ".join(f"{a} ({owner[a]})" for a in inside)
        reasons = list(dict.fromkeys(why for a in inside for why in prediction.reasons.get(a, ())))
        because = ": " + "; ".join(reasons[:3]) if reasons else ""
        kernel = value_of(topology.host.kernel, None)
        release = f" {kernel.text}" if kernel is not None else ""
        if topology.host.platform is Platform.POWERNV and topology.host.npu_bricks:
            remedy = "a kernel that groups each GPU alone (5.13 or later), or all of them in one cluster"
        elif any(a.domain >= FIRST_SEGMENT for a in inside):
            remedy = f"put all of them in one cluster, or turn {SWITCHING_OFF}"
        else:
            remedy = "put all of them in one cluster, or move a device to a slot below another root port"
        yield Unachievable(
            tuple(sorted({owner[a] for a in inside})),
            f"this kernel{release} puts {listed} in one IOMMU group in every setting{because}",
            remedy,
            tuple(inside),
        )
