"""One function's group: the answer in one sentence, what spoils it, what would split it and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.controls.acs_recipe import acs_recipes
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host, Platform
from atoll.isolation.detour import Detour
from atoll.isolation.grouping import Change, ChangeKind, Grouping
from atoll.isolation.groups.override_evidence import ignores_override
from atoll.isolation.slots import Place, Slots
from atoll.isolation.spoilers import Cause, Rule, Spoiler
from atoll.pci.address import Address
from atoll.report.groups import IGNORED_OVERRIDE
from atoll.report.lacking import lacking
from atoll.report.layout import plural, wrap
from atoll.report.names import Names
from atoll.report.quantity import bandwidth
from atoll.report.style import Style

__all__ = ["grouping_document", "grouping_lines", "headline"]

_SHOWN = 6
"""How many alike are listed by name."""


def headline(host: Host, found: Grouping) -> str:
    """Return the answer in one sentence."""
    one = found.one
    if not found.members:
        if isinstance(host.groups, Known) and not host.groups.value:
            return f"{one} is in no group: no IOMMU is in use on this host."
        untold = host.functions[one].group
        if isinstance(untold, Unknown):
            return f"The group of {one} is not known: {untold.reason}."
        return f"{one} is in no group: no IOMMU serves it, as far as the record tells."
    group = f"group {found.number}" if found.recorded else "its group, as predicted"
    if not found.recorded and found.undetermined:
        group = "its group, as guessed from a record that does not tell all"
    comma = "" if found.recorded else ","
    if host.excerpt or (found.recorded and _loose(host, one)):
        # A record that leaves out what stands above may leave out who is beside it.
        group, comma = f"{group}, as far as the record shows", ","
    alike, ports, strangers = _sorted(host, found)
    if not alike and not strangers:
        beside = ", but for ports, which stay with the kernel" if ports else ""
        return f"{one} is alone in {group}{beside}."
    if not strangers:
        rest = " (and ports, which stay with the kernel)" if ports else ""
        return f"{one} shares {group}{comma} only with {_several(alike)}, of the same device{rest}."
    because = _because(host, found)
    others = f"{plural(len(strangers), 'function')} of other devices"
    return f"{one} shares {group}{comma} with {others}{because}."


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
    if found.spoilers:
        first = found.spoilers[0]
        others = len([s for s in found.spoilers if s.rule is not Rule.SLOT]) - 1
        more = f" (and {plural(others, 'other')})" if others > 0 else ""
        if first.cause is Cause.UNKNOWN:
            return f"; why, the record does not show: {first.address}{more} {first.what}"
        return f" because {first.address} ({first.kind}) {first.what}{more}"
    if host.platform is Platform.POWERNV:
        return ": PowerNV forms a group for each partitionable endpoint"
    if found.recorded and set(found.members) != set(found.predicted):
        if found.undetermined:
            return "; why, the record does not show"
        return "; by the rules it should not: the groups are of another boot, or something changed since"
    return ""


def _sorted(host: Host, found: Grouping) -> tuple[list[Address], list[Address], list[Address]]:
    """Companions of the same device, ports, and the rest."""
    alike, ports, strangers = [], [], []
    for address in found.members:
        function = host.functions.get(address)
        if address == found.one:
            continue
        if function is not None and function.is_port:
            ports.append(address)
        elif address.slot == found.one.slot:
            alike.append(address)
        else:
            strangers.append(address)
    return alike, ports, strangers


def grouping_document(host: Host, found: Grouping) -> dict[str, Any]:
    """Return the group as programs get it."""
    return {
        "summary": headline(host, found),
        "members": _plain(found.members),
        "recorded": found.recorded,
        "predicted": _plain(found.predicted),
        "undetermined": found.undetermined or None,
        "spoilers": [
            {
                "function": str(s.address),
                "kind": s.kind,
                "rule": s.rule.value,
                "cause": s.cause.value,
                "what": s.what,
                "because": s.because or None,
                "off": s.off.lspci if s.off else None,
            }
            for s in found.spoilers
        ],
        "changes": [_change_document(host, change) for change in found.changes],
        "slots": None if found.slots is None else _slots_document(found.slots),
        "override": {"in_force": found.override, "without": _plain(found.real)} if found.override else None,
    }


def _plain(addresses: Sequence[Address]) -> list[str]:
    return [str(address) for address in addresses]


def _change_document(host: Host, change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "ports": {str(address): word.lspci for address, word in change.words.items()},
        "how": [] if change.kind is ChangeKind.KERNEL else [list(r.lines) for r in _recipes(host, change)],
        "group": _plain(change.group),
        "undetermined": change.undetermined or None,
        "detours": [
            {
                "between": [_plain(d.one), _plain(d.other)],
                "by": str(d.root),
                "bytes_per_second": {"before": d.before, "after_at_most": d.after},
            }
            for d in change.detours
        ],
    }


def _recipes(host: Host, change: Change) -> Any:
    return acs_recipes(host, change.words, change.cleared)


def _slots_document(slots: Slots) -> dict[str, Any]:
    return {
        "card": _plain(slots.card),
        "now": str(slots.port),
        "places": [
            {
                "port": str(p.port),
                "isolates": p.isolates,
                "taken_by": _plain(p.taken_by),
                "slot": p.slot,
                "undetermined": p.rests_on or None,
            }
            for p in slots.places
        ],
        "tried": slots.tried,
        "untried": slots.untried,
    }


def grouping_lines(host: Host, found: Grouping, *, names: Names, style: Style) -> list[str]:
    """Return the group as people read it; the first line is the answer."""
    lines = wrap(style.bold(headline(host, found)))
    if found.override:
        lines += _fiction(found, style)
    elif ignores_override(host):
        lines += wrap(IGNORED_OVERRIDE, first=style.doubtful("Override: "), rest="    ")
    lines += ["", "    " + names.short_line(host.functions[found.one], 96)]
    alike, ports, strangers = _sorted(host, found)
    for address in [*alike, *strangers][: 2 * _SHOWN]:
        function = host.functions.get(address)
        lines.append(f"  + {f'{address} (not read)' if function is None else names.short_line(function, 96)}")
    left = len(alike) + len(strangers) - 2 * _SHOWN
    if left > 0:
        lines.append(f"  + and {left} more")
    if ports:
        what = "a port, which stays" if len(ports) == 1 else "ports, which stay"
        lines += wrap(f"{_several(ports)}: {what} with the kernel's driver", first="  + ")
    if alike or strangers:
        lines += wrap(
            "VFIO gives a group as a whole: all of these go to one guest, or to no driver at all.", first="    "
        )
    if found.spoilers and (alike or strangers):
        lines += ["", style.bold("What keeps them together")]
        for alike_spoilers in _alike(found.spoilers):
            lines += _spoiler_lines(alike_spoilers, style)
    elif found.reasons and (alike or strangers):
        lines += ["", style.bold("What keeps them together")]
        for reason in found.reasons:
            lines += wrap(reason, first="    ")
    if alike or strangers:
        lines += ["", style.bold("What would split it")]
        lines += _ways(host, found, bool(strangers), style)
    if found.undetermined:
        facts = "; ".join(lacking([found.undetermined]))
        lines += ["", *wrap(f"the groups rest on what the record lacks: {facts}", first=_q(style))]
    return lines


def _q(style: Style) -> str:
    return f"  {style.doubtful('?')} "


def _fiction(found: Grouping, style: Style) -> list[str]:
    told = style.bad("Fiction: ")
    if set(found.real) == set(found.members):
        text = (
            "pcie_acs_override= is on the command line, and the groups of ports and devices that it names are fiction; "
            "this one would be the same without it."
        )
    else:
        others = [a for a in found.real if a not in found.members]
        text = (
            "pcie_acs_override= is on the command line. It makes the kernel claim what the hardware does not say, and "
            f"changes no routing: without it this group would also hold {_several(others)}, which it is not isolated "
            "from."
            if others
            else "pcie_acs_override= is on the command line: groups are what it claims, not what the hardware says."
        )
    return wrap(text, first=told, rest="    ")


def _alike(found: Sequence[Spoiler]) -> list[list[Spoiler]]:
    kinds: dict[object, list[Spoiler]] = {}
    for s in found:
        key = (s.kind, s.rule if s.rule is Rule.SLOT else Rule.PATH, s.cause, s.what, s.because)
        kinds.setdefault(key, []).append(s)
    return list(kinds.values())


_CAUSES = {
    Cause.HARDWARE: "hardware",
    Cause.KERNEL: "the kernel's policy",
    Cause.OPTION: "the command line",
    Cause.CHANGED: "changed since boot",
    Cause.UNKNOWN: "not known",
}


def _spoiler_lines(alike: Sequence[Spoiler], style: Style) -> list[str]:
    first = alike[0]
    where = _several([s.address for s in alike])
    verb, _, rest = first.what.partition(" ")
    several = {"has": "have", "is": "are", "was": "were", "lends": "lend", "shows": "show"}
    what = f"{several.get(verb, verb)} {rest}" if len(alike) > 1 else first.what
    lines = wrap(f"{where} ({first.kind}) {what}: {style.bold(_CAUSES[first.cause])}", first="    - ")
    return lines + (wrap(first.because, first="      ") if first.because else [])


def _ways(host: Host, found: Grouping, strangers: bool, style: Style) -> list[str]:
    lines: list[str] = []
    for change in found.changes:
        lines += _change_lines(host, found, change)
    if vmd := next((s.address for s in found.spoilers if s.rule is Rule.SEGMENT), None):
        lines += wrap(
            f"VMD off in the firmware's setup (a choice named after VMD, RST or RAID there): what the VMD {vmd} serves "
            "then stands in a segment of the host, each with its own id; nothing that can be set under Linux does it",
            first="    - ",
        )
    slots = found.slots
    if slots is not None and slots.places:
        lines += _slot_lines(slots)
    elif strangers and slots is not None and not vmd:
        more = f" of {slots.tried} tried" if slots.tried else ""
        lines += wrap(f"another slot: no slot of this machine{more} would isolate the card", first="    - ")
    if not lines or not (found.changes or vmd or (slots and slots.places)):
        lines += wrap(_nothing(host, found, strangers), first="    - ")
    return lines


def _nothing(host: Host, found: Grouping, strangers: bool) -> str:
    if host.platform is Platform.POWERNV:
        return "nothing that can be set: PowerNV's groups follow buses and NVLinks, not ACS"
    if any(s.rule is Rule.ALIAS for s in found.spoilers):
        return "nothing: behind a conventional bridge all requests carry one id, and the bus is shared"
    unread = any(s.cause is Cause.UNKNOWN for s in found.spoilers)
    if not strangers or (found.spoilers and not unread and all(s.rule is Rule.SLOT for s in found.spoilers)):
        if any(a in host.functions and host.functions[a].perhaps_virtual for a in found.members):
            return (
                "not known: virtual functions count as apart, and then the port above them decides; record it as root "
                "(lspci -vvv, atoll capture)"
            )
        if unread or found.undetermined:
            return (
                "most likely nothing: functions of one device. Only ACS in the device itself would tell them apart, "
                "and the record does not show it"
            )
        return "nothing: functions of one device that does not say it keeps them apart; give them away together"
    if unread or (found.undetermined and not found.spoilers):
        return "not known: the record does not show what could be set; record it as root (lspci -vvv, atoll capture)"
    if not found.spoilers:
        return "nothing that the record shows"
    return "nothing that can be set: the bits that are missing are not there to be set"


def _change_lines(host: Host, found: Grouping, change: Change) -> list[str]:
    ports = _several(list(change.words))
    if change.kind is ChangeKind.KERNEL:
        what = f"an IOMMU in use, and no option against it: the kernel then sets ACS at {ports} by itself"
    else:
        what = f"ACS, which {ports} {'has' if len(change.words) == 1 else 'have'}"
    lines = wrap(what, first="    - ")
    if change.kind is ChangeKind.ACS:
        for recipe in _recipes(host, change):
            lines += [f"          {line}" for line in recipe.lines]
            lines += wrap(f"({recipe.note})", first="      ")
    others = [a for a in change.group if a != found.one]
    then = f"predicted with it: {found.one} {'with ' + _several(others) if others else 'alone'}"
    if change.undetermined:
        then += f"; rests on: {'; '.join(lacking([change.undetermined]))}"
    lines += wrap(then, first="      ")
    for detour in change.detours[:_SHOWN]:
        lines += wrap(_cost(detour), first="      ")
    if len(change.detours) > _SHOWN:
        lines.append(f"      and {len(change.detours) - _SHOWN} more such detours")
    if not change.detours:
        lines.append("      cost: no peer-to-peer traffic that is known to be direct now is lost")
    return lines


def _cost(detour: Detour) -> str:
    rates = ""
    if detour.before is not None and detour.after is not None:
        rates = f": {bandwidth(detour.before)} inside the switch, then at most {bandwidth(detour.after)}, shared"
    return f"cost: {_several(detour.one)} and {_several(detour.other)} talk by way of {detour.root} then{rates}"


def _slot_lines(slots: Slots) -> list[str]:
    moved = f"the card ({_several(slots.card)}), now below {slots.port}"
    lines = wrap(f"another slot for {moved}; predicted alone below:", first="    - ")
    for place in slots.places[:_SHOWN]:
        lines += wrap(_place(place), first="          ")
    left = len(slots.places) - _SHOWN
    if left > 0 or slots.untried:
        lines.append(
            f"          and {max(left, 0) + slots.untried} more ports" + (" (not all tried)" if slots.untried else "")
        )
    return lines


def _place(place: Place) -> str:
    taken = f"now: {_several(place.taken_by)}" if place.taken_by else "empty"
    joins = "" if place.isolates else "; it does not isolate, and joins the group"
    slot = "" if place.slot else "; whether it has a slot was not read"
    rests = f"; rests on: {place.rests_on}" if place.rests_on else ""
    return f"{place.port} ({taken}{joins}{slot}{rests})"


def _several(addresses: Sequence[Address]) -> str:
    shown = " ".join(map(str, addresses[:_SHOWN]))
    return shown + (f" and {len(addresses) - _SHOWN} more" if len(addresses) > _SHOWN else "")
