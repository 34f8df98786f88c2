"""Why two functions share a group, or can reach one another, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from atoll.controls.acs import closed
from atoll.controls.acs_recipe import acs_recipes
from atoll.fabric.answer import Answer, Finding
from atoll.fabric.meeting import copies
from atoll.fabric.pcie import sends_translated
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Platform
from atoll.isolation.contention import Contention, contention
from atoll.isolation.exposure import Exposure, exposure
from atoll.isolation.groups import predict
from atoll.isolation.link_remedies import link_remedies
from atoll.isolation.reach import Reach
from atoll.isolation.remedy import Remedy
from atoll.isolation.slots import other_slots
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["Explanation", "Remedy", "explain"]


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
    exposed_there: Exposure | None = None
    """Which addresses of the other the one can hit; None where no request turns towards it."""
    exposed_back: Exposure | None = None
    shared: tuple[Contention, ...] = ()
    """What both use without access to one another."""
    recorded: bool = True
    """Whether ``same_group`` is what the record says; else it is predicted."""
    missing: tuple[str, ...] = ()
    """What the record lacks and the prediction rests on."""


def explain(reach: Reach, one: Address, other: Address) -> Explanation:
    """Return why two functions share a group or reach one another, both ways, and what would change it."""
    topology = reach.topology
    host = topology.host
    a, b = topology.functions[one], topology.functions[other]
    groups = (value_of(a.group, None), value_of(b.group, None))
    prediction = predict(host)
    place = prediction.index()
    recorded = isinstance(a.group, Known) and isinstance(b.group, Known)
    missing: tuple[str, ...] = ()
    if recorded:
        same: bool | None = None not in groups and groups[0] == groups[1]
    else:
        same = place[one] == place[other] if one in place and other in place else None
        lacking = dict(prediction.undetermined)
        missing = tuple(dict.fromkeys(lacking[address] for address in (one, other) if address in lacking))
    why: tuple[str, ...] = ()
    if same:
        why = tuple(dict.fromkeys((*prediction.reasons.get(one, ()), *prediction.reasons.get(other, ()))))
    found = (reach.answer(one, other), reach.answer(other, one))
    identity = (reach.identity(one, other), reach.identity(other, one))
    remedies = (
        *link_remedies(topology, reach.settings, one, other),
        *_by_acs(reach, one, other, same=bool(same)),
        *_by_multicast(topology, one, other),
        *_by_domain(reach, one, other),
    )
    reached = any(finding.answer > Answer.IOMMU for finding in (*found, *identity))
    if not remedies and (same or reached):
        answers = [finding.answer for finding in (*found, *identity)]
        # A slot with ACS all the way up ends what passes under a port: not what a root complex may route, nor what
        # the one that stays sends under false names.
        moved = bool(same) or any(finding.answer is Answer.DIRECT for finding in found)
        if Answer.POSSIBLE in answers and _unread(topology, one, other):
            remedies = (_NOT_READ,)
        else:
            remedies = (_nothing(topology, one, other) if moved else _NOTHING,)
    exposed = (
        exposure(topology, reach.settings, reach.policy, one, other),
        exposure(topology, reach.settings, reach.policy, other, one),
    )
    shared = contention(topology, {one: str(one), other: str(other)})
    return Explanation(one, other, groups, same, why, *found, *identity, remedies, *exposed, shared, recorded, missing)


_NOT_READ = Remedy(
    "not known: the record does not show what could be set", "", "record it as root: lspci -nnvvvxxxx, or atoll capture"
)


_NOTHING = Remedy("nothing that can be set separates them", "", "whether another slot would is not known")


def _unread(topology: Topology, one: Address, other: Address) -> bool:
    """Whether it was not read of the two, or of a port above them, what it is, its ACS, or what stands above it."""
    return any(
        topology.severed(address) or isinstance(function.acs, Unknown) or isinstance(function.port_type, Unknown)
        for address in {one, other, *topology.up(one), *topology.up(other)}
        for function in (topology.functions[address],)
    )


_NO_VMD = Remedy(
    "turn VMD off in the firmware's setup (a choice named after VMD, RST or RAID there)",
    "",
    "what it serves then stands in a segment of the host, each function with its own id; nothing that can be set under "
    "Linux does it",
)


def _nothing(topology: Topology, one: Address, other: Address) -> Remedy:
    """Where nothing can be set: another slot for either, where one would give it a group of its own."""
    if topology.vmds and max(one, other).domain >= FIRST_SEGMENT:
        return _NO_VMD
    for address, left in ((one, other), (other, one)):
        slots = other_slots(topology, address)
        kept = {left, *topology.up(left)}
        ports = [p.port for p in slots.places if p.port not in kept and left not in p.taken_by] if slots else []
        if slots is not None and left not in slots.card and ports:
            places = ", ".join(map(str, ports[:4]))
            effect = f"{address} is predicted into a group of its own below {places}"
            return Remedy("nothing that can be set separates them; another slot would", "", effect)
    return Remedy("nothing that can be set separates them", "", "nor does another slot of this machine that is known")


def _by_multicast(topology: Topology, one: Address, other: Address) -> tuple[Remedy, ...]:
    """Switch Multicast off at the ports by which what one of the two sends is copied to the other's."""
    ports = {topology.meeting(*way).source for way in ((one, other), (other, one))} - {one, other}
    return tuple(
        Remedy(
            f"switch Multicast off at {port}",
            f"setpci -s {port} ECAP12+6.w=0:8000",
            "what hits its window then goes where ACS says, until the next reset; no kernel switches it on",
        )
        for port in sorted(ports)
        if copies(topology, port)
    )


def _by_acs(reach: Reach, one: Address, other: Address, *, same: bool) -> tuple[Remedy, ...]:
    """Close ACS on the way up from both, nearest first; keep what changes an answer or the group."""
    topology, settings = reach.topology, reach.settings
    before = _state(reach, one, other)
    trial, changed = settings, {}
    for source in (one, other):
        for address in (source, *topology.up(source)):
            for word in _words(topology, trial, source, address):
                tighter = trial.with_acs(address, word)
                now = _state(Reach(topology, tighter, reach.policy), one, other)
                splits = same and topology.host.platform is not Platform.POWERNV and AcsFlag.TB not in word
                if now < before or splits:
                    trial, before = tighter, min(now, before)
                    changed[address] = word
    if not changed:
        return _by_ats(reach, reach, one, other)
    tightened = Reach(topology, trial, reach.policy)
    blocks = any(word & ~(settings.acs.get(a) or AcsFlag(0)) & AcsFlag.TB for a, word in changed.items())
    separate = not same or not _together(topology, trial, one, other)
    effect = "traffic between them goes through the IOMMU, at its speed"
    if blocks:
        effect += "; ATS no longer works below a port with TransBlk+"
    if same:
        effect += "; the kernel would form separate groups once they are found again" if separate else ""
        if not separate and _state(tightened, one, other) == _state(reach, one, other):
            return _by_ats(reach, reach, one, other)
    loose = AcsFlag.EC | AcsFlag.DT
    cleared = {a: (settings.acs.get(a) or AcsFlag(0)) & ~word & loose for a, word in changed.items()}
    what = _bits_at(settings, changed)
    return (
        *(
            Remedy(what, "\n".join(recipe.lines), f"{effect}; {recipe.note}")
            for recipe in acs_recipes(topology.host, changed, cleared)
        ),
        *_by_ats(reach, tightened, one, other),
    )


def _words(topology: Topology, settings: Settings, source: Address, address: Address) -> tuple[AcsFlag, ...]:
    """Control words that could help ``source``: all redirection; at a port, where it may use ATS, blocking as well."""
    function, control = topology.functions[address], settings.acs.get(address)
    if control is None or not isinstance(function.acs, Known) or function.acs.value is None:
        return ()
    after = closed(function, control)
    blocking = (after if after is not None else control) | (function.acs.value.capability & AcsFlag.TB)
    words = [after] if after is not None else []
    if topology.port_type(address) in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
        words += [blocking] if sends_translated(topology, settings, source) is not False else []
    return tuple(word for word in dict.fromkeys(words) if word != control)


def _bits_at(settings: Settings, changed: Mapping[Address, AcsFlag]) -> str:
    """Return which bits are to be set where: ``set SrcValid+ … at A, B; TransBlk+ at C``."""
    redirect: list[Address] = []
    block: list[Address] = []
    for address, word in sorted(changed.items()):
        control = settings.acs.get(address) or AcsFlag(0)
        if AcsFlag.TB in word & ~control:
            block.append(address)
        if (word ^ control) & ~AcsFlag.TB:
            redirect.append(address)
    parts = (("SrcValid+ ReqRedir+ CmpltRedir+ UpstreamFwd+", redirect), ("TransBlk+", block))
    return "set " + "; ".join(f"{bits} at {', '.join(map(str, ports))}" for bits, ports in parts if ports)


def _by_ats(reach: Reach, tightened: Reach, one: Address, other: Address) -> tuple[Remedy, ...]:
    """Use no ATS, where no port can block what is sent as translated; ``tightened`` has all that ACS does."""
    topology, settings = reach.topology, tightened.settings
    using = [a for a in (one, other) if sends_translated(topology, settings, a) is not False]
    off: Mapping[Address, bool | None] = {**settings.ats, **dict.fromkeys(using, False)}
    without = Reach(topology, replace(settings, ats=off), reach.policy)
    known = [a for a in using if isinstance(topology.functions[a].ats, Known)]
    if not known or _state(without, one, other) >= _state(tightened, one, other):
        return ()
    what = f"let {' and '.join(map(str, known))} use no ATS"
    effect = "no device does then, at the next boot: the IOMMU translates each request, and blocks what is translated"
    return (Remedy(what, "pci=noats", effect),)


def _by_domain(reach: Reach, one: Address, other: Address) -> tuple[Remedy, ...]:
    """Let the IOMMU translate for the one whose requests it passes on as they are."""
    before, found = _state(reach, one, other), []
    for address in (one, other):
        domain = reach.settings.domain.get(address)
        if domain is None or domain.kind not in (DomainKind.IDENTITY, DomainKind.UNKNOWN):
            continue
        translated = reach.settings.with_domain(address, replace(domain, kind=DomainKind.TRANSLATED))
        if _state(Reach(reach.topology, translated, reach.policy), one, other) < before:
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
    return tuple(found)


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
