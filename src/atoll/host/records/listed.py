"""Functions that only lists of groups or boot logs name: as functions of which nothing but the group was read."""

from __future__ import annotations

from dataclasses import replace

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.groups import listed_only
from atoll.host.model import Function, Host
from atoll.host.records.bare import bare_function
from atoll.pci.address import Address

__all__ = ["with_listed"]

_WHY = "the record shows its group and nothing more: give lspci -nnvvv, run as root, beside it"


def with_listed(host: Host) -> Host:
    """Return a host in which those that groups alone name are functions, too: of any kind, at no place that is told."""
    groups = value_of(host.groups, {})
    number = {address: group.number for group in groups.values() for address in group.members}
    listed = {address: _listed(address, number[address]) for address in listed_only(host)}
    return replace(host, functions=dict(sorted({**host.functions, **listed}.items())), excerpt=True)


def _listed(address: Address, group: int) -> Function:
    function = bare_function(address, (0xFFFF, 0xFFFF), None, _WHY)
    unread = Unknown(_WHY)
    return replace(
        function,
        possible_ids=((None, None),),
        host_bridge=f"pci{address.domain:04x}:{address.bus:02x}",
        group=Known(group, "the record's groups"),
        driver=unread,
        iommu=unread,
        parent_told=False,
    )
