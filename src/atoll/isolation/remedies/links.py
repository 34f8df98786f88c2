"""What would cut the links by which two functions reach one another: directly, or over a switch chip on both."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.controls.link_control import Level
from atoll.controls.registry import link_control
from atoll.fabric.answer import Answer
from atoll.fabric.families import possible_kinds
from atoll.fabric.interconnects import RECORDED
from atoll.fabric.links import across_links, far_end, is_open, leads_on, near_end
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.model import EndKind, Link, LinkKind
from atoll.isolation.remedies.remedy import Remedy
from atoll.pci.address import Address

__all__ = ["BY_PARTITIONS", "RECORD", "link_remedies"]

RECORD = "record what tells where each link leads beside it: nvidia-smi nvlink -R; of AMD's, the KFD topology"

BY_PARTITIONS = "Fabric Manager's partitions say what NVSwitches route"
"""Fabric Manager User Guide, "Shared NVSwitch": the host assigns GPUs to partitions, and switches route by them."""
_NO_RECORD = "no record is read that tells where such links lead: put both in one cluster"


def link_remedies(topology: Topology, settings: Settings, one: Address, other: Address) -> tuple[Remedy, ...]:
    """Return what cuts what is open, at either end; nothing where no link, told or untold, leads from one to the other.

    A virtual function uses the links of its physical one.
    """
    ways = (across_links(topology, settings, one, other), across_links(topology, settings, other, one))
    if all(way.answer is Answer.BLOCKED for way in ways):
        return ()
    a, b = (topology.functions[end].physical_function or end for end in (one, other))
    found = []
    for end, far in ((a, b), (b, a)):
        links = _joining(topology, settings, end, far)
        if links:
            found.append(_cut(topology, end, links))
    untold = [str(end) for end in (a, b) if end not in topology.host.links_told]
    if untold and len(found) < 2:
        effect = RECORD if _recordable(topology, a) and _recordable(topology, b) else _NO_RECORD
        found.append(Remedy(f"not known: no record tells all links of {' and '.join(untold)}", "", effect))
    return tuple(found)


def _recordable(topology: Topology, end: Address) -> bool:
    """Whether records tell of links of the kinds that a function may have."""
    kinds = possible_kinds(topology.functions[end])
    return not kinds or not kinds.isdisjoint(RECORDED)


def _joining(topology: Topology, settings: Settings, end: Address, far: Address) -> list[Link]:
    """Return the links of ``end`` that are not cut and lead to ``far``, or to what may lead on to it."""
    open_ = [link for link in topology.links.get(end, ()) if is_open(settings, link) is not False]
    return [link for link in open_ if far_end(link, end).function == far or leads_on(link, end)]


def _cut(topology: Topology, end: Address, links: Sequence[Link]) -> Remedy:
    control = link_control(topology.functions[end])
    if control is None:
        routed = any(link.kind is LinkKind.NVLINK and far_end(link, end).kind is EndKind.SWITCH for link in links)
        effect = "they stay open" + (f"; {BY_PARTITIONS}" if routed else "")
        return Remedy(f"no control of this version cuts the links of {end}", "", effect)
    numbers = sorted(n for link in links if (n := near_end(link, end).number) is not None and control.names(n))
    if len(numbers) < len(links):
        return Remedy(f"cut the links of {end}, whose numbers no record tells", "", RECORD)
    level = f" (level {control.level})" if control.level is not Level.OBSERVED else ""
    return Remedy(
        f"cut link(s) {', '.join(map(str, numbers))} of {end}{level}",
        f"{control.name} mask {control.mask(numbers):#x}",
        "closes the links both ways until the next bus reset of that end; cut both ends",
    )
