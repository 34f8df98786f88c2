"""``atoll prove``: isolated, or the path that shows it is not, or what is missing."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.cli.spec import read_plan, read_standing
from atoll.controls.present import present
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.isolation.moment import state
from atoll.isolation.proof import Verdict
from atoll.plan.effects import after_steps
from atoll.plan.fingerprint import check_planned_for
from atoll.report.prove import prove_document, prove_lines

__all__ = ["EXIT", "run"]

EXIT = {Verdict.PROVEN: 0, Verdict.VIOLATED: 1, Verdict.UNKNOWN: 3}


def run(options: argparse.Namespace) -> int:
    """Print the verdict with its witness; the exit code says it too."""
    session = open_session(options.host)
    host = session.host
    _, clusters = read_standing(options.spec, session)
    settings, moment = present(host, allow_assumed=clusters.allow_assumed), "now"
    if options.after is not None:
        plan = read_plan(options.after)
        check_planned_for(plan, host)
        host, settings = after_steps(host, settings, plan.steps, allow_assumed=clusters.allow_assumed)
        moment = f"after {options.after}"
    statement = state(Topology(host), settings, clusters, Policy(options.policy), moment=moment)
    say(
        options,
        lambda: prove_document(host, clusters, statement),
        lambda style: prove_lines(host, clusters, statement, style=style, verbose=options.verbose),
    )
    return EXIT[statement.verdict]
