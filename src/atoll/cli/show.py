"""``atoll show``: the tree of functions."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.report.names import Names
from atoll.report.show import show_document, show_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print what the host has."""
    host = open_session(options.host).host
    say(
        options,
        lambda: show_document(host),
        lambda style: show_lines(host, names=Names.load(), style=style, verbose=options.verbose),
    )
    return 0
