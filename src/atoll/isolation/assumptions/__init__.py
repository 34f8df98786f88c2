"""The assumptions that a proof rests on, by id, in words.

It rests on some because an answer does (``texts``). The others stand, or not, with the host, its ports and links, and
the functions of clusters: each has a generator, in the file for what it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from atoll.isolation.assumptions import devices, host, links, ports
from atoll.isolation.assumptions.assumption import Assumption
from atoll.isolation.assumptions.texts import TEXTS
from atoll.isolation.clusters import Clusters
from atoll.isolation.reach import Reach

__all__ = ["Assumption", "standing"]

_STANDING: tuple[Callable[[Reach, Clusters], Iterator[Assumption]], ...] = (
    host.trusted_host,
    host.journal_of_host,
    links.link_controls,
    ports.unsolicited_completions,
    host.separate_containers,
    host.kernel_mappings,
    host.firmware_mappings,
    devices.ats_off,
    devices.bus_mastering,
    ports.ports_awake,
    host.firmware_aliases,
    ports.configuration_space,
    ports.root_complex_routing,
    links.off_host_links,
    devices.ends_of_devices,
    devices.nvswitch_management,
    host.virtual_machine,
)
"""In the order in which proofs list them."""


def standing(reach: Reach, clusters: Clusters, used: Iterable[str]) -> tuple[Assumption, ...]:
    """Return the assumptions used, and those that every proof of this host rests on, in a fixed order."""
    found = {name: Assumption(name, TEXTS[name]) for name in sorted(used)}
    for of in _STANDING:
        found |= {assumption.id: assumption for assumption in of(reach, clusters)}
    return tuple(found.values())
