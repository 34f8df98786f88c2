"""Reach: what the hardware, in given settings, lets one function access of another, and how."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from atoll.fabric.answer import BLOCKED, Answer, Finding, Hop, Policy, worst
from atoll.fabric.cache import by_caching
from atoll.fabric.default_domain import default_domain, shows_amd_iommu
from atoll.fabric.links import across_links, into_system, linkless
from atoll.fabric.passage import climbs
from atoll.fabric.pcie import PeerToPeer
from atoll.fabric.root import by_mapping, reflected, to_memory
from atoll.fabric.settings import Domain, DomainKind, Settings
from atoll.fabric.smmu import ids_of_nobody
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT
from atoll.host.fact import Known, value_of
from atoll.isolation.identity import INTEGRATED_IDENTITY, SIBLING_IDENTITY, Identities, spoofs
from atoll.pci.address import Address

__all__ = ["Reach"]

_UNTRANSLATED = (DomainKind.IDENTITY, DomainKind.NONE, DomainKind.UNKNOWN)

_MOST_ANSWERS = 1 << 15


class Reach:
    """Answers about one host in one setting under one policy; the answers that were asked for are remembered."""

    def __init__(self, topology: Topology, settings: Settings, policy: Policy = Policy.STRICT) -> None:
        self.topology = topology
        self.settings = settings
        self.policy = policy
        self._answers: dict[tuple[Address, Address], Finding] = {}
        self._memory: dict[Address, Finding] = {}
        self._root: dict[Address, Finding] = {}
        self._system: dict[Address, Finding] = {}
        self._peers = PeerToPeer(topology, settings, policy)
        self._linkless: dict[Address, bool] = {}
        self._identities = Identities(topology, settings)
        self._unmapped: dict[Address | int, tuple[tuple[Address, Domain], ...]] = {}

    def answer(self, source: Address, target: Address) -> Finding:
        """Return the worst that ``source`` can do to ``target`` over all paths and all traffic."""
        finding = self._answers.get((source, target))
        if finding is None:
            finding = self._find(source, target)
            if len(self._answers) >= _MOST_ANSWERS:
                # A proof asks for each pair once, and of big hosts for millions.
                self._answers.clear()
            self._answers[source, target] = finding
        return finding

    def _find(self, source: Address, target: Address) -> Finding:
        straight = self._straight(source, target)
        return straight if source in self.topology.bricks else worst(straight, *self._carried(source, target))

    def _straight(self, source: Address, target: Address) -> Finding:
        """What ``source`` can do to ``target`` where no VMD's memory BARs are in between."""
        if source == target:
            return Finding(Answer.DIRECT, (Hop(str(source), "itself", "it is the same function"),))
        topology = self.topology
        if source in topology.bricks:
            return self._into_system(source) if topology.has_memory(topology.functions[target]) else BLOCKED
        found = [self._over_links(source, target), self.beside_links(source, target)]
        system = self._into_system(source)
        if topology.has_memory(topology.functions[target]):
            found.append(system)
        return worst(*found)

    def beside_links(self, source: Address, target: Address) -> Finding:
        """Return the worst that ``source`` can do to ``target`` over PCIe, whatever links there are."""
        over_root = reflected(self.topology, self.settings, source, target, self._over_pcie(source))
        if over_root.answer > Answer.IOMMU and self._peers.end(source, target):
            over_root = by_mapping(self.settings, source)
        return worst(self._peers.between(source, target), over_root)

    def _over_links(self, source: Address, target: Address) -> Finding:
        if target not in self._linkless:
            self._linkless[target] = linkless(self.topology, self.settings, target)
        return BLOCKED if self._linkless[target] else across_links(self.topology, self.settings, source, target)

    def _carried(self, source: Address, target: Address) -> Iterator[Finding]:
        """What comes to a VMD's memory BARs goes on to what is behind it (vmd_enable_domain, pci/controller/vmd.c).

        Whether the target answers at an address there is left open.
        """
        for vmd in self._vmds_before(target):
            if vmd != source and source.domain != target.domain:
                found = self._straight(source, vmd)
                hop = Hop(str(vmd), "in its memory BARs", f"{target} is behind it")
                yield Finding(min(found.answer, Answer.POSSIBLE), (*found.path, hop), found.assumptions)

    def _vmds_before(self, target: Address) -> tuple[Address, ...]:
        """Return the VMDs that a function may be behind, and those that these may be behind themselves."""
        found: dict[Address, None] = {}
        seen = [target]
        for address in seen:
            if address.domain >= FIRST_SEGMENT:
                behind = self.topology.functions[address].behind
                for vmd in self.topology.vmds if behind is None else (behind,):
                    if vmd in self.topology.functions and vmd not in found:
                        found[vmd] = None
                        seen.append(vmd)
        return tuple(found)

    def _into_system(self, source: Address) -> Finding:
        if source not in self._system:
            self._system[source] = into_system(self.topology, self.settings, source)
        return self._system[source]

    def memory(self, source: Address) -> Finding:
        """Return the worst that ``source`` can do to memory that is not mapped for it, another cluster's say."""
        if source in self.topology.bricks:
            return self._into_system(source)
        if source not in self._memory:
            caching = by_caching(self.topology, self.policy, source)
            self._memory[source] = worst(self._over_pcie(source), self._into_system(source), caching)
        return self._memory[source]

    def _over_pcie(self, source: Address) -> Finding:
        if source not in self._root:
            own = to_memory(self.topology, self.settings, self.policy, source)
            if own.answer is not Answer.DIRECT:
                own = worst(
                    own, self._under_false_id(source), *self._under_shared_id(source), *self._under_no_id(source)
                )
            self._root[source] = own
        return self._root[source]

    def _under_no_id(self, source: Address) -> Iterator[Finding]:
        """What requests under an id that nobody has come to, where the IOMMU lets those through untranslated."""
        passing, because = ids_of_nobody(self.topology.host)
        climbing = climbs(self.settings, source, self.topology.up(source)) if because else False
        if climbing is False:
            return
        found = self._identities.spoofing(source)
        if found.answer is Answer.BLOCKED:
            # The ports above check bus numbers, and let through the numbers of functions that are not there.
            yield Finding(Answer.BLOCKED, (), frozenset({SIBLING_IDENTITY if found.validator else INTEGRATED_IDENTITY}))
            return
        root = self.topology.root(source)
        hops = (
            Hop(str(source), "requester id", "ports above let through ids of others, or may, and of nobody"),
            Hop(root, "IOMMU", because),
        )
        yield Finding(min(found.answer, passing) if climbing else Answer.POSSIBLE, hops)

    def _under_false_id(self, source: Address) -> Finding:
        """What requests under another function's id come to, where the IOMMU lets those through untranslated.

        Arrival then does not rest on the mappings of the sender's own ids. Of several the first that is certain.
        """
        scope = spoofs(self._identities.spoofing(source), source)
        if scope is None:
            return BLOCKED
        found = BLOCKED
        for target, domain in self._untranslated(scope):
            if target == source:
                continue
            identity = self.identity(source, target)
            answer = min(identity.answer, Answer.POSSIBLE if domain.kind is DomainKind.UNKNOWN else Answer.DIRECT)
            if answer > max(Answer.IOMMU, found.answer):
                hop = Hop(self.topology.root(target), "IOMMU", domain.because)
                found = Finding(answer, (*identity.path, hop), identity.assumptions)
            if found.answer is Answer.DIRECT or (found.answer > Answer.IOMMU and domain.kind is DomainKind.UNKNOWN):
                break
        return found

    def _under_shared_id(self, source: Address) -> Iterator[Finding]:
        """What comes of an id that firmware gives to functions of several groups: for it the IOMMU has the domain that
        one of them was attached to last (``clone_aliases`` in drivers/iommu/amd/iommu.c), whichever that was.
        """
        functions, ids = self.topology.functions, self._identities.ids(source)
        group = value_of(functions[source].group, None)
        for target in self._named_by_firmware:
            domain = self._domain(target)
            together = group is not None and value_of(functions[target].group, None) == group
            if domain is None or domain.kind not in _UNTRANSLATED or together:
                continue
            identity = self.identity(source, target) if ids & self._identities.ids(target) else BLOCKED
            if identity.answer > Answer.IOMMU:
                hop = Hop(self.topology.root(target), "IOMMU", f"maybe as for it: {domain.because}")
                yield Finding(Answer.POSSIBLE, (*identity.path, hop), identity.assumptions)
                return

    @cached_property
    def _named_by_firmware(self) -> tuple[Address, ...]:
        """The functions that firmware gives another's id, and those whose ids it gives to others."""
        told = value_of(self.topology.host.firmware_aliases, {})
        used = {(address.domain, requester) for address, requester in told.items()}
        functions = self.topology.functions if told else ()
        return tuple(a for a in functions if a in told or (a.domain, a.requester_id) in used)

    def _untranslated(self, scope: Address) -> tuple[tuple[Address, Domain], ...]:
        """The functions below a port (or in a function's segment) whose ids the IOMMU may let through; sure ones first.

        Ports count: with pass-through as default, the kernel sets their ids up for it too.
        """
        topology = self.topology
        port = topology.functions[scope].is_port
        place = scope if port else scope.domain
        if place not in self._unmapped:
            below = topology.below.get(scope, ()) if port else ()
            members = (*below, *self._adrift) if port else self._segments.get(scope.domain, ())
            found = []
            for address in dict.fromkeys(members):
                domain = self._domain(address)
                if domain is not None and domain.kind in _UNTRANSLATED:
                    found.append((address, domain))
            found.sort(key=lambda one: one[1].kind is DomainKind.UNKNOWN)
            self._unmapped[place] = tuple(found)
        return self._unmapped[place]

    @cached_property
    def _segments(self) -> dict[int, tuple[Address, ...]]:
        found: dict[int, list[Address]] = {}
        for address in self.topology.functions:
            found.setdefault(address.domain, []).append(address)
        return {domain: tuple(members) for domain, members in found.items()}

    @cached_property
    def _adrift(self) -> tuple[Address, ...]:
        """Functions of which it is not known below which port they hang."""
        return tuple(address for address in self.topology.functions if self.topology.severed(address))

    def ports_passing(self, source: Address) -> dict[Address, DomainKind]:
        """Return the ports whose ids a function can send, or may, and what the IOMMU does with those it may pass."""
        scope = spoofs(self._identities.spoofing(source), source)
        passing = () if scope is None else self._untranslated(scope)
        ports = {address: domain.kind for address, domain in passing if self.topology.functions[address].is_port}
        return {a: kind for a, kind in ports.items() if self.identity(source, a).answer > Answer.IOMMU}

    def _domain(self, address: Address) -> Domain | None:
        function = self.topology.functions[address]
        if not function.is_port or address in self.settings.domain:
            return self.settings.domain.get(address)
        if isinstance(function.group, Known):
            if function.group.value is None and not shows_amd_iommu(self.topology.host):
                # A port that no IOMMU has set up an id for. AMD's share a table, in which its entry may let pass.
                return None
            if function.group.value in self._taken:
                return self._taken[function.group.value]
        return default_domain(self.topology.host, function)

    @cached_property
    def _taken(self) -> dict[int, Domain]:
        """The domains of groups that VFIO has: it puts a whole group into one, ports too (``iommu_attach_group``)."""
        found = {}
        for number, group in value_of(self.topology.host.groups, {}).items():
            domains = [domain for a in group.members if (domain := self.settings.domain.get(a)) is not None]
            if domains and all(domain.kind is DomainKind.TRANSLATED for domain in domains):
                found[number] = domains[0]
        return found

    def identity(self, source: Address, target: Address) -> Finding:
        """Return whether ``source`` can send requests under ``target``'s identity."""
        if source == target or source in self.topology.bricks:
            return BLOCKED
        return self._identities.shared(source, target)
