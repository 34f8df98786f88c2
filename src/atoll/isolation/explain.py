"""Why two functions share a group, or can reach one another, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from atoll.fabric.answer import Answer, Finding
from atoll.fabric.multicast import copiers
from atoll.fabric.settings import DomainKind
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT, SWITCHING_OFF, WITHOUT
from atoll.host.fact import Known, Unknown, value_of
from atoll.isolation.contention import Contention, contention
from atoll.isolation.exposure import Exposure, exposure
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from atoll.isolation.redirected import redirecting
from atoll.isolation.remedies.acs import acs_closed, acs_remedies
from atoll.isolation.remedies.links import link_remedies
from atoll.isolation.remedies.remedy import Remedy, closeness
from atoll.isolation.remedies.staying import what_stays
from atoll.isolation.slots import other_slots
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["Explanation", "Way", "explain"]


@dataclass(frozen=True, slots=True)
class Way:
    """What one of the two functions can do to the other."""

    source: Address
    target: Address
    finding: Finding
    """Whether it reaches it."""
    identity: Finding
    """Whether it can send requests under the other's id."""
    exposed: Exposure | None
    """Which addresses of the other it can hit; None where no request turns towards it."""


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
    there: Way
    back: Way
    remedies: tuple[Remedy, ...]
    shared: tuple[Contention, ...] = ()
    """What both use without access to one another."""
    recorded: bool = True
    """Whether ``same_group`` is what the record says; else it is predicted."""
    missing: tuple[str, ...] = ()
    """What the record lacks and the prediction rests on."""
    redirecting: tuple[Address, ...] = ()
    """The ports of a switch that send up what it could turn between the two."""


def explain(reach: Reach, one: Address, other: Address) -> Explanation:
    """Return why two functions share a group or reach one another, both ways, and what would change it."""
    topology = reach.topology
    groups = (topology.functions[one].group, topology.functions[other].group)
    recorded = all(isinstance(group, Known) for group in groups)
    numbers = (value_of(groups[0], None), value_of(groups[1], None))
    prediction = predict(topology.host)
    place = prediction.index()
    lacking: list[str] = []
    if recorded:
        same: bool | None = None not in numbers and numbers[0] == numbers[1]
    else:
        same = place[one] == place[other] if one in place and other in place else None
        undetermined = dict(prediction.undetermined)
        lacking = [undetermined[address] for address in (one, other) if address in undetermined]
    why = (*prediction.reasons.get(one, ()), *prediction.reasons.get(other, ())) if same else ()
    there, back = _way(reach, one, other), _way(reach, other, one)
    return Explanation(
        one,
        other,
        numbers,
        same,
        tuple(dict.fromkeys(why)),
        there,
        back,
        _remedies(reach, there, back, same=bool(same)),
        contention(topology, {one: str(one), other: str(other)}),
        recorded,
        tuple(dict.fromkeys(lacking)),
        redirecting(topology, reach.settings, one, other),
    )


def _way(reach: Reach, source: Address, target: Address) -> Way:
    exposed = exposure(reach.topology, reach.settings, reach.policy, source, target)
    return Way(source, target, reach.answer(source, target), reach.identity(source, target), exposed)


def _remedies(reach: Reach, there: Way, back: Way, *, same: bool) -> tuple[Remedy, ...]:
    """What would separate the two; where that is nothing, why not."""
    topology, one, other = reach.topology, there.source, there.target
    words = acs_closed(reach, one, other, same=same)
    remedies = (
        *link_remedies(topology, reach.settings, one, other),
        *acs_remedies(reach, one, other, words, same=same),
        *_by_multicast(topology, one, other),
        *_by_domain(reach, one, other, words),
    )
    answers = [finding.answer for way in (there, back) for finding in (way.finding, way.identity)]
    if remedies:
        return (*remedies, *what_stays(reach, one, other, words=words, read=not _unread(topology, one, other)))
    if not (same or max(answers) > Answer.IOMMU):
        return ()
    if Answer.POSSIBLE in answers and _unread(topology, one, other):
        return (_NOT_READ,)
    # A slot with ACS all the way up ends what passes under a port: not what a root complex may route, nor what the one
    # that stays sends under false names.
    direct = Answer.DIRECT in (there.finding.answer, back.finding.answer)
    return (_nothing(topology, one, other) if same or direct else _NOTHING,)


_NOT_READ = Remedy(
    "not known: the record does not show what could be set", "", "record it as root: lspci -nnvvvxxxx, or atoll capture"
)


_SWITCH_ON = (
    "none does now: it is switched on in the firmware's setup (VT-d, AMD-Vi) and on the kernel's command line "
    "(intel_iommu=on where the kernel needs it); a virtual machine is given one, or none"
)

_NOTHING = Remedy("nothing that can be set separates them", "", "whether another slot would is not known")


def _unread(topology: Topology, one: Address, other: Address) -> bool:
    """Whether it was not read of the two, or of a port above them, what it is, its ACS, or what stands above it."""
    return any(
        topology.severed(address) or isinstance(function.acs, Unknown) or isinstance(function.port_type, Unknown)
        for address in {one, other, *topology.up(one), *topology.up(other)}
        for function in (topology.functions[address],)
    )


def _nothing(topology: Topology, one: Address, other: Address) -> Remedy:
    """Where nothing can be set: another slot for either, where one would give it a group of its own."""
    if topology.vmds and max(one, other).domain >= FIRST_SEGMENT:
        return Remedy(f"turn {SWITCHING_OFF}", "", f"what it serves {WITHOUT}")
    for address, left in ((one, other), (other, one)):
        slots = other_slots(topology, address, (address, left))
        kept = {left, *topology.up(left)}
        places = [p for p in slots.places if p.isolates and left not in p.taken_by] if slots is not None else []
        ports = [p.port for p in places if p.port not in kept]
        if ports:
            below = ", ".join(map(str, ports[:4]))
            effect = f"{address} is predicted into a group of its own below {below}"
            return Remedy("nothing that can be set separates them; another slot would", "", effect)
    return Remedy("nothing that can be set separates them", "", "nor does another slot of this machine that is known")


def _by_multicast(topology: Topology, one: Address, other: Address) -> tuple[Remedy, ...]:
    """Switch Multicast off where what one of the two sends is copied to the other, or only that stands open."""
    unread = _unread(topology, one, other)
    meetings = (topology.meeting(*way) for way in ((one, other), (other, one)))
    ports = {
        function.address
        for meeting in meetings
        if meeting.source != meeting.target
        for function in copiers(topology, meeting.source, meeting.bridge)
        if isinstance(function.multicast, Known) or not unread
    }
    return tuple(
        Remedy(
            f"switch Multicast off at {port}",
            f"setpci -s {port} ECAP12+6.w=0:8000",
            "what hits its window then goes where ACS says, until the next reset; no kernel switches it on",
        )
        for port in sorted(ports)
    )


def _by_domain(reach: Reach, one: Address, other: Address, words: Mapping[Address, AcsFlag]) -> tuple[Remedy, ...]:
    """Let the IOMMU translate for the one whose requests it passes on as they are, beside ACS set to ``words``."""
    redirecting = replace(reach.settings, acs={**reach.settings.acs, **words})
    before, found = closeness(Reach(reach.topology, redirecting, reach.policy), one, other), []
    unserved: list[str] = []
    for address in (one, other):
        domain = reach.settings.domain.get(address)
        if domain is None or domain.kind not in (DomainKind.IDENTITY, DomainKind.UNKNOWN, DomainKind.NONE):
            continue
        translated = redirecting.with_domain(address, domain._replace(kind=DomainKind.TRANSLATED))
        if closeness(Reach(reach.topology, translated, reach.policy), one, other) < before:
            if domain.kind is DomainKind.NONE:
                unserved.append(str(address))
                continue
            group = value_of(reach.topology.functions[address].group, None)
            number = "N" if group is None else str(group)
            unread = " (whether it does was not read)" if domain.kind is DomainKind.UNKNOWN else ""
            found.append(
                Remedy(
                    f"let the IOMMU translate for {address}{unread}",
                    f"cat /sys/kernel/iommu_groups/{number}/type",
                    "DMA or DMA-FQ there: it does. identity: boot with iommu.passthrough=0, or write DMA to that file "
                    "with no driver bound; what VFIO gives to a guest is translated in any case",
                )
            )
    if unserved:
        found.append(Remedy(f"have an IOMMU in use that translates for {' and '.join(unserved)}", "", _SWITCH_ON))
    return tuple(found)
