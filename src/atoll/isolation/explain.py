"""Why two functions share a group, or can reach one another, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.controls.acs import closed
from atoll.controls.acs_options import config_acs
from atoll.controls.link_control import Level
from atoll.controls.registry import link_control
from atoll.fabric.answer import Answer, Finding
from atoll.fabric.links import between, is_open, near_end
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, value_of
from atoll.host.model import Platform
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Explanation", "Remedy", "explain"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something that would change it, and what it is worth."""

    what: str
    how: str
    """Ready to use: a register value, a kernel parameter, a cluster file's line; empty where there is nothing."""
    effect: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say about two functions."""

    one: Address
    other: Address
    groups: tuple[int | None, int | None]
    same_group: bool | None
    """None where groups were not read and cannot be predicted."""
    why: tuple[str, ...]
    """Why the kernel put them together."""
    there: Finding
    back: Finding
    identity_there: Finding
    identity_back: Finding
    remedies: tuple[Remedy, ...]


def explain(reach: Reach, one: Address, other: Address) -> Explanation:
    """Return why two functions share a group or reach one another, both ways, and what would change it."""
    topology = reach.topology
    host = topology.host
    a, b = topology.functions[one], topology.functions[other]
    groups = (value_of(a.group, None), value_of(b.group, None))
    prediction = predict(host)
    place = prediction.index()
    if None not in groups:
        same: bool | None = groups[0] == groups[1]
    elif isinstance(a.group, Known) and isinstance(b.group, Known):
        same = False
    else:
        same = place[one] == place[other] if one in place and other in place else None
    why: tuple[str, ...] = ()
    if same:
        why = tuple(dict.fromkeys((*prediction.reasons.get(one, ()), *prediction.reasons.get(other, ()))))
    found = (reach.answer(one, other), reach.answer(other, one))
    identity = (reach.identity(one, other), reach.identity(other, one))
    remedies = (
        *_by_links(topology, reach.settings, one, other),
        *_by_acs(reach, one, other, same=bool(same)),
    )
    reached = any(finding.answer > Answer.IOMMU for finding in (*found, *identity))
    if not remedies and (same or reached):
        remedies = (Remedy("nothing that can be set separates them", "", "a slot below another root port may"),)
    return Explanation(one, other, groups, same, why, *found, *identity, remedies)


def _by_links(topology: Topology, settings: Settings, one: Address, other: Address) -> tuple[Remedy, ...]:
    """Cut at either end what is open; nothing where every link is closed already."""
    links = [link for link in between(topology, one, other) if is_open(settings, link) is not False]
    found = []
    for end in (one, other):
        numbers = sorted(n for link in links if (n := near_end(link, end).number) is not None)
        control = link_control(topology.functions[end])
        if not numbers:
            continue
        if control is None:
            found.append(Remedy(f"no control is known that cuts the links of {end}", "", "they stay open"))
            continue
        level = f" (level {control.level})" if control.level is not Level.OBSERVED else ""
        found.append(
            Remedy(
                f"cut link(s) {', '.join(map(str, numbers))} of {end}{level}",
                f"{control.name} mask {control.mask(numbers):#x}",
                "closes the links both ways until the next bus reset of that end; cut both ends",
            )
        )
    return tuple(found)


def _by_acs(reach: Reach, one: Address, other: Address, *, same: bool) -> tuple[Remedy, ...]:
    """Close ACS on the way up from both, nearest first; keep what changes an answer or the group."""
    topology, settings = reach.topology, reach.settings
    before = _state(reach, one, other)
    trial, changed = settings, {}
    for source in (one, other):
        for address in (source, *topology.up(source)):
            control = trial.acs.get(address)
            if control is None:
                continue
            after = closed(topology.functions[address], control)
            if after is None or after == control:
                continue
            tighter = trial.with_acs(address, after)
            now = _state(Reach(topology, tighter, reach.policy), one, other)
            splits = same and topology.host.platform is not Platform.POWERNV
            if now < before or splits:
                trial, before = tighter, min(now, before)
                changed[address] = after
    if not changed:
        return ()
    separate = not same or not _together(topology, trial, one, other)
    effect = "traffic between them goes through the IOMMU, at its speed"
    if same:
        effect += "; the kernel would form separate groups once they are found again" if separate else ""
        if not separate and _state(Reach(topology, trial, reach.policy), one, other) == _state(reach, one, other):
            return ()
    how = "pci=config_acs=" + ";".join(config_acs(control, address) for address, control in sorted(changed.items()))
    ports = ", ".join(map(str, sorted(changed)))
    return (Remedy(f"set SrcValid+ ReqRedir+ CmpltRedir+ UpstreamFwd+ at {ports}", how, effect),)


def _state(reach: Reach, one: Address, other: Address) -> int:
    answers = (
        reach.answer(one, other),
        reach.answer(other, one),
        reach.identity(one, other),
        reach.identity(other, one),
    )
    return sum(finding.answer for finding in answers)


def _together(topology: Topology, settings: Settings, one: Address, other: Address) -> bool:
    control = {address: word for address, word in settings.acs.items() if word is not None}
    place = predict(topology.host, acs_control=control).index()
    return one in place and place.get(one) == place.get(other)
