"""``atoll groups``: what the kernel claims."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.cli.view import reach_of
from atoll.errors import InputError
from atoll.host.extent import Extent
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.isolation.groups import Prediction, predict
from atoll.isolation.groups.comparison import compare
from atoll.isolation.honesty import honesty
from atoll.report.groups import groups_document, groups_lines

if TYPE_CHECKING:
    from atoll.report.style import Style

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the groups, recorded and predicted, and where reach disagrees with them.

    Exit code 1 where the two differ for sure, 3 where the record lacks what the prediction rests on, or all of
    it. What reach makes of the groups (lies, doubts, costs) is the result, not a failure.
    """
    forum = options.format == "forum"
    if forum and options.json:
        raise InputError("--format forum and --json are two forms of output", hint="give one of them")
    host = open_session(options.host, extent=Extent.ALL if forum else Extent.ROUTING).host
    prediction = predict(host)
    if forum:
        from atoll.report.forum import forum_lines
        from atoll.report.names import Names
        from atoll.report.printable import printable

        print("\n".join(map(printable, forum_lines(host, prediction, names=Names.load()))))
        # A listing compares nothing: only groups that are predicted can be open.
        return 3 if isinstance(host.groups, Unknown) and prediction.undetermined else 0
    members = (
        {number: group.members for number, group in host.groups.value.items()}
        if isinstance(host.groups, Known)
        else dict(enumerate(prediction.groups))
    )
    found = honesty(reach_of(host, options.policy), members)

    def lines(style: Style) -> list[str]:
        from atoll.report.names import Names

        return groups_lines(host, prediction, found, names=Names.load(), style=style, verbose=options.verbose)

    say(options, lambda: groups_document(host, prediction, found), lines)
    return _exit_code(host, prediction)


def _exit_code(host: Host, prediction: Prediction) -> int:
    comparison = compare(host, prediction)
    if comparison is not None and comparison.certain:
        return 1
    if prediction.undetermined or host.unread:
        return 3
    # Where there is neither a claim nor a function, nothing was held against the rules.
    return 3 if isinstance(host.groups, Unknown) and not host.functions else 0
