"""``atoll apply``: carry a plan out, or not at all, and prove what came of it."""

from __future__ import annotations

import argparse
from dataclasses import replace

from atoll.act.executor import execute
from atoll.act.others import with_others
from atoll.act.outcome import Outcome
from atoll.act.running import refuse_after_death
from atoll.cli.output import say
from atoll.cli.plan import exit_code
from atoll.cli.progress import step_progress
from atoll.cli.prove import EXIT
from atoll.cli.session import Session, changing
from atoll.cli.spec import is_plan, read_plan, read_standing, read_text
from atoll.controls.present import present
from atoll.errors import Interrupted
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.isolation.moment import Statement, state
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.report.apply import apply_document, apply_lines
from atoll.report.plan import plan_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry the plan out; the exit code is that of the proof afterwards, or of what the plan could not achieve."""
    policy = Policy(options.policy)
    with changing(options.host, dry_run=options.dry_run) as session:
        assert session.machine is not None
        # What a dead run left half done is nothing to plan from.
        refuse_after_death(session.machine)
        made = _plan(options.spec, session, policy)
        if made.impossible:
            say(
                options,
                lambda: apply_document(made, None, None, dry_run=options.dry_run),
                lambda style: plan_lines(made, style=style, verbose=options.verbose),
            )
            return exit_code(made)
        progress = step_progress(options)
        outcome = execute(session.machine, session.host, made, dry_run=options.dry_run, progress=progress)
        try:
            statement = None if options.dry_run else _proven(session, made, outcome, policy)
        except KeyboardInterrupt as error:
            done = f"all {len(outcome.deeds)} steps were carried out, and stay so: interrupted before it was proven"
            hint = "atoll prove SPEC tells what is so now, atoll release SPEC gives the devices back"
            raise Interrupted(done, hint=hint, undone=False) from error
    say(
        options,
        lambda: apply_document(made, outcome, statement, dry_run=options.dry_run),
        lambda style: apply_lines(made, outcome, statement, style=style, verbose=options.verbose),
    )
    proof = 0 if statement is None else EXIT[statement.verdict]
    return proof or exit_code(made)


def _proven(session: Session, made: Plan, outcome: Outcome, policy: Policy) -> Statement:
    """Return the statement on the host as the steps have left it."""
    host = session.reread()
    clusters = read_spec(made.spec, host, name="the plan's cluster file")
    clusters = with_others(session.machine, host, clusters)
    settings = present(host, allow_assumed=clusters.allow_assumed)
    for address, links in outcome.cut.items():
        # vfio-pci lets devices sleep that nobody has open: their registers were read back just before.
        if settings.cut.get(address, links) is None:
            settings = settings.with_cut(address, links)
    return state(Topology(host), settings, clusters, policy, moment="now")


def _plan(path: str, session: Session, policy: Policy) -> Plan:
    """Return the plan of a file, or the one for a cluster file."""
    text = read_text(path)
    if is_plan(text):
        # It may have been made on a record of the host, by whose name it is called then.
        return replace(read_plan(path, text=text), host=session.host.name)
    text, clusters = read_standing(path, session, text=text)
    host = session.host
    return plan(Topology(host), present(host, allow_assumed=clusters.allow_assumed), clusters, policy, spec=text)
