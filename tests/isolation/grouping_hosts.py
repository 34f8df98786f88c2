"""What tests of the words about a function's group begin with."""

from __future__ import annotations

from dataclasses import replace

from reach_hosts import at, scene

from atoll.host.fact import Unknown
from atoll.host.model import Host
from atoll.isolation.grouping import Grouping, grouping

__all__ = ["grouping_of", "pasted"]


def grouping_of(host: Host, one: str) -> Grouping:
    """Return what there is to tell of a function's group."""
    found = scene(host)
    return grouping(found.topology, found.settings, at(one))


def pasted(host: Host) -> Host:
    """Return the host as a record shows it that tells no groups."""
    functions = {a: replace(f, group=Unknown("not shown")) for a, f in host.functions.items()}
    return replace(host, functions=functions, groups=Unknown("not shown"))
