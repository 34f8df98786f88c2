"""``atoll twin list``: the machines that can be simulated."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.report.document import document
from atoll.report.layout import wrap

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print each machine's name and what it is."""
    from atoll.twin import MACHINES, RANDOM

    machines = dict([*MACHINES.items(), RANDOM])
    margin = max(map(len, machines)) + 2
    say(
        options,
        lambda: document("twin list", machines=[{"name": n, "description": text} for n, text in machines.items()]),
        lambda style: [
            line
            for name, text in machines.items()
            for line in wrap(text, first=style.bold(name) + " " * (margin - len(name)), rest=" " * margin)
        ],
    )
    return 0
