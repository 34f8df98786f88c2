"""``atoll groups``: what the kernel claims."""

from __future__ import annotations

import argparse

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.cli.view import reach_of
from atoll.host.extent import Extent
from atoll.host.fact import Known
from atoll.isolation.groups import predict
from atoll.isolation.honesty import honesty
from atoll.report.groups import groups_document, groups_lines
from atoll.report.names import Names

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the groups, recorded and predicted, and where reach disagrees with them."""
    host = open_session(options.host, extent=Extent.ROUTING).host
    prediction = predict(host)
    members = (
        {number: group.members for number, group in host.groups.value.items()}
        if isinstance(host.groups, Known)
        else dict(enumerate(prediction.groups))
    )
    found = honesty(reach_of(host, options.policy), members)
    say(
        options,
        lambda: groups_document(host, prediction, found),
        lambda style: groups_lines(host, prediction, found, names=Names.load(), style=style, verbose=options.verbose),
    )
    return 0
