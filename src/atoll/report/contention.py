"""What is shared without access: timing, not data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.isolation.contention import Contention, SharedKind
from atoll.report.layout import first_of, plural, wrap
from atoll.report.quantity import bandwidth
from atoll.report.style import Style

__all__ = ["contention_document", "contention_lines", "shared_lines"]

_WORDS = {
    SharedKind.UPLINK: "the link below {}",
    SharedKind.BUS: "the conventional bus below {}",
    SharedKind.SWITCH_CHIP: "the switch chip {}",
    SharedKind.IOMMU: "the IOMMU {}",
}


def contention_document(found: Sequence[Contention]) -> list[dict[str, Any]]:
    """Return what is shared as programs get it."""
    return [
        {
            "kind": one.kind.value,
            "what": one.what,
            "users": {name: [str(address) for address in functions] for name, functions in one.users.items()},
            "bytes_per_second": one.bytes_per_second,
        }
        for one in found
    ]


def shared_lines(found: Sequence[Contention], style: Style, *, verbose: bool) -> list[str]:
    """Return what groups share, one thing a line, the widest shared first; nothing where nothing is."""
    if not found:
        return []
    lines = ["", style.bold("Shared") + style.faint(" (who uses it can slow and time the others, not reach them)")]
    shown = found if verbose else sorted(found, key=_by_width)[:_SHOWN]
    for one in shown:
        rate = f", {bandwidth(one.bytes_per_second)} each way" if one.bytes_per_second is not None else ""
        devices = [address for functions in one.users.values() for address in functions]
        who = first_of(devices, _NAMED, gap=", ")
        text = f"{_WORDS[one.kind].format(one.what)}{rate}: {plural(len(one.users), 'group')} ({who})"
        lines += wrap(text, first="    ")
    if len(shown) < len(found):
        lines.append(style.faint(f"    and {len(found) - len(shown)} more; see: atoll show -v"))
    return lines


_SHOWN = 8
_NAMED = 4


def _by_width(one: Contention) -> tuple[int, str, str]:
    return -len(one.users), one.kind.value, one.what


def contention_lines(found: Sequence[Contention], style: Style) -> list[str]:
    """Return what is shared, one thing a line; nothing where nothing is."""
    if not found:
        return []
    lines = ["", style.bold("Shared") + style.faint(" (it leaks timing, not data, and counts for no verdict)")]
    for one in found:
        rate = f", {bandwidth(one.bytes_per_second)} each way" if one.bytes_per_second is not None else ""
        users = ", ".join(f"{name} ({len(functions)})" for name, functions in one.users.items())
        lines += wrap(f"{_WORDS[one.kind].format(one.what)}{rate}: {users}", first="    ")
    return lines
