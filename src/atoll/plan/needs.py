"""What a set of clusters needs: which links cut, which ACS control words, which groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from atoll.controls.acs import closed
from atoll.controls.link_control import Effect
from atoll.controls.registry import link_control
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.passage import sends_translated
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.isolation.clusters import Clusters, Handover
from atoll.isolation.handover import handed_over, links_to_cut
from atoll.isolation.proof import Breach, Proof, Violation, breaches, prove
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS

__all__ = ["Needs", "cuts", "needs"]

_BY_PORTS = (Breach.ACCESS, Breach.IDENTITY, Breach.MEMORY)


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be set for clusters to be isolated, and what is left when it is."""

    cut: Mapping[Address, frozenset[int]]
    """All links that must be cut, by the function at whose end."""
    acs: Mapping[Address, AcsFlag]
    """ACS control words that must change."""
    left: Proof
    """The proof with all of it done and every cluster held; groups aside."""


def cuts(topology: Topology, clusters: Clusters) -> dict[Address, frozenset[int]]:
    """Return the links to cut at each function's own end, of functions that can cut; both ends where both can.

    A control that is only assumed to work is used only when the file allows it; one that takes effect with
    a reset is not used here.
    """
    owner = clusters.cluster_of(topology.functions)
    found = {}
    for address in topology.links:
        control = link_control(topology.functions[address])
        if control is None or control.effect is not Effect.NOW:
            continue
        if control.is_assumed and not clusters.allow_assumed:
            continue
        numbers = links_to_cut(topology, owner, address)
        if numbers:
            found[address] = numbers
    return found


def needs(topology: Topology, settings: Settings, clusters: Clusters, policy: Policy) -> Needs:
    """Return what must be set. ACS is closed from the device upwards, only where it takes a violation away."""
    held = replace(
        clusters,
        named=tuple(
            cluster if cluster.handover is Handover.KERNEL else replace(cluster, handover=Handover.HELD)
            for cluster in clusters.named
        ),
    )
    wanted = cuts(topology, clusters)
    ideal = handed_over(topology, settings, held)
    for address, numbers in wanted.items():
        ideal = ideal.with_cut(address, (ideal.cut.get(address) or frozenset()) | numbers)
    acs: dict[Address, AcsFlag] = {}
    proof = prove(Reach(topology, ideal, policy), clusters)
    wrong: dict[Address, tuple[Violation, ...]] = {}
    for violation in (*proof.violations, *proof.unknown):
        wrong[violation.source] = (*wrong.get(violation.source, ()), violation)
    for source in tuple(wrong):
        for port, control in _candidates(topology, settings, source):
            if not any(v.breach in _BY_PORTS for v in wrong[source]):
                break
            # A port decides about what comes from below it only.
            affected = [a for a in clusters.tenant() if port in _deciders(topology, a)]
            reach = Reach(topology, ideal.with_acs(port, control), policy)
            better = {a: tuple(breaches(reach, clusters, {a})) for a in affected}
            if _weight(better.values()) < _weight(wrong.get(a, ()) for a in affected):
                ideal = reach.settings
                wrong |= better
                acs[port] = control
    left = prove(Reach(topology, ideal, policy), clusters) if acs else proof
    return Needs(wanted, dict(sorted(acs.items())), left)


def _weight(rows: Iterable[Iterable[Violation]]) -> tuple[int, int]:
    """How many are violated, and how many unknown, of what each of some functions does."""
    answers = [violation.answer for row in rows for violation in row if violation.breach is not Breach.INTERRUPTS]
    return answers.count(Answer.DIRECT), answers.count(Answer.POSSIBLE)


def _deciders(topology: Topology, source: Address) -> tuple[Address, ...]:
    """What decides by its ACS about what a function sends, nearest first."""
    physical = topology.functions[source].physical_function
    return (source, *((physical,) if physical is not None else ()), *topology.up(source))


def _candidates(topology: Topology, settings: Settings, source: Address) -> Iterator[tuple[Address, AcsFlag]]:
    """Control words that could help a source, nearest first: its own, then those of the ports above it."""
    for address in _deciders(topology, source):
        function = topology.functions.get(address)
        if function is None:
            continue
        before = settings.acs.get(address)
        if before is None:
            continue
        after = closed(function, before)
        if after is not None and after != before:
            yield address, after
        port = topology.port_type(address) in DOWNSTREAM_PORTS
        if port and sends_translated(topology, settings, source) and isinstance(function.acs, Known):
            capability = function.acs.value.capability if function.acs.value is not None else AcsFlag(0)
            blocking = (after if after is not None else before) | (capability & AcsFlag.TB)
            if blocking not in (before, after):
                yield address, blocking
