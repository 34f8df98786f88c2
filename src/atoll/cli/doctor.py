"""``atoll doctor``: what helps or hinders; never writes."""

from __future__ import annotations

import argparse
import os

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.report.checks import checks
from atoll.report.doctor import doctor_document, doctor_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print every check. What it finds is its result, not its failure: the exit code is 0."""
    session = open_session(options.host)
    found = checks(session.host, session.tree, privileged=os.geteuid() == 0 if session.is_live else None)
    say(
        options,
        lambda: doctor_document(session.host, found),
        lambda style: doctor_lines(session.host, found, style=style, verbose=options.verbose),
    )
    return 0
