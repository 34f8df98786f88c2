"""``atoll recover``: after a run that died, to a state that is safe."""

from __future__ import annotations

import argparse
from dataclasses import replace

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.given import Given
from atoll.act.machine import Machine
from atoll.act.others import with_others
from atoll.act.recover import Fate, Recovery, recover
from atoll.cli.output import say
from atoll.cli.prove import EXIT
from atoll.cli.session import changing
from atoll.controls.present import present
from atoll.errors import AtollError
from atoll.fabric.answer import Policy
from atoll.fabric.domains import holder_of
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.proof import Proof, Verdict, prove
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.report.recover import recover_document, recover_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Recover; exit code 1 where something remains, or tenants that run are not apart, 3 where that is not known."""
    with changing(options.host, dry_run=options.dry_run) as session:
        assert session.machine is not None
        recovery = recover(session.machine, dry_run=options.dry_run)
        host = session.reread() if recovery.runs else session.host
        proof = None
        if recovery.runs and not recovery.dry_run:
            proof = _running(session.machine, host, recovery, Policy(options.policy))
    say(
        options,
        lambda: recover_document(host.name, recovery, proof),
        lambda style: recover_lines(host.name, recovery, proof, style=style, verbose=options.verbose),
    )
    left = not recovery.dry_run and any(found.fate is Fate.LEFT for found in recovery.runs)
    return (EXIT[proof.verdict] if proof is not None else 0) or int(left)


def _running(machine: Machine, host: Host, recovery: Recovery, policy: Policy) -> Proof | None:
    """Return the proof that clusters with devices in use are apart now, the worst of all files; None where none is."""
    worst: Proof | None = None
    for given in recovery.given:
        proof = _proof(machine, host, given, policy)
        if proof is not None and (worst is None or EXIT[worst.verdict] == 0 or EXIT[proof.verdict] == 1):
            worst = proof
    return worst


def _proof(machine: Machine, host: Host, given: Given, policy: Policy) -> Proof | None:
    told = [address for functions in given.clusters.values() for address in functions]
    try:
        gone = set(told) - host.functions.keys()
        clusters = read_spec(given.spec, host, name="the journal's cluster file", gone=gone, known=given.clusters)
    except AtollError as error:
        # Whose devices these are cannot be told any more: of those that are in use, nothing is proven.
        left = [address for address in (told or host.functions) if address in host.functions]
        if not any(_in_use(machine, host, address) for address in left):
            return None
        reason = f"whose devices are in use cannot be told: {error.message}"
        return Proof(Verdict.UNKNOWN, (), (), (reason,), (), 0, 0)
    named = []
    for cluster in clusters.named:
        functions = given.clusters.get(cluster.name, cluster.functions)
        there = tuple(address for address in functions if address in host.functions)
        if any(_in_use(machine, host, address) for address in there):
            named.append(replace(cluster, functions=there))
    if not named:
        return None
    settings = present(host, allow_assumed=clusters.allow_assumed)
    clusters = with_others(machine, host, replace(clusters, named=tuple(named)))
    others = tuple(
        replace(cluster, functions=tuple(a for a in cluster.functions if _in_use(machine, host, a)))
        for cluster in clusters.others
    )
    return prove(Reach(Topology(host), settings, policy), replace(clusters, others=others, elsewhere={}))


def _in_use(machine: Machine, host: Host, address: Address) -> bool:
    """Whether somebody has a function open, or may have: it was handed to him, or that is not seen."""
    if "vfio" not in (value_of(host.functions[address].driver, "vfio") or ""):
        return holder_of(host, host.functions[address]) is not None
    try:
        return device.other(machine, address) is not None
    except Failure:
        return True
