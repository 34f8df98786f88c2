"""What is worth knowing about one function, in words beside its line."""

from __future__ import annotations

from atoll.fabric.families import possible_kinds
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, LinkKind
from atoll.pci.header import DOWNSTREAM_PORTS, Command, PortType
from atoll.report.function_links import LINK_WORDS, FunctionLink, link_lines
from atoll.report.function_words import isolating_root
from atoll.report.layout import plural
from atoll.report.style import Style

__all__ = ["UNTOLD", "function_notes"]

UNTOLD = ("ACS unknown:", "links unknown:")
"""How notes on what a record does not tell begin."""


def function_notes(host: Host, function: Function, links: list[FunctionLink], style: Style, verbose: bool) -> list[str]:
    """Return what is worth knowing about one function beside its line, a note each."""
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
    return [*notes, *_untold_links(host, function, links, style)]


def _acs_notes(host: Host, function: Function, style: Style, verbose: bool) -> list[str]:
    if isinstance(function.acs, Unknown):
        return [f"ACS unknown: {function.acs.reason}"] if function.is_port or verbose else []
    if function.acs.value is not None:
        return ["ACS " + function.acs.value.control.lspci]
    kind = value_of(function.port_type, None)
    if kind is PortType.ROOT_PORT and isolating_root(host, function):
        return ["no ACS; the host bridge translates whatever comes from below"] if verbose else []
    if kind in DOWNSTREAM_PORTS:
        return [style.doubtful("no ACS") + ": it cannot redirect peer-to-peer requests"]
    return []


def _untold_links(host: Host, function: Function, links: list[FunctionLink], style: Style) -> list[str]:
    """What links a function may have beside those that are told."""
    kinds = sorted(possible_kinds(function))
    if not kinds or function.address in host.links_told:
        return []
    words = " or ".join(LINK_WORDS[kind] for kind in kinds)
    if not function.ids_told:
        has = "without its ids, it may have"
    elif not function.class_told:
        has = "without its class, it may have"
    elif kinds == [LinkKind.OTHER]:
        has = "an accelerator may have"
    else:
        has = "its family has"
    if links:
        return [style.doubtful("more links possible:") + f" {has} {words}, and no source told all of them"]
    return [style.doubtful("links unknown:") + f" {has} {words}, and no source told"]
