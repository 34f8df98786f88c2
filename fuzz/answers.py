"""Everything that the verbs answer about a host, as they answer it: documents and lines.

What a reader lets through has to be good enough for all that comes after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from atoll.cli.view import reach_of
from atoll.controls.present import present
from atoll.errors import InputError, RefusedError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.host.model import Host
from atoll.host.tree import Tree
from atoll.isolation.atoms import atoms
from atoll.isolation.clusters import Clusters
from atoll.isolation.explain import explain
from atoll.isolation.grouping import grouping
from atoll.isolation.groups import predict
from atoll.isolation.honesty import honesty
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.survey import survey
from atoll.isolation.moment import state
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.report.atoms import atoms_document, atoms_lines
from atoll.report.checks import checks
from atoll.report.doctor import doctor_document, doctor_lines
from atoll.report.document import dump
from atoll.report.explain import explain_document, explain_lines
from atoll.report.forum import forum_lines
from atoll.report.groups import groups_document, groups_lines
from atoll.report.iova import iova_document, iova_lines
from atoll.report.names import Names
from atoll.report.neighbours import Neighbour, neighbours_document, neighbours_lines
from atoll.report.prove import prove_document, prove_lines
from atoll.report.show import show_document, show_lines
from atoll.report.style import PLAIN

__all__ = ["Answers", "answers", "two_tenants"]

Answers = dict[str, Any]
"""By verb: the document as a program reads it, or the lines where a verb has no document."""

_NAMES = Names.load()


def answers(host: Host, tree: Tree | None = None, *, pair: tuple[Address, Address] | None = None) -> Answers:
    """Return what each verb says of a host, under policy strict.

    ``pair`` are the functions to explain, and to give to two tenants; without it the first two that can be given.
    ``prove`` and ``iova`` are left out where the cluster file is refused.
    """
    found: Answers = {}

    def say(verb: str, document: Callable[[], Mapping[str, Any]], lines: Callable[[], Iterable[str]]) -> None:
        found[verb] = json.loads(dump(document()))
        "\n".join(lines()).encode("utf-8", "replace")

    say("show", lambda: show_document(host), lambda: show_lines(host, names=_NAMES, style=PLAIN, verbose=True))
    reach = reach_of(host, "strict")
    _groups(host, reach, say)
    found["forum"] = forum_lines(host, predict(host), names=_NAMES)
    if tree is not None:
        told = checks(host, tree, privileged=None)
        say(
            "doctor",
            lambda: doctor_document(host, told),
            lambda: doctor_lines(host, told, style=PLAIN, verbose=True),
        )
    sets = atoms(reach.topology, reach.settings, reach.policy)
    say(
        "atoms",
        lambda: atoms_document(host, sets),
        lambda: atoms_lines(host, sets, trusted=len(sets), names=_NAMES, style=PLAIN, verbose=True),
    )
    pair = pair or _some_pair(host)
    if pair is None or not set(pair) <= host.functions.keys():
        return found
    _explain(host, reach, pair, say)
    try:
        clusters = read_spec(two_tenants(*pair), host, name="two tenants")
    except (InputError, RefusedError):
        return found
    _prove(host, clusters, say)
    return found


_Say = Callable[[str, Callable[[], Mapping[str, Any]], Callable[[], Iterable[str]]], None]


def _groups(host: Host, reach: Reach, say: _Say) -> None:
    prediction = predict(host)
    members = (
        {number: group.members for number, group in host.groups.value.items()}
        if isinstance(host.groups, Known)
        else dict(enumerate(prediction.groups))
    )
    told = honesty(reach, members)
    say(
        "groups",
        lambda: groups_document(host, prediction, told),
        lambda: groups_lines(host, prediction, told, names=_NAMES, style=PLAIN, verbose=True),
    )


def _explain(host: Host, reach: Reach, pair: tuple[Address, Address], say: _Say) -> None:
    one, other = pair
    explanation = explain(reach, one, other)
    say(
        "explain A B",
        lambda: explain_document(host, explanation),
        lambda: explain_lines(host, explanation, names=_NAMES, style=PLAIN),
    )
    near = [
        Neighbour(each, reach.answer(one, each), reach.answer(each, one), reach.identity(one, each))
        for each in reach.topology.endpoints
        if each != one
    ]
    group, prediction = grouping(reach.topology, reach.settings, one), predict(host)
    memory = reach.memory(one)
    say(
        "explain A",
        lambda: neighbours_document(host, group, near, memory, prediction),
        lambda: neighbours_lines(host, group, near, memory, names=_NAMES, style=PLAIN, verbose=True),
    )


def _prove(host: Host, clusters: Clusters, say: _Say) -> None:
    topology, settings = Topology(host), present(host)
    statement = state(topology, settings, clusters, Policy.STRICT, moment="now")
    say(
        "prove",
        lambda: prove_document(host, clusters, statement),
        lambda: prove_lines(host, clusters, statement, style=PLAIN, verbose=True),
    )
    told = survey(Polluter(topology, settings, Policy.STRICT), clusters, None)
    say(
        "iova",
        lambda: iova_document(host, told, None),
        lambda: iova_lines(host, told, None, style=PLAIN, verbose=True),
    )


def _some_pair(host: Host) -> tuple[Address, Address] | None:
    able = [a for a, function in host.functions.items() if not function.is_port and a not in host.essential]
    return (able[0], able[-1]) if len(able) > 1 else None


def two_tenants(one: Address, other: Address) -> str:
    """Return a cluster file that gives two functions to two tenants."""
    return f'[cluster.red]\ndevices = ["{one}"]\n[cluster.blue]\ndevices = ["{other}"]\n'
