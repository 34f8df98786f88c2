"""Isolation atoms: what could be told apart with every control at hand used, and by which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from atoll.controls.acs import closed
from atoll.controls.registry import link_control
from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy
from atoll.fabric.links import far_end, near_end
from atoll.fabric.passage import sends_translated, translation_blocked
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.fabric.switching import switched_on
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import EndKind, Link, Platform
from atoll.isolation.contacts.contact import Contact
from atoll.isolation.contacts.host import contacts, partition, roamers
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["Atom", "atoms", "most_closed"]

_CONFINED = (DomainKind.TRANSLATED, DomainKind.BLOCKED)
"""What the IOMMU can do with requests so that none passes as it is."""


@dataclass(frozen=True, slots=True)
class Atom:
    """The smallest set around its members that could be isolated."""

    functions: tuple[Address, ...]
    acs: Mapping[Address, AcsFlag]
    """Control words, on the members and the ports above them, that isolating it may take and that are not set."""
    cuts: Mapping[Address, frozenset[int]]
    """Links to cut at its members."""
    domains: Mapping[Address, DomainKind]
    """Members whose requests the IOMMU would have to translate, and what it does with them now; and ports whose ids
    members can send."""
    ats: Mapping[Address, bool | None]
    """Members that would have to use no ATS (or be blocked by a port above), and whether they do; None: not known."""
    because: tuple[Hop, ...]
    """Of several members: what joins the first two that nothing can tell apart."""
    open: bool = False
    """Whether that is not known to join them: the specification leaves it open, or a fact was not read."""


def most_closed(topology: Topology, settings: Settings) -> Settings:
    """Return the settings with every control at its most closed: all redirection on, all links cut, all translated.

    Ids of ports are translated too: functions may send those. Bus mastering and memory decoding are on, of the ports
    above as well: what is switched off is not isolated but useless.
    """
    acs = {}
    for address, control in settings.acs.items():
        after = closed(topology.functions[address], control if control is not None else AcsFlag(0))
        acs[address] = after if after is not None else control
    cut = dict(settings.cut)
    for address, links in topology.links.items():
        cutter = link_control(topology.functions[address])
        if cutter is not None and not cutter.is_assumed:
            cut[address] = frozenset(number for number in _peers(links, address) if cutter.names(number))
    domain = dict(settings.domain)
    cpu_links = dict(settings.cpu_links)
    for address in topology.functions:
        if _behind_iommu(topology, address):
            own = Domain(DomainKind.TRANSLATED, f"function {address}", "it could have an address space of its own")
            domain[address] = own
            if address in cpu_links and cpu_links[address].kind is not DomainKind.BLOCKED:
                cpu_links[address] = own
    ats: dict[Address, bool | None] = dict.fromkeys(settings.ats, False)
    settings = switched_on(topology, settings, topology.endpoints)
    return replace(settings, acs=acs, cut=cut, domain=domain, cpu_links=cpu_links, ats=ats)


def _peers(links: tuple[Link, ...], address: Address) -> frozenset[int]:
    numbers = set()
    for link in links:
        near, far = near_end(link, address), far_end(link, address)
        if near.number is not None and far.kind is not EndKind.CPU:
            numbers.add(near.number)
    return frozenset(numbers)


def _behind_iommu(topology: Topology, address: Address) -> bool:
    function = topology.functions[address]
    number = value_of(function.group, None)
    group = value_of(topology.host.groups, {}).get(number) if number is not None else None
    if group is not None and group.made_up:
        return False
    if value_of(function.iommu, None) is not None or number is not None:
        return True
    return topology.host.platform is Platform.POWERNV


def atoms(topology: Topology, settings: Settings, policy: Policy) -> tuple[Atom, ...]:
    """Return the atoms of a host, in address order."""
    tight = most_closed(topology, settings)
    reach = Reach(topology, tight, policy)
    touching = tuple(contacts(reach, least=Answer.POSSIBLE))
    joined: dict[Address, list[Contact]] = {}
    for contact in touching:
        for address in {*contact.sources, *contact.targets}:
            joined.setdefault(address, []).append(contact)
    roaming = roamers(reach, least=Answer.POSSIBLE)
    now = Reach(topology, replace(settings, acs=tight.acs, command=tight.command), policy)
    return tuple(
        _atom(now, settings, tight, members, joined, roaming)
        for members in partition(reach, least=Answer.POSSIBLE, found=touching, roaming=roaming).classes
    )


def _atom(
    now: Reach,
    settings: Settings,
    tight: Settings,
    members: tuple[Address, ...],
    joined: Mapping[Address, Sequence[Contact]],
    roaming: Mapping[Address, Finding],
) -> Atom:
    topology = now.topology
    deciders = sorted({port for member in members for port in (member, *topology.up(member))})
    acs = {}
    for address in deciders:
        control = tight.acs.get(address)
        if control is not None and control != settings.acs.get(address):
            acs[address] = control
    inside = set(members)
    cuts = {}
    for address in members:
        links = [link for link in topology.links.get(address, ()) if far_end(link, address).function not in inside]
        numbers = _peers(tuple(links), address) & (tight.cut.get(address) or frozenset())
        if numbers:
            cuts[address] = numbers
    because = BLOCKED
    if len(members) > 1:
        # Where no two touch, some member may access all memory there is.
        roamer = next((roaming[address] for address in members if address in roaming), BLOCKED)
        because = _joining(members[0], joined.get(members[0], ()))
        because = roamer if because is BLOCKED else because
    domains, ats = _to_translate(now, settings, tight, members), _without_ats(topology, settings, members)
    return Atom(members, acs, cuts, domains, ats, because.path, because.answer is Answer.POSSIBLE)


def _to_translate(
    now: Reach, settings: Settings, tight: Settings, members: tuple[Address, ...]
) -> dict[Address, DomainKind]:
    """Return what the IOMMU would have to translate; ``now``: address spaces as they are, ACS at its most closed."""
    found = {}
    ports: dict[Address, DomainKind] = {}
    for address in members:
        current, then = settings.domain.get(address), tight.domain.get(address)
        kind = DomainKind.UNKNOWN if current is None else current.kind
        if then is not None and then.kind is DomainKind.TRANSLATED and kind not in _CONFINED:
            found[address] = kind
        ports |= now.ports_passing(address)
    return found | {port: ports[port] for port in sorted(ports) if port in tight.domain}


def _without_ats(topology: Topology, settings: Settings, members: tuple[Address, ...]) -> dict[Address, bool | None]:
    found: dict[Address, bool | None] = {}
    for address in members:
        sends = sends_translated(topology, settings, address)
        if sends is not False and translation_blocked(topology, settings, topology.up(address)) is not True:
            found[address] = sends
    return found


def _joining(address: Address, touching: Sequence[Contact]) -> Finding:
    """Return what shows the first contact that a function has, what is certain before what is open."""
    for answer in (Answer.DIRECT, Answer.POSSIBLE):
        for contact in touching:
            pair = contact.example(address) if contact.answer is answer else None
            if pair is not None:
                return contact.find(*pair)
    return BLOCKED
