"""``atoll groups``: what the kernel claims."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.isolation.groups import predict
from atoll.report.groups import groups_document, groups_lines
from atoll.report.names import Names

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the groups, recorded and predicted."""
    host = open_session(options.host).host
    prediction = predict(host)
    say(
        options,
        lambda: groups_document(host, prediction),
        lambda style: groups_lines(host, prediction, names=Names.load(), style=style, verbose=options.verbose),
    )
    return 0
