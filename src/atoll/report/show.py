"""What a host has: its functions, groups and holders, and what was not seen of them."""

from __future__ import annotations

from typing import Any

from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.isolation.shared import shared_on_host
from atoll.report.contention import contention_document, shared_lines
from atoll.report.document import document
from atoll.report.function_document import function_document
from atoll.report.function_links import links_by_function
from atoll.report.function_tree import function_tree
from atoll.report.layout import columns, first_of, plural, wrap
from atoll.report.names import Names
from atoll.report.style import Style

__all__ = ["host_lines", "show_document", "show_lines"]

_SHOWN = 4


def show_document(host: Host) -> dict[str, Any]:
    """Return the host as programs get it."""
    links = links_by_function(host)
    groups = host.groups.value if isinstance(host.groups, Known) else None
    return document(
        "show",
        host=host.name,
        platform=host.platform.value,
        kernel=host.kernel.value.text if isinstance(host.kernel, Known) else None,
        iommu_units=[{"name": unit.name, "kind": unit.kind} for unit in host.iommu_units],
        interrupt_remapping=value_of(host.interrupt_remapping, None),
        functions=[
            function_document(function, links.get(address, []), links_told=address in host.links_told)
            for address, function in host.functions.items()
        ],
        groups=None
        if groups is None
        else [
            {
                "number": group.number,
                "members": [str(member) for member in group.members],
                "type": value_of(group.type, None),
            }
            for group in groups.values()
        ],
        holders=None
        if isinstance(host.holders, Unknown)
        else [
            {"pid": holder.pid, "name": holder.name, "devices": [str(device) for device in holder.devices]}
            for holder in host.holders.value
        ],
        contention=contention_document(shared_on_host(Topology(host))),
        essential={str(address): reason for address, reason in host.essential.items()},
        gaps=[{"what": gap.what, "why": gap.why, "hint": gap.hint} for gap in host.gaps],
        provenance=list(host.provenance),
    )


def host_lines(host: Host, style: Style) -> list[str]:
    """Return one line or two that say which machine this is, and of which moment the report speaks."""
    kernel = f"Linux {host.kernel.value.text}" if isinstance(host.kernel, Known) else "kernel unknown"
    if isinstance(host.groups, Unknown):
        groups = "groups unknown"
    elif host.groups.value:
        groups = plural(len(host.groups.value), "IOMMU group")
    else:
        groups = "no IOMMU groups"
    parts = [host.platform.value, kernel, plural(len(host.functions), "function"), groups]
    return wrap(", ".join(parts), first=style.bold(f"{host.name}: "), rest="  ")


def show_lines(host: Host, *, names: Names, style: Style, verbose: bool = False) -> list[str]:
    """Return the host as people read it, within a hundred columns."""
    lines = host_lines(host, style)
    if host.functions:
        drawn = function_tree(host, names=names, style=style, verbose=verbose)
        return [*lines, *drawn, *_tail(host, style, verbose)]
    if any(group.members for group in value_of(host.groups, {}).values()):
        told = "No function has a record of its own: groups name some. See: atoll groups; for more give lspci -vvv"
        return [*lines, "", *wrap(told)]
    if host.unread:
        named = first_of(host.unread, _SHOWN)
        told = f"No PCI function could be read: of {named} there are neither ids nor configuration space."
        return [*lines, "", *wrap(told)]
    why = f" ({host.groups.reason})" if isinstance(host.groups, Unknown) else ""
    return [*lines, "", *wrap(f"No PCI functions here{why}.")]


def _tail(host: Host, style: Style, verbose: bool) -> list[str]:
    lines: list[str] = []
    if isinstance(host.groups, Known) and not host.groups.value:
        lines += ["", *wrap("No IOMMU in use: every device here can reach all of memory. See: atoll doctor")]
    if isinstance(host.holders, Known) and host.holders.value:
        lines += ["", style.bold("Open VFIO devices")]
        rows = [
            (f"  {holder.name}", f"pid {holder.pid}", " ".join(str(device) for device in holder.devices))
            for holder in host.holders.value
        ]
        lines += columns(rows)
    lines += shared_lines(shared_on_host(Topology(host)), style, verbose=verbose)
    if host.gaps and verbose:
        lines += ["", style.bold("Not seen")]
        for gap in host.gaps:
            lines += wrap(f"{gap.what}: {gap.why}" + (f" ({gap.hint})" if gap.hint else ""), first="  ", rest="    ")
    elif host.gaps:
        lines += [
            "",
            style.faint(f"{plural(len(host.gaps), 'thing')} could not be seen; see: atoll show -v, atoll doctor"),
        ]
    if verbose and host.provenance:
        lines += ["", style.bold("Read from"), *(f"  {source}" for source in host.provenance)]
    return lines
