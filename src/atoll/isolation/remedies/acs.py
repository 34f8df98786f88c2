"""What would separate two functions: ACS on the way up from both, and no ATS where ACS cannot block what it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.controls.acs import closed
from atoll.controls.acs_recipe import acs_recipes
from atoll.fabric.answer import Answer
from atoll.fabric.passage import sends_translated
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.host.model import Platform
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from atoll.isolation.remedies.remedy import Remedy, beside_links, closeness
from atoll.pci.acs import OPENING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS

__all__ = ["acs_closed", "acs_remedies"]


def acs_remedies(
    reach: Reach, one: Address, other: Address, changed: Mapping[Address, AcsFlag], *, same: bool
) -> tuple[Remedy, ...]:
    """Set the control words of `acs_closed`, and say what that brings."""
    topology, settings = reach.topology, reach.settings
    before = _translating(reach, one, other)
    if not changed:
        return _by_ats(reach, before, one, other)
    tightened = Reach(topology, _with_all(before.settings, changed), reach.policy)
    blocks = any(word & ~(settings.acs.get(a) or AcsFlag(0)) & AcsFlag.TB for a, word in changed.items())
    separate = not same or not _together(topology, tightened.settings, one, other)
    effect = _effect(reach, tightened, one, other)
    if blocks:
        effect += "; ATS no longer works below a port with TransBlk+"
    if same:
        effect += "; the kernel would form separate groups once they are found again" if separate else ""
        if not separate and closeness(tightened, one, other) == closeness(before, one, other):
            return _by_ats(reach, before, one, other)
    cleared = {a: (settings.acs.get(a) or AcsFlag(0)) & ~word & OPENING for a, word in changed.items()}
    what = _bits_at(settings, changed)
    return (
        *(
            Remedy(what, "\n".join(recipe.lines), f"{effect}; {recipe.note}")
            for recipe in acs_recipes(topology.host, changed, cleared)
        ),
        *_by_ats(reach, tightened, one, other),
    )


def acs_closed(reach: Reach, one: Address, other: Address, *, same: bool) -> Mapping[Address, AcsFlag]:
    """Return the control words that keep two functions further apart, or part their group, by where they are to be set:
    on the way up from both, nearest first.

    What redirects is of use where the IOMMU translates only: that it does is taken as given, and told apart.
    """
    topology = reach.topology
    trial, changed = _translating(reach, one, other), {}
    before = closeness(trial, one, other)
    for source in (one, other):
        for address in (source, *topology.up(source)):
            for word in _words(topology, trial.settings, source, address):
                tighter = Reach(topology, trial.settings.with_acs(address, word), reach.policy)
                now = closeness(tighter, one, other)
                splits = same and topology.host.platform is not Platform.POWERNV and AcsFlag.TB not in word
                if now < before or splits:
                    trial, before = tighter, min(now, before)
                    changed[address] = word
    return changed


def _translating(reach: Reach, one: Address, other: Address) -> Reach:
    """Return the reach as it is once the IOMMU translates for both."""
    settings = reach.settings
    for address in (one, other):
        domain = settings.domain.get(address)
        if domain is None or domain.kind in (DomainKind.IDENTITY, DomainKind.UNKNOWN):
            settings = settings.with_domain(address, Domain(DomainKind.TRANSLATED, f"function {address}"))
    return Reach(reach.topology, settings, reach.policy)


def _with_all(settings: Settings, words: Mapping[Address, AcsFlag]) -> Settings:
    return replace(settings, acs={**settings.acs, **words})


def _effect(before: Reach, after: Reach, one: Address, other: Address) -> str:
    """Return what of the traffic between two functions goes through the IOMMU then."""
    ways = ((one, other), (other, one))
    if all(beside_links(after, *way) <= Answer.IOMMU for way in ways):
        # What their links carry, which their own remedies tell of, it does not change.
        linked = any(after.answer(*way).answer > Answer.IOMMU for way in ways)
        return f"traffic between them{' over PCIe' if linked else ''} goes through the IOMMU, at its speed"
    ended = [
        f"what {source} sends {target} goes through the IOMMU, at its speed"
        for source, target in ways
        if beside_links(before, source, target) > Answer.IOMMU >= beside_links(after, source, target)
    ]
    ended += [
        f"{source} sends no requests as {target}"
        for source, target in ways
        if before.identity(source, target).answer > Answer.IOMMU >= after.identity(source, target).answer
    ]
    return "; ".join(ended) or "less of the traffic between them goes past the IOMMU"


def _words(topology: Topology, settings: Settings, source: Address, address: Address) -> tuple[AcsFlag, ...]:
    """Control words that could help ``source``: all redirection; at a port, where it may use ATS, blocking as well."""
    function, control = topology.functions[address], settings.acs.get(address)
    if control is None or not isinstance(function.acs, Known) or function.acs.value is None:
        return ()
    after = closed(function, control)
    blocking = (after if after is not None else control) | (function.acs.value.capability & AcsFlag.TB)
    words = [after] if after is not None else []
    if topology.port_type(address) in DOWNSTREAM_PORTS:
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
    if not known or closeness(without, one, other) >= closeness(tightened, one, other):
        return ()
    what = f"let {' and '.join(map(str, known))} use no ATS"
    effect = "no device does then, at the next boot: the IOMMU translates each request, and blocks what is translated"
    return (Remedy(what, "pci=noats", effect),)


def _together(topology: Topology, settings: Settings, one: Address, other: Address) -> bool:
    control = {address: word for address, word in settings.acs.items() if word is not None}
    place = predict(topology.host, acs_control=control).index()
    return one in place and place.get(one) == place.get(other)
