"""I/O virtual addresses of clusters: what can be used, what takes the rest, whether a guest's memory fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from atoll.fabric.answer import Answer
from atoll.host.model import Host
from atoll.isolation.iova.claim import Claim, Fate
from atoll.isolation.iova.conflicts import Conflict, ConflictKind
from atoll.isolation.iova.layout import Guest
from atoll.isolation.iova.machine_type import MachineType
from atoll.isolation.iova.ranges import Range, Ranges
from atoll.isolation.iova.survey import ClusterIova
from atoll.isolation.remedies.remedy import Remedy
from atoll.report.document import document
from atoll.report.lacking import folded
from atoll.report.layout import columns, indent, plural, wrap
from atoll.report.quantity import size
from atoll.report.style import Style

__all__ = ["iova_document", "iova_lines"]

_SHOWN = 8
"""How many polluted ranges and conflicts are told, unless all are asked for."""

_WORDS = {
    ConflictKind.APERTURE: "the map fails",
    ConflictKind.RESERVED: "the map fails",
    ConflictKind.POLLUTED: "a peer answers instead of memory: data goes astray, without any error",
    ConflictKind.LOST: "nobody answers: DMA fails",
    ConflictKind.WIDTH: "QEMU refuses to start",
}


def _hex(value: int) -> str:
    return f"0x{value:x}"


def _range(part: Range) -> dict[str, str]:
    return {"start": _hex(part.start), "end": _hex(part.end)}


def iova_document(host: Host, found: Iterable[ClusterIova], guest: Guest | None) -> dict[str, Any]:
    """Return all clusters' addresses as programs get them; ends are inclusive."""
    return document(
        "iova",
        host=host.name,
        guest=None if guest is None else _guest(guest),
        clusters=[_cluster(one) for one in found],
    )


def _guest(guest: Guest) -> dict[str, Any]:
    return {
        "memory": guest.memory,
        "machine": guest.machine.value,
        "version": None if guest.version is None else ".".join(map(str, guest.version)),
        "name": guest.name,
        "cpu": None if guest.cpu is None else guest.cpu.value,
        "ranges": [_range(part) for part in guest.ram],
        "pluggable": [_range(part) for part in guest.pluggable],
        "highest": None if guest.highest is None else _hex(guest.highest),
    }


def _cluster(one: ClusterIova) -> dict[str, Any]:
    return {
        "name": one.name,
        "functions": [str(address) for address in one.functions],
        "aperture": None
        if one.end is None
        else {"start": "0x0", "end": _hex(one.end), "because": [a.because for a in one.apertures]},
        "reserved": [
            {"start": _hex(r.start), "end": _hex(r.end), "type": r.type, "group": r.group, "recorded": r.told}
            for r in one.regions
        ],
        "polluted": [_claim(claim, part) for claim in one.claims for part in claim.ranges],
        "usable": None if one.end is None else [_range(part) for part in one.usable],
        "unassignable": [{"device": str(u.device), "because": u.because} for u in one.unassignable],
        "conflicts": [_conflict(conflict) for conflict in one.conflicts],
        "unknown": list(one.unknown),
        "notes": list(one.notes),
        "assumptions": sorted(one.assumptions),
    }


def _claim(claim: Claim, part: Range) -> dict[str, Any]:
    return {
        **_range(part),
        "device": str(claim.device),
        "claimed_by": str(claim.by),
        "what": claim.what,
        "fate": claim.fate.value,
        "answer": claim.answer.word,
        "because": claim.because,
    }


def _conflict(conflict: Conflict) -> dict[str, Any]:
    return {
        **_range(conflict.range),
        "kind": conflict.kind.value,
        "answer": conflict.answer.word,
        "device": None if conflict.device is None else str(conflict.device),
        "claimed_by": None if conflict.claimed_by is None else str(conflict.claimed_by),
        "because": conflict.because,
        "remedies": [{"what": r.what, "how": r.how, "effect": r.effect} for r in conflict.remedies],
    }


def iova_lines(
    host: Host, found: Sequence[ClusterIova], guest: Guest | None, *, style: Style, verbose: bool
) -> list[str]:
    """Return all clusters' addresses as people read them: the outcome first, then what can be used and what not."""
    lines: list[str] = []
    for one in found:
        lines += ["", *_cluster_lines(one, guest, style, verbose=verbose)]
    if guest is not None:
        lines += ["", *wrap(_guest_words(guest), first=style.bold("Guest  "), rest="       ")]
    lines += ["", *wrap(f"on {host.name}; ends are inclusive", first="")]
    return lines[1:]


def _guest_words(guest: Guest) -> str:
    version = "" if guest.version is None else "-" + ".".join(map(str, guest.version))
    machine = guest.name or guest.machine.value + version
    cpu = "" if guest.cpu is None else f", {guest.cpu.value} processor"
    parts = ", ".join(f"0x{part.start:x}-0x{part.end:x} ({size(part.size)})" for part in guest.ram)
    later = ", ".join(f"0x{part.start:x}-0x{part.end:x}" for part in guest.pluggable)
    words = f"{size(guest.memory)} on {machine}{cpu}: memory at {parts}"
    words += f"; more may be plugged in at {later}" if later else ""
    if guest.highest is not None:
        words += (
            f". With room for 64-bit BARs it reaches up to 0x{guest.highest:x}: its processor needs "
            f"{guest.highest.bit_length()} bits of physical address (phys-bits)"
        )
    words += ". Its firmware, and BARs of devices that it maps for peer-to-peer, are not counted"
    if guest.machine is MachineType.CLOUD_HYPERVISOR:
        # Its pci/src/vfio.rs, VfioPciDevice::map_mmio_regions: issue 8895, pull request 7030.
        words += (
            "; cloud-hypervisor puts those BARs towards the end of what the processor addresses, and starts no guest "
            "where one cannot be mapped"
        )
    return words


def _cluster_lines(one: ClusterIova, guest: Guest | None, style: Style, *, verbose: bool) -> list[str]:
    lines = wrap(f"{style.bold(one.name)}: {_outcome(one, guest, style)}")
    for unassignable in one.unassignable:
        lines += wrap(f"{unassignable.device} cannot be assigned: {unassignable.because}", first="    ")
    if one.conflicts:
        lines += _conflict_lines(one.conflicts, style, verbose=verbose)
    lines += ["", "  " + style.bold("Usable") + style.faint(" (aperture, less what is reserved or polluted)")]
    if one.end is None:
        lines.append("    not known: how far the aperture reaches was not read" if one.apertures else "    nothing")
    else:
        lines += indent(_range_rows(one.usable), "    ") or ["    nothing"]
    for told in one.apertures:
        lines += wrap(f"aperture: {told.because}", first="    ")
    if one.regions:
        rows = {
            (f"0x{r.start:x}-0x{r.end:x}", r.type, "" if r.told else "not recorded; such a host has it"): None
            for r in one.regions
        }
        lines += ["", "  " + style.bold("Reserved"), *indent(columns(list(rows)), "    ")]
    if one.claims:
        lines += _claim_lines(one.claims, style, verbose=verbose)
    for title, texts in (("Not known", one.unknown), ("Not read, could only add to it", one.notes)):
        if texts:
            lines += ["", "  " + style.doubtful(title)]
            for text in texts if verbose else folded(texts):
                lines += wrap(text, first="    ", rest="      ")
    if one.assumptions:
        lines += ["", *wrap("assumed: " + ", ".join(sorted(one.assumptions)), first="  ")]
    return lines


def _outcome(one: ClusterIova, guest: Guest | None, style: Style) -> str:
    sure = [conflict for conflict in one.conflicts if conflict.answer is Answer.DIRECT]
    if one.unassignable:
        return style.bad(f"{plural(len(one.unassignable), 'device')} cannot be assigned")
    if sure:
        return style.bad("the guest's memory meets addresses that cannot be used")
    if one.conflicts:
        return style.doubtful("the guest's memory may meet addresses that cannot be used")
    if one.unknown:
        return style.doubtful("facts are missing")
    if guest is None:
        return style.good(f"{plural(len(one.usable.parts), 'usable range')}")
    return style.good("the guest's memory fits")


def _range_rows(ranges: Ranges) -> list[str]:
    return columns([(f"0x{part.start:x}", f"0x{part.end:x}", size(part.size)) for part in ranges])


def _conflict_lines(found: Sequence[Conflict], style: Style, *, verbose: bool) -> list[str]:
    lines: list[str] = []
    told = found if verbose else found[:_SHOWN]
    for conflict in told:
        sure = conflict.answer is Answer.DIRECT
        paint = style.bad if sure else style.doubtful
        where = f"0x{conflict.range.start:x}-0x{conflict.range.end:x} ({size(conflict.range.size)})"
        word = conflict.kind.value if sure else f"perhaps {conflict.kind.value}"
        who = "" if conflict.device is None else f" for {conflict.device}, by {conflict.claimed_by}"
        lines += ["", *wrap(f"{paint(word)}{who}: {_WORDS[conflict.kind]}", first=f"  {where}  ", rest="      ")]
        lines += wrap(conflict.because, first="      ")
        for remedy in conflict.remedies:
            lines += _remedy_lines(remedy, style)
        if not conflict.remedies:
            lines.append("      → no layout option or ACS bit that is known here avoids it")
    if len(found) > len(told):
        lines += ["", style.faint(f"  and {len(found) - len(told)} more: -v tells them all")]
    return lines


def _remedy_lines(remedy: Remedy, style: Style) -> list[str]:
    """What to do; what there is something to say of, and has to be pasted as it is, stands on lines of its own."""
    if not remedy.effect:
        return wrap(f"{remedy.what}: {style.bold(remedy.how)}", first="      → ", rest="        ")
    lines = wrap(f"{remedy.what}:", first="      → ", rest="        ")
    lines += [f"          {style.bold(line)}" for line in remedy.how.splitlines()]
    return lines + wrap(remedy.effect, first="        ")


def _claim_lines(found: Sequence[Claim], style: Style, *, verbose: bool) -> list[str]:
    """One entry for each claim, devices of which the same is true together."""
    alike: dict[tuple[object, ...], list[Claim]] = {}
    for claim in found:
        alike.setdefault((claim.by, claim.what, claim.fate, claim.answer, claim.because, claim.ranges), []).append(
            claim
        )
    lines = ["", "  " + style.bold("Polluted") + style.faint(" (never comes to the IOMMU)")]
    entries = list(alike.values())
    told = entries if verbose else entries[:_SHOWN]
    for claims in told:
        first = claims[0]
        paint = style.bad if first.answer is Answer.DIRECT else style.doubtful
        sure = "" if first.answer is Answer.DIRECT else "perhaps "
        fate = "goes to" if first.fate is Fate.CLAIMED else "is lost at"
        parts = ", ".join(f"0x{part.start:x}-0x{part.end:x}" for part in first.ranges)
        devices = ", ".join(str(claim.device) for claim in claims)
        lines += wrap(
            f"{paint(sure + fate)} {first.by} ({first.what}), from {devices}", first=f"    {parts}  ", rest="      "
        )
        lines += wrap(first.because, first="      ")
    if len(entries) > len(told):
        lines.append(style.faint(f"    and {len(entries) - len(told)} more: -v tells them all"))
    return lines
