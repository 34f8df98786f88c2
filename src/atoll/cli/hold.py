"""``atoll hold``: open the clusters' devices, cut, keep them so, hand them to their owners; ask or end who does."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import AbstractContextManager, ExitStack

from atoll.act.executor import execute
from atoll.act.lock import machine_lock
from atoll.act.others import with_others
from atoll.act.outcome import Outcome
from atoll.act.running import refuse_after_death
from atoll.cli.interrupts import heard, interruptible, listen
from atoll.cli.output import say
from atoll.cli.plan import exit_code
from atoll.cli.progress import step_progress
from atoll.cli.prove import EXIT
from atoll.cli.session import Session, changing
from atoll.cli.spec import read_clusters, read_standing
from atoll.controls.present import present
from atoll.errors import InputError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.guard.client import Client
from atoll.guard.holding import DEFAULT_GRACE, Ended, Holding, held_clusters
from atoll.guard.keeper import DEFAULT_INTERVAL
from atoll.guard.keepers import Keepers
from atoll.guard.only_holder import the_only_holder
from atoll.guard.service import Service
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.isolation.moment import Statement, state
from atoll.isolation.proof import Verdict
from atoll.plan.planner import plan
from atoll.plan.step import Plan
from atoll.report.apply import apply_lines
from atoll.report.hold import (
    ended_lines,
    hold_document,
    hold_lines,
    proof_document,
    proof_lines,
    state_document,
    state_lines,
    stop_document,
    stop_lines,
)
from atoll.report.layout import within
from atoll.report.plan import plan_lines
from atoll.report.style import columns_of, style_for

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Hold; the exit code is 0 once all was given back, and as for ``apply`` where it could not be achieved."""
    asked = [name for name in ("state", "proof", "stop") if getattr(options, name)]
    if len(asked) + (options.spec is not None) != 1:
        raise InputError("hold what?", hint="a cluster file, or one of --state, --proof and --stop")
    if asked:
        return _ask(options, asked[0])
    interval = _number(options.interval, "--interval", DEFAULT_INTERVAL * 1e6, 10.0, 1e6) / 1e6
    grace = _number(options.grace, "--grace", DEFAULT_GRACE, 0.0, 86400.0)
    policy = Policy(options.policy)
    with interruptible(), Keepers() as keepers, _session(options, keepers) as session:
        assert session.machine is not None
        refuse_after_death(session.machine)
        text, clusters = read_standing(options.spec, session)
        if not session.is_live:
            return _on_a_twin(options, session, text, clusters, policy)
        held_clusters(clusters)
        with the_only_holder(session.machine, dry_run=options.dry_run):
            if options.dry_run:
                holding = Holding(session.machine, keepers, clusters, text, policy, interval, grace)
                return _foretell(options, session.host, holding)
            with ExitStack() as held:
                # The host that it decides by is read with the lock, once more: another may have changed it since.
                with machine_lock(session.machine):
                    host = session.reread()
                    _, clusters = read_clusters(options.spec, host, text=text)
                    clusters = with_others(session.machine, host, clusters)
                    held_clusters(clusters)
                    holding = Holding(session.machine, keepers, clusters, text, policy, interval, grace)
                    holding.check(host)
                    made = _plan(host, clusters, text, policy)
                    if made.impossible:
                        return _impossible(options, made)
                    progress = step_progress(options)
                    held.enter_context(holding.given_back_where_interrupted())
                    outcome, found = holding.achieve(host, made, progress=progress)
                return _hold(options, host, holding, made, outcome, found)


def _session(options: argparse.Namespace, keepers: Keepers) -> AbstractContextManager[Session]:
    return changing(options.host, dry_run=options.dry_run, hold=True, vfio=keepers)


def _foretell(options: argparse.Namespace, host: Host, holding: Holding) -> int:
    holding.check(host)
    made = _plan(host, holding.clusters, holding.spec, holding.policy)
    if made.impossible:
        return _impossible(options, made)
    outcome = execute(holding.machine, host, made, dry_run=True)
    say(
        options,
        lambda: hold_document(made, outcome, None, dry_run=True),
        lambda style: apply_lines(made, outcome, None, style=style, verbose=options.verbose),
    )
    return exit_code(made)


def _hold(
    options: argparse.Namespace, host: Host, holding: Holding, made: Plan, outcome: Outcome, found: Statement
) -> int:
    held = holding.held if found.verdict is Verdict.PROVEN else ()

    def started(service: Service | None) -> None:
        if service is not None:
            # From here on one ends the service in good order; a second one ends it without waiting for owners. Whoever
            # reads that it serves may send it at once.
            listen(heard(), lambda number, frame: service.stop())
        say(
            options,
            lambda: hold_document(made, outcome, found, held, dry_run=False),
            lambda style: hold_lines(made, outcome, found, held, style=style, verbose=options.verbose),
        )
        sys.stdout.flush()

    if not held:
        started(None)
        return EXIT[found.verdict]
    left = holding.serve(host, started)
    for number in heard():
        # Giving back is not left half done.
        signal.signal(number, signal.SIG_IGN)
    ended = holding.end(left)
    if not options.json:
        with within(columns_of(sys.stdout)):
            print("\n".join(ended_lines(host.name, ended, style=style_for(sys.stdout))))
    return _code(ended)


def _code(ended: Ended) -> int:
    return 1 if ended.tenants or (ended.outcome is not None and ended.outcome.left) else 0


def _on_a_twin(options: argparse.Namespace, session: Session, text: str, clusters: Clusters, policy: Policy) -> int:
    """A twin keeps open devices in its file, so it is done as ``apply`` does it, and no process stays."""
    assert session.machine is not None
    made = _plan(session.host, clusters, text, policy)
    if made.impossible:
        return _impossible(options, made)
    outcome = execute(session.machine, session.host, made, dry_run=options.dry_run, verb="hold")
    found: Statement | None = None
    if not options.dry_run:
        host = session.reread()
        settings = present(host, allow_assumed=clusters.allow_assumed)
        clusters = with_others(session.machine, host, clusters)
        found = state(Topology(host), settings, clusters, policy, moment="now")
        session.save()  # before it is told as done
    say(
        options,
        lambda: hold_document(made, outcome, found, dry_run=options.dry_run),
        lambda style: [
            *apply_lines(made, outcome, found, style=style, verbose=options.verbose),
            *(["", "A twin keeps in its file what is held: no process has to stay."] if found is not None else []),
        ],
    )
    return (0 if found is None else EXIT[found.verdict]) or exit_code(made)


def _plan(host: Host, clusters: Clusters, text: str, policy: Policy) -> Plan:
    settings = present(host, allow_assumed=clusters.allow_assumed)
    return plan(Topology(host), settings, clusters, policy, spec=text)


def _impossible(options: argparse.Namespace, made: Plan) -> int:
    say(
        options,
        lambda: hold_document(made, None, None, dry_run=options.dry_run),
        lambda style: plan_lines(made, style=style, verbose=options.verbose),
    )
    return exit_code(made)


def _ask(options: argparse.Namespace, what: str) -> int:
    """Ask the holder that runs here."""
    if options.host != ["live"]:
        raise InputError(f"--{what} asks the holder on this machine", hint="leave --host out")
    with Client() as holder:
        if what == "state":
            found = holder.state()
            say(options, lambda: state_document(found), lambda style: state_lines(found, style=style))
            seen = [device["sight"] for cluster in found["clusters"] for device in cluster["devices"]]
            kept = all(c["keeper"] is not None and not c.get("silent_since") for c in found["clusters"])
            return 0 if kept and all(sight in (None, "cut") for sight in seen) else 3
        if what == "proof":
            found = holder.proof()
            say(options, lambda: proof_document(found), lambda style: proof_lines(found, style))
            return EXIT[Verdict(found["verdict"])]
        seconds = holder.stop()
        say(options, lambda: stop_document(seconds), lambda style: stop_lines(seconds))
        return 0


def _number(text: str | None, option: str, default: float, least: float, most: float) -> float:
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InputError(f"{option} {text}: expected a number from {least:g} to {most:g}", hint="atoll hold --help")
    return value
