"""What would split a function's group, and at what cost: other ACS settings, other slots, nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.controls.acs_recipe import Recipe, acs_recipes
from atoll.fabric.vmd import FIRST_SEGMENT, SWITCHING_OFF, WITHOUT
from atoll.host.model import Host, Platform
from atoll.isolation.detour import Detour
from atoll.isolation.grouping import Change, ChangeKind, Grouping
from atoll.isolation.slots import Slot, Slots
from atoll.isolation.spoilers import Cause, Rule
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass
from atoll.report.lacking import lacking
from atoll.report.layout import first_of, wrap
from atoll.report.quantity import bandwidth

__all__ = ["SHOWN", "change_document", "plain", "slots_document", "ways_lines"]

SHOWN = 6
"""How many alike are listed by name."""


def plain(addresses: Sequence[Address]) -> list[str]:
    """Return addresses as programs get them."""
    return [str(address) for address in addresses]


def change_document(host: Host, change: Change) -> dict[str, Any]:
    """Return a setting that splits a group as programs get it."""
    return {
        "kind": change.kind.value,
        "ports": {str(address): word.lspci for address, word in change.words.items()},
        "how": [] if change.kind is ChangeKind.KERNEL else [list(r.lines) for r in _recipes(host, change)],
        "group": plain(change.group),
        "undetermined": change.undetermined or None,
        "detours": [
            {
                "between": [plain(d.one), plain(d.other)],
                "by": str(d.root),
                "bytes_per_second": {"before": d.before, "after_at_most": d.after},
            }
            for d in change.detours
        ],
    }


def _recipes(host: Host, change: Change) -> tuple[Recipe, ...]:
    return acs_recipes(host, change.words, change.cleared)


def slots_document(slots: Slots) -> dict[str, Any]:
    """Return other places for a card as programs get them."""
    return {
        "card": plain(slots.card),
        "now": str(slots.port),
        "places": [
            {
                "port": str(p.port),
                "isolates": p.isolates,
                "taken_by": plain(p.taken_by),
                "slot": p.implemented,
                "undetermined": p.rests_on or None,
            }
            for p in slots.places
        ],
        "tried": slots.tried,
        "untried": slots.untried,
    }


def ways_lines(host: Host, found: Grouping, *, strangers: bool) -> list[str]:
    """Return what would split a group, and where nothing would, why; ``strangers``: it holds other devices too."""
    lines: list[str] = []
    if found.before_acs:
        others = [a for a in found.predicted if a != found.one]
        then = f"{found.one} {'with ' + first_of(others, SHOWN) if others else 'alone'}"
        return wrap(f"the kernel finding it anew, as ACS is now: predicted {then}", first="    - ")
    for change in found.changes:
        lines += _change_lines(host, found, change)
    if vmd := next((s.address for s in found.spoilers if s.rule is Rule.SEGMENT), None):
        which = vmd if vmd.domain < FIRST_SEGMENT else f"of segment {vmd.domain:x}"
        lines += wrap(f"{SWITCHING_OFF}: what the VMD {which} serves {WITHOUT}", first="    - ")
    slots = found.slots
    if slots is not None and slots.places:
        lines += _slot_lines(slots, strangers=strangers)
    elif slots is not None and not vmd and (strangers or not found.changes):
        more = f" of {slots.tried} tried" if slots.tried else ""
        what = "isolate the card" if strangers else "tell its functions apart"
        lines += wrap(f"another slot: no slot of this machine{more} would {what}", first="    - ")
    if not lines or not (found.changes or vmd or (slots and slots.places)):
        lines += wrap(_nothing(host, found, strangers), first="    - ")
    return lines


def _nothing(host: Host, found: Grouping, strangers: bool) -> str:
    if host.platform is Platform.POWERNV:
        return "nothing that can be set: PowerNV's groups follow buses and NVLinks, not ACS"
    if any(s.rule is Rule.ALIAS for s in found.spoilers):
        return "nothing: behind a conventional bridge all requests carry one id, and the bus is shared"
    unread = any(s.cause is Cause.UNKNOWN for s in found.spoilers)
    if found.apart is not None:
        return (
            "not known: a port above decides, and the record does not show it: ACS that is off can be set, and where "
            "it has none another slot may do; give all of lspci -nnvvv, run as root"
        )
    rules = {s.rule for s in found.spoilers}
    by_itself = Rule.SLOT in rules or not (rules or found.by_firmware)
    if (not strangers and by_itself) or (rules == {Rule.SLOT} and not unread):
        return _of_one_device(host, found, unread or bool(found.undetermined))
    if unread or (found.undetermined and not found.spoilers):
        return "not known: the record does not show what could be set; record it as root (lspci -vvv, atoll capture)"
    if not found.spoilers and found.by_firmware:
        return (
            "nothing that can be set: the firmware's table for AMD's IOMMU (IVRS) gives them one requester id; only "
            "other firmware does, or a bus that the table does not name (another slot)"
        )
    if not found.spoilers:
        return "nothing that the record shows"
    return "nothing that can be set: the bits that are missing are not there to be set"


def _of_one_device(host: Host, found: Grouping, unread: bool) -> str:
    """Return what to say where all are functions of one device; ``unread``: facts are missing that may part them."""
    virtual = any(a in host.functions and host.functions[a].perhaps_virtual for a in found.members)
    network = host.functions[found.one].base_class == BaseClass.NETWORK
    above = [s for s in found.spoilers if s.rule is Rule.PATH]
    if (
        above
        and all(s.cause is not Cause.UNKNOWN and not s.settable for s in above)
        and (virtual or (unread and network))
    ):
        ports = first_of([s.address for s in above], SHOWN)
        apart = "virtual functions count" if virtual else "the functions of many network controllers count"
        return (
            f"nothing that can be set: {ports} above {'has' if len(above) == 1 else 'have'} no ACS to be set; {apart} "
            "as apart below ports with ACS, so another slot may do"
        )
    if virtual:
        return (
            "not known: virtual functions count as apart, and then the port above them decides; record it as root "
            "(lspci -vvv, atoll capture)"
        )
    if unread and network:
        return (
            "not known: many network controllers say (by ACS of their own, or a quirk of Linux) that their functions "
            "are apart, and then the port above them decides; record it as root (lspci -vvv, atoll capture)"
        )
    if unread:
        return (
            "most likely nothing: functions of one device. Only ACS in the device itself would tell them apart, and "
            "the record does not show it"
        )
    return "nothing: functions of one device that does not say it keeps them apart; give them away together"


def _change_lines(host: Host, found: Grouping, change: Change) -> list[str]:
    ports = first_of(list(change.words), SHOWN)
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
    then = f"predicted with it: {found.one} {'with ' + first_of(others, SHOWN) if others else 'alone'}"
    if change.undetermined:
        then += f"; rests on: {'; '.join(lacking([change.undetermined]))}"
    lines += wrap(then, first="      ")
    for detour in change.detours[:SHOWN]:
        lines += wrap(_cost(detour), first="      ")
    if len(change.detours) > SHOWN:
        lines.append(f"      and {len(change.detours) - SHOWN} more such detours")
    if not change.detours:
        lines.append("      cost: no peer-to-peer traffic that is known to be direct now is lost")
    return lines


def _cost(detour: Detour) -> str:
    rates = ""
    if detour.before is not None and detour.after is not None:
        rates = f": {bandwidth(detour.before)} inside the switch, then at most {bandwidth(detour.after)}, shared"
    one, other = first_of(detour.one, SHOWN), first_of(detour.other, SHOWN)
    return f"cost: {one} and {other} talk by way of {detour.root} then{rates}"


def _slot_lines(slots: Slots, *, strangers: bool) -> list[str]:
    moved = f"the card ({first_of(slots.card, SHOWN)}), now below {slots.port}"
    alone = "alone" if strangers else "with its functions told apart"
    lines = wrap(f"another slot for {moved}; predicted {alone} below:", first="    - ")
    shown = slots.places[:SHOWN]
    for slot in shown:
        lines += wrap(_slot(slot), first="          ")
    left = len(slots.places) - SHOWN
    if left > 0 or slots.untried:
        lines.append(
            f"          and {max(left, 0) + slots.untried} more ports" + (" (not all tried)" if slots.untried else "")
        )
    # What one lacks they all do, as a rule.
    rests = lacking(slot.rests_on for slot in shown if slot.rests_on)
    return lines + (wrap(f"resting on: {'; '.join(rests)}", first="      ") if rests else [])


def _slot(slot: Slot) -> str:
    taken = f"now: {first_of(slot.taken_by, SHOWN)}" if slot.taken_by else "empty"
    joins = "" if slot.isolates else "; it does not isolate, and joins the group"
    unread = "" if slot.implemented else "; whether it has a slot was not read"
    return f"{slot.port} ({taken}{joins}{unread})"
