"""Where the hardware does not bear a host's groups out: lies, doubts and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.isolation.honesty import Disagreement, Honesty, Joined
from atoll.report.lacking import PRINT_TYPES
from atoll.report.layout import plural, wrap
from atoll.report.path import path_document, path_lines

if TYPE_CHECKING:
    from atoll.report.style import Style

__all__ = ["honesty_document", "honesty_lines"]


def honesty_document(honesty: Honesty) -> dict[str, Any]:
    """Return lies, doubts and costs as programs get them."""
    return {
        "lies": [_disagreement(lie) for lie in honesty.lies],
        "doubts": [_disagreement(doubt) for doubt in honesty.doubts],
        "costs": [
            {"group": cost.group, "parts": [[str(address) for address in part] for part in cost.parts]}
            for cost in honesty.costs
        ],
    }


def _disagreement(found: Disagreement) -> dict[str, Any]:
    return {
        "from": str(found.source),
        "to": None if found.target is None else str(found.target),
        "groups": list(found.groups),
        "answer": found.answer.word,
        "shared_identity": found.identity,
        "path": path_document(found.path),
        "pairs": None if found.target is None else found.joined.count(),
        "joined": _joined(found.joined),
    }


def _joined(joined: Joined) -> dict[str, Any]:
    """Return which groups one reason joins: each of "from" with each other of "to", but for those that stand apart."""
    return {
        "from": joined.sources,
        "to": joined.targets,
        "apart": [{"from": sources, "to": targets} for sources, targets in joined.apart],
    }


def honesty_lines(host: Host, honesty: Honesty, style: Style, verbose: bool) -> list[str]:
    """Return lies, doubts and costs as people read them, the first of each kind unless all are asked for."""
    if isinstance(host.groups, Known):
        apart, lies = "told apart by the kernel", "told apart by the kernel, not by the hardware as it is set now"
    else:
        apart = "that the kernel's rules would tell apart"
        lies = f"{apart}, and the hardware as it is set now does not"
    doubts = f"{apart}; the hardware may let them through"
    lines = _ways(style.bad("Lies"), honesty.lies, lies, style, verbose)
    lines += _ways(style.doubtful("Doubts"), honesty.doubts, doubts, style, verbose, may="may ")
    if honesty.costs:
        lines += ["", f"{style.bold('Costs')}: functions kept together that nothing joins"]
        for cost in honesty.costs:
            parts = " | ".join(" ".join(map(str, part)) for part in cost.parts)
            lines += wrap(parts, first=f"    group {cost.group}: ")
    return lines + _types_wanted(host, honesty)


def _ways(
    word: str, found: Sequence[Disagreement], claim: str, style: Style, verbose: bool, *, may: str = ""
) -> list[str]:
    """Tell ways between groups, under a heading that says what they are; ``may``: only perhaps."""
    if not found:
        return []
    lines = ["", *wrap(f"{word}: {plural(len(found), 'way')} between groups {claim}")]
    told = found if verbose else _by_kind(found)
    for one in told:
        verb = f"{may or 'can '}pass for" if one.identity else f"{may}reach" if may else "reaches"
        target = "all that has an address" if one.target is None else f"{one.target} (group {one.groups[1]})"
        lines += ["", *wrap(f"{one.source} (group {one.groups[0]}) {verb} {target}", first="    ")]
        lines += path_lines(one.path, margin="      ")
        if one.target is None and len(one.joined.sources) > 1:
            lines.append(style.faint(f"      and {plural(len(one.joined.sources) - 1, 'more group')} so"))
        more = one.joined.count() - 1
        if more > 0:
            words = f"      and {plural(more, 'more pair')} of groups so; of any two: atoll explain A B"
            lines.append(style.faint(words))
    if len(found) > len(told):
        lines += ["", style.faint(f"    and {len(found) - len(told)} more in the same ways: atoll groups -v")]
    return lines


def _by_kind(found: Sequence[Disagreement]) -> list[Disagreement]:
    """Return the first of each way through, for readers who do not ask for all."""
    first: dict[object, Disagreement] = {}
    for one in found:
        path = one.path
        first.setdefault((one.identity, one.target is None, path[0].via if path else ""), one)
    return list(first.values())


def _types_wanted(host: Host, honesty: Honesty) -> list[str]:
    """What would settle doubts about memory at large, which a group's type decides."""
    unread = [group for group in value_of(host.groups, {}).values() if isinstance(group.type, Unknown)]
    if not unread or all(doubt.target is not None for doubt in honesty.doubts):
        return []
    count = plural(len(unread), "group")
    told = f"the types of {count} were not read; what {PRINT_TYPES} prints, in the same text, tells"
    return ["", *wrap(told, first="    ")]
