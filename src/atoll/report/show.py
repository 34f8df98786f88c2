"""What a host has: the tree of functions with groups, drivers, links and what is worth knowing about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from atoll.fabric.families import possible_kinds
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import EndKind, Function, Host
from atoll.isolation.shared import shared_on_host
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType
from atoll.report.contention import contention_document, shared_lines
from atoll.report.document import document
from atoll.report.functions import (
    FunctionLink,
    driver_words,
    function_document,
    group_words,
    isolating_root,
    links_by_function,
    type_words,
)
from atoll.report.layout import WIDTH, columns, cut, display_width, plural, tree, wrap
from atoll.report.names import Names
from atoll.report.quantity import bandwidth
from atoll.report.style import Style

__all__ = ["host_lines", "link_lines", "show_document", "show_lines"]


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
    if not host.functions:
        if any(group.members for group in value_of(host.groups, {}).values()):
            told = "No function has a record of its own: groups name some. See: atoll groups; for more give lspci -vvv"
            return [*lines, "", *wrap(told)]
        why = f" {host.groups.reason[:1].upper()}{host.groups.reason[1:]}." if isinstance(host.groups, Unknown) else ""
        return [*lines, "", *wrap(f"No PCI functions here.{why}")]
    links = links_by_function(host)
    below: dict[Address | None, list[Function]] = {}
    for function in host.functions.values():
        parent = function.parent if function.parent in host.functions else None
        below.setdefault(parent, []).append(function)

    notes = {a: _notes(host, f, links.get(a, []), style, verbose) for a, f in host.functions.items()}
    common = {} if verbose else _common(notes)

    right = [(group_words(function), driver_words(function)) for function in host.functions.values()]
    group_width = max(5, *(len(group) for group, _ in right))
    driver_width = min(max(6, *(len(driver) for _, driver in right)), 28)
    left = WIDTH - group_width - driver_width - 4

    def draw(function: Function, used: int) -> list[str]:
        name = str(function.address)
        room = left - used - len(name) - 2
        kind = type_words(function) if function.is_port else names.class_name(function.class_code)
        called = names.function_name(function)
        ids = names.ids(function)
        what = cut(f"{kind}: {called}" if called else kind, max(room - len(ids) - 1, 8))
        text = f"{style.bold(name) if not function.is_port else name}  {what} {style.faint(ids)}"
        text += " " * (left - used - display_width(text))
        head = f"{text}  {group_words(function):>{group_width}}  {cut(driver_words(function), driver_width)}".rstrip()
        own = [note for note in notes[function.address] if note not in common]
        return [head, *(line for note in own for line in wrap(note, first="  ", width=WIDTH - used - 3))]

    bridges: dict[str, list[Function]] = {}
    for function in below.get(None, []):
        bridges.setdefault(function.host_bridge or "root bus", []).append(function)

    def draw_node(node: Function | str, used: int) -> list[str]:
        if isinstance(node, Function):
            return draw(node, used)
        maker = bridges[node][0].behind
        called = f"{node}, made by the VMD {maker}" if maker is not None else node
        return [style.bold(f"{called:<{left}}") + style.faint(f"  {'GROUP':>{group_width}}  DRIVER")]

    def children(node: Function | str) -> list[Function]:
        return below.get(node.address, []) if isinstance(node, Function) else bridges[node]

    for host_bridge in bridges:
        lines += ["", *tree([host_bridge], children, draw_node)]
    for note, count in common.items():
        lines += ["", *wrap(f"Of {plural(count, 'function')} alike: {note}")]
    return [*lines, *_tail(host, style, verbose)]


_UNTOLD = ("ACS unknown:", "links unknown:")
_MOST_ALIKE = 4


def _common(notes: Mapping[Address, list[str]]) -> dict[str, int]:
    """Return what a record does not tell of many functions, with of how many: it is told once, below the tree."""
    counts = Counter(note for own in notes.values() for note in own if any(word in note for word in _UNTOLD))
    return {note: count for note, count in counts.items() if count > _MOST_ALIKE}


def _notes(host: Host, function: Function, links: list[FunctionLink], style: Style, verbose: bool) -> list[str]:
    """Return what is worth knowing about one function beside its line."""
    notes = []
    essential = host.essential.get(function.address)
    if essential:
        notes.append(style.doubtful("the host needs it:") + " " + essential)
    notes += _acs_notes(host, function, style, verbose)
    ats = value_of(function.ats, None)
    if ats is not None and ats.enabled:
        notes.append("ATS on: it may send requests that the IOMMU no longer checks")
    multicast = value_of(function.multicast, None)
    if multicast is not None and multicast.enabled and function.is_port:
        notes.append("Multicast on: what hits its window goes to other ports too, whatever ACS says")
    sriov = value_of(function.sriov, None)
    if sriov is not None and sriov.total:
        notes.append(f"SR-IOV: {sriov.enabled} of {plural(sriov.total, 'virtual function')} on")
    if function.physical_function is not None:
        notes.append(f"virtual function of {function.physical_function}")
    command = value_of(function.command, None)
    if command is not None and verbose and not function.is_port:
        notes.append("bus mastering " + ("on" if Command.MASTER in command else "off"))
    power = value_of(function.power_state, None)
    if power not in (None, "D0", "unknown"):
        notes.append(f"power state {power}: its registers do not answer")
    if verbose and isinstance(function.reset_methods, Known):
        notes.append("resets: " + (" ".join(function.reset_methods.value) or "none"))
    notes += link_lines(links, style, verbose)
    kinds = sorted(possible_kinds(function))
    if kinds and function.address not in host.links_told:
        words = " or ".join(_LINK_WORDS[kind.value] for kind in kinds)
        has = "its family has" if function.ids_told else "without its ids, it may have"
        if function.ids_told and not function.class_told:
            has = "without its class, it may have"
        what, untold = (
            ("more links possible:", "no source told all of them") if links else ("links unknown:", "no source told")
        )
        notes.append(style.doubtful(what) + f" {has} {words}, and {untold}")
    return notes


def _acs_notes(host: Host, function: Function, style: Style, verbose: bool) -> list[str]:
    if isinstance(function.acs, Unknown):
        return [f"ACS unknown: {function.acs.reason}"] if function.is_port or verbose else []
    if function.acs.value is not None:
        return ["ACS " + function.acs.value.control.lspci]
    kind = value_of(function.port_type, None)
    if kind is PortType.ROOT_PORT and isolating_root(host, function):
        return ["no ACS; the host bridge translates whatever comes from below"] if verbose else []
    if kind in (PortType.ROOT_PORT, PortType.DOWNSTREAM):
        return [style.doubtful("no ACS") + ": it cannot redirect peer-to-peer requests"]
    return []


_LINK_WORDS = {"nvlink": "NVLink", "xgmi": "XGMI", "c2c": "C2C"}


def link_lines(links: list[FunctionLink], style: Style, verbose: bool = False) -> list[str]:
    """Return the links, those to one end in one line: ``NVLink 0 1 to 0004:05:00.0, 25 GB/s each, open``."""

    def key(link: FunctionLink) -> tuple[object, ...]:
        where = link.goes_to if verbose or link.far.kind is not EndKind.CPU else "the CPU"
        return (link.kind, where, link.bytes_per_second is None, link.bytes_per_second or 0, str(link.cut))

    notes = []
    for (_, where, *_), group in groupby(sorted(links, key=key), key=key):
        same = list(group)
        first = same[0]
        numbers = [link.near.number for link in same]
        named = " ".join(str(number) for number in numbers if number is not None)
        unnumbered = numbers.count(None)
        if unnumbered:
            named = " ".join(filter(None, (named, f"×{unnumbered} (numbers unknown)")))
        state = {True: style.good("cut here"), False: "open", None: style.doubtful("cut or open: unknown")}[first.cut]
        speed = bandwidth(first.bytes_per_second)
        notes.append(f"{_LINK_WORDS[first.kind.value]} {named} to {where}, {speed} each, {state}")
    return notes


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
