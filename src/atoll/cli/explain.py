"""``atoll explain``: why, hop by hop and bit by bit."""

from __future__ import annotations

import argparse

from atoll.cli.addresses import function_address
from atoll.cli.output import say
from atoll.cli.session import open_session
from atoll.cli.view import reach_of
from atoll.errors import InputError
from atoll.fabric.answer import BLOCKED
from atoll.host.records.listed import with_listed
from atoll.isolation.explain import explain
from atoll.isolation.grouping import grouping
from atoll.isolation.groups import predict
from atoll.report.explain import explain_document, explain_lines
from atoll.report.names import Names
from atoll.report.neighbours import Neighbour, neighbours_document, neighbours_lines

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print why two functions share a group or reach each other; of one, its companions and whom it reaches."""
    host = open_session(options.host).host
    whole = with_listed(host)
    named = [function_address(text, whole) for text in (options.a, options.b) if text is not None]
    if any(address not in host.functions for address in named):
        host = whole
    reach = reach_of(host, options.policy)
    one = named[0]
    if options.b is None:
        found = [
            Neighbour(other, reach.answer(one, other), reach.answer(other, one), reach.identity(one, other))
            for other in reach.topology.endpoints
            if other != one
        ]
        prediction = predict(host)
        group = grouping(reach.topology, reach.settings, one)
        # What a port sends of its own is interrupts and messages.
        memory = BLOCKED if host.functions[one].is_port else reach.memory(one)
        say(
            options,
            lambda: neighbours_document(host, group, found, memory, prediction),
            lambda style: neighbours_lines(
                host, group, found, memory, names=Names.load(), style=style, verbose=options.verbose
            ),
        )
        return 0
    other = named[1]
    if one == other:
        raise InputError(f"{one} is named twice", hint=f"name two functions, or one: atoll explain {one}")
    explanation = explain(reach, one, other)
    say(
        options,
        lambda: explain_document(host, explanation),
        lambda style: explain_lines(host, explanation, names=Names.load(), style=style),
    )
    return 0
