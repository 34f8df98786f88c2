"""What a set of clusters needs: which links cut, which ACS control words, which groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from atoll.controls.acs import closed
from atoll.controls.link_control import Effect, Level
from atoll.controls.registry import link_control
from atoll.fabric.answer import Policy
from atoll.fabric.pcie import sends_translated
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.isolation.clusters import Clusters, Handover
from atoll.isolation.handover import handed_over, links_to_cut
from atoll.isolation.proof import Breach, Proof, Violation, prove
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

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
        if control.level is Level.ASSUMED and not clusters.allow_assumed:
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
    sources = dict.fromkeys(v.source for v in (*proof.violations, *proof.unknown) if v.breach in _BY_PORTS)
    for source in sources:
        for port, control in _candidates(topology, settings, source):
            if not _open(proof, source):
                break
            trial = ideal.with_acs(port, control)
            better = prove(Reach(topology, trial, policy), clusters)
            if _weight(better) < _weight(proof):
                ideal, proof = trial, better
                acs[port] = control
    return Needs(wanted, dict(sorted(acs.items())), proof)


def _open(proof: Proof, source: Address) -> list[Violation]:
    return [v for v in (*proof.violations, *proof.unknown) if v.source == source and v.breach in _BY_PORTS]


def _weight(proof: Proof) -> tuple[int, int]:
    return (len(proof.violations), len(proof.unknown))


def _candidates(topology: Topology, settings: Settings, source: Address) -> Iterator[tuple[Address, AcsFlag]]:
    """Control words that could help a source, nearest first: its own, then those of the ports above it."""
    deciders = [source, *topology.up(source)]
    physical = topology.functions[source].physical_function
    if physical is not None:
        deciders.insert(1, physical)
    for address in deciders:
        function = topology.functions[address]
        before = settings.acs.get(address)
        if before is None:
            continue
        after = closed(function, before)
        if after is not None and after != before:
            yield address, after
        port = topology.port_type(address) in (PortType.ROOT_PORT, PortType.DOWNSTREAM)
        if port and sends_translated(topology, settings, source) and isinstance(function.acs, Known):
            capability = function.acs.value.capability if function.acs.value is not None else AcsFlag(0)
            blocking = (after if after is not None else before) | (capability & AcsFlag.TB)
            if blocking not in (before, after):
                yield address, blocking
