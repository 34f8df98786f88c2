"""One function's group: how big it is and why, what would split it, and what nothing would.

Every change that is offered was tried: the groups were predicted with it applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from atoll.controls.acs import closed
from atoll.fabric.answer import Answer
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.command_line import parameters
from atoll.host.fact import Known, value_of
from atoll.host.model import Host, Platform
from atoll.isolation.detour import Detour, detours
from atoll.isolation.groups import Prediction, predict
from atoll.isolation.groups.firmware_ids import joins
from atoll.isolation.groups.late_acs import formed_before_acs
from atoll.isolation.groups.override_evidence import override_in_force
from atoll.isolation.groups.served import behind_iommu
from atoll.isolation.reach import Reach
from atoll.isolation.slots import Slots, other_slots
from atoll.isolation.spoilers import Cause, Rule, Spoiler, held_from_above, spoilers
from atoll.pci.acs import OPENING, REDIRECTING, AcsFlag
from atoll.pci.address import Address

__all__ = ["Change", "ChangeKind", "Grouping", "grouping"]


class ChangeKind(StrEnum):
    """What kind of change would split a group."""

    ACS = "acs"
    """Setting ACS bits that are there."""
    KERNEL = "kernel"
    """Letting the kernel do what it does by itself: with an IOMMU in use, or without an option that stops it."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that splits the group, as predicted with it applied."""

    kind: ChangeKind
    words: Mapping[Address, AcsFlag]
    """The ACS control words that it comes to, in address order."""
    cleared: Mapping[Address, AcsFlag]
    """Of these ports, what has to be off that is on (egress control, direct translated traffic)."""
    group: tuple[Address, ...]
    """The function's group then."""
    undetermined: str
    """What the prediction rests on that the record does not show; empty where nothing."""
    detours: tuple[Detour, ...]
    """Peer-to-peer traffic that would go by the root complex."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """What there is to say about one function's group."""

    one: Address
    number: int | None
    recorded: bool
    """Whether ``members`` are as recorded; else as predicted."""
    members: tuple[Address, ...]
    """Of its group, itself included; empty where it has none."""
    siblings: tuple[Address, ...]
    """The other members that are functions of its device, ports aside."""
    predicted: tuple[Address, ...]
    undetermined: str
    """What the prediction lacks; empty where nothing."""
    reasons: tuple[str, ...]
    """The kernel's rules that put them together, as applied."""
    by_firmware: bool
    """Whether AMD's firmware gives members one requester id."""
    spoilers: tuple[Spoiler, ...]
    apart: Address | None
    """A recorded member that counts as apart from its siblings: a port that the record does not show holds them."""
    before_acs: bool
    """Whether the recorded group is not as predicted, and as it forms where ACS comes on later."""
    changes: tuple[Change, ...]
    slots: Slots | None
    """Other places for its card; None where there is no card, or none can help."""
    override: bool
    """Whether ``pcie_acs_override=`` is on the command line and may shape the groups."""
    real: tuple[Address, ...]
    """With an override: its group by what the hardware says of itself."""
    real_undetermined: str
    """What that rests on that the record does not show, but for whether there is an IOMMU; empty where nothing."""


def grouping(topology: Topology, settings: Settings, one: Address) -> Grouping:
    """Return what holds a function's group together and what would split it."""
    host = topology.host
    prediction = predict(host)
    predicted = _group_of(prediction, one)
    number = value_of(host.functions[one].group, None)
    known = value_of(host.groups, {}).get(number) if number is not None else None
    members = tuple(sorted(known.members)) if known is not None else _unlisted(host, predicted, one)
    shared = any(address != one for address in members)
    apart, found = _held(topology, prediction, members, one, recorded=known is not None) if shared else (None, ())
    amiss = known is not None and members != predicted and not prediction.open_about(one)
    before_acs = amiss and shared and formed_before_acs(host, (one,))
    override = bool(override_in_force(host))
    real = predict(_without_override(host)) if override else None
    siblings = tuple(a for a in members if a != one and _of_one_device(topology, one, a))
    elsewhere = (
        not before_acs and host.platform is not Platform.POWERNV and _may_part(topology, members, siblings, found)
    )
    return Grouping(
        one=one,
        number=number,
        recorded=known is not None,
        members=members,
        siblings=siblings,
        predicted=predicted,
        undetermined=prediction.open_about(one),
        reasons=tuple(dict.fromkeys(r for a in members for r in prediction.reasons.get(a, ()))) if shared else (),
        by_firmware=joins(host, members),
        spoilers=found,
        apart=apart,
        before_acs=before_acs,
        changes=_changes(topology, settings, one, members, predicted, found) if shared else (),
        slots=other_slots(topology, one, members) if elsewhere else None,
        override=override,
        real=_group_of(real, one) if real is not None else (),
        real_undetermined=_open_besides_iommu(host, real, one) if real is not None else "",
    )


def _unlisted(host: Host, predicted: tuple[Address, ...], one: Address) -> tuple[Address, ...]:
    """Return the members of a group that was not recorded: as predicted, but for what is known to be in none."""
    return () if isinstance(host.functions[one].group, Known) else predicted


def _held(
    topology: Topology, prediction: Prediction, members: tuple[Address, ...], one: Address, *, recorded: bool
) -> tuple[Address | None, tuple[Spoiler, ...]]:
    """Return the member that only a port which the record lacks can hold to the others, and what else holds them."""
    found = spoilers(topology, members, above=one)
    apart = held_from_above(topology.host, members, one) if recorded else None
    if apart is None or _group_of(prediction, apart) != (apart,):
        return None, found
    # What else may hold some of them does not count beside what holds them all.
    return apart, tuple(s for s in found if s.rule is not Rule.SLOT or s.cause is not Cause.UNKNOWN)


def _of_one_device(topology: Topology, one: Address, other: Address) -> bool:
    function = topology.functions.get(other)
    return function is not None and not function.is_port and topology.same_device(one, other)


def _may_part(
    topology: Topology, members: Iterable[Address], siblings: Iterable[Address], found: Iterable[Spoiler]
) -> bool:
    """Whether another port above may part a group: it has other devices, or functions that a port alone holds."""
    ends = {a for a in members if a in topology.functions and not topology.functions[a].is_port}
    rules = {spoiler.address: spoiler.rule for spoiler in found}
    held = Rule.PATH in rules.values() and any(rules.get(a) is not Rule.SLOT for a in ends)
    return len(ends) > len(set(siblings)) + 1 or (held and len(ends) > 1)


def _group_of(prediction: Prediction, one: Address) -> tuple[Address, ...]:
    place = prediction.index().get(one)
    return () if place is None else prediction.groups[place]


def _open_besides_iommu(host: Host, prediction: Prediction, one: Address) -> str:
    guess = behind_iommu(host)[1].get(one, "")
    return prediction.open_about(one).removeprefix(guess).removeprefix("; ")


def _without_override(host: Host) -> Host:
    words = parameters(value_of(host.command_line, ""))
    kept = " ".join(f'"{word}"' for word in words if not word.startswith("pcie_acs_override="))
    return replace(host, command_line=Known(kept, "without pcie_acs_override="))


def _changes(
    topology: Topology,
    settings: Settings,
    one: Address,
    members: tuple[Address, ...],
    before: tuple[Address, ...],
    found: tuple[Spoiler, ...],
) -> tuple[Change, ...]:
    """Try to set what can be set: all of it, then as little of it as splits as much, in groups and in fact.

    What was changed since the groups formed can make the prediction larger than the group: it is to leave ``members``.
    """
    host = topology.host
    words: dict[Address, AcsFlag] = {}
    for spoiler in found:
        control = settings.acs.get(spoiler.address)
        if spoiler.settable and control is not None and spoiler.rule is not Rule.ALIAS:
            after = closed(host.functions[spoiler.address], control)
            if after is not None:
                words[spoiler.address] = after
    if not words:
        return ()
    best, _ = _tried(host, one, words)
    if not set(best) < set(before) or _devices(host, members) <= set(best):
        return ()
    words = _fewest(topology, settings, one, words, frozenset(best))
    group, undetermined = _tried(host, one, words)
    words = dict(sorted(words.items()))
    causes = {spoiler.cause for spoiler in found if spoiler.address in words}
    cleared = {a: (settings.acs[a] or AcsFlag(0)) & ~word & OPENING for a, word in words.items()}
    change = Change(ChangeKind.ACS, words, cleared, group, undetermined, detours(topology, settings, words))
    if causes.isdisjoint({Cause.KERNEL, Cause.OPTION}) or not causes <= {Cause.KERNEL, Cause.OPTION, Cause.CHANGED}:
        return (change,)
    # What the kernel sets by itself, what was changed since among it: the bits that groups need, and nothing off.
    own = {a: (settings.acs[a] or AcsFlag(0)) | word & REDIRECTING for a, word in words.items()}
    group, undetermined = _tried(host, one, own)
    if set(group) != set(change.group):
        return (change,)
    return (replace(change, kind=ChangeKind.KERNEL, words=own, cleared=dict.fromkeys(own, AcsFlag(0))), change)


def _fewest(
    topology: Topology,
    settings: Settings,
    one: Address,
    words: Mapping[Address, AcsFlag],
    group: frozenset[Address],
) -> dict[Address, AcsFlag]:
    """Leave out, one by one, the ports without which a function's group is as small and as many stay away from it."""
    kept = dict(words)
    all_closed = _after(topology, settings, words)
    for address in reversed(list(words)):
        fewer = {a: word for a, word in kept.items() if a != address}
        if fewer and set(_tried(topology.host, one, fewer)[0]) == group:
            reached = _reached_from_below(_after(topology, settings, fewer), address, one)
            if reached <= _reached_from_below(all_closed, address, one):
                kept = fewer
    return kept


def _after(topology: Topology, settings: Settings, words: Mapping[Address, AcsFlag]) -> Reach:
    for address, word in words.items():
        settings = settings.with_acs(address, word)
    return Reach(topology, settings)


def _reached_from_below(reach: Reach, port: Address, one: Address) -> set[Address]:
    """Which functions below a port reach another, or can pass for it: groups do not show that (ACS is egress only)."""
    return {
        other
        for other in reach.topology.below.get(port, ())
        if other != one and Answer.DIRECT in (reach.answer(other, one).answer, reach.identity(other, one).answer)
    }


def _devices(host: Host, members: Iterable[Address]) -> set[Address]:
    """The members that VFIO gives away: a group that only loses ports is not split."""
    return {a for a in members if a not in host.functions or not host.functions[a].is_port}


def _tried(host: Host, one: Address, words: Mapping[Address, AcsFlag]) -> tuple[tuple[Address, ...], str]:
    prediction = predict(host, acs_control=words)
    return _group_of(prediction, one), prediction.open_about(one)
