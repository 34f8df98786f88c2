"""The planner: from clusters and a host to the fewest and least disruptive steps that isolate them.

Fewest resets first: a device is reset only where a link inside its cluster is cut now (nothing else opens it) or
where its hand-over opens it anyway. Fewest steps second: what is already so is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from atoll.controls.kernel_mask import kernel_cuts
from atoll.controls.registry import link_control
from atoll.fabric.answer import Policy
from atoll.fabric.default_domain import default_domain
from atoll.fabric.links import is_open
from atoll.fabric.settings import DomainKind, Settings
from atoll.fabric.topology import Topology
from atoll.fabric.vmd import FIRST_SEGMENT, SWITCHING_OFF
from atoll.host.model import Host, LinkKind
from atoll.isolation.clusters import HOST, Clusters, Handover
from atoll.isolation.handover import handed_over
from atoll.isolation.proof import Breach, Proof, Violation, prove
from atoll.isolation.reach import Reach
from atoll.isolation.remedies.links import BY_PARTITIONS, RECORD
from atoll.pci.address import Address
from atoll.plan.bandwidth import bandwidth, inside
from atoll.plan.effects import after_steps
from atoll.plan.fingerprint import fingerprint
from atoll.plan.needs import Needs, needs
from atoll.plan.possession import obstacles
from atoll.plan.regrouping import group_for
from atoll.plan.reopening import beside
from atoll.plan.sequence import Sequence
from atoll.plan.step import Plan, Unachievable

__all__ = ["plan"]

_ROOT_COMPLEX = "root complex"
"""How the place is named in a path where packets go up to the IOMMU, or past it."""
_NO_IOMMU = "an IOMMU has to translate for it, with VFIO as well: switch it on in the firmware and on the command line"
_BY_SEPARATION = (Breach.ACCESS, Breach.IDENTITY, Breach.CONTROL)


def plan(
    topology: Topology, settings: Settings, clusters: Clusters, policy: Policy = Policy.STRICT, *, spec: str = ""
) -> Plan:
    """Return the steps that isolate clusters, what they come to, and what they do not achieve.

    With ``impossible`` there are no steps: nothing is changed for something that cannot become true.
    """
    host = topology.host
    wanted = needs(topology, settings, clusters, policy)
    regrouping = group_for(topology, settings, clusters, wanted.acs)
    impossible = (
        *obstacles(topology, settings, clusters, wanted.cut),
        *regrouping.impossible,
        *_inseparable(host, wanted),
    )
    if impossible:
        return Plan(host.name, spec, (), bandwidth(topology, settings, clusters), (), impossible)
    steps = Sequence(topology, settings, clusters, wanted, regrouping).steps()
    reached_host, reached = after_steps(host, settings, steps, allow_assumed=clusters.allow_assumed)
    changed = Topology(reached_host)
    touched = sorted({step.device for step in steps} | set(clusters.owner()))
    return Plan(
        host=host.name,
        spec=spec,
        steps=steps,
        clusters=bandwidth(changed, reached, clusters),
        unachievable=_unachieved(changed, reached, clusters, policy),
        fingerprints=tuple((address, fingerprint(host.functions[address])) for address in touched),
    )


def _inseparable(host: Host, wanted: Needs) -> tuple[Unachievable, ...]:
    """Pairs that reach each other even with every control used: no plan separates them."""
    found: dict[tuple[str, str], list[Violation]] = {}
    for violation in wanted.left.violations:
        if violation.breach in _BY_SEPARATION:
            found.setdefault((violation.source_cluster, violation.target_cluster), []).append(violation)
    return tuple(
        _explained(names, those, _separation(host, names, those[0]), unknown=False)
        for names, those in sorted(found.items())
    )


def _untranslated(host: Host, violation: Violation) -> bool:
    """Whether a path leads through a root complex because no IOMMU serves the function, whoever holds it."""
    through = any(hop.at.startswith(_ROOT_COMPLEX) for hop in violation.path)
    return through and default_domain(host, host.functions[violation.source]).kind is DomainKind.NONE


def _explained(names: tuple[str, str], violations: list[Violation], remedy: str, *, unknown: bool) -> Unachievable:
    first = violations[0]
    path = "; ".join(f"at {hop.at}, {hop.via}: {hop.because}" for hop in first.path)
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    can = "may reach" if unknown else "reaches"
    if first.breach is Breach.IDENTITY:
        can = "may be able to send requests as" if unknown else "can send requests as"
    if first.breach is Breach.CONTROL:
        can = "may have in hand" if unknown else "has in hand"
    reason = f"{first.source} {can} {first.target}{more} whatever is set: {path}"
    return Unachievable(names, reason, remedy, tuple(dict.fromkeys(v.source for v in violations)), unknown=unknown)


def _separation(host: Host, names: tuple[str, str], violation: Violation) -> str:
    """What would separate a pair that no control separates."""
    if _untranslated(host, violation):
        return _NO_IOMMU
    if _sets_up_others(violation):
        return _HOSTS
    if violation.breach is Breach.CONTROL:
        return "leave the physical function with the host, or put both in one cluster"
    if any(hop.at.startswith(_ROOT_COMPLEX) for hop in violation.path):
        return "hand it over through VFIO, whose address space translates; or boot without iommu=pt"
    if any(hop.via.startswith(tuple(LinkKind)) for hop in violation.path):
        return f"put both in one cluster; {_cutting(host, violation)}"
    if violation.breach is Breach.IDENTITY and _behind_vmd(violation.source, Address.parse(violation.target)):
        return f"{'leave it with the host' if HOST in names else 'put both in one cluster'}, or turn {SWITCHING_OFF}"
    if HOST in names:
        return "leave it with the host, or move it to a slot below a port that can redirect (ACS)"
    return "put both in one cluster, or move one to a slot below a port that can redirect (ACS)"


def _cutting(host: Host, violation: Violation) -> str:
    """What would cut the links by which one reaches the other."""
    ends = [host.functions[end] for end in (violation.source, Address.parse(violation.target))]
    controls = [link_control(host.functions[end.physical_function or end.address]) for end in ends]
    if any(control is not None and control.is_assumed for control in controls):
        return "a control that is only assumed to work needs `assumed = true` in [policy]"
    if any(controls):
        return f"or {RECORD}"
    nvswitch = violation.path[0].via.startswith(LinkKind.NVLINK) and len(violation.path) > 1
    return "no control of this version cuts these links" + (f"; {BY_PARTITIONS}" if nvswitch else "")


def _behind_vmd(*functions: Address) -> bool:
    return any(function.domain >= FIRST_SEGMENT for function in functions)


def _unachieved(changed: Topology, reached: Settings, clusters: Clusters, policy: Policy) -> tuple[Unachievable, ...]:
    """What stays open or cut after the steps, and what each cluster's hand-over would open again."""
    after = prove(Reach(changed, reached, policy), clusters)
    over = prove(Reach(changed, handed_over(changed, reached, clusters), policy), clusters)
    return (
        *_left(after, _taken(changed, reached, clusters, policy, after)),
        *_lost(clusters, after, over),
        *_closed(changed, reached, clusters),
        *(
            Unachievable(
                (cluster.name,),
                "a broker that serves a VMM over vfio-user and cuts again within each reset is not in this version",
                'handover = "held": the holder keeps the devices open and cut, their owner drives them through it',
                cluster.functions,
            )
            for cluster in clusters.named
            if cluster.handover is Handover.BROKER
        ),
    )


def _closed(topology: Topology, settings: Settings, clusters: Clusters) -> Iterator[Unachievable]:
    """Links inside clusters that stay cut: a kernel that cuts by itself does it again after each reset."""
    owner = clusters.cluster_of(topology.functions)
    for cluster in clusters.named:
        ends = tuple(
            function
            for function in cluster.functions
            if any(is_open(settings, link) is False for link in inside(topology, owner, function))
        )
        if ends:
            by_kernel = any(kernel_cuts(topology, function) for function in ends)
            reason = "this kernel (isolate_nvlink) cuts them after each reset" if by_kernel else "nothing opens them"
            remedy = "reset these devices"
            together = [(end, bus) for end in ends if (bus := beside(topology, end))]
            if by_kernel:
                remedy = "boot without isolate_nvlink, on a kernel that groups each GPU alone (5.13 or later)"
            elif together:
                end, bus = together[0]
                reason += f": no reset of {end} alone is one of its bus, where {', '.join(map(str, bus))} are too"
                remedy = f"reset the bus, with all that is on it idle: write 1 to reset_subordinate of {end}'s port"
            yield Unachievable(
                (cluster.name,),
                f"links inside {cluster.name} stay cut, between {', '.join(map(str, ends))}: {reason}",
                remedy,
                ends,
            )


def _taken(
    topology: Topology, settings: Settings, clusters: Clusters, policy: Policy, after: Proof
) -> frozenset[tuple[object, ...]]:
    """What is open and would be taken as isolating by ``--policy trusted``: no reading settles it."""
    if policy is Policy.TRUSTED or not after.unknown:
        return frozenset()
    trusting = prove(Reach(topology, settings, Policy.TRUSTED), clusters)
    return frozenset(map(_pair, after.unknown)) - set(map(_pair, (*trusting.violations, *trusting.unknown)))


def _pair(violation: Violation) -> tuple[object, ...]:
    return violation.source, violation.target, violation.breach


def _left(after: Proof, taken: AbstractSet[tuple[object, ...]]) -> tuple[Unachievable, ...]:
    found: dict[tuple[tuple[str, str], bool, bool], list[Violation]] = {}
    for unknown, violations in ((False, after.violations), (True, after.unknown)):
        for violation in violations:
            key = (violation.source_cluster, violation.target_cluster), unknown, _pair(violation) in taken
            found.setdefault(key, []).append(violation)
    return tuple(
        _explained(names, violations, _TRUST if trusted else _remedy(violations[0], unknown=unknown), unknown=unknown)
        for (names, unknown, trusted), violations in sorted(found.items())
    )


_TRUST = (
    "--policy trusted takes it as isolating, and lists that; or put both in one cluster, or move one to a slot below a "
    "port that can redirect (ACS)"
)


_HOSTS = "leave it with the host, whose it is to set up what keeps others apart"


def _sets_up_others(violation: Violation) -> bool:
    """Whether its source is, or may be, what keeps others apart: neither reading nor policy settles that."""
    return violation.breach is Breach.CONTROL and not any(hop.via == "SR-IOV" for hop in violation.path)


def _remedy(violation: Violation, *, unknown: bool) -> str:
    if _sets_up_others(violation):
        return _HOSTS
    if violation.breach is Breach.INTERRUPTS:
        return "switch interrupt remapping on in the firmware, and `intremap=off` off"
    if violation.breach is Breach.MEMORY and not unknown:
        return "give the device a translated domain: hand it over through VFIO, or boot without iommu=pt"
    if unknown:
        return "read what is missing: as root, or with the record that tells (see `atoll doctor`)"
    return "put both in one cluster"


def _lost(clusters: Clusters, after: Proof, over: Proof) -> tuple[Unachievable, ...]:
    """Violations that only the hand-over makes: a cut that each reset of stock vfio-pci undoes."""
    before = {(v.source, v.target) for v in after.violations}
    lost = [v for v in over.violations if (v.source, v.target) not in before]
    stock = {cluster.name for cluster in clusters.named if cluster.handover is Handover.VFIO}
    found = []
    pairs = dict.fromkeys((v.source_cluster, v.target_cluster) for v in lost)
    for names in pairs:
        devices = tuple(dict.fromkeys(v.source for v in lost if (v.source_cluster, v.target_cluster) == names))
        if stock.intersection(names):
            reason = (
                f"hand-over through stock vfio-pci loses the isolation of {names[0]} from {names[1]}: opening, each "
                "reset of the guest, and closing reset the device, and its links are open again"
            )
            remedy = 'handover = "held" keeps the devices open and cut; or put both in one cluster'
        else:
            first = next(v for v in lost if (v.source_cluster, v.target_cluster) == names)
            reason = f"{first.source} reaches {first.target} once handed over: {first.path[-1].because}"
            remedy = _remedy(first, unknown=False)
        found.append(Unachievable(names, reason, remedy, devices))
    return tuple(found)
