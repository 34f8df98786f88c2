"""One function's group in one sentence: alone, or with whom and why."""

from __future__ import annotations

from atoll.fabric.default_domain import default_domain, is_amd_iommu, not_grouped_yet
from atoll.fabric.settings import DomainKind
from atoll.host.fact import Known, Unknown
from atoll.host.gap import GapKind
from atoll.host.groups import on_xen
from atoll.host.model import Function, Host, Platform
from atoll.isolation.grouping import Grouping
from atoll.isolation.spoilers import Cause, Rule
from atoll.pci.address import Address
from atoll.report.grouping_ways import SHOWN
from atoll.report.groups import NOT_YET
from atoll.report.layout import first_of, plural
from atoll.report.viability import perhaps_members

__all__ = ["companions", "headline"]


def headline(host: Host, found: Grouping) -> str:
    """Return the answer in one sentence."""
    one = found.one
    if not found.members:
        return _without_group(host, host.functions[one])
    group = f"group {found.number}" if found.recorded else "its group, as predicted"
    comma = "" if found.recorded else ","
    if not found.recorded and on_xen(host):
        group = "the group that Linux would form without Xen, which knows none"
    elif not found.recorded and found.undetermined:
        group = "its group, as guessed from a record that does not tell all"
    elif host.excerpt or (found.recorded and _loose(host, one)):
        # A record that leaves out what stands above may leave out who is beside it.
        group, comma = f"{group}, as far as the record shows", ","
    alike, ports, strangers = companions(host, found)
    if not strangers and any(gap.kind is GapKind.MEMBERS and one in gap.of for gap in host.gaps):
        beside = f", with {first_of(alike, SHOWN)}" if alike else ""
        return f"{one} is in {group}{beside}, and so is what of its list could not be read."
    if not alike and not strangers:
        beyond = perhaps_members(host, found) if found.recorded else []
        if beyond:
            whose = "group the record does not tell" if len(beyond) == 1 else "groups the record does not tell"
            return f"{one} is in group {found.number}, and so may {first_of(beyond, SHOWN)} be, whose {whose}."
        if isinstance(host.groups, Known) and isinstance(host.functions[one].group, Unknown):
            return _without_group(host, host.functions[one])
        beside = ", but for ports, which stay with the kernel" if ports else ""
        return f"{one} is alone in {group}{beside}."
    if not strangers:
        rest = " (and ports, which stay with the kernel)" if ports else ""
        return f"{one} shares {group}{comma} only with {first_of(alike, SHOWN)}, of the same device{rest}."
    because = _because(host, found)
    others = f"{plural(len(strangers), 'function')} of other devices"
    return f"{one} shares {group}{comma} with {others}{because}."


def _without_group(host: Host, function: Function) -> str:
    one = function.address
    if isinstance(host.groups, Known) and not host.groups.value:
        return f"{one} is in no group: no IOMMU is in use on this host."
    if isinstance(function.group, Unknown):
        return f"The group of {one} is not known: {function.group.reason}."
    if default_domain(host, function).kind is DomainKind.BLOCKED:
        what = "an IOMMU itself" if is_amd_iommu(function) else "the host bridge beside AMD's IOMMU"
        return f"{one} is in no group: it is {what}, and the kernel maps nothing for it."
    if not_grouped_yet(host, function):
        return f"{one} is in no group, as far as the record tells: {NOT_YET}."
    return f"{one} is in no group: no IOMMU serves it, as far as the record tells."


def _loose(host: Host, one: Address) -> bool:
    """Whether a port on the way up from a function is not shown."""
    seen: set[Address] = set()
    at: Address | None = one
    while at is not None and at not in seen:
        seen.add(at)
        if at not in host.functions:
            return True
        function = host.functions[at]
        at = function.parent
    return at is None and host.is_loose(function)


def _because(host: Host, found: Grouping) -> str:
    if found.before_acs:
        return "; by the rules as ACS is now it should not: as if ACS had come on after the groups formed"
    # What its own device lacks joins it to its siblings only.
    joining = [s for s in found.spoilers if s.rule is not Rule.SLOT or s.address.slot != found.one.slot]
    if joining:
        first = joining[0]
        others = len([s for s in joining if s.rule is not Rule.SLOT]) - 1
        more = f" (and {plural(others, 'other')})" if others > 0 else ""
        if first.cause is Cause.UNKNOWN:
            return f"; why, the record does not show: {first.address}{more} {first.what}"
        return f" because {first.address} ({first.kind}) {first.what}{more}"
    if found.by_firmware:
        return " because the firmware's table for AMD's IOMMU (IVRS) gives them one requester id"
    if host.platform is Platform.POWERNV:
        return ": PowerNV forms a group for each partitionable endpoint"
    if found.recorded and set(found.members) != set(found.predicted):
        if found.undetermined:
            return "; why, the record does not show"
        return "; by the rules it should not: the groups are of another boot, or something changed since"
    return ""


def companions(host: Host, found: Grouping) -> tuple[list[Address], list[Address], list[Address]]:
    """Return a function's companions in its group: those of the same device, ports, and the rest."""
    alike, ports, strangers = [], [], []
    for address in found.members:
        function = host.functions.get(address)
        if address == found.one:
            continue
        if function is not None and function.is_port:
            ports.append(address)
        elif address in found.siblings:
            alike.append(address)
        else:
            strangers.append(address)
    return alike, ports, strangers
