"""Links of a device that is given back which lead to devices of clusters that stay: they stay cut at this end too.

The other end is cut as well, but its owner may open that by a reset; and what is given back is the host's then, whose
driver runs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from atoll.act.entries import Entry
from atoll.controls.registry import link_controls
from atoll.host.model import EndKind, Host
from atoll.isolation.clusters import HOST
from atoll.pci.address import Address
from atoll.plan.step import Step, StepKind

__all__ = ["shared_links", "stays_cut"]


def shared_links(host: Host, entries: Iterable[Entry], address: Address, others: Collection[Address]) -> Step | None:
    """Return the step that cut links of a device with those alone that may lead to one of ``others``, as the host's
    own; None where there are none. A link of which no source tells where it leads may lead there.
    """
    there = {other for other in others if other in host.functions and other != address}
    steps = [entry.step for entry in entries if entry.step.device == address and entry.step.kind is StepKind.CUT_LINKS]
    if not there or not steps:
        return None
    cut = {link for step in steps for link in step.links}
    links = tuple(sorted(cut - set(_elsewhere(host, address, there))))
    control = next((control for control in link_controls() if control.name == steps[-1].control), None)
    if not links or control is None:
        return None
    because = "its links to clusters that stay are cut at both ends"
    return replace(
        steps[-1], id="r3", because=because, cluster=HOST, holder=None, links=links, mask=control.mask(links)
    )


def _elsewhere(host: Host, address: Address, others: Collection[Address]) -> Iterator[int]:
    """Yield the links of a device that are known to lead to none of ``others``."""
    for link in host.links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            if near.function != address or near.number is None:
                continue
            if far.kind is EndKind.CPU or (far.kind is EndKind.FUNCTION and far.function not in others):
                yield near.number


def stays_cut(step: Step) -> str:
    """Say which links stay cut."""
    links = ", ".join(map(str, step.links))
    return f"links {links} of {step.device} stay cut: they lead to devices of clusters that are not released with this"
