"""``atoll release``: give the devices back."""

from __future__ import annotations

import argparse

from atoll.act.given import gone
from atoll.act.journal import read_journal
from atoll.act.owner import boot_of
from atoll.act.release import release
from atoll.act.running import refuse_after_death
from atoll.cli.output import say
from atoll.cli.session import changing
from atoll.cli.spec import read_clusters
from atoll.report.apply import release_document, release_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Undo what can be undone, in the order that opens nothing between tenants; exit code 1 where something is left."""
    with changing(options.host, dry_run=options.dry_run) as session:
        assert session.machine is not None
        refuse_after_death(session.machine)
        entries = read_journal(session.machine).since(boot_of(session.machine)).entries
        text, clusters = read_clusters(options.spec, session.host, gone=gone(entries, session.host))
        outcome = release(session.machine, session.host, clusters, spec=text, dry_run=options.dry_run)
    say(
        options,
        lambda: release_document(session.host.name, outcome),
        lambda style: release_lines(session.host.name, outcome, style=style),
    )
    return 1 if outcome.left and outcome.deeds else 0
