"""A whole statement about clusters: proven or not at a moment, as handed over, and how many events undo it."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.events.catalogue import events
from atoll.events.trigger import Trigger
from atoll.fabric.answer import Policy
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.isolation.clusters import Clusters
from atoll.isolation.handover import handed_over
from atoll.isolation.proof import Proof, Verdict, prove, refuted
from atoll.isolation.reach import Reach
from atoll.isolation.resilience import Weakness, resilience

__all__ = ["Statement", "state"]


@dataclass(frozen=True, slots=True)
class Statement:
    """What ``prove`` says."""

    moment: str
    """``now`` or ``after PLAN``."""
    proof: Proof
    handed_over: Proof
    resilience: dict[Trigger, Weakness | None]
    unsurvived: tuple[Trigger, ...]
    """Triggers of which the file asks more events to be survived than are."""

    @property
    def verdict(self) -> Verdict:
        """The proof's verdict; violated where the file asks for resilience that is not there."""
        return Verdict.VIOLATED if self.unsurvived else self.proof.verdict


def state(topology: Topology, settings: Settings, clusters: Clusters, policy: Policy, *, moment: str) -> Statement:
    """Return the statement about clusters in the given settings."""
    proof = prove(Reach(topology, settings, policy), clusters)
    over = handed_over(topology, settings, clusters)
    owners = {cluster.name: cluster.functions for cluster in clusters.named}
    found = resilience(
        topology,
        settings,
        events(topology, owners),
        clusters.owner(),
        lambda reached, source: refuted(Reach(topology, reached, policy), clusters, {source}),
    )
    unsurvived = tuple(
        trigger
        for trigger, wanted in sorted(clusters.survive.items())
        if (weakness := found[trigger]) is not None and len(weakness) <= wanted
    )
    return Statement(moment, proof, prove(Reach(topology, over, policy), clusters), found, unsurvived)
