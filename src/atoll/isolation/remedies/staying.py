"""What stays open between two functions whatever is set: what is offered to change it is not all that there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from atoll.fabric.answer import Answer
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known
from atoll.isolation.atoms import most_closed
from atoll.isolation.reach import Reach
from atoll.isolation.remedies.remedy import Remedy, beside_links
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address

__all__ = ["what_stays"]

_REACH = {Answer.DIRECT: "reaches", Answer.POSSIBLE: "may reach"}
_SEND = {Answer.DIRECT: "can send requests as", Answer.POSSIBLE: "may send requests as"}


def what_stays(
    reach: Reach, one: Address, other: Address, *, words: Mapping[Address, AcsFlag], read: bool
) -> tuple[Remedy, ...]:
    """Return what is open now, and with every control at its most closed too; nothing where all can be closed.

    ``words`` are the ACS control words that are offered; ``read``: all was that could be set on the way. Of links their
    own remedies tell.
    """
    topology = reach.topology
    settings = most_closed(topology, reach.settings)
    # No remedy offers to have ports' ids translated.
    settings = replace(settings, domain={a: d for a, d in settings.domain.items() if not topology.functions[a].is_port})
    for address in (one, other):
        settings = settings.with_domain(address, Domain(DomainKind.TRANSLATED, f"function {address}"))
    for address, word in words.items():
        settings = settings.with_acs(address, (settings.acs.get(address) or AcsFlag(0)) | word)
    closed = Reach(topology, settings, reach.policy)
    left: list[str] = []
    for source, target in ((one, other), (other, one)):
        worst = min(beside_links(reach, source, target), beside_links(closed, source, target))
        if worst > Answer.IOMMU:
            left.append(f"{source} {_REACH[worst]} {target}")
        worst = min(reach.identity(source, target).answer, closed.identity(source, target).answer)
        if worst > Answer.IOMMU:
            left.append(f"{source} {_SEND[worst]} {target}")
    if not left:
        return ()
    read = read and all(isinstance(topology.functions[address].ats, Known) for address in (one, other))
    what = "what stays, whatever is set" if read else "what is left open: not all was read that could be set"
    return (Remedy(what, "", ", ".join(left)),)
