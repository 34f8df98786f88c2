"""One function's group: the answer, what spoils it, what would split it and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.host.complaint import ComplaintKind
from atoll.host.model import Host
from atoll.isolation.grouping import Grouping
from atoll.isolation.groups.override_evidence import ignores_override, obeys_untold_override
from atoll.isolation.iova.reserved import Unassignable, reserved
from atoll.isolation.spoilers import UNREAD, Cause, Rule, Spoiler
from atoll.isolation.viability import in_the_way
from atoll.pci.address import Address
from atoll.report.function_words import driver_words
from atoll.report.group_comparison import BEFORE_ACS, IGNORED_OVERRIDE, UNTOLD_OVERRIDE
from atoll.report.grouping_headline import companions, headline
from atoll.report.grouping_ways import SHOWN, change_document, plain, slots_document, ways_lines
from atoll.report.lacking import lacking
from atoll.report.layout import first_of, room, wrap
from atoll.report.log_checks import complaint_checks, troubles
from atoll.report.names import Names
from atoll.report.style import Style
from atoll.report.viability import not_viable_lines

__all__ = ["grouping_document", "grouping_lines"]


def grouping_document(host: Host, found: Grouping) -> dict[str, Any]:
    """Return the group as programs get it."""
    return {
        "summary": headline(host, found),
        "members": plain(found.members),
        "recorded": found.recorded,
        "predicted": plain(found.predicted),
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
        "in_the_way": {str(a): driver for a, driver in in_the_way(host, found.members).items()},
        "unassignable": {str(kept.device): kept.because for kept in _kept(host, found)},
        "before_acs": found.before_acs,
        "apart": None if found.apart is None else str(found.apart),
        "changes": [change_document(host, change) for change in found.changes],
        "slots": None if found.slots is None else slots_document(found.slots),
        "override": _override_document(found) if found.override else None,
    }


def grouping_lines(
    host: Host,
    found: Grouping,
    *,
    names: Names,
    style: Style,
    beyond: Sequence[Address] = (),
    trusted: Sequence[Address] = (),
) -> list[str]:
    """Return the group as people read it; the first line is the answer.

    ``beyond``: whom the function reaches directly, whatever the kernel says of groups; ``trusted``: whom it would reach
    only by calling requests translated that are not.
    """
    alike, ports, strangers = companions(host, found)
    lines = [*wrap(style.bold(headline(host, found))), *_override_lines(host, found, style)]
    outside = [address for address in beyond if address not in found.members] if found.members else []
    if outside:
        reached = f"as the hardware is set now, it directly reaches {first_of(outside, SHOWN)}"
        lines += wrap(f"{reached}, outside of its group (how: below).", first=style.bad("Not isolated: "), rest="    ")
    elif found.members and any(address not in found.members for address in trusted):
        passing = (
            "with ATS on, requests that it calls translated pass unchecked to what is outside of its group (below)"
        )
        lines += wrap(f"{passing}.", first=style.doubtful("Trusted: "), rest="    ")
    viability = not_viable_lines(host, found, style)
    lines += viability
    lines += _trouble_lines(host, found.one, style, viable=not viability)
    lines.append("")
    lines.append("    " + _member_line(host, found.one, names))
    lines += _needed_lines(host, found.one)
    lines += _member_lines(host, [*alike, *strangers], ports, names)
    lines += _kept_lines(host, found, style)
    if alike or strangers:
        lines += _together_lines(found, style)
        lines += ["", style.bold("What would split it")]
        lines += ways_lines(host, found, strangers=bool(strangers))
    if found.undetermined:
        facts = "; ".join(lacking([found.undetermined]))
        lines += ["", *wrap(f"the groups rest on what the record lacks: {facts}", first=f"  {style.doubtful('?')} ")]
    return lines


def _override_document(found: Grouping) -> dict[str, Any]:
    return {
        "in_force": found.override,
        "without": plain(found.real),
        "without_undetermined": found.real_undetermined or None,
    }


def _override_lines(host: Host, found: Grouping, style: Style) -> list[str]:
    if found.override:
        return _fiction(found, style)
    if obeys_untold_override(host):
        return wrap(UNTOLD_OVERRIDE, first=style.bad("Fiction: "), rest="    ")
    if ignores_override(host):
        return wrap(IGNORED_OVERRIDE, first=style.doubtful("Override: "), rest="    ")
    return []


def _member_lines(host: Host, others: list[Address], ports: list[Address], names: Names) -> list[str]:
    """Return the other members: functions, then ports."""
    lines = []
    for address in others[: 2 * SHOWN]:
        lines.append(f"  + {_member_line(host, address, names)}")
        lines += _needed_lines(host, address)
    left = len(others) - 2 * SHOWN
    if left > 0:
        lines.append(f"  + and {left} more")
    if ports:
        what = "a port, which stays" if len(ports) == 1 else "ports, which stay"
        lines += wrap(f"{first_of(ports, SHOWN)}: {what} with the kernel's driver", first="  + ")
    if others:
        # What kind they are may not be told, and ports stay where they are.
        told = all(address in host.functions and host.functions[address].class_told for address in others)
        these = "all of these go" if told else "all of these, but for ports, go"
        lines += wrap(f"VFIO gives a group as a whole: {these} to one guest, or to no driver at all.", first="    ")
    return lines


def _member_line(host: Host, address: Address, names: Names) -> str:
    function = host.functions.get(address)
    if function is None:
        return f"{address} (not read)"
    driver = driver_words(function)
    beside = f"  {driver}" if driver not in "-?" else ""
    return names.short_line(function, room() - 4 - len(beside)) + beside


def _trouble_lines(host: Host, one: Address, style: Style, *, viable: bool) -> list[str]:
    """Return what is amiss with a function; ``viable``: nothing was told yet of why VFIO does not have its group."""
    found = [
        check.found
        for c in troubles(host)
        if c.function == one and (viable or c.kind is not ComplaintKind.NOT_VIABLE)
        for check in complaint_checks(host, c)
    ]
    told = f"{'; '.join(found)}. What to do: atoll doctor."
    return wrap(told, first=style.bad("Trouble: "), rest="    ") if found else []


def _needed_lines(host: Host, address: Address) -> list[str]:
    needed = host.essential.get(address)
    return wrap(f"the host needs it: {needed}", first="        ") if needed else []


def _together_lines(found: Grouping, style: Style) -> list[str]:
    """Return what keeps the members together; nothing where that is not known."""
    lines: list[str] = []
    if found.spoilers or found.apart or found.before_acs:
        lines += _unseen_lines(found, style)
        if found.before_acs:
            lines += wrap(f"the past: {BEFORE_ACS}", first="    - ")
        for alike in _alike(found.spoilers):
            lines += _spoiler_lines(alike, style)
    else:
        for reason in found.reasons:
            lines += wrap(reason, first="    ")
    return ["", style.bold("What keeps them together"), *lines] if lines else []


def _kept(host: Host, found: Grouping) -> tuple[Unassignable, ...]:
    functions = [host.functions[a] for a in found.members if a in host.functions and not host.functions[a].is_port]
    return reserved(host, functions).direct


def _kept_lines(host: Host, found: Grouping, style: Style) -> list[str]:
    where = "Look in the firmware's setup for what asks for it: DMA protection before boot, management by shared memory"
    return [
        line
        for kept in _kept(host, found)
        for line in wrap(f"{kept.device}: {kept.because}. {where}.", first=style.bad("Not for VFIO: "), rest="    ")
    ]


def _unseen_lines(found: Grouping, style: Style) -> list[str]:
    if found.apart is None:
        return []
    bus = f"{found.one.domain:04x}:{found.one.bus:02x}"
    what = f"a port above bus {bus} that does not isolate, which the record does not show: {style.bold('not known')}"
    why = f"{found.apart} counts as apart from its siblings, so nothing else can hold it here (pci_acs_path_enabled)"
    return [*wrap(what, first="    - "), *wrap(why, first="      ")]


def _fiction(found: Grouping, style: Style) -> list[str]:
    told = style.bad("Fiction: ")
    if found.real_undetermined:
        text = (
            "pcie_acs_override= is on the command line. It makes the kernel claim what the hardware does not say, and "
            "changes no routing; what this group would be without it, the record does not show."
        )
    elif set(found.real) == set(found.members):
        text = (
            "pcie_acs_override= is on the command line, and the groups of ports and devices that it names are fiction; "
            "this one would be the same without it."
        )
    else:
        others = first_of([a for a in found.real if a not in found.members], SHOWN)
        text = (
            "pcie_acs_override= is on the command line. It makes the kernel claim what the hardware does not say, and "
            f"changes no routing: without it this group would also hold {others}, which it is not isolated "
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
    where = first_of([s.address for s in alike], SHOWN)
    verb, _, rest = first.what.partition(" ")
    several = {"has": "have", "is": "are", "was": "were", "lends": "lend", "shows": "show"}
    what = f"{several.get(verb, verb)} {rest}" if len(alike) > 1 else first.what
    # Of what was not read, that its type is not known says nothing more.
    kind = "" if first.what == UNREAD else f" ({first.kind})"
    lines = wrap(f"{where}{kind} {what}: {style.bold(_CAUSES[first.cause])}", first="    - ")
    return lines + (wrap(first.because, first="      ") if first.because else [])
