"""The checks as people and programs get them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.host.model import Host
from atoll.report.check import Check, Status
from atoll.report.document import document
from atoll.report.layout import wrap
from atoll.report.show import host_lines
from atoll.report.style import Style

__all__ = ["doctor_document", "doctor_lines"]

_ORDER = (Status.FAIL, Status.WARN, Status.UNKNOWN, Status.OK)


def _worst(found: Sequence[Check]) -> Status:
    present = {check.status for check in found}
    return next((status for status in _ORDER if status in present), Status.UNKNOWN)


def doctor_document(host: Host, found: Sequence[Check]) -> dict[str, Any]:
    """Return the checks as programs get them; ``status`` is the worst of all."""
    return document(
        "doctor",
        host=host.name,
        status=_worst(found).value,
        checks=[
            {"id": c.id, "status": c.status.value, "found": c.found, "why": c.why or None, "do": c.do or None}
            for c in found
        ],
    )


def doctor_lines(host: Host, found: Sequence[Check], *, style: Style, verbose: bool) -> list[str]:
    """Return the checks, the worst first: what was found, why it matters, what to do."""
    paint = {
        Status.OK: style.good,
        Status.WARN: style.doubtful,
        Status.FAIL: style.bad,
        Status.UNKNOWN: style.doubtful,
    }
    width = max(len(check.id) for check in found)
    margin = " " * (width + 11)
    lines = [*host_lines(host, style), ""]
    for status in _ORDER:
        for check in (c for c in found if c.status is status):
            head = f"{paint[status](f'{status.value:<7}')}  {style.bold(f'{check.id:<{width}}')}  "
            lines += wrap(check.found, first=head)
            if status is not Status.OK or verbose:
                lines += wrap(check.why, first=f"{margin}why: ") if check.why else []
                lines += wrap(check.do, first=f"{margin}do:  ") if check.do else []
    counts = [(status, sum(check.status is status for check in found)) for status in _ORDER]
    summary = ", ".join(paint[status](f"{count} {status.value}") for status, count in counts if count)
    return [*lines, "", f"{summary}. Nothing was changed."]
