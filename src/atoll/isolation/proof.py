"""Proof: that clusters are isolated, with what it rests on; or the paths that break it; or what is missing."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from atoll.fabric.answer import Answer, Finding, Hop
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.groups import listed_only
from atoll.isolation.address_space import shared_space
from atoll.isolation.assumptions import Assumption, standing
from atoll.isolation.clusters import HOST, Cluster, Clusters
from atoll.isolation.control import (
    chipset_control,
    iommu_control,
    management_control,
    switch_control,
    virtual_function_control,
)
from atoll.isolation.elsewhere import Elsewhere
from atoll.isolation.firmware import mapped_for_both
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Breach", "Proof", "Verdict", "Violation", "breaches", "prove", "refuted", "verdict_of"]


class Verdict(StrEnum):
    """What a proof says."""

    PROVEN = "proven"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


class Breach(StrEnum):
    """What a violation consists in."""

    ACCESS = "access"
    MEMORY = "memory"
    IDENTITY = "identity"
    DOMAIN = "shared-domain"
    INTERRUPTS = "interrupts"
    CONTROL = "control"
    """Who drives the source has the target in hand: a virtual function's physical one, a switch's own function."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One pair that is not isolated (or, among the unknown, not known to be), with a witness."""

    source: Address
    target: str
    """A function's address, ``memory:CLUSTER``, or ``interrupts``."""
    source_cluster: str
    target_cluster: str
    breach: Breach
    answer: Answer
    path: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of one check, at one moment."""

    verdict: Verdict
    violations: tuple[Violation, ...]
    unknown: tuple[Violation, ...]
    reasons: tuple[str, ...]
    """Why the verdict is unknown where no pair shows it (nothing to check)."""
    assumptions: tuple[Assumption, ...]
    pairs: int
    """How many ordered pairs (function, function or memory) were looked at."""
    edges: int
    """How many links and turns between them were looked at."""


def prove(reach: Reach, clusters: Clusters) -> Proof:
    """Check every untrusted cluster against everything outside it, and what others have that is not the host's, and
    not named, against what is.

    Proven means: every answer is ``iommu`` or ``blocked``, no identity and no address space is shared, and
    interrupts are remapped. A check over nothing is unknown.
    """
    check = _Check(reach, clusters)
    found = sorted([*check.pairs(), *check.interrupts(), *check.left_out()], key=lambda v: v.target_cluster == HOST)
    violations = tuple(v for v in found if v.answer is Answer.DIRECT)
    unknown = tuple(v for v in found if v.answer is Answer.POSSIBLE)
    reasons = () if check.counted else ("nothing to check: no untrusted function and something outside its cluster",)
    reasons = (*reasons, *_elsewhere(clusters), *([clusters.untold] if clusters.untold else []))
    verdict = verdict_of(bool(violations), bool(unknown) or bool(reasons))
    links = sum(len(links) for links in reach.topology.links.values())
    return Proof(
        verdict=verdict,
        violations=violations,
        unknown=unknown,
        reasons=reasons,
        assumptions=standing(reach, clusters, check.assumptions),
        pairs=check.counted,
        edges=links + check.turns,
    )


def _elsewhere(clusters: Clusters) -> Iterator[str]:
    """Whose a function is when two files claim it is not known: the other's owner may drive it."""
    for other in sorted({*clusters.elsewhere.values()}):
        those = ", ".join(str(a) for a in sorted(clusters.elsewhere) if clusters.elsewhere[a] == other)
        yield f"{those} was given to {other}, which this file does not name: who drives it cannot be told"


def refuted(reach: Reach, clusters: Clusters, sources: AbstractSet[Address] | None = None) -> bool:
    """Whether the verdict of ``prove`` would be violated: stops at the first counterexample.

    With ``sources``, only what these functions do is looked at.
    """
    check = _Check(reach, clusters)
    found = itertools.chain(check.interrupts(), check.pairs(sources))
    return any(violation.answer is Answer.DIRECT for violation in found)


def breaches(
    reach: Reach, clusters: Clusters, sources: AbstractSet[Address], targets: Sequence[Address] | None = None
) -> Iterator[Violation]:
    """Yield what is wrong or open with what these functions do: part of what ``prove`` finds.

    With ``targets``, only what they do to these functions.
    """
    check = _Check(reach, clusters)
    yield from check.pairs(sources) if targets is None else check.against(sources, targets)


def verdict_of(violated: bool, unknown: bool) -> Verdict:
    """Return the verdict: refuted before unknown before proven."""
    if violated:
        return Verdict.VIOLATED
    return Verdict.UNKNOWN if unknown else Verdict.PROVEN


class _Owner(dict[Address, str]):
    """Whose each function is: the host's unless somebody else has it. A search makes a check for each setting, so what
    is the host's is not entered."""

    def __missing__(self, address: Address) -> str:
        return HOST


class _Check:
    """One walk over all pairs, counting."""

    def __init__(self, reach: Reach, clusters: Clusters) -> None:
        self.reach = reach
        self.topology: Topology = reach.topology
        self.settings: Settings = reach.settings
        self.clusters = clusters
        self.owner = _Owner(clusters.tenant())
        self.unread = sorted({*self.topology.host.unread, *listed_only(self.topology.host)})
        """Functions of which the record shows no more than that they are there."""
        self._elsewhere = Elsewhere(reach.topology, reach.settings)
        self.counted = 0
        self.turns = 0
        self.assumptions: set[str] = set()

    def pairs(self, sources: AbstractSet[Address] | None = None) -> Iterator[Violation]:
        """Yield what is wrong or open between untrusted functions (of ``sources``) and what others own."""
        names = (*(cluster.name for cluster in self.clusters.tenants), HOST)
        for cluster in self.clusters.named:
            for source in sorted(cluster.functions):
                if sources is not None and source not in sources:
                    continue
                yield from self._unseen(cluster.name, source)
                yield from self._in_hand(cluster.name, source)
                outside = (target for target in self._targets if self.owner[target] != cluster.name)
                yield from self._against_all(cluster.name, source, outside)
                for name in names:
                    if name != cluster.name:
                        yield from self._against_memory(cluster.name, source, name)
        for cluster in self.clusters.others:
            yield from self._of_another(cluster, sources)

    @cached_property
    def _targets(self) -> tuple[Address, ...]:
        """What can be a target: functions, and ports that have memory of their own."""
        functions = self.topology.functions.items()
        return tuple(a for a, function in functions if not function.is_port or self.topology.has_memory(function))

    def _of_another(self, cluster: Cluster, sources: AbstractSet[Address] | None) -> Iterator[Violation]:
        """Yield what is wrong or open between functions of somebody whom the file does not name and those it names."""
        mine = [address for named in self.clusters.named for address in named.functions]
        for source in sorted(cluster.functions):
            if sources is not None and source not in sources:
                continue
            yield from self._in_hand(cluster.name, source)
            yield from self._against_all(cluster.name, source, mine)
            for named in self.clusters.named:
                yield from self._against_memory(cluster.name, source, named.name)

    def against(self, sources: AbstractSet[Address], targets: Sequence[Address]) -> Iterator[Violation]:
        """Yield what is wrong or open between untrusted functions and functions of others."""
        for source in sorted(sources):
            for target in targets:
                if self.owner[target] != self.owner[source]:
                    yield from self._against(self.owner[source], source, target)

    def _unseen(self, cluster: str, source: Address) -> Iterator[Violation]:
        """Yield what is there beside the functions that were read: functions, a port above, members of its group."""
        for address in self.unread:
            hop = Hop(str(address), "PCIe", "it is there, and neither its ids nor its configuration space were read")
            yield Violation(source, str(address), cluster, HOST, Breach.ACCESS, Answer.POSSIBLE, (hop,))
        if self.topology.severed(source):
            top = (source, *self.topology.up(source))[-1]
            above = self.topology.functions[top].parent
            hidden = f"the port above {top}" if above is None else str(above)
            hop = Hop(str(top), "PCIe", f"the port above {top} was not read")
            yield Violation(source, hidden, cluster, HOST, Breach.ACCESS, Answer.POSSIBLE, (hop,))
        group = value_of(self.topology.functions[source].group, None)
        known = value_of(self.topology.host.groups, {}).get(group) if group is not None else None
        for other in known.others if known is not None else ():
            hop = Hop(str(source), "IOMMU group", f"{other} is in its group {group}, which has one address space")
            yield Violation(source, other, cluster, HOST, Breach.DOMAIN, Answer.DIRECT, (hop,))
        for member in known.members if known is not None else ():
            if member not in self.topology.functions:
                hop = Hop(str(source), "IOMMU group", f"{member} is in its group {group}, and was not read")
                yield Violation(source, str(member), cluster, HOST, Breach.DOMAIN, Answer.POSSIBLE, (hop,))

    def _in_hand(self, cluster: str, source: Address) -> Iterator[Violation]:
        """Yield what keeps others apart and is set up by what drives a function."""
        for control in (iommu_control, chipset_control, management_control):
            found = control(self.topology, source)
            if found.answer > Answer.BLOCKED:
                yield Violation(source, f"memory:{HOST}", cluster, HOST, Breach.CONTROL, found.answer, found.path)
        switch = switch_control(self.topology, source, self.owner)
        if switch is not None:
            port, found = switch
            yield Violation(source, str(port), cluster, HOST, Breach.CONTROL, found.answer, found.path)

    def _judge(
        self, cluster: str, source: Address, target: Address | str, of: str, found: Iterable[tuple[Breach, Finding]]
    ) -> Iterator[Violation]:
        for breach, finding in found:
            if not finding.assumptions <= self.assumptions:
                self.assumptions |= finding.assumptions
            if finding.answer > Answer.IOMMU:
                yield Violation(source, str(target), cluster, of, breach, finding.answer, finding.path)

    def _against_all(self, cluster: str, source: Address, targets: Iterable[Address]) -> Iterator[Violation]:
        """Yield what is wrong or open between a function and others. Of one kind elsewhere one stands for the others
        where nothing is: there is nothing to tell of them either, and it rests on the same."""
        each = self.reach.memory(source).answer > Answer.IOMMU or self._elsewhere.tells_apart(source)
        kept_apart: set[Hashable] = set()
        for target in targets:
            kind = None if each else self._elsewhere.kind(source, target)
            if kind is None:
                yield from self._against(cluster, source, target)
                continue
            of_host = kind, self.owner[target] == HOST
            if of_host in kept_apart:
                self.counted += 1
                self.turns += 1
                continue
            found = tuple(self._against(cluster, source, target))
            if not found:
                kept_apart.add(of_host)
            yield from found

    def _against(self, cluster: str, source: Address, target: Address) -> Iterator[Violation]:
        self.counted += 1
        self.turns += 1
        return self._judge(cluster, source, target, self.owner[target], self._found(source, target))

    def _found(self, source: Address, target: Address) -> Iterator[tuple[Breach, Finding]]:
        """Yield all that is to be said of what one function can do to another."""
        yield Breach.ACCESS, self.reach.answer(source, target)
        if self.topology.functions[target].is_port:
            return
        yield Breach.CONTROL, virtual_function_control(self.topology, source, target)
        yield Breach.IDENTITY, self.reach.identity(source, target)
        yield Breach.DOMAIN, shared_space(self.topology, self.settings, source, target)
        if self.owner[target] != HOST:
            # The host is trusted with what its firmware has mapped; that a tenant sees it is an assumption.
            yield Breach.DOMAIN, mapped_for_both(self.topology, self.settings, source, target)

    def _against_memory(self, cluster: str, source: Address, of: str) -> Iterator[Violation]:
        self.counted += 1
        self.turns += 1
        return self._judge(cluster, source, f"memory:{of}", of, ((Breach.MEMORY, self.reach.memory(source)),))

    def interrupts(self) -> Iterator[Violation]:
        """Yield a violation where interrupts of an untrusted function are not remapped, or not known to be."""
        fact = self.topology.host.interrupt_remapping
        if isinstance(fact, Known) and fact.value:
            return
        answer = Answer.POSSIBLE if isinstance(fact, Unknown) else Answer.DIRECT
        off = "interrupt remapping is off: a device can forge interrupts"
        because = fact.reason if isinstance(fact, Unknown) else off
        for cluster in self.clusters.named:
            if cluster.functions:
                source = min(cluster.functions)
                hop = Hop(str(source), "interrupt", because)
                yield Violation(source, "interrupts", cluster.name, HOST, Breach.INTERRUPTS, answer, (hop,))

    def left_out(self) -> Iterator[Violation]:
        """Yield what a record may leave out that shows a part of the machine, once a cluster."""
        because = "the record seems to show a part of the machine: others may stand beside it"
        for cluster in self.clusters.named if self.topology.host.excerpt else ():
            if cluster.functions:
                source = min(cluster.functions)
                hop = Hop(str(source), "PCIe", because)
                yield Violation(source, "what is left out", cluster.name, HOST, Breach.ACCESS, Answer.POSSIBLE, (hop,))
