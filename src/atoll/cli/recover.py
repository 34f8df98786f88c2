"""``atoll recover``: after a run that died, to a state that is safe."""

from __future__ import annotations

import argparse
from dataclasses import replace

from atoll.act.recover import Fate, Recovery, recover
from atoll.cli.output import say
from atoll.cli.prove import EXIT
from atoll.cli.session import changing
from atoll.controls.present import present
from atoll.errors import AtollError
from atoll.fabric.answer import Policy
from atoll.fabric.domains import holder_of
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.isolation.proof import Proof, prove
from atoll.isolation.reach import Reach
from atoll.plan.spec import read_spec
from atoll.report.recover import recover_document, recover_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Recover; exit code 1 where something remains, or tenants that run are not apart, 3 where that is not known."""
    with changing(options.host) as session:
        assert session.machine is not None
        recovery = recover(session.machine, dry_run=options.dry_run)
        host = session.reread() if recovery.runs else session.host
    proof = _running(host, recovery, Policy(options.policy)) if recovery.runs and not recovery.dry_run else None
    say(
        options,
        lambda: recover_document(host.name, recovery, proof),
        lambda style: recover_lines(host.name, recovery, proof, style=style, verbose=options.verbose),
    )
    left = not recovery.dry_run and any(found.fate is Fate.LEFT for found in recovery.runs)
    return (EXIT[proof.verdict] if proof is not None else 0) or int(left)


def _running(host: Host, recovery: Recovery, policy: Policy) -> Proof | None:
    """Return the proof that clusters with devices in use are apart now, the worst of all files; None where none is."""
    worst: Proof | None = None
    for text in recovery.specs:
        try:
            clusters = read_spec(text, host, name="the journal's cluster file")
        except AtollError:
            # Written for devices that are not there now: what remains of its run is told above.
            continue
        named = tuple(
            cluster
            for cluster in clusters.named
            if any(holder_of(host, host.functions[address]) is not None for address in cluster.functions)
        )
        if named:
            settings = present(host, allow_assumed=clusters.allow_assumed)
            proof = prove(Reach(Topology(host), settings, policy), replace(clusters, named=named))
            if worst is None or EXIT[worst.verdict] == 0 or EXIT[proof.verdict] == 1:
                worst = proof
    return worst
