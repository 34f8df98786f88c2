"""``atoll recover``: after a run that died, to a state that is safe."""

from __future__ import annotations

import argparse

from atoll.act.in_use import prove_those_in_use
from atoll.act.others import with_journal
from atoll.act.recover import Fate, recover
from atoll.cli.output import say
from atoll.cli.prove import EXIT
from atoll.cli.session import changing
from atoll.fabric.answer import Policy
from atoll.isolation.proof import Proof
from atoll.report.recover import recover_document, recover_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Recover; exit code 1 where something remains, or tenants that run are not apart, 3 where that is not known."""
    with changing(options.host, dry_run=options.dry_run) as session:
        assert session.machine is not None
        recovery = recover(session.machine, dry_run=options.dry_run)
        unshown = with_journal(session.machine)[1]
        host = session.reread() if recovery.runs else session.host
        proof: Proof | None = None
        idle: tuple[str, ...] = ()
        if recovery.runs and not recovery.dry_run:
            proof, idle = prove_those_in_use(session.machine, host, recovery.given, Policy(options.policy))
    say(
        options,
        lambda: recover_document(host.name, recovery, proof, idle, unshown),
        lambda style: recover_lines(host.name, recovery, proof, idle, unshown, style=style, verbose=options.verbose),
    )
    left = not recovery.dry_run and any(found.fate is Fate.LEFT for found in recovery.runs)
    return (EXIT[proof.verdict] if proof is not None else 0) or int(left)
