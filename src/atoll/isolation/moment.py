"""A whole statement about clusters: proven or not at a moment, as handed over, and how many events undo it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atoll.controls.acs import policy as acs_policy
from atoll.events.catalogue import events
from atoll.events.effect import recovers
from atoll.events.trigger import Trigger
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.switching import is_off, switched_on
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.isolation.assumptions import Assumption
from atoll.isolation.clusters import Clusters
from atoll.isolation.handover import handed_over, opened
from atoll.isolation.proof import Proof, Verdict, breaches, prove, refuted
from atoll.isolation.reach import Reach
from atoll.isolation.resilience import Weakness, resilience, unused
from atoll.pci.address import Address

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
    unproven: dict[Trigger, Weakness] = field(default_factory=dict)
    """Of what is proven: a shortest sequence after which it is not known any more, where nothing as short breaks it."""
    untold: tuple[Trigger, ...] = ()
    """Triggers of which the file asks more events to be survived than can be told."""
    asked: Mapping[Trigger, int] = field(default_factory=dict)
    """By trigger, how many events the file asks to be survived."""

    @property
    def verdict(self) -> Verdict:
        """The proof's verdict; violated where the file asks for resilience that is not there, unknown where untold."""
        if self.unsurvived:
            return Verdict.VIOLATED
        return Verdict.UNKNOWN if self.untold and self.proof.verdict is Verdict.PROVEN else self.proof.verdict

    @property
    def once_handed_over(self) -> tuple[Assumption, ...]:
        """What the moment of hand-over rests on beside what the proof does, of devices that are off till then, say."""
        already = {assumption.id for assumption in self.proof.assumptions}
        return tuple(one for one in self.handed_over.assumptions if one.id not in already)


def state(topology: Topology, settings: Settings, clusters: Clusters, policy: Policy, *, moment: str) -> Statement:
    """Return the statement about clusters in the given settings."""
    proof = prove(Reach(topology, settings, policy), clusters)
    over = handed_over(topology, settings, clusters)
    owners: dict[str, tuple[Address, ...]] = {}
    for cluster in clusters.tenants:
        owners[cluster.name] = (*owners.get(cluster.name, ()), *cluster.functions)
    possible = events(topology, owners)
    reaches = _Reaches(topology, policy)

    def weakness(
        broken: Callable[[Reach, Address], bool], least: Answer, *, already: bool
    ) -> dict[Trigger, Weakness | None]:
        return resilience(
            topology,
            settings,
            possible,
            clusters.tenant(),
            lambda reached, source: broken(reaches.of(reached), source),
            opened=lambda before, addresses: opened(topology, before, clusters, addresses),
            exposed=lambda in_use: _exposed(topology, in_use, clusters, policy, least),
            already=already,
        )

    violated = proof.verdict is Verdict.VIOLATED
    left: dict[Trigger, Weakness | None] = {}
    if proof.verdict is Verdict.PROVEN and _leave_open(topology, settings, clusters, policy):
        left = weakness(lambda reach, source: any(breaches(reach, clusters, {source})), Answer.POSSIBLE, already=False)
    if left and all(path is None for path in left.values()):
        # What leaves nothing open breaks nothing.
        found = left
    else:
        found = weakness(lambda reach, source: refuted(reach, clusters, {source}), Answer.DIRECT, already=violated)
    unproven: dict[Trigger, Weakness] = {}
    for trigger, path in left.items():
        sooner = found[trigger]
        if path is not None and (sooner is None or len(path) < len(sooner)):
            unproven[trigger] = path
    return Statement(
        moment,
        proof,
        prove(Reach(topology, over, policy), clusters),
        found,
        _within(found, clusters),
        unproven,
        _within(unproven, clusters),
        clusters.survive,
    )


class _Reaches:
    """The reach in the settings that were looked at last: events that hit a lot leave the same for many functions."""

    def __init__(self, topology: Topology, policy: Policy) -> None:
        self._topology = topology
        self._policy = policy
        self._latest: dict[int, Reach] = {}
        """By the identity of the settings, which a reach keeps."""

    def of(self, settings: Settings) -> Reach:
        """Return the reach in some settings."""
        key = id(settings)
        reach = self._latest.pop(key, None) or Reach(self._topology, settings, self._policy)
        self._latest[key] = reach
        if len(self._latest) > _MOST_REACHES:
            del self._latest[next(iter(self._latest))]
        return reach


_MOST_REACHES = 32


def _within(found: Mapping[Trigger, Weakness | None], clusters: Clusters) -> tuple[Trigger, ...]:
    """The triggers of which the file asks as many events to be survived as these are, or more."""
    return tuple(
        trigger
        for trigger, wanted in sorted(clusters.survive.items())
        if (path := found.get(trigger)) is not None and len(path) <= wanted
    )


def _exposed(
    topology: Topology, settings: Settings, clusters: Clusters, policy: Policy, least: Answer
) -> Address | None:
    """Return a function of the host that is off now, and that a tenant reaches once its driver switches it on."""
    owner, tenant = clusters.owner(), clusters.tenant()
    off = [a for a in topology.endpoints if a not in tenant and is_off(topology, settings, a)]
    reach = Reach(topology, switched_on(topology, settings, off), policy)
    found = (one for one in breaches(reach, clusters, frozenset(owner), off) if one.answer >= least)
    first = next(found, None)
    return None if first is None else Address.parse(first.target)


def _leave_open(topology: Topology, settings: Settings, clusters: Clusters, policy: Policy) -> bool:
    """Whether events may leave what cannot be told.

    That is the kernel's policy for a port's ACS, and what drivers restore of that after errors, bits of ACS Enhanced,
    links that are cut (where the far end's mask or what stands there was not read, only the cut is sure), address
    spaces that the kernel would give anew, and what functions do once their owners, or the host's drivers, switch them
    on.
    """
    if any(topology.found_anew[a].kind is DomainKind.UNKNOWN for a in clusters.tenant() if a in topology.found_anew):
        return True
    functions = topology.functions
    untold = any(value_of(f.acs, None) is not None and acs_policy(topology.host, f) is None for f in functions.values())
    cut = any(settings.cut.values())
    for address in clusters.tenant():
        above = (address, functions[address].physical_function or address, *topology.up(address))
        deciding = (functions.get(one) for one in above)
        untold = untold or any(
            f is not None and value_of(f.acs, None) is not None and not recovers(f) for f in deciding
        )
    if untold or settings.enhanced or cut or unused(topology, settings, clusters.tenant()):
        return True
    return _exposed(topology, settings, clusters, policy, Answer.POSSIBLE) is not None
